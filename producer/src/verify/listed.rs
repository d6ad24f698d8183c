//! Survivors from a file: the JSON or CSV that `export` and a run's outputs hold.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error as _, SeqAccess, Visitor},
};
use shared::{
    outcome::{Best, Survivor},
    wire::one_line,
};

/// The most bytes that a file of survivors may have.
const MAX_BYTES: u64 = 4 << 30;
/// The most survivors in a file.
const MAX_ROWS: usize = 16 << 20;
/// The longest line of a CSV, in bytes.
const MAX_LINE: u64 = 16_384;

/// A file of survivors that can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListedError {
    /// It can't be opened.
    #[error("the survivors file '{}' can't be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is none.
    #[error(
        "the survivors file '{}' is not the JSON or CSV that `producer export` writes: {why}",
        path.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, in one line.
        why: String,
    },
}

#[derive(Deserialize)]
struct Record {
    seed: u64,
    matches: u32,
    skip: u32,
    /// With variable skips it is the strategy that counts.
    #[serde(default)]
    strategy: Option<u32>,
    reverse: Option<ReverseRecord>,
}

#[derive(Deserialize)]
struct ReverseRecord {
    matches: u32,
    skip: u32,
    #[serde(default)]
    strategy: Option<u32>,
}

impl From<Record> for Survivor {
    fn from(record: Record) -> Self {
        let best =
            |matches, skip, strategy: Option<u32>| Best { matches, skip: strategy.unwrap_or(skip) };
        Self {
            seed: record.seed,
            best: best(record.matches, record.skip, record.strategy),
            reverse: record.reverse.map(|r| best(r.matches, r.skip, r.strategy)),
        }
    }
}

/// Reads a file of survivors, ascending by seed.
///
/// # Errors
/// [`ListedError`] with the file and what is wrong in it.
pub fn read(path: &Path) -> Result<Vec<Survivor>, ListedError> {
    let unreadable = |source| ListedError::Unreadable { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    let length = file.metadata().map_err(unreadable)?.len();
    let malformed = |why| ListedError::Malformed { path: path.to_owned(), why };
    if length > MAX_BYTES {
        return Err(malformed(format!("it is larger than {} GiB", MAX_BYTES >> 30)));
    }
    parse(BufReader::new(file.take(MAX_BYTES))).map_err(malformed)
}

/// Reads survivors in either form, ascending by seed.
///
/// # Errors
/// What is wrong, in one line, if they are in neither.
pub fn parse(input: impl BufRead) -> Result<Vec<Survivor>, String> {
    parse_either(input).map_err(one_line)
}

fn parse_either(mut input: impl BufRead) -> Result<Vec<Survivor>, String> {
    let is_json = loop {
        let buffer = input.fill_buf().map_err(|error| error.to_string())?;
        match buffer.iter().position(|byte| !byte.is_ascii_whitespace()) {
            Some(at) => break buffer[at] == b'[',
            None if buffer.is_empty() => return Err("it is empty".to_owned()),
            None => {
                let blank = buffer.len();
                input.consume(blank);
            }
        }
    };
    let mut survivors = if is_json { parse_json(input)? } else { parse_csv(input)? };
    survivors.sort_unstable_by_key(|survivor| survivor.seed);
    match survivors.windows(2).find(|pair| pair[0].seed == pair[1].seed) {
        Some(pair) => Err(format!("the seed {} is listed twice", pair[0].seed)),
        None => Ok(survivors),
    }
}

fn parse_json(input: impl Read) -> Result<Vec<Survivor>, String> {
    let mut survivors = Vec::new();
    let mut json = serde_json::Deserializer::from_reader(input);
    let read = Records(&mut survivors).deserialize(&mut json).and_then(|()| json.end());
    read.map(|()| survivors).map_err(|error| error.to_string())
}

/// Reads an array record by record, so that it never stands in memory as text.
struct Records<'a>(&'a mut Vec<Survivor>);

impl<'de> DeserializeSeed<'de> for Records<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Records<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of survivors")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut records: A) -> Result<(), A::Error> {
        while let Some(record) = records.next_element::<Record>()? {
            if self.0.len() == MAX_ROWS {
                return Err(A::Error::custom(format!("it has more than {MAX_ROWS} survivors")));
            }
            self.0.push(record.into());
        }
        Ok(())
    }
}

fn parse_csv(mut input: impl BufRead) -> Result<Vec<Survivor>, String> {
    let mut line = String::new();
    read_line(&mut input, &mut line)?;
    let header: Vec<&str> = line.trim().split(',').map(str::trim).collect();
    let column = |name: &str| header.iter().position(|cell| *cell == name);
    let needed = |name: &str| column(name).ok_or_else(|| format!("there is no column '{name}'"));
    let (seed, matches) = (needed("seed")?, needed("matches")?);
    // With variable skips it is the strategy that counts.
    let skip = column("strategy").map_or_else(|| needed("skip"), Ok)?;
    let reverse_skip = column("reverse_strategy").or_else(|| column("reverse_skip"));
    let reverse = column("reverse_matches").zip(reverse_skip);
    let mut survivors = Vec::new();
    for number in 2.. {
        if read_line(&mut input, &mut line)? == 0 {
            break;
        }
        if line.trim().is_empty() {
            continue;
        }
        if survivors.len() == MAX_ROWS {
            return Err(format!("it has more than {MAX_ROWS} survivors"));
        }
        let cells: Vec<&str> = line.trim_end().split(',').map(str::trim).collect();
        let cell = |index: usize| cells.get(index).copied().unwrap_or_default();
        let wrong = |index: usize| format!("line {number}: '{}' is not a number", cell(index));
        let small = |index: usize| cell(index).parse::<u32>().map_err(|_| wrong(index));
        survivors.push(Survivor {
            seed: cell(seed).parse().map_err(|_| wrong(seed))?,
            best: Best { matches: small(matches)?, skip: small(skip)? },
            reverse: match reverse {
                Some((matches, skip)) if !(cell(matches).is_empty() && cell(skip).is_empty()) => {
                    Some(Best { matches: small(matches)?, skip: small(skip)? })
                }
                _ => None,
            },
        });
    }
    Ok(survivors)
}

/// Reads one line into `line`; how many bytes it had.
fn read_line(input: &mut impl BufRead, line: &mut String) -> Result<usize, String> {
    line.clear();
    let read = input.take(MAX_LINE).read_line(line).map_err(|error| error.to_string())?;
    if read as u64 == MAX_LINE && !line.ends_with('\n') {
        return Err(format!("a line is longer than {MAX_LINE} bytes"));
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survivor(seed: u64, matches: u32, skip: u32, reverse: Option<(u32, u32)>) -> Survivor {
        let reverse = reverse.map(|(matches, skip)| Best { matches, skip });
        Survivor { seed, best: Best { matches, skip }, reverse }
    }

    #[test]
    fn both_forms_are_read_and_sorted() {
        let json = r#" [{"seed": 18446744073709551615, "matches": 9, "skip": 2, "rate": 0.3,
            "reverse": {"matches": 4, "rate": 0.1, "skip": 7}},
            {"seed": 3, "matches": 8, "total": 30, "skip": 1}]"#;
        let csv = "seed,seed_hex,matches,total,rate,skip,reverse_matches,reverse_rate,reverse_skip
            18446744073709551615,0xf,9,30,0.3,2,4,0.1,7\n3,0x3,8,30,0.2,1,,,\n\n";
        let expected = [survivor(3, 8, 1, None), survivor(u64::MAX, 9, 2, Some((4, 7)))];
        for text in [json, csv] {
            assert_eq!(parse(text.as_bytes()).unwrap(), expected);
        }
        let json = r#"[{"seed": 3, "matches": 8, "skip": 5, "strategy": 4, "skips": [5, 6],
            "reverse": {"matches": 7, "skip": 9, "strategy": 1, "skips": [9]}}]"#;
        let csv = "seed,matches,skip,reverse_matches,reverse_skip,strategy,skips,reverse_strategy,\
            reverse_skips\n3,8,5,7,9,4,5 6,1,9\n";
        for text in [json, csv] {
            assert_eq!(parse(text.as_bytes()).unwrap(), [survivor(3, 8, 4, Some((7, 1)))]);
        }
        assert_eq!(parse(&b"[]"[..]).unwrap(), []);
        assert_eq!(parse(&b"seed,matches,skip\n"[..]).unwrap(), []);
    }

    #[test]
    fn what_is_no_list_of_survivors_is_refused_in_one_line() {
        for (text, part) in [
            ("", "empty"),
            (" \n ", "empty"),
            ("{}", "no column"),
            ("[{\"seed\": -1, \"matches\": 1, \"skip\": 1}]", "-1"),
            ("[{\"seed\": 1, \"matches\": 1}]", "skip"),
            ("[{\"seed\": 1, \"matches\": 1, \"skip\": 5000000000}]", "5000000000"),
            ("[{\"seed\": \"a\nb\"}]", "control"),
            ("[[1]] x", "length 1"),
            ("[] x", "trailing"),
            ("seed,matches\n1,2", "'skip'"),
            ("seed,matches,skip\n1,2,x", "line 2: 'x'"),
            ("seed,matches,skip\n1,2", "line 2: ''"),
            ("seed,matches,skip\n1,2,3\n1,2,3\n", "1 is listed twice"),
            (&"s".repeat(20_000), "longer than"),
        ] {
            let message = parse(text.as_bytes()).unwrap_err();
            assert!(message.contains(part) && !message.contains('\n'), "{text:?}: {message}");
        }
        assert!(parse(&b"seed,matches,skip\n\xff\xff"[..]).unwrap_err().contains("UTF-8"));
    }
}
