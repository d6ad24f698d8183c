//! Driving the statistics of a job's seeds, block by block, on any runner's processor.

use std::{
    num::NonZeroUsize,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use shared::{
    failpoint::{self, Point},
    job::Engine,
    outcome::SieveResult,
    runner::Progress,
    sieve::Seeds,
    statistics::{MAX_REPORT_BYTES, Report, Statistics},
};

use crate::{sequence::Sequence, statistics::compute};

/// What a block should take.
const BLOCK: Duration = Duration::from_millis(200);
/// A block is at most this many times the one before.
const GROWTH: u64 = 8;
/// How often progress is reported at most.
const PROGRESS: Duration = Duration::from_millis(250);

/// Computes seed after seed until all are done, `soft` has passed since `started`, `stop` says
/// so, or the reports fill an outcome; one seed at least.
///
/// # Errors
/// What `progress` says.
pub(super) fn drive<E>(
    question: &Statistics,
    seeds: &Seeds,
    threads: NonZeroUsize,
    (started, soft): (Instant, Duration),
    stop: impl Fn() -> bool,
    mut progress: impl FnMut(Progress) -> Result<(), E>,
) -> Result<SieveResult, E> {
    let mut result = SieveResult { engine: Engine::Reference, ..SieveResult::default() };
    let mut rest = Some(Sequence::new(seeds));
    let (mut bytes, mut length) = (0, threads.get() as u64);
    let mut reported = started;
    'all: while let Some(left) = rest {
        let begun = Instant::now();
        // No more than fits, by a guess: what is cut off below was computed in vain.
        let fits = (MAX_REPORT_BYTES - bytes) / question.report_bytes() + 1;
        let (block, after) = left.split_at(length.min(fits as u64));
        let reports = side_by_side(question, &block, threads);
        failpoint::pass(Point::BlockTested);
        for report in reports {
            bytes += size(&report);
            result.reports.push(report);
            if bytes >= MAX_REPORT_BYTES {
                break 'all;
            }
        }
        let now = Instant::now();
        if stop() || now - started >= soft {
            break;
        }
        rest = after;
        if rest.is_some() && now - reported >= PROGRESS {
            reported = now;
            progress(Progress { tested: result.reports.len() as u64, survivors: 0 })?;
        }
        let took = (now - begun).as_secs_f64().max(1e-9);
        let ideal = length as f64 * BLOCK.as_secs_f64() / took;
        length = (ideal as u64).clamp(threads.get() as u64, length * GROWTH);
    }
    let done = result.reports.len() as u128;
    result.tested = seeds.span().map(|span| span.split_at(done).0).into_iter().collect();
    result.busy_seconds = started.elapsed().as_secs_f64();
    Ok(result)
}

/// The bytes of a report on the wire. What can't be encoded fails where the outcome is written.
fn size(report: &Report) -> usize {
    rmp_serde::to_vec_named(report).map_or(0, |bytes| bytes.len())
}

/// The reports of a block's seeds, in their order.
fn side_by_side(question: &Statistics, block: &Sequence<'_>, threads: NonZeroUsize) -> Vec<Report> {
    let count = usize::try_from(block.len()).unwrap_or(usize::MAX);
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(count));
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return;
            }
            let report = compute(question, block.get(index as u64));
            done.lock().unwrap_or_else(PoisonError::into_inner).push((index, report));
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads.get().min(count) {
            scope.spawn(work);
        }
        work();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, report)| report).collect()
}
