//! From the command line to a running service.

use std::{
    env,
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    process,
    sync::Arc,
};

use rustix::process::Signal;
use shared::{
    broker::{Identity, Patience, connect},
    exit_codes,
    job::Arch,
    parent::{ENV_PARENT, end_with_parent},
    rates::{MeasuredRate, Rates},
    settings::{DEFAULT_LOG, ENV_LOG, Layers, Settings, Slots, data_home, host_name},
};
use tokio::runtime;
use tracing_subscriber::EnvFilter;

use crate::{
    WorkerError, bench,
    cli::{Args, BenchArgs, Command},
    cores,
    job::Bench,
    scripts::{Attempts, Scripts},
    service::Service,
    signals::{Asked, Signals},
    slots::{Slot, slots},
    spawn::Spawner,
};

/// Environment variable of every child: which worker it belongs to.
pub const ENV_WORKER: &str = "RIGQUEUE_WORKER";

/// Runs the worker until it is asked to end; returns the exit code.
///
/// # Errors
/// [`WorkerError`] when it can't start, or can't go on.
pub fn run(args: &Args) -> Result<u8, WorkerError> {
    let settings = resolve(args)?;
    start_log()?;
    // A local run's worker drains when that run ends, however it ends.
    end_with_parent(Signal::TERM)?;
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| WorkerError::System { what: "starting the runtime", source })?;
    let end = runtime.block_on(async {
        match &args.command {
            Some(Command::Bench(bench)) => measure(bench, settings).await,
            None => serve(args, &settings).await,
        }
    });
    // Whatever still hangs must not keep the process.
    runtime.shutdown_background();
    end
}

fn resolve(args: &Args) -> Result<Settings, WorkerError> {
    let mut layers = Layers::load(args.config.as_deref())?;
    let flags = [
        ("worker.arch", "--arch", &args.arch),
        ("worker.slots", "--slots", &args.slots),
        ("worker.node", "--node", &args.node),
    ];
    for (key, flag, value) in flags {
        if let Some(value) = value {
            layers.set(key, toml::Value::String(value.clone()), flag);
        }
    }
    Ok(layers.settings()?)
}

fn start_log() -> Result<(), WorkerError> {
    let text = env::var(ENV_LOG).ok().filter(|text| !text.is_empty());
    let text = text.as_deref().unwrap_or(DEFAULT_LOG);
    let filter = EnvFilter::try_new(text).map_err(|error| {
        WorkerError::Setting(format!("{ENV_LOG} is '{text}', which is no log filter: {error}"))
    })?;
    tracing_subscriber::fmt()
        .compact()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .try_init()
        .map_err(|error| WorkerError::Internal(format!("the log could not be started: {error}")))
}

fn node_name(settings: &Settings) -> Result<String, WorkerError> {
    let node = &settings.worker.node;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    match node.as_str() {
        "" => Ok(host_name()),
        _ if node.len() <= 128 && node.chars().all(plain) => Ok(node.clone()),
        _ => Err(WorkerError::Setting(format!(
            "the node's name is '{}'; it must be at most 128 letters, digits, dots, dashes and underscores",
            node.escape_debug()
        ))),
    }
}

fn own_folder() -> Result<PathBuf, WorkerError> {
    let path = env::current_exe().map_err(|source| WorkerError::System {
        what: "finding the worker's own executable",
        source,
    })?;
    Ok(path.parent().map(PathBuf::from).unwrap_or_default())
}

/// What makes this worker itself: its name, and what its children find in their environment.
struct Own {
    node: String,
    instance: String,
    marks: [(String, String); 2],
}

impl Own {
    fn new(settings: &Settings) -> Result<Self, WorkerError> {
        let instance = uuid::Uuid::now_v7().to_string();
        let marks = [
            (ENV_WORKER.to_owned(), instance.clone()),
            (ENV_PARENT.to_owned(), process::id().to_string()),
        ];
        Ok(Self { node: node_name(settings)?, instance, marks })
    }

    fn slots(&self, settings: &Settings) -> Result<Vec<Arc<Slot>>, WorkerError> {
        slots(settings, cores::usable(), &own_folder()?, &self.marks)
    }

    fn bench(
        self,
        settings: &Settings,
        home: &Path,
        measured: Vec<MeasuredRate>,
    ) -> Result<Bench, WorkerError> {
        let folders: Vec<PathBuf> = settings.scripts.folders.iter().map(PathBuf::from).collect();
        let attempts = (!folders.is_empty()).then(|| Attempts::new(home, &self.instance));
        let scripts = Scripts {
            folders,
            python: settings.scripts.python.clone(),
            attempts: attempts.transpose().map_err(system("making a folder for attempts"))?,
            drain: settings.worker.drain_timeout.duration(),
        };
        Ok(Bench {
            scripts,
            node: self.node,
            instance: self.instance,
            spawner: Spawner::new().map_err(system("starting the spawner's thread"))?,
            stall: settings.worker.stall_timeout.duration(),
            grace: settings.worker.grace.duration(),
            target_seconds: settings.planner.target_seconds,
            measured,
        })
    }
}

fn system(what: &'static str) -> impl Fn(io::Error) -> WorkerError {
    move |source| WorkerError::System { what, source }
}

/// What was measured on slots like this one. Without it plans are merely worse.
fn measured(home: &Path, slot: Option<&Arc<Slot>>) -> Vec<MeasuredRate> {
    let Some(slot) = slot else { return Vec::new() };
    match Rates::read(home) {
        Ok(rates) => rates.of_slot(slot.arch, &slot.device),
        Err(error) => {
            tracing::warn!(%error, "no measured rates are told");
            Vec::new()
        }
    }
}

async fn serve(args: &Args, settings: &Settings) -> Result<u8, WorkerError> {
    let mut signals = Signals::new().map_err(system("listening for signals"))?;
    let own = Own::new(settings)?;
    let slots = own.slots(settings)?;
    let home = data_home()?;
    let identity =
        Identity { node: own.node.clone(), instance: own.instance.clone(), role: "worker" };
    let broker = tokio::select! {
        broker = connect(&settings.broker, &home, identity, Patience::Forever) => broker?,
        asked = signals.next() => return Ok(exit_code(asked)),
    };
    let bench = own.bench(settings, &home, measured(&home, slots.first()))?;
    let patience = settings.worker.drain_timeout.duration();
    let service = Service::start(broker, Arc::new(bench), slots, args.eager).await?;
    Ok(exit_code(service.run(&mut signals, patience).await?))
}

/// `worker bench`.
async fn measure(args: &BenchArgs, mut settings: Settings) -> Result<u8, WorkerError> {
    let cells = bench::cells(&args.family, &args.plan, settings.worker.arch)?;
    let mut signals = Signals::new().map_err(system("listening for signals"))?;
    if settings.worker.arch != Arch::Cpu && settings.worker.slots == Slots::Auto {
        // The first GPU stands for all.
        settings.worker.slots = Slots::Count(1);
    }
    let own = Own::new(&settings)?;
    let slots = own.slots(&settings)?;
    let slot = slots.first().ok_or_else(|| WorkerError::Internal("no slot".to_owned()))?;
    let home = data_home()?;
    let bench = own.bench(&settings, &home, Vec::new())?;
    let places = bench::Places { bench: &bench, slot, home: &home };
    bench::run(&places, &cells, args.seconds, args.json, &mut signals).await
}

const fn exit_code(asked: Asked) -> u8 {
    match asked {
        Asked::Terminate => exit_codes::DONE,
        Asked::Interrupt => exit_codes::INTERRUPTED,
    }
}
