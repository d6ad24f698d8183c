//! `producer status` and `producer runs`.

use std::time::Duration;

use serde::Serialize;

use super::follow::{Watch, progress_bar};
use crate::{
    aggregate::now,
    context::Context,
    failure::Failure,
    ledger::{Ledger, RunRow},
    output,
    summary::{DEFAULT_LIMIT, RunSummary, beside_chance},
};

/// Which run, and how much of it.
#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    /// The run; without one, all that are not ended, and the nodes
    run: Option<String>,
    /// Go on until the run has ended, with a progress bar
    #[arg(long, requires = "run", conflicts_with = "json")]
    watch: bool,
    /// How many survivors to show
    #[arg(long, value_name = "N", default_value_t = DEFAULT_LIMIT)]
    limit: u64,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Serialize)]
struct Overview {
    runs: Vec<RunLine>,
    nodes: Vec<NodeLine>,
}

#[derive(Debug, Serialize)]
struct RunLine {
    run: String,
    state: &'static str,
    kind: Option<String>,
    family: Option<&'static str>,
    requested: u128,
    covered: u128,
    survivor_count: u64,
    expected_by_chance: Option<f64>,
    opened_at: f64,
    ended_at: Option<f64>,
}

#[derive(Debug, Serialize)]
struct NodeLine {
    node: String,
    instance: String,
    slots: usize,
    running: usize,
    draining: bool,
    heard_seconds_ago: f64,
}

/// Progress, coverage and survivors of a run, or everything that is open.
pub(crate) async fn status(context: &Context, args: StatusArgs) -> Result<(), Failure> {
    let Some(name) = &args.run else { return overview(context, args.json) };
    let (ledger, run) = context.find_run(name)?;
    if args.watch {
        let mut watch = Watch::new(ledger, name.clone());
        let bar = progress_bar();
        let ended = watch.until_ended(|step| bar.show(step)).await?;
        bar.finish();
        let summary = RunSummary::read(watch.ledger(), &ended, args.limit)?;
        return output::text(describe(&summary, &ended));
    }
    let summary = RunSummary::read(&ledger, &run, args.limit)?;
    if args.json { output::json(&summary) } else { output::text(describe(&summary, &run)) }
}

/// A run in a few lines, with a table of its survivors.
pub(super) fn describe(summary: &RunSummary, run: &RunRow) -> String {
    let mut text = format!("run {}: {}", summary.run, summary.state);
    let Some(manifest) = &run.manifest else {
        return text + ", its manifest has not arrived yet\n";
    };
    let whole = manifest.requested.len();
    #[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
    let percent = 100.0 * summary.covered as f64 / whole as f64;
    text += &format!(
        "\n{} {}, {} of {whole} tested ({percent:.1} %) in {:.1} s, {} seeds/s\n",
        manifest.kind,
        manifest.sieve.family,
        summary.covered,
        summary.seconds,
        crate::summary::figure(summary.seeds_per_second),
    );
    let jobs = &summary.jobs;
    text += &format!(
        "jobs: {} published, {} done, {} retried, {} dead\n",
        jobs.published, jobs.done, jobs.retried, jobs.dead
    );
    for dead in &summary.dead {
        text += &format!("dead: {} {}: {}\n", dead.job, dead.failure, dead.detail);
    }
    if summary.disagreements > 0 {
        text += &format!(
            "{} seeds were reported differently by two devices: one of them computes wrongly\n",
            summary.disagreements
        );
    }
    let count = summary.survivor_count;
    text += &beside_chance(count, manifest.expected_by_chance, &manifest.sieve, whole);
    text.push('\n');
    let rows: Vec<[String; 5]> = summary
        .survivors
        .survivors
        .iter()
        .map(|s| {
            let of = |matches: u32| format!("{matches}/{}", manifest.sieve.draws.len());
            [
                s.seed.to_string(),
                format!("{:#x}", s.seed),
                of(s.best.matches),
                s.best.skip.to_string(),
                s.reverse.map_or_else(String::new, |best| {
                    format!("{} at skip {}", of(best.matches), best.skip)
                }),
            ]
        })
        .collect();
    if !rows.is_empty() {
        text += &output::table(["seed", "hex", "matches", "skip", ""], &rows);
        let more = count.saturating_sub(rows.len() as u64);
        if more > 0 {
            text += &format!("and {more} more: `producer export {} --format csv`\n", summary.run);
        }
    }
    text
}

fn run_line(ledger: &Ledger, run: &RunRow) -> Result<RunLine, Failure> {
    let manifest = run.manifest.as_ref();
    Ok(RunLine {
        run: run.name.clone(),
        state: run.state.name(),
        kind: manifest.map(|m| m.kind.clone()),
        family: manifest.map(|m| m.sieve.family.name()),
        requested: manifest.map_or(0, |m| m.requested.len()),
        covered: ledger.covered(run)?.count(),
        survivor_count: run.counts.survivors,
        expected_by_chance: manifest.map(|m| m.expected_by_chance),
        opened_at: run.opened_at,
        ended_at: run.ended_at,
    })
}

fn run_lines(context: &Context, only_open: bool) -> Result<Vec<RunLine>, Failure> {
    let mut lines = Vec::new();
    for home in context.ledger_homes() {
        let Some(ledger) = Ledger::read(&home)? else { continue };
        for run in ledger.runs()? {
            if !(only_open && run.state.is_ended()) {
                lines.push(run_line(&ledger, &run)?);
            }
        }
    }
    lines.sort_by(|a, b| b.opened_at.total_cmp(&a.opened_at));
    Ok(lines)
}

fn table_of_runs(lines: Vec<RunLine>) -> String {
    let rows: Vec<[String; 6]> = lines
        .into_iter()
        .map(|line| {
            [
                line.run,
                line.state.to_owned(),
                line.family.unwrap_or_default().to_owned(),
                line.requested.to_string(),
                line.covered.to_string(),
                line.survivor_count.to_string(),
            ]
        })
        .collect();
    output::table(["run", "state", "family", "requested", "covered", "survivors"], &rows)
}

/// Every run that the ledgers know, the newest first.
pub(crate) fn runs(context: &Context, json: bool) -> Result<(), Failure> {
    let lines = run_lines(context, false)?;
    if json { output::json(&lines) } else { output::text(table_of_runs(lines)) }
}

fn overview(context: &Context, json: bool) -> Result<(), Failure> {
    let runs = run_lines(context, true)?;
    let lately = Duration::from_secs(60).as_secs_f64();
    let nodes = match Ledger::read(&context.home)? {
        Some(ledger) => ledger.nodes(now() - lately)?,
        None => Vec::new(),
    };
    let nodes: Vec<NodeLine> = nodes
        .into_iter()
        .map(|seen| NodeLine {
            slots: seen.heartbeat.slots.len(),
            running: seen.heartbeat.slots.iter().filter(|slot| slot.job.is_some()).count(),
            draining: seen.heartbeat.draining,
            heard_seconds_ago: (now() - seen.heard_at).max(0.0),
            node: seen.heartbeat.node,
            instance: seen.heartbeat.instance,
        })
        .collect();
    if json {
        return output::json(&Overview { runs, nodes });
    }
    let mut text = table_of_runs(runs);
    let rows: Vec<[String; 5]> = nodes
        .into_iter()
        .map(|node| {
            [
                node.node,
                node.instance,
                node.slots.to_string(),
                node.running.to_string(),
                format!("{:.0} s ago", node.heard_seconds_ago),
            ]
        })
        .collect();
    text.push('\n');
    text += &output::table(["node", "worker", "slots", "running", "heard"], &rows);
    output::text(text)
}
