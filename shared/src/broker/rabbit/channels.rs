//! Pools of channels over one connection.

use std::sync::Arc;

use deadpool::managed::{
    Manager, Metrics, Object, Pool, PoolError, QueueMode, RecycleError, RecycleResult, Timeouts,
};
use lapin::{
    Channel, Connection, ExchangeKind,
    options::{ConfirmSelectOptions, ExchangeDeclareOptions},
    types::FieldTable,
};

use crate::topology::EVENTS_EXCHANGE;

/// Channels beyond this many that lie idle are closed when they come back.
const IDLE: usize = 32;

/// What a pool's channels are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Taking and asking.
    Plain,
    /// Publishing with confirms.
    Confirms,
    /// Events, which nobody confirms. A publish to an exchange that is not there would only close
    /// the channel later, so its existence is checked when the channel is opened.
    Events,
}

/// Opens channels.
#[derive(Debug)]
pub(super) struct Opener {
    connection: Arc<Connection>,
    purpose: Purpose,
}

impl Manager for Opener {
    type Type = Channel;
    type Error = lapin::Error;

    async fn create(&self) -> lapin::Result<Channel> {
        let channel = self.connection.create_channel().await?;
        match self.purpose {
            Purpose::Plain => {}
            Purpose::Confirms => channel.confirm_select(ConfirmSelectOptions::default()).await?,
            Purpose::Events => {
                let options = ExchangeDeclareOptions { passive: true, ..Default::default() };
                let kind = ExchangeKind::Fanout;
                channel
                    .exchange_declare(EVENTS_EXCHANGE.into(), kind, options, FieldTable::default())
                    .await?;
            }
        }
        Ok(channel)
    }

    async fn recycle(&self, channel: &mut Channel, _: &Metrics) -> RecycleResult<lapin::Error> {
        if channel.status().connected() { Ok(()) } else { Err(RecycleError::message("closed")) }
    }
}

/// A pool of channels.
#[derive(Debug)]
pub(super) struct Channels {
    pool: Pool<Opener>,
    /// Whether a lease waits for a free channel when `most` are leased, or fails.
    waits: bool,
}

/// Why no channel could be leased.
#[derive(Debug)]
pub(super) enum NoChannel {
    /// The broker's doing.
    Broker(lapin::Error),
    /// As many as there may be are leased.
    Exhausted,
}

impl Channels {
    /// A pool of at most `most` channels.
    pub(super) fn new(
        connection: &Arc<Connection>,
        purpose: Purpose,
        most: usize,
        waits: bool,
    ) -> Self {
        let opener = Opener { connection: Arc::clone(connection), purpose };
        let pool = Pool::builder(opener).max_size(most).queue_mode(QueueMode::Lifo).build();
        // Building fails only when a timeout is set without a runtime, and none is.
        let pool = pool.unwrap_or_else(|error| unreachable!("{error}"));
        Self { pool, waits }
    }

    /// Leases a channel that works, as far as is known.
    pub(super) async fn lease(&self) -> Result<Lease, NoChannel> {
        let wait = if self.waits { None } else { Some(std::time::Duration::ZERO) };
        let timeouts = Timeouts { wait, create: None, recycle: None };
        match self.pool.timeout_get(&timeouts).await {
            Ok(object) => Ok(Lease { object: Some(object) }),
            Err(PoolError::Backend(error)) => Err(NoChannel::Broker(error)),
            Err(_) => Err(NoChannel::Exhausted),
        }
    }
}

/// A leased channel. Dropped before it is [`Lease::done`] it is closed, so that what a cancelled
/// call left on it (a delivery on its way, an open confirm) is nobody else's surprise.
#[derive(Debug)]
pub(super) struct Lease {
    object: Option<Object<Opener>>,
}

impl Lease {
    /// The channel.
    pub(super) fn channel(&self) -> &Channel {
        match &self.object {
            Some(object) => object,
            None => unreachable!("a lease keeps its channel until it is done"),
        }
    }

    /// Gives the channel back for others.
    pub(super) fn done(mut self) {
        let Some(object) = self.object.take() else { return };
        let idle = Object::pool(&object).map_or(0, |pool| pool.status().available);
        if idle >= IDLE {
            drop(Object::take(object));
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(object) = self.object.take() {
            drop(Object::take(object));
        }
    }
}
