//! The aggregator: takes results in batches, has the ledger apply them, publishes what follows.
//!
//! Outcomes are acknowledged only when the ledger's transaction is on disk, and jobs leave the
//! outbox only when the broker has confirmed them. Everything between may happen twice.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use shared::{
    broker::{Broker, BrokerError, Delivery, Patience, apply_topology, claim_ledger},
    failpoint::{self, Point},
    messages::{Bell, Heartbeat, RunOpened},
    retry::Waits,
    settings::Settings,
    topology,
    wire::{self, Message, Wire as _},
};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    export::{self, ExportError},
    ledger::{Applied, Ledger, LedgerError, Outstanding, Record},
    placing,
    reconcile::{RestError, Silence, plan_rest},
    run_manifest,
};

/// Results handed over unacknowledged: a few batches' worth.
const PREFETCH: u16 = 1024;
/// Results in one transaction.
const BATCH: usize = 512;
/// Jobs published from the outbox at a time.
const POST: u32 = 500;
/// How often every worker hears the fleet's state.
const TELL: Duration = Duration::from_secs(5);
/// How often the queues are looked at: one that somebody deleted is not missed by those who would
/// publish to it for long, even when nothing else is to be done.
const CHECK: Duration = Duration::from_secs(5);
/// How often the ledger hears what the workers hold, for those who watch a run.
const NOTE: Duration = Duration::from_secs(1);
/// How often the ledger is asked whether a command changed it: one read of shared memory.
const LOOK: Duration = Duration::from_millis(100);
/// How often outputs are tried again that could not be put in place.
const PLACE: Duration = Duration::from_secs(60);
/// How often files are looked for that nothing has used for long.
const SWEEP: Duration = Duration::from_secs(3600);
/// The broker's own dead letters, handed over unacknowledged.
const DEAD_PREFETCH: u16 = 64;
/// The first and the longest wait before trying a broker again that refused.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long to wait before trying a ledger again that failed (a full disk, say).
const LEDGER_PAUSE: Duration = Duration::from_secs(2);

/// Why the aggregator ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AggregateError {
    /// The broker.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A message of ours that can't be encoded.
    #[error(transparent)]
    Wire(#[from] wire::WireError),
}

/// The aggregator of one ledger.
#[derive(Debug)]
pub struct Aggregator {
    broker: Arc<dyn Broker>,
    pub(crate) ledger: Ledger,
    settings: Settings,
    pub(crate) home: PathBuf,
    pub(crate) output_dir: Option<PathBuf>,
    /// Hashes of the outputs that workers send, where `producer serve` takes them.
    pub(crate) arrivals: Option<mpsc::Receiver<String>>,
    heard: BTreeMap<(String, String), Heartbeat>,
    silence: Silence,
    /// Whether the broker ever let it in.
    was_let_in: bool,
    /// What the ledger's version was when it was last looked at.
    version: i64,
}

/// Unix seconds.
#[must_use]
pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

impl Aggregator {
    /// An aggregator of the ledger in `home` that writes the outputs of complete runs to
    /// `output_dir`, if there is one.
    #[must_use]
    pub fn new(
        broker: Arc<dyn Broker>,
        ledger: Ledger,
        (settings, home): (Settings, PathBuf),
        output_dir: Option<PathBuf>,
    ) -> Self {
        let (heard, silence) = (BTreeMap::new(), Silence::default());
        let (was_let_in, version, arrivals) = (false, 0, None);
        Self {
            broker,
            ledger,
            settings,
            home,
            output_dir,
            arrivals,
            heard,
            silence,
            was_let_in,
            version,
        }
    }

    /// The same, with the outputs that workers send from other machines.
    #[must_use]
    pub fn with_arrivals(mut self, arrivals: mpsc::Receiver<String>) -> Self {
        self.arrivals = Some(arrivals);
        self
    }

    /// Works until `stop` is cancelled or, when `until` names a run, that run has ended.
    ///
    /// # Errors
    /// [`AggregateError`] when the broker refuses or the ledger can't be used at all.
    pub async fn work(
        &mut self,
        until: Option<&str>,
        stop: &CancellationToken,
    ) -> Result<(), AggregateError> {
        let ended = tokio::select! {
            biased;
            () = stop.cancelled() => Ok(()),
            ended = self.work_until(until) => ended,
        };
        self.write_nodes()?;
        // A run's last step may have been cut short by `stop`, before its outputs were written.
        self.write_outputs();
        ended
    }

    /// Works through whatever a broker may do for a while: queues that are deleted are declared
    /// again, and what was in them is found to be lacking later; a vhost or a permission that was
    /// taken away is waited for.
    async fn work_until(&mut self, until: Option<&str>) -> Result<(), AggregateError> {
        let mut waits = Waits::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            let began = Instant::now();
            let trouble = match self.work_on_queues(until).await {
                Err(AggregateError::Broker(BrokerError::NoQueue { queue, .. })) => {
                    match self.declare_again(&queue).await {
                        Ok(()) => continue,
                        Err(error) => error,
                    }
                }
                Err(error) => error,
                Ok(()) => return Ok(()),
            };
            // One that was never let in has the wrong user.
            if !self.was_let_in
                && matches!(trouble, AggregateError::Broker(BrokerError::Refused { .. }))
            {
                return Err(trouble);
            }
            // Patient as sessions are, a connection that declares the topology can be lost.
            let AggregateError::Broker(
                BrokerError::Refused { .. }
                | BrokerError::NoQueue { .. }
                | BrokerError::Unreachable { .. },
            ) = &trouble
            else {
                return Err(trouble);
            };
            if began.elapsed() > LONGEST_PAUSE {
                waits.reset();
            }
            warn!("{trouble}; trying on");
            tokio::time::sleep(waits.next_wait()).await;
        }
    }

    async fn declare_again(&self, queue: &str) -> Result<(), AggregateError> {
        warn!(queue, "a queue is missing: declaring the topology again");
        let uuid = self.ledger.uuid()?;
        apply_topology(&self.settings.broker, Patience::Forever).await?;
        claim_ledger(&self.settings.broker, &self.home, &uuid, false, Patience::Forever).await?;
        Ok(())
    }

    async fn work_on_queues(&mut self, until: Option<&str>) -> Result<(), AggregateError> {
        let mut results = self.broker.subscribe(topology::RESULTS_SEED, PREFETCH).await?;
        let mut scripts = self.broker.subscribe(topology::RESULTS_SCRIPT, PREFETCH).await?;
        let mut dead = self.broker.subscribe(topology::RESULTS_DEAD, DEAD_PREFETCH).await?;
        let mut events = self.broker.listen().await?;
        self.was_let_in = true;
        self.write_outputs();
        let mut ticks = [TELL, CHECK, NOTE, LOOK, PLACE, SWEEP].map(interval);
        for tick in &mut ticks {
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        let [mut tell, mut check, mut note, mut look, mut place, mut sweep] = ticks;
        while !self.has_ended(until)? {
            let posting = self.next_post()?;
            let step = tokio::select! {
                batch = results.next(BATCH) => self.take_batch(batch?).await,
                batch = scripts.next(BATCH) => self.take_batch(batch?).await,
                batch = dead.next(BATCH) => self.take_batch(batch?).await,
                event = events.next() => self.hear(&event?).await,
                () = sleep_until(posting) => self.post().await,
                _ = tell.tick() => self.tell_fleet().await,
                _ = check.tick() => self.check_queues().await,
                _ = note.tick() => self.note().await,
                _ = look.tick() => self.look().await,
                _ = place.tick() => self.place_again().await,
                hashes = placing::arrivals(&mut self.arrivals) => self.place_arrived(&hashes).await,
                _ = sweep.tick() => {
                    self.sweep_files();
                    Ok(())
                }
            };
            match step {
                // A full disk, say: every step can be taken again, and nothing is lost meanwhile.
                Err(AggregateError::Ledger(LedgerError::Sqlite(trouble))) => {
                    error!("the ledger is in trouble, going on in a moment: {trouble}");
                    tokio::time::sleep(LEDGER_PAUSE).await;
                }
                other => other?,
            }
        }
        Ok(())
    }

    fn has_ended(&self, until: Option<&str>) -> Result<bool, LedgerError> {
        let Some(name) = until else { return Ok(false) };
        Ok(self.ledger.run(name)?.is_some_and(|run| run.state.is_ended()))
    }

    /// Applies a batch and acknowledges it; then publishes what it left in the outbox.
    async fn take_batch(&mut self, batch: Vec<Delivery>) -> Result<(), AggregateError> {
        failpoint::pass(Point::ResultsTaken);
        let mut records = Vec::with_capacity(batch.len());
        let mut tags = Vec::with_capacity(batch.len());
        for delivery in batch {
            match Record::decode(&delivery.message) {
                Ok(record) => records.push((record, delivery.message)),
                Err(error) => self.set_aside(&delivery.message, &error.to_string()).await?,
            }
            tags.push(delivery.tag);
        }
        let mut applied = self.apply(records).await?;
        applied.merge(self.place_outputs(Outstanding::New).await?);
        failpoint::pass(Point::ResultsApplied);
        self.broker.ack(tags).await?;
        failpoint::pass(Point::ResultsAcknowledged);
        self.say_what_changed(&applied).await
    }

    pub(crate) async fn say_what_changed(
        &mut self,
        applied: &Applied,
    ) -> Result<(), AggregateError> {
        self.silence.broken(&applied.touched, Instant::now());
        for (run, state) in &applied.ended {
            info!(run, state = state.name(), "run ended");
        }
        if !applied.ended.is_empty() {
            self.write_outputs();
        }
        if applied.epochs_changed {
            self.tell_fleet().await?;
        }
        Ok(())
    }

    /// Applies a batch whole, else record by record, setting aside only what makes no sense.
    async fn apply(&mut self, records: Vec<(Record, Message)>) -> Result<Applied, AggregateError> {
        let (records, messages): (Vec<_>, Vec<_>) = records.into_iter().unzip();
        match self.apply_patiently(&records).await {
            Err(refused) if refused.is_the_records() => {}
            whole => return Ok(whole?),
        }
        let mut applied = Applied::default();
        for (record, message) in records.into_iter().zip(messages) {
            match self.apply_patiently(&[record]).await {
                Ok(one) => applied.merge(one),
                Err(refused) if refused.is_the_records() => {
                    self.set_aside(&message, &refused.to_string()).await?;
                }
                Err(other) => return Err(other.into()),
            }
        }
        Ok(applied)
    }

    /// Applies records; see [`Self::patiently`].
    async fn apply_patiently(&mut self, records: &[Record]) -> Result<Applied, LedgerError> {
        self.patiently(|ledger| ledger.apply(records, now())).await
    }

    /// Does something to the ledger; while that is in trouble itself (a full disk) it waits and
    /// tries again, since nothing was acknowledged and nothing is lost.
    pub(crate) async fn patiently<T>(
        &mut self,
        mut call: impl FnMut(&mut Ledger) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        loop {
            let ledger = &mut self.ledger;
            match tokio::task::block_in_place(|| call(ledger)) {
                Err(LedgerError::Sqlite(trouble)) => {
                    error!("the ledger can't be written, trying again: {trouble}");
                    tokio::time::sleep(LEDGER_PAUSE).await;
                }
                other => return other,
            }
        }
    }

    /// Sets a result aside that can't be applied, where people can look at it.
    async fn set_aside(&mut self, message: &Message, why: &str) -> Result<(), LedgerError> {
        warn!(kind = message.kind, "a result is set aside in {}: {why}", topology::DEAD_RESULTS);
        self.patiently(|ledger| ledger.set_aside(message, why, now())).await
    }

    fn next_post(&self) -> Result<Instant, LedgerError> {
        let now = now();
        let wait = self.ledger.next_due(now)?.map_or(NOTE.as_secs_f64(), |due| due - now);
        Ok(Instant::now() + Duration::from_secs_f64(wait.clamp(0.0, NOTE.as_secs_f64())))
    }

    /// Publishes what is due, then deletes its rows, then rings.
    async fn post(&mut self) -> Result<(), AggregateError> {
        let due = self.ledger.due(now(), POST)?;
        if due.is_empty() {
            return Ok(());
        }
        let messages = due.iter().map(|row| (row.queue.clone(), row.message.clone())).collect();
        self.broker.publish_all(messages).await?;
        failpoint::pass(Point::OutboxPublished);
        self.ledger.posted(&due)?;
        failpoint::pass(Point::OutboxDeleted);
        let mut queues: Vec<String> = due.into_iter().map(|row| row.queue).collect();
        queues.sort_unstable();
        queues.dedup();
        Ok(self.broker.broadcast(wire::encode(&Bell { queues })?).await?)
    }

    async fn hear(&mut self, event: &Message) -> Result<(), AggregateError> {
        if event.kind != Heartbeat::TYPE {
            return Ok(());
        }
        match wire::decode::<Heartbeat>(event) {
            Ok(heartbeat) => {
                self.silence.heard(&heartbeat, Instant::now());
                let key = (heartbeat.node.clone(), heartbeat.instance.clone());
                let informed = heartbeat.informed;
                // A worker that is new to the ledger is written at once: plans count its slots.
                let is_new = self.heard.insert(key, heartbeat).is_none();
                if is_new {
                    self.write_nodes()?;
                }
                if !informed {
                    self.tell_fleet().await?;
                }
            }
            Err(error) => warn!("a heartbeat is passed over: {error}"),
        }
        Ok(())
    }

    /// What is done every second: nodes are written, silent runs are looked at.
    async fn note(&mut self) -> Result<(), AggregateError> {
        self.write_nodes()?;
        self.reconcile().await
    }

    /// Acts on what a command wrote to the ledger.
    async fn look(&mut self) -> Result<(), AggregateError> {
        let version = self.ledger.data_version()?;
        if std::mem::replace(&mut self.version, version) == version {
            return Ok(());
        }
        self.tell_fleet().await?;
        self.reconcile().await
    }

    fn write_nodes(&mut self) -> Result<(), AggregateError> {
        if !self.heard.is_empty() {
            self.ledger.heard(self.heard.values(), now())?;
            self.heard.clear();
        }
        Ok(())
    }

    async fn tell_fleet(&self) -> Result<(), AggregateError> {
        let state = self.ledger.fleet_state(now())?;
        Ok(self.broker.broadcast(wire::encode(&state)?).await?)
    }

    /// Queues again what runs lack that nobody works on; see [`crate::reconcile`].
    async fn reconcile(&mut self) -> Result<(), AggregateError> {
        let after = self.settings.aggregator.reconcile_after.duration();
        let open = self.ledger.open_runs()?;
        for run in open.iter().filter(|(_, requeue)| **requeue).map(|(run, _)| run) {
            self.requeue(run, None)?;
        }
        let posting = self.ledger.posting()?;
        let silent = self.silence.of(open.keys(), &posting, after, Instant::now());
        if silent.is_empty()
            || !self.is_empty(topology::RESULTS_SEED).await?
            || !self.is_empty(topology::RESULTS_SCRIPT).await?
        {
            return Ok(());
        }
        for name in silent {
            let Some(run) = self.ledger.run(&name)? else { continue };
            let mut empty = true;
            if let Some(manifest) = &run.manifest {
                let queues = if manifest.scripts.is_some() {
                    topology::script_queues(manifest.urgency).to_vec()
                } else {
                    topology::seed_queues(manifest.urgency).to_vec()
                };
                for queue in queues {
                    empty &= self.is_empty(&queue).await?;
                }
            }
            if empty {
                self.silence.broken([&name], Instant::now());
                let why = format!("nothing was queued, held or heard of for {} s", after.as_secs());
                self.requeue(&name, Some(&why))?;
                self.tell_fleet().await?;
            }
        }
        Ok(())
    }

    /// Declares again what is missing.
    async fn check_queues(&self) -> Result<(), AggregateError> {
        for (queue, _) in topology::durable_queues() {
            self.is_empty(&queue).await?;
        }
        Ok(())
    }

    /// Whether nothing waits in a queue; one that is missing is declared again.
    async fn is_empty(&self, queue: &str) -> Result<bool, AggregateError> {
        let depth = self.broker.depth(queue).await?;
        if depth.is_none() {
            self.declare_again(queue).await?;
        }
        Ok(depth.unwrap_or(0) == 0)
    }

    /// Plans and queues what an open run lacks. `why` is `None` when somebody asked for it.
    fn requeue(&mut self, name: &str, why: Option<&str>) -> Result<(), AggregateError> {
        let Some(run) = self.ledger.run(name)? else { return Ok(()) };
        let grows = run.manifest.as_ref().is_some_and(RunOpened::grows);
        match plan_rest(&self.ledger, &self.settings, &run) {
            // A study that nobody goes on with at present lacks nothing.
            Ok(jobs) if jobs.is_empty() && grows && why.is_some() => {}
            Ok(jobs) => {
                let note =
                    why.map(|why| format!("{} jobs were queued again, since {why}", jobs.len()));
                if let Some(note) = &note {
                    warn!(run = name, "{note}");
                } else {
                    info!(run = name, jobs = jobs.len(), "what the run lacks is queued again");
                }
                self.ledger.requeue(name, jobs, note, now())?;
            }
            Err(RestError::Ledger(error)) => return Err(error.into()),
            Err(hopeless) => {
                let why = format!("{hopeless}: `producer forget {name}`, then enqueue it again");
                warn!(run = name, "given up: {why}");
                self.ledger.give_up(name, &why, now())?;
            }
        }
        Ok(())
    }

    /// Writes the outputs of complete runs that have none yet. A folder that can't be written is
    /// said and tried again with the next complete run, or at the next start.
    fn write_outputs(&self) {
        let default = self.script_folder();
        let write = || -> Result<(), ExportError> {
            if let Some(folder) = &self.output_dir {
                for name in self.ledger.without_outputs()? {
                    export::write_outputs(&self.ledger, &name, folder)?;
                    self.ledger.outputs_written(&name, now())?;
                    info!(run = name, folder = %folder.display(), "outputs written");
                }
            }
            for name in self.ledger.scripts_without_manifest()? {
                run_manifest::write(&self.ledger, &name, &default)?;
                self.ledger.outputs_written(&name, now())?;
            }
            Ok(())
        };
        if let Err(trouble) = write() {
            error!("the outputs can't be written: {trouble}");
        }
    }
}
