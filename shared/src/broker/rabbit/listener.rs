//! A listener to events that goes on over sessions.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use lapin::{
    options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use tokio::time::sleep;

use super::{
    super::{BrokerError, Listener},
    consuming::Consuming,
    properties::{read, short},
    session::Session,
    supervisor::Link,
    trouble::Trouble,
};
use crate::{
    retry::Waits,
    topology::{EVENTS_EXCHANGE, EVENTS_MAX_LENGTH, EVENTS_TTL_MS, events_queue},
    wire::Message,
};

/// Events taken over from lapin at a time.
const BATCH: usize = 64;

/// The events as they come.
#[derive(Debug)]
pub(super) struct EventListener {
    link: Link,
    /// How many queues this broker value has declared.
    declared: Arc<AtomicU64>,
    consuming: Option<Consuming>,
    ready: VecDeque<Message>,
    waits: Waits,
}

impl EventListener {
    pub(super) async fn open(link: Link, declared: Arc<AtomicU64>) -> Result<Self, BrokerError> {
        let waits = super::supervisor::waits();
        let mut this = Self { link, declared, consuming: None, ready: VecDeque::new(), waits };
        this.resume().await?;
        Ok(this)
    }

    async fn resume(&mut self) -> Result<&mut Consuming, BrokerError> {
        let fresh = match self.consuming.take() {
            Some(consuming) => consuming,
            None => {
                let identity = &self.link.identity;
                let base = events_queue(&identity.node, &identity.instance);
                let declared = &self.declared;
                self.link.attempt(|session| hear(session, next_name(&base, declared))).await?
            }
        };
        Ok(self.consuming.insert(fresh))
    }
}

/// A name that none of this process's sessions used before: an exclusive queue of a lost session
/// stays locked until the broker notices the loss.
fn next_name(base: &str, declared: &AtomicU64) -> String {
    match declared.fetch_add(1, Ordering::Relaxed) {
        0 => base.to_owned(),
        earlier => format!("{base}.{}", earlier + 1),
    }
}

async fn hear(session: Arc<Session>, queue: String) -> Result<Consuming, Trouble> {
    let name = short(&queue).map_err(Trouble::Final)?;
    let channel = session.consumer_channel(&queue).await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-message-ttl".into(), AMQPValue::LongLongInt(EVENTS_TTL_MS));
    arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(EVENTS_MAX_LENGTH));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("drop-head".into()));
    let opened = async {
        let exclusive =
            QueueDeclareOptions { exclusive: true, auto_delete: true, ..Default::default() };
        channel.queue_declare(name.clone(), exclusive, arguments).await?;
        let binding = QueueBindOptions::default();
        let none = FieldTable::default();
        channel
            .queue_bind(name.clone(), EVENTS_EXCHANGE.into(), "".into(), binding, none.clone())
            .await?;
        let unacknowledged = BasicConsumeOptions { no_ack: true, ..Default::default() };
        channel.basic_consume(name, "".into(), unacknowledged, none).await
    };
    // The queue is our own: what can be missing is the exchange.
    let consumer = opened.await.map_err(|error| session.trouble(&error, EVENTS_EXCHANGE))?;
    Ok(Consuming::new(session.generation, channel, consumer))
}

#[async_trait]
impl Listener for EventListener {
    async fn next(&mut self) -> Result<Message, BrokerError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            let link = self.link.clone();
            let consuming = self.resume().await?;
            if let Some(deliveries) = consuming.next(&link, BATCH).await {
                self.waits.reset();
                self.ready.extend(deliveries.into_iter().map(read));
                continue;
            }
            let fruitful = consuming.fruitful;
            self.consuming = None;
            if !fruitful {
                sleep(self.waits.next_wait()).await;
            }
        }
    }
}
