//! Seeds a second of processor time of the scan engine on one thread, by family and standard
//! plan, and how many times the reference engine's rate, measured beside it, that is.
//!
//! `cargo run --release -p kernels --example rates -- [--family F] [--seconds S] [--instructions I]`
//! with `baseline`, `avx2` or `avx512`; the widest unless given.

use std::{
    error::Error,
    fs,
    io::{Write, stdout},
};

use kernels::{
    engine::{Instructions, Prepared},
    sequence::Sequence,
};
use shared::{
    families::Family,
    job::Engine,
    sieve::{Direction, Mode, Sieve, Skips},
    spans::Span,
    witness::Witness,
};

/// A standard question: its name, window, advance, largest skip and matches needed.
struct Plan {
    name: &'static str,
    window: u32,
    advance: u32,
    last_skip: u32,
    need: u32,
}

const PLANS: [Plan; 5] = [
    Plan { name: "A .25", window: 30, advance: 0, last_skip: 20, need: 8 },
    Plan { name: "A .5", window: 30, advance: 0, last_skip: 20, need: 15 },
    Plan { name: "A 1", window: 30, advance: 0, last_skip: 20, need: 30 },
    Plan { name: "B .25", window: 8, advance: 43, last_skip: 16, need: 2 },
    Plan { name: "demo", window: 12, advance: 0, last_skip: 2, need: 12 },
];

/// The seeds of the piece that a witness is chosen for, as the producer would.
const PIECE: f64 = 4e8;

impl Plan {
    fn sieve(&self, family: Family) -> Sieve {
        Sieve {
            family,
            direction: Direction::Forward,
            mode: Mode::Fixed,
            modulus: 1000,
            draws: (0..self.window).map(|draw| (draw * 617 + 123) % 1000).collect(),
            advance: self.advance,
            skips: Skips { lo: 0, hi: self.last_skip },
            need: self.need,
            reverse_need: self.need,
        }
    }

    /// The witness with the largest n that expects 1,000 near misses in a piece.
    fn witness(&self) -> Witness {
        let expected = |least: u32| {
            let first = f64::from(self.window - self.need + least);
            let one_skip: f64 = (0..least)
                .map(|hit| (first - f64::from(hit)) / f64::from(hit + 1) / 1000.0)
                .product();
            PIECE * f64::from(self.last_skip + 1) * one_skip
        };
        let least = (2..=self.need).take_while(|&least| expected(least) >= 1000.0).last();
        Witness::new(self.window, self.need, least.unwrap_or(1))
    }
}

/// Seconds that this thread has run on a processor: other load does not count.
fn busy() -> Result<f64, Box<dyn Error>> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds: f64 = text.split(' ').next().unwrap_or_default().parse()?;
    Ok(nanoseconds / 1e9)
}

/// Seeds a second of an engine in blocks that grow, for about so many seconds.
fn rate(engine: &Prepared, seconds: f64) -> Result<f64, Box<dyn Error>> {
    let (mut tested, mut block) = (0, 32);
    let started = busy()?;
    loop {
        let span = Span::new(tested, tested + block - 1)?;
        std::hint::black_box(engine.test(&Sequence::Range(span), usize::MAX));
        tested += block;
        let passed = busy()? - started;
        if passed >= seconds {
            return Ok(tested as f64 / passed);
        }
        if passed < seconds / 8.0 {
            block *= 2;
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let (mut only, mut seconds) = (None, 0.5);
    let mut instructions = Instructions::widest();
    let mut args = std::env::args().skip(1);
    while let Some(option) = args.next() {
        let value = args.next().ok_or_else(|| format!("{option} needs a value"))?;
        match option.as_str() {
            "--family" => only = Some(value.parse::<Family>()?),
            "--seconds" => seconds = value.parse()?,
            "--instructions" => {
                instructions = Instructions::supported()
                    .into_iter()
                    .find(|known| format!("{known:?}").eq_ignore_ascii_case(&value))
                    .ok_or_else(|| format!("this processor has no '{value}'"))?;
            }
            _ => {
                return Err(
                    format!("'{option}' is none of --family, --seconds, --instructions").into()
                );
            }
        }
    }
    let mut out = stdout().lock();
    writeln!(
        out,
        "one thread, {instructions:?}: scan in million seeds a second (times the reference engine)"
    )?;
    write!(out, "{:22}", "family")?;
    for plan in &PLANS {
        write!(out, "{:>18}", plan.name)?;
    }
    writeln!(out)?;
    for &family in Family::ALL.iter().filter(|&&family| only.is_none_or(|only| only == family)) {
        write!(out, "{family:22}")?;
        for plan in &PLANS {
            let (sieve, witness) = (plan.sieve(family), plan.witness());
            let scan = rate(&Prepared::scan(&sieve, witness, instructions), seconds)?;
            let reference =
                rate(&Prepared::new(Engine::Reference, &sieve, witness), seconds / 4.0)?;
            write!(out, "{:>10.2} ({:4.0}x)", scan / 1e6, scan / reference)?;
            out.flush()?;
        }
        writeln!(out)?;
    }
    Ok(())
}
