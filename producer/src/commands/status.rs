//! `producer status` and `producer runs`.

use serde::Serialize;
use shared::statistics::{Report, Statistics};

use super::{
    follow::{Watch, progress_bar},
    node,
};
use crate::{
    ask::{Ask, NodeLine, RunLine},
    context::Context,
    failure::Failure,
    output, script_summary,
    summary::{DEFAULT_LIMIT, Reported, RunSummary, WalkRecord, short},
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

/// Progress, coverage and survivors of a run, or everything that is open.
pub(crate) async fn status(context: &Context, args: StatusArgs) -> Result<(), Failure> {
    let Some(name) = &args.run else { return overview(context, args.json) };
    if args.watch {
        let mut watch = Watch::of(context, name)?;
        let bar = progress_bar();
        let ended = watch.until_ended(args.limit, |step| bar.show(step)).await?;
        bar.finish();
        return output::text(describe(&ended));
    }
    let summary: RunSummary = context.ask(&Ask::Status { run: name.clone(), limit: args.limit })?;
    if args.json { output::json(&summary) } else { output::text(describe(&summary)) }
}

/// A run in a few lines, with a table of its survivors.
pub(super) fn describe(summary: &RunSummary) -> String {
    if let Some(records) = &summary.results {
        return script_summary::describe(summary, records);
    }
    let mut text = format!("run {}: {}", summary.run, summary.state);
    let (Some(kind), Some(family), Some(requested)) =
        (&summary.kind, &summary.family, summary.requested)
    else {
        text += ", its manifest has not arrived yet\n";
        return text + &summary.note.as_ref().map_or_else(String::new, |note| format!("{note}\n"));
    };
    let whole = requested.end - u128::from(requested.start);
    #[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
    let percent = 100.0 * summary.covered as f64 / whole as f64;
    text += &format!(
        "\n{kind} {family}, {} of {whole} tested ({percent:.1} %) in {:.1} s, {} seeds/s\n",
        summary.covered,
        summary.seconds,
        short(summary.seeds_per_second),
    );
    let jobs = &summary.jobs;
    text += &format!(
        "jobs: {} published, {} done, {} retried, {} queued again, {} dead\n",
        jobs.published, jobs.done, jobs.retried, jobs.requeued, jobs.dead
    );
    if let Some(note) = &summary.note {
        text += &format!("{note}\n");
    }
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
    if let Some(reported) = &summary.statistics {
        return text + &table_of_reports(&summary.run, reported);
    }
    text += &summary.beside_chance();
    text.push('\n');
    let rows: Vec<[String; 5]> = summary
        .survivors
        .iter()
        .map(|s| {
            let of = |matches: u32| format!("{matches}/{}", s.total);
            [
                s.seed.to_string(),
                s.seed_hex.clone(),
                of(s.matches),
                skipped(s.skip, &s.walk),
                s.reverse.as_ref().map_or_else(String::new, |best| {
                    format!("{} at skip {}", of(best.matches), skipped(best.skip, &best.walk))
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

/// A skip; or the first few of a strategy's, and its id.
fn skipped(skip: u32, walk: &WalkRecord) -> String {
    const FEW: usize = 6;
    let (Some(strategy), Some(skips)) = (walk.strategy, &walk.skips) else {
        return skip.to_string();
    };
    let few: Vec<String> = skips.iter().take(FEW).map(u16::to_string).collect();
    let more = if skips.len() > FEW { " …" } else { "" };
    format!("{}{more} (strategy {strategy})", few.join(" "))
}

/// The reports of a correlation or an analysis, a line each.
fn table_of_reports(run: &str, reported: &Reported) -> String {
    let figure = |value: f64| format!("{value:.4}");
    let maybe = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), figure);
    let lag = |lag: u32, r: f64| format!("lag {lag}: {r:+.4}");
    let strongest = |autocorrelations: &[f64]| {
        let strongest = (1..).zip(autocorrelations).max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()));
        strongest.map_or_else(|| "-".to_owned(), |(number, r)| lag(number, *r))
    };
    let rows: Vec<[String; 5]> = reported
        .reports
        .iter()
        .map(|report| match report {
            Report::Correlation(c) if c.constant => [
                c.seed.to_string(),
                "constant".to_owned(),
                String::new(),
                String::new(),
                String::new(),
            ],
            Report::Correlation(c) => [
                c.seed.to_string(),
                strongest(&c.autocorrelations),
                String::new(),
                String::new(),
                String::new(),
            ],
            Report::Analysis(a) => {
                let top = a.top_lags.first();
                let top = a.lags.iter().find(|lag| Some(&lag.lag) == top);
                [
                    a.seed.to_string(),
                    top.map_or_else(|| "-".to_owned(), |top| lag(top.lag, top.r)),
                    figure(a.chi2_p),
                    maybe(a.runs_p),
                    maybe(a.score),
                ]
            }
        })
        .collect();
    let analysis = matches!(reported.question, Statistics::Analysis { .. });
    let header = if analysis {
        ["seed", "strongest", "uniform p", "runs p", "score"]
    } else {
        ["seed", "strongest", "", "", ""]
    };
    let mut text = String::new();
    if let Some(score) = reported.composite_score {
        text += &format!("composite score {score:.4} over {} seeds\n", reported.report_count);
    }
    if !rows.is_empty() {
        text += &output::table(header, &rows);
    }
    let more = reported.report_count.saturating_sub(rows.len() as u64);
    if more > 0 {
        text += &format!("and {more} more: `producer export {run} --format json`\n");
    }
    text
}

fn table_of_runs(lines: Vec<RunLine>) -> String {
    let rows: Vec<[String; 6]> = lines
        .into_iter()
        .map(|line| {
            [
                line.run,
                line.state,
                line.family.unwrap_or_default(),
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
    let lines: Vec<RunLine> = context.ask(&Ask::Runs { only_open: false })?;
    if json { output::json(&lines) } else { output::text(table_of_runs(lines)) }
}

fn overview(context: &Context, json: bool) -> Result<(), Failure> {
    let runs = context.ask(&Ask::Runs { only_open: true })?;
    let nodes = context.ask(&Ask::Nodes { all: false })?;
    if json {
        return output::json(&Overview { runs, nodes });
    }
    output::text(format!("{}\n{}", table_of_runs(runs), node::table(nodes)))
}
