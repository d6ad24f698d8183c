//! The command line: parse, resolve settings, run the command, render one error, exit.

use std::{
    io::{IsTerminal as _, stderr},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, Subcommand, error::ErrorKind};
use rustix::process::Signal;
use shared::{
    exit_codes,
    parent::end_with_parent,
    settings::{DEFAULT_LOG, ENV_LOG},
};
use tracing_subscriber::EnvFilter;

use crate::{
    ask::Ask,
    commands::{
        self, AggregateArgs, DeadAction, EnqueueArgs, ExportArgs, NodeAction, RunArgs, RunName,
        ScreenArgs, ServeArgs, StageArgs, StatusArgs, StreamArgs, StudyAction, TopologyAction,
        VerifyArgs,
    },
    context::Context,
    failure::Failure,
    output,
};

const AFTER_HELP: &str = "\
Begin with `producer run`: it does everything on this machine, with no broker to install.
On a fleet: `producer topology apply` once, `worker` on each rig, `producer aggregate` on one
machine, then `producer enqueue`.

Environment: RIGQUEUE_BROKER (URL), RIGQUEUE_CONFIG (TOML file), RIGQUEUE_HOME (data folder),
RIGQUEUE_SERVER (the `producer serve` that has the ledger, when this machine has none),
RIGQUEUE_LOG (what services say: error, warn, info, debug).

Exit codes: 0 done; 1 a fault of ours; 2 bad input or usage; 3 the broker or ledger can't be
reached; 4 the run ended with dead or failed jobs; 5 no such run, job or node; 130 interrupted.";

/// RigQueue: GPU jobs on a rack of unequal cards. This is the coordinator's side: plan a search,
/// publish its jobs, aggregate their outcomes, report.
#[derive(Debug, Parser)]
#[command(name = "producer", version, after_help = AFTER_HELP)]
struct Cli {
    /// The settings file [env: RIGQUEUE_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// embedded:, embedded:/path or amqp(s)://user:password@host/vhost [env: RIGQUEUE_BROKER]
    #[arg(long, global = true, value_name = "URL")]
    broker: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Search seeds, or run scripts, on this machine: broker, worker and aggregator included
    Run(Box<RunArgs>),
    /// Plan a search, or take a jobs file, and publish its jobs
    Enqueue(Box<EnqueueArgs>),
    /// Take outcomes into the ledger: the service that every fleet has one of
    Aggregate(AggregateArgs),
    /// The aggregator, and the ledger for commands on other machines (RIGQUEUE_SERVER)
    Serve(ServeArgs),
    /// Show a run's progress, coverage and survivors, or all that is open
    Status(StatusArgs),
    /// List every run
    Runs {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Give a run up: what is queued is not run, what runs is ended
    Cancel(RunName),
    /// Hold a run: what is queued is not run, what runs finishes short
    Pause(RunName),
    /// Go on with a run that was paused or cancelled
    Resume(RunName),
    /// Delete a run that has ended
    Forget(RunName),
    /// Jobs that nothing more is done for: list, show, queue again, discard
    Dead {
        #[command(subcommand)]
        action: DeadAction,
    },
    /// Rigs: list them, have them stand aside, have them work again
    Node {
        #[command(subcommand)]
        action: NodeAction,
    },
    /// Put files on every node's ramdisk for the scripts of a step, or show where they stand
    Stage(StageArgs),
    /// Write a run's survivors as JSON, CSV or NPZ, or its certificate
    Export(ExportArgs),
    /// Test a run's survivors and a random share of its intervals again
    Verify(Box<VerifyArgs>),
    /// Optuna studies whose trials are script jobs
    Study {
        #[command(subcommand)]
        action: Box<StudyAction>,
    },
    /// Test whether draws can come from a generator at all, whatever the seed
    Screen(ScreenArgs),
    /// Print what a generator puts out, where a search would compare it with draws
    Stream(StreamArgs),
    /// List the generators there are
    Families {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Declare or check the broker's exchanges and queues
    Topology {
        #[command(subcommand)]
        action: TopologyAction,
    },
    /// Show the settings in force
    Config {
        #[command(subcommand)]
        action: ConfigAction,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigAction {
    /// Print each effective value and where it came from
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error)
            if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) =>
        {
            // A closed pipe is nobody's loss.
            error.print().ok();
            return exit_codes::DONE.into();
        }
        Err(error) => {
            output::say(one_line(&error));
            return exit_codes::USAGE.into();
        }
    };
    log_to_stderr();
    // A local run's aggregator stops when that run ends, however it ends.
    if let Err(gone) = end_with_parent(Signal::TERM) {
        output::say(format!("error: {gone}"));
        return exit_codes::INTERRUPTED.into();
    }
    match run(cli) {
        Ok(()) => exit_codes::DONE.into(),
        Err(Failure { code, message }) => {
            if !message.is_empty() {
                output::say(format!("error: {}", message.trim_end()));
            }
            code.into()
        }
    }
}

/// What clap has to say, in one line.
fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let said: Vec<&str> = lines
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
        .collect();
    if said.is_empty() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "error: no command was given (see --help)".to_owned();
    }
    format!("{} (see --help)", said.join("; "))
}

fn log_to_stderr() {
    let filter = EnvFilter::try_from_env(ENV_LOG).unwrap_or_else(|_| EnvFilter::new(DEFAULT_LOG));
    tracing_subscriber::fmt()
        .compact()
        .with_target(false)
        .with_ansi(stderr().is_terminal())
        .with_writer(stderr)
        .with_env_filter(filter)
        .init();
}

fn run(cli: Cli) -> Result<(), Failure> {
    if let Command::Families { json } = cli.command {
        return commands::families(json);
    }
    let context = Context::resolve(cli.config.as_deref(), cli.broker.as_deref())?;
    // Children that a local run starts end with the thread that started them: this one.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(Failure::internal)?;
    let done = runtime.block_on(dispatch(&context, cli.command));
    // Nothing that still waits for a broker may hold the command up.
    runtime.shutdown_background();
    done
}

async fn dispatch(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Run(args) => commands::run(context, *args).await,
        Command::Enqueue(args) => commands::enqueue(context, *args).await,
        Command::Aggregate(args) => commands::aggregate(context, args).await,
        Command::Serve(args) => commands::serve(context, args).await,
        Command::Cancel(run) => commands::order_run(context, run, Ask::Cancel),
        Command::Pause(run) => commands::order_run(context, run, Ask::Pause),
        Command::Resume(run) => commands::order_run(context, run, Ask::Resume),
        Command::Forget(run) => commands::order_run(context, run, Ask::Forget),
        Command::Dead { action } => commands::dead(context, &action),
        Command::Node { action } => commands::node(context, action),
        Command::Stage(args) => commands::stage(context, args).await,
        Command::Status(args) => commands::status(context, args).await,
        Command::Runs { json } => commands::runs(context, json),
        Command::Export(args) => commands::export(context, &args),
        Command::Verify(args) => commands::verify(context, *args).await,
        Command::Screen(args) => commands::screen(args).await,
        Command::Study { action } => commands::study(context, *action).await,
        Command::Stream(args) => commands::stream(args).await,
        Command::Families { json } => commands::families(json),
        Command::Topology { action } => commands::topology(context, action).await,
        Command::Config { action: ConfigAction::Show { json } } => {
            commands::config_show(context, json)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_run_is_a_search_or_is_resumed() {
        let parse = |line: &str| {
            let words = ["producer", "run"].into_iter().chain(line.split_whitespace());
            Cli::try_parse_from(words).map_err(|error| one_line(&error))
        };
        parse("--step 2 --draws d --family mt19937").unwrap();
        parse("--resume R").unwrap();
        let unknown = parse("--draws d --family mt19973").unwrap_err();
        assert!(unknown.contains("'mt19937'") && !unknown.contains('\n'), "{unknown}");
    }
}
