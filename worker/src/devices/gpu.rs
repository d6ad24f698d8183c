//! One GPU, as the system describes it.

use shared::job::Arch;

/// A GPU that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    /// Its place among those of its runtime, by PCI address, from 0.
    pub index: u32,
    /// Whose queues it serves.
    pub arch: Arch,
    /// What code is compiled for: `gfx1032`, `sm_86`.
    pub architecture: String,
    /// Its model, as in `AMD Radeon RX 6600`.
    pub name: String,
    /// Its UUID, where the driver tells one.
    pub uuid: Option<String>,
    /// Its PCI address, as in `0000:03:00.0`.
    pub pci: String,
    /// Its memory, in bytes.
    pub memory_bytes: u64,
}

impl Gpu {
    /// What names the physical device on this host, whichever runtime looks at it: fit for a
    /// file's name.
    #[must_use]
    pub fn key(&self) -> String {
        format!("pci-{}", self.pci)
    }
}
