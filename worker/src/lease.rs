//! Leases: one process tree on one device.
//!
//! A lease is an `flock` on a file that is named after the physical device. The child inherits the
//! descriptor, and with it the lock: it is free again when the last process that holds the device
//! has ended, whatever became of the worker in between.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
    time::{Duration, SystemTime},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use tokio::time::{Instant, sleep};

use crate::{runtime_folder, slots::Slot};

/// How long is waited for a device's memory after the end of what used it.
const MEMORY_WAIT: Duration = Duration::from_secs(10);
/// How long is waited for a device that somebody else holds.
const LEASE_WAIT: Duration = Duration::from_secs(5);
/// How often is looked at either.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Says whether the memory of a leased device is back to what it was before the lease; `None`
/// where that can't be read.
pub type MemoryIsBack = Box<dyn Fn() -> Option<bool> + Send + Sync>;

/// A device that is ours until the last descriptor of this lease is closed, here and in children.
pub struct Lease {
    file: File,
    device: String,
    memory_is_back: Option<MemoryIsBack>,
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("device", &self.device).finish_non_exhaustive()
    }
}

impl Lease {
    /// Takes the lease on a device (`Gpu::key`); `None` when somebody holds it.
    ///
    /// # Errors
    /// What the system says when the runtime folder can't be used.
    pub fn take(runtime_folder: &Path, device: &str) -> io::Result<Option<Self>> {
        let path = runtime_folder.join(format!("{device}.lease"));
        // It is never removed: whoever removed one could not know who waits on it.
        let file =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        // Whatever tidies /tmp up goes by age.
        file.set_modified(SystemTime::now())?;
        Ok(Some(Self { file, device: device.to_owned(), memory_is_back: None }))
    }

    /// From now on [`Lease::memory_is_back`] waits for the device's memory. The function is called now
    /// and then, and must not block for long.
    #[must_use]
    pub fn until(mut self, memory_is_back: MemoryIsBack) -> Self {
        self.memory_is_back = Some(memory_is_back);
        self
    }

    /// Waits, no longer than 10 s, until the device's memory is back. Called when nothing of the
    /// job is left, before the lease is dropped.
    pub async fn memory_is_back(&self) {
        let Some(memory_is_back) = &self.memory_is_back else { return };
        let begun = Instant::now();
        while memory_is_back() == Some(false) {
            if begun.elapsed() >= MEMORY_WAIT {
                let device = &self.device;
                tracing::warn!(device, "its memory is not back {MEMORY_WAIT:?} after its job");
                return;
            }
            sleep(LOOK_AGAIN).await;
        }
    }
}

/// Takes the lease on a slot's GPU, if it has one, and waits a while for whoever holds it.
///
/// # Errors
/// One line for people: the device is held by somebody else, or the runtime folder can't be used.
pub async fn of_slot(slot: &Slot) -> Result<Option<Lease>, String> {
    let Some(gpu) = &slot.gpu else { return Ok(None) };
    let folder = runtime_folder().map_err(|error| error.to_string())?;
    let begun = Instant::now();
    loop {
        match Lease::take(&folder, &gpu.key()) {
            Ok(Some(lease)) => return Ok(Some(lease)),
            Ok(None) if begun.elapsed() < LEASE_WAIT => sleep(LOOK_AGAIN).await,
            Ok(None) => return Err(format!("{} is in use by another worker's job", gpu.name)),
            Err(error) => return Err(format!("{} can't be leased: {error}", gpu.name)),
        }
    }
}

impl AsFd for Lease {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use super::*;

    #[test]
    fn a_device_is_leased_once_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = Lease::take(folder.path(), "pci-0000:03:00.0").unwrap();
        assert!(first.is_some());
        assert!(Lease::take(folder.path(), "pci-0000:03:00.0").unwrap().is_none());
        assert!(Lease::take(folder.path(), "pci-0000:04:00.0").unwrap().is_some());
        drop(first);
        assert!(Lease::take(folder.path(), "pci-0000:03:00.0").unwrap().is_some());
    }

    #[tokio::test]
    async fn a_device_is_given_back_with_its_memory() {
        let folder = tempfile::tempdir().unwrap();
        let take = |device| Lease::take(folder.path(), device).unwrap().unwrap();
        let looks = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&looks);
        let back = move || Some(counted.fetch_add(1, Ordering::Relaxed) == 3);
        take("pci-a").until(Box::new(back)).memory_is_back().await;
        assert_eq!(looks.load(Ordering::Relaxed), 4);
        // Where it can't be read, or nobody asks, nothing is waited for.
        take("pci-b").until(Box::new(|| None)).memory_is_back().await;
        take("pci-c").memory_is_back().await;
    }
}
