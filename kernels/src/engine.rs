//! Engines: what tests a block of seeds.

use std::num::NonZeroUsize;

use shared::{
    job::Engine,
    outcome::Survivor,
    sieve::{Mode, Seeds, Sieve},
    structure::{BLOCK_SURVIVORS, CLEARLY, Price, Unsuited},
    witness::{NearMisses, Witness},
};

pub use crate::scan::Instructions;
use crate::{
    reference,
    scan::{Scan, Walks, first_stage, work},
    sequence::Sequence,
    structure::Structure,
};

/// Seconds of an operation of the scan, by its rough count: SIEVES.md section 3.2.
const OPERATION: f64 = 5e-11;
/// With variable skips: outputs and comparisons of all strategies for a draw of a random seed, by
/// SIEVES.md section 3.4's 76,900 and 2,276 for 30 draws, one stream for all.
const GAPS: f64 = 150.0;
/// The most seconds that a block of the structural engine is predicted to take.
const BLOCK: f64 = 10.0;

/// A survivor with its place in the sequence that was tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Its number in the sequence, from 0.
    pub index: u64,
    /// Its result.
    pub survivor: Survivor,
}

/// What a test of some seeds found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// The survivors in the sequence's order.
    pub found: Vec<Found>,
    /// The near misses.
    pub near_misses: NearMisses,
    /// What was planted, in place of near misses, by an engine that does not see them.
    pub planted: Option<Planted>,
}

/// A seed that an engine had to find although no draws were its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planted {
    /// The seed.
    pub seed: u64,
    /// The skip under which it was planted.
    pub skip: u32,
    /// Whether it was found.
    pub found: bool,
}

/// An engine of the processor, prepared for one sieve; threads share it.
#[derive(Debug)]
pub struct Prepared(Kind);

#[derive(Debug)]
enum Kind {
    Reference(Sieve, Witness),
    Scan(Box<Scan>),
    Walks(Box<Walks>),
    Structural(Box<Structure>),
}

impl Prepared {
    /// Prepares a validated sieve for an engine; `Auto` is the fastest.
    #[must_use]
    pub fn new(engine: Engine, sieve: &Sieve, witness: Witness) -> Self {
        match engine {
            Engine::Reference => Self(Kind::Reference(sieve.clone(), witness)),
            _ => Self::scan(sieve, witness, Instructions::widest()),
        }
    }

    /// Prepares a validated sieve for an engine and these seeds; `Auto` is the fastest for so many.
    /// Where the structural engine has no way to it the scan takes its place.
    #[must_use]
    pub fn for_seeds(engine: Engine, sieve: &Sieve, witness: Witness, seeds: &Seeds) -> Self {
        let Seeds::Range(span) = seeds else { return Self::new(engine, sieve, witness) };
        let wanted = match engine {
            Engine::Structural => true,
            Engine::Auto => Price::of(sieve).is_some_and(|price| {
                let count = span.len() as f64;
                let operations = work(sieve, first_stage(sieve, witness).first);
                CLEARLY * price.seconds(count) < operations * count * OPERATION
            }),
            _ => false,
        };
        let structural = wanted.then(|| Self::structural(sieve, Instructions::widest()));
        structural.and_then(Result::ok).unwrap_or_else(|| Self::new(engine, sieve, witness))
    }

    /// Prepares a validated sieve for the scan on certain instructions. Where this processor
    /// lacks them the widest that it has are taken.
    #[must_use]
    pub fn scan(sieve: &Sieve, witness: Witness, instructions: Instructions) -> Self {
        Self(if sieve.mode == Mode::Variable {
            Kind::Walks(Box::new(Walks::new(sieve, witness, instructions)))
        } else {
            Kind::Scan(Box::new(Scan::new(sieve, witness, instructions)))
        })
    }

    /// Prepares a validated sieve for the structural search on certain instructions.
    ///
    /// # Errors
    /// [`Unsuited`] when the sieve has no such structure.
    pub fn structural(sieve: &Sieve, instructions: Instructions) -> Result<Self, Unsuited> {
        Ok(Self(Kind::Structural(Box::new(Structure::new(sieve, instructions)?))))
    }

    /// Which engine it is.
    #[must_use]
    pub const fn engine(&self) -> Engine {
        match &self.0 {
            Kind::Reference(..) => Engine::Reference,
            Kind::Scan(_) | Kind::Walks(_) => Engine::Scan,
            Kind::Structural(_) => Engine::Structural,
        }
    }

    /// How many seeds a block has, for an engine whose cost does not go by seeds.
    #[must_use]
    pub fn block(&self) -> Option<u64> {
        let Kind::Structural(structure) = &self.0 else { return None };
        let price = Price::of(structure.sieve())?;
        let by_time = (BLOCK - price.fixed_seconds).max(BLOCK / 4.0) / price.seconds_per_seed;
        let by_count = BLOCK_SURVIVORS / price.found_per_seed;
        Some((by_time.min(by_count) as u64).max(1))
    }

    /// Tests seeds in order on so many threads, as [`Prepared::test`] does, where the engine
    /// shares out its work itself; `None` where it does not.
    #[must_use]
    pub fn test_shared(&self, seeds: &Sequence<'_>, threads: NonZeroUsize) -> Option<Tally> {
        match (&self.0, seeds) {
            (Kind::Structural(structure), Sequence::Range(span)) => {
                Some(structure.test(*span, threads.get(), entropy()))
            }
            _ => None,
        }
    }

    /// A rough count of operations a seed.
    #[must_use]
    pub fn work(&self) -> f64 {
        match &self.0 {
            Kind::Reference(sieve, _) if sieve.mode == Mode::Variable => {
                f64::from(sieve.advance) + GAPS * f64::from(sieve.window())
            }
            Kind::Reference(sieve, _) => {
                let draws = f64::from(sieve.window()) * f64::from(sieve.skips.count());
                sieve.last_position() as f64 + draws
            }
            Kind::Scan(scan) => scan.work(),
            Kind::Walks(walks) => walks.work(),
            // Its cost goes by class and skip.
            Kind::Structural(_) => 0.0,
        }
    }

    /// Tests seeds in order. It may stop early once more than `room` survived: whoever sees more
    /// than `room` must cut there.
    #[must_use]
    pub fn test(&self, seeds: &Sequence<'_>, room: usize) -> Tally {
        match &self.0 {
            Kind::Reference(sieve, witness) => {
                let mut tally = Tally::default();
                let last = u64::try_from(seeds.len() - 1).unwrap_or(u64::MAX);
                for index in 0..=last {
                    let seed = seeds.get(index);
                    let finding = reference::test(sieve, *witness, seed);
                    if finding.near_miss {
                        tally.near_misses.add(seed);
                    }
                    let found = finding.survivor.map(|survivor| Found { index, survivor });
                    tally.found.extend(found);
                    if tally.found.len() > room {
                        break;
                    }
                }
                tally
            }
            Kind::Scan(scan) => scan.test(seeds, room),
            Kind::Walks(walks) => walks.test(seeds, room),
            Kind::Structural(structure) => structure.test_any(seeds, entropy()),
        }
    }
}

/// A number that nobody can foresee: the standard library's keys for hash tables.
pub(crate) fn entropy() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}
