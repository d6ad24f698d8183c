//! Machines with cards, as files: what the kernel shows of AMD's cards below `/sys`, and what
//! NVIDIA's library would answer. None was copied from a real rig: names and formats are those of
//! the kernel's own documentation (amdgpu's files, KFD's topology), the values those of an RX 6600.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

/// The variable that makes a worker look at a tree instead of at this machine.
pub(crate) const ROOT: &str = "RIGQUEUE_SYSTEM_ROOT";

/// A made machine in a folder.
pub(crate) struct Machine {
    root: PathBuf,
    nodes: u32,
}

/// One made card.
pub(crate) struct Card {
    /// Where its files lie.
    pub(crate) folder: PathBuf,
}

impl Machine {
    /// One with a processor and no card.
    pub(crate) fn new(root: &Path) -> Self {
        let mut machine = Self { root: root.to_owned(), nodes: 0 };
        machine.node("cpu_cores_count 4\nsimd_count 0\nvendor_id 0\ngfx_target_version 0\n", 0);
        machine.write("sys/module/amdgpu/parameters/ppfeaturemask", "0xfff73fff\n");
        machine.write("dev/kmsg", "");
        machine
    }

    /// One with so many healthy RX 6600.
    pub(crate) fn of_rx6600(root: &Path, count: u32) -> Self {
        let mut machine = Self::new(root);
        for number in 0..count {
            machine.rx6600(number, 3 + 3 * number);
        }
        machine
    }

    /// Writes a file.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn node(&mut self, properties: &str, gpu_id: u32) {
        let folder = format!("sys/class/kfd/kfd/topology/nodes/{}", self.nodes);
        self.nodes += 1;
        self.write(&format!("{folder}/properties"), properties);
        self.write(&format!("{folder}/gpu_id"), &format!("{gpu_id}\n"));
    }

    /// A healthy RX 6600: the number tells it from its like wherever it sits.
    pub(crate) fn rx6600(&mut self, number: u32, bus: u32) -> Card {
        self.compute_node(bus, 100_302, 0, 0xa5f0_0000_0000_0001 + u64::from(number));
        self.card(bus, "0x73ff", "0xc7")
    }

    /// A compute node at `bus`, of this `gfx_target_version`.
    pub(crate) fn compute_node(&mut self, bus: u32, target: u32, cores: u32, unique: u64) {
        let properties = format!(
            "cpu_cores_count {cores}\nsimd_count 56\nmem_banks_count 1\nvendor_id 4098\n\
             device_id 29695\nlocation_id {}\ndomain 0\ngfx_target_version {target}\n\
             drm_render_minor {}\nunique_id {unique}\n",
            bus << 8,
            127 + self.nodes
        );
        self.node(&properties, 1000 + bus);
    }

    /// What PCI and the graphics driver show of a card.
    pub(crate) fn card(&self, bus: u32, device: &str, revision: &str) -> Card {
        let pci = format!("0000:{bus:02x}:00.0");
        let folder = format!("sys/bus/pci/devices/{pci}");
        for (file, text) in [
            ("vendor", "0x1002"),
            ("device", device),
            ("revision", revision),
            ("uevent", &format!("DRIVER=amdgpu\nPCI_ID=1002:73FF\nPCI_SLOT_NAME={pci}")),
            ("power/runtime_status", "active"),
            ("mem_info_vram_total", "8573157376"),
            ("mem_info_vram_used", "23068672"),
            ("gpu_busy_percent", "0"),
            ("hwmon/hwmon4/name", "amdgpu"),
            ("hwmon/hwmon4/temp1_input", "47000"),
            ("hwmon/hwmon4/temp1_crit", "100000"),
        ] {
            self.write(&format!("{folder}/{file}"), &format!("{text}\n"));
        }
        let folder = self.root.join(folder);
        fs::write(folder.join("config"), [0x02, 0x10, 0xff, 0x73, 0, 0, 0, 0]).unwrap();
        symlink("../../../../bus/pci/drivers/amdgpu", folder.join("driver")).unwrap();
        let drm = self.root.join(format!("sys/class/drm/card{bus}"));
        fs::create_dir_all(&drm).unwrap();
        symlink(format!("../../../bus/pci/devices/{pci}"), drm.join("device")).unwrap();
        Card { folder }
    }

    /// What NVIDIA's library answers: so many RTX 3080 Ti.
    pub(crate) fn nvidia(&self, count: u32) {
        let seen: Vec<Value> = (0..count).map(rtx_3080_ti).collect();
        let answer = json!({ "driver": "550.54.14", "gpus": seen });
        self.write("nvml.json", &answer.to_string());
    }
}

fn rtx_3080_ti(number: u32) -> Value {
    json!({
        "gpu": {
            "index": number,
            "ordinal": number,
            "arch": "cuda",
            "architecture": "sm_86",
            "name": "NVIDIA GeForce RTX 3080 Ti",
            "uuid": format!("GPU-00000000-0000-4000-8000-{number:012}"),
            "pci": format!("0000:{:02x}:00.0", 1 + number),
            "memory_bytes": 12_884_901_888_u64,
        },
        "health": {
            "condition": "good",
            "why": "",
            "readings": {
                "temperature_c": 41,
                "utilisation_percent": 0,
                "memory_used_bytes": 0,
                "memory_total_bytes": 12_884_901_888_u64,
            },
        },
    })
}

impl Card {
    /// A file's new text.
    pub(crate) fn set(&self, file: &str, text: &str) {
        fs::write(self.folder.join(file), text).unwrap();
    }

    /// From now on reading this file fails with EIO, as a hung card's files do: the first page of
    /// a process is mapped by none.
    pub(crate) fn fails(&self, file: &str) {
        let path = self.folder.join(file);
        fs::remove_file(&path).unwrap();
        symlink("/proc/self/mem", path).unwrap();
    }

    /// From now on reading this file does not come back, until [`Card::answers`].
    pub(crate) fn hangs(&self, file: &str) {
        let path = self.folder.join(file);
        fs::remove_file(&path).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
    }

    /// A file that hung is read again by whoever waits for it.
    pub(crate) fn answers(&self, file: &str, text: &str) {
        fs::write(self.folder.join(file), text).unwrap();
    }
}
