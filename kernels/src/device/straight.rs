//! The first stage written out: no loop, no table, no memory. Every draw is an immediate of an
//! instruction, every skip's count a byte of a register.

use std::fmt::Write as _;

use super::{leap::Leaper, table::Rows};

/// Counts are bytes, and the test for `least` needs their highest bit.
pub(super) const MAX_DRAWS: u32 = 127;
/// Outputs and comparisons in a plan that is written out; a longer one would not fit the
/// instruction caches and takes long to compile.
pub(super) const MAX_LENGTH: u64 = 4096;
/// Outputs that are passed over in a row are written out up to this many.
const WRITTEN_PASSES: u64 = 32;

/// The C function `passes` for a necessary condition: some skip has `least` of the rows' draws.
pub(super) fn function(rows: &Rows, skips: u32, least: u32, leaper: Option<Leaper>) -> String {
    let words = skips.div_ceil(4);
    let mut text = String::from("FUNCTION int passes(u64 seed, TABLE tables) {\n");
    let mut line = |arguments: std::fmt::Arguments<'_>| {
        // Writing to a string can't fail.
        writeln!(text, "{arguments}").ok();
    };
    line(format_args!("    {} g;", if leaper.is_some() { "Rng" } else { "Quick" }));
    for word in 0..words {
        line(format_args!("    u32 c{word} = 0;"));
    }
    line(format_args!("    u32 r;"));
    line(format_args!("    {}_seed(&g, seed);", if leaper.is_some() { "rng" } else { "quick" }));
    let mut before = None;
    for (&position, pairs) in &rows.0 {
        if let Some(leaper) = leaper {
            let leap = leaper.leap(before, position);
            line(format_args!("    rng_leap(&g, (State){}ul, (State){}ul);", leap.a, leap.c));
            line(format_args!("    r = RESIDUE(rng_output(&g));"));
        } else {
            match position - before.map_or(0, |before: u64| before + 1) {
                passed @ 0..=WRITTEN_PASSES => {
                    for _ in 0..passed {
                        line(format_args!("    quick_pass(&g);"));
                    }
                }
                passed => {
                    line(format_args!("#pragma unroll 1"));
                    line(format_args!("    for (u32 i = 0; i < {passed}u; i++) quick_pass(&g);"));
                }
            }
            line(format_args!("    r = RESIDUE(quick_next(&g));"));
        }
        for pair in pairs {
            let (word, shift) = (pair.skip / 4, pair.skip % 4 * 8);
            line(format_args!("    MATCH(c{word}, r, {}u, {}u);", pair.draw, 1_u32 << shift));
        }
        before = Some(position);
    }
    // A byte that has `least` gets its highest bit.
    let lift = (128 - least) * 0x0101_0101;
    let lifted: Vec<String> = (0..words).map(|word| format!("(c{word} + {lift}u)")).collect();
    line(format_args!("    return (({}) & 0x80808080u) != 0;\n}}", lifted.join(" | ")));
    text
}
