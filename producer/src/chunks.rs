//! Survivors cut into chunks, each of them the file that one script works on.
//!
//! A chunk is a JSON list of records as they came, at most `chunk_size` of them: whatever a
//! record holds beside its seed is the script's to read. It is called after its content, so the
//! same survivors make the same chunks.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

use serde::{
    Serialize,
    de::{DeserializeSeed, Deserializer as _, Error as _, SeqAccess, Visitor},
};
use serde_json::Value;
use shared::{input::Input, wire::one_line};

use crate::jobs_file::{Entry, MAX_JOBS};

/// What a step's arguments say in place of a chunk's path.
pub const CHUNK: &str = "{chunk}";
/// What a job calls its chunk.
const NAME: &str = "chunk.json";
/// The most bytes of all chunks of a run together: they are cut before any is published.
const MAX_BYTES: usize = 1 << 30;

/// One chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Its number in the run, from 1.
    pub number: usize,
    /// What it is to its job.
    pub input: Input,
    /// The file.
    pub bytes: Vec<u8>,
}

impl Entry {
    /// The job of a chunk: the preset's script, with an output of its own if the step `writes`.
    pub(crate) fn over(chunk: &Chunk, writes: bool) -> Self {
        let id = format!("chunk-{:05}", chunk.number);
        Self {
            output: writes.then(|| format!("{id}.json")),
            id,
            script: None,
            args: None,
            inputs: Vec::new(),
            gpu: None,
            timeout: None,
            memory_mb: None,
            arch: None,
            chunk: Some(chunk.input.clone()),
        }
    }
}

/// Survivors that can't be cut.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkError {
    /// The file can't be read.
    #[error("the survivors file '{}' can't be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is no list of survivors.
    #[error(
        "the survivors in {from}: {}; it must be a JSON list of records with a seed, as \
         `producer export --format json` writes it",
        one_line(why)
    )]
    Syntax {
        /// Where they are from.
        from: String,
        /// What is wrong.
        why: String,
    },
    /// There are none.
    #[error("there are no survivors in {0}: nothing to run scripts over")]
    None(String),
    /// There are too many.
    #[error(
        "the survivors make more than {MAX_JOBS} chunks of {chunk_size}: raise chunk_size of the \
         step's preset, or search with a higher threshold"
    )]
    TooMany {
        /// The preset's.
        chunk_size: u64,
    },
    /// They are too large.
    #[error(
        "the survivors are larger than {} MiB: give fewer of them",
        MAX_BYTES >> 20
    )]
    TooLarge,
}

/// Cuts survivors as they come.
#[derive(Debug)]
pub struct Cutter {
    chunk_size: u64,
    open: Vec<u8>,
    records: u64,
    chunks: Vec<Chunk>,
    bytes: usize,
}

impl Cutter {
    /// One that puts at most `chunk_size` records into a chunk, at least 1.
    #[must_use]
    pub fn new(chunk_size: u64) -> Self {
        let chunk_size = chunk_size.max(1);
        Self { chunk_size, open: Vec::new(), records: 0, chunks: Vec::new(), bytes: 0 }
    }

    /// Takes a record.
    ///
    /// # Errors
    /// [`ChunkError`] when there are too many.
    pub fn push(&mut self, record: &impl Serialize) -> Result<(), ChunkError> {
        if self.records == self.chunk_size {
            self.close();
        }
        if self.chunks.len() == MAX_JOBS {
            return Err(ChunkError::TooMany { chunk_size: self.chunk_size });
        }
        self.open.extend_from_slice(if self.records == 0 { b"[\n" } else { b",\n" });
        serde_json::to_writer(&mut self.open, record).map_err(|error| ChunkError::Syntax {
            from: "the run".to_owned(),
            why: error.to_string(),
        })?;
        self.records += 1;
        if self.bytes + self.open.len() > MAX_BYTES {
            return Err(ChunkError::TooLarge);
        }
        Ok(())
    }

    /// Takes every record of a list.
    ///
    /// # Errors
    /// [`ChunkError`] when it is none, or there are too many; `from` names it.
    pub fn push_list(&mut self, list: impl Read, from: &str) -> Result<(), ChunkError> {
        let mut failed = None;
        let mut reader = serde_json::Deserializer::from_reader(BufReader::new(list));
        let read = reader
            .deserialize_any(Records { cutter: self, failed: &mut failed })
            .and_then(|()| reader.end());
        match (failed, read) {
            (Some(error), _) => Err(error),
            (None, Err(error)) => {
                Err(ChunkError::Syntax { from: from.to_owned(), why: error.to_string() })
            }
            (None, Ok(())) => Ok(()),
        }
    }

    /// Takes every record of a file.
    ///
    /// # Errors
    /// [`ChunkError`] as [`Self::push_list`], and when it can't be read.
    pub fn push_file(&mut self, path: &Path) -> Result<(), ChunkError> {
        let file = File::open(path)
            .map_err(|source| ChunkError::Unreadable { path: path.to_owned(), source })?;
        self.push_list(file, &format!("'{}'", path.display()))
    }

    /// All chunks, in the survivors' order; `from` names where they came from.
    ///
    /// # Errors
    /// [`ChunkError::None`] when no record came.
    pub fn end(mut self, from: &str) -> Result<Vec<Chunk>, ChunkError> {
        self.close();
        if self.chunks.is_empty() {
            Err(ChunkError::None(from.to_owned()))
        } else {
            Ok(self.chunks)
        }
    }

    fn close(&mut self) {
        if self.records == 0 {
            return;
        }
        self.open.extend_from_slice(b"\n]\n");
        let bytes = std::mem::take(&mut self.open);
        let input = Input {
            name: NAME.to_owned(),
            blake3: blake3::hash(&bytes).to_hex().to_string(),
            size: bytes.len() as u64,
        };
        self.bytes += bytes.len();
        self.records = 0;
        self.chunks.push(Chunk { number: self.chunks.len() + 1, input, bytes });
    }
}

/// Reads a list record by record, so that only the chunks are held.
struct Records<'a> {
    cutter: &'a mut Cutter,
    failed: &'a mut Option<ChunkError>,
}

impl<'de> Visitor<'de> for Records<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of survivors")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut place = 0;
        while let Some(record) = list.next_element_seed(Record)? {
            place += 1;
            if !record.get("seed").is_some_and(Value::is_u64) {
                return Err(A::Error::custom(format!("record {place} has no seed of 0 or more")));
            }
            if let Err(error) = self.cutter.push(&record) {
                *self.failed = Some(error);
                return Err(A::Error::custom("too many"));
            }
        }
        Ok(())
    }
}

struct Record;

impl<'de> DeserializeSeed<'de> for Record {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, record: D) -> Result<Value, D::Error> {
        serde::Deserialize::deserialize(record)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(text: &str, chunk_size: u64) -> Result<Vec<Chunk>, String> {
        let mut cutter = Cutter::new(chunk_size);
        cutter.push_list(text.as_bytes(), "'f'").map_err(|error| error.to_string())?;
        cutter.end("'f'").map_err(|error| error.to_string())
    }

    #[test]
    fn records_pass_as_they_came() {
        let text = r#"[{"seed": 18446744073709551615, "score": 0.1, "own": {"x": [1, null]}},
            {"seed": 2}, {"seed": 3}]"#;
        let chunks = cut(text, 2).unwrap();
        let read: Vec<Value> =
            chunks.iter().map(|chunk| serde_json::from_slice(&chunk.bytes).unwrap()).collect();
        let whole: Value = serde_json::from_str(text).unwrap();
        assert_eq!(read[0], Value::from(&whole.as_array().unwrap()[..2]));
        assert_eq!(read[1], Value::from(&whole.as_array().unwrap()[2..]));
        assert_eq!(cut(text, 2).unwrap(), chunks, "the same survivors make the same chunks");
        assert_ne!(chunks[0].input.blake3, chunks[1].input.blake3);
    }

    #[test]
    fn what_is_no_list_of_survivors_is_refused() {
        for (text, expected) in [
            ("", "EOF"),
            ("{}", "expected a list of survivors"),
            ("[3]", "record 1 has no seed"),
            (r#"[{"seed": 1}, {"sed": 2}]"#, "record 2 has no seed"),
            (r#"[{"seed": -1}]"#, "record 1"),
            ("[] x", "trailing"),
            ("[]", "no survivors in 'f'"),
        ] {
            let error = cut(text, 10).unwrap_err();
            assert!(error.contains(expected) && !error.contains('\n'), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn every_survivor_is_in_one_chunk(seeds in prop::collection::vec(any::<u64>(), 1..200),
                                          chunk_size in 1u64..40) {
            let list: Vec<Value> = seeds.iter().map(|seed| serde_json::json!({"seed": seed})).collect();
            let chunks = cut(&Value::from(list).to_string(), chunk_size).unwrap();
            let mut back = Vec::new();
            for (number, chunk) in (1..).zip(&chunks) {
                prop_assert_eq!(chunk.number, number);
                let records: Vec<Value> = serde_json::from_slice(&chunk.bytes).unwrap();
                prop_assert!(records.len() as u64 <= chunk_size);
                prop_assert!(number == chunks.len() || records.len() as u64 == chunk_size);
                prop_assert_eq!(chunk.input.size, chunk.bytes.len() as u64);
                back.extend(records.iter().map(|record| record["seed"].as_u64().unwrap()));
            }
            prop_assert_eq!(back, seeds);
        }
    }
}
