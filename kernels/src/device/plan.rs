//! A sieve prepared for a device: what is compiled and what is laid into its memory.

use shared::{
    families::Family,
    job::Engine,
    sieve::{Mode, Orders, Sieve},
    witness::{Witness, splitmix64},
};

use super::{
    leap::Leaper,
    source::{self, Language, Shape, Stage, Walks},
    straight,
    table::Rows,
};
use crate::{
    engine::Prepared,
    scan::{binomial_tail, first_stage, work},
    sequence::Sequence,
};

/// Each item of a kernel keeps a count for each skip in its own memory.
const MAX_SKIPS: u32 = 512;
/// Comparisons in one table; it has two words for each.
const MAX_PAIRS: u64 = 1 << 22;

/// How the first stage is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Without loops, where that is not too long.
    Shortest,
    /// By a table that lies in memory.
    Table,
}

/// Why a sieve can't be put to a device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    /// Too many skips.
    #[error("{0} skips are more than the {MAX_SKIPS} that a device counts at once")]
    Skips(u32),
    /// Too many comparisons.
    #[error("{0} comparisons of draws and skips are more than the {MAX_PAIRS} of a device's table")]
    Pairs(u64),
}

/// A sieve as a device tests it.
#[derive(Debug, Clone)]
pub struct Plan {
    shape: Shape,
    /// The first stage, when it is written out.
    straight: Option<String>,
    tables: Vec<u32>,
    first_draws: u32,
    /// A rough count of operations a seed.
    work: f64,
    /// The share of seeds that pass the first stage by chance, and that are near misses.
    passing: f64,
    near: f64,
}

impl Plan {
    /// Prepares a validated sieve; `listed` tells that its seeds are candidates, not a range.
    ///
    /// # Errors
    /// [`Unsupported`] when a device can't take it: then a processor can.
    pub fn new(
        sieve: &Sieve,
        witness: Witness,
        listed: bool,
        form: Form,
    ) -> Result<Self, Unsupported> {
        if sieve.mode == Mode::Variable {
            return Ok(Self::variable(sieve, witness, listed));
        }
        let skips = sieve.skips.count();
        if skips > MAX_SKIPS {
            return Err(Unsupported::Skips(skips));
        }
        let pairs = u64::from(sieve.window()) * u64::from(skips);
        if pairs > MAX_PAIRS {
            return Err(Unsupported::Pairs(pairs));
        }
        let leaper = Leaper::of(sieve.family);
        let Orders { leading, reverse } = sieve.orders();
        let first = first_stage(sieve, witness);
        let first_rows = Rows::new(sieve, &leading[..first.first as usize]);
        let length = first_rows.0.values().map(|pairs| pairs.len() as u64).sum::<u64>()
            + u64::from(first.first) * u64::from(sieve.skips.hi + 1);
        let written = form == Form::Shortest
            && first.first <= straight::MAX_DRAWS
            && length <= straight::MAX_LENGTH;
        let straight = written.then(|| straight::function(&first_rows, skips, first.least, leaper));

        let mut tables = Vec::new();
        let mut stage = |draws: &[u32], least| Stage {
            at: Rows::new(sieve, draws).lay_out(leaper, &mut tables),
            least,
        };
        let first_table =
            stage(if written { &[] } else { &leading[..first.first as usize] }, first.least);
        let near = stage(&leading[..witness.first as usize], witness.least);
        let whole = stage(&leading, sieve.need);
        let reverse = reverse.map(|draws| stage(&draws, sieve.reverse_need));
        let last_position = first_rows.0.keys().next_back().copied().unwrap_or_default();
        let share = |stage: Witness| {
            let one = binomial_tail(stage.first, 1.0 / f64::from(sieve.modulus), stage.least);
            1.0 - (1.0 - one).powf(f64::from(skips))
        };
        Ok(Self {
            shape: Shape {
                family: sieve.family,
                modulus: sieve.modulus,
                skips,
                affine: leaper.is_some(),
                listed,
                last_position,
                first: first_table,
                near,
                whole,
                reverse,
                variable: None,
            },
            straight,
            tables,
            first_draws: first.first,
            work: work(sieve, first.first),
            passing: share(first),
            near: share(witness),
        })
    }

    /// A plan for variable skips: the draws lie in memory, each seed's walks are an item's work.
    fn variable(sieve: &Sieve, witness: Witness, listed: bool) -> Self {
        let leaper = Leaper::of(sieve.family);
        let Orders { leading, reverse } = sieve.orders();
        let window = sieve.window();
        let stage = |at, least| Stage { at, least };
        let advance = u64::from(sieve.advance);
        let both = reverse.is_some();
        let tables: Vec<u32> = leading.iter().chain(reverse.iter().flatten()).copied().collect();
        let engine = Prepared::new(Engine::Scan, sieve, witness);
        let (near, passing) = shares(&engine, sieve.family);
        Self {
            shape: Shape {
                family: sieve.family,
                modulus: sieve.modulus,
                skips: 1,
                affine: leaper.is_some(),
                listed,
                last_position: sieve.last_position(),
                first: stage(0, witness.least),
                near: stage(0, witness.least),
                whole: stage(0, sieve.need),
                reverse: both.then(|| stage(window as usize, sieve.reverse_need)),
                variable: Some(Walks {
                    window,
                    advance: sieve.advance,
                    leaps: leaper.map(|leaper| {
                        (leaper.leap(None, advance), leaper.leap(Some(advance), advance + 1))
                    }),
                }),
            },
            straight: None,
            tables,
            first_draws: window,
            work: engine.work(),
            passing,
            near,
        }
    }

    /// The program's text.
    #[must_use]
    pub fn source(&self, language: Language) -> String {
        source::assemble(language, &self.shape, self.straight.as_deref())
    }

    /// The tables that lie in the device's memory, as 32-bit words; never empty.
    #[must_use]
    pub fn tables(&self) -> &[u32] {
        &self.tables
    }

    /// How many consecutive seeds one item of `filter` tests.
    #[must_use]
    pub const fn seeds_per_item(&self) -> u32 {
        self.shape.seeds_per_item(self.is_straight())
    }

    /// Whether the first stage is written out.
    #[must_use]
    pub const fn is_straight(&self) -> bool {
        self.straight.is_some()
    }

    /// Whether the seeds are candidates.
    #[must_use]
    pub const fn is_listed(&self) -> bool {
        self.shape.listed
    }

    /// How many draws the first stage looks at under each skip.
    #[must_use]
    pub const fn first_draws(&self) -> u32 {
        self.first_draws
    }

    /// A rough count of operations a seed.
    #[must_use]
    pub const fn work(&self) -> f64 {
        self.work
    }

    /// The share of random seeds that pass the first stage.
    #[must_use]
    pub const fn passing(&self) -> f64 {
        self.passing
    }

    /// The share of random seeds that are near misses.
    #[must_use]
    pub const fn near(&self) -> f64 {
        self.near
    }
}

/// Seeds of a sample that tells how many are near misses.
const SAMPLE: u64 = 2048;

/// The share of random seeds that are near misses, and of those that are worth a second look, by a
/// sample: rather too many than none.
fn shares(engine: &Prepared, family: Family) -> (f64, f64) {
    let last = u64::try_from(family.seed_end() - 1).unwrap_or(u64::MAX);
    let seeds: Vec<u64> = (0..SAMPLE).map(|number| splitmix64(number) & last).collect();
    let tally = engine.test(&Sequence::List(&seeds), usize::MAX);
    let near = tally.near_misses.count as f64;
    let share = |count: f64| (count.max(1.0) / SAMPLE as f64).min(1.0);
    (share(near), share(near + tally.found.len() as f64))
}
