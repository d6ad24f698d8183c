//! The OpenCL source through clang, for the RX 6600's gfx1032.

use std::{fs, process::Command};

use kernels::device::{GROUP, Language, Plan};

use crate::{Made, folder};

/// Integer operations a second of an RX 6600: the model of the design, no measurement.
pub(crate) const OPERATIONS: f64 = 4.46e12;
/// Instructions that take four turns: full products of 32 bits.
const SLOW: [&str; 5] =
    ["v_mul_lo_u32", "v_mul_hi_u32", "v_mad_u64_u32", "v_mul_hi_i32", "v_mad_i64_i32"];

/// What the driver's library would bring, so that no call to it is left in the kernels.
fn builtins() -> String {
    format!(
        "#define get_global_id(d) \
         ((size_t)__builtin_amdgcn_workgroup_id_x() * {GROUP} + __builtin_amdgcn_workitem_id_x())\n\
         #define get_global_size(d) 16384\n\
         #define atomic_inc(p) __builtin_amdgcn_atomic_inc32(p, ~0u, __ATOMIC_RELAXED, \"agent\")\n"
    )
}

pub(crate) fn make(plan: &Plan) -> Made {
    let (source, text) = (folder().join("evidence.cl"), folder().join("evidence.s"));
    fs::write(&source, builtins() + &plan.source(Language::OpenCl)).unwrap();
    let clang = ["clang-15", "clang-14", "clang"]
        .into_iter()
        .find(|name| Command::new(name).arg("--version").output().is_ok())
        .unwrap();
    let output = Command::new(clang)
        .args(["-x", "cl", "-cl-std=CL1.2", "-Xclang", "-finclude-default-header"])
        .args(["-target", "amdgcn-amd-amdhsa", "-mcpu=gfx1032", "-nogpulib", "-O3", "-S", "-o"])
        .args([&text, &source])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(&text).unwrap();
    let body = text.split("\nfilter:").nth(1).unwrap().split(".end_amdhsa_kernel").next().unwrap();
    let body = body.split(".section").next().unwrap();
    let words = body.lines().filter_map(|line| line.split_whitespace().next());
    let instructions: Vec<&str> = words.filter(|word| word.starts_with("v_")).collect();
    let slow = |word: &&&str| SLOW.iter().any(|slow| word.starts_with(slow));
    let slow = instructions.iter().filter(slow).count();
    // The figures of one kernel stand before its name in the closing list.
    let list = text.split("amdhsa.kernels:").nth(1).unwrap();
    let about = list.split("  - .args:").find(|part| part.contains(".name:           filter"));
    let number = |name: &str| -> u32 {
        let rest = about.unwrap().split(name).nth(1).unwrap();
        rest.split_whitespace().next().unwrap().parse().unwrap()
    };
    let count = u32::try_from(instructions.len()).unwrap();
    Made {
        registers: number(".vgpr_count:"),
        spilled_bytes: 4 * (number(".vgpr_spill_count:") + number(".sgpr_spill_count:")),
        instructions: count,
        turns: count + 3 * u32::try_from(slow).unwrap(),
    }
}
