//! One GPU, as the system describes it.

use serde::{Deserialize, Serialize};
use shared::job::Arch;

/// A GPU that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gpu {
    /// Its place among those of its runtime, by PCI address, from 0.
    pub index: u32,
    /// Its number as its runtime counts, from 0: cards that take no jobs count too.
    pub ordinal: u32,
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
    /// Its memory, in bytes; 0 where that can't be read.
    pub memory_bytes: u64,
}

impl Gpu {
    /// What names the physical device on this host, whichever runtime looks at it: fit for a
    /// file's name.
    #[must_use]
    pub fn key(&self) -> String {
        format!("pci-{}", self.pci)
    }

    /// What its runtime's `…_VISIBLE_DEVICES` calls it: its UUID, which stays when another card
    /// falls off the bus, else its number.
    #[must_use]
    pub fn visible(&self) -> String {
        self.uuid.clone().unwrap_or_else(|| self.ordinal.to_string())
    }

    /// What a child compares with the device that it sees ([`shared::runner::ENV_DEVICE`]): CUDA
    /// tells a UUID, OpenCL a PCI address.
    #[must_use]
    pub fn proof(&self) -> &str {
        match (&self.uuid, self.arch) {
            (Some(uuid), Arch::Cuda) => uuid,
            _ => &self.pci,
        }
    }
}

/// A PCI address as the kernel writes it (`0000:03:00.0`), from what drivers write: capitals, a
/// domain of eight digits or none, no function. `None` for anything else.
#[must_use]
pub(super) fn pci_address(text: &str) -> Option<String> {
    let text = text.trim().to_ascii_lowercase();
    let (place, function) = text.split_once('.').unwrap_or((&text, "0"));
    let mut parts = place.rsplit(':');
    let hex = |part: Option<&str>| u32::from_str_radix(part?, 16).ok();
    let (device, bus) = (hex(parts.next())?, hex(parts.next())?);
    let domain = match parts.next() {
        Some(domain) => hex(Some(domain))?,
        None => 0,
    };
    let function = u32::from_str_radix(function, 8).ok()?;
    let fits = parts.next().is_none() && bus < 256 && device < 32 && function < 8;
    fits.then(|| format!("{domain:04x}:{bus:02x}:{device:02x}.{function}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_drivers_way_to_write_an_address_is_understood() {
        for text in ["0000:0a:00.0", "00000000:0A:00.0", "0000:0A:00", "0A:00.0", " 0000:0a:00.0\n"]
        {
            assert_eq!(pci_address(text).as_deref(), Some("0000:0a:00.0"), "{text}");
        }
        for text in ["", "0000", "GPU-1", "0000:0a:00.9", "1:0000:0a:00.0", "0000:0a:20.0"] {
            assert_eq!(pci_address(text), None, "{text}");
        }
        assert_eq!(pci_address("10000:e1:00.1").as_deref(), Some("10000:e1:00.1"));
    }
}
