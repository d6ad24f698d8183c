//! One job, from its bytes to its outcome.

use std::{
    ffi::OsString,
    io,
    os::unix::process::ExitStatusExt,
    process::ExitStatus,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use shared::{
    failpoint::{self, Point},
    job::{Arch, Job, Task},
    outcome::{Failure, MAX_SURVIVORS, Outcome, Return, SieveResult, Verdict},
    rates::MeasuredRate,
    runner::Progress,
    sieve::Seeds,
    spans::Spans,
    statistics::Report,
    wire::{self, Headers, Message},
};

use crate::{
    child::{self, Ended, Ending, Limits, Order, Orders},
    lease::Lease,
    memory::in_words,
    output::{Frames, Last, Stdout, last_line},
    scripts::{self, Scripts},
    shim,
    slots::Slot,
    spawn::{Bounds, Spawner, Start, Ties},
};

/// How many processes and threads a runner with bounds may have: one for each core, and then some.
const PROCESSES: u64 = 4096;

/// What every job of this worker has in common.
#[derive(Debug)]
pub struct Bench {
    /// The node's name.
    pub node: String,
    /// What is unique to this worker.
    pub instance: String,
    /// What starts subprocesses.
    pub spawner: Spawner,
    /// How long a runner may be without progress.
    pub stall: Duration,
    /// From TERM to KILL.
    pub grace: Duration,
    /// After how long a stolen job finishes short: its piece was cut for other hardware.
    pub target_seconds: f64,
    /// What `worker bench` measured on slots like this worker's.
    pub measured: Vec<MeasuredRate>,
    /// How scripts are run.
    pub scripts: Scripts,
}

/// A job that was taken.
#[derive(Debug, Clone)]
pub struct Taken {
    /// The job.
    pub job: Job,
    /// Its bytes as they came.
    pub bytes: Arc<Vec<u8>>,
    /// When it was taken, in Unix seconds.
    pub at: f64,
}

/// The time now, in Unix seconds.
#[must_use]
pub fn now() -> f64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}

/// What became of a job.
#[derive(Debug)]
pub struct Ran {
    /// What is told of it.
    pub outcome: Outcome,
    /// The most of the host's memory that it used at once, in bytes, where it was measured.
    pub peak_bytes: Option<u64>,
}

/// Runs one job in a subprocess of its own and says what became of it. The slot's device, if it
/// has one, was leased for it by whoever calls this.
pub async fn run(
    bench: &Bench,
    slot: &Slot,
    taken: &Taken,
    lease: Option<Lease>,
    orders: Orders,
    progress: impl FnMut(Progress),
) -> Ran {
    let ordered = *orders.borrow();
    if let Some(order) = ordered {
        let reason = match order {
            Order::Finish(reason) => reason,
            Order::Kill => Return::Drain,
        };
        let detail = format!("{}; it was not started", why(reason));
        let outcome = outcome(bench, slot, taken, returned(reason, detail), 0.0);
        return Ran { outcome, peak_bytes: None };
    }
    let lease = lease.map(Arc::new);
    let held = lease.clone();
    let (verdict, seconds, peak_bytes) = match &taken.job.task {
        Task::Script(script) => scripts::attempt(bench, slot, (taken, script), held, orders).await,
        _ => attempt(bench, slot, taken, held, orders, progress).await,
    };
    if let Some(lease) = lease {
        lease.memory_is_back().await;
    }
    Ran { outcome: outcome(bench, slot, taken, verdict, seconds), peak_bytes }
}

async fn attempt(
    bench: &Bench,
    slot: &Slot,
    taken: &Taken,
    lease: Option<Arc<Lease>>,
    orders: Orders,
    progress: impl FnMut(Progress),
) -> (Verdict, f64, Option<u64>) {
    let mut args: Vec<OsString> = vec!["--threads".into(), slot.device.threads.to_string().into()];
    if taken.job.arch != slot.arch {
        args.extend(["--soft-seconds".into(), bench.target_seconds.to_string().into()]);
    }
    let start = Start {
        program: slot.runner.clone(),
        args,
        env: Arc::clone(&slot.env),
        input: Arc::clone(&taken.bytes),
        folder: None,
    };
    // What declares its need is held to it.
    let ties = ties(slot, &taken.job, lease, taken.job.memory_mb > 0);
    let said = Frames::default();
    let began = Instant::now();
    match watched(bench, &taken.job, (start, ties), (said, bench.stall), orders, progress).await {
        Ok(ending) => {
            let peak_bytes = ending.peak_bytes;
            (judge(&taken.job, ending), began.elapsed().as_secs_f64(), peak_bytes)
        }
        Err(error) => {
            let detail = format!("{} could not be started: {error}", slot.runner.display());
            (failed(Failure::SpawnFailed, detail, String::new()), 0.0, None)
        }
    }
}

/// What a job's child is tied to: its device, the memory that it declares, and where it is bounded
/// the shim.
pub(crate) fn ties(slot: &Slot, job: &Job, lease: Option<Arc<Lease>>, is_bounded: bool) -> Ties {
    let Job { run, id, memory_mb, .. } = job;
    let bounds = is_bounded.then(|| Bounds {
        memory_bytes: memory_mb.checked_mul(1 << 20).filter(|bytes| *bytes > 0),
        processes: PROCESSES,
        has_gpu: slot.gpu.is_some(),
    });
    let shim = bounds.map(|_| shim::OWN.into());
    Ties { name: format!("{run}/{id}"), lease, bounds, shim }
}

/// Starts a job's child and watches it to its end: what it says, and how long it may be silent.
///
/// # Errors
/// What the system says when it can't be started or watched.
pub(crate) async fn watched<S: Stdout>(
    bench: &Bench,
    job: &Job,
    (start, ties): (Start, Ties),
    (said, stall): (S, Duration),
    orders: Orders,
    progress: impl FnMut(Progress),
) -> io::Result<Ending<S>> {
    let started = bench.spawner.start_tied(start, ties).await?;
    failpoint::pass(Point::ChildStarted);
    let time = Duration::try_from_secs_f64(job.time_limit_seconds).unwrap_or(Duration::MAX);
    let limits = Limits { time, stall, grace: bench.grace };
    let ending = child::watch(started, limits, said, orders, progress).await;
    failpoint::pass(Point::ChildEnded);
    ending
}

/// What an ending means for the job.
fn judge(job: &Job, ending: Ending<Frames>) -> Verdict {
    let Ending { status, ended, stdout, stderr, .. } = ending;
    let stderr = stderr.text();
    let last = stdout.into_last();
    // A result is a result, whoever asked for it early: nothing tested is thrown away.
    match (status.code(), last.as_ref()) {
        (Some(0), Ok(Last::Done(result))) => {
            return match check(job, result) {
                Ok(()) => Verdict::Done(result.clone()),
                Err(why) => {
                    let detail = format!("the runner's result makes no sense: {why}");
                    failed(Failure::InvalidOutput, detail, stderr)
                }
            };
        }
        (Some(_), Ok(Last::Rejected(why))) => {
            return failed(Failure::Rejected, why.clone(), stderr);
        }
        (Some(_), Ok(Last::Failed(failure, detail))) => {
            return failed(*failure, detail.clone(), stderr);
        }
        _ => {}
    }
    let words = last_line(&stderr);
    let said = if words.is_empty() { words } else { format!(": {words}") };
    let (failure, detail) = match (ended, status.code()) {
        (Some(Ended::Asked(reason)), _) => {
            return returned(reason, format!("{}, and the runner ended by {status}", why(reason)));
        }
        (Some(Ended::NoProgress(silence)), _) => {
            let seconds = silence.as_secs_f64();
            (Failure::Stalled, format!("the runner made no progress for {seconds:.1} s{said}"))
        }
        (Some(Ended::TimeLimit(limit)), _) => {
            let seconds = limit.as_secs_f64();
            (Failure::Stalled, format!("the runner was past its time limit of {seconds} s{said}"))
        }
        (Some(Ended::Memory { used, limit }), _) => memory(used, limit),
        (Some(Ended::Garbage), _) | (None, Some(0)) => {
            let why = last.err().unwrap_or_default();
            (Failure::InvalidOutput, format!("the runner's output is no result: {why}"))
        }
        (None, _) => died("runner", status, &stderr, &said),
    };
    failed(failure, detail, stderr)
}

/// What it means that a child ended by itself and not well: `who` it was, and what it `said`.
pub(crate) fn died(who: &str, status: ExitStatus, stderr: &str, said: &str) -> (Failure, String) {
    match status.code() {
        Some(code) if code == i32::from(shim::NOT_STARTED) && stderr.starts_with(shim::WORDS) => {
            (Failure::SpawnFailed, last_line(stderr.trim_start_matches(shim::WORDS)))
        }
        Some(code) => (Failure::ExitCode(code), format!("the {who} exited with code {code}{said}")),
        None => {
            let signal = status.signal().unwrap_or_default();
            (Failure::Crashed(signal), format!("the {who} died of {status}{said}"))
        }
    }
}

/// Whose fault it is that a job was ended for its memory, and why.
#[must_use]
pub fn memory(used: Option<u64>, limit: Option<u64>) -> (Failure, String) {
    let used = used.map_or_else(|| "too much memory".to_owned(), in_words);
    match limit {
        Some(limit) => {
            (Failure::OutOfMemory, format!("it used {used}, its limit is {}", in_words(limit)))
        }
        None => (Failure::HostOutOfMemory, format!("the host ran out of memory; it used {used}")),
    }
}

/// Whether a result can be what the job asked for.
fn check(job: &Job, result: &SieveResult) -> Result<(), String> {
    let span = job.span().ok_or("the job covers nothing")?;
    if result.tested.is_empty() {
        return Err("it tested nothing".to_owned());
    }
    if let Some(outside) = result.tested.iter().find(|s| s.intersection(span) != Some(**s)) {
        return Err(format!("it tested {outside}, outside of its {span}"));
    }
    let survivors = &result.survivors;
    if !survivors.is_whole() || survivors.len() > MAX_SURVIVORS {
        return Err(format!(
            "its columns of {} survivors disagree or are too long",
            survivors.len()
        ));
    }
    let tested = Spans::from_iter(result.tested.iter().copied());
    let reports = result.reports.len() as u128;
    let answers = match job.task {
        Task::Statistics { .. } => survivors.is_empty() && reports == tested.count(),
        _ => reports == 0,
    };
    if !answers {
        return Err("it answers another question than the job asks".to_owned());
    }
    if let Some(Seeds::Range(_)) = job.task.seeds() {
        let reports = result.reports.iter().map(Report::seed);
        let mut seeds = survivors.seeds.iter().copied().chain(reports);
        if let Some(seed) = seeds.find(|&seed| !tested.contains(seed)) {
            return Err(format!("its seed {seed} lies outside of what it tested"));
        }
    }
    Ok(())
}

/// A failed verdict.
#[must_use]
pub fn failed(failure: Failure, detail: String, stderr_tail: String) -> Verdict {
    Verdict::Failed { failure, detail, stderr_tail }
}

/// The verdict on a job that goes back.
#[must_use]
pub const fn returned(reason: Return, detail: String) -> Verdict {
    Verdict::Returned { reason, detail }
}

/// Why a job is ended or not begun, in words.
pub(crate) const fn why(reason: Return) -> &'static str {
    match reason {
        Return::Cancelled => "its run has ended",
        Return::Paused => "its run is paused",
        _ => "the worker was draining",
    }
}

/// The outcome of a job. Its bytes are echoed whenever something must follow.
#[must_use]
pub fn outcome(
    bench: &Bench,
    slot: &Slot,
    taken: &Taken,
    verdict: Verdict,
    seconds: f64,
) -> Outcome {
    let job = &taken.job;
    let whole = match &verdict {
        Verdict::Done(result) => job.span().is_some_and(|span| {
            Spans::from_iter(result.tested.iter().copied()).holes(span).is_empty()
        }),
        Verdict::Finished(_) => true,
        Verdict::Failed { .. } | Verdict::Returned { .. } => false,
    };
    Outcome {
        run: job.run.clone(),
        epoch: job.epoch,
        job: job.id.clone(),
        seq: job.seq,
        attempt: job.attempt,
        // A script may have run on another one than it was published for.
        arch: if job.is_script() { slot.arch } else { job.arch },
        node: bench.node.clone(),
        instance: bench.instance.clone(),
        device: slot.device.clone(),
        verdict,
        echo: (!whole).then(|| taken.bytes.as_ref().clone()),
        taken_at: taken.at,
        seconds,
    }
}

/// The outcome of a message from a queue of `arch` that can't be decoded: what its headers say of
/// it, and its raw bytes.
#[must_use]
pub fn undecodable(
    bench: &Bench,
    slot: &Slot,
    arch: Arch,
    message: &Message,
    why: &str,
) -> Outcome {
    let (run, job) = wire::named(message);
    Outcome {
        run,
        epoch: 0,
        job,
        seq: 0,
        attempt: attempt_header(&message.headers),
        arch,
        node: bench.node.clone(),
        instance: bench.instance.clone(),
        device: slot.device.clone(),
        verdict: failed(Failure::Undecodable, why.to_owned(), String::new()),
        echo: Some(message.body.clone()),
        taken_at: now(),
        seconds: 0.0,
    }
}

/// `2` of `2 of 3`; 0 when there is none.
fn attempt_header(headers: &Headers) -> u32 {
    let first = headers.get("attempt").and_then(|text| text.split(' ').next()?.parse().ok());
    first.unwrap_or_default()
}

/// The outcome as a message. One that would be too large for any broker says so instead, without
/// what made it so.
///
/// # Errors
/// When even that can't be encoded.
pub fn encode(outcome: Outcome) -> Result<Message, wire::WireError> {
    wire::encode(&outcome).or_else(|error| {
        tracing::warn!(%error, run = outcome.run, job = outcome.job, "an outcome is too large");
        let verdict = match outcome.verdict {
            Verdict::Done(_) | Verdict::Finished(_) => {
                failed(Failure::InvalidOutput, format!("its outcome: {error}"), String::new())
            }
            other => other,
        };
        let slim = Outcome { verdict, ..outcome };
        wire::encode(&slim).or_else(|_| wire::encode(&Outcome { echo: None, ..slim }))
    })
}
