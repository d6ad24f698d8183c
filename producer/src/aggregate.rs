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
    broker::{Broker, BrokerError, Delivery},
    messages::{Bell, FleetState, Heartbeat},
    topology,
    wire::{self, Message, Wire as _},
};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    export::{self, ExportError},
    ledger::{Applied, Ledger, LedgerError, Record, RunState},
};

/// Results handed over unacknowledged: a few batches' worth.
const PREFETCH: u16 = 1024;
/// Results in one transaction.
const BATCH: usize = 512;
/// Jobs published from the outbox at a time.
const POST: u32 = 500;
/// How often every worker hears the fleet's state.
const TELL: Duration = Duration::from_secs(5);
/// How often the ledger hears what the workers hold, for those who watch a run.
const NOTE: Duration = Duration::from_secs(1);
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
    ledger: Ledger,
    output_dir: Option<PathBuf>,
    heard: BTreeMap<(String, String), Heartbeat>,
}

/// Unix seconds.
#[must_use]
pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

impl Aggregator {
    /// An aggregator that writes the outputs of complete runs to `output_dir`, if there is one.
    #[must_use]
    pub const fn new(broker: Arc<dyn Broker>, ledger: Ledger, output_dir: Option<PathBuf>) -> Self {
        Self { broker, ledger, output_dir, heard: BTreeMap::new() }
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
        let mut results = self.broker.subscribe(topology::RESULTS_SEED, PREFETCH).await?;
        let mut events = self.broker.listen().await?;
        self.write_outputs();
        let mut tell = tokio::time::interval(TELL);
        let mut note = tokio::time::interval(NOTE);
        while !self.has_ended(until)? {
            let posting = self.next_post()?;
            let step = tokio::select! {
                () = stop.cancelled() => break,
                batch = results.next(BATCH) => self.take_batch(batch?).await,
                event = events.next() => self.hear(&event?).await,
                () = sleep_until(posting) => self.post().await,
                _ = tell.tick() => self.tell_fleet().await,
                _ = note.tick() => self.write_nodes(),
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
        self.write_nodes()
    }

    fn has_ended(&self, until: Option<&str>) -> Result<bool, LedgerError> {
        let Some(name) = until else { return Ok(false) };
        Ok(self.ledger.run(name)?.is_some_and(|run| run.state.is_ended()))
    }

    /// Applies a batch and acknowledges it; then publishes what it left in the outbox.
    async fn take_batch(&mut self, batch: Vec<Delivery>) -> Result<(), AggregateError> {
        let mut records = Vec::with_capacity(batch.len());
        let mut tags = Vec::with_capacity(batch.len());
        for delivery in batch {
            match Record::decode(&delivery.message) {
                Ok(record) => {
                    records.push((record, delivery.message));
                    tags.push(delivery.tag);
                }
                Err(error) => {
                    self.reject(delivery.message, &error.to_string()).await?;
                    tags.push(delivery.tag);
                }
            }
        }
        let applied = self.apply(records).await?;
        self.broker.ack(tags).await?;
        for (run, state) in &applied.ended {
            info!(run, state = state.name(), "run ended");
        }
        if applied.ended.iter().any(|(_, state)| *state == RunState::Complete) {
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
                Ok(one) => {
                    applied.ended.extend(one.ended);
                    applied.epochs_changed |= one.epochs_changed;
                }
                Err(refused) if refused.is_the_records() => {
                    self.reject(message, &refused.to_string()).await?;
                }
                Err(other) => return Err(other.into()),
            }
        }
        Ok(applied)
    }

    /// Applies records; while the ledger itself is in trouble (a full disk) it waits and tries
    /// again, since nothing was acknowledged and nothing is lost.
    async fn apply_patiently(&mut self, records: &[Record]) -> Result<Applied, LedgerError> {
        loop {
            let ledger = &mut self.ledger;
            match tokio::task::block_in_place(|| ledger.apply(records, now())) {
                Err(LedgerError::Sqlite(trouble)) => {
                    error!("the ledger can't be written, trying again: {trouble}");
                    tokio::time::sleep(LEDGER_PAUSE).await;
                }
                other => return other,
            }
        }
    }

    /// Sets a result aside that can't be applied, where people can look at it.
    async fn reject(&self, mut message: Message, why: &str) -> Result<(), AggregateError> {
        warn!(kind = message.kind, "a result is set aside in {}: {why}", topology::DEAD_RESULTS);
        let mut why = why.to_owned();
        wire::truncate(&mut why, wire::MAX_HEADER);
        message.headers.insert("last_error".to_owned(), why);
        Ok(self.broker.publish(topology::DEAD_RESULTS, message).await?)
    }

    fn next_post(&self) -> Result<Instant, LedgerError> {
        let wait = self.ledger.next_due()?.map_or(NOTE.as_secs_f64(), |due| due - now());
        Ok(Instant::now() + Duration::from_secs_f64(wait.clamp(0.0, NOTE.as_secs_f64())))
    }

    /// Publishes the jobs that are due, then deletes their rows, then rings.
    async fn post(&mut self) -> Result<(), AggregateError> {
        let due = self.ledger.due(now(), POST)?;
        if due.is_empty() {
            return Ok(());
        }
        let messages: Vec<(String, Message)> = due
            .iter()
            .map(|row| Ok((row.queue.clone(), wire::encode(&row.job)?)))
            .collect::<Result<_, wire::WireError>>()?;
        self.broker.publish_all(messages).await?;
        self.ledger.posted(&due)?;
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

    fn write_nodes(&mut self) -> Result<(), AggregateError> {
        if !self.heard.is_empty() {
            self.ledger.heard(self.heard.values(), now())?;
            self.heard.clear();
        }
        Ok(())
    }

    async fn tell_fleet(&self) -> Result<(), AggregateError> {
        let state =
            FleetState { min_epochs: self.ledger.min_epochs(now())?, ..FleetState::default() };
        Ok(self.broker.broadcast(wire::encode(&state)?).await?)
    }

    /// Writes the outputs of complete runs that have none yet. A folder that can't be written is
    /// said and tried again with the next complete run, or at the next start.
    fn write_outputs(&self) {
        let Some(folder) = &self.output_dir else { return };
        let write = || -> Result<(), ExportError> {
            for name in self.ledger.without_outputs()? {
                export::write_outputs(&self.ledger, &name, folder)?;
                self.ledger.outputs_written(&name, now())?;
                info!(run = name, folder = %folder.display(), "outputs written");
            }
            Ok(())
        };
        if let Err(trouble) = write() {
            error!("the outputs can't be written: {trouble}");
        }
    }
}
