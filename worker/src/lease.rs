//! Leases: one process tree on one device.
//!
//! A lease is an `flock` on a file that is named after the physical device. The child inherits the
//! descriptor, and with it the lock: it is free again when the last process that holds the device
//! has ended, whatever became of the worker in between.

use std::{
    fs::{File, OpenOptions},
    io,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

/// A device that is ours until the last descriptor of this lease is closed, here and in children.
#[derive(Debug)]
pub struct Lease(File);

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
            Ok(()) => Ok(Some(Self(file))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Lease {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
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
}
