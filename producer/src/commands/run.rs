//! `producer run`: everything on this machine, in a folder of the run's own.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use shared::{
    broker::{Broker, Identity, Patience, connect},
    exit_codes,
    rates::Rates,
    settings::host_name,
};
use tokio::signal::unix::{SignalKind, signal};

use super::{
    enqueue::run_failed,
    follow::{Watch, progress_bar},
    local::Services,
    publish::{fresh_run_id, prepare},
    scripts,
    status::describe,
};
use crate::{
    aggregate::now,
    context::{Context, check_run_name},
    export::write_certificate_into,
    failure::Failure,
    fleet::Known,
    job_inputs::JobInputs,
    ledger::Ledger,
    output,
    sample::sampled,
    script_args::{self, ScriptArgs},
    script_request::ScriptRun,
    sieve_args::SieveArgs,
    summary::{DEFAULT_LIMIT, RunSummary},
};

/// What to search and how to show it.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// The pipeline step: 2, the seed search; 2.5, 3, 4 or 5, scripts
    #[arg(long, value_name = "STEP", value_parser = ["2", "2.5", "3", "4", "5"],
        default_value = "2")]
    step: String,
    #[command(flatten)]
    sieve: SieveArgs,
    #[command(flatten)]
    scripts: ScriptArgs,
    /// The run's name; made up unless given
    #[arg(long, value_name = "NAME", help_heading = "Run", conflicts_with = "resume")]
    run: Option<String>,
    /// Go on with a run that was interrupted
    #[arg(long, value_name = "RUN", help_heading = "Run")]
    resume: Option<String>,
    /// How many survivors, or scripts, to show
    #[arg(long, value_name = "N", default_value_t = DEFAULT_LIMIT, help_heading = "Run")]
    limit: u64,
    /// Write the run's outputs to DIR/RUN as well
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    output_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long, help_heading = "Run")]
    json: bool,
}

/// Searches, shows, exits.
pub(crate) async fn run(context: &Context, args: RunArgs) -> Result<(), Failure> {
    let name = match &args.resume {
        Some(name) => begin_again(context, name)?,
        None => begin(context, &args).await?,
    };
    let folder = context.local(&name);
    let summary = match ended_already(&folder, &name, args.limit)? {
        Some(summary) => summary,
        None => work(context, &args, &name, &folder).await?,
    };
    let ledger = Ledger::read(&folder)?.ok_or_else(|| Failure::no_run(&name, &folder))?;
    keep_rates(context, &ledger);
    if summary.is_complete()
        && summary.results.is_none()
        && let Some(run) = ledger.run(&name)?
    {
        write_certificate_into(&ledger, &run, &folder)?;
    }
    if args.json {
        output::json(&summary)?;
    } else {
        output::text(describe(&summary))?;
    }
    if summary.is_complete() { Ok(()) } else { Err(run_failed(&name)) }
}

/// Plans a new run and publishes it to a broker of its own.
async fn begin(context: &Context, args: &RunArgs) -> Result<String, Failure> {
    let dir = args.output_dir.as_deref();
    let resolved = script_args::resolve(&args.step, &args.scripts, &args.sieve, dir, context)?;
    if let Some(scripts) = resolved {
        return begin_scripts(context, args, &scripts).await;
    }
    let request = sampled(args.sieve.resolve().map_err(Failure::usage)?).await?;
    for note in &request.notes {
        output::say(format!("note: {note}"));
    }
    let name = args.run.clone().unwrap_or_else(fresh_run_id);
    let home_ledger = refuse_a_known_name(context, &name)?;
    let folder = context.local(&name);
    let known = home_ledger.as_ref().map_or_else(|| Ok(Known::default()), Known::of)?;
    let known = match Rates::read(&context.home) {
        Ok(measured) => known.here(measured.all()),
        Err(error) => {
            output::say(format!("note: planned without measured rates: {error}"));
            known.here(&[])
        }
    };
    let prepared = prepare(&context.settings, &known, name, request)?;
    make(&folder)?;
    let pieces = prepared.plan.pieces.len();
    output::say(format!(
        "run {}: {pieces} {} for {}; {}",
        prepared.run,
        if pieces == 1 { "piece" } else { "pieces" },
        prepared.basis,
        prepared.chance_in_words()
    ));
    let broker = local_broker(&folder).await?;
    let published = prepared.publish(broker.as_ref()).await;
    broker.close().await;
    published?;
    Ok(prepared.run)
}

/// Publishes a new run of scripts to a broker of its own.
async fn begin_scripts(
    context: &Context,
    args: &RunArgs,
    scripts: &ScriptRun,
) -> Result<String, Failure> {
    if context.settings.scripts.folders.is_empty() {
        return Err(Failure::usage(
            "no script can run here: [scripts] folders in the settings file is empty; list the \
             folders that scripts may come from (`producer config show`)",
        ));
    }
    for note in &scripts.notes {
        output::say(format!("note: {note}"));
    }
    let name = args.run.clone().unwrap_or_else(fresh_run_id);
    refuse_a_known_name(context, &name)?;
    let folder = context.local(&name);
    make(&folder)?;
    let inputs = JobInputs::of(&folder);
    for file in scripts.staged_files() {
        inputs.bring(file, &JobInputs::of_context(context))?;
    }
    output::say(format!("run {name}: {} scripts", scripts.jobs.len()));
    let broker = local_broker(&folder).await?;
    let published = scripts::publish(scripts, &name, broker.as_ref(), &inputs).await;
    broker.close().await;
    published?;
    Ok(name)
}

/// Refuses a name that is none, or that another run on this machine has; returns the home's ledger.
fn refuse_a_known_name(context: &Context, name: &str) -> Result<Option<Ledger>, Failure> {
    check_run_name(name)?;
    let home_ledger = Ledger::read(&context.home)?;
    let taken = home_ledger.as_ref().map_or(Ok(None), |ledger| ledger.run(name))?;
    if context.local(name).exists() || taken.is_some() {
        return Err(Failure::usage(format!(
            "there is a run called '{name}' already: choose another name, or go on with it by --resume {name}"
        )));
    }
    Ok(home_ledger)
}

pub(crate) fn make(folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|error| {
        Failure::unreachable(format!("the folder {} can't be made: {error}", folder.display()))
    })
}

/// Checks that there is a local run to go on with.
fn begin_again(context: &Context, name: &str) -> Result<String, Failure> {
    check_run_name(name)?;
    if !context.local(name).join("broker").is_dir() {
        return Err(Failure::no_run(name, &context.home.join("local")));
    }
    Ok(name.to_owned())
}

pub(crate) async fn local_broker(folder: &Path) -> Result<Arc<dyn Broker>, Failure> {
    let instance = format!("run-{}", std::process::id());
    let identity = Identity { node: host_name(), instance, role: "producer" };
    let settings = shared::settings::BrokerSettings::at("embedded:");
    Ok(connect(&settings, folder, identity, Patience::COMMAND).await?)
}

fn ended_already(folder: &Path, name: &str, limit: u64) -> Result<Option<RunSummary>, Failure> {
    let Some(ledger) = Ledger::read(folder)? else { return Ok(None) };
    let ended = ledger.run(name)?.filter(|run| run.state.is_ended());
    Ok(ended.map(|run| RunSummary::read(&ledger, &run, limit)).transpose()?)
}

/// Runs worker and aggregator until the run has ended.
async fn work(
    context: &Context,
    args: &RunArgs,
    name: &str,
    folder: &Path,
) -> Result<RunSummary, Failure> {
    // The ledger is laid here, so that it can be watched from the start.
    drop(Ledger::write(folder)?);
    let ledger = Ledger::read(folder)?.ok_or_else(|| Failure::no_run(name, folder))?;
    let output_dir = args.output_dir.as_deref().map(absolute).transpose()?;
    let mut aggregate = Vec::new();
    if let Some(dir) = &output_dir {
        aggregate.extend(["--output-dir", dir]);
    }
    let config = context.layers.file();
    let mut services = Services::start(folder, config, &[], &aggregate)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::internal)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::internal)?;
    let mut watch = Watch::new(ledger, name.to_owned());
    let bar = progress_bar();
    let ended = tokio::select! {
        ended = watch.until_ended(args.limit, |step| bar.show(step)) => ended.map(Some),
        failure = services.keep() => failure.map(|()| None),
        _ = interrupt.recv() => Ok(None),
        _ = terminate.recv() => Ok(None),
    };
    bar.finish();
    services.end(context.settings.worker.grace.duration()).await?;
    ended?.ok_or_else(|| Failure {
        code: exit_codes::INTERRUPTED,
        message: format!("interrupted; nothing is lost: producer run --resume {name}"),
    })
}

pub(crate) fn absolute(path: &Path) -> Result<String, Failure> {
    let path = std::path::absolute(path).map_err(Failure::usage)?;
    path.into_os_string()
        .into_string()
        .map_err(|path| Failure::usage(format!("{} is not UTF-8", path.display())))
}

/// Takes what was learned about this machine into the home's ledger, for the next plan.
fn keep_rates(context: &Context, ledger: &Ledger) {
    let merged =
        ledger.rates().and_then(|rates| Ledger::write(&context.home)?.merge_rates(&rates, now()));
    if let Err(error) = merged {
        output::say(format!("note: the learned rates were not kept: {error}"));
    }
}
