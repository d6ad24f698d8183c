//! AMD's cards, from KFD's topology (what ROCm's runtime itself reads) and PCI's files.

use std::{collections::BTreeMap, fs, io, path::Path};

use shared::job::Arch;

use super::{
    Found, Gpu, LeftOut,
    gpu::pci_address,
    names,
    system::{System, read_text},
};

/// AMD's number in PCI, as KFD writes it.
const VENDOR: u64 = 0x1002;

/// All that KFD and the graphics driver know. `ordinal` counts as ROCm's runtime does: every node
/// that computes, in the order of the nodes, whether it takes jobs or not.
pub(super) fn amd(system: &System) -> Found {
    let mut found = Found::default();
    let mut known = Vec::new();
    let mut ordinal = 0;
    for node in nodes(&system.path("sys/class/kfd/kfd/topology/nodes")) {
        let properties = match properties(&node) {
            Ok(properties) => properties,
            Err(error) => {
                let why = format!("its description in {} can't be read: {error}", node.display());
                found.left_out.push(LeftOut { pci: String::new(), name: "a KFD node".into(), why });
                continue;
            }
        };
        let get = |key: &str| properties.get(key).copied().unwrap_or_default();
        if get("simd_count") == 0 {
            continue;
        }
        ordinal += 1;
        let (domain, place) = (get("domain"), get("location_id"));
        let pci = format!(
            "{domain:04x}:{:02x}:{:02x}.{}",
            place >> 8 & 0xff,
            place >> 3 & 0x1f,
            place & 7
        );
        let architecture = names::architecture(get("gfx_target_version"));
        let name = names::name(system, &pci, &architecture);
        known.push(pci.clone());
        let foreign = get("vendor_id") != VENDOR;
        if foreign || get("cpu_cores_count") > 0 || names::is_integrated(&architecture) {
            let why = if foreign {
                format!("its vendor is {:#06x}, which is not AMD", get("vendor_id"))
            } else {
                format!("{architecture} is part of a processor and shares the host's memory")
            };
            found.left_out.push(LeftOut { pci, name, why });
            continue;
        }
        let unique = get("unique_id");
        let memory = read_text(&system.pci(&pci).join("mem_info_vram_total"));
        found.gpus.push(Gpu {
            index: 0,
            ordinal: ordinal - 1,
            arch: Arch::Rocm,
            architecture,
            name,
            uuid: (unique != 0).then(|| format!("GPU-{unique:016x}")),
            memory_bytes: memory.ok().and_then(|text| text.parse().ok()).unwrap_or_default(),
            pci,
        });
    }
    forget_doubtful(&mut found.gpus);
    found.left_out.extend(without_node(system, &known));
    found
}

/// A UUID that two cards share names neither; ROCm's runtime takes neither then.
fn forget_doubtful(gpus: &mut [Gpu]) {
    let all: Vec<_> = gpus.iter().map(|gpu| gpu.uuid.clone()).collect();
    for gpu in gpus {
        if all.iter().filter(|uuid| **uuid == gpu.uuid).count() > 1 {
            gpu.uuid = None;
        }
    }
}

/// The folders of KFD's nodes, in the order of their numbers.
fn nodes(folder: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut nodes: Vec<(u32, _)> = entries
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
        .collect();
    nodes.sort_unstable();
    nodes.into_iter().map(|(_, path)| path).collect()
}

fn properties(node: &Path) -> io::Result<BTreeMap<String, u64>> {
    let text = read_text(&node.join("properties"))?;
    let pairs = text.lines().filter_map(|line| line.trim().split_once(' '));
    Ok(pairs
        .filter_map(|(key, value)| Some((key.to_owned(), value.trim().parse().ok()?)))
        .collect())
}

/// Cards that the graphics driver has and KFD does not: ROCm can't use them.
fn without_node(system: &System, known: &[String]) -> Vec<LeftOut> {
    let Ok(entries) = fs::read_dir(system.path("sys/class/drm")) else { return Vec::new() };
    let mut cards: Vec<LeftOut> = entries
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix("card"));
            number.is_some_and(|number| number.parse::<u32>().is_ok())
        })
        .filter_map(|entry| {
            let folder = entry.path().join("device");
            if read_text(&folder.join("vendor")).ok()? != "0x1002" {
                return None;
            }
            let uevent = read_text(&folder.join("uevent")).ok()?;
            let slot = uevent.lines().find_map(|line| line.strip_prefix("PCI_SLOT_NAME="))?;
            let pci = pci_address(slot).filter(|pci| !known.contains(pci))?;
            let why = "the kernel's compute driver (KFD) does not know it: see `dmesg | grep kfd`, \
                       and whether this user may read /sys/class/kfd and is in the group render";
            Some(LeftOut { name: names::name(system, &pci, "without KFD"), pci, why: why.into() })
        })
        .collect();
    cards.sort_unstable_by(|a, b| a.pci.cmp(&b.pci));
    cards
}
