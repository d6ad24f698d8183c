//! The worker and the aggregator of a run on this machine, as child processes.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use shared::settings::{ENV_BROKER, ENV_CONFIG, ENV_HOME, ENV_SERVER};
use tokio::process::{Child, Command};

use crate::{failure::Failure, runner::beside};

/// A child that dies this often is not started again.
const MOST_STARTS: u32 = 5;
/// How long a child may take to end in good order, beyond the worker's own grace.
const ENDING: Duration = Duration::from_secs(10);

/// The worker and the aggregator of a run on this machine.
#[derive(Debug)]
pub(crate) struct Services {
    worker: Part,
    aggregator: Part,
}

impl Services {
    /// Starts both for the run in `folder`, with these arguments beside the usual ones.
    pub(crate) fn start(
        folder: &Path,
        config: Option<&Path>,
        worker: &[&str],
        aggregator: &[&str],
    ) -> Result<Self, Failure> {
        let aggregator = [&["aggregate"], aggregator].concat();
        let worker = [&["--eager"], worker].concat();
        let aggregator = Part::start("producer", &aggregator, folder, config)?;
        let worker = Part::start("worker", &worker, folder, config)?;
        Ok(Self { worker, aggregator })
    }

    /// Starts again whichever ends by itself; returns when one has done so too often.
    pub(crate) async fn keep(&mut self) -> Result<(), Failure> {
        tokio::select! {
            failure = self.worker.keep() => failure,
            failure = self.aggregator.keep() => failure,
        }
    }

    /// Ends both: the worker first, so that what its jobs have done so far still reaches the
    /// ledger.
    pub(crate) async fn end(&mut self, grace: Duration) -> Result<(), Failure> {
        for part in [&mut self.worker, &mut self.aggregator] {
            part.end(grace).await.map_err(Failure::internal)?;
        }
        Ok(())
    }
}

/// One child of a local run: a program, its log, and how often it was started.
#[derive(Debug)]
struct Part {
    name: &'static str,
    program: PathBuf,
    args: Vec<String>,
    folder: PathBuf,
    config: Option<PathBuf>,
    child: Child,
    starts: u32,
}

impl Part {
    /// Starts `name` (a binary beside this one) for the run in `folder`.
    fn start(
        name: &'static str,
        args: &[&str],
        folder: &Path,
        config: Option<&Path>,
    ) -> Result<Self, Failure> {
        let program = beside(name)?;
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        let child = Self::spawn(name, &program, &args, folder, config)?;
        let (folder, config) = (folder.to_owned(), config.map(Path::to_owned));
        Ok(Self { name, program, args, folder, config, child, starts: 1 })
    }

    fn spawn(
        name: &str,
        program: &Path,
        args: &[String],
        folder: &Path,
        config: Option<&Path>,
    ) -> Result<Child, Failure> {
        let log = folder.join(format!("{name}.log"));
        let opened = File::options().create(true).append(true).open(&log);
        let opened = opened.map_err(|error| {
            Failure::unreachable(format!("{} can't be written: {error}", log.display()))
        })?;
        let mut command = Command::new(program);
        command
            .args(args)
            .env(ENV_HOME, folder)
            .env(ENV_BROKER, "embedded:")
            // All that it needs is in its own folder.
            .env_remove(ENV_SERVER)
            // A child asks to be ended with its parent, whatever ends that.
            .env(shared::parent::ENV_PARENT, std::process::id().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(opened)
            // Ctrl-C is for us to pass on, in the right order.
            .process_group(0);
        if let Some(config) = config {
            command.env(ENV_CONFIG, config);
        }
        command.spawn().map_err(|error| {
            Failure::internal(format!("{} can't be started: {error}", program.display()))
        })
    }

    /// Waits until the child ends by itself, which it should not, and starts it again.
    async fn keep(&mut self) -> Result<(), Failure> {
        loop {
            let status = self.child.wait().await.map_err(Failure::internal)?;
            if self.starts >= MOST_STARTS {
                return Err(self.gave_up(status));
            }
            crate::output::say(format!("the {} ended ({status}); starting another", self.name));
            self.starts += 1;
            let (name, config) = (self.name, self.config.as_deref());
            self.child = Self::spawn(name, &self.program, &self.args, &self.folder, config)?;
        }
    }

    fn gave_up(&self, status: ExitStatus) -> Failure {
        let log = self.folder.join(format!("{}.log", self.name));
        let text = fs::read_to_string(&log).unwrap_or_default();
        let last = text.lines().last().unwrap_or("nothing").trim().to_owned();
        Failure::internal(format!(
            "the {} ended {MOST_STARTS} times ({status}); the last line of {} is: {last}",
            self.name,
            log.display()
        ))
    }

    /// Asks the child to end and waits for it; kills it when it takes longer than `grace` and
    /// some.
    async fn end(&mut self, grace: Duration) -> io::Result<()> {
        if let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            kill_process(pid, Signal::TERM)?;
        }
        if tokio::time::timeout(grace + ENDING, self.child.wait()).await.is_err() {
            self.child.kill().await?;
        }
        Ok(())
    }
}
