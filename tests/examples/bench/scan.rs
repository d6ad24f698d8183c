//! The scan rate through the whole fleet, beside the engine's own.

use std::{
    io::{Read as _, Write as _},
    process::{Child, Command, Stdio},
};

use producer::ledger::Ledger;
use rusqlite::{Connection, OpenFlags};
use shared::{
    job::{Job, Task},
    runner::{Frame, decode_frame, frame_length},
    sieve::Seeds,
    spans::Span,
    wire,
};

use crate::{
    Failed, Size,
    fleet::{self, Fleet},
    report::{Line, Required, processor_seconds, say},
};

/// Runners side by side, and slots of the worker.
const SIDE_BY_SIDE: u64 = 2;
/// Seconds that the engine is measured for in one turn.
const ALONE: f64 = 6.0;
/// Turns of the fleet, each between two of the engine.
const TURNS: u32 = 5;

pub(crate) async fn measure(
    fleet: &Fleet,
    size: &Size,
    lines: &mut Vec<Line>,
) -> Result<(), Failed> {
    let job = fleet.sample_job("2^20").await?;
    let guess = engine(&job, 1 << 26)?;
    let length = (guess / SIDE_BY_SIDE as f64 * ALONE) as u64;
    let seeds = (guess * size.seconds) as u64;
    // A first run, so that the planner knows this machine's rate as it would on a fleet at work.
    through_fleet(fleet, "scan-first", seeds / 4)?;
    // The machine's own speed drifts by half within a minute, so each turn of the fleet is compared
    // with the engine right before and right after it, and the median of these ratios counts.
    let mut before = alone(&job, length)?;
    let (mut rates, mut alones) = (Vec::new(), Vec::new());
    let (mut ratios, mut by_processor) = (Vec::new(), Vec::new());
    for turn in 1..=TURNS {
        let run = format!("scan-{turn}");
        let started = processor_seconds()?;
        let rate = through_fleet(fleet, &run, seeds)?;
        let per_second = seeds as f64 / (processor_seconds()? - started);
        let after = alone(&job, length)?;
        let beside = [0, 1].map(|of| f64::midpoint(before[of], after[of]));
        say(&format!(
            "   {seeds} seeds of java_random: {:.2} M/s through RabbitMQ, the slots at work for \
             {:.1} % of the time; two runners alone {:.2} M/s before, {:.2} after: {:.2}",
            rate / 1e6,
            busy_share(fleet, &run)? * 100.0,
            before[0] / 1e6,
            after[0] / 1e6,
            rate / beside[0]
        ))?;
        rates.push(rate);
        alones.push(beside[0]);
        ratios.push(rate / beside[0]);
        by_processor.push(per_second / beside[1]);
        before = after;
    }
    let (rate, alone) = (median(rates), median(alones));
    lines.push(Line::figure("RabbitMQ: scan, M seeds/s on 2 slots".into(), rate / 1e6, ""));
    lines.push(Line::figure("  two runners alone, M seeds/s".into(), alone / 1e6, ""));
    let ratio = median(ratios);
    lines.push(Line::new("  fleet to engine, pairs".into(), ratio, "", Required::AtLeast(0.9)));
    let what = "  the same by processor time (all but the broker's)".to_owned();
    lines.push(Line::figure(what, median(by_processor), ""));
    Ok(())
}

/// The engine's rate by itself: seeds a second by the clock, and by processor time.
fn alone(job: &Job, length: u64) -> Result<[f64; 2], Failed> {
    let started = processor_seconds()?;
    let rate = engine(job, length)?;
    let spent = processor_seconds()? - started;
    Ok([rate, (SIDE_BY_SIDE * length) as f64 / spent])
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The share of the slots' time, from the run's opening to its end, in which a runner was at work.
fn busy_share(fleet: &Fleet, run: &str) -> Result<f64, Failed> {
    let path = Ledger::path(fleet.home());
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let sum = "SELECT sum(busy_seconds) / (?2 * (ended_at - opened_at)) \
               FROM runs JOIN outcomes ON outcomes.run = runs.id WHERE name = ?1";
    Ok(db.query_row(sum, (run, SIDE_BY_SIDE), |row| row.get(0))?)
}

/// Seeds a second of a run, from its manifest's making until the ledger has all of it.
fn through_fleet(fleet: &Fleet, run: &str, seeds: u64) -> Result<f64, Failed> {
    let _aggregator = fleet.aggregator()?;
    let _worker = fleet.worker(SIDE_BY_SIDE as u32)?;
    let end = seeds.to_string();
    let told = fleet.enqueue(run, &["--seed-end", &end, "--wait", "--json"])?;
    let told: serde_json::Value = serde_json::from_str(&told)?;
    let rate = told["status"]["seeds_per_second"].as_f64();
    Ok(rate.ok_or_else(|| format!("no seeds_per_second in {told}"))?)
}

/// Seeds a second of runners side by side on the same question, each on `length` seeds of its
/// own: the sum over each one's seconds at work.
fn engine(job: &Job, length: u64) -> Result<f64, Failed> {
    let running = (0..SIDE_BY_SIDE)
        .map(|turn| start(job, Span::new(turn * length, (turn + 1) * length - 1)?))
        .collect::<Result<Vec<_>, Failed>>()?;
    running.into_iter().map(|child| Ok(length as f64 / busy_seconds(child)?)).sum()
}

fn start(job: &Job, span: Span) -> Result<Child, Failed> {
    let mut job = Job { soft_seconds: 600.0, ..job.clone() };
    if let Task::Sieve { seeds, .. } = &mut job.task {
        *seeds = Seeds::Range(span);
    }
    let mut child = Command::new(fleet::runner()?)
        .args(["--threads", "1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    child.stdin.take().ok_or("no stdin")?.write_all(&wire::encode(&job)?.body)?;
    Ok(child)
}

fn busy_seconds(mut child: Child) -> Result<f64, Failed> {
    let mut stdout = child.stdout.take().ok_or("no stdout")?;
    let mut prefix = [0; 4];
    let mut busy = None;
    while stdout.read_exact(&mut prefix).is_ok() {
        let mut body = vec![0; frame_length(prefix)?];
        stdout.read_exact(&mut body)?;
        if let Frame::Done(result) = decode_frame(&body)? {
            busy = Some(result.busy_seconds);
        }
    }
    child.wait()?;
    Ok(busy.ok_or("a runner said nothing of its result")?)
}
