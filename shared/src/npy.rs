//! NumPy's array files (`numpy.lib.format`, version 1.0), as far as we write them.

/// The header of a C-ordered array of little-endian numbers of that kind (`<u4`, `<f8`, …): the
/// bytes of its elements follow. The whole is padded to a multiple of 64 bytes.
#[must_use]
pub fn header(kind: &str, shape: &[usize]) -> Vec<u8> {
    let shape = match shape {
        // A tuple of one has a comma.
        [length] => format!("{length},"),
        lengths => lengths.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    };
    let mut dict =
        format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({shape}), }}").into_bytes();
    let prefix = 10;
    dict.resize((prefix + dict.len() + 1).next_multiple_of(64) - prefix - 1, b' ');
    dict.push(b'\n');
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend(u16::try_from(dict.len()).unwrap_or(u16::MAX).to_le_bytes());
    header.extend(dict);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_ends_where_numpy_expects_the_elements() {
        for (shape, text) in [(&[3][..], "(3,)"), (&[2, 70_000], "(2, 70000)")] {
            let header = header("<u4", shape);
            assert!(header.len().is_multiple_of(64) && header.ends_with(b"\n"));
            let length = usize::from(u16::from_le_bytes([header[8], header[9]]));
            assert_eq!(header.len(), 10 + length);
            let dict = String::from_utf8(header[10..].to_vec()).expect("text");
            let expected = format!("'shape': {text}, ");
            assert!(dict.contains(&expected) && dict.contains("'descr': '<u4'"), "{dict}");
        }
    }
}
