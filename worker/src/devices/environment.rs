//! What a child finds in its environment: its one device, and its architecture's profile.

use shared::{job::Arch, runner::ENV_DEVICE, settings::ArchProfile};

use super::Gpu;

/// What binds a child to its device: the worker's own, not for settings.
const BINDING: [&str; 6] = [
    "CUDA_DEVICE_ORDER",
    "CUDA_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "GPU_DEVICE_ORDINAL",
    ENV_DEVICE,
];

/// The variable of a profile that no profile may set, if there is one.
#[must_use]
pub fn reserved(profile: &ArchProfile) -> Option<&str> {
    let generic = profile.env.keys();
    let special = profile.gpu_env.values().flat_map(|env| env.keys());
    let own = |name: &&String| BINDING.contains(&name.as_str()) || name.starts_with("RIGQUEUE_");
    generic.chain(special).find(own).map(String::as_str)
}

/// What children of a slot of this architecture find beside the worker's own environment: their
/// profile's variables, and one GPU or (on processors) none. Whatever the worker's own environment
/// shows or hides, these variables go over it.
#[must_use]
pub fn environment(
    arch: Arch,
    gpu: Option<&Gpu>,
    profile: Option<&ArchProfile>,
) -> Vec<(String, String)> {
    let mut all = std::collections::BTreeMap::new();
    if let Some(profile) = profile {
        let special = gpu.and_then(|gpu| profile.gpu_env.get(&gpu.architecture));
        all.extend(special.into_iter().flatten());
        all.extend(&profile.env);
    }
    let profile = all
        .into_iter()
        // An empty value takes a default away.
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name.clone(), value.clone()));
    let binding = binding(arch, gpu);
    profile.chain(binding.into_iter().map(|(name, value)| (name.to_owned(), value))).collect()
}

/// Shows one GPU and hides every other, of both makers: an empty list shows none.
fn binding(arch: Arch, gpu: Option<&Gpu>) -> Vec<(&'static str, String)> {
    let shown = gpu.map(Gpu::visible).unwrap_or_default();
    let none = String::new;
    let mut all = match arch {
        Arch::Cpu => vec![("CUDA_VISIBLE_DEVICES", none()), ("ROCR_VISIBLE_DEVICES", none())],
        Arch::Cuda => vec![
            ("CUDA_DEVICE_ORDER", "PCI_BUS_ID".to_owned()),
            ("CUDA_VISIBLE_DEVICES", shown),
            ("ROCR_VISIBLE_DEVICES", none()),
        ],
        // HIP chooses from what ROCm's runtime shows it, so its one card is always number 0. Set,
        // it also keeps HIP from looking at CUDA_VISIBLE_DEVICES.
        Arch::Rocm => vec![
            ("CUDA_VISIBLE_DEVICES", none()),
            ("ROCR_VISIBLE_DEVICES", shown),
            ("HIP_VISIBLE_DEVICES", "0".to_owned()),
            ("GPU_DEVICE_ORDINAL", "0".to_owned()),
        ],
    };
    all.extend(gpu.map(|gpu| (ENV_DEVICE, gpu.proof().to_owned())));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(arch: Arch, architecture: &str, uuid: Option<&str>) -> Gpu {
        Gpu {
            index: 1,
            ordinal: 2,
            arch,
            architecture: architecture.to_owned(),
            name: "a card".to_owned(),
            uuid: uuid.map(str::to_owned),
            pci: "0000:03:00.0".to_owned(),
            memory_bytes: 0,
        }
    }

    fn shown(arch: Arch, gpu: Option<&Gpu>, profile: Option<&ArchProfile>) -> Vec<String> {
        let all = environment(arch, gpu, profile);
        all.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    #[test]
    fn a_child_is_shown_one_device_whatever_the_worker_sees() {
        let card = gpu(Arch::Cuda, "sm_86", Some("GPU-1"));
        assert_eq!(
            shown(Arch::Cuda, Some(&card), None),
            [
                "CUDA_DEVICE_ORDER=PCI_BUS_ID",
                "CUDA_VISIBLE_DEVICES=GPU-1",
                "ROCR_VISIBLE_DEVICES=",
                "RIGQUEUE_DEVICE=GPU-1"
            ]
        );
        let card = gpu(Arch::Rocm, "gfx1032", None);
        assert_eq!(
            shown(Arch::Rocm, Some(&card), None),
            [
                "CUDA_VISIBLE_DEVICES=",
                "ROCR_VISIBLE_DEVICES=2",
                "HIP_VISIBLE_DEVICES=0",
                "GPU_DEVICE_ORDINAL=0",
                "RIGQUEUE_DEVICE=0000:03:00.0"
            ]
        );
        let card = gpu(Arch::Rocm, "gfx1032", Some("GPU-0123456789abcdef"));
        let all = shown(Arch::Rocm, Some(&card), None);
        assert!(all.contains(&"ROCR_VISIBLE_DEVICES=GPU-0123456789abcdef".to_owned()), "{all:?}");
        assert!(all.contains(&"RIGQUEUE_DEVICE=0000:03:00.0".to_owned()), "OpenCL tells no UUID");
        let none = ["CUDA_VISIBLE_DEVICES=", "ROCR_VISIBLE_DEVICES="];
        assert_eq!(shown(Arch::Cpu, None, None), none);
    }

    #[test]
    fn a_profile_can_be_added_to_and_blanked() {
        let text = "[env]\nHSA_ENABLE_SDMA = \"\"\nROCM_PATH = \"/opt/rocm\"\n\
                    [gpu_env.gfx1032]\nHSA_OVERRIDE_GFX_VERSION = \"10.3.0\"\nHSA_ENABLE_SDMA = \"0\"";
        let mut profile: ArchProfile = toml::from_str(text).unwrap();
        let old = gpu(Arch::Rocm, "gfx1032", None);
        let new = gpu(Arch::Rocm, "gfx1100", None);
        let of = |gpu, profile: &ArchProfile| {
            let all = shown(Arch::Rocm, Some(gpu), Some(profile));
            all.into_iter().filter(|set| !set.contains("DEVICE")).collect::<Vec<_>>()
        };
        assert_eq!(of(&old, &profile), ["HSA_OVERRIDE_GFX_VERSION=10.3.0", "ROCM_PATH=/opt/rocm"]);
        assert_eq!(of(&new, &profile), ["ROCM_PATH=/opt/rocm"]);
        assert_eq!(reserved(&profile), None);
        profile.env.insert("HSA_OVERRIDE_GFX_VERSION".to_owned(), String::new());
        assert_eq!(of(&old, &profile), ["ROCM_PATH=/opt/rocm"]);
        profile.env.insert("HIP_VISIBLE_DEVICES".to_owned(), "1".to_owned());
        assert_eq!(reserved(&profile), Some("HIP_VISIBLE_DEVICES"));
    }
}
