//! A session: a file under an flock for as long as its process lives, and its bell beside it.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, Mode, OFlags};
use uuid::Uuid;

use super::{
    fault::Fault,
    files::{SESSIONS, remove},
};

const LOCK: &str = "lock";
const BELL: &str = "bell";

/// This session's files. Its lock is free when this is dropped or the process dies.
#[derive(Debug)]
pub(super) struct Session {
    name: String,
    sessions: PathBuf,
    _lock: File,
}

impl Session {
    /// Makes the lock, takes it, then makes the bell.
    pub(super) fn open(folder: &Path) -> Result<Self, Fault> {
        let sessions = folder.join(SESSIONS);
        let (name, lock) = loop {
            let name = Uuid::now_v7().to_string();
            let path = sessions.join(format!("{name}.{LOCK}"));
            let lock = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)
                .map_err(|error| Fault::io("create", &path, &error))?;
            // A sweeper may have found the file before it was locked, and removed it.
            let unlinked = |file: &File| file.metadata().map(|about| about.nlink() == 0);
            match lock.try_lock() {
                Ok(()) if unlinked(&lock).map_err(|e| Fault::io("examine", &path, &e))? => {}
                Ok(()) => break (name, lock),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(Fault::io("lock", &path, &error)),
            }
        };
        let session = Self { name, sessions, _lock: lock };
        let bell = session.bell();
        rustix::fs::mkfifoat(CWD, &bell, Mode::RUSR | Mode::WUSR).map_err(|error| {
            session.remove_files();
            Fault::io("create", &bell, &error.into())
        })?;
        Ok(session)
    }

    /// Its name, a UUID.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The FIFO that others write to.
    pub(super) fn bell(&self) -> PathBuf {
        self.sessions.join(format!("{}.{BELL}", self.name))
    }

    /// Rings every other session's bell. One that nobody listens to, or that is full of earlier
    /// rings, is passed over.
    pub(super) fn ring_others(&self, ring: &[u8]) {
        for name in names(&self.sessions, BELL) {
            if name == self.name {
                continue;
            }
            let path = self.sessions.join(format!("{name}.{BELL}"));
            #[expect(clippy::cast_possible_wrap, reason = "flags have the C type int")]
            let flags = OFlags::NONBLOCK.bits() as i32;
            let rung = OpenOptions::new()
                .write(true)
                .custom_flags(flags)
                .open(&path)
                .and_then(|mut bell| bell.write_all(ring));
            if let Err(error) = rung {
                tracing::trace!(session = name, %error, "a bell nobody hears");
            }
        }
    }

    /// The sessions that have a lock file, alive or not.
    pub(super) fn all(&self) -> Vec<String> {
        names(&self.sessions, LOCK)
    }

    /// Those of `sessions` that are gone; each stays locked until its [`Gone`] is dropped, so that
    /// only one sweeper deals with it.
    pub(super) fn gone(&self, mut sessions: Vec<String>) -> Vec<Gone> {
        sessions.sort_unstable();
        sessions.dedup();
        let others = sessions.into_iter().filter(|name| *name != self.name);
        others.filter_map(|name| Gone::test(&self.sessions, name)).collect()
    }

    /// Removes the session's files, the lock last: what has no lock is gone.
    pub(super) fn remove_files(&self) {
        remove(&self.bell());
        remove(&self.sessions.join(format!("{}.{LOCK}", self.name)));
    }
}

/// A session that is gone.
#[derive(Debug)]
pub(super) struct Gone {
    /// Its name.
    pub(super) name: String,
    sessions: PathBuf,
    /// Its lock, unless the file was gone as well.
    _lock: Option<File>,
}

impl Gone {
    fn test(sessions: &Path, name: String) -> Option<Self> {
        let lock = match File::open(sessions.join(format!("{name}.{LOCK}"))) {
            Ok(file) => match file.try_lock() {
                Ok(()) => Some(file),
                // It lives, or another sweeper is at it.
                Err(_) => return None,
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            // Out of descriptors, say: nothing is known, so nothing is done.
            Err(_) => return None,
        };
        Some(Self { name, sessions: sessions.to_owned(), _lock: lock })
    }

    /// Removes its files, once it holds nothing any more.
    pub(super) fn remove_files(&self) {
        remove(&self.sessions.join(format!("{}.{BELL}", self.name)));
        remove(&self.sessions.join(format!("{}.{LOCK}", self.name)));
    }
}

/// The sessions that have a file of this kind.
fn names(sessions: &Path, kind: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(sessions) else { return Vec::new() };
    let entries = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    entries
        .filter_map(|name| {
            let (name, found) = name.rsplit_once('.')?;
            (found == kind).then(|| name.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(SESSIONS)).unwrap();
        folder
    }

    #[test]
    fn a_session_is_gone_once_its_lock_is_free_and_not_before() {
        let folder = folder();
        let ours = Session::open(folder.path()).unwrap();
        let other = Session::open(folder.path()).unwrap();
        let name = other.name().to_owned();
        assert!(ours.gone(vec![name.clone()]).is_empty());
        drop(other);
        assert_eq!(ours.all().len(), 2);
        let gone = ours.gone(vec![name.clone(), "never-was".to_owned()]);
        let mut names: Vec<_> = gone.iter().map(|gone| gone.name.as_str()).collect();
        names.sort_unstable();
        let mut expected = ["never-was", name.as_str()];
        expected.sort_unstable();
        assert_eq!(names, expected);
        // While one sweeper deals with it, another leaves it alone.
        assert!(Gone::test(&folder.path().join(SESSIONS), name.clone()).is_none());
        gone.iter().for_each(Gone::remove_files);
        assert_eq!(fs::read_dir(folder.path().join(SESSIONS)).unwrap().count(), 2);
        ours.remove_files();
        assert_eq!(fs::read_dir(folder.path().join(SESSIONS)).unwrap().count(), 0);
    }
}
