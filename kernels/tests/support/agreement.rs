//! A question that the reference engine and the scan must answer alike.
#![expect(clippy::unwrap_used, reason = "a test stops where something is wrong")]

use kernels::{
    engine::{Instructions, Prepared},
    sequence::Sequence,
};
use shared::{
    families::Family,
    job::Engine,
    outcome::Survivor,
    sieve::{Seeds, Sieve},
    spans::Span,
    witness::Witness,
};

/// A question with the seeds that it is put to.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) sieve: Sieve,
    pub(crate) witness: Witness,
    pub(crate) seeds: Seeds,
}

impl Plan {
    /// The survivors, by every engine the same.
    pub(crate) fn assert_agreement(&self) -> Vec<Survivor> {
        let seeds = Sequence::new(&self.seeds);
        let reference = Prepared::new(Engine::Reference, &self.sieve, self.witness);
        let expected = reference.test(&seeds, usize::MAX);
        for instructions in Instructions::supported() {
            let scan = Prepared::scan(&self.sieve, self.witness, instructions);
            assert_eq!(scan.test(&seeds, usize::MAX), expected, "{instructions:?} on {self:?}");
        }
        expected.found.iter().map(|found| found.survivor).collect()
    }
}

/// Seeds of a family: a list, or a range that begins anywhere, unaligned or not, or ends with the
/// last seed of all.
pub(crate) fn seeds_of(family: Family, (count, start, place, list): (u64, u64, u8, bool)) -> Seeds {
    let last = u64::try_from(family.seed_end() - 1).unwrap();
    let first = match place {
        0 => start & last & !63,
        1 => start & last,
        _ => last,
    }
    .min(last - (count - 1));
    if list {
        let seeds = (0..count).map(|n| start.wrapping_mul(n * n + 1).rotate_left(7) & last);
        Seeds::Candidates { first_index: 9, seeds: seeds.collect() }
    } else {
        Seeds::Range(Span::new(first, first + (count - 1)).unwrap())
    }
}
