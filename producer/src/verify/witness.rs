//! Which witness a piece carried.
//!
//! The ledger holds what a witness counted, not what it looked for: that follows from the piece
//! that was planned. It is the length of everything that came of one job, which is exact once
//! the job and its rests are all done; else the count itself tells, since near misses of one
//! witness are several times as many as those of the next.

use std::collections::HashMap;

use shared::{sieve::Sieve, spans::Spans, witness::Witness};

use crate::{
    chance::{self, Witnesses},
    ledger::Report,
};

/// Guesses which witness an outcome's near misses were counted with.
#[derive(Debug)]
pub struct Guesses<'s> {
    sieve: &'s Sieve,
    witnesses: Witnesses<'s>,
    /// How much came of each job and its rests.
    pieces: HashMap<String, u128>,
}

/// The job that another is a rest of, or itself.
fn origin(job: &str) -> &str {
    job.split_once('+').map_or(job, |(origin, _)| origin)
}

impl<'s> Guesses<'s> {
    /// For the outcomes of one run.
    #[must_use]
    pub fn new(sieve: &'s Sieve, reports: &[Report]) -> Self {
        let mut pieces: HashMap<String, Spans> = HashMap::new();
        for report in reports {
            let piece = pieces.entry(origin(&report.job).to_owned()).or_default();
            piece.extend(report.tested.iter().copied());
        }
        let pieces = pieces.into_iter().map(|(job, spans)| (job, spans.count())).collect();
        Self { sieve, witnesses: Witnesses::of(sieve), pieces }
    }

    /// What the planner gives a piece of the length that this outcome's was.
    pub fn planned(&mut self, report: &Report) -> Witness {
        let piece = self.pieces.get(origin(&report.job)).copied();
        self.witnesses.for_piece(piece.unwrap_or_else(|| report.seeds()))
    }

    /// The witnesses that explain `count` near misses among `seeds` random seeds best: the first
    /// that expects fewer and the one before.
    #[must_use]
    pub fn by_count(&self, seeds: u128, count: u64) -> Vec<Witness> {
        let (k, need) = (self.sieve.window(), self.sieve.need);
        #[expect(clippy::cast_precision_loss, reason = "an expectation needs no exact count")]
        let count = count as f64;
        let fewer = |least: u32| {
            let witness = Witness::new(k, need, least);
            chance::expected(seeds, chance::near_miss_probability(self.sieve, witness)) <= count
        };
        let (mut low, mut high) = (1, need);
        while low < high {
            let middle = low + (high - low) / 2;
            if fewer(middle) { high = middle } else { low = middle + 1 }
        }
        let mut all = vec![Witness::new(k, need, low)];
        if low > 1 {
            all.push(Witness::new(k, need, low - 1));
        }
        all
    }

    /// Every witness worth trying, the likeliest first.
    pub fn all(&mut self, report: &Report, count: u64) -> Vec<Witness> {
        let mut all = vec![self.planned(report), self.witnesses.for_piece(report.seeds())];
        all.extend(self.by_count(report.seeds(), count));
        let mut distinct = Vec::with_capacity(all.len());
        for witness in all {
            if !distinct.contains(&witness) {
                distinct.push(witness);
            }
        }
        distinct
    }
}
