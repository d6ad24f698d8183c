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
