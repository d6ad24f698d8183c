//! Engines: what tests a block of seeds.

use shared::{
    job::Engine,
    outcome::Survivor,
    sieve::Sieve,
    structure::Unsuited,
    witness::{NearMisses, Witness},
};

pub use crate::scan::Instructions;
use crate::{reference, scan::Scan, sequence::Sequence, structure::Structure};

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
}

/// An engine of the processor, prepared for one sieve; threads share it.
#[derive(Debug)]
pub struct Prepared(Kind);

#[derive(Debug)]
enum Kind {
    Reference(Sieve, Witness),
    Scan(Box<Scan>),
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

    /// Prepares a validated sieve for the scan on certain instructions. Where this processor
    /// lacks them the widest that it has are taken.
    #[must_use]
    pub fn scan(sieve: &Sieve, witness: Witness, instructions: Instructions) -> Self {
        Self(Kind::Scan(Box::new(Scan::new(sieve, witness, instructions))))
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
            Kind::Scan(_) => Engine::Scan,
            Kind::Structural(_) => Engine::Structural,
        }
    }

    /// A rough count of operations a seed.
    #[must_use]
    pub fn work(&self) -> f64 {
        match &self.0 {
            Kind::Reference(sieve, _) => {
                let draws = f64::from(sieve.window()) * f64::from(sieve.skips.count());
                sieve.last_position() as f64 + draws
            }
            Kind::Scan(scan) => scan.work(),
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
            Kind::Structural(structure) => match seeds {
                Sequence::Range(span) => structure.test(*span, 1),
                Sequence::List(_) => Tally::default(),
            },
        }
    }
}
