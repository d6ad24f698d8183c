//! Processor seconds of the structural engine on one thread.
use kernels::{
    engine::{Instructions, Prepared},
    sequence::Sequence,
};
use shared::{
    families::Family,
    sieve::{Direction, Mode, Sieve, Skips},
    spans::Span,
};
use std::{
    error::Error,
    fs,
    io::{Write, stdout},
};

fn busy() -> Result<f64, Box<dyn Error>> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds: f64 = text.split(' ').next().unwrap_or_default().parse()?;
    Ok(nanoseconds / 1e9)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = stdout().lock();
    let a25 = [
        677, 126, 899, 537, 325, 443, 586, 97, 366, 153, 514, 321, 331, 526, 865, 350, 178, 502,
        570, 736, 504, 963, 905, 504, 628, 884, 961, 392, 257, 230,
    ];
    let a33 = [
        677, 126, 899, 537, 325, 443, 994, 97, 366, 153, 514, 321, 331, 526, 865, 350, 178, 502,
        570, 736, 504, 963, 905, 504, 628, 884, 961, 392, 257, 186,
    ];
    let b5 = [238, 90, 538, 352, 325, 443, 586, 97];
    for instructions in Instructions::supported().into_iter().rev() {
        for (draws, need, hi, advance) in
            [(&a25[..], 8, 20, 0), (&a33, 10, 20, 0), (&b5, 4, 16, 43)]
        {
            let sieve = Sieve {
                family: Family::JavaLcg,
                direction: Direction::Forward,
                mode: Mode::Fixed,
                modulus: 1000,
                draws: draws.to_vec(),
                advance,
                skips: Skips { lo: 0, hi },
                need,
                reverse_need: need,
            };
            let started = busy()?;
            let engine = Prepared::structural(&sieve, instructions)?;
            let span = Span::new(0, (1 << 48) - 1)?;
            let tally = engine.test(&Sequence::Range(span), usize::MAX);
            writeln!(
                out,
                "{instructions:?} {need} {:.4} s, {} survivors, first {:?}",
                busy()? - started,
                tally.found.len(),
                tally.found.first()
            )?;
        }
    }
    Ok(())
}
