//! The inputs of an attempt: each where its script is told that it is.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use shared::{
    input::{Input, STAGED, placeholder},
    script::Script,
};

use super::supply::{Supply, SupplyError};
use crate::staging::{Held, Staging, StagingError};

/// Where inputs lie in the attempt's folder: out of the way of what the script writes.
const FOLDER: &str = ".inputs";

/// An input that this node can't give its script.
#[derive(Debug, thiserror::Error)]
pub(super) enum InputError {
    /// The file.
    #[error("its input '{name}': {source}")]
    File {
        /// What the job calls it.
        name: String,
        /// What is wrong with it.
        source: SupplyError,
    },
    /// The staged set.
    #[error(transparent)]
    Staged(#[from] StagingError),
    /// The attempt's folder.
    #[error("its inputs can't be put into {}: {source}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// What an attempt reads, where it is for as long as this lives.
#[derive(Debug)]
pub(super) struct Placed {
    /// What arguments say in place of each, and its path.
    pub(super) paths: Vec<(String, PathBuf)>,
    _held: Option<Held>,
}

/// Puts every input into the attempt's folder, and makes sure of the staged set.
pub(super) fn place(
    (supply, staging): (&Supply, &Staging),
    script: &Script,
    attempt: &Path,
) -> Result<Placed, InputError> {
    let held = script.staged.as_ref().map(|set| staging.hold(set)).transpose()?;
    let folder = attempt.join(FOLDER);
    let place = |input: &Input| {
        let target = folder.join(&input.name);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)
                .map_err(|source| InputError::Folder { folder: parent.to_owned(), source })?;
        }
        supply
            .put(input, &target)
            .map_err(|source| InputError::File { name: input.name.clone(), source })?;
        Ok((placeholder(&input.name), target))
    };
    let mut paths: Vec<_> = script.inputs.iter().map(place).collect::<Result<_, InputError>>()?;
    paths.extend(held.as_ref().map(|held| (STAGED.to_owned(), held.folder.clone())));
    Ok(Placed { paths, _held: held })
}
