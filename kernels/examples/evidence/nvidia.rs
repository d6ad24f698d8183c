//! NVRTC's PTX through ptxas, for the RTX 3080 Ti's sm_86.

use std::{fs, process::Command};

use kernels::device::{Language, Plan};

use crate::{
    Made,
    compiler::{Compiler, Target},
    folder,
};

/// Integer operations a second of an RTX 3080 Ti: the model of the design, no measurement.
pub(crate) const OPERATIONS: f64 = 13e12;
/// Bytes of one instruction.
const INSTRUCTION: u64 = 16;

pub(crate) fn make(plan: &Plan) -> Made {
    let nvrtc = folder().join("nvidia/cuda_nvrtc/lib/libnvrtc.so.12");
    let compiler = Compiler::load(Some(nvrtc.as_os_str())).unwrap();
    let ptx = compiler.compile(&plan.source(Language::Cuda), Target::Virtual(86)).unwrap();
    let (text, cubin) = (folder().join("evidence.ptx"), folder().join("evidence.cubin"));
    fs::write(&text, ptx.trim_ascii_end().strip_suffix(b"\0").unwrap_or(&ptx)).unwrap();
    let output = Command::new(folder().join("nvidia/cuda_nvcc/bin/ptxas"))
        .args(["-v", "-O3", "-arch=sm_86", "-o"])
        .args([&cubin, &text])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    // The lines after "Compiling entry function 'filter'".
    let about = said.split("entry function 'filter'").nth(1).unwrap();
    let number = |before: &str| -> u32 {
        let head = about.split(before).next().unwrap();
        head.split_whitespace().next_back().unwrap().parse().unwrap()
    };
    let instructions = section(&fs::read(&cubin).unwrap(), ".text.filter") / INSTRUCTION;
    let instructions = u32::try_from(instructions).unwrap();
    Made {
        registers: number(" registers"),
        spilled_bytes: number(" bytes spill stores"),
        instructions,
        turns: instructions,
    }
}

/// The length of a section of a 64-bit ELF file.
fn section(elf: &[u8], name: &str) -> u64 {
    let word = |at: u64, bytes: usize| {
        let mut all = [0; 8];
        all[..bytes].copy_from_slice(&elf[at as usize..][..bytes]);
        u64::from_le_bytes(all)
    };
    let (headers, each, count) = (word(0x28, 8), word(0x3A, 2), word(0x3C, 2));
    let header = |index: u64| headers + index * each;
    let names = word(header(word(0x3E, 2)) + 0x18, 8);
    let called = |index: u64| {
        let text = &elf[(names + word(header(index), 4)) as usize..];
        text.split(|&byte| byte == 0).next() == Some(name.as_bytes())
    };
    let found = (0..count).find(|&index| called(index)).unwrap();
    word(header(found) + 0x20, 8)
}
