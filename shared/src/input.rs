//! Files that script jobs read, by their content.

use serde::{Deserialize, Serialize};

use crate::script::{InvalidPath, check_path};

/// The most inputs of one job, and the most files of one staged set.
pub const MAX_INPUTS: usize = 64;
/// The largest file that is brought from machine to machine, in bytes.
pub const MAX_FILE_BYTES: u64 = 16 << 30;
/// What arguments begin with where the path of an input belongs: `{input:NAME}`.
pub const INPUT: &str = "{input:";
/// What a script finds in its arguments in place of this: the folder of its staged set.
pub const STAGED: &str = "{staged}";

/// A file that a job reads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Input {
    /// What its job calls it: a path inside the folder that it is put into.
    pub name: String,
    /// Its BLAKE3 hash, in 64 hexadecimal digits.
    pub blake3: String,
    /// Its size in bytes.
    pub size: u64,
}

impl Input {
    /// Checks that its name stays in its folder and that its hash is one.
    ///
    /// # Errors
    /// [`InvalidPath`] names what is wrong.
    pub fn validate(&self) -> Result<(), InvalidPath> {
        check_path("input", &self.name)?;
        if is_hash(&self.blake3) {
            return Ok(());
        }
        Err(InvalidPath { what: "input's hash", path: self.blake3.clone() })
    }

    /// What stands in arguments where its path belongs.
    #[must_use]
    pub fn placeholder(&self) -> String {
        placeholder(&self.name)
    }
}

/// What stands in arguments where the path of the input called `name` belongs.
#[must_use]
pub fn placeholder(name: &str) -> String {
    format!("{INPUT}{name}}}")
}

/// Whether a text is a hash as files are called here: 64 hexadecimal digits, none of them large.
#[must_use]
pub fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Files that every node has on its ramdisk before a step's jobs run there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedSet {
    /// The step that they are for.
    pub step: String,
    /// The files, ascending by name.
    pub files: Vec<Input>,
}

/// A staged set that no node should stage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSet {
    /// Its step is no name of one.
    #[error("it is for the step '{}', which is none", .0.escape_debug())]
    Step(String),
    /// Too few or too many files.
    #[error("it has {0} files; it must be 1 to {MAX_INPUTS}")]
    Count(usize),
    /// A file that could leave its folder.
    #[error(transparent)]
    File(#[from] InvalidPath),
    /// Names that are not their files' own.
    #[error("two of its files are called '{0}': rename one")]
    Twice(String),
    /// A file in a folder inside it.
    #[error("its file '{0}' is called by a path; a name is needed")]
    Folder(String),
}

impl StagedSet {
    /// Checks that it can be put into a folder.
    ///
    /// # Errors
    /// [`InvalidSet`] names what is wrong.
    pub fn validate(&self) -> Result<(), InvalidSet> {
        let plain = |c: char| c.is_ascii_digit() || c == '.';
        if !(1..=8).contains(&self.step.len())
            || !self.step.starts_with(|c: char| c.is_ascii_digit())
            || !self.step.chars().all(plain)
        {
            return Err(InvalidSet::Step(self.step.chars().take(20).collect()));
        }
        if !(1..=MAX_INPUTS).contains(&self.files.len()) {
            return Err(InvalidSet::Count(self.files.len()));
        }
        for (at, file) in self.files.iter().enumerate() {
            file.validate()?;
            if file.name.contains('/') {
                return Err(InvalidSet::Folder(file.name.clone()));
            }
            if self.files.iter().skip(at + 1).any(|other| other.name == file.name) {
                return Err(InvalidSet::Twice(file.name.clone()));
            }
        }
        Ok(())
    }

    /// What it is called: 16 hexadecimal digits of the hash of its step, names and hashes.
    #[cfg(feature = "broker")]
    #[must_use]
    pub fn id(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        let texts = self.files.iter().flat_map(|file| [&file.name, &file.blake3]);
        for text in std::iter::once(&self.step).chain(texts) {
            hasher.update(text.as_bytes()).update(b"\n");
        }
        hasher.finalize().to_hex().chars().take(16).collect()
    }

    /// How many bytes its files take together.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.files.iter().fold(0, |all, file| all.saturating_add(file.size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sets_that_stay_in_their_folder_are_taken() {
        let file = |name: &str| Input { name: name.to_owned(), blake3: "0".repeat(64), size: 1 };
        let set = |step: &str, names: &[&str]| StagedSet {
            step: step.to_owned(),
            files: names.iter().map(|name| file(name)).collect(),
        };
        set("2.5", &["a.json", "b"]).validate().unwrap();
        for (step, names) in [
            ("", &["a"][..]),
            ("..", &["a"]),
            ("3/../..", &["a"]),
            ("3", &[]),
            ("3", &["../a"]),
            ("3", &["d/a"]),
            ("3", &["a", "b", "a"]),
        ] {
            assert!(set(step, names).validate().is_err(), "{step} {names:?}");
        }
        let ids = [set("3", &["a", "b"]), set("4", &["a", "b"]), set("3", &["a"])].map(|s| s.id());
        assert!(ids[0] != ids[1] && ids[0] != ids[2] && ids[0].len() == 16);
    }
}
