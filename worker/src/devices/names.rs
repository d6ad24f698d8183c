//! What AMD's numbers are called.

use super::system::{System, read_text};

/// PCI device and revision, as libdrm's `amdgpu.ids` names them; revision `None` for any other.
const CARDS: &[(u32, Option<u32>, &str)] = &[
    (0x73bf, Some(0xc0), "AMD Radeon RX 6900 XT"),
    (0x73bf, Some(0xc1), "AMD Radeon RX 6800 XT"),
    (0x73bf, Some(0xc3), "AMD Radeon RX 6800"),
    (0x73df, Some(0xc1), "AMD Radeon RX 6700 XT"),
    (0x73ff, Some(0xc1), "AMD Radeon RX 6600 XT"),
    (0x73ff, Some(0xc3), "AMD Radeon RX 6600M"),
    (0x73ff, None, "AMD Radeon RX 6600"),
];

/// Graphics inside a processor, by LLVM's list of AMD GPUs: they share the host's memory.
const INTEGRATED: &[&str] = &[
    "gfx700", "gfx801", "gfx810", "gfx902", "gfx909", "gfx90c", "gfx1013", "gfx1033", "gfx1035",
    "gfx1036", "gfx1037", "gfx1103", "gfx1150", "gfx1151", "gfx1152", "gfx1153",
];

/// The architecture that KFD's `gfx_target_version` stands for: 100302 is `gfx1032`, 90012 is
/// `gfx90c`.
pub(super) fn architecture(target: u64) -> String {
    format!("gfx{}{:x}{:x}", target / 10_000, target / 100 % 100, target % 100)
}

/// Whether it is part of a processor.
pub(super) fn is_integrated(architecture: &str) -> bool {
    INTEGRATED.contains(&architecture)
}

/// A card's name: the driver's own, libdrm's, ours, or that of its architecture.
pub(super) fn name(system: &System, pci: &str, architecture: &str) -> String {
    let folder = system.pci(pci);
    let read = |file: &str| read_text(&folder.join(file)).ok().filter(|text| !text.is_empty());
    if let Some(product) = read("product_name") {
        return product;
    }
    let number = |file: &str| {
        read(file).and_then(|text| u32::from_str_radix(text.trim_start_matches("0x"), 16).ok())
    };
    let (Some(device), revision) = (number("device"), number("revision")) else {
        return format!("AMD GPU {architecture}");
    };
    let known = |&&(card, wanted, _): &&(u32, Option<u32>, &str)| {
        card == device && (wanted.is_none() || wanted == revision)
    };
    listed(system, device, revision)
        .or_else(|| CARDS.iter().find(known).map(|(.., name)| (*name).to_owned()))
        .unwrap_or_else(|| format!("AMD GPU {architecture}"))
}

/// What libdrm's list says, where it is installed.
fn listed(system: &System, device: u32, revision: Option<u32>) -> Option<String> {
    let text = std::fs::read_to_string(system.path("usr/share/libdrm/amdgpu.ids")).ok()?;
    let wanted = (Some(device), Some(revision?));
    text.lines().find_map(|line| {
        let mut parts = line.splitn(3, ',').map(str::trim);
        let mut number = || u32::from_str_radix(parts.next()?, 16).ok();
        let found = (number(), number());
        parts.next().filter(|name| found == wanted && !name.is_empty()).map(str::to_owned)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_version_is_its_architecture() {
        let all = [100_302, 90_012, 90_010, 110_000, 80_003, 0].map(architecture);
        assert_eq!(all, ["gfx1032", "gfx90c", "gfx90a", "gfx1100", "gfx803", "gfx000"]);
        assert!(is_integrated("gfx90c") && !is_integrated("gfx1032"));
    }
}
