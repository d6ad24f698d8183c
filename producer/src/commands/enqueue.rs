//! `producer enqueue`: plan and publish, and with `--wait` follow the run to its end.

use std::{path::PathBuf, time::Duration};

use serde::Serialize;
use shared::{broker::Patience, exit_codes};

use super::{
    follow::{Watch, progress_bar},
    publish::{Prepared, fresh_run_id, prepare},
    scripts,
    status::describe,
};
use crate::{
    ask::Ask,
    context::{Context, check_run_name},
    dry_run::DryRun,
    failure::Failure,
    fleet::Known,
    ledger::Ledger,
    output,
    request::Question,
    sample::sampled,
    script_args::{self, ScriptArgs},
    sieve_args::SieveArgs,
    summary::{DEFAULT_LIMIT, HalfOpen, RunSummary, with_error},
};

/// How long an aggregator that was just started may take to lay its ledger.
const LEDGER_PATIENCE: Duration = Duration::from_secs(2);

/// What to enqueue and how.
#[derive(Debug, clap::Args)]
pub(crate) struct EnqueueArgs {
    /// The pipeline step: 2, the seed search; 2.5, 3, 4 or 5, scripts
    #[arg(long, value_name = "STEP", value_parser = ["2", "2.5", "3", "4", "5"])]
    step: String,
    #[command(flatten)]
    sieve: SieveArgs,
    #[command(flatten)]
    scripts: ScriptArgs,
    /// Put the outputs of scripts into DIR/RUN; the aggregator's folder unless given
    #[arg(long, value_name = "DIR", help_heading = "Scripts")]
    output_dir: Option<PathBuf>,
    /// The run's name; made up unless given
    #[arg(long, value_name = "NAME", help_heading = "Run")]
    pub(super) run: Option<String>,
    /// Print the plan and publish nothing
    #[arg(long, conflicts_with = "wait", help_heading = "Run")]
    pub(super) dry_run: bool,
    /// Follow the run to its end (needs the ledger in this data folder)
    #[arg(long, help_heading = "Run")]
    pub(super) wait: bool,
    /// How many survivors, or scripts, to show after --wait
    #[arg(long, value_name = "N", default_value_t = DEFAULT_LIMIT, help_heading = "Run")]
    pub(super) limit: u64,
    /// Print JSON
    #[arg(long, help_heading = "Run")]
    pub(super) json: bool,
}

#[derive(Debug, Serialize)]
struct Enqueued {
    run: String,
    jobs: u64,
    requested: HalfOpen,
    expected_by_chance: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<RunSummary>,
}

/// Plans and publishes.
pub(crate) async fn enqueue(context: &Context, args: EnqueueArgs) -> Result<(), Failure> {
    let dir = args.output_dir.as_deref();
    let resolved = script_args::resolve(&args.step, &args.scripts, &args.sieve, dir, context)?;
    if let Some(run) = resolved {
        return scripts::enqueue(context, args, run).await;
    }
    if dir.is_some() {
        return Err(Failure::usage(
            "--output-dir of a search is the aggregator's: `producer aggregate --output-dir DIR`",
        ));
    }
    let request = sampled(args.sieve.resolve().map_err(Failure::usage)?).await?;
    for note in &request.notes {
        output::say(format!("note: {note}"));
    }
    let run = args.run.unwrap_or_else(fresh_run_id);
    check_run_name(&run)?;
    let watch = if args.wait { Some(watch(context, &run).await?) } else { None };
    refuse_a_known_name(context, &run)?;
    let known: Known = context.ask(&Ask::Fleet)?;
    let prepared = prepare(&context.settings, &known, run, request)?;
    let asked = context.server.is_some() || Ledger::path(&context.home).exists();
    let basis = if asked { "" } else { " (there is no ledger here to ask)" };
    let basis = format!("planned for {}{basis}", prepared.basis);
    if args.dry_run {
        output::say(basis);
        return show_plan(&prepared, args.json);
    }
    let broker = context.broker("producer", Patience::COMMAND).await?;
    let published = prepared.publish(broker.as_ref()).await;
    broker.close().await;
    published?;
    output::say(format!("{basis}; {}", prepared.chance_in_words()));
    if let Some(watch) = watch {
        return wait(watch, prepared, args.limit, args.json).await;
    }
    if args.json { output::json(&prepared.enqueued(None)) } else { output::text(&prepared.run) }
}

/// A run's name must be new, as far as anybody here can tell.
pub(super) fn refuse_a_known_name(context: &Context, run: &str) -> Result<(), Failure> {
    match context.ask::<RunSummary>(&Ask::Status { run: run.to_owned(), limit: 0 }) {
        Ok(_) => Err(Failure::usage(format!(
            "there is a run called '{run}' already: choose another name"
        ))),
        Err(Failure { code: exit_codes::NOT_FOUND, .. }) => Ok(()),
        Err(failure) => Err(failure),
    }
}

/// What `--wait` follows. Asked for before anything is published.
pub(super) async fn watch(context: &Context, run: &str) -> Result<Watch, Failure> {
    match &context.server {
        Some(server) => Ok(Watch::through(server.clone(), run.to_owned())),
        None => Ok(Watch::new(wait_for_ledger(context).await?, run.to_owned())),
    }
}

pub(crate) async fn wait_for_ledger(context: &Context) -> Result<Ledger, Failure> {
    let deadline = tokio::time::Instant::now() + LEDGER_PATIENCE;
    while tokio::time::Instant::now() < deadline {
        if let Some(ledger) = Ledger::read(&context.home)? {
            return Ok(ledger);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(Failure::usage(format!(
        "--wait needs the ledger, and there is none in {}: start `producer aggregate` with this \
         data folder, set RIGQUEUE_SERVER to a `producer serve`, or leave --wait out",
        context.home.display()
    )))
}

async fn wait(watch: Watch, prepared: Prepared, limit: u64, json: bool) -> Result<(), Failure> {
    let show = |summary: &RunSummary| output::json(&prepared.enqueued(Some(summary.clone())));
    follow_to_the_end(watch, &prepared.run, limit, json.then_some(&show)).await
}

/// Shows a run that has ended.
pub(super) type Show<'a> = &'a dyn Fn(&RunSummary) -> Result<(), Failure>;

/// Follows a run to its end and shows it: as `json` does, else in words.
pub(super) async fn follow_to_the_end(
    mut watch: Watch,
    run: &str,
    limit: u64,
    json: Option<Show<'_>>,
) -> Result<(), Failure> {
    let bar = progress_bar();
    let summary = tokio::select! {
        ended = watch.until_ended(limit, |step| bar.show(step)) => ended?,
        _ = tokio::signal::ctrl_c() => {
            bar.finish();
            output::say(format!("the run goes on: `producer status {run} --watch`"));
            return Err(Failure { code: exit_codes::INTERRUPTED, message: String::new() });
        }
    };
    bar.finish();
    match json {
        Some(json) => json(&summary)?,
        None => output::text(describe(&summary))?,
    }
    if summary.is_complete() { Ok(()) } else { Err(run_failed(run)) }
}

/// How a command ends whose run did not complete.
pub(super) fn run_failed(run: &str) -> Failure {
    Failure {
        code: exit_codes::RUN_FAILED,
        message: format!("the run {run} did not complete: `producer status {run}` says why"),
    }
}

fn show_plan(prepared: &Prepared, json: bool) -> Result<(), Failure> {
    let plan = DryRun::of(&prepared.request, &prepared.plan);
    if json { output::json(&plan) } else { output::text(plan.to_string()) }
}

impl Prepared {
    /// What is to be expected, in words.
    pub(super) fn chance_in_words(&self) -> String {
        match &self.request.question {
            Question::Sieve(_) => {
                let expected = with_error(self.plan.expected_by_chance, self.plan.expected_error);
                format!("{expected} survivors expected by chance alone")
            }
            Question::Statistics(_) => "a report of every seed".to_owned(),
        }
    }

    fn enqueued(&self, status: Option<RunSummary>) -> Enqueued {
        Enqueued {
            run: self.run.clone(),
            jobs: self.plan.pieces.len() as u64,
            requested: self.request.asked.requested().into(),
            expected_by_chance: self.plan.expected_by_chance,
            status,
        }
    }
}
