//! The file that a script had to write: is it there, is it whole.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _},
    os::unix::ffi::OsStrExt,
    path::Path,
};

use serde::de::IgnoredAny;
use shared::{
    outcome::Failure,
    script::{MAX_RESULT, OutputFile, check_path, sidecar},
    wire::one_line,
};

/// The longest line of a `.jsonl` file, in bytes.
const MAX_LINE: u64 = 64 << 20;

/// A declared output that was found in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// What the ledger hears of: it, and its sidecar where the script wrote one.
    pub(crate) files: Vec<OutputFile>,
    /// Its content, if that is one small JSON value.
    pub(crate) value: Option<String>,
}

/// What is wrong with a declared output: the kind, and one line for people.
pub(crate) type Fault = (Failure, String);

/// Looks at the output `name` in an attempt's folder and at its sidecar, which need not be there,
/// and puts them on disk for good.
pub(crate) fn look(folder: &Path, name: &str) -> Result<Found, Fault> {
    let (file, value) = look_at(folder, name)?;
    let beside = sidecar(name);
    let wrote_sidecar = fs::symlink_metadata(folder.join(&beside)).is_ok();
    let about = wrote_sidecar.then(|| {
        check_path("sidecar", &beside)
            .map_err(|error| (Failure::InvalidOutput, error.to_string()))?;
        look_at(folder, &beside).map_err(|(_, why)| (Failure::InvalidOutput, why))
    });
    let about = about.transpose()?.map(|(file, _)| file);
    Ok(Found { files: [file].into_iter().chain(about).collect(), value })
}

/// Looks at one file, which must be there, and puts it on disk for good. By its extension it is
/// JSON (`.json`), a JSON value a line (`.jsonl`, `.ndjson`), NumPy's (`.npy`, `.npz`: their first
/// bytes are looked at), or anything that is not empty. Returns what a small `.json` holds.
fn look_at(folder: &Path, name: &str) -> Result<(OutputFile, Option<String>), Fault> {
    let path = folder.join(name);
    let unreadable = |error: &io::Error| {
        (Failure::InvalidOutput, format!("its output {name} can't be read: {error}"))
    };
    let about = match fs::symlink_metadata(&path) {
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err((Failure::MissingOutput, format!("it wrote no {name}")));
        }
        Err(error) => return Err(unreadable(&error)),
    };
    if !about.is_file() {
        return Err((Failure::InvalidOutput, format!("its output {name} is no plain file")));
    }
    if about.len() == 0 {
        return Err((Failure::EmptyOutput, format!("its output {name} is empty")));
    }
    let invalid =
        |why: String| (Failure::InvalidOutput, format!("its output {name} {}", one_line(why)));
    let mut value = None;
    match path.extension().map(OsStrExt::as_bytes) {
        Some(b"json") => {
            let file = File::open(&path).map_err(|error| unreadable(&error))?;
            serde_json::from_reader::<_, IgnoredAny>(BufReader::new(file))
                .map_err(|error| invalid(format!("is no JSON: {error}")))?;
            if about.len() <= MAX_RESULT as u64 {
                let text = fs::read_to_string(&path).map_err(|error| unreadable(&error))?;
                value = Some(text.trim().to_owned());
            }
        }
        Some(b"jsonl" | b"ndjson") => check_lines(&path).map_err(invalid)?,
        Some(b"npy") => check_start(&path, b"\x93NUMPY").map_err(invalid)?,
        Some(b"npz") => check_start(&path, b"PK").map_err(invalid)?,
        _ => {}
    }
    let blake3 = settle(&path).map_err(|error| unreadable(&error))?;
    let folder = folder.to_str().ok_or_else(|| invalid("lies in no UTF-8 folder".to_owned()))?;
    let (name, folder) = (name.to_owned(), folder.to_owned());
    Ok((OutputFile { name, folder, size: about.len(), blake3 }, value))
}

fn check_lines(path: &Path) -> Result<(), String> {
    let mut file = BufReader::new(File::open(path).map_err(|error| error.to_string())?);
    let mut line = Vec::new();
    let mut values = 0u64;
    for number in 1u64.. {
        line.clear();
        let read = (&mut file).take(MAX_LINE).read_until(b'\n', &mut line);
        if read.map_err(|error| error.to_string())? == 0 {
            break;
        }
        if !line.trim_ascii().is_empty() {
            serde_json::from_slice::<IgnoredAny>(&line)
                .map_err(|error| format!("is no JSON in line {number}: {error}"))?;
            values += 1;
        }
    }
    if values == 0 { Err("holds blank lines alone".to_owned()) } else { Ok(()) }
}

fn check_start(path: &Path, expected: &[u8]) -> Result<(), String> {
    let mut start = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(expected.len() as u64).read_to_end(&mut start).map_err(|error| error.to_string())?;
    if start == expected { Ok(()) } else { Err("does not begin as NumPy writes it".to_owned()) }
}

/// The file's hash, when it is on disk.
fn settle(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    file.sync_all()?;
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file)?;
    Ok(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_missing_empty_invalid_or_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            fs::write(folder.path().join(name), bytes).unwrap();
            look(folder.path(), name)
        };
        let kind = |found: Result<Found, Fault>| found.unwrap_err().0;
        assert_eq!(kind(look(folder.path(), "none.json")), Failure::MissingOutput);
        assert_eq!(kind(write("a.json", b"")), Failure::EmptyOutput);
        assert_eq!(kind(write("a.txt", b"")), Failure::EmptyOutput);
        for (name, bytes) in [
            ("a.json", b"{\"a\": 1".as_slice()),
            ("a.json", b"{} x"),
            ("a.json", b"[NaN]"),
            ("a.jsonl", b"{}\n{\n"),
            ("a.jsonl", b"\n\n"),
            ("a.npy", b"NUMPY"),
            ("a.npz", b"x"),
        ] {
            let (failure, detail) = write(name, bytes).unwrap_err();
            assert_eq!(failure, Failure::InvalidOutput, "{detail}");
            assert!(detail.contains(name) && !detail.contains('\n'), "{detail}");
        }
        fs::create_dir(folder.path().join("d.json")).unwrap();
        assert_eq!(kind(look(folder.path(), "d.json")), Failure::InvalidOutput);
        std::os::unix::fs::symlink("/etc/hosts", folder.path().join("l.txt")).unwrap();
        assert_eq!(kind(look(folder.path(), "l.txt")), Failure::InvalidOutput);

        let found = write("a.json", b" {\"a\": 1}\n").unwrap();
        let [file] = &found.files[..] else { panic!("{found:?}") };
        assert_eq!((found.value.as_deref(), file.size), (Some("{\"a\": 1}"), 10));
        assert_eq!(file.blake3, blake3::hash(b" {\"a\": 1}\n").to_hex().to_string());
        let long = format!("\"{}\"", "x".repeat(MAX_RESULT));
        assert_eq!(write("a.json", long.as_bytes()).unwrap().value, None);
        for (name, bytes) in [
            ("a.jsonl", b"1\n\n{}".as_slice()),
            ("a.npy", b"\x93NUMPY\x01"),
            ("a.npz", b"PK\x03\x04"),
            ("a.bin", b"x"),
        ] {
            assert_eq!(write(name, bytes).unwrap().value, None);
        }
    }

    #[test]
    fn a_sidecar_comes_along_if_it_is_json() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("m.txt", "tree");
        write("m.meta.json", "no sidecar of it, and no JSON");
        assert_eq!(look(folder.path(), "m.txt").unwrap().files.len(), 1);
        write("m.txt.meta.json", "{\"seed\": 42}");
        let found = look(folder.path(), "m.txt").unwrap();
        let names: Vec<&str> = found.files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!((names, found.value), (vec!["m.txt", "m.txt.meta.json"], None));
        assert_eq!(found.files[1].size, 12);
        for bad in ["", "{\"seed\": "] {
            write("m.txt.meta.json", bad);
            let (failure, detail) = look(folder.path(), "m.txt").unwrap_err();
            assert_eq!(failure, Failure::InvalidOutput, "{detail}");
            assert!(detail.contains("m.txt.meta.json"), "{detail}");
        }
        // A name that only the output itself has room for.
        let long = "x".repeat(shared::script::MAX_NAME - 12);
        write(&long, "1");
        assert_eq!(look(folder.path(), &long).unwrap().files.len(), 1);
    }
}
