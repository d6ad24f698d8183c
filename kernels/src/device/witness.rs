//! The device's witness: a random stretch of what it tested, tested again by the processor.

use shared::{
    job::Engine,
    sieve::Sieve,
    witness::{NearMisses, Witness, splitmix64},
};

use super::driver::Fault;
use crate::{
    engine::{Found, Prepared},
    sequence::Sequence,
};

/// Near misses that a probe should expect.
const EXPECTED: f64 = 8.0;
/// Operations, by the engine's rough count, that take the processor at most 0.2 s on one thread.
const MOST_WORK: f64 = 240e6;

/// A stretch of seeds with what the device saw in it.
#[derive(Debug, Clone)]
struct Probe {
    seeds: Stretch,
    near_misses: NearMisses,
    found: Vec<Found>,
}

/// Seeds that outlive the block they were part of.
#[derive(Debug, Clone)]
enum Stretch {
    Range(shared::spans::Span),
    List(Vec<u64>),
}

/// Picks one stretch at random from all launches of a job, each seed as likely as another, and
/// asks the processor for a second opinion on it.
#[derive(Debug)]
pub(super) struct Opinion {
    engine: Prepared,
    length: u64,
    random: u64,
    tested: f64,
    kept: Option<Probe>,
}

impl Opinion {
    /// For a sieve with such a share of near misses; `random` is any number.
    pub(super) fn new(sieve: &Sieve, witness: Witness, near: f64, random: u64) -> Self {
        let engine = Prepared::new(Engine::Scan, sieve, witness);
        let most = (MOST_WORK / engine.work()).max(1.0);
        let length = (EXPECTED / near.max(1e-18)).clamp(64.0, f64::max(most, 64.0)) as u64;
        Self { engine, length, random, tested: 0.0, kept: None }
    }

    /// A random number.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        splitmix64(self.random)
    }

    /// Where the probe of a launch of `count` seeds lies: the first place, and how many.
    pub(super) fn choose(&mut self, count: u32) -> (u32, u32) {
        let length = u32::try_from(self.length).unwrap_or(u32::MAX).min(count);
        let starts = u64::from(count - length) + 1;
        ((self.draw() % starts) as u32, length)
    }

    /// Takes note of what the device saw of a launch's seeds and its probe, and keeps it or not.
    pub(super) fn note(
        &mut self,
        seeds: &Sequence<'_>,
        probe: (u32, u32),
        near_misses: NearMisses,
        found: &[Found],
    ) {
        let count = seeds.len() as f64;
        self.tested += count;
        let chance = (self.draw() >> 11) as f64 / (1_u64 << 53) as f64;
        if chance * self.tested > count {
            return;
        }
        let (from, length) = (u64::from(probe.0), u64::from(probe.1));
        let stretch = match *seeds {
            Sequence::Range(span) => {
                let first = span.first() + from;
                shared::spans::Span::new(first, first + (length - 1)).ok().map(Stretch::Range)
            }
            Sequence::List(list) => {
                Some(Stretch::List(list[from as usize..][..length as usize].to_vec()))
            }
        };
        self.kept = stretch.map(|seeds| Probe {
            seeds,
            near_misses,
            found: found
                .iter()
                .filter(|found| (from..from + length).contains(&found.index))
                .map(|found| Found { index: found.index - from, ..*found })
                .collect(),
        });
    }

    /// Tests the kept stretch on the processor.
    pub(super) fn ask(&self, device: &str) -> Result<(), Fault> {
        let Some(probe) = &self.kept else { return Ok(()) };
        let seeds = match &probe.seeds {
            Stretch::Range(span) => Sequence::Range(*span),
            Stretch::List(list) => Sequence::List(list),
        };
        let expected = self.engine.test(&seeds, usize::MAX);
        if expected.near_misses == probe.near_misses && expected.found == probe.found {
            return Ok(());
        }
        let (first, count) = (seeds.get(0), seeds.len());
        Err(Fault::witness(format!(
            "the device '{device}' and the processor disagree about {count} seeds from {first}: \
             {} near misses of sum {:016x} and {} survivors against {} of sum {:016x} and {}",
            probe.near_misses.count,
            probe.near_misses.sum,
            probe.found.len(),
            expected.near_misses.count,
            expected.near_misses.sum,
            expected.found.len(),
        )))
    }
}
