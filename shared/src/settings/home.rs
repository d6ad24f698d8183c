//! Where RigQueue keeps its files, and what this host is called.

use std::{env, path::PathBuf};

use super::ENV_HOME;

/// No data folder could be found.
#[derive(Debug, thiserror::Error)]
#[error("no data folder: set {ENV_HOME} to a folder, or HOME")]
pub struct HomeError;

/// The data folder (ledger, embedded broker, blobs): `RIGQUEUE_HOME`, else `rigqueue` in the XDG
/// data folder. It is not created here.
///
/// # Errors
/// [`HomeError`] when neither `RIGQUEUE_HOME`, `XDG_DATA_HOME` nor `HOME` is set.
pub fn data_home() -> Result<PathBuf, HomeError> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(home) = set(ENV_HOME) {
        return Ok(home);
    }
    let data = set("XDG_DATA_HOME").filter(|path| path.is_absolute());
    data.or_else(|| set("HOME").map(|home| home.join(".local/share")))
        .map(|folder| folder.join("rigqueue"))
        .ok_or(HomeError)
}

/// This host's name, with anything that a queue name should not hold replaced by `-`.
#[must_use]
pub fn host_name() -> String {
    let uname = rustix::system::uname();
    let name = uname.nodename().to_string_lossy();
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = name.chars().map(plain).collect();
    if name.is_empty() { "node".to_owned() } else { name }
}
