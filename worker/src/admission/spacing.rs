//! The time between two starts of scripts on one node: a file in the runtime folder that holds
//! when the last was started, so that all workers of the node keep it.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, SystemTime},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

/// When scripts of one architecture may start on a node.
#[derive(Debug)]
pub struct Spacing {
    file: File,
    least: Duration,
}

impl Spacing {
    /// With at least that much time between two starts, on the node's slots of `arch`.
    ///
    /// # Errors
    /// What the system says when the runtime folder can't be used.
    pub fn open(folder: &Path, node: &str, arch: &str, least: Duration) -> io::Result<Self> {
        let path = folder.join(format!("{node}.{arch}.start"));
        let file =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
        Ok(Self { file, least })
    }

    /// Claims a start at that moment. `Err`: how long to wait first.
    ///
    /// # Errors
    /// The rest of the time since the last start, whoever made it.
    pub fn claim(&self, now: SystemTime) -> Result<(), Duration> {
        if self.least.is_zero() {
            return Ok(());
        }
        match flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            // Somebody claims right now.
            Err(Errno::WOULDBLOCK) => return Err(self.least),
            Err(error) => {
                tracing::warn!(%error, "the time of the last start can't be asked");
                return Ok(());
            }
        }
        let answer = self.claim_locked(now);
        if let Err(error) = flock(&self.file, FlockOperation::Unlock) {
            tracing::warn!(%error, "the time of the last start can't be given back");
        }
        answer
    }

    fn claim_locked(&self, now: SystemTime) -> Result<(), Duration> {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let mut bytes = [0; 8];
        let last = self.file.read_exact_at(&mut bytes, 0).map(|()| u64::from_le_bytes(bytes));
        // A start that lies ahead was written before somebody set the clock back.
        let passed = last.ok().and_then(|last| now.checked_sub(last)).map(Duration::from_millis);
        if let Some(left) = passed.and_then(|passed| self.least.checked_sub(passed))
            && !left.is_zero()
        {
            return Err(left);
        }
        if let Err(error) = self.file.write_all_at(&now.to_le_bytes(), 0) {
            tracing::warn!(%error, "the time of this start can't be written for other workers");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_of_all_workers_of_a_node_are_spaced() {
        let folder = tempfile::tempdir().unwrap();
        let two = Duration::from_secs(2);
        let open = |arch| Spacing::open(folder.path(), "n", arch, two).unwrap();
        let (one, other, elsewhere) = (open("rocm"), open("rocm"), open("cuda"));
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(one.claim(at(0)), Ok(()));
        assert_eq!(other.claim(at(500)), Err(Duration::from_millis(1500)));
        assert_eq!(elsewhere.claim(at(500)), Ok(()));
        assert_eq!(other.claim(at(2000)), Ok(()));
        assert_eq!(one.claim(at(2001)), Err(Duration::from_millis(1999)));
        // A clock that was set back stops nobody.
        assert_eq!(one.claim(at(0)), Ok(()));
        let none = Spacing::open(folder.path(), "n", "rocm", Duration::ZERO).unwrap();
        assert_eq!(none.claim(at(1)), Ok(()));
    }
}
