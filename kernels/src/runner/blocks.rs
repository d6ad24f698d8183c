//! Driving a tester through a job, block by block.
//!
//! A block takes at most a quarter of a second, or is as long as the tester says (the structural
//! engine's: at most ten seconds, predicted). After each the runner looks at the clock, at
//! SIGTERM and at the number of survivors, and stops there if it must, one block done at least.

use std::time::{Duration, Instant};

use shared::{
    failpoint::{self, Point},
    outcome::{SieveResult, Survivor},
    runner::Progress,
    sieve::{Mode, Seeds, Sieve},
    spans::Span,
    witness::Witness,
};

use super::tester::Tester;
use crate::{
    device::Fault,
    engine::{Found, Planted},
    reference,
    sequence::Sequence,
    variable,
};

/// What a block should take. The limit is 0.25 s; what is left is for a machine that slows down.
const BLOCK: Duration = Duration::from_millis(200);
/// A block is at most this many times the one before.
const GROWTH: u64 = 8;
/// How often progress is reported at most.
const PROGRESS: Duration = Duration::from_millis(250);

/// The question and the seeds it is put to.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// A validated sieve.
    pub sieve: &'a Sieve,
    /// Seeds within the family's width, at least one.
    pub seeds: &'a Seeds,
    /// A witness that belongs to the sieve.
    pub witness: Witness,
}

/// A tester that the reference engine contradicts: a fault of ours, or of the machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the engine '{engine}' reports {reported:?}, the reference engine {expected:?}: \
     this is a fault of the engine or of this machine, please report it"
)]
pub struct Contradiction {
    engine: &'static str,
    reported: Survivor,
    expected: Option<Survivor>,
}

/// Why a job came to no result.
#[derive(Debug, thiserror::Error)]
pub enum BlocksError<E> {
    /// A survivor that is none.
    #[error(transparent)]
    Contradiction(#[from] Contradiction),
    /// What computes has failed.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// Progress could not be reported.
    #[error("progress could not be reported")]
    Progress(E),
}

/// Tests the seeds in order until all are tested, `soft` has passed since `started`, `stop` says
/// so, or there are as many survivors as an outcome may report.
///
/// # Errors
/// [`BlocksError`] when a survivor does not stand up to the reference engine, when what computes
/// fails, or when `progress` does.
pub fn drive<E>(
    tester: &mut dyn Tester,
    question: Question<'_>,
    started: Instant,
    soft: Duration,
    stop: impl Fn() -> bool,
    mut progress: impl FnMut(Progress) -> Result<(), E>,
) -> Result<SieveResult, BlocksError<E>> {
    let mut result = SieveResult { engine: tester.engine(), ..SieveResult::default() };
    let mut rest = Some(Sequence::new(question.seeds));
    let mut tested: u128 = 0;
    let fixed = tester.fixed_block();
    let mut length = fixed.unwrap_or_else(|| tester.first_block()).max(1);
    let most = question.sieve.max_survivors();
    let mut reported = started;
    while let Some(seeds) = rest {
        let begun = Instant::now();
        let (block, after) = seeds.split_at(length);
        let room = most - result.survivors.len();
        let mut tally = tester.test(&block, room)?;
        failpoint::pass(Point::BlockTested);
        (tested, rest) = (tested + block.len(), after);
        if let Some(last) =
            tally.found.get(room.wrapping_sub(1)).filter(|_| tally.found.len() > room)
        {
            // Cut after the last survivor that can be reported; what lies behind it was not tested.
            let (head, _) = block.split_at(last.index + 1);
            tested = tested - block.len() + head.len();
            rest = None;
            tally = tester.test(&head, room)?;
        }
        if let Some(Planted { seed, skip, found }) = tally.planted {
            if !found {
                let engine = tester.engine().name();
                return Err(Fault::witness(format!(
                    "the engine '{engine}' missed the seed {seed}, planted under skip {skip}: this \
                     is a fault of the engine or of this machine, please report it"
                ))
                .into());
            }
            result.planted = true;
        }
        for found in &tally.found {
            verify(tester, question, found)?;
        }
        result.near_misses.merge(tally.near_misses);
        let survivors = tally.found.iter().map(|found| found.survivor);
        if question.sieve.mode == Mode::Variable {
            survivors.for_each(|survivor| {
                let sequences = variable::sequences(question.sieve, survivor);
                result.survivors.push_variable(survivor, sequences);
            });
        } else {
            result.survivors.extend(survivors);
        }

        let now = Instant::now();
        if result.survivors.len() >= most || stop() || now - started >= soft {
            break;
        }
        if rest.is_some() && now - reported >= PROGRESS {
            reported = now;
            let tested = u64::try_from(tested).unwrap_or(u64::MAX);
            progress(Progress { tested, survivors: result.survivors.len() as u64 })
                .map_err(BlocksError::Progress)?;
        }
        length = fixed.unwrap_or_else(|| next_length(length, now - begun)).max(1);
    }
    tester.conclude()?;
    result.tested = tested_span(question.seeds, tested).into_iter().collect();
    result.busy_seconds = started.elapsed().as_secs_f64();
    Ok(result)
}

/// The length of a block that takes [`BLOCK`], after one of `length` that took `took`.
fn next_length(length: u64, took: Duration) -> u64 {
    let ideal = length as f64 * BLOCK.as_secs_f64() / took.as_secs_f64().max(1e-9);
    (ideal as u64).clamp(1, length.saturating_mul(GROWTH))
}

/// The first `tested` of the job's seeds or candidate indices.
fn tested_span(seeds: &Seeds, tested: u128) -> Option<Span> {
    let whole = seeds.span()?;
    (tested > 0).then(|| whole.split_at(tested).0)
}

fn verify(tester: &dyn Tester, question: Question<'_>, found: &Found) -> Result<(), Contradiction> {
    let reported = found.survivor;
    let expected = reference::test(question.sieve, question.witness, reported.seed).survivor;
    if expected == Some(reported) {
        return Ok(());
    }
    Err(Contradiction { engine: tester.engine().name(), reported, expected })
}
