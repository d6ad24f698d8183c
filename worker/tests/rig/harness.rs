//! A rig of its own for each test: a broker's folder, a worker's process, a fake runner.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use shared::{
    broker::{Broker, Delivery, Identity, Listener, Patience, connect},
    families::Family,
    job::{Arch, Engine, Job, Task, Urgency},
    messages::{Bell, Heartbeat},
    outcome::Outcome,
    settings::BrokerSettings,
    sieve::{Direction, Mode, Seeds, Sieve, Skips},
    spans::Span,
    topology::{RESULTS_SEED, seed_queue},
    wire::{self, Message, Wire},
    witness::Witness,
};
use tempfile::TempDir;

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Rig {
    pub(crate) folder: TempDir,
    pub(crate) broker: Arc<dyn Broker>,
}

impl Rig {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["bin", "pids", "home"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let identity =
            Identity { node: "tests".to_owned(), instance: "tests".to_owned(), role: "producer" };
        let settings = BrokerSettings::at(url(folder.path()));
        let broker = connect(&settings, folder.path(), identity, Patience::COMMAND).await;
        Self { broker: broker.unwrap(), folder }
    }

    /// Puts the worker and a runner side by side.
    pub(crate) fn install(&self, runner: &Path) -> PathBuf {
        let bin = self.folder.path().join("bin");
        let worker = bin.join("worker");
        place(Path::new(env!("CARGO_BIN_EXE_worker")), &worker);
        for name in ["runner-cpu", "runner-cuda", "runner-opencl"] {
            place(runner, &bin.join(name));
        }
        worker
    }

    /// A worker with a fake runner that behaves so.
    pub(crate) fn worker(&self, behaviour: &str) -> Worker {
        self.worker_with(behaviour, &["--eager"], "")
    }

    pub(crate) fn worker_with(&self, behaviour: &str, args: &[&str], settings: &str) -> Worker {
        self.worker_of(&fake_runner(), behaviour, args, settings)
    }

    /// A worker with that runner, which behaves so.
    pub(crate) fn worker_of(
        &self,
        runner: &Path,
        behaviour: &str,
        args: &[&str],
        settings: &str,
    ) -> Worker {
        let program = self.install(runner);
        let mut command = self.command(&program, settings);
        command.args(args).env("FAKE_RUNNER", behaviour);
        Worker::start(command, &self.log())
    }

    pub(crate) fn command(&self, program: &Path, settings: &str) -> Command {
        let config = self.folder.path().join("settings.toml");
        let text =
            if settings.is_empty() { "[worker]\nslots = 1\ngrace = \"300ms\"\n" } else { settings };
        fs::write(&config, text).unwrap();
        let mut command = Command::new(program);
        command
            .arg("--config")
            .arg(config)
            .env_remove("RIGQUEUE_CONFIG")
            .env_remove("RIGQUEUE_PARENT")
            .env_remove("RIGQUEUE_SYSTEM_ROOT")
            .env_remove("CUDA_VISIBLE_DEVICES")
            .env_remove("ROCR_VISIBLE_DEVICES")
            .env_remove("HIP_VISIBLE_DEVICES")
            .env_remove("GPU_DEVICE_ORDINAL")
            .env_remove("RIGQUEUE_WORKER")
            .env("RIGQUEUE_RUNTIME", self.runtime())
            .env("RIGQUEUE_BROKER", url(self.folder.path()))
            .env("RIGQUEUE_HOME", self.folder.path().join("home"))
            .env("RIGQUEUE_LOG", "debug")
            .env("FAKE_PIDS", self.folder.path().join("pids"));
        command
    }

    /// Its workers' runtime folder.
    pub(crate) fn runtime(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    /// The processes that carry this rig's folder in their environment, the workers' included:
    /// found without what the worker finds its own by.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let mark = format!("FAKE_PIDS={}", self.folder.path().join("pids").display());
        let carries = |pid: &i32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|&byte| byte == 0).any(|entry| entry == mark.as_bytes())
        };
        let names = fs::read_dir("/proc").unwrap().flatten();
        let pids = names.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(carries).collect()
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.folder.path().join("worker.log")
    }

    pub(crate) async fn publish(&self, job: &Job) {
        self.publish_raw(&job.queue(), wire::encode(job).unwrap()).await;
    }

    pub(crate) async fn publish_raw(&self, queue: &str, message: Message) {
        self.broker.publish(queue, message).await.unwrap();
        let bell = Bell { queues: vec![queue.to_owned()] };
        self.broker.broadcast(wire::encode(&bell).unwrap()).await.unwrap();
    }

    /// The next outcome, acknowledged.
    pub(crate) async fn outcome(&self) -> Outcome {
        self.outcome_in(RESULTS_SEED).await
    }

    /// The next outcome in that queue, acknowledged.
    pub(crate) async fn outcome_in(&self, queue: &str) -> Outcome {
        let delivery = until("an outcome", async || self.broker.take(queue).await.unwrap()).await;
        self.broker.ack(vec![delivery.tag]).await.unwrap();
        wire::decode(&delivery.message).unwrap()
    }

    pub(crate) async fn take(&self, queue: &str) -> Option<Delivery> {
        self.broker.take(queue).await.unwrap()
    }

    /// Hears every event from now on.
    pub(crate) async fn ears(&self) -> Ears {
        Ears(self.broker.listen().await.unwrap())
    }

    /// Waits for a heartbeat that is as wanted.
    pub(crate) async fn heartbeat(&self, wanted: impl Fn(&Heartbeat) -> bool) -> Heartbeat {
        self.ears().await.heartbeat(wanted).await
    }

    /// The processes that runners (and what they started) wrote down, by id.
    pub(crate) fn pids(&self) -> BTreeMap<i32, String> {
        let entries = fs::read_dir(self.folder.path().join("pids")).unwrap();
        entries
            .filter_map(|entry| {
                let path = entry.unwrap().path();
                let pid = path.file_name().unwrap().to_str().unwrap().parse().ok()?;
                Some((pid, fs::read_to_string(path).ok()?))
            })
            .collect()
    }

    /// Waits until `count` processes have written themselves down.
    pub(crate) async fn started(&self, count: usize) -> Vec<i32> {
        until("runners", async || {
            let pids: Vec<i32> = self.pids().into_keys().collect();
            (pids.len() >= count).then_some(pids)
        })
        .await
    }

    /// Waits until none of the processes that were written down lives.
    pub(crate) async fn all_gone(&self) {
        until("the end of all runners", async || {
            self.pids().into_keys().all(|pid| !lives(pid)).then_some(())
        })
        .await;
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // What escaped a worker that a test has killed, and nobody has swept. Once more for what
        // was being started meanwhile.
        loop {
            let left = self.processes();
            if left.is_empty() {
                return;
            }
            for pid in left {
                kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).ok();
            }
        }
    }
}

/// What hears events.
pub(crate) struct Ears(Box<dyn Listener>);

impl Ears {
    /// Waits for a heartbeat that is as wanted.
    pub(crate) async fn heartbeat(&mut self, wanted: impl Fn(&Heartbeat) -> bool) -> Heartbeat {
        let heard = async {
            loop {
                let message = self.0.next().await.unwrap();
                if message.kind == Heartbeat::TYPE {
                    let heartbeat: Heartbeat = wire::decode(&message).unwrap();
                    if wanted(&heartbeat) {
                        return heartbeat;
                    }
                }
            }
        };
        tokio::time::timeout(PATIENCE, heard).await.expect("a heartbeat")
    }
}

fn url(folder: &Path) -> String {
    format!("embedded:{}", folder.join("broker").display())
}

fn place(from: &Path, to: &Path) {
    if to.exists() {
        return;
    }
    if fs::hard_link(from, to).is_err() {
        fs::copy(from, to).unwrap();
    }
}

/// The fake runner, which cargo builds with the tests.
pub(crate) fn fake_runner() -> PathBuf {
    example("fake-runner")
}

/// A program of the tests, which cargo builds with them.
pub(crate) fn example(name: &str) -> PathBuf {
    let tests = env::current_exe().unwrap();
    let profile = tests.parent().and_then(Path::parent).unwrap();
    let path = profile.join("examples").join(name);
    assert!(path.is_file(), "{} is missing", path.display());
    path
}

/// Whether a process lives (a zombie does not).
pub(crate) fn lives(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start().chars().next());
    matches!(state, Some(Some(state)) if !"ZX".contains(state))
}

/// Polls until there is something.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A worker's process; killed when dropped, its log shown when the test failed.
pub(crate) struct Worker {
    child: Child,
    log: PathBuf,
}

impl Worker {
    pub(crate) fn start(mut command: Command, log: &Path) -> Self {
        let file = fs::File::create(log).unwrap();
        let child =
            command.stdin(Stdio::null()).stderr(file).stdout(Stdio::piped()).spawn().unwrap();
        Self { child, log: log.to_owned() }
    }

    pub(crate) fn id(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.id()).unwrap(), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) async fn end(&mut self) -> ExitStatus {
        let status = until("the worker's end", async || self.child.try_wait().unwrap()).await;
        let mut out = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        assert_eq!(out, "", "a worker says nothing on stdout");
        status
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            assert!(test_kill_process(Pid::from_raw(self.id()).unwrap()).is_ok());
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
        if std::thread::panicking() {
            // Straight to stderr: the test is failing already.
            std::io::stderr().write_all(self.log().as_bytes()).ok();
        }
    }
}

/// A small job: seeds `first..=last` of a sieve that every family can take.
pub(crate) fn job(id: &str, first: u64, last: u64) -> Job {
    let sieve = Sieve {
        family: Family::JavaRandom,
        direction: Direction::Forward,
        mode: Mode::Fixed,
        modulus: 1000,
        draws: vec![1, 2, 3],
        advance: 0,
        skips: Skips { lo: 0, hi: 1 },
        need: 3,
        reverse_need: 3,
    };
    Job {
        run: "run-1".to_owned(),
        epoch: 1,
        id: id.to_owned(),
        seq: 1,
        task: Task::Sieve {
            sieve,
            seeds: Seeds::Range(Span::new(first, last).unwrap()),
            witness: Witness::new(3, 3, 1),
        },
        arch: Arch::Cpu,
        urgency: Urgency::Normal,
        // By structure it would be over in a moment, however many seeds there are.
        engine: Engine::Scan,
        attempt: 1,
        max_attempts: 3,
        starts: 0,
        refused_by: Vec::new(),
        failed_on: Vec::new(),
        time_limit_seconds: 300.0,
        soft_seconds: 60.0,
        memory_mb: 0,
    }
}

/// The name of the queue of [`job`].
pub(crate) fn queue() -> String {
    seed_queue(Arch::Cpu, Urgency::Normal)
}
