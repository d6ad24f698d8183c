//! How long one job takes on an idle fleet.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use shared::{job::Job, messages::Bell, sieve::Seeds, spans::Span, topology, wire};

use crate::{
    Failed,
    fleet::Fleet,
    report::{Line, Required, say},
};

/// How long the fleet is left alone before each job.
const PAUSE: Duration = Duration::from_millis(50);
/// Jobs before the first that counts.
const WARM: usize = 5;

/// One job at a time, from just before its publication (a session is open, as in a producer that
/// runs on) through its bell, its process and its outcome, until another process reads the
/// outcome in the ledger.
pub(crate) async fn measure(
    fleet: &Fleet,
    name: &str,
    times: usize,
    lines: &mut Vec<Line>,
) -> Result<(), Failed> {
    let first: Job = fleet.sample_job("1").await?;
    let _aggregator = fleet.aggregator()?;
    let ledger = fleet.ledger()?;
    let broker = fleet.session().await?;
    let _worker = fleet.worker(2)?;
    let queue = topology::seed_queue(first.arch, first.urgency);
    let run = "one-by-one";
    let mut taken = Vec::with_capacity(times);
    for seed in 0..(WARM + times) as u64 {
        sleep(PAUSE);
        let seeds = Seeds::Range(Span::new(seed, seed)?);
        let mut job = Job { run: run.to_owned(), id: format!("{run}/{seed:06}"), ..first.clone() };
        if let shared::job::Task::Sieve { seeds: range, .. } = &mut job.task {
            *range = seeds;
        }
        let started = Instant::now();
        broker.publish(&queue, wire::encode(&job)?).await?;
        broker.broadcast(wire::encode(&Bell { queues: vec![queue.clone()] })?).await?;
        fleet.until_ledger(&ledger, run, |row| row.counts.done > seed)?;
        taken.push(started.elapsed().as_secs_f64() * 1e3);
    }
    broker.close().await;
    let mut taken = taken.split_off(WARM);
    taken.sort_by(f64::total_cmp);
    let (median, slowest) = (taken[times / 2], taken[times * 99 / 100]);
    say(&format!(
        "   {name}: least {:.1} ms, median {median:.1} ms, 99 % {slowest:.1} ms of {times}",
        taken[0]
    ))?;
    let what = format!("{name}: one job, publish to ledger, median (goal 10)");
    lines.push(Line::new(what, median, " ms", Required::Below(50.0)));
    lines.push(Line::figure("  the same, 99 %".into(), slowest, " ms"));
    Ok(())
}
