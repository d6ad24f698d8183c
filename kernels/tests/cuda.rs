//! Every kernel is accepted by CUDA's own compiler, for each generation of cards in the fleet. No
//! card is needed for this.
#![expect(clippy::print_stdout, reason = "a test that is skipped says so")]
#![expect(clippy::unwrap_used, reason = "a test stops where something is wrong")]

#[path = "../src/bin/runner_cuda/compiler.rs"]
mod compiler;

use std::path::Path;

use compiler::{Compiler, Target};
use kernels::device::{Form, Language, Plan};
use shared::{
    families::Family,
    sieve::{Direction, Mode, Sieve, Skips},
    witness::Witness,
};

/// NVRTC as .ci/install-nvrtc unpacks it, or as the system has it; `None` with a message where there
/// is none.
fn compiler() -> Option<Compiler> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/nvidia/nvidia/cuda_nvrtc/lib/libnvrtc.so.12");
    let path = own.is_file().then_some(own.as_os_str());
    let found = Compiler::load(path);
    if let Err(fault) = &found {
        println!("skipped: {fault}");
    }
    found.ok()
}

fn plan(family: Family, direction: Direction, draws: u32, form: Form) -> Plan {
    let sieve = Sieve {
        family,
        direction,
        mode: Mode::Fixed,
        modulus: 1000,
        draws: (0..draws).map(|draw| (draw * 617 + 123) % 1000).collect(),
        advance: 0,
        skips: Skips { lo: 0, hi: 5 },
        need: draws / 2,
        reverse_need: draws / 2,
    };
    let witness = Witness::new(draws, draws / 2, 2);
    Plan::new(&sieve, witness, direction == Direction::Reverse, form).unwrap()
}

fn variable(family: Family, direction: Direction) -> Plan {
    let sieve = Sieve {
        family,
        direction,
        mode: Mode::Variable,
        modulus: 1000,
        draws: (0..12).map(|draw| (draw * 617 + 123) % 1000).collect(),
        advance: 3,
        skips: Skips { lo: 0, hi: 0 },
        need: 6,
        reverse_need: 6,
    };
    let listed = direction == Direction::Reverse;
    Plan::new(&sieve, Witness::new(12, 6, 2), listed, Form::Shortest).unwrap()
}

fn assert_all_compile(families: &[Family]) {
    let Some(compiler) = compiler() else { return };
    for &family in families {
        for (capability, direction, form) in [
            (75, Direction::Forward, Form::Shortest),
            (75, Direction::Both, Form::Table),
            (86, Direction::Both, Form::Shortest),
            (86, Direction::Reverse, Form::Table),
            (90, Direction::Reverse, Form::Shortest),
            (90, Direction::Forward, Form::Table),
        ] {
            let target = compiler.target(capability).unwrap();
            assert_eq!(target, Target::Card(capability));
            let source = plan(family, direction, 12, form).source(Language::Cuda);
            let cubin = compiler.compile(&source, target).unwrap();
            assert!(cubin.starts_with(b"\x7fELF"), "{family}");
        }
        for (capability, direction) in
            [(75, Direction::Forward), (86, Direction::Both), (90, Direction::Reverse)]
        {
            let source = variable(family, direction).source(Language::Cuda);
            let cubin = compiler.compile(&source, Target::Card(capability)).unwrap();
            assert!(cubin.starts_with(b"\x7fELF"), "{family}");
        }
    }
}

#[test]
fn nvrtc_compiles_the_first_families_for_every_generation() {
    assert_all_compile(&Family::ALL[..14]);
}

#[test]
fn nvrtc_compiles_the_other_families_for_every_generation() {
    assert_all_compile(&Family::ALL[14..]);
}

/// A card that is newer than the compiler gets what its driver can translate.
#[test]
fn a_card_of_the_future_gets_ptx() {
    let Some(compiler) = compiler() else { return };
    let target = compiler.target(999).unwrap();
    assert!(matches!(target, Target::Virtual(_)), "{target:?}");
    let source = plan(Family::Pcg32, Direction::Forward, 8, Form::Shortest).source(Language::Cuda);
    let ptx = compiler.compile(&source, target).unwrap();
    assert!(ptx.ends_with(b"\0") && String::from_utf8_lossy(&ptx).contains(".entry filter"));
    assert!(compiler.target(10).is_err());
}

#[test]
fn what_does_not_compile_is_told_with_the_compilers_words() {
    let Some(compiler) = compiler() else { return };
    let fault = compiler.compile("nonsense;", Target::Card(86)).unwrap_err();
    assert!(fault.detail.contains("nonsense") || fault.detail.contains("error"), "{fault}");
}
