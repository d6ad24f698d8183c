//! A consumer on a channel of its own, in one session.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::{FutureExt, StreamExt, future::try_join_all};
use lapin::{
    Channel, Consumer,
    message::Delivery,
    options::{BasicAckOptions, BasicCancelOptions, BasicNackOptions},
};

use tokio::runtime::Handle;

use super::supervisor::Link;

/// A consumer's channel and what was delivered through it and not yet acknowledged.
#[derive(Debug)]
pub(super) struct ConsumerChannel {
    channel: Channel,
    open: Mutex<BTreeSet<u64>>,
}

impl ConsumerChannel {
    /// The channel itself.
    pub(super) const fn raw(&self) -> &Channel {
        &self.channel
    }

    /// Notes deliveries that are to be acknowledged.
    pub(super) fn owe(&self, deliveries: &[Delivery]) {
        let tags = deliveries.iter().map(|delivery| delivery.delivery_tag);
        self.open.lock().unwrap_or_else(PoisonError::into_inner).extend(tags);
    }

    /// Acknowledges deliveries by their tags; tags that are not open (any more) are passed over,
    /// since the broker closes a channel that acknowledges twice.
    pub(super) async fn ack(&self, tags: &[u64]) -> lapin::Result<()> {
        let (prefix, singles) = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            let tags: BTreeSet<u64> = tags.iter().copied().filter(|tag| open.remove(tag)).collect();
            let oldest_open = open.first().copied().unwrap_or(u64::MAX);
            let prefix = tags.range(..oldest_open).next_back().copied();
            (prefix, tags.range(oldest_open..).copied().collect::<Vec<_>>())
        };
        let multiple = prefix.map(|tag| (tag, true));
        let single = singles.into_iter().map(|tag| (tag, false));
        let acks = multiple
            .into_iter()
            .chain(single)
            .map(|(tag, multiple)| self.channel.basic_ack(tag, BasicAckOptions { multiple }));
        try_join_all(acks).await.map(drop)
    }
}

/// A consumer at work.
#[derive(Debug)]
pub(super) struct Consuming {
    /// The number of its session.
    pub(super) session: u64,
    pub(super) channel: Arc<ConsumerChannel>,
    consumer: Consumer,
    /// Whether it delivered anything so far.
    pub(super) fruitful: bool,
}

impl Consuming {
    pub(super) fn new(session: u64, channel: Channel, consumer: Consumer) -> Self {
        let channel = Arc::new(ConsumerChannel { channel, open: Mutex::default() });
        Self { session, channel, consumer, fruitful: false }
    }

    /// Waits for deliveries and returns those that are there, at most `most`; `None` when the
    /// consumer has ended: its queue was deleted, its channel or its session closed. Nothing is
    /// lost when this is dropped: there is no await between the first delivery and the return.
    pub(super) async fn next(&mut self, link: &Link, most: usize) -> Option<Vec<Delivery>> {
        let first = tokio::select! {
            biased;
            () = link.ended(self.session) => return None,
            first = self.consumer.next() => first?.ok()?,
        };
        let mut deliveries = vec![first];
        while deliveries.len() < most.max(1) {
            match self.consumer.next().now_or_never() {
                Some(Some(Ok(delivery))) => deliveries.push(delivery),
                // The end is found again by the next call, after these.
                Some(Some(Err(_)) | None) | None => break,
            }
        }
        // What was buffered when the channel closed has come back to its queue already.
        if !self.channel.channel.status().connected() {
            return None;
        }
        self.fruitful = true;
        Some(deliveries)
    }
}

impl Drop for Consuming {
    /// Gives back what the broker had sent ahead and nobody was handed; what was handed over
    /// stays with the session until it is acknowledged.
    fn drop(&mut self) {
        let Ok(runtime) = Handle::try_current() else { return };
        let channel = self.channel.channel.clone();
        let mut consumer = self.consumer.clone();
        runtime.spawn(async move {
            channel.basic_cancel(consumer.tag(), BasicCancelOptions::default()).await?;
            // Nothing more comes; the stream ends behind what is buffered.
            while let Some(delivery) = consumer.next().await {
                let options = BasicNackOptions { multiple: false, requeue: true };
                channel.basic_nack(delivery?.delivery_tag, options).await?;
            }
            // An error means that the channel is gone, and with it all came back.
            Ok::<(), lapin::Error>(())
        });
    }
}
