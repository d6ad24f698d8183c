//! `producer enqueue`: plan and publish, and with `--wait` follow the run to its end.

use std::time::Duration;

use serde::Serialize;
use shared::{broker::Patience, exit_codes};

use super::{
    follow::{Watch, progress_bar},
    publish::{Prepared, fresh_run_id, prepare},
    status::describe,
};
use crate::{
    context::{Context, check_run_name},
    dry_run::DryRun,
    failure::Failure,
    fleet::Known,
    ledger::Ledger,
    output,
    sieve_args::SieveArgs,
    summary::{DEFAULT_LIMIT, HalfOpen, RunSummary, figure},
};

/// How long an aggregator that was just started may take to lay its ledger.
const LEDGER_PATIENCE: Duration = Duration::from_secs(2);

/// What to enqueue and how.
#[derive(Debug, clap::Args)]
pub(crate) struct EnqueueArgs {
    /// The pipeline step: 2, the seed search
    #[arg(long, value_name = "STEP", value_parser = ["2"])]
    step: String,
    #[command(flatten)]
    sieve: SieveArgs,
    /// The run's name; made up unless given
    #[arg(long, value_name = "NAME", help_heading = "Run")]
    run: Option<String>,
    /// Print the plan and publish nothing
    #[arg(long, conflicts_with = "wait", help_heading = "Run")]
    dry_run: bool,
    /// Follow the run to its end (needs the ledger in this data folder)
    #[arg(long, help_heading = "Run")]
    wait: bool,
    /// How many survivors to show after --wait
    #[arg(long, value_name = "N", default_value_t = DEFAULT_LIMIT, help_heading = "Run")]
    limit: u64,
    /// Print JSON
    #[arg(long, help_heading = "Run")]
    json: bool,
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
    let request = args.sieve.resolve().map_err(Failure::usage)?;
    for note in &request.notes {
        output::say(format!("note: {note}"));
    }
    let run = args.run.unwrap_or_else(fresh_run_id);
    check_run_name(&run)?;
    let mut ledger = Ledger::read(&context.home)?;
    if args.wait && ledger.is_none() {
        ledger = Some(wait_for_ledger(context).await?);
    }
    if let Some(known) = &ledger
        && known.run(&run)?.is_some()
    {
        return Err(Failure::usage(format!(
            "there is a run called '{run}' already: choose another name"
        )));
    }
    let known = ledger.as_ref().map_or_else(|| Ok(Known::default()), Known::of)?;
    let prepared = prepare(&context.settings, &known, run, request)?;
    let basis = if ledger.is_some() { "" } else { " (there is no ledger here to ask)" };
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
    if let Some(ledger) = ledger.filter(|_| args.wait) {
        return wait(ledger, prepared, args.limit, args.json).await;
    }
    if args.json { output::json(&prepared.enqueued(None)) } else { output::text(&prepared.run) }
}

/// The ledger that `--wait` follows. Asked for before anything is published.
async fn wait_for_ledger(context: &Context) -> Result<Ledger, Failure> {
    let deadline = tokio::time::Instant::now() + LEDGER_PATIENCE;
    while tokio::time::Instant::now() < deadline {
        if let Some(ledger) = Ledger::read(&context.home)? {
            return Ok(ledger);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(Failure::usage(format!(
        "--wait needs the ledger, and there is none in {}: start `producer aggregate` with this \
         data folder, or leave --wait out",
        context.home.display()
    )))
}

async fn wait(ledger: Ledger, prepared: Prepared, limit: u64, json: bool) -> Result<(), Failure> {
    let bar = progress_bar();
    let mut watch = Watch::new(ledger, prepared.run.clone());
    let ended = tokio::select! {
        ended = watch.until_ended(|step| bar.show(step)) => ended?,
        _ = tokio::signal::ctrl_c() => {
            bar.finish();
            output::say(format!("the run goes on: `producer status {} --watch`", prepared.run));
            return Err(Failure { code: exit_codes::INTERRUPTED, message: String::new() });
        }
    };
    bar.finish();
    let summary = RunSummary::read(watch.ledger(), &ended, limit)?;
    let complete = summary.is_complete();
    if json {
        output::json(&prepared.enqueued(Some(summary)))?;
    } else {
        output::text(describe(&summary, &ended))?;
    }
    if complete { Ok(()) } else { Err(run_failed(&prepared.run)) }
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
    /// What chance alone would leave, in words.
    pub(super) fn chance_in_words(&self) -> String {
        format!("{} survivors expected by chance alone", figure(self.plan.expected_by_chance))
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
