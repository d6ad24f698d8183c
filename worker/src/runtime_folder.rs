//! The runtime folder: where workers of one host meet. It holds a lock for each device and one for
//! each worker, and is gone (or stale, which locks survive) after a reboot.

use std::{
    env, fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use rustix::process::getuid;

/// Environment variable: the runtime folder, over where it would be otherwise.
pub const ENV_RUNTIME: &str = "RIGQUEUE_RUNTIME";

/// The runtime folder can't be had.
#[derive(Debug, thiserror::Error)]
#[error("the runtime folder {} can't be used: {source}; set {ENV_RUNTIME} to a folder of this user's on a local disk", .path.display())]
pub struct RuntimeFolderError {
    /// The folder.
    pub path: PathBuf,
    /// What the system says.
    pub source: io::Error,
}

/// The runtime folder, made if need be, for its owner alone: `RIGQUEUE_RUNTIME`, else
/// `/run/rigqueue` where that can be written, else `rigqueue` in `$XDG_RUNTIME_DIR`, else
/// `/tmp/rigqueue-<uid>`.
///
/// # Errors
/// [`RuntimeFolderError`] when it can't be made, or belongs to somebody else.
pub fn runtime_folder() -> Result<PathBuf, RuntimeFolderError> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(path) = set(ENV_RUNTIME) {
        return own(path);
    }
    if let Ok(path) = own(PathBuf::from("/run/rigqueue")) {
        return Ok(path);
    }
    let session = set("XDG_RUNTIME_DIR").filter(|path| path.is_absolute());
    own(session.map_or_else(
        || PathBuf::from(format!("/tmp/rigqueue-{}", getuid().as_raw())),
        |session| session.join("rigqueue"),
    ))
}

fn own(path: PathBuf) -> Result<PathBuf, RuntimeFolderError> {
    match made(&path) {
        Ok(()) => Ok(path),
        Err(source) => Err(RuntimeFolderError { path, source }),
    }
}

fn made(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // In /tmp anybody could have been there first, with a folder or a link to one.
    let found = fs::symlink_metadata(path)?;
    if found.is_dir() && found.uid() == getuid().as_raw() {
        Ok(())
    } else {
        let why = "it is no folder of this user's";
        Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
    }
}
