//! Reconciliation: a run whose queues and ledger disagree is found by its silence, and what it
//! lacks is planned and queued anew.
//!
//! Silence is measured with the monotonic clock and forgotten with the process, so that neither a
//! jump of the wall clock nor an aggregator that was away for a night can be taken for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use shared::{
    job::Job,
    messages::{Heartbeat, RunOpened},
    settings::Settings,
    spans::{Span, Spans},
    statistics::Statistics,
};
use tokio::time::Instant;

use crate::{
    fleet::{Known, fleet},
    ledger::{Ledger, LedgerError, RunRow},
    planner::{self, Piece, PlanError, PlanInput},
    request::{Asked, Question, Request},
    sieve_args::Kind,
};

/// A worker that was not heard for so long holds nothing any more.
const HELD: Duration = Duration::from_secs(30);

/// Since when nothing was heard of each open run, and who holds jobs of which.
#[derive(Debug, Default)]
pub(crate) struct Silence {
    since: BTreeMap<String, Instant>,
    held: BTreeMap<String, (Instant, BTreeSet<String>)>,
}

impl Silence {
    /// Something happened in these runs.
    pub(crate) fn broken<'a>(&mut self, runs: impl IntoIterator<Item = &'a String>, now: Instant) {
        for run in runs {
            self.since.insert(run.clone(), now);
        }
    }

    /// A worker told what it holds.
    pub(crate) fn heard(&mut self, heartbeat: &Heartbeat, now: Instant) {
        let runs = heartbeat.held().map(|job| job.run.clone()).collect();
        self.held.insert(heartbeat.instance.clone(), (now, runs));
    }

    /// The open runs of which nothing was heard for `after`: nothing came in, nothing waits in
    /// the outbox (`posting`), and nobody says to hold a job.
    pub(crate) fn of<'a>(
        &mut self,
        open: impl IntoIterator<Item = &'a String>,
        posting: &BTreeSet<String>,
        after: Duration,
        now: Instant,
    ) -> Vec<String> {
        self.held.retain(|_, (at, _)| now.duration_since(*at) < HELD);
        let mut since = BTreeMap::new();
        let mut silent = Vec::new();
        for run in open {
            let held = self.held.values().any(|(_, runs)| runs.contains(run));
            let busy = held || posting.contains(run);
            let before = self.since.get(run).copied().filter(|_| !busy).unwrap_or(now);
            since.insert(run.clone(), before);
            if now.duration_since(before) >= after {
                silent.push(run.clone());
            }
        }
        // Of runs that are not open any more nothing is remembered.
        self.since = since;
        silent
    }
}

/// Why nothing can be queued for what a run lacks.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RestError {
    /// Nobody knows what it was to search.
    #[error("its manifest never arrived")]
    NoManifest,
    /// Nobody knows all of what it was to test.
    #[error("only {arrived} of its {wanted} candidates arrived")]
    Candidates { arrived: usize, wanted: u128 },
    /// Nobody knows all of what it was to run.
    #[error("only {arrived} of its {wanted} script jobs arrived")]
    Scripts { arrived: usize, wanted: u128 },
    /// It can't be planned any more.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The ledger can't be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// The jobs for what a run lacks. Their ids are numbers; their epoch is the caller's to set.
pub(crate) fn plan_rest(
    ledger: &Ledger,
    settings: &Settings,
    run: &RunRow,
) -> Result<Vec<Job>, RestError> {
    let manifest = run.manifest.as_ref().ok_or(RestError::NoManifest)?;
    if manifest.scripts.is_some() {
        return scripts_lacking(ledger, run, manifest);
    }
    let candidates = if manifest.parts > 0 { ledger.candidates(run)? } else { Vec::new() };
    let (arrived, wanted) = (candidates.len(), manifest.requested.len());
    if manifest.parts > 0 && arrived as u128 != wanted {
        return Err(RestError::Candidates { arrived, wanted });
    }
    let (known, lacking) = (Known::of(ledger)?, ledger.lacking(run)?);
    Ok(jobs_for(settings, &known, manifest, candidates, &lacking)?)
}

/// The script jobs of the list that are neither done nor dead, as they were published first.
fn scripts_lacking(
    ledger: &Ledger,
    run: &RunRow,
    manifest: &RunOpened,
) -> Result<Vec<Job>, RestError> {
    let (mut jobs, lacking) = (ledger.script_jobs(run)?, ledger.lacking(run)?);
    let (arrived, wanted) = (jobs.len(), manifest.requested.len());
    // Of a list that grows, what was not asked for yet is not lacking.
    if arrived as u128 != wanted && !manifest.grows() {
        return Err(RestError::Scripts { arrived, wanted });
    }
    jobs.retain(|job| job.span().is_some_and(|place| lacking.contains(place.first())));
    Ok(jobs)
}

fn jobs_for(
    settings: &Settings,
    known: &Known,
    manifest: &RunOpened,
    candidates: Vec<u64>,
    lacking: &Spans,
) -> Result<Vec<Job>, PlanError> {
    let Some(length) = length(lacking) else { return Ok(Vec::new()) };
    let asked = if manifest.parts > 0 {
        Asked::Candidates(candidates)
    } else {
        Asked::Range(manifest.requested)
    };
    let (kind, question) = match (&manifest.sieve, &manifest.statistics) {
        (_, Some(statistics @ Statistics::Correlation { .. })) => {
            (Kind::Correlation, Question::Statistics(*statistics))
        }
        (_, Some(statistics)) => (Kind::Analysis, Question::Statistics(*statistics)),
        (Some(sieve), None) if manifest.parts > 0 => {
            (Kind::ReverseSieve, Question::Sieve(sieve.clone()))
        }
        (Some(sieve), None) => (Kind::Sieve, Question::Sieve(sieve.clone())),
        // The ledger takes no such manifest.
        (None, None) => return Ok(Vec::new()),
    };
    let request = Request {
        kind,
        question,
        asked,
        engine: manifest.engine,
        arch: manifest.arch,
        chunk: manifest.chunk,
        // It was accepted once.
        max_survivors: u64::MAX,
        max_dead: manifest.max_dead,
        urgency: manifest.urgency,
        max_attempts: manifest.max_attempts,
        sample: None,
        notes: Vec::new(),
    };
    let (fleet, _) = fleet(settings, known, &request);
    // The holes are planned as one range, then cut where they begin and end.
    let input =
        PlanInput { requested: length, ..PlanInput::of(&request, fleet, &settings.planner) };
    let mut plan = planner::plan(&input)?;
    plan.pieces = plan.pieces.iter().flat_map(|piece| placed(piece, lacking)).collect();
    let jobs = planner::jobs(&request, &plan, &manifest.run).enumerate();
    Ok(jobs.map(|(number, job)| Job { id: format!("{number:05}"), ..job }).collect())
}

/// `0` to the number of lacking seeds, as one span.
fn length(lacking: &Spans) -> Option<Span> {
    let last = lacking.count().checked_sub(1)?;
    Span::new(0, u64::try_from(last).unwrap_or(u64::MAX)).ok()
}

/// A piece of the holes as one range, where it lies in truth.
fn placed(piece: &Piece, lacking: &Spans) -> Vec<Piece> {
    let mut pieces = Vec::new();
    // Where the hole begins in the holes as one range.
    let mut begins = 0u128;
    let (first, end) = (u128::from(piece.span.first()), piece.span.end());
    for hole in lacking.as_slice() {
        let ends = begins + hole.len();
        let (from, to) = (first.max(begins), end.min(ends));
        if from < to {
            let at = |virtual_index: u128| {
                u64::try_from(u128::from(hole.first()) + (virtual_index - begins)).ok()
            };
            if let (Some(first), Some(last)) = (at(from), at(to - 1))
                && let Ok(span) = Span::new(first, last)
            {
                pieces.push(Piece { span, ..*piece });
            }
        }
        begins = ends;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use shared::{
        job::Arch, messages::HeldJob, messages::SlotState, messages::Stage, outcome::Device,
    };

    use super::*;

    fn span(first: u64, last: u64) -> Span {
        Span::new(first, last).unwrap()
    }

    fn heartbeat(run: Option<&str>) -> Heartbeat {
        let job = run.map(|run| HeldJob {
            run: run.to_owned(),
            job: "j".to_owned(),
            seq: 1,
            stage: Stage::Running,
            tested: 0,
            survivors: 0,
            seconds: 0.0,
            waits_for: None,
        });
        let device = Device { name: "cpu0".to_owned(), model: String::new(), threads: 1 };
        Heartbeat {
            node: "n".to_owned(),
            instance: "i".to_owned(),
            version: String::new(),
            slots: vec![SlotState {
                arch: Arch::Cpu,
                device,
                job,
                health: None,
                unfit: None,
                is_endpoint: false,
            }],
            draining: false,
            paused: false,
            kept: Vec::new(),
            memory: None,
            informed: true,
            staged: None,
            measured: Vec::new(),
            at: 0.0,
        }
    }

    #[test]
    fn a_run_is_silent_when_nothing_came_and_nobody_holds_any_of_it() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let after = Duration::from_secs(60);
        let (run, none) = (["r".to_owned()], BTreeSet::new());
        let mut silence = Silence::default();
        let silent = |silence: &mut Silence, seconds, posting: &BTreeSet<String>| {
            !silence.of(&run, posting, after, at(seconds)).is_empty()
        };
        assert!(!silent(&mut silence, 0, &none), "it was never seen before");
        assert!(!silent(&mut silence, 59, &none));
        assert!(silent(&mut silence, 60, &none));
        silence.broken(&run, at(61));
        assert!(!silent(&mut silence, 120, &none));
        assert!(silent(&mut silence, 121, &none));
        assert!(!silent(&mut silence, 122, &BTreeSet::from(run.clone())), "a retry waits");
        assert!(!silent(&mut silence, 150, &none));
        silence.heard(&heartbeat(Some("r")), at(170));
        assert!(!silent(&mut silence, 190, &none), "a worker holds a job of it");
        // That worker is never heard again: half a minute later it holds nothing.
        assert!(!silent(&mut silence, 201, &none));
        assert!(silent(&mut silence, 260, &none));
        silence.heard(&heartbeat(None), at(261));
        assert!(silent(&mut silence, 262, &none));
    }

    #[test]
    fn pieces_of_the_holes_lie_where_the_holes_are() {
        let lacking: Spans =
            [span(10, 14), span(20, 20), span(u64::MAX - 3, u64::MAX)].into_iter().collect();
        assert_eq!(length(&lacking), Some(span(0, 9)));
        let piece = |span| Piece { span, arch: Arch::Cpu, predicted_seconds: 0.0 };
        let spans =
            |at| -> Vec<Span> { placed(&piece(at), &lacking).iter().map(|p| p.span).collect() };
        assert_eq!(spans(span(0, 2)), [span(10, 12)]);
        assert_eq!(
            spans(span(3, 6)),
            [span(13, 14), span(20, 20), span(u64::MAX - 3, u64::MAX - 3)]
        );
        assert_eq!(spans(span(7, 9)), [span(u64::MAX - 2, u64::MAX)]);
    }
}
