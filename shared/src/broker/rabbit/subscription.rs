//! A subscription that goes on over sessions.

use std::sync::Arc;

use async_trait::async_trait;
use lapin::{
    options::{BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use tokio::time::sleep;

use super::{
    super::{BrokerError, Delivery, Subscription, Tag},
    consuming::Consuming,
    lasting::Lasting,
    properties::{read, short},
    session::Session,
    supervisor::Link,
    trouble::Trouble,
};
use crate::retry::Waits;

/// The messages of a queue as they come.
#[derive(Debug)]
pub(super) struct QueueSubscription {
    link: Link,
    queue: String,
    prefetch: u16,
    consuming: Lasting<Consuming>,
    waits: Waits,
}

impl QueueSubscription {
    pub(super) async fn open(link: Link, queue: &str, prefetch: u16) -> Result<Self, BrokerError> {
        let waits = super::supervisor::waits();
        let queue = queue.to_owned();
        let mut this =
            Self { link, queue, prefetch: prefetch.max(1), consuming: Lasting::default(), waits };
        this.resume().await?;
        Ok(this)
    }

    /// The consumer at work, or a new one in place of one that ended.
    async fn resume(&mut self) -> Result<&mut Consuming, BrokerError> {
        let (link, queue, prefetch) = (&self.link, &self.queue, self.prefetch);
        let set_up = || {
            let (link, queue) = (link.clone(), queue.clone());
            async move { link.attempt(|session| consume(session, &queue, prefetch)).await }
        };
        self.consuming.get(set_up).await
    }
}

async fn consume(session: Arc<Session>, queue: &str, prefetch: u16) -> Result<Consuming, Trouble> {
    let name = short(queue).map_err(Trouble::Final)?;
    let channel = session.consumer_channel(queue).await?;
    let opened = async {
        channel.basic_qos(prefetch, BasicQosOptions { global: false }).await?;
        let options = BasicConsumeOptions::default();
        channel.basic_consume(name, "".into(), options, FieldTable::default()).await
    };
    let consumer = opened.await.map_err(|error| session.trouble(&error, queue))?;
    Ok(Consuming::new(session.generation, channel, consumer))
}

#[async_trait]
impl Subscription for QueueSubscription {
    async fn next(&mut self, most: usize) -> Result<Vec<Delivery>, BrokerError> {
        loop {
            let link = self.link.clone();
            let consuming = self.resume().await?;
            if let Some(deliveries) = consuming.next(&link, most).await {
                let (session, channel) = (consuming.session, Arc::clone(&consuming.channel));
                channel.owe(&deliveries);
                self.waits.reset();
                let queue = &self.queue;
                let deliver = |delivery: lapin::message::Delivery| Delivery {
                    queue: queue.clone(),
                    redelivered: delivery.redelivered,
                    tag: Tag {
                        session,
                        delivery: delivery.delivery_tag,
                        channel: Some(channel.clone()),
                    },
                    message: read(delivery),
                };
                return Ok(deliveries.into_iter().map(deliver).collect());
            }
            let fruitful = consuming.fruitful;
            self.consuming.end();
            tracing::debug!(queue = %self.queue, "a consumer ended; it is set up again");
            if !fruitful {
                // A consumer that ends again and again must not turn into a storm.
                sleep(self.waits.next_wait()).await;
            }
        }
    }
}
