//! The interpreter that has what the shipped scripts and studies need.

#![expect(clippy::print_stdout, reason = "what a test is left out for is said")]

use std::path::{Path, PathBuf};

/// The interpreter of the virtual environment `target/python`; `None`, with a message, where
/// `.ci/install-python` (`make python`) has not made it whole.
#[must_use]
pub fn interpreter() -> Option<PathBuf> {
    // Not canonical: an environment's interpreter is a link, and knows itself by its own path.
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    let environment = workspace.join("target/python");
    let interpreter = environment.join("bin/python");
    if environment.join("installed").is_file() && interpreter.is_file() {
        return Some(interpreter);
    }
    println!("skipped: {} is not there (make python)", interpreter.display());
    None
}

/// The shipped scripts' folder.
///
/// # Panics
/// When this crate does not lie in its workspace.
#[must_use]
pub fn shipped_scripts() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    workspace.join("worker/scripts")
}
