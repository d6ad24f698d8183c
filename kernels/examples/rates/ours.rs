//! Seeds a second of processor time of our engines, on this thread.

use std::fs;

use kernels::{engine::Prepared, sequence::Sequence};
use shared::spans::Span;

use crate::Failed;

/// Seconds that a thread has run on a processor, by its file: other load does not count.
pub(crate) fn busy_of(schedstat: &str) -> Result<f64, Failed> {
    let text = fs::read_to_string(schedstat)?;
    let nanoseconds: f64 = text.split(' ').next().unwrap_or_default().parse()?;
    Ok(nanoseconds / 1e9)
}

fn busy() -> Result<f64, Failed> {
    busy_of("/proc/thread-self/schedstat")
}

/// Seeds a second of an engine, for about so many seconds, in blocks that grow to a sixteenth of
/// that.
pub(crate) fn rate(engine: &Prepared, seconds: f64) -> Result<f64, Failed> {
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
        if passed < seconds / 16.0 {
            block *= 2;
        }
    }
}
