//! From what a search found to survivors.

use shared::{
    outcome::{Best, Survivor},
    sieve::{Direction, Sieve},
    witness::Witness,
};

use super::search::Hit;
use crate::{
    scan::{Instructions, Scan},
    sequence::Sequence,
};

/// What tells whether a seed survives in all that a search leaves open: the other direction, and
/// outputs that were rejected. `None` when it leaves nothing open.
#[derive(Debug)]
pub(super) struct Judge(Option<Scan>);

impl Judge {
    /// For a sieve of a family that `rejects` outputs, or does not.
    pub(super) fn new(sieve: &Sieve, rejects: bool, instructions: Instructions) -> Self {
        let open = rejects || sieve.direction == Direction::Both;
        let every = Witness::new(sieve.window(), sieve.need, 1);
        Self(open.then(|| Scan::new(sieve, every, instructions)))
    }

    /// The survivors among listed seeds, by the scan.
    pub(super) fn judge(&self, seeds: &[u64]) -> Vec<Survivor> {
        match &self.0 {
            Some(judge) if !seeds.is_empty() => {
                let tally = judge.test(&Sequence::List(seeds), usize::MAX);
                tally.found.into_iter().map(|found| found.survivor).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The results of the seeds behind hits. A seed's best skip is one under which it was found,
    /// since it survives under that skip alone.
    pub(super) fn judged(&self, mut hits: Vec<Hit>) -> Vec<Survivor> {
        hits.sort_unstable();
        let bests = hits.chunk_by(|a, b| a.state == b.state).filter_map(|hits| {
            let most = hits.iter().map(|hit| hit.matches).max()?;
            let skip = hits.iter().find(|hit| hit.matches == most)?.skip;
            Some(Survivor {
                seed: hits[0].state,
                best: Best { matches: most, skip },
                reverse: None,
            })
        });
        if self.0.is_none() {
            return bests.collect();
        }
        self.judge(&bests.map(|survivor| survivor.seed).collect::<Vec<_>>())
    }
}
