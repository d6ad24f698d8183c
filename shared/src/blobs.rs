//! Files by their content: a folder in which each is called after its BLAKE3 hash.
//!
//! The data folder's `blobs` holds what jobs read and what scripts wrote. A file has its name only
//! once it is whole and on disk, so whoever sees one may read it.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read, Write as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use uuid::Uuid;

use crate::input::{Input, is_hash};

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
    /// What was to be kept is something else.
    #[error("it is another file than it should be: {size} bytes of hash {found}")]
    Another {
        /// How many bytes came.
        size: u64,
        /// Their hash.
        found: String,
    },
    /// What was to be kept broke off.
    #[error("it could not be read to its end: {0}")]
    Unreadable(io::Error),
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

    /// Whether the file of a hash is here; nothing is read. It counts as used now.
    #[must_use]
    pub fn has(&self, input: &Input) -> bool {
        let path = self.path(&input.blake3);
        let is_here = fs::metadata(&path).is_ok_and(|about| about.len() == input.size);
        if is_here {
            touch(&path);
        }
        is_here
    }

    /// The file of a hash for whoever reads it, with its size; `None` when it is not here. It
    /// counts as used now.
    ///
    /// # Errors
    /// [`BlobError::System`] when it can't be opened.
    pub fn open(&self, blake3: &str) -> Result<Option<(File, u64)>, BlobError> {
        let path = self.path(blake3);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(system(&path)(error)),
        };
        let size = file.metadata().map_err(system(&path))?.len();
        touch(&path);
        Ok(Some((file, size)))
    }

    /// Deletes the file of a hash, if it is here: whoever has opened it reads on.
    ///
    /// # Errors
    /// [`BlobError::System`] when it can't be deleted.
    pub fn remove(&self, blake3: &str) -> Result<(), BlobError> {
        let path = self.path(blake3);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(system(&path)(error)),
            _ => Ok(()),
        }
    }

    /// Keeps what `content` reads, and says what it is. It is called `name` by jobs.
    ///
    /// # Errors
    /// [`BlobError`] when it can't be read or written.
    pub fn keep(&self, name: &str, content: impl Read) -> Result<Input, BlobError> {
        let input = |(blake3, size)| Ok(Input { name: name.to_owned(), blake3, size });
        self.keep_if(content, input)
    }

    /// Keeps what `content` reads, if it is that input and nothing else.
    ///
    /// # Errors
    /// [`BlobError::Another`] when it is not; else as [`Self::keep`].
    pub fn take(&self, input: &Input, content: impl Read) -> Result<(), BlobError> {
        // One byte more shows that there is more.
        let content = content.take(input.size.saturating_add(1));
        self.keep_if(content, |(found, size)| {
            if found == input.blake3 && size == input.size {
                Ok(input.clone())
            } else {
                Err(BlobError::Another { size, found })
            }
        })
        .map(drop)
    }

    fn keep_if(
        &self,
        mut content: impl Read,
        accept: impl FnOnce((String, u64)) -> Result<Input, BlobError>,
    ) -> Result<Input, BlobError> {
        fs::create_dir_all(&self.folder).map_err(system(&self.folder))?;
        let part = self.folder.join(format!("{}.part", Uuid::new_v4()));
        let kept = copy(&mut content, &part).and_then(accept).and_then(|input| {
            let path = self.path(&input.blake3);
            let shelf = path.parent().unwrap_or(&self.folder);
            fs::create_dir_all(shelf).map_err(system(shelf))?;
            fs::rename(&part, &path).map_err(system(&path))?;
            // The new name is on disk before anybody is told of it.
            File::open(shelf).and_then(|shelf| shelf.sync_all()).map_err(system(shelf))?;
            Ok(input)
        });
        if kept.is_err() {
            // What is not whole is nobody's; another error is about to be told.
            fs::remove_file(&part).ok();
        }
        kept
    }

    /// Deletes the files that nothing has used for so long and that are not `needed`, and what
    /// was begun and left as long ago. Returns how many there were.
    ///
    /// # Errors
    /// [`BlobError::System`] when the folder can't be read.
    pub fn sweep(
        &self,
        unused: Duration,
        needed: impl Fn(&str) -> bool,
    ) -> Result<usize, BlobError> {
        let mut swept = 0;
        for (path, about) in self.files()? {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if age(&about) >= unused && !needed(name) && fs::remove_file(&path).is_ok() {
                swept += 1;
            }
        }
        Ok(swept)
    }

    /// Deletes the files whose use is the longest ago until they take `most` bytes together.
    ///
    /// # Errors
    /// [`BlobError::System`] when the folder can't be read.
    pub fn trim(&self, most: u64) -> Result<(), BlobError> {
        let mut files = self.files()?;
        files.retain(|(path, _)| path.file_name().and_then(|n| n.to_str()).is_some_and(is_hash));
        files.sort_by_key(|(_, about)| about.modified().ok());
        let mut all: u64 = files.iter().map(|(_, about)| about.len()).sum();
        for (path, about) in files {
            if all <= most {
                break;
            }
            // Another worker may have been faster.
            if let Err(error) = fs::remove_file(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                return Err(system(&path)(error));
            }
            all -= about.len();
        }
        Ok(())
    }

    /// Every file of the folder and its shelves.
    fn files(&self) -> Result<Vec<(PathBuf, Metadata)>, BlobError> {
        let mut files = Vec::new();
        let mut folders = vec![self.folder.clone()];
        while let Some(folder) = folders.pop() {
            let entries = match fs::read_dir(&folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other.map_err(system(&folder))?,
            };
            for entry in entries {
                let path = entry.map_err(system(&folder))?.path();
                // One that is gone by now is nobody's.
                let Ok(about) = fs::symlink_metadata(&path) else { continue };
                if about.is_dir() && folder == self.folder {
                    folders.push(path);
                } else if about.is_file() {
                    files.push((path, about));
                }
            }
        }
        Ok(files)
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
        touch(&path);
        if fs::hard_link(&path, target).is_ok() {
            return Ok(());
        }
        fs::copy(&path, target).map(drop).map_err(system(target))
    }
}

/// Notes that a file was used. One that can't be touched is merely deleted earlier.
fn touch(path: &Path) {
    File::open(path).and_then(|file| file.set_modified(SystemTime::now())).ok();
}

fn age(about: &Metadata) -> Duration {
    let at = about.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    SystemTime::now().duration_since(at).unwrap_or_default()
}

/// Copies to a new file that nobody writes to once it is whole; returns hash and size.
fn copy(content: &mut impl Read, path: &Path) -> Result<(String, u64), BlobError> {
    let mut file = File::create_new(path).map_err(system(path))?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 16];
    let mut size = 0;
    loop {
        let read = match content.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(BlobError::Unreadable(error)),
        };
        let piece = buffer.get(..read).unwrap_or_default();
        hasher.update(piece);
        file.write_all(piece).map_err(system(path))?;
        size += read as u64;
    }
    let settle = || {
        let mut permissions = file.metadata()?.permissions();
        permissions.set_readonly(true);
        file.set_permissions(permissions)?;
        file.sync_all()
    };
    settle().map_err(system(path))?;
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

    #[test]
    fn only_what_was_expected_is_taken() {
        let home = tempfile::tempdir().unwrap();
        let blobs = Blobs::of(home.path());
        let (blake3, name) = (blake3::hash(b"good").to_hex().to_string(), String::new());
        let input = Input { name, blake3, size: 4 };
        for other in [&b"evil"[..], b"goo", b"good!", b""] {
            assert!(matches!(blobs.take(&input, other), Err(BlobError::Another { .. })));
        }
        assert!(!blobs.has(&input) && blobs.files().unwrap().is_empty());
        blobs.take(&input, &b"good"[..]).unwrap();
        blobs.take(&input, &b"good"[..]).unwrap();
        assert!(blobs.has(&input));
    }

    #[test]
    fn what_was_not_used_goes_first() {
        let home = tempfile::tempdir().unwrap();
        let blobs = Blobs::of(home.path());
        let files = [b"1111", b"2222", b"3333"].map(|bytes| blobs.keep("", &bytes[..]).unwrap());
        for (input, days) in files.iter().zip([3u64, 2, 1]) {
            let ago = SystemTime::now() - Duration::from_secs(days * 24 * 3600);
            File::open(blobs.path(&input.blake3)).unwrap().set_modified(ago).unwrap();
        }
        let here = || files.each_ref().map(|input| blobs.path(&input.blake3).exists());
        // The oldest was used after all.
        blobs.put(&files[0], &home.path().join("used")).unwrap();
        blobs.trim(8).unwrap();
        assert_eq!(here(), [true, false, true]);
        let day = Duration::from_secs(20 * 3600);
        assert_eq!(blobs.sweep(day, |hash| hash == files[2].blake3).unwrap(), 0);
        assert_eq!(blobs.sweep(day, |_| false).unwrap(), 1);
        assert_eq!(here(), [true, false, false]);
        assert_eq!(Blobs::of(&home.path().join("none")).sweep(day, |_| false).unwrap(), 0);
    }
}
