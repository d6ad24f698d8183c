//! A fleet of real processes over one broker and one data folder.

use std::{
    env, fs,
    fs::File,
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use producer::ledger::{Ledger, RunRow};
use shared::{
    broker::{Broker, Identity, Patience, connect},
    job::Job,
    parent::ENV_PARENT,
    settings::{BrokerSettings, ENV_BROKER, ENV_CONFIG, ENV_HOME},
    topology, wire,
};
use tempfile::TempDir;

use crate::Failed;

/// How long any wait may take before the fleet counts as stuck.
const PATIENCE: Duration = Duration::from_secs(300);
/// How often the ledger is asked whether anything changed: one read of shared memory.
const LOOK: Duration = Duration::from_micros(250);

/// A broker's URL and a data folder.
pub(crate) struct Fleet {
    url: String,
    home: TempDir,
}

/// A process that ends with its owner, in good order.
pub(crate) struct Service(Child);

impl Service {
    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let pid = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw);
        let told = pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::TERM));
        if !matches!(told, Some(Ok(()))) || self.0.wait().is_err() {
            crate::report::complain("a service could not be ended");
        }
    }
}

/// The folder with the binaries: this example lies in `release/examples`.
fn binary(name: &str) -> Result<PathBuf, Failed> {
    let own = env::current_exe()?;
    let folder = own.parent().and_then(Path::parent).ok_or("no target folder")?;
    let path = folder.join(name);
    let missing = || format!("{} is missing: run `make bench`", path.display());
    if path.is_file() { Ok(path) } else { Err(missing().into()) }
}

/// The runner's executable.
pub(crate) fn runner() -> Result<PathBuf, Failed> {
    binary("runner-cpu")
}

impl Fleet {
    /// A fleet without processes, its queues made.
    pub(crate) fn new(url: &str) -> Result<Self, Failed> {
        let home = tempfile::Builder::new().prefix("rigqueue-bench-").tempdir()?;
        let draws: String = (1..=30).map(|draw| format!("{}\n", draw * 617 % 1000)).collect();
        fs::write(home.path().join("draws.txt"), draws)?;
        let fleet = Self { url: url.to_owned(), home };
        if url.starts_with("amqp") {
            fleet.run("producer", &["topology", "apply"])?;
        }
        Ok(fleet)
    }

    /// The data folder.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// A broker session of the bench's own.
    pub(crate) async fn session(&self) -> Result<Arc<dyn Broker>, Failed> {
        let instance = format!("bench-{}", process::id());
        let identity = Identity { node: "bench".to_owned(), instance, role: "producer" };
        Ok(connect(&BrokerSettings::at(&self.url), self.home.path(), identity, Patience::COMMAND)
            .await?)
    }

    fn command(&self, name: &str) -> Result<Command, Failed> {
        let mut command = Command::new(binary(name)?);
        command
            .env_remove(ENV_CONFIG)
            .env(ENV_BROKER, &self.url)
            .env(ENV_HOME, self.home.path())
            .env("RIGQUEUE_RUNTIME", self.home.path().join("runtime"))
            // Started by the main thread, which ends with this process and not before.
            .env(ENV_PARENT, process::id().to_string());
        Ok(command)
    }

    /// Runs a command to its end; what it printed.
    pub(crate) fn run(&self, name: &str, args: &[&str]) -> Result<String, Failed> {
        let output = self.command(name)?.args(args).output()?;
        if output.status.success() {
            return Ok(String::from_utf8(output.stdout)?);
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(format!("{name} {args:?}: {}: {said}", output.status).into())
    }

    fn start(&self, name: &str, args: &[&str]) -> Result<Service, Failed> {
        let log = File::create(self.home.path().join(format!("{name}.log")))?;
        let child = self.command(name)?.args(args).stdin(Stdio::null()).stderr(log).spawn()?;
        Ok(Service(child))
    }

    /// Starts the aggregator and waits for its ledger.
    pub(crate) fn aggregator(&self) -> Result<Service, Failed> {
        let service = self.start("producer", &["aggregate"])?;
        self.until("the ledger is laid", || Ok(Ledger::read(self.home.path())?))?;
        Ok(service)
    }

    /// Starts a worker.
    pub(crate) fn worker(&self, slots: u32) -> Result<Service, Failed> {
        self.start("worker", &["--slots", &slots.to_string(), "--node", "bench"])
    }

    /// The ledger, to read.
    pub(crate) fn ledger(&self) -> Result<Ledger, Failed> {
        Ok(Ledger::read(self.home.path())?.ok_or("the ledger is gone")?)
    }

    /// Publishes a run by `producer enqueue`.
    pub(crate) fn enqueue(&self, run: &str, more: &[&str]) -> Result<String, Failed> {
        let draws = self.home.path().join("draws.txt").display().to_string();
        let mut args = vec!["enqueue", "--step", "2", "--draws", &draws, "--run", run];
        args.extend(["--family", "java_random", "--window", "12", "--threshold", "1"]);
        args.extend(["--skip", "0..=2", "--arch", "cpu", "--engine", "scan"]);
        args.extend(more);
        self.run("producer", &args)
    }

    /// A job such as the producer makes it. Only for a fleet without processes.
    pub(crate) async fn sample_job(&self, seeds: &str) -> Result<Job, Failed> {
        self.enqueue("sample", &["--seed-end", seeds, "--chunk", seeds])?;
        let broker = self.session().await?;
        let mut job = None;
        for queue in ["jobs.seed.cpu", topology::RESULTS_SEED] {
            while let Some(delivery) = broker.take(queue).await? {
                if delivery.queue == "jobs.seed.cpu" {
                    job = Some(wire::decode(&delivery.message)?);
                }
                broker.ack(vec![delivery.tag]).await?;
            }
        }
        broker.close().await;
        Ok(job.ok_or("the sample run has no job")?)
    }

    /// Waits until the ledger says `done` of a run, looking whenever it changed.
    pub(crate) fn until_ledger(
        &self,
        ledger: &Ledger,
        run: &str,
        done: impl Fn(&RunRow) -> bool,
    ) -> Result<RunRow, Failed> {
        let mut version = None;
        self.until(run, || {
            let now = Some(ledger.data_version()?);
            if now == version {
                return Ok(None);
            }
            version = now;
            Ok(ledger.run(run)?.filter(&done))
        })
    }

    fn until<T>(
        &self,
        what: &str,
        mut look: impl FnMut() -> Result<Option<T>, Failed>,
    ) -> Result<T, Failed> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(found) = look()? {
                return Ok(found);
            }
            std::thread::sleep(LOOK);
        }
        let read = |name: &str| fs::read_to_string(self.home.path().join(name));
        let logs = format!("{:?} {:?}", read("worker.log"), read("producer.log"));
        Err(format!("waited {PATIENCE:?} for {what}; the logs: {logs}").into())
    }
}
