//! One figure: the plan's question in pieces, each a job in a runner's process, until enough
//! seconds were spent sieving.

use std::{sync::Arc, time::Instant};

use shared::{
    job::{Arch, DEFAULT_ATTEMPTS, Engine, Job, Task, Urgency},
    outcome::{Failure, Verdict},
    plans::Plan,
    sieve::Seeds,
    spans::Span,
    wire::{self, WireError},
};

use super::cells::Cell;
use crate::{
    child::Orders,
    job::{self, Bench, Taken},
    lease,
    slots::Slot,
};

/// The most survivors that a piece expects by chance, as the planner has it.
const PIECE_SURVIVORS: f64 = 10_000.0;
/// How many times its seconds of sieving a figure may take by the clock.
const PATIENCE: f64 = 10.0;
/// A device's first job compiles; it is this short, in seconds, and does not count.
const FIRST: f64 = 0.01;
/// After so many seconds a piece has stalled, whatever it says.
const TIME_LIMIT: f64 = 600.0;

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Measured {
    /// The engine that computed.
    pub(super) engine: Engine,
    /// How many seeds were tested.
    pub(super) seeds: u64,
    /// Seconds of sieving, without the starts and ends of processes.
    pub(super) seconds: f64,
}

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// The runner, or what it ran on.
    #[error("{detail}")]
    Failed {
        /// What kind of failure.
        failure: Failure,
        /// Why, in one line.
        detail: String,
    },
    /// It was told to end.
    #[error("interrupted")]
    Interrupted,
    /// The job could not be written.
    #[error("a job can't be written: {0}")]
    Unwritten(#[from] WireError),
}

/// Measures a cell on a slot for so many seconds of sieving; one piece at least.
pub(super) async fn measure(
    bench: &Bench,
    slot: &Slot,
    cell: Cell,
    seconds: f64,
    orders: Orders,
) -> Result<Measured, Trouble> {
    let all = Plan::seeds(cell.family);
    if slot.arch != Arch::Cpu {
        piece(bench, slot, job(cell, slot.arch, all, FIRST), orders.clone()).await?;
    }
    let most = piece_length(&cell.plan);
    let mut whole = Measured { engine: cell.plan.engine, seeds: 0, seconds: 0.0 };
    let began = Instant::now();
    let mut left = all;
    while whole.seconds < seconds && began.elapsed().as_secs_f64() < PATIENCE * seconds {
        let (span, _) = left.split_at(most);
        let rest = (seconds - whole.seconds).max(FIRST);
        let done = piece(bench, slot, job(cell, slot.arch, span, rest), orders.clone()).await?;
        whole.engine = done.engine;
        whole.seeds = whole.seeds.saturating_add(done.seeds);
        whole.seconds += done.seconds;
        // Past the last seed it begins again.
        left = left.split_at(u128::from(done.seeds)).1.unwrap_or(all);
    }
    Ok(whole)
}

/// How many seeds a piece has: all, unless so many would survive that it could not report them.
fn piece_length(plan: &Plan) -> u128 {
    match plan.engine {
        Engine::Structural => u128::MAX,
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        _ => (PIECE_SURVIVORS / plan.survivors_a_seed()) as u128,
    }
}

/// Runs one piece as the service runs a job.
async fn piece(bench: &Bench, slot: &Slot, job: Job, orders: Orders) -> Result<Measured, Trouble> {
    let bytes = Arc::new(wire::encode(&job)?.body);
    let taken = Taken { job, bytes, at: job::now() };
    let held = |detail| Trouble::Failed { failure: Failure::DeviceLost, detail };
    let lease = lease::of_slot(slot).await.map_err(held)?;
    match job::run(bench, slot, &taken, lease, orders, |_| ()).await.outcome.verdict {
        Verdict::Done(result) => {
            let seeds: u128 = result.tested.iter().map(|span| span.len()).sum();
            Ok(Measured {
                engine: result.engine,
                seeds: u64::try_from(seeds).unwrap_or(u64::MAX),
                seconds: result.busy_seconds,
            })
        }
        Verdict::Failed { failure, detail, .. } => Err(Trouble::Failed { failure, detail }),
        Verdict::Returned { .. } | Verdict::Finished(_) => Err(Trouble::Interrupted),
    }
}

fn job(cell: Cell, arch: Arch, span: Span, soft_seconds: f64) -> Job {
    let Cell { family, plan } = cell;
    Job {
        run: "bench".to_owned(),
        epoch: 1,
        id: format!("{family}-{}", plan.name),
        seq: 1,
        task: Task::Sieve {
            sieve: plan.sieve(family),
            seeds: Seeds::Range(span),
            witness: plan.witness(),
        },
        arch,
        urgency: Urgency::Normal,
        engine: plan.engine,
        attempt: 1,
        max_attempts: DEFAULT_ATTEMPTS,
        starts: 0,
        refused_by: Vec::new(),
        failed_on: Vec::new(),
        time_limit_seconds: TIME_LIMIT,
        soft_seconds,
        memory_mb: 0,
    }
}

#[cfg(test)]
mod tests {
    use shared::outcome::MAX_SURVIVORS;

    use super::*;

    #[test]
    fn a_piece_is_a_job_that_a_runner_takes_and_can_report() {
        for plan in Plan::ALL {
            let families = shared::families::Family::ALL.iter().filter(|&&f| plan.suits(f));
            for &family in families {
                let (span, _) = Plan::seeds(family).split_at(piece_length(&plan));
                job(Cell { family, plan }, Arch::Cpu, span, 1.0).validate().unwrap();
                let expected = plan.survivors_a_seed() * span.len() as f64;
                assert!(expected <= MAX_SURVIVORS as f64 / 2.0, "{}: {expected}", plan.name);
            }
        }
    }
}
