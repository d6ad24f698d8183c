//! Compiled programs on disk, by a hash of everything that they were made from.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process,
    time::SystemTime,
};

/// The most programs that are kept; the oldest go first.
const MAX_FILES: usize = 512;

/// What a compiled program depends on.
#[derive(Debug, Clone, Copy)]
pub struct KeyParts<'a> {
    /// Its text.
    pub source: &'a str,
    /// How it was compiled.
    pub options: &'a str,
    /// The compiler, with its version.
    pub compiler: &'a str,
    /// The device, as far as it matters to the compiler.
    pub device: &'a str,
}

impl KeyParts<'_> {
    fn name(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for part in [self.source, self.options, self.compiler, self.device] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }
}

/// A folder of compiled programs. It is a cache: whatever goes wrong with it costs a compilation,
/// and nothing else.
#[derive(Debug, Clone)]
pub struct Cache(Option<PathBuf>);

impl Cache {
    /// The user's: `rigqueue/kernels` in the XDG cache folder.
    #[must_use]
    pub fn of_user() -> Self {
        let absolute =
            |name: &str| env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
        let base = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
        Self(base.map(|base| base.join("rigqueue/kernels")))
    }

    /// One in this folder, which is made when it is needed.
    #[must_use]
    pub const fn at(folder: PathBuf) -> Self {
        Self(Some(folder))
    }

    /// The program that was made of these parts, if it is there and whole.
    #[must_use]
    pub fn get(&self, parts: &KeyParts<'_>) -> Option<Vec<u8>> {
        let bytes = fs::read(self.0.as_ref()?.join(parts.name())).ok()?;
        let (hash, program) = bytes.split_at_checked(blake3::OUT_LEN)?;
        (blake3::hash(program).as_bytes() == hash).then(|| program.to_vec())
    }

    /// Keeps a program.
    pub fn put(&self, parts: &KeyParts<'_>, program: &[u8]) {
        if let Some(folder) = &self.0 {
            // A full disk or a read-only one: the next job compiles again.
            store(folder, &parts.name(), program).ok();
        }
    }
}

fn store(folder: &Path, name: &str, program: &[u8]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let hash = blake3::hash(program);
    let part = folder.join(format!("{name}.{}", process::id()));
    let written = fs::write(&part, [hash.as_bytes(), program].concat())
        .and_then(|()| fs::rename(&part, folder.join(name)));
    if written.is_err() {
        fs::remove_file(&part)?;
    }
    written?;
    forget_oldest(folder)
}

fn forget_oldest(folder: &Path) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let age = entry.metadata().and_then(|about| about.modified());
        files.push((age.unwrap_or(SystemTime::UNIX_EPOCH), entry.path()));
    }
    files.sort();
    for (_, path) in files.iter().rev().skip(MAX_FILES) {
        fs::remove_file(path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_comes_back_for_the_same_parts_and_only_whole() {
        let folder = env::temp_dir().join(format!("rigqueue-cache-{}", process::id()));
        let cache = Cache::at(folder.clone());
        let parts = KeyParts { source: "a", options: "b", compiler: "c", device: "d" };
        assert_eq!(cache.get(&parts), None);
        cache.put(&parts, b"program");
        assert_eq!(cache.get(&parts).as_deref(), Some(&b"program"[..]));
        for other in [
            KeyParts { source: "ab", options: "", ..parts },
            KeyParts { options: "x", ..parts },
            KeyParts { compiler: "x", ..parts },
            KeyParts { device: "x", ..parts },
        ] {
            assert_eq!(cache.get(&other), None, "{other:?}");
        }
        let file = folder.join(parts.name());
        let mut bytes = fs::read(&file).unwrap();
        bytes.pop();
        fs::write(&file, &bytes).unwrap();
        assert_eq!(cache.get(&parts), None);
        fs::write(&file, b"").unwrap();
        assert_eq!(cache.get(&parts), None);
        for number in 0..MAX_FILES + 3 {
            cache.put(&KeyParts { source: &number.to_string(), ..parts }, b"other");
        }
        assert_eq!(fs::read_dir(&folder).unwrap().count(), MAX_FILES);
        fs::remove_dir_all(folder).unwrap();
    }
}
