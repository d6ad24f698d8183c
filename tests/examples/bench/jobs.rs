//! Isolated jobs a second, beside the loop that only starts the same processes.

use std::{fs, path::Path, time::Instant};

use shared::wire;
use tests::rabbitmq::RabbitNode;

use crate::{
    Failed, Size,
    fleet::{self, Fleet},
    report::{Line, Required, processor_seconds, say},
    spawning,
};

/// Seeds of one tiny job.
const SEEDS: u64 = 4;
/// Starts in one turn of the loop.
const STARTS: u32 = 1000;

pub(crate) async fn rabbit(
    node: &RabbitNode,
    size: &Size,
    lines: &mut Vec<Line>,
) -> Result<Fleet, Failed> {
    let fleet = Fleet::new(&node.url("/"))?;
    bursts(&fleet, "RabbitMQ", size, lines).await?;
    Ok(fleet)
}

pub(crate) async fn embedded(size: &Size, lines: &mut Vec<Line>) -> Result<Fleet, Failed> {
    let fleet = Fleet::new("embedded:")?;
    bursts(&fleet, "embedded", size, lines).await?;
    Ok(fleet)
}

async fn bursts(
    fleet: &Fleet,
    name: &str,
    size: &Size,
    lines: &mut Vec<Line>,
) -> Result<(), Failed> {
    let job = fleet.sample_job(&SEEDS.to_string()).await?;
    let folder = tempfile::tempdir()?;
    let input = folder.path().join("job");
    fs::write(&input, wire::encode(&job)?.body)?;
    let runner = fleet::runner()?;
    let spawn_loop = || spawning::rate(&runner, &input, STARTS);

    // The loop is measured before, between and after the bursts, and its fastest turn counts: the
    // machine may be shared.
    let mut loops = vec![spawn_loop()?];
    let mut best: Option<(f64, u32)> = None;
    for &slots in &size.slots {
        let before = processor_seconds()?;
        let rate = burst(fleet, &format!("burst-{slots}"), slots, size.jobs)?;
        let between = processor_seconds()?;
        let starts = spawn_loop()?;
        let after = processor_seconds()?;
        loops.push(starts);
        say(&format!(
            "   {name}, {slots} slots: {rate:.0} jobs/s, {:.2} ms of processor a job; \
             posix_spawn of runner-cpu in a loop: {starts:.0}/s, {:.2} ms",
            (between - before) * 1e3 / size.jobs as f64,
            (after - between) * 1e3 / f64::from(STARTS)
        ))?;
        if best.is_none_or(|(fastest, _)| rate > fastest) {
            best = Some((rate, slots));
        }
    }
    let (rate, slots) = best.ok_or("no slots to measure with")?;
    let alone = loops.into_iter().fold(0.0, f64::max);
    lines.push(Line::figure(format!("{name}: jobs/s, best at {slots} slots"), rate, "/s"));
    lines.push(Line::figure(
        "  posix_spawn + wait of runner-cpu, fastest of turns".into(),
        alone,
        "/s",
    ));
    if name == "RabbitMQ" {
        let nothing = spawning::rate(Path::new("/bin/true"), &input, STARTS)?;
        lines.push(Line::figure("  posix_spawn + wait of /bin/true".into(), nothing, "/s"));
    }
    let required = Required::AtLeast(1.0 / 3.0);
    lines.push(Line::new("  jobs to starts (goal 0.75)".into(), rate / alone, "", required));
    Ok(())
}

/// Jobs a second: all are queued first, then a worker starts; the clock runs from that start (it
/// has to connect and to hear the fleet's state) until the ledger holds the last outcome.
fn burst(fleet: &Fleet, run: &str, slots: u32, jobs: u64) -> Result<f64, Failed> {
    let _aggregator = fleet.aggregator()?;
    let end = (jobs * SEEDS).to_string();
    fleet.enqueue(run, &["--seed-end", &end, "--chunk", &SEEDS.to_string()])?;
    let ledger = fleet.ledger()?;
    let started = Instant::now();
    let _worker = fleet.worker(slots)?;
    let row = fleet.until_ledger(&ledger, run, |row| row.state.is_ended())?;
    let seconds = started.elapsed().as_secs_f64();
    if row.counts.done != jobs {
        return Err(format!("{run} ended {} with {:?}", row.state.name(), row.counts).into());
    }
    Ok(jobs as f64 / seconds)
}
