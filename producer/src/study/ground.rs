//! Where a study runs: all of it on this machine, in a folder of its own, or on the fleet.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use shared::{
    broker::{Broker, Patience},
    exit_codes,
    job::Arch,
    settings::Slots,
    topology,
};

use super::request::StudyRequest;
use crate::{
    ask::{self, Ask},
    commands::{
        enqueue::wait_for_ledger,
        local::Services,
        run::{absolute, local_broker, make},
    },
    context::Context,
    failure::Failure,
    job_inputs::JobInputs,
    ledger::{Ledger, LedgerError},
    output,
    server::Server,
    summary::RunSummary,
};

/// How often the ledger is asked whether anything changed: one read of shared memory.
const LOOK: Duration = Duration::from_millis(20);
/// How often a server is asked.
const ASK: Duration = Duration::from_millis(500);
/// A run that the ledger has not heard of after so long waits for an aggregator.
const UNHEARD: Duration = Duration::from_secs(5);
/// How long the aggregator may take to bring the ledger up to what is queued.
const CATCH_UP: Duration = Duration::from_secs(10);

/// Where a study runs.
pub(super) struct Ground {
    /// Where its jobs go.
    pub(super) broker: Arc<dyn Broker>,
    /// Where their inputs go.
    pub(super) inputs: JobInputs,
    place: Place,
    services: Option<Services>,
    grace: Duration,
}

/// Where its ledger is.
enum Place {
    /// In a data folder of this machine, with the version last seen.
    Here(PathBuf, Ledger, i64),
    /// Behind a server.
    There(Server),
}

/// Whether a study runs on this machine alone.
pub(super) fn is_local(context: &Context) -> bool {
    context.settings.broker.url.starts_with("embedded:")
}

impl Ground {
    /// All on this machine, in `folder`: the broker, the ledger, and a worker with as many slots as
    /// there are trials at a time.
    pub(super) async fn local(
        context: &Context,
        folder: &Path,
        request: &StudyRequest,
    ) -> Result<Self, Failure> {
        if context.settings.scripts.folders.is_empty() {
            return Err(Failure::usage(
                "no script can run here: [scripts] folders in the settings file is empty; list the \
                 folders that scripts may come from (`producer config show`)",
            ));
        }
        make(folder)?;
        let broker = local_broker(folder).await?;
        lay_ledger(folder).await?;
        let place = Place::here(folder)?;
        let slots = slots(context, request.parallel).map(|slots| slots.to_string());
        let worker: Vec<&str> = slots.iter().flat_map(|slots| ["--slots", slots]).collect();
        let dir = request.output_dir.as_deref().map(absolute).transpose()?;
        let aggregator: Vec<&str> = dir.iter().flat_map(|dir| ["--output-dir", dir]).collect();
        let services = Services::start(folder, context.layers.file(), &worker, &aggregator)?;
        Ok(Self {
            broker,
            inputs: JobInputs::of(folder),
            place,
            services: Some(services),
            grace: context.settings.worker.grace.duration(),
        })
    }

    /// On the fleet of the settings' broker. Its ledger must be within reach.
    pub(super) async fn fleet(context: &Context) -> Result<Self, Failure> {
        let place = match &context.server {
            Some(server) => Place::There(server.clone()),
            None => {
                drop(wait_for_ledger(context).await?);
                Place::here(&context.home)?
            }
        };
        // One that can't be reached at all is said at once; one that goes away is waited for.
        context.broker("producer", Patience::COMMAND).await?.close().await;
        let broker = context.broker("producer", Patience::Forever).await?;
        let inputs = JobInputs::of_context(context);
        Ok(Self { broker, inputs, place, services: None, grace: Duration::ZERO })
    }

    /// How a run stands, with all its jobs; `None` when the ledger has not heard of it.
    pub(super) fn status(&self, run: &str) -> Result<Option<RunSummary>, Failure> {
        match &self.place {
            Place::Here(_, ledger, _) => {
                let Some(row) = ledger.run(run)? else { return Ok(None) };
                Ok(Some(RunSummary::read(ledger, &row, u64::MAX)?))
            }
            Place::There(server) => {
                match server.ask(&Ask::Status { run: run.to_owned(), limit: u64::MAX }) {
                    Ok(answer) => Ok(Some(serde_json::from_str(&answer)?)),
                    Err(Failure { code: exit_codes::NOT_FOUND, .. }) => Ok(None),
                    Err(failure) => Err(failure),
                }
            }
        }
    }

    /// Waits until the ledger has heard of a run whose manifest was published.
    pub(super) async fn known(&mut self, run: &str) -> Result<RunSummary, Failure> {
        let mut unheard = Some(Instant::now());
        loop {
            if let Some(summary) = self.status(run)?
                && summary.requested.is_some()
            {
                return Ok(summary);
            }
            if unheard.is_some_and(|since| since.elapsed() >= UNHEARD) {
                unheard = None;
                output::say(format!(
                    "run {run} has not reached the ledger yet: does `producer aggregate` work on it?"
                ));
            }
            self.changed().await?;
        }
    }

    /// Waits until what is queued for the ledger is in it, so that what an earlier session has
    /// published is known.
    pub(super) async fn caught_up(&mut self) -> Result<(), Failure> {
        let since = Instant::now();
        while self.broker.depth(topology::RESULTS_SCRIPT).await?.unwrap_or(0) > 0
            && since.elapsed() < CATCH_UP
        {
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Waits until the ledger may say something new, and keeps the services of this machine alive
    /// meanwhile. At least once a second, for those who watch.
    pub(super) async fn changed(&mut self) -> Result<(), Failure> {
        let keep = async {
            match &mut self.services {
                Some(services) => services.keep().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = self.place.changed() => changed,
            ended = keep => ended,
            () = tokio::time::sleep(Duration::from_secs(1)) => Ok(()),
        }
    }

    /// Gives a run up whose remaining places are not needed.
    pub(super) fn cancel(&self, run: &str) -> Result<(), Failure> {
        let cancel = Ask::Cancel(run.to_owned());
        let answer = match &self.place {
            Place::Here(home, ..) => ask::answer(home, &cancel),
            Place::There(server) => server.ask(&cancel),
        };
        answer.map(drop)
    }

    /// Ends what was started for the study. Jobs that run go back to their queue.
    pub(super) async fn end(&mut self) -> Result<(), Failure> {
        self.broker.close().await;
        match &mut self.services {
            Some(services) => services.end(self.grace).await,
            None => Ok(()),
        }
    }
}

impl Place {
    fn here(home: &Path) -> Result<Self, Failure> {
        let none = || Failure::unreachable(format!("there is no ledger in {}", home.display()));
        Ok(Self::Here(home.to_owned(), Ledger::read(home)?.ok_or_else(none)?, 0))
    }

    async fn changed(&mut self) -> Result<(), Failure> {
        match self {
            Self::There(_) => tokio::time::sleep(ASK).await,
            Self::Here(_, ledger, version) => loop {
                let now = ledger.data_version()?;
                if std::mem::replace(version, now) != now {
                    break;
                }
                tokio::time::sleep(LOOK).await;
            },
        }
        Ok(())
    }
}

/// Lays the ledger, so that it can be watched from the start; the aggregator of an earlier session
/// that was killed may take a moment to end.
async fn lay_ledger(folder: &Path) -> Result<(), Failure> {
    let since = Instant::now();
    loop {
        match Ledger::own(folder) {
            Err(LedgerError::Owned(_)) if since.elapsed() < CATCH_UP => {
                tokio::time::sleep(LOOK).await;
            }
            owned => return Ok(owned.map(drop)?),
        }
    }
}

/// The slots of a worker that has no more than so many jobs at a time; `None` for the settings'.
fn slots(context: &Context, parallel: usize) -> Option<u32> {
    let worker = &context.settings.worker;
    let there = match worker.slots {
        Slots::Count(count) => count,
        Slots::Auto if worker.arch == Arch::Cpu => {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            u32::try_from(cores).unwrap_or(u32::MAX)
        }
        // How many GPUs there are is the worker's to find out.
        Slots::Auto => return None,
    };
    u32::try_from(parallel).ok().filter(|&parallel| parallel < there)
}
