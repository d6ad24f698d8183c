//! What the compilers make of the device code, for cards that nobody here has: registers, spills
//! and instructions of the first stage under the standard plan A (30 draws, skips 0 to 20,
//! threshold .25), as a table for docs/devices.md. It is no measurement.
//!
//! Takes NVRTC and ptxas from target/nvidia (`.ci/install-nvrtc`), and clang.
#![expect(clippy::print_stdout, reason = "the table is what it is for")]
#![expect(clippy::unwrap_used, reason = "a tool for developers stops where something is wrong")]

mod amd;
#[expect(dead_code, reason = "the runner chooses among targets, this does not")]
#[path = "../../src/bin/runner_cuda/compiler.rs"]
mod compiler;
mod nvidia;

use std::path::{Path, PathBuf};

use kernels::device::{Form, Plan};
use shared::{
    families::Family,
    sieve::{Direction, Mode, Sieve, Skips},
    witness::Witness,
};

/// What a compiler made of the first stage.
#[derive(Debug)]
struct Made {
    registers: u32,
    spilled_bytes: u32,
    /// Instructions of the whole kernel, which is one seed's work where nothing loops.
    instructions: u32,
    /// The same, slow ones counted as often as they take turns.
    turns: u32,
}

fn standard_plan(family: Family) -> (Plan, u32) {
    let draws: Vec<u32> = (0..30).map(|draw| (draw * 617 + 123) % 1000).collect();
    let sieve = Sieve {
        family,
        direction: Direction::Forward,
        mode: Mode::Fixed,
        modulus: 1000,
        draws,
        advance: 0,
        skips: Skips { lo: 0, hi: 20 },
        need: 8,
        reverse_need: 8,
    };
    // A piece of 2^32 seeds expects 1,300 near misses of four matches.
    let plan = Plan::new(&sieve, Witness::new(30, 8, 4), false, Form::Shortest).unwrap();
    let tests = plan.first_draws() * sieve.skips.count();
    (plan, tests)
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/nvidia")
}

fn main() {
    println!(
        "| family | sm_86 registers, spills | instructions | a test | 3080 Ti | gfx1032 registers, spills | instructions (turns) | a test | RX 6600 |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    for &family in Family::ALL {
        if !wanted.is_empty() && !wanted.iter().any(|name| name == family.name()) {
            continue;
        }
        let (plan, tests) = standard_plan(family);
        let sm86 = nvidia::make(&plan);
        let gfx1032 = amd::make(&plan);
        let share = |made: &Made| f64::from(made.instructions) / f64::from(tests);
        println!(
            "| `{family}` | {}, {} B | {} | {:.1} | {:.2} G/s | {}, {} B | {} ({}) | {:.1} | {:.2} G/s |",
            sm86.registers,
            sm86.spilled_bytes,
            sm86.instructions,
            share(&sm86),
            nvidia::OPERATIONS / f64::from(sm86.turns) / 1e9,
            gfx1032.registers,
            gfx1032.spilled_bytes,
            gfx1032.instructions,
            gfx1032.turns,
            share(&gfx1032),
            amd::OPERATIONS / f64::from(gfx1032.turns) / 1e9,
        );
    }
}
