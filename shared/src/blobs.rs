//! Files by their content: a folder in which each is called after its BLAKE3 hash.
//!
//! The data folder's `blobs` holds what jobs read and what scripts wrote. A file has its name only
//! once it is whole and on disk, so whoever sees one may read it.

use std::{
    fs::{self, File},
    io::{self, Read, Write as _},
    path::{Path, PathBuf},
};

use uuid::Uuid;

use crate::input::Input;

/// A file that can't be kept, or can't be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// There is none of that content.
    #[error("there is no file of hash {blake3} in {}", folder.display())]
    Missing {
        /// The hash.
        blake3: String,
        /// The folder.
        folder: PathBuf,
    },
    /// What is called after one content has another.
    #[error("{} does not hold what its name says: {found}", path.display())]
    Spoilt {
        /// The file.
        path: PathBuf,
        /// The hash of what it holds.
        found: String,
    },
    /// The system.
    #[error("{} can't be used: {source}", path.display())]
    System {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

fn system(path: &Path) -> impl FnOnce(io::Error) -> BlobError {
    move |source| BlobError::System { path: path.to_owned(), source }
}

/// A folder of files by their content.
#[derive(Debug, Clone)]
pub struct Blobs {
    folder: PathBuf,
}

impl Blobs {
    /// The files in `folder`, which is made when the first is kept.
    #[must_use]
    pub const fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Those of a data folder.
    #[must_use]
    pub fn of(home: &Path) -> Self {
        Self::at(home.join("blobs"))
    }

    /// Where the file of a hash lies, if it is here.
    #[must_use]
    pub fn path(&self, blake3: &str) -> PathBuf {
        let shelf = blake3.get(..2).unwrap_or_default();
        self.folder.join(shelf).join(blake3)
    }

    /// Whether the file of a hash is here; nothing is read.
    #[must_use]
    pub fn has(&self, input: &Input) -> bool {
        fs::metadata(self.path(&input.blake3)).is_ok_and(|about| about.len() == input.size)
    }

    /// Keeps what `content` reads, and says what it is. It is called `name` by jobs.
    ///
    /// # Errors
    /// [`BlobError::System`] when it can't be read or written.
    pub fn keep(&self, name: &str, mut content: impl Read) -> Result<Input, BlobError> {
        fs::create_dir_all(&self.folder).map_err(system(&self.folder))?;
        let part = self.folder.join(format!("{}.part", Uuid::new_v4()));
        let kept = copy(&mut content, &part).map_err(system(&part)).and_then(|(hash, size)| {
            let path = self.path(&hash);
            let shelf = path.parent().unwrap_or(&self.folder);
            fs::create_dir_all(shelf).map_err(system(shelf))?;
            fs::rename(&part, &path).map_err(system(&path))?;
            // The new name is on disk before anybody is told of it.
            File::open(shelf).and_then(|shelf| shelf.sync_all()).map_err(system(shelf))?;
            Ok(Input { name: name.to_owned(), blake3: hash, size })
        });
        if kept.is_err() {
            // What is not whole is nobody's; another error is about to be told.
            fs::remove_file(&part).ok();
        }
        kept
    }

    /// Puts the file of an input at `target`, which does not exist: a second name of the same
    /// file where the file system takes one, else a copy. It is read whole first: a file that was
    /// spoilt on disk is deleted and not given out.
    ///
    /// # Errors
    /// [`BlobError`] when it is not here, was spoilt, or can't be put there.
    pub fn put(&self, input: &Input, target: &Path) -> Result<(), BlobError> {
        let path = self.path(&input.blake3);
        let found = match hash_of(&path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let (blake3, folder) = (input.blake3.clone(), self.folder.clone());
                return Err(BlobError::Missing { blake3, folder });
            }
            Err(error) => return Err(system(&path)(error)),
        };
        if found != input.blake3 {
            fs::remove_file(&path).map_err(system(&path))?;
            return Err(BlobError::Spoilt { path, found });
        }
        if fs::hard_link(&path, target).is_ok() {
            return Ok(());
        }
        fs::copy(&path, target).map(drop).map_err(system(target))
    }
}

/// Copies to a new file that only its owner may write, and only until it is whole; returns hash
/// and size.
fn copy(content: &mut impl Read, path: &Path) -> io::Result<(String, u64)> {
    let mut file = File::create_new(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 16];
    let mut size = 0;
    loop {
        let read = match content.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let piece = buffer.get(..read).unwrap_or_default();
        hasher.update(piece);
        file.write_all(piece)?;
        size += read as u64;
    }
    let mut permissions = file.metadata()?.permissions();
    permissions.set_readonly(true);
    file.set_permissions(permissions)?;
    file.sync_all()?;
    Ok((hasher.finalize().to_hex().to_string(), size))
}

/// The hash of a file, in hexadecimal digits.
///
/// # Errors
/// What the system says when it can't be read.
pub fn hash_of(path: &Path) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_kept_once_and_given_out_whole() {
        let home = tempfile::tempdir().unwrap();
        let blobs = Blobs::of(home.path());
        let input = blobs.keep("a.json", &b"[1, 2]"[..]).unwrap();
        assert_eq!((input.size, input.blake3.len()), (6, 64));
        assert!(blobs.has(&input) && input.validate().is_ok());
        assert_eq!(blobs.keep("b", &b"[1, 2]"[..]).unwrap().blake3, input.blake3);
        let target = home.path().join("a.json");
        blobs.put(&input, &target).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"[1, 2]");
        let left = fs::read_dir(home.path().join("blobs")).unwrap().count();
        assert_eq!(left, 1, "one shelf, no part");
    }

    #[test]
    fn a_spoilt_file_is_never_given_out() {
        let home = tempfile::tempdir().unwrap();
        let blobs = Blobs::of(home.path());
        let input = blobs.keep("a", &b"good"[..]).unwrap();
        let path = blobs.path(&input.blake3);
        fs::remove_file(&path).unwrap();
        fs::write(&path, b"evil").unwrap();
        let target = home.path().join("t");
        assert!(matches!(blobs.put(&input, &target), Err(BlobError::Spoilt { .. })));
        assert!(!target.exists());
        assert!(matches!(blobs.put(&input, &target), Err(BlobError::Missing { .. })));
    }
}
