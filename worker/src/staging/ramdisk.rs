//! The ramdisk's folder: `sets/<id>/` with a set's files, `sets/<id>.ready` once each of them was
//! verified, and `step<STEP>`, a link to the newest set of a step.
//!
//! All workers of a node share it. Whoever changes anything holds the lock on `lock`; whoever uses
//! a set holds a shared one on its ready mark, and nobody deletes it meanwhile.

use std::{
    fs::{self, DirBuilder, File, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rustix::{
    fs::{FlockOperation, flock, statvfs},
    process::geteuid,
};
use shared::{
    blobs::hash_of,
    input::{InvalidSet, StagedSet},
};

use crate::scripts::{Supply, SupplyError};

/// What the folder's permissions must be: nobody else puts files into it.
const MODE: u32 = 0o755;
/// What stays free beside a set, in bytes.
const MARGIN: u64 = 1 << 20;
const MIB: u64 = 1 << 20;

/// A set that can't be on the ramdisk.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StagingError {
    /// This node stages nothing.
    #[error("worker.ramdisk is empty on this node: set it to a folder, as in /dev/shm/rigqueue")]
    Off,
    /// The folder is another's, or others may write to it.
    #[error("{} {why}: it must be a folder of this user's own with mode 0755", root.display())]
    NotOurs {
        /// The folder.
        root: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Not enough room.
    #[error(
        "the set needs {} MiB and {} has {} MiB left: make room there, or make it larger \
         (mount -o remount,size=…)", need.div_ceil(MIB), root.display(), free / MIB
    )]
    Room {
        /// The folder.
        root: PathBuf,
        /// Bytes that the set needs.
        need: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// A file that can't be had.
    #[error("its staged file '{name}': {source}")]
    File {
        /// The file.
        name: String,
        /// Why.
        source: Box<SupplyError>,
    },
    /// A copy that is not what was copied.
    #[error("its staged file '{0}' was spoilt on the ramdisk")]
    Spoilt(String),
    /// A set that makes no sense.
    #[error("the set can't be staged: {0}")]
    Invalid(#[from] InvalidSet),
    /// The system.
    #[error("{} can't be used: {source}", path.display())]
    System {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

fn system(path: &Path) -> impl FnOnce(io::Error) -> StagingError {
    move |source| StagingError::System { path: path.to_owned(), source }
}

/// A node's ramdisk.
#[derive(Debug, Clone)]
pub struct Ramdisk {
    root: PathBuf,
}

/// A set that is staged, and stays as long as this lives.
#[derive(Debug)]
pub struct Held {
    /// Its folder.
    pub folder: PathBuf,
    _ready: File,
}

impl Ramdisk {
    /// The ramdisk below a folder, which is made when the first set is staged.
    #[must_use]
    pub const fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// Makes sure that a set is staged, and that it stays while it is held.
    ///
    /// # Errors
    /// [`StagingError`] when it can't be staged.
    pub fn hold(&self, set: &StagedSet, supply: &Supply) -> Result<Held, StagingError> {
        let _lock = self.lock()?;
        self.stage(set, supply)?;
        let mark = self.mark(&set.id());
        let ready = File::open(&mark).map_err(system(&mark))?;
        flock(&ready, FlockOperation::LockShared).map_err(|e| system(&mark)(e.into()))?;
        ready.set_modified(SystemTime::now()).map_err(system(&mark))?;
        Ok(Held { folder: self.folder(&set.id()), _ready: ready })
    }

    /// Makes sure that a set is staged and that its step's link leads to it; what it takes the
    /// place of goes, unless a script uses it.
    ///
    /// # Errors
    /// [`StagingError`] when it can't be staged.
    pub fn keep(&self, set: &StagedSet, supply: &Supply) -> Result<(), StagingError> {
        let _lock = self.lock()?;
        self.stage(set, supply)?;
        let target = Path::new("sets").join(set.id());
        let link = self.link(&set.step);
        if fs::read_link(&link).is_ok_and(|at| at == target) {
            return Ok(());
        }
        let new = self.root.join(format!("step{}.new", set.step));
        remove(&new)?;
        symlink(&target, &new).map_err(system(&new))?;
        fs::rename(&new, &link).map_err(system(&link))?;
        self.remove_unused(Duration::ZERO)
    }

    /// Takes a step's link away, and what it led to unless a script uses it.
    ///
    /// # Errors
    /// [`StagingError`] when the ramdisk can't be used.
    pub fn clear(&self, step: &str) -> Result<(), StagingError> {
        let _lock = self.lock()?;
        remove(&self.link(step))?;
        self.remove_unused(Duration::ZERO)
    }

    /// Deletes the sets that no step's link leads to and that no script has used for so long.
    ///
    /// # Errors
    /// [`StagingError`] when the ramdisk can't be used.
    pub fn tidy(&self, unused: Duration) -> Result<(), StagingError> {
        if !self.root.exists() {
            return Ok(());
        }
        match self.lock_by(FlockOperation::NonBlockingLockExclusive) {
            Ok(_lock) => self.remove_unused(unused),
            // Whoever changes something there just now tidies up as well.
            Err(StagingError::System { source, .. })
                if source.kind() == io::ErrorKind::WouldBlock =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn folder(&self, id: &str) -> PathBuf {
        self.root.join("sets").join(id)
    }

    fn mark(&self, id: &str) -> PathBuf {
        self.root.join("sets").join(format!("{id}.ready"))
    }

    fn link(&self, step: &str) -> PathBuf {
        self.root.join(format!("step{step}"))
    }

    /// The folder, ours alone to change, for as long as the lock lives.
    fn lock(&self) -> Result<File, StagingError> {
        self.lock_by(FlockOperation::LockExclusive)
    }

    fn lock_by(&self, how: FlockOperation) -> Result<File, StagingError> {
        let made = DirBuilder::new().mode(MODE).create(&self.root);
        match made {
            // Whatever the process's own mask is.
            Ok(()) => fs::set_permissions(&self.root, Permissions::from_mode(MODE))
                .map_err(system(&self.root))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(system(&self.root)(error)),
        }
        self.check()?;
        let path = self.root.join("lock");
        let lock = File::create(&path).map_err(system(&path))?;
        flock(&lock, how).map_err(|e| system(&path)(e.into()))?;
        let sets = self.root.join("sets");
        fs::create_dir_all(&sets).map_err(system(&sets))?;
        Ok(lock)
    }

    /// Whether nobody else could have put files there.
    ///
    /// # Errors
    /// [`StagingError::NotOurs`] says what is wrong with an existing folder.
    pub fn check(&self) -> Result<(), StagingError> {
        let about = fs::symlink_metadata(&self.root).map_err(system(&self.root))?;
        let mode = about.permissions().mode() & 0o7777;
        let why = if !about.is_dir() {
            "is no folder".to_owned()
        } else if about.uid() != geteuid().as_raw() {
            format!("belongs to the user {}", about.uid())
        } else if mode != MODE {
            format!("has mode {mode:04o}")
        } else {
            return Ok(());
        };
        Err(StagingError::NotOurs { root: self.root.clone(), why })
    }

    /// Bytes that are free.
    fn free(&self) -> Result<u64, StagingError> {
        let about = statvfs(&self.root).map_err(|e| system(&self.root)(e.into()))?;
        Ok(about.f_bavail.saturating_mul(about.f_frsize))
    }

    /// Stages a set unless it is there. The lock is held.
    fn stage(&self, set: &StagedSet, supply: &Supply) -> Result<(), StagingError> {
        set.validate()?;
        let id = set.id();
        let (folder, mark) = (self.folder(&id), self.mark(&id));
        let is_there = |name: &str, size: u64| {
            fs::metadata(folder.join(name))
                .is_ok_and(|about| about.is_file() && about.len() == size)
        };
        if mark.exists() && set.files.iter().all(|file| is_there(&file.name, file.size)) {
            return Ok(());
        }
        remove(&mark)?;
        remove_folder(&folder)?;
        let need = set.size().saturating_add(MARGIN);
        if self.free()? < need {
            self.remove_unused(Duration::ZERO)?;
        }
        let free = self.free()?;
        if free < need {
            return Err(StagingError::Room { root: self.root.clone(), need, free });
        }
        let staged = self.copy(set, &folder, supply);
        if staged.is_err() {
            // What is not whole only takes room; another error is about to be told.
            fs::remove_dir_all(&folder).ok();
            return staged;
        }
        let text = set.files.iter().map(|file| format!("{} {}\n", file.blake3, file.name));
        fs::write(&mark, text.collect::<String>()).map_err(system(&mark))?;
        tracing::info!(step = set.step, set = id, files = set.files.len(), "a set is staged");
        Ok(())
    }

    fn copy(&self, set: &StagedSet, folder: &Path, supply: &Supply) -> Result<(), StagingError> {
        fs::create_dir(folder).map_err(system(folder))?;
        for file in &set.files {
            let target = folder.join(&file.name);
            supply.put(file, &target).map_err(|source| StagingError::File {
                name: file.name.clone(),
                source: Box::new(source),
            })?;
            if hash_of(&target).map_err(system(&target))? != file.blake3 {
                return Err(StagingError::Spoilt(file.name.clone()));
            }
        }
        Ok(())
    }

    /// Deletes the sets that no link leads to and nobody holds. The lock is held.
    fn remove_unused(&self, unused: Duration) -> Result<(), StagingError> {
        let mut linked = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(system(&self.root))? {
            let path = entry.map_err(system(&self.root))?.path();
            linked.extend(fs::read_link(path).ok());
        }
        let sets = self.root.join("sets");
        for entry in fs::read_dir(&sets).map_err(system(&sets))? {
            let path = entry.map_err(system(&sets))?.path();
            let Some(id) = path.file_stem().and_then(|id| id.to_str()) else { continue };
            if linked.iter().any(|at| *at == Path::new("sets").join(id)) {
                continue;
            }
            let (folder, mark) = (self.folder(id), self.mark(id));
            if let Ok(ready) = File::open(&mark) {
                let used = ready.metadata().and_then(|about| about.modified());
                let age = |used| SystemTime::now().duration_since(used).unwrap_or_default();
                if used.is_ok_and(|used| age(used) < unused)
                    || flock(&ready, FlockOperation::NonBlockingLockExclusive).is_err()
                {
                    continue;
                }
            }
            remove(&mark)?;
            remove_folder(&folder)?;
        }
        Ok(())
    }
}

fn remove(path: &Path) -> Result<(), StagingError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(system(path)(error)),
        _ => Ok(()),
    }
}

fn remove_folder(path: &Path) -> Result<(), StagingError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(system(path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use shared::blobs::Blobs;

    use super::*;

    fn set(home: &Path, step: &str, text: &str) -> StagedSet {
        let file = Blobs::of(home).keep("a.json", text.as_bytes()).unwrap();
        StagedSet { step: step.to_owned(), files: vec![file] }
    }

    #[test]
    fn sets_are_staged_replaced_and_kept_while_they_are_used() {
        let home = tempfile::tempdir().unwrap();
        let supply = Supply::of(home.path(), 16, None);
        let ramdisk = Ramdisk::at(home.path().join("ramdisk"));
        let [one, two] = ["one", "two"].map(|text| set(home.path(), "3", text));
        let by_link = || fs::read_to_string(home.path().join("ramdisk/step3/a.json"));
        ramdisk.keep(&one, &supply).unwrap();
        assert_eq!(by_link().unwrap(), "one");
        let held = ramdisk.hold(&one, &supply).unwrap();
        ramdisk.keep(&two, &supply).unwrap();
        assert_eq!(by_link().unwrap(), "two");
        assert_eq!(fs::read_to_string(held.folder.join("a.json")).unwrap(), "one");
        let gone = held.folder.clone();
        drop(held);
        ramdisk.tidy(Duration::from_secs(3600)).unwrap();
        assert!(gone.exists());
        ramdisk.tidy(Duration::ZERO).unwrap();
        assert!(!gone.exists() && by_link().is_ok());
        // Whoever still needs the old one gets it, beside the new one.
        drop(ramdisk.hold(&one, &supply).unwrap());
        assert!(gone.exists() && by_link().unwrap() == "two");
        ramdisk.clear("3").unwrap();
        assert!(by_link().is_err() && !gone.exists());
        let left = fs::read_dir(home.path().join("ramdisk/sets")).unwrap().count();
        assert_eq!(left, 0);
    }

    #[test]
    fn what_is_not_whole_is_staged_again() {
        let home = tempfile::tempdir().unwrap();
        let supply = Supply::of(home.path(), 16, None);
        let ramdisk = Ramdisk::at(home.path().join("ramdisk"));
        let one = set(home.path(), "3", "one");
        ramdisk.keep(&one, &supply).unwrap();
        let file = home.path().join("ramdisk/step3/a.json");
        fs::remove_file(&file).unwrap();
        ramdisk.keep(&one, &supply).unwrap();
        assert!(file.exists());
        fs::remove_dir_all(home.path().join("ramdisk")).unwrap();
        ramdisk.keep(&one, &supply).unwrap();
        assert!(file.exists(), "as after a reboot");
        let mut lost = one.clone();
        lost.files[0].blake3 = "0".repeat(64);
        let error = ramdisk.hold(&lost, &supply).unwrap_err().to_string();
        assert!(error.contains("'a.json'") && error.contains("RIGQUEUE_SERVER"), "{error}");
        assert!(!ramdisk.folder(&lost.id()).exists());
        let mut large = one;
        large.files[0].size = u64::MAX;
        let error = ramdisk.hold(&large, &supply).unwrap_err().to_string();
        assert!(error.contains("make room"), "{error}");
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let supply = Supply::of(home.path(), 16, None);
        let root = home.path().join("ramdisk");
        let ramdisk = Ramdisk::at(root.clone());
        let one = set(home.path(), "3", "one");
        fs::create_dir(&root).unwrap();
        fs::set_permissions(&root, Permissions::from_mode(0o777)).unwrap();
        let error = ramdisk.keep(&one, &supply).unwrap_err().to_string();
        assert!(error.contains("has mode 0777"), "{error}");
        fs::remove_dir(&root).unwrap();
        symlink(home.path(), &root).unwrap();
        assert!(matches!(ramdisk.keep(&one, &supply), Err(StagingError::NotOurs { .. })));
    }
}
