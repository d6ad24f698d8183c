//! What the worker's own environment says of which cards it may use.
//!
//! It is followed where it can only mean one thing. It does not reach children: each finds its own
//! binding in these variables.

use shared::job::Arch;

use super::Gpu;

/// Those that the worker may use.
///
/// # Errors
/// One line, when a variable could mean another card than it names.
pub(super) fn visible(
    arch: Arch,
    gpus: Vec<Gpu>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Vec<Gpu>, String> {
    let (name, numbered) = match arch {
        Arch::Cpu => return Ok(gpus),
        Arch::Cuda => {
            let order = variable("CUDA_DEVICE_ORDER");
            ("CUDA_VISIBLE_DEVICES", order.as_deref() == Some("PCI_BUS_ID"))
        }
        Arch::Rocm => ("ROCR_VISIBLE_DEVICES", true),
    };
    if arch == Arch::Rocm {
        for other in ["HIP_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL"] {
            if let Some(value) = variable(other) {
                return Err(format!(
                    "{other} is '{}' in the worker's environment, which binds cards itself: unset it, \
                     and name the cards that it may use in {name}",
                    value.escape_debug()
                ));
            }
        }
    }
    let Some(value) = variable(name) else { return Ok(gpus) };
    let mut kept = vec![false; gpus.len()];
    for token in value.split(',').map(str::trim).filter(|token| !token.is_empty()) {
        let place = match token.parse::<u32>() {
            Ok(ordinal) if numbered => gpus.iter().position(|gpu| gpu.ordinal == ordinal),
            Ok(_) => {
                return Err(format!(
                    "{name} is '{}': without CUDA_DEVICE_ORDER=PCI_BUS_ID a number is no certain \
                     card; name UUIDs (`worker probe` shows them)",
                    value.escape_debug()
                ));
            }
            Err(_) => named(&gpus, token),
        };
        let Some(place) = place else {
            return Err(format!(
                "{name} is '{}', and '{}' is no one card of this machine (see `worker probe`)",
                value.escape_debug(),
                token.escape_debug()
            ));
        };
        kept[place] = true;
    }
    Ok(gpus.into_iter().zip(kept).filter_map(|(gpu, kept)| kept.then_some(gpu)).collect())
}

/// The one card whose UUID begins so.
fn named(gpus: &[Gpu], token: &str) -> Option<usize> {
    let token = token.to_ascii_lowercase();
    let begins = |gpu: &Gpu| {
        gpu.uuid.as_ref().is_some_and(|uuid| uuid.to_ascii_lowercase().starts_with(&token))
    };
    let mut places = gpus.iter().enumerate().filter(|(_, gpu)| begins(gpu)).map(|(place, _)| place);
    places.next().filter(|_| token.len() > 4 && places.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpus(arch: Arch) -> Vec<Gpu> {
        let gpu = |index| Gpu {
            index,
            ordinal: index + 1,
            arch,
            architecture: String::new(),
            name: String::new(),
            uuid: Some(format!("GPU-abc{index}")),
            pci: format!("0000:0{index}:00.0"),
            memory_bytes: 0,
        };
        (0..3).map(gpu).collect()
    }

    fn kept(arch: Arch, set: &[(&str, &str)]) -> Result<Vec<u32>, String> {
        let variable = |name: &str| {
            set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        visible(arch, gpus(arch), variable)
            .map(|gpus| gpus.into_iter().map(|gpu| gpu.index).collect())
    }

    #[test]
    fn what_is_certain_is_followed() {
        let cuda = "CUDA_VISIBLE_DEVICES";
        let rocm = "ROCR_VISIBLE_DEVICES";
        assert_eq!(kept(Arch::Cuda, &[]).unwrap(), [0, 1, 2]);
        assert_eq!(kept(Arch::Cuda, &[(cuda, "GPU-ABC2,GPU-abc0")]).unwrap(), [0, 2]);
        assert_eq!(kept(Arch::Cuda, &[(cuda, "")]).unwrap(), [0; 0]);
        let order = ("CUDA_DEVICE_ORDER", "PCI_BUS_ID");
        assert_eq!(kept(Arch::Cuda, &[(cuda, "1"), order]).unwrap(), [0], "by its own number");
        assert_eq!(kept(Arch::Rocm, &[(rocm, " 3 , gpu-abc1")]).unwrap(), [1, 2]);
        assert_eq!(kept(Arch::Rocm, &[(cuda, "9")]).unwrap(), [0, 1, 2], "not its own");
        assert_eq!(kept(Arch::Cpu, &[(cuda, "9")]).unwrap(), [0, 1, 2]);
    }

    #[test]
    fn what_is_doubtful_is_refused_by_name() {
        for (arch, name, value) in [
            (Arch::Cuda, "CUDA_VISIBLE_DEVICES", "0"),
            (Arch::Cuda, "CUDA_VISIBLE_DEVICES", "GPU-abc"),
            (Arch::Cuda, "CUDA_VISIBLE_DEVICES", "MIG-1"),
            (Arch::Rocm, "ROCR_VISIBLE_DEVICES", "0"),
            (Arch::Rocm, "HIP_VISIBLE_DEVICES", "0"),
            (Arch::Rocm, "GPU_DEVICE_ORDINAL", ""),
        ] {
            let why = kept(arch, &[(name, value)]).unwrap_err();
            assert!(why.contains(name) && why.contains(value), "{why}");
        }
    }
}
