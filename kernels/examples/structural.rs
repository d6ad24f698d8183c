//! Processor seconds of the structural engine on one thread, over all 2^48 seeds of `java_lcg`,
//! beside the prototype's where the path of its binary is given (best of several, in turns, for
//! the machine is seldom alone).
//!
//! `cargo run --release -p kernels --example structural -- [PROTOTYPE [TURNS]]`, with the prototype
//! built by `g++ -O3 -march=native -o jlattice jlattice.cpp`; its draws are taken.
//!
//! With `prime` in place of a prototype: all 2^32 seeds of `lcg32` and `minstd` beside the scan's
//! rate over 2^22 of them.

use std::{
    error::Error,
    fs,
    io::{Write, stdout},
    process::Command,
};

use kernels::{
    engine::{Instructions, Prepared},
    sequence::Sequence,
};
use shared::{
    families::Family,
    sieve::{Direction, Mode, Sieve, Skips},
    spans::Span,
    witness::Witness,
};

/// A standard question: the prototype's threshold, matches needed, largest skip, advance, draws.
struct Plan {
    name: &'static str,
    threshold: &'static str,
    need: u32,
    last_skip: u32,
    advance: u32,
    draws: &'static [u32],
}

const PLANS: [Plan; 3] = [
    Plan {
        name: "k 30 .25",
        threshold: "0.25",
        need: 8,
        last_skip: 20,
        advance: 0,
        draws: &[
            677, 126, 899, 537, 325, 443, 586, 97, 366, 153, 514, 321, 331, 526, 865, 350, 178,
            502, 570, 736, 504, 963, 905, 504, 628, 884, 961, 392, 257, 230,
        ],
    },
    Plan {
        name: "k 30 1/3",
        threshold: "0.33333",
        need: 10,
        last_skip: 20,
        advance: 0,
        draws: &[
            677, 126, 899, 537, 325, 443, 994, 97, 366, 153, 514, 321, 331, 526, 865, 350, 178,
            502, 570, 736, 504, 963, 905, 504, 628, 884, 961, 392, 257, 186,
        ],
    },
    Plan {
        name: "k 8 .5",
        threshold: "0.5",
        need: 4,
        last_skip: 16,
        advance: 43,
        draws: &[238, 90, 538, 352, 325, 443, 586, 97],
    },
];

/// Seconds that this thread has run on a processor: other load does not count.
fn busy() -> Result<f64, Box<dyn Error>> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds: f64 = text.split(' ').next().unwrap_or_default().parse()?;
    Ok(nanoseconds / 1e9)
}

fn sieve(family: Family, plan: &Plan) -> Sieve {
    Sieve {
        family,
        direction: Direction::Forward,
        mode: Mode::Fixed,
        modulus: 1000,
        draws: plan.draws.to_vec(),
        advance: plan.advance,
        skips: Skips { lo: 0, hi: plan.last_skip },
        need: plan.need,
        reverse_need: plan.need,
    }
}

/// Seconds and survivors of the engine.
fn engine(plan: &Plan, instructions: Instructions) -> Result<(f64, usize), Box<dyn Error>> {
    let sieve = sieve(Family::JavaLcg, plan);
    let started = busy()?;
    let engine = Prepared::structural(&sieve, instructions)?;
    let tally = engine.test(&Sequence::Range(Span::new(0, (1 << 48) - 1)?), usize::MAX);
    Ok((busy()? - started, tally.found.len()))
}

/// Seconds and survivors of the prototype, as it says.
fn prototype(path: &str, plan: &Plan) -> Result<(f64, usize), Box<dyn Error>> {
    let (k, hi) = (plan.draws.len().to_string(), plan.last_skip.to_string());
    let advance = plan.advance.to_string();
    let output = Command::new(path).args(["0", &k, plan.threshold, "0", &hi, &advance]).output()?;
    let text = String::from_utf8(output.stdout)?;
    let after = |word: &str| {
        let rest = text.split(word).nth(1)?.trim_start();
        rest.split([' ', 's']).next().map(str::to_owned)
    };
    let seconds = after("total").ok_or("the prototype says no total")?.parse()?;
    let survivors = after("solutions").ok_or("the prototype says no solutions")?.parse()?;
    Ok((seconds, survivors))
}

/// Seconds for all 2^32 seeds by structure, and as the scan would take them.
fn prime(family: Family, plan: &Plan, on: Instructions) -> Result<(f64, f64), Box<dyn Error>> {
    const SCANNED: u64 = 1 << 22;
    let sieve = sieve(family, plan);
    let started = busy()?;
    let structural = Prepared::structural(&sieve, on)?;
    let all = Sequence::Range(Span::new(0, u32::MAX.into())?);
    let found = structural.test(&all, usize::MAX).found;
    let searched = busy()? - started;

    let started = busy()?;
    let witness = Witness::new(sieve.window(), sieve.need, 1);
    let part = Sequence::Range(Span::new(0, SCANNED - 1)?);
    let scanned = Prepared::scan(&sieve, witness, on).test(&part, usize::MAX).found;
    let seconds = busy()? - started;
    let among = found.iter().filter(|found| found.survivor.seed < SCANNED).count();
    if among != scanned.len() {
        return Err(format!("{family}: the scan finds {} and not {among}", scanned.len()).into());
    }
    Ok((searched, seconds * (family.seed_end() / u128::from(SCANNED)) as f64))
}

/// Prints a row for each prime generator, plan and instruction set.
fn primes(turns: u32) -> Result<(), Box<dyn Error>> {
    let mut out = stdout().lock();
    for family in [Family::Lcg32, Family::Minstd] {
        for plan in &PLANS {
            write!(out, "{:6} {:9}", family.name(), plan.name)?;
            for on in Instructions::supported() {
                let mut best = (f64::INFINITY, f64::INFINITY);
                for _ in 0..turns {
                    let (searched, scanned) = prime(family, plan, on)?;
                    best = (best.0.min(searched), best.1.min(scanned));
                }
                write!(out, "  {on:?} {:.3} s, scan {:.1} s", best.0, best.1)?;
                write!(out, " ({:.0}x)", best.1 / best.0)?;
            }
            writeln!(out)?;
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next();
    let turns: u32 = args.next().map_or(Ok(5), |turns| turns.parse())?;
    if path.as_deref() == Some("prime") {
        return primes(turns);
    }
    let mut out = stdout().lock();
    for plan in &PLANS {
        let mut best = f64::INFINITY;
        let mut rows = vec![(f64::INFINITY, 0); Instructions::supported().len()];
        for _ in 0..turns {
            for (row, &instructions) in rows.iter_mut().zip(&Instructions::supported()) {
                let (seconds, survivors) = engine(plan, instructions)?;
                *row = (row.0.min(seconds), survivors);
            }
            if let Some(path) = &path {
                let (seconds, survivors) = prototype(path, plan)?;
                if rows.iter().any(|row| row.1 != survivors) {
                    return Err(format!("{}: the prototype finds {survivors}", plan.name).into());
                }
                best = best.min(seconds);
            }
        }
        write!(out, "{:9} {:6} survivors", plan.name, rows[0].1)?;
        for (row, instructions) in rows.iter().zip(Instructions::supported()) {
            write!(out, "  {instructions:?} {:.4} s", row.0)?;
            if path.is_some() {
                write!(out, " ({:.2}x)", best / row.0)?;
            }
        }
        let prototype =
            if path.is_some() { format!("  prototype {best:.4} s") } else { String::new() };
        writeln!(out, "{prototype}")?;
    }
    Ok(())
}
