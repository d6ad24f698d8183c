//! One session: two connections, the channels on them and the deliveries taken through them.
//!
//! A resource alarm (memory, disk) makes the broker stop reading from connections that publish.
//! Takes and acks have a connection of their own, so that they can drain what raised the alarm.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use lapin::{Channel, Connection};
use tokio::time::{Instant, timeout};

use super::{
    super::{BrokerError, Identity},
    address::Address,
    channels::{Channels, Lease, NoChannel, Purpose},
    dial::dial,
    trouble::Trouble,
};

/// Deliveries that one session can hold at a time, a channel each: below RabbitMQ's default limit
/// of 2,047 channels, with room for subscriptions.
const MOST_TAKEN: usize = 1_900;
/// Publishes that wait for their confirm side by side.
const MOST_PUBLISHING: usize = 64;
/// How long a graceful close may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A delivery that was taken and not yet acknowledged.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) lease: Lease,
    /// AMQP's tag, on that channel.
    pub(super) tag: u64,
}

/// A live session.
#[derive(Debug)]
pub(super) struct Session {
    /// Which session of its broker value this is, from 1.
    pub(super) generation: u64,
    pub(super) address: Arc<Address>,
    pub(super) taking: Arc<Connection>,
    pub(super) publishing: Arc<Connection>,
    plain: Channels,
    confirms: Channels,
    events: Channels,
    held: Mutex<HashMap<u64, Held>>,
    taken: AtomicU64,
}

impl Session {
    /// Opens both connections, `until` then at the latest.
    pub(super) async fn open(
        address: &Arc<Address>,
        identity: &Identity,
        generation: u64,
        until: Option<Instant>,
    ) -> Result<Self, BrokerError> {
        let name = connection_name(identity);
        let publisher = format!("{name} publishing");
        // One after the other: the first tells whether the broker is there and lets us in.
        let taking = Arc::new(dial(address, &name, until).await?);
        let publishing = Arc::new(dial(address, &publisher, until).await?);
        Ok(Self {
            generation,
            address: Arc::clone(address),
            plain: Channels::new(&taking, Purpose::Plain, MOST_TAKEN, false),
            confirms: Channels::new(&publishing, Purpose::Confirms, MOST_PUBLISHING, true),
            events: Channels::new(&publishing, Purpose::Events, MOST_PUBLISHING, true),
            taking,
            publishing,
            held: Mutex::default(),
            taken: AtomicU64::new(0),
        })
    }

    /// Whether both connections stand, as far as is known.
    pub(super) fn alive(&self) -> bool {
        self.taking.status().connected() && self.publishing.status().connected()
    }

    /// Leases a channel for taking or asking about `queue`.
    pub(super) async fn plain(&self, queue: &str) -> Result<Lease, Trouble> {
        self.leased(self.plain.lease().await, queue)
    }

    /// Leases a channel for publishing to `queue`.
    pub(super) async fn confirms(&self, queue: &str) -> Result<Lease, Trouble> {
        self.leased(self.confirms.lease().await, queue)
    }

    /// Leases a channel for events.
    pub(super) async fn events(&self, exchange: &str) -> Result<Lease, Trouble> {
        self.leased(self.events.lease().await, exchange)
    }

    /// Opens a channel for a consumer of `queue`.
    pub(super) async fn consumer_channel(&self, queue: &str) -> Result<Channel, Trouble> {
        self.taking.create_channel().await.map_err(|error| self.trouble(&error, queue))
    }

    fn leased(&self, lease: Result<Lease, NoChannel>, queue: &str) -> Result<Lease, Trouble> {
        lease.map_err(|none| match none {
            NoChannel::Broker(error) => self.trouble(&error, queue),
            NoChannel::Exhausted => Trouble::Final(BrokerError::Internal(format!(
                "this process holds {MOST_TAKEN} deliveries that it has not acknowledged; \
                 acknowledge some before taking more from '{queue}'"
            ))),
        })
    }

    /// Reads lapin's error about a queue.
    pub(super) fn trouble(&self, error: &lapin::Error, queue: &str) -> Trouble {
        Trouble::of(error, &self.address, queue)
    }

    /// Keeps a taken delivery until it is acknowledged or the session ends; its number.
    pub(super) fn hold(&self, held: Held) -> u64 {
        let number = self.taken.fetch_add(1, Ordering::Relaxed) + 1;
        self.lock_held().insert(number, held);
        number
    }

    /// Gives a held delivery out for its acknowledgement, once.
    pub(super) fn release(&self, number: u64) -> Option<Held> {
        self.lock_held().remove(&number)
    }

    /// Ends the session in good order. Errors are worth no more than a line: what was not closed
    /// well is closed by the broker.
    pub(super) async fn close(&self) {
        let held = std::mem::take(&mut *self.lock_held());
        drop(held);
        let closing = async {
            for connection in [&self.publishing, &self.taking] {
                if let Err(error) = connection.close(200, "bye".into()).await {
                    tracing::debug!(%error, "a connection did not close in good order");
                }
            }
        };
        if timeout(CLOSE_TIMEOUT, closing).await.is_err() {
            tracing::debug!("the connections did not close within {CLOSE_TIMEOUT:?}");
        }
    }

    fn lock_held(&self) -> MutexGuard<'_, HashMap<u64, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the management UI shows of a connection.
pub(super) fn connection_name(identity: &Identity) -> String {
    format!("rigqueue {} {}/{}", identity.role, identity.node, identity.instance)
}
