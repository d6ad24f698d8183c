//! Declaring and checking the exchanges and queues, over a connection of its own.

use std::{pin::Pin, sync::Arc, time::Duration};

use lapin::{
    Channel, Connection, ErrorKind, ExchangeKind,
    options::{
        ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions,
    },
    protocol::AMQPErrorKind,
    types::{AMQPValue, FieldTable},
};
use tokio::time::{Instant, sleep, timeout};

use super::{
    super::{BrokerError, Patience},
    address::Address,
    dial::dial,
    properties::short,
    session::Session,
    supervisor::waits,
    trouble::Trouble,
};
use crate::settings::BrokerSettings;
use crate::topology::{
    DEAD_EXCHANGE, DEAD_JOBS, DEAD_JOBS_MAX_LENGTH, DEAD_RESULTS, DELIVERY_LIMIT, EVENTS_EXCHANGE,
    JOBS_EXCHANGE, LEDGER_EXCHANGE, LEDGER_EXCHANGE_PREFIX, RESULTS_DEAD, RESULTS_EXCHANGE,
    durable_queues,
};

/// The delivery limit of queues that have nowhere to pass a message on to. RabbitMQ 4 drops after
/// 20 deliveries unless told otherwise, and 3.10 takes the "unlimited" of 4.x for zero.
const UNLIMITED: i64 = 1_000_000;
/// How long one declaration may take.
const ANSWER: Duration = Duration::from_secs(30);

/// What was found and done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopologyReport {
    /// Exchanges and queues that were made now.
    pub created: Vec<String>,
    /// Those that were there.
    pub present: Vec<String>,
    /// Those that are missing (after a check).
    pub missing: Vec<String>,
    /// Those that are there with other arguments, and what the broker says about it. A queue's
    /// arguments can't be changed: delete it when it is empty, and apply again.
    pub conflicting: Vec<(String, String)>,
}

impl TopologyReport {
    /// Whether everything is there as it should be.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.missing.is_empty() && self.conflicting.is_empty()
    }
}

/// A connection that declares and checks the topology.
#[derive(Debug)]
pub struct Topology {
    connection: Arc<Connection>,
    address: Arc<Address>,
}

/// Declares every exchange and queue of a broker that is not there. May be repeated at
/// any time.
///
/// # Errors
/// As [`super::RabbitBroker::connect`], and [`BrokerError::Refused`] without the permission to
/// configure.
// Boxed for the same reason as `connect`.
#[must_use = "a future does nothing until it is awaited"]
pub fn apply_topology(settings: &BrokerSettings, patience: Patience) -> Answer<'_> {
    Box::pin(async move {
        let topology = Topology::connect(settings, patience).await?;
        let report = topology.apply().await;
        topology.close().await;
        report
    })
}

/// Checks that every exchange and queue of a broker is there, and changes nothing.
///
/// # Errors
/// As [`apply_topology`].
#[must_use = "a future does nothing until it is awaited"]
pub fn check_topology(settings: &BrokerSettings, patience: Patience) -> Answer<'_> {
    Box::pin(async move {
        let topology = Topology::connect(settings, patience).await?;
        let report = topology.check().await;
        topology.close().await;
        report
    })
}

/// What the topology's functions will have found and done.
type Answer<'a> = Pin<Box<dyn Future<Output = Result<TopologyReport, BrokerError>> + Send + 'a>>;

pub(super) enum Part {
    Exchange(String, ExchangeKind),
    Queue(String, &'static str),
    /// The exchange that says by its alternate exchange, named here, whose vhost it is.
    Ledger(String),
}

/// How one declaration ended.
pub(super) enum Found {
    Fine,
    Missing,
    Conflict(String),
}

impl Topology {
    /// On the connection of a session.
    pub(super) fn on(session: &Session) -> Self {
        let connection = Arc::clone(&session.taking);
        Self { connection, address: Arc::clone(&session.address) }
    }

    /// Connects to the broker of the settings.
    ///
    /// # Errors
    /// As [`super::RabbitBroker::connect`].
    pub async fn connect(
        settings: &BrokerSettings,
        patience: Patience,
    ) -> Result<Self, BrokerError> {
        let address = Arc::new(Address::of(settings)?);
        let until = match patience {
            Patience::Forever => None,
            Patience::For(most) => Some(Instant::now() + most),
        };
        let mut waits = waits();
        loop {
            match dial(&address, "rigqueue topology", until).await {
                Ok(connection) => return Ok(Self { connection: Arc::new(connection), address }),
                Err(error @ BrokerError::Unreachable { .. }) => {
                    let wait = waits.next_wait();
                    if until.is_some_and(|until| Instant::now() + wait >= until) {
                        return Err(error);
                    }
                    sleep(wait).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Declares every exchange and queue that is not there. May be repeated at any time.
    ///
    /// # Errors
    /// [`BrokerError::Refused`] without the permission to configure; [`BrokerError::Unreachable`]
    /// when the connection is lost.
    pub async fn apply(&self) -> Result<TopologyReport, BrokerError> {
        let mut report = TopologyReport::default();
        for part in parts() {
            let name = part.name().to_owned();
            let there = matches!(self.declare(&part, true).await?, Found::Fine);
            match self.declare(&part, false).await? {
                Found::Fine if there => report.present.push(name),
                Found::Fine => report.created.push(name),
                Found::Conflict(why) => report.conflicting.push((name, why)),
                Found::Missing => report.missing.push(name),
            }
        }
        Ok(report)
    }

    /// Checks that every exchange and queue is there, and changes nothing.
    ///
    /// # Errors
    /// As [`Topology::apply`].
    pub async fn check(&self) -> Result<TopologyReport, BrokerError> {
        let mut report = TopologyReport::default();
        for part in parts() {
            let name = part.name().to_owned();
            match self.declare(&part, true).await? {
                Found::Fine => report.present.push(name),
                Found::Missing => report.missing.push(name),
                Found::Conflict(why) => report.conflicting.push((name, why)),
            }
        }
        Ok(report)
    }

    /// Hangs up. Errors don't matter any more.
    pub async fn close(self) {
        let closing = self.connection.close(200, "bye".into());
        timeout(Duration::from_secs(2), closing).await.ok();
    }

    /// Declares one part, or (`passive`) asks whether it is there. A channel each: the broker
    /// closes it with the answer "no".
    pub(super) async fn declare(&self, part: &Part, passive: bool) -> Result<Found, BrokerError> {
        let declare = async |channel: &Channel| part.declare(channel, passive).await;
        self.asked(part.name(), declare).await
    }

    /// Deletes an exchange, unless it is gone already.
    pub(super) async fn delete_exchange(&self, name: &str) -> Result<(), BrokerError> {
        let exchange = short(name)?;
        let delete = async |channel: &Channel| {
            channel.exchange_delete(exchange.clone(), ExchangeDeleteOptions::default()).await
        };
        match self.asked(name, delete).await? {
            Found::Fine | Found::Missing => Ok(()),
            Found::Conflict(why) => Err(BrokerError::Internal(why)),
        }
    }

    pub(super) fn missing(&self, name: &str) -> BrokerError {
        self.address.no_queue(name)
    }

    pub(super) fn owned(&self, owner: Option<String>, uuid: &str) -> BrokerError {
        BrokerError::Owned { url: self.address.shown.clone(), owner, ledger: uuid.to_owned() }
    }

    /// Tries something on a channel of its own: `Some` says whether we may, or why not, `None` that
    /// it could not be tried.
    pub(super) async fn may(
        &self,
        name: &str,
        attempt: impl AsyncFnOnce(&Channel) -> lapin::Result<bool>,
    ) -> Result<Option<Result<(), String>>, BrokerError> {
        let mut tried = false;
        let attempt = async |channel: &Channel| {
            tried = attempt(channel).await?;
            Ok(())
        };
        match self.asked(name, attempt).await {
            Ok(Found::Fine) => Ok(tried.then_some(Ok(()))),
            Ok(Found::Missing) => Ok(None),
            Ok(Found::Conflict(why)) | Err(BrokerError::Refused { why, .. }) => Ok(Some(Err(why))),
            Err(error) => Err(error),
        }
    }

    /// Does one thing on a channel of its own.
    async fn asked(
        &self,
        name: &str,
        ask: impl AsyncFnOnce(&Channel) -> lapin::Result<()>,
    ) -> Result<Found, BrokerError> {
        let answered = timeout(ANSWER, async {
            let channel = self.connection.create_channel().await?;
            ask(&channel).await?;
            channel.close(200, "bye".into()).await
        });
        let error = match answered.await {
            Ok(Ok(())) => return Ok(Found::Fine),
            Ok(Err(error)) => error,
            Err(_) => {
                let why = format!("no answer about '{name}' within {ANSWER:?}");
                return Err(self.address.unreachable(why));
            }
        };
        if let ErrorKind::ProtocolError(said) = error.kind()
            && matches!(said.kind(), AMQPErrorKind::Soft(_))
            && said.get_id() == PRECONDITION_FAILED
        {
            return Ok(Found::Conflict(said.get_message().to_string()));
        }
        match Trouble::of(&error, &self.address, name) {
            Trouble::Final(BrokerError::NoQueue { .. }) => Ok(Found::Missing),
            Trouble::Final(error) => Err(error),
            Trouble::Lost(why) => Err(self.address.unreachable(why)),
        }
    }
}

/// `PRECONDITION_FAILED`: it is there with other arguments.
const PRECONDITION_FAILED: u16 = 406;

impl Part {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Exchange(name, _) | Self::Queue(name, _) => name,
            Self::Ledger(_) => LEDGER_EXCHANGE,
        }
    }

    async fn declare(&self, channel: &Channel, passive: bool) -> lapin::Result<()> {
        // Every name here is ours and short; a ledger's was checked.
        match self {
            Self::Exchange(name, kind) => {
                let (name, kind) = (name.as_str().into(), kind.clone());
                channel.exchange_declare(name, kind, durable(passive), FieldTable::default()).await
            }
            Self::Ledger(mark) => {
                let mut arguments = FieldTable::default();
                let named = AMQPValue::LongString(mark.as_str().into());
                arguments.insert("alternate-exchange".into(), named);
                let kind = ExchangeKind::Direct;
                channel
                    .exchange_declare(LEDGER_EXCHANGE.into(), kind, durable(passive), arguments)
                    .await
            }
            Self::Queue(name, exchange) => {
                let options = QueueDeclareOptions { passive, ..QueueDeclareOptions::durable() };
                let queue: lapin::types::ShortString = name.as_str().into();
                let arguments = if passive { FieldTable::default() } else { arguments(name) };
                channel.queue_declare(queue.clone(), options, arguments).await?;
                if passive {
                    return Ok(());
                }
                let (key, binding) = (queue.clone(), QueueBindOptions::default());
                channel
                    .queue_bind(queue, (*exchange).into(), key, binding, FieldTable::default())
                    .await
            }
        }
    }
}

fn durable(passive: bool) -> ExchangeDeclareOptions {
    ExchangeDeclareOptions { passive, durable: true, ..Default::default() }
}

/// The exchange that bears a ledger's name.
pub(super) fn ledger_mark(uuid: &str) -> Result<Part, BrokerError> {
    let name = short(&format!("{LEDGER_EXCHANGE_PREFIX}{uuid}"))?;
    Ok(Part::Exchange(name.to_string(), ExchangeKind::Direct))
}

/// Everything there is, each after what it needs.
fn parts() -> Vec<Part> {
    let direct = [JOBS_EXCHANGE, RESULTS_EXCHANGE, DEAD_EXCHANGE]
        .map(|name| Part::Exchange(name.to_owned(), ExchangeKind::Direct));
    let fanout = Part::Exchange(EVENTS_EXCHANGE.to_owned(), ExchangeKind::Fanout);
    let queues = durable_queues().into_iter().map(|(name, exchange)| Part::Queue(name, exchange));
    direct.into_iter().chain([fanout]).chain(queues).collect()
}

/// A queue's arguments: quorum everywhere; what the broker gives up on goes to `results.dead`, at
/// least once, for which RabbitMQ wants the overflow rule `reject-publish` as well.
fn arguments(queue: &str) -> FieldTable {
    let text = |value: &str| AMQPValue::LongString(value.into());
    let mut table = FieldTable::default();
    table.insert("x-queue-type".into(), text("quorum"));
    match queue {
        RESULTS_DEAD | DEAD_RESULTS => {
            table.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(UNLIMITED));
        }
        DEAD_JOBS => {
            table.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(UNLIMITED));
            table.insert("x-max-length".into(), AMQPValue::LongLongInt(DEAD_JOBS_MAX_LENGTH));
            table.insert("x-overflow".into(), text("drop-head"));
        }
        _ => {
            table.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(DELIVERY_LIMIT));
            table.insert("x-dead-letter-exchange".into(), text(DEAD_EXCHANGE));
            table.insert("x-dead-letter-routing-key".into(), text(RESULTS_DEAD));
            table.insert("x-dead-letter-strategy".into(), text("at-least-once"));
            table.insert("x-overflow".into(), text("reject-publish"));
        }
    }
    table
}
