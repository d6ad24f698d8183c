//! Where the system is looked at: the real one, or a tree that was recorded of one.

use std::{
    env,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

/// Environment variable, for tests: a folder that stands for `/` when devices are looked for. Its
/// `nvml.json` is what NVIDIA's library would answer, and without one there is no NVIDIA driver.
pub const ENV_ROOT: &str = "RIGQUEUE_SYSTEM_ROOT";

/// The most bytes of a small file.
const MAX_BYTES: u64 = 64 * 1024;

/// Where devices are looked for, and who asks NVIDIA's library.
#[derive(Debug, Clone)]
pub struct System {
    root: PathBuf,
    worker: PathBuf,
}

impl System {
    /// This machine, or what [`ENV_ROOT`] says. The worker's own executable asks NVIDIA's library.
    #[must_use]
    pub fn here() -> Self {
        let root = env::var_os(ENV_ROOT).filter(|root| !root.is_empty());
        Self {
            root: root.map_or_else(|| PathBuf::from("/"), PathBuf::from),
            // Still this executable after it was replaced on disk.
            worker: PathBuf::from("/proc/self/exe"),
        }
    }

    /// A tree that was recorded, with a `worker` to start for NVIDIA's library.
    #[must_use]
    pub fn recorded(root: impl Into<PathBuf>, worker: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), worker: worker.into() }
    }

    /// What stands for `/`.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether it is this machine and no recorded tree.
    #[must_use]
    pub fn is_real(&self) -> bool {
        self.root == Path::new("/")
    }

    /// The worker's executable.
    pub(super) fn worker(&self) -> &Path {
        &self.worker
    }

    /// A path below the root; `path` has no leading slash.
    pub(super) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.join(path)
    }

    /// The folder of a PCI device.
    pub(super) fn pci(&self, address: &str) -> PathBuf {
        self.path("sys/bus/pci/devices").join(address)
    }
}

/// The first 64 KiB of a file as text, without the space around it.
pub(super) fn read_text(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}
