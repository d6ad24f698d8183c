//! One driver a study: a lock file that its producer holds for as long as it lives.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

use crate::failure::Failure;

/// Keeps a second driver out, however this process ends.
#[derive(Debug)]
pub(crate) struct StudyLock {
    _file: File,
}

/// Where the lock of a study lies: beside the file of an SQLite storage, else in the data folder.
pub(crate) fn path_of(storage: &str, study: &str, home: &Path) -> PathBuf {
    match sqlite_file(storage) {
        Some(file) => {
            let mut name = file.file_name().unwrap_or_default().to_owned();
            name.push(format!(".{study}.lock"));
            file.with_file_name(name)
        }
        None => home.join("studies").join(format!("{study}.lock")),
    }
}

/// The file of an SQLite storage: `sqlite:///relative` or `sqlite:////absolute`.
pub(crate) fn sqlite_file(storage: &str) -> Option<PathBuf> {
    let path = storage.strip_prefix("sqlite:///")?;
    let path = path.split('?').next().unwrap_or_default();
    (!path.is_empty() && path != ":memory:").then(|| PathBuf::from(path))
}

impl StudyLock {
    /// Takes the lock.
    ///
    /// # Errors
    /// [`Failure`] with exit code 2 and the other driver's process id when it is taken.
    pub(crate) fn take(path: &Path, study: &str) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| {
            Failure::usage(format!("the lock {} can't be used: {error}", path.display()))
        };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut pid = String::new();
                file.read_to_string(&mut pid).map_err(failed)?;
                return Err(Failure::usage(format!(
                    "the study '{study}' is driven by process {} already: wait for it, or stop it \
                     first",
                    pid.trim()
                )));
            }
            Err(error) => return Err(failed(error.into())),
        }
        file.set_len(0).map_err(failed)?;
        file.rewind().map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_driver_a_study_and_the_other_hears_whose_it_is() {
        let home = tempfile::tempdir().unwrap();
        let storage = format!("sqlite:///{}/s.db", home.path().display());
        let path = path_of(&storage, "a", home.path());
        assert_eq!(path, home.path().join("s.db.a.lock"));
        let first = StudyLock::take(&path, "a").unwrap();
        let refused = StudyLock::take(&path, "a").unwrap_err();
        assert!(refused.message.contains(&format!("process {} ", std::process::id())));
        StudyLock::take(&path_of(&storage, "b", home.path()), "b").unwrap();
        drop(first);
        StudyLock::take(&path, "a").unwrap();
        assert_eq!(
            path_of("postgresql://h/d", "a", home.path()),
            home.path().join("studies/a.lock")
        );
    }
}
