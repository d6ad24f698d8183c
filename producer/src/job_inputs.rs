//! Where the inputs of jobs are put, so that workers find them.

use std::{fs::File, path::Path};

use shared::{
    blobs::{BlobError, Blobs},
    input::Input,
};

use crate::failure::Failure;

/// The place that workers get their inputs from.
#[derive(Debug, Clone)]
pub struct JobInputs {
    blobs: Blobs,
}

impl JobInputs {
    /// In the data folder that the run's broker and ledger are in.
    #[must_use]
    pub fn of(home: &Path) -> Self {
        Self { blobs: Blobs::of(home) }
    }

    /// Keeps a file; jobs call it `name`.
    ///
    /// # Errors
    /// [`Failure`] when it can't be read, or not be kept.
    pub fn file(&self, name: &str, path: &Path) -> Result<Input, Failure> {
        let opened = File::open(path).map_err(|error| {
            Failure::usage(format!("the file '{}' can't be read: {error}", path.display()))
        })?;
        Ok(self.blobs.keep(name, opened)?)
    }

    /// Keeps bytes; jobs call them `name`.
    ///
    /// # Errors
    /// [`Failure`] when they can't be kept.
    pub fn bytes(&self, name: &str, bytes: &[u8]) -> Result<Input, Failure> {
        Ok(self.blobs.keep(name, bytes)?)
    }
}

impl From<BlobError> for Failure {
    fn from(error: BlobError) -> Self {
        Self::unreachable(error)
    }
}
