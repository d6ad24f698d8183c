//! Puts the files of an accepted attempt into the run's output folder.
//!
//! Where worker and aggregator share a machine, they are moved out of the attempt's folder, which
//! the outcome names. From another machine the worker sends them once the ledger has accepted the
//! attempt, and they are moved from where those have arrived.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use shared::{
    blobs::Blobs,
    input::is_hash,
    messages::RunOpened,
    script::{ATTEMPT_MARK, InvalidPath, OutputFile, check_path},
};

use crate::ledger::Unplaced;

/// A file that can't be put in place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// It is not on this machine.
    #[error(
        "{name} of job {job} is on node {node}, in {}: it comes when a worker there has \
         RIGQUEUE_SERVER set to a `producer serve` of this data folder; it is kept there for a week",
        folder.display()
    )]
    Elsewhere {
        /// The job.
        job: String,
        /// The file.
        name: String,
        /// The node.
        node: String,
        /// The folder on that node.
        folder: PathBuf,
        /// The file's hash.
        blake3: String,
    },
    /// The folder is no finished attempt of that job.
    #[error("{} is no finished attempt at job {job}: nothing is taken out of it", folder.display())]
    Unmarked {
        /// The job.
        job: String,
        /// The folder.
        folder: PathBuf,
    },
    /// It is not the file that the worker saw.
    #[error("{} is not the file of {size} bytes that its worker saw", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// Its size then.
        size: u64,
    },
    /// A name that could leave the output folder.
    #[error(transparent)]
    Name(#[from] InvalidPath),
    /// The system.
    #[error("{} can't be used: {source}", path.display())]
    System {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

fn system(path: &Path) -> impl FnOnce(io::Error) -> PlaceError {
    move |source| PlaceError::System { path: path.to_owned(), source }
}

/// The folder that a run's outputs belong into; `default` is the aggregator's own.
#[must_use]
pub fn folder_of(manifest: Option<&RunOpened>, run: &str, default: &Path) -> PathBuf {
    let scripts = manifest.and_then(|manifest| manifest.scripts.as_ref());
    let dir = scripts.and_then(|scripts| scripts.dir.as_deref()).map_or(default, Path::new);
    let preserve = scripts.is_some_and(|scripts| scripts.preserve_paths);
    if preserve { dir.to_owned() } else { dir.join(run) }
}

/// Where files that workers have sent wait to be put in place.
#[must_use]
pub fn arrived(home: &Path) -> Blobs {
    Blobs::at(home.join("arrived"))
}

/// Puts every file of a success into `folder`, and deletes the attempt's own. Done twice, as after
/// a crash in the middle, it is done once.
///
/// # Errors
/// [`PlaceError`]; what could be put in place is.
pub fn place(success: &Unplaced, folder: &Path, arrived: &Blobs) -> Result<(), PlaceError> {
    for file in &success.files {
        check_path("output", &file.name)?;
        let target = folder.join(&file.name);
        if is_file(&target, file)? && !Path::new(&file.folder).join(&file.name).exists() {
            continue;
        }
        let source = fetch(success, file, arrived)?;
        let parent = target.parent().unwrap_or(folder);
        fs::create_dir_all(parent).map_err(system(parent))?;
        move_file(&source, &target).map_err(system(&target))?;
        // The new name is on disk before the ledger says so.
        File::open(parent).and_then(|folder| folder.sync_all()).map_err(system(parent))?;
    }
    for file in &success.files {
        let attempt = Path::new(&file.folder);
        if is_marked(success, attempt)
            && let Err(error) = fs::remove_dir_all(attempt)
        {
            tracing::warn!(%error, folder = %attempt.display(), "an attempt's folder stays behind");
        }
    }
    Ok(())
}

/// The place on this machine that a file can be moved from.
fn fetch(success: &Unplaced, file: &OutputFile, arrived: &Blobs) -> Result<PathBuf, PlaceError> {
    let folder = Path::new(&file.folder);
    let source = folder.join(&file.name);
    if fs::symlink_metadata(&source).is_err() {
        let sent = arrived.path(&file.blake3);
        if is_hash(&file.blake3) && is_file(&sent, file)? {
            // What waited read-only is its owner's again.
            fs::set_permissions(&sent, fs::Permissions::from_mode(0o644)).map_err(system(&sent))?;
            return Ok(sent);
        }
        return Err(PlaceError::Elsewhere {
            job: success.job.clone(),
            name: file.name.clone(),
            node: success.node.clone(),
            folder: folder.to_owned(),
            blake3: file.blake3.clone(),
        });
    }
    // An outcome comes from afar: it may not name just any file of this machine.
    let within =
        || -> io::Result<bool> { Ok(source.canonicalize()?.starts_with(folder.canonicalize()?)) };
    if !is_marked(success, folder) || !within().map_err(system(&source))? {
        let (job, folder) = (success.job.clone(), folder.to_owned());
        return Err(PlaceError::Unmarked { job, folder });
    }
    if !is_file(&source, file)? {
        return Err(PlaceError::Changed { path: source, size: file.size });
    }
    Ok(source)
}

fn is_marked(success: &Unplaced, folder: &Path) -> bool {
    let Unplaced { run, job, seq, .. } = success;
    let mark = fs::read_to_string(folder.join(ATTEMPT_MARK));
    mark.is_ok_and(|mark| mark == format!("{run}\n{job}\n{seq}\n"))
}

/// Whether there is that very file.
fn is_file(path: &Path, file: &OutputFile) -> Result<bool, PlaceError> {
    let about = match fs::symlink_metadata(path) {
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(system(path)(error)),
    };
    if !about.is_file() || about.len() != file.size {
        return Ok(false);
    }
    let mut hasher = blake3::Hasher::new();
    let opened = File::open(path).map_err(system(path))?;
    hasher.update_reader(opened).map_err(system(path))?;
    Ok(hasher.finalize().to_hex().as_str() == file.blake3)
}

/// Moves a file; to another file system by way of a whole copy beside its place.
fn move_file(source: &Path, target: &Path) -> io::Result<()> {
    match fs::rename(source, target) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {}
        moved => return moved,
    }
    let mut beside = target.as_os_str().to_owned();
    beside.push(".part");
    fs::copy(source, &beside)?;
    File::open(&beside)?.sync_all()?;
    fs::rename(&beside, target)?;
    fs::remove_file(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A finished attempt in `home` that wrote `bytes` to `t/o.json`.
    fn attempt(home: &Path, bytes: &[u8]) -> Unplaced {
        let folder = home.join("attempt");
        fs::create_dir_all(folder.join("t")).unwrap();
        fs::write(folder.join("t/o.json"), bytes).unwrap();
        fs::write(folder.join(ATTEMPT_MARK), "r\nj\n2\n").unwrap();
        let file = OutputFile {
            name: "t/o.json".to_owned(),
            folder: folder.display().to_string(),
            size: bytes.len() as u64,
            blake3: blake3::hash(bytes).to_hex().to_string(),
        };
        Unplaced::of("r", "j", 2, "rig", vec![file])
    }

    /// Nothing has arrived from elsewhere.
    fn none() -> Blobs {
        Blobs::at(PathBuf::from("/nonexistent"))
    }

    #[test]
    fn what_was_sent_from_elsewhere_is_taken_if_it_is_that_file() {
        let home = tempfile::tempdir().unwrap();
        let success = attempt(home.path(), b"{}");
        fs::remove_dir_all(home.path().join("attempt")).unwrap();
        let (out, sent) = (home.path().join("out"), arrived(home.path()));
        sent.keep("", &b"[]"[..]).unwrap();
        let missing = place(&success, &out, &sent);
        assert!(matches!(missing, Err(PlaceError::Elsewhere { .. })), "{missing:?}");
        sent.keep("", &b"{}"[..]).unwrap();
        place(&success, &out, &sent).unwrap();
        assert_eq!(fs::read(out.join("t/o.json")).unwrap(), b"{}");
        place(&success, &out, &sent).unwrap();
        let mode = fs::metadata(out.join("t/o.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
    }

    #[test]
    fn files_are_moved_whole_and_twice_is_once() {
        let home = tempfile::tempdir().unwrap();
        let success = attempt(home.path(), b"{}");
        let out = home.path().join("out/r");
        place(&success, &out, &none()).unwrap();
        assert_eq!(fs::read(out.join("t/o.json")).unwrap(), b"{}");
        assert!(!home.path().join("attempt").exists());
        place(&success, &out, &none()).unwrap();
        // Between the move and the ledger's word of it, the folder was not deleted yet.
        let again = attempt(home.path(), b"{}");
        fs::remove_file(home.path().join("attempt/t/o.json")).unwrap();
        place(&again, &out, &none()).unwrap();
        assert!(!home.path().join("attempt").exists());
    }

    #[test]
    fn to_another_file_system_files_are_copied() {
        let home = tempfile::tempdir().unwrap();
        let Ok(shared_memory) = tempfile::tempdir_in("/dev/shm") else { return };
        let success = attempt(home.path(), b"[1]");
        place(&success, shared_memory.path(), &none()).unwrap();
        assert_eq!(fs::read(shared_memory.path().join("t/o.json")).unwrap(), b"[1]");
        assert!(!home.path().join("attempt").exists());
        let beside = fs::read_dir(shared_memory.path().join("t")).unwrap().count();
        assert_eq!(beside, 1);
    }

    #[test]
    fn nothing_else_is_taken() {
        let home = tempfile::tempdir().unwrap();
        let out = home.path().join("out");
        let refused = |success: &Unplaced| place(success, &out, &none()).unwrap_err();
        let success = attempt(home.path(), b"{}");
        fs::write(home.path().join("attempt/t/o.json"), b"{ }").unwrap();
        assert!(matches!(refused(&success), PlaceError::Changed { size: 2, .. }));

        let success = attempt(home.path(), b"{}");
        let other = Unplaced::of("r", "other", 2, "rig", success.files.clone());
        assert!(matches!(refused(&other), PlaceError::Unmarked { .. }));
        fs::remove_file(home.path().join("attempt").join(ATTEMPT_MARK)).unwrap();
        assert!(matches!(refused(&success), PlaceError::Unmarked { .. }));

        // A folder that leads out of the attempt.
        let success = attempt(home.path(), b"{}");
        fs::rename(home.path().join("attempt/t"), home.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(home.path().join("elsewhere"), home.path().join("attempt/t"))
            .unwrap();
        assert!(matches!(refused(&success), PlaceError::Unmarked { .. }));

        fs::remove_dir_all(home.path().join("attempt")).unwrap();
        let text = refused(&success).to_string();
        assert!(text.contains("on node rig") && text.contains("attempt"), "{text}");
        let mut leaving = success;
        leaving.files[0].name = "../o".to_owned();
        assert!(matches!(refused(&leaving), PlaceError::Name(_)));
        assert!(!out.join("t/o.json").exists());
    }
}
