//! The trait and what passes through it.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::wire::Message;

/// What a session with a broker can do. Cheap to share behind an [`Arc`].
///
/// Every call may be dropped (cancelled) at any await: at worst a publish happened whose
/// confirmation nobody saw, or a delivery was taken that comes back when the session ends.
#[async_trait]
pub trait Broker: Send + Sync + fmt::Debug {
    /// Publishes one message to a queue and waits until the broker has it on disk.
    ///
    /// # Errors
    /// [`BrokerError::NoQueue`] when nothing is bound under that name; otherwise see
    /// [`Patience`].
    async fn publish(&self, queue: &str, message: Message) -> Result<(), BrokerError> {
        self.publish_all(vec![(queue.to_owned(), message)]).await
    }

    /// Publishes many messages, pipelined, and waits until all are on disk. After an error some
    /// of them may have been published.
    ///
    /// # Errors
    /// As [`Broker::publish`].
    async fn publish_all(&self, messages: Vec<(String, Message)>) -> Result<(), BrokerError>;

    /// Takes the oldest waiting message of a queue; `None` when none waits. It belongs to this
    /// session until it is acknowledged or the session ends. Calls from several tasks run side by
    /// side, and one delivery's fate never touches another's.
    ///
    /// # Errors
    /// [`BrokerError::NoQueue`] when the queue does not exist (embedded queues always do).
    async fn take(&self, queue: &str) -> Result<Option<Delivery>, BrokerError>;

    /// Has the messages of a queue handed over as they come, at most `prefetch` of them
    /// unacknowledged at a time.
    ///
    /// # Errors
    /// As [`Broker::take`].
    async fn subscribe(
        &self,
        queue: &str,
        prefetch: u16,
    ) -> Result<Box<dyn Subscription>, BrokerError>;

    /// Acknowledges deliveries: they are gone for good. Tags of an earlier session are passed
    /// over, since their deliveries have already come back.
    ///
    /// # Errors
    /// As [`Broker::publish`].
    async fn ack(&self, tags: Vec<Tag>) -> Result<(), BrokerError>;

    /// Sends an event to every listener there is now, without waiting for any: bells, heartbeats,
    /// fleet state. An event may be lost; nothing may rest on it.
    ///
    /// # Errors
    /// As [`Broker::publish`].
    async fn broadcast(&self, event: Message) -> Result<(), BrokerError>;

    /// Hears every event broadcast from now on (one's own included).
    ///
    /// # Errors
    /// As [`Broker::publish`].
    async fn listen(&self) -> Result<Box<dyn Listener>, BrokerError>;

    /// How many messages wait in a queue (those taken not counted); `None` when there is no such
    /// queue.
    ///
    /// # Errors
    /// As [`Broker::publish`].
    async fn depth(&self, queue: &str) -> Result<Option<u64>, BrokerError>;

    /// Ends the session in good order: deliveries it still holds come back to their queues.
    async fn close(&self);
}

/// The messages of one queue, as they come.
#[async_trait]
pub trait Subscription: Send {
    /// Waits for at least one delivery and returns those that are there, at most `most`.
    /// Safe to drop: what was not returned is returned later.
    ///
    /// # Errors
    /// As [`Broker::publish`]; after a lost session a patient subscription goes on by itself.
    async fn next(&mut self, most: usize) -> Result<Vec<Delivery>, BrokerError>;
}

/// The events, as they come.
#[async_trait]
pub trait Listener: Send {
    /// Waits for the next event. Safe to drop.
    ///
    /// # Errors
    /// As [`Broker::publish`]; after a lost session a patient listener goes on by itself.
    async fn next(&mut self) -> Result<Message, BrokerError>;
}

/// A message taken from a queue.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The queue it came from.
    pub queue: String,
    /// The message.
    pub message: Message,
    /// Whether it was delivered before and came back.
    pub redelivered: bool,
    /// What acknowledges it.
    pub tag: Tag,
}

/// Names one delivery of one session. Opaque outside this module.
#[derive(Debug, Clone)]
pub struct Tag {
    /// Which session of this process took it, from 1.
    pub(crate) session: u64,
    /// Which one it is, in the implementation's terms.
    pub(crate) delivery: u64,
    /// The channel that took it (RabbitMQ).
    pub(crate) channel: Option<Arc<dyn std::any::Any + Send + Sync>>,
}

impl Tag {
    /// Whether its session came before the other's, so that there is nothing left to acknowledge.
    #[must_use]
    pub const fn is_older_than(&self, other: &Self) -> bool {
        self.session < other.session
    }
}

/// What to do while a broker can't be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// A service: reconnect for ever, and let every call wait until the broker is back.
    Forever,
    /// A command: try for this long, then fail with [`BrokerError::Unreachable`].
    For(Duration),
}

impl Patience {
    /// How long commands try.
    pub const COMMAND: Self = Self::For(Duration::from_secs(15));
}

/// What a broker could not do. URLs are shown without their password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// The URL is not one.
    #[error(
        "'{url}' is no broker URL: {why} (embedded:, embedded:/path, amqp://user:password@host/vhost)"
    )]
    Url {
        /// The URL, without its password.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// It is not there, or went away.
    #[error("the broker at {url} can't be reached: {why}")]
    Unreachable {
        /// The URL, without its password.
        url: String,
        /// What happened.
        why: String,
    },
    /// A certificate or key of the settings can't be used.
    #[error("[broker] {setting} = \"{path}\" can't be used: {why}")]
    Certificate {
        /// `ca`, `certificate` or `key`.
        setting: &'static str,
        /// Its value.
        path: String,
        /// What is wrong and what to change.
        why: String,
    },
    /// It is there and says no: wrong password, no such vhost, no permission.
    #[error("the broker at {url} refuses: {why}")]
    Refused {
        /// The URL, without its password.
        url: String,
        /// What it refuses and what to change.
        why: String,
    },
    /// A queue or exchange is missing.
    #[error("the broker at {url} has no queue '{queue}': run `producer topology apply` once")]
    NoQueue {
        /// The URL, without its password.
        url: String,
        /// The queue.
        queue: String,
    },
    /// It belongs to another ledger.
    #[error(
        "the broker at {url} belongs to {}, not to this ledger ({ledger}): use that ledger's \
         RIGQUEUE_HOME or another broker; if that ledger is lost, `producer topology apply \
         --adopt` gives the broker to this one",
        owner.as_deref().map_or("another ledger".to_owned(), |uuid| format!("ledger {uuid}"))
    )]
    Owned {
        /// The URL, without its password.
        url: String,
        /// The uuid of the ledger that it belongs to, where the broker tells.
        owner: Option<String>,
        /// The uuid of the ledger that it was asked for.
        ledger: String,
    },
    /// The embedded broker's folder can't be used.
    #[error("the embedded broker in {folder} can't be used: {why}")]
    Folder {
        /// The folder.
        folder: String,
        /// What is wrong.
        why: String,
    },
    /// A fault of ours or of the broker.
    #[error("the broker failed: {0}")]
    Internal(String),
}

impl BrokerError {
    /// The exit code for a command that ends with it.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Url { .. } | Self::Certificate { .. } => crate::exit_codes::USAGE,
            Self::Internal(_) => crate::exit_codes::INTERNAL,
            _ => crate::exit_codes::UNREACHABLE,
        }
    }
}
