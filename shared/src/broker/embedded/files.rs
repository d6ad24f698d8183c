//! The folder: made with the right mode, and refused where its promises can't be kept.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::fs::{CWD, FileType, Mode};

use super::fault::Fault;

/// The queues' database in the folder.
pub(super) const DATABASE: &str = "queues.sqlite";
/// The sessions' files in the folder.
pub(super) const SESSIONS: &str = "sessions";
/// Held while a session opens the database.
const OPENING: &str = "opening.lock";
/// How long one waits for another that opens.
const PATIENCE: Duration = Duration::from_secs(15);

/// File systems that other machines or a user process stand behind, by `f_type` of statfs(2)
/// (linux/magic.h and the file systems' own sources). Neither flock nor the shared memory of a
/// WAL reaches across them.
const REMOTE: [(u32, &str); 19] = [
    (0x0000_6969, "NFS"),
    (0x0000_517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x00c3_6400, "Ceph"),
    (0x6573_5546, "FUSE"),
    (0x0102_1997, "9P"),
    (0x0bd0_0bd0, "Lustre"),
    (0x4750_4653, "GPFS"),
    (0x7375_7245, "Coda"),
    (0x0000_564c, "NCP"),
    (0x7461_636f, "OCFS2"),
    (0x0116_1970, "GFS2"),
    (0x1983_0326, "BeeGFS"),
    (0xaad7_aaea, "PanFS"),
    (0x2003_0528, "OrangeFS"),
    (0x786f_4256, "VirtualBox shared folder"),
];

/// The name of a file system that is not of this machine alone.
pub(super) fn remote_name(magic: u32) -> Option<&'static str> {
    REMOTE.iter().find(|(known, _)| *known == magic).map(|(_, name)| *name)
}

/// Makes the folder (0700), its sessions folder and an empty database file (0600), unless they
/// are there, and refuses a network file system. Returns the database's path.
pub(super) fn prepare(folder: &Path) -> Result<PathBuf, Fault> {
    make_folder(folder)?;
    let about =
        rustix::fs::statfs(folder).map_err(|error| Fault::io("examine", folder, &error.into()))?;
    // The field's width and sign differ between architectures; the magic numbers are 32 bits.
    #[expect(clippy::cast_possible_truncation, reason = "the kernel's magic numbers have 32 bits")]
    let magic = about.f_type as u32;
    if let Some(name) = remote_name(magic) {
        return Err(Fault::Folder(format!(
            "it lies on a network or user file system ({name}), where locks don't hold; choose a \
             local disk with RIGQUEUE_HOME or RIGQUEUE_BROKER=embedded:/path, or use RabbitMQ"
        )));
    }
    make_folder(&folder.join(SESSIONS))?;
    let database = folder.join(DATABASE);
    // Not by opening it: closing any descriptor of a database drops the POSIX locks that another
    // session of this process holds on it.
    let mode = Mode::RUSR | Mode::WUSR;
    match rustix::fs::mknodat(CWD, &database, FileType::RegularFile, mode, 0) {
        Ok(()) => sync(folder)?,
        Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(Fault::io("create", &database, &error.into())),
    }
    Ok(database)
}

/// Waits for its turn to open the database: switching to WAL and creating the tables tolerate
/// no company. The turn ends when the file is dropped.
pub(super) fn turn_to_open(folder: &Path) -> Result<File, Fault> {
    let path = folder.join(OPENING);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|error| Fault::io("create", &path, &error))?;
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(Fault::io("lock", &path, &error)),
            Err(TryLockError::WouldBlock) if start.elapsed() > PATIENCE => {
                return Err(Fault::Busy(format!(
                    "another process has held {} for more than 15 s; look for a stopped process",
                    path.display()
                )));
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

fn make_folder(folder: &Path) -> Result<(), Fault> {
    if folder.is_dir() {
        return Ok(());
    }
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| Fault::io("create", folder, &error))?;
    folder.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), sync)
}

/// Puts a folder's entries on disk.
pub(super) fn sync(folder: &Path) -> Result<(), Fault> {
    match File::open(folder).and_then(|file| file.sync_all()) {
        // A parent that may be passed through but not read.
        Err(error) if error.kind() != io::ErrorKind::PermissionDenied => {
            Err(Fault::io("sync", folder, &error))
        }
        _ => Ok(()),
    }
}

/// Removes a file; one that is not there is as good as removed.
pub(super) fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "can't remove a stale file");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_known_by_name() {
        // From linux/magic.h: NFS_SUPER_MAGIC, FUSE_SUPER_MAGIC, EXT4_SUPER_MAGIC, TMPFS_MAGIC.
        assert_eq!(remote_name(0x6969), Some("NFS"));
        assert_eq!(remote_name(0x6573_5546), Some("FUSE"));
        assert_eq!(remote_name(0xef53), None);
        assert_eq!(remote_name(0x0102_1994), None);
    }
}
