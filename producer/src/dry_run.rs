//! A plan for people, and for `--dry-run --json`.

use std::fmt;

use serde::Serialize;
use shared::{sieve::Sieve, statistics::Statistics};

use crate::{
    chance,
    duration::Duration,
    planner::{Piece, Plan, Queue},
    request::{Question, Request},
    summary::{HalfOpen, with_error},
};

/// What a plan comes to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DryRun {
    /// The generator.
    pub family: &'static str,
    /// `sieve`, `reverse_sieve`, `correlation` or `analysis`.
    pub kind: &'static str,
    /// A sieve's: how many draws are compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<u32>,
    /// A sieve's: how many must match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub need: Option<u32>,
    /// A sieve's: how many must match in reverse order, for `both`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reverse_need: Option<u32>,
    /// The question of `correlation` and `analysis`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statistics: Option<Statistics>,
    /// What is covered, half-open.
    pub requested: HalfOpen,
    /// How many pieces.
    pub pieces: usize,
    /// Architecture by architecture.
    pub queues: Vec<QueueShare>,
    /// How long it should take, in seconds.
    pub predicted_seconds: f64,
    /// Survivors that chance alone would leave.
    pub expected_by_chance: f64,
    /// The standard error of that, if it was sampled.
    pub expected_error: Option<f64>,
    /// How that was computed.
    pub expected_method: &'static str,
    /// What a reader should know, a sentence each.
    pub notes: Vec<String>,
}

/// What one architecture gets.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QueueShare {
    /// The architecture.
    pub arch: &'static str,
    /// Its slots.
    pub slots: u32,
    /// How many pieces it gets.
    pub pieces: usize,
    /// How many seeds or candidates those are.
    pub seeds: u128,
    /// The largest piece.
    pub largest: u128,
    /// The smallest piece.
    pub smallest: u128,
    /// Seeds a second of one slot, as planned with.
    pub seeds_per_second: f64,
    /// How long it should take, in seconds.
    pub predicted_seconds: f64,
}

impl DryRun {
    /// What `plan` comes to for `request`.
    #[must_use]
    pub fn of(request: &Request, plan: &Plan) -> Self {
        let requested = request.asked.requested();
        let mut notes = request.notes.clone();
        let (sieve, statistics) = match &request.question {
            Question::Sieve(sieve) => (Some(sieve), None),
            Question::Statistics(statistics) => (None, Some(*statistics)),
        };
        notes.extend(sieve.into_iter().flat_map(|sieve| chance::notes(sieve, requested.len())));
        Self {
            family: request.question.generator(),
            kind: request.kind.name(),
            window: sieve.map(Sieve::window),
            need: sieve.map(|sieve| sieve.need),
            reverse_need: sieve.map(|sieve| sieve.reverse_need),
            statistics,
            requested: requested.into(),
            pieces: plan.pieces.len(),
            queues: plan.queues.iter().map(|queue| share(queue, &plan.pieces)).collect(),
            predicted_seconds: plan.predicted_seconds,
            expected_by_chance: plan.expected_by_chance,
            expected_error: plan.expected_error,
            expected_method: plan.expected_method,
            notes,
        }
    }

    /// What the numbers count: seeds, or candidates.
    fn things(&self) -> &'static str {
        if self.kind == "reverse_sieve" { "candidates" } else { "seeds" }
    }
}

fn share(queue: &Queue, pieces: &[Piece]) -> QueueShare {
    let lengths = pieces.iter().filter(|p| p.arch == queue.arch).map(|p| p.span.len());
    QueueShare {
        arch: queue.arch.name(),
        slots: queue.slots,
        pieces: lengths.clone().count(),
        seeds: lengths.clone().sum(),
        largest: lengths.clone().max().unwrap_or(0),
        smallest: lengths.min().unwrap_or(0),
        seeds_per_second: queue.seeds_per_second,
        predicted_seconds: queue.predicted_seconds,
    }
}

impl fmt::Display for DryRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let things = self.things();
        let HalfOpen { start, end } = self.requested;
        let count = end - u128::from(start);
        write!(f, "{} of {}: {count} {things} in [{start}, {end}), ", self.kind, self.family)?;
        match (self.need, self.window, self.statistics) {
            (_, _, Some(statistics)) => writeln!(f, "{} samples of each", statistics.samples())?,
            (need, window, None) => {
                let (need, window) = (need.unwrap_or_default(), window.unwrap_or_default());
                writeln!(f, "{need} of {window} draws must match")?;
            }
        }
        writeln!(
            f,
            "{} pieces, about {} on the slots that are known",
            self.pieces,
            Duration(self.predicted_seconds)
        )?;
        for queue in &self.queues {
            writeln!(
                f,
                "  {:<5} {} slots of {:.2e} {things}/s: {} pieces of {} down to {} {things}, \
                 {} in all, about {}",
                queue.arch,
                queue.slots,
                queue.seeds_per_second,
                queue.pieces,
                queue.largest,
                queue.smallest,
                queue.seeds,
                Duration(queue.predicted_seconds)
            )?;
        }
        if self.statistics.is_none() {
            writeln!(
                f,
                "expected by chance alone: {} survivors ({})",
                with_error(self.expected_by_chance, self.expected_error),
                self.expected_method
            )?;
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        Ok(())
    }
}
