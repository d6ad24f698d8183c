//! Seedless tests (SIEVES.md section 3.5): whether draws can come from a family at all.

mod elimination;
mod linear;
mod low_bits;
mod symbols;

use std::time::Instant;

use shared::{
    families::Family,
    screen::{Finding, MAX_DRAWS, MAX_SKIP, Screen, Verdict},
    structure::PowerLcg,
};

use symbols::Kind;

/// Beyond what determines a start, so many bits must agree: chance does that once in a million.
const SPARE_BITS: u64 = 20;

/// The draws that every answer is about.
#[derive(Debug, Clone, Copy)]
struct Draws<'a> {
    /// Each below the modulus.
    values: &'a [u32],
    /// How many of an output's lowest bits a draw shows: the modulus' factors of two.
    bits: u32,
}

/// What a question that makes no sense should be instead.
///
/// # Errors
/// One line.
pub fn check(screen: &Screen) -> Result<(), String> {
    let Screen { modulus, draws, skips, .. } = screen;
    if *modulus < 2 {
        return Err(format!("the modulus {modulus} is out of range: it must be at least 2"));
    }
    if draws.is_empty() || draws.len() > MAX_DRAWS {
        return Err(format!("there are {} draws; it must be 1 to {MAX_DRAWS}", draws.len()));
    }
    if let Some(draw) = draws.iter().find(|draw| *draw >= modulus) {
        return Err(format!("the draw {draw} is not below the modulus {modulus}"));
    }
    if skips.lo > skips.hi || skips.hi > MAX_SKIP {
        let (lo, hi) = (skips.lo, skips.hi);
        return Err(format!("the skips {lo}..={hi} are not a range within 0..={MAX_SKIP}"));
    }
    Ok(())
}

/// Answers family by family. `progress` hears how far all of it is, from 0 to 1.
///
/// # Errors
/// What `progress` or `found` say.
pub fn screen<E>(
    screen: &Screen,
    threads: usize,
    mut progress: impl FnMut(f64) -> Result<(), E>,
    mut found: impl FnMut(Finding) -> Result<(), E>,
) -> Result<(), E> {
    let draws = Draws { values: &screen.draws, bits: screen.modulus.trailing_zeros() };
    let count = screen.families.len().max(1) as f64;
    let mut twisted: Option<Finding> = None;
    let mut furthest = 0.0;
    for (number, &family) in screen.families.iter().enumerate() {
        let started = Instant::now();
        // An elimination that is done again does not take the bar back.
        let mut part = |share: f64| {
            furthest = f64::max(furthest, (number as f64 + share) / count);
            progress(furthest)
        };
        part(0.0)?;
        // Python seeds the same generator in another way, and the answer is about its states.
        if let Some(known) = twisted.as_ref().filter(|_| family == Family::PythonRandom) {
            found(Finding { family, ..known.clone() })?;
            continue;
        }
        let finding = match (PowerLcg::of(family), Kind::of(family)) {
            _ if draws.bits == 0 => untested(family, "the modulus is odd: draws show no bits"),
            (Some(lcg), _) if lcg.rejects && screen.modulus.is_power_of_two() => {
                untested(family, "a power of two as modulus takes the highest bits")
            }
            (Some(lcg), _) => low_bits::test(family, &lcg, draws, threads, &mut part)?,
            (None, Some(kind)) => {
                linear::test(family, kind, draws, screen.skips, threads, &mut part)?
            }
            (None, None) => untested(
                family,
                "its outputs' low bits neither run by themselves nor are linear in its state",
            ),
        };
        let finding = Finding { seconds: started.elapsed().as_secs_f64(), ..finding };
        if family == Family::Mt19937 {
            twisted = Some(finding.clone());
        }
        found(finding)?;
    }
    progress(1.0)
}

fn untested(family: Family, why: &str) -> Finding {
    Finding {
        family,
        verdict: Verdict::Untested,
        method: "none".to_owned(),
        assumptions: String::new(),
        detail: why.to_owned(),
        draws_used: 0,
        draws_needed: 0,
        skip: None,
        skip_modulus: None,
        seconds: 0.0,
    }
}

/// An answer for want of draws.
fn too_few(of: Finding, there: usize) -> Finding {
    let needed = of.draws_needed;
    let detail = format!("there are {there} draws, and {needed} are needed");
    Finding { verdict: Verdict::TooFewDraws, detail, ..of }
}
