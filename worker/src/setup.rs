//! From the command line to a running service.

use std::{
    env,
    io::{self, IsTerminal, Write as _},
    path::{Path, PathBuf},
    process,
    sync::Arc,
    time::Duration,
};

use rustix::process::Signal;
use shared::{
    broker::{Identity, Patience, connect},
    exit_codes,
    job::Arch,
    parent::{ENV_PARENT, end_with_parent},
    rates::{MeasuredRate, Rates},
    server::Server,
    service_manager::Up,
    settings::{DEFAULT_LOG, ENV_LOG, Layers, Settings, Slots, data_home, host_name},
};
use tokio::{runtime, task::spawn_blocking};
use tracing_subscriber::EnvFilter;

use crate::{
    WorkerError,
    admission::{Gate, Limits, MemorySource, Rules, Spacing},
    bench,
    cgroup::Rooms,
    cleanup,
    cli::{Args, BenchArgs, Command, DoctorArgs},
    cores,
    devices::{self, Gauges, Gpu, KernelLog, System},
    doctor, endpoint,
    job::Bench,
    marked::ENV_WORKER,
    runtime_folder,
    scripts::{Attempts, Deliveries, Scripts, Supply},
    service::{Node, Service},
    signals::{Asked, Signals},
    slots::{Slot, slots},
    spawn::Spawner,
    staging::Staging,
    sweep::{Instance, Swept},
};

/// How long a worker that ends goes on bringing outputs to the server.
const LAST_DELIVERIES: Duration = Duration::from_secs(5);

/// Runs the worker until it is asked to end; returns the exit code.
///
/// # Errors
/// [`WorkerError`] when it can't start, or can't go on.
pub fn run(args: &Args) -> Result<u8, WorkerError> {
    match &args.command {
        Some(Command::Probe(asked)) => {
            return devices::probe(&System::here(), asked.json)
                .map_err(system("writing to stdout"));
        }
        Some(Command::Nvml) => return nvml(),
        Some(Command::Cleanup(asked)) => {
            start_log()?;
            return cleanup::run(asked);
        }
        _ => {}
    }
    let (settings, file) = resolve(args)?;
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
            Some(Command::Doctor(doctor)) => examine(doctor, &settings, file.as_deref()).await,
            _ => serve(args, &settings).await,
        }
    });
    // Whatever still hangs must not keep the process.
    runtime.shutdown_background();
    end
}

/// `worker __nvml`.
fn nvml() -> Result<u8, WorkerError> {
    end_with_parent(Signal::KILL)?;
    let answer =
        devices::nvml_answer(&System::here()).map_err(system("asking NVIDIA's library"))?;
    writeln!(io::stdout(), "{answer}").map_err(system("writing to stdout"))?;
    Ok(exit_codes::DONE)
}

/// The settings in force, and the file they came from.
fn resolve(args: &Args) -> Result<(Settings, Option<PathBuf>), WorkerError> {
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
    Ok((layers.settings()?, layers.file().map(Path::to_owned)))
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
        let gpus = devices::for_worker(settings.worker.arch, &System::here())?;
        slots(settings, cores::usable(), &gpus, &own_folder()?, &self.marks)
    }

    fn bench(
        self,
        settings: &Settings,
        home: &Path,
        measured: Vec<MeasuredRate>,
    ) -> Result<Bench, WorkerError> {
        let folders: Vec<PathBuf> = settings.scripts.folders.iter().map(PathBuf::from).collect();
        let runs_any = !folders.is_empty() || !settings.endpoint.is_empty();
        let attempts = runs_any.then(|| Attempts::new(home, &self.instance));
        let server = server(settings)?;
        let supply = Arc::new(Supply::of(home, settings.worker.cache_mb, server));
        let folders_are_empty = folders.is_empty();
        let scripts = Scripts {
            folders,
            python: settings.scripts.python.clone(),
            attempts: attempts.transpose().map_err(system("making a folder for attempts"))?,
            staging: Arc::new(Staging::new(
                &settings.worker.ramdisk,
                !folders_are_empty,
                Arc::clone(&supply),
            )),
            supply,
            finished: Arc::default(),
            drain: settings.worker.drain_timeout.duration(),
        };
        Ok(Bench {
            scripts,
            node: self.node,
            instance: self.instance,
            spawner: Spawner::with_rooms(Rooms::find())
                .map_err(system("starting the spawner's thread"))?,
            stall: settings.worker.stall_timeout.duration(),
            grace: settings.worker.grace.duration(),
            target_seconds: settings.planner.target_seconds,
            measured,
        })
    }
}

/// The `producer serve` that the environment names, if any.
fn server(settings: &Settings) -> Result<Option<Server>, WorkerError> {
    Server::from_environment(&settings.serve.token)
        .map_err(|error| WorkerError::Setting(error.to_string()))
}

/// Marks this worker as alive, and ends what dead ones left behind on this host.
async fn begin(own: &Own) -> Result<Arc<Instance>, WorkerError> {
    let (folder, name) = (runtime_folder()?, own.instance.clone());
    let begun = spawn_blocking(move || Instance::begin(&folder, &name)).await;
    let begun = begun.map_err(|error| WorkerError::Internal(error.to_string()))?;
    let (instance, sweep) = begun.map_err(system("using the runtime folder"))?;
    for Swept { pid, command, instance, job, ended, .. } in sweep.swept {
        if ended {
            tracing::warn!(pid, command, instance, job, "a dead worker's process was ended");
        } else {
            tracing::error!(pid, command, instance, job, "a dead worker's process won't end");
        }
    }
    let instance = Arc::new(instance);
    let young = Arc::clone(&instance);
    tokio::spawn(async move { young.stay_young().await });
    Ok(instance)
}

/// The worker's end: nothing that it started outlives it.
fn retire(instance: &Instance) {
    if let Err(error) = instance.retire() {
        tracing::warn!(%error, "what this worker leaves behind is for the next one to end");
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

/// What this worker shares with the others of its node.
fn node(settings: &Settings, name: &str, slots: &[Arc<Slot>]) -> Result<Node, WorkerError> {
    let worker = &settings.worker;
    let folder = runtime_folder()?;
    let using = system("using the runtime folder");
    let system_files = System::here();
    let gpus: Vec<Gpu> = slots.iter().filter_map(|slot| slot.gpu.clone()).collect();
    let gauges = Gauges::start(&gpus, &system_files);
    let rules = Rules {
        source: MemorySource::below(system_files.root()),
        reserve: worker.reserve_memory_mb.saturating_mul(1 << 20),
        wait: worker.admission_wait.duration(),
    };
    let (jobs, scripts) = (worker.max_jobs, worker.max_concurrent_script_jobs);
    let profile = settings.arch.get(&worker.arch);
    let spacing = profile.map_or(Duration::ZERO, |profile| profile.start_spacing.duration());
    Ok(Node {
        limits: Limits::open(&folder, name, jobs, scripts).map_err(&using)?,
        spacing: Spacing::open(&folder, name, worker.arch.name(), spacing).map_err(&using)?,
        gate: Gate::new(rules, worker.arch, slots.len()),
        leases: folder,
        gauge: Arc::new(gauges.map_err(system("starting the gauges' threads"))?),
        kernel_log: if gpus.is_empty() { None } else { kernel_log(&system_files) },
    })
}

/// What the kernel says of GPUs from now on, where this user may read it.
fn kernel_log(system: &System) -> Option<KernelLog> {
    let told = |error| tracing::info!(%error, "the kernel's log can't be read: resets go unseen");
    KernelLog::from_now(system).map_err(told).ok()
}

async fn serve(args: &Args, settings: &Settings) -> Result<u8, WorkerError> {
    let mut signals = Signals::new().map_err(system("listening for signals"))?;
    let own = Own::new(settings)?;
    let mut slots = own.slots(settings)?;
    let home = data_home()?;
    let identity =
        Identity { node: own.node.clone(), instance: own.instance.clone(), role: "worker" };
    let up = Up::tell("connecting to the broker");
    let broker = tokio::select! {
        broker = connect(&settings.broker, &home, identity, Patience::Forever) => broker?,
        asked = signals.next() => return Ok(exit_code(asked)),
    };
    let instance = tokio::select! {
        begun = begin(&own) => begun?,
        asked = signals.next() => return Ok(exit_code(asked)),
    };
    let bench = own.bench(settings, &home, measured(&home, slots.first()))?;
    let patience = settings.worker.drain_timeout.duration();
    let node = node(settings, &bench.node, &slots)?;
    slots.extend(endpoint::slots(settings));
    let runs_scripts = bench.scripts.attempts.is_some();
    let finished = Arc::clone(&bench.scripts.finished);
    let deliveries = server(settings)?
        .filter(|_| runs_scripts)
        .map(|server| Deliveries::new(&home, server, finished));
    let bringing = deliveries.clone().map(|deliveries| tokio::spawn(deliveries.bring()));
    let instance_name = bench.instance.clone();
    let staging = Arc::clone(&bench.scripts.staging);
    let service = Service::start(broker, Arc::new(bench), slots, node, args.eager).await?;
    up.status("at work");
    let asked = service.run(&mut signals, patience).await?;
    if let (Some(deliveries), Some(bringing)) = (deliveries, bringing) {
        bringing.abort();
        tokio::select! {
            () = deliveries.finish(&instance_name, LAST_DELIVERIES) => {}
            _ = signals.next() => {}
        }
    }
    staging.end();
    retire(&instance);
    Ok(exit_code(asked))
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
    let instance = begin(&own).await?;
    let bench = own.bench(&settings, &home, Vec::new())?;
    let places = bench::Places { bench: &bench, slot, home: &home };
    let code = bench::run(&places, &cells, args.seconds, args.json, &mut signals).await;
    retire(&instance);
    code
}

/// `worker doctor`.
async fn examine(
    args: &DoctorArgs,
    settings: &Settings,
    file: Option<&Path>,
) -> Result<u8, WorkerError> {
    let own = Own::new(settings)?;
    let identity = Identity { node: own.node, instance: own.instance, role: "worker" };
    let (home, programs) = (data_home()?, own_folder()?);
    let subject = doctor::Subject { settings, file, home: &home, programs: &programs, identity };
    doctor::run(&subject, args.json).await
}

const fn exit_code(asked: Asked) -> u8 {
    match asked {
        Asked::Terminate => exit_codes::DONE,
        Asked::Interrupt => exit_codes::INTERRUPTED,
    }
}
