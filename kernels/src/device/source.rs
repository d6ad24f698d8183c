//! The program's text: what the language means, what the plan fixes, the family, the sieve.

use std::fmt::Write as _;

use shared::families::Family;

use crate::affine::Affine;

/// Items of one group (a block of threads in CUDA's words).
pub const GROUP: usize = 128;
/// Consecutive seeds that one item tests by a table. A first stage that is written out is a seed's
/// work as it stands: in a loop the compilers would hold its constants in registers, all of them.
pub(super) const SEEDS: u32 = 16;
/// Seeds that may pass the first stage of one launch.
pub const QUEUE_LENGTH: usize = 1 << 20;
/// Seeds that may survive one launch.
pub const FOUND_LENGTH: usize = 1 << 16;
/// Items that examine what passed the first stage.
pub const EXAMINERS: usize = 128 * GROUP;

/// The language that a program is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// CUDA C++.
    Cuda,
    /// OpenCL C 1.2.
    OpenCl,
}

/// A table with the matches that are asked of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stage {
    pub(super) at: usize,
    pub(super) least: u32,
}

/// What the plan fixes.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) family: Family,
    pub(super) modulus: u32,
    pub(super) skips: u32,
    pub(super) affine: bool,
    pub(super) listed: bool,
    /// The last position of the first stage.
    pub(super) last_position: u64,
    pub(super) first: Stage,
    pub(super) near: Stage,
    pub(super) whole: Stage,
    pub(super) reverse: Option<Stage>,
    /// With variable skips.
    pub(super) variable: Option<Walks>,
}

/// What walks need to know.
#[derive(Debug, Clone, Copy)]
pub(super) struct Walks {
    /// How many draws there are.
    pub(super) window: u32,
    /// Outputs that are passed over first.
    pub(super) advance: u32,
    /// For families that leap: to the first output after those, and from one to the next.
    pub(super) leaps: Option<(Affine, Affine)>,
}

impl Shape {
    /// How many consecutive seeds one item of `filter` tests.
    pub(super) const fn seeds_per_item(&self, straight: bool) -> u32 {
        if straight || self.variable.is_some() { 1 } else { SEEDS }
    }
}

pub(super) fn assemble(language: Language, shape: &Shape, straight: Option<&str>) -> String {
    let prelude = match language {
        Language::Cuda => include_str!("../../device/cuda.h"),
        Language::OpenCl => include_str!("../../device/opencl.h"),
    };
    let mut text = defines(shape, straight.is_some());
    for part in [
        prelude,
        include_str!("../../device/words.h"),
        family(shape.family).1,
        include_str!("../../device/quick.h"),
        straight.unwrap_or_default(),
        match shape.variable {
            Some(_) => include_str!("../../device/variable.c"),
            None => include_str!("../../device/fixed.c"),
        },
        include_str!("../../device/sieve.c"),
    ] {
        text.push_str(part);
    }
    text
}

fn defines(shape: &Shape, straight: bool) -> String {
    let mut text = String::new();
    let mut define = |name: &str, value: &dyn std::fmt::Display| {
        // Writing to a string can't fail.
        writeln!(text, "#define {name} {value}").ok();
    };
    define(family(shape.family).0, &"");
    let wide = shape.family.about().output_bits == 64;
    define("RESIDUE", &if wide { "residue_64" } else { "residue_32" });
    define("MODULUS", &format_args!("{}u", shape.modulus));
    define("MODULUS_TWOS", &shape.modulus.trailing_zeros());
    define("SKIPS", &shape.skips);
    define("GROUP", &GROUP);
    define("SEEDS", &shape.seeds_per_item(straight));
    define("QUEUE_LENGTH", &format_args!("{QUEUE_LENGTH}u"));
    define("FOUND_LENGTH", &format_args!("{FOUND_LENGTH}u"));
    define("LAST_POSITION", &shape.last_position);
    let stages = [
        ("FIRST", Some(shape.first)),
        ("NEAR", Some(shape.near)),
        ("WHOLE", Some(shape.whole)),
        ("REVERSE", shape.reverse),
    ];
    for (name, stage) in stages {
        if let Some(stage) = stage {
            define(&format!("{name}_AT"), &stage.at);
            define(&format!("{name}_LEAST"), &format_args!("{}u", stage.least));
        }
    }
    if let Some(Walks { window, advance, leaps }) = shape.variable {
        define("VARIABLE", &"");
        define("WINDOW", &format_args!("{window}u"));
        define("ADVANCE", &format_args!("{advance}u"));
        for (name, leap) in leaps.into_iter().flat_map(|(a, b)| [("START", a), ("STEP", b)]) {
            define(&format!("{name}_A"), &format_args!("{}ul", leap.a));
            define(&format!("{name}_C"), &format_args!("{}ul", leap.c));
        }
    }
    for (name, set) in [("AFFINE", shape.affine), ("LISTED", shape.listed), ("STRAIGHT", straight)]
    {
        if set {
            define(name, &"");
        }
    }
    text
}

/// What a family is called in its file, and the file.
const fn family(family: Family) -> (&'static str, &'static str) {
    const XORSHIFT: &str = include_str!("../../device/xorshift.h");
    const LCG: &str = include_str!("../../device/lcg.h");
    const WIDE: &str = include_str!("../../device/wide.h");
    const PHILOX: &str = include_str!("../../device/philox.h");
    const MERSENNE: &str = include_str!("../../device/mersenne.h");
    match family {
        Family::Xorshift32 => ("XORSHIFT32", XORSHIFT),
        Family::Lcg32 => ("LCG32", LCG),
        Family::JavaLcg => ("JAVA_LCG", LCG),
        // The two differ in their multiplier alone, which the plan brings.
        Family::Minstd | Family::MinstdRand0 => ("MINSTD", LCG),
        Family::Xorshift64 => ("XORSHIFT64", XORSHIFT),
        Family::Xorshift128 => ("XORSHIFT128", XORSHIFT),
        Family::Pcg32 => ("PCG32", LCG),
        Family::Xoshiro256pp => ("XOSHIRO256PP", WIDE),
        Family::Sfc64 => ("SFC64", WIDE),
        Family::Philox4x32 => ("PHILOX4X32", PHILOX),
        Family::Mt19937 => ("MT19937", MERSENNE),
        Family::JavaRandom => ("JAVA_RANDOM", include_str!("../../device/java_random.h")),
        Family::AnsiC => ("ANSI_C", LCG),
        Family::MsvcRand => ("MSVC_RAND", LCG),
        Family::GlibcRandom => ("GLIBC_RANDOM", include_str!("../../device/glibc.h")),
        Family::PhpMtRand => ("PHP_MT_RAND", MERSENNE),
        Family::PythonRandom => ("PYTHON_RANDOM", MERSENNE),
        Family::Xorshift64star => ("XORSHIFT64STAR", XORSHIFT),
        Family::Pcg32Srandom => ("PCG32_SRANDOM", LCG),
        Family::Xoshiro256ppSplitmix => ("XOSHIRO256PP_SPLITMIX", WIDE),
        Family::Philox4x32Full => ("PHILOX4X32_FULL", PHILOX),
    }
}
