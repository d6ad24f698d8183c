//! A listener to events that goes on over sessions.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use lapin::{
    Channel,
    options::{BasicConsumeOptions, BasicQosOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable, ShortString},
};
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    super::{BrokerError, Listener},
    consuming::Consuming,
    lasting::Lasting,
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
/// Events that the broker sends ahead of a listener. Further ones wait in its queue, where the
/// oldest are dropped, so that a listener nobody polls does not fill this process's memory.
const AHEAD: u16 = 512;
/// After so long a silence the queue is bound again: an exchange that was deleted and declared anew
/// knows nothing of the queues that were bound to it.
const SILENCE: Duration = Duration::from_secs(20);

/// The events as they come.
#[derive(Debug)]
pub(super) struct EventListener {
    link: Link,
    /// How many queues this broker value has declared.
    declared: Arc<AtomicU64>,
    hearing: Lasting<Hearing>,
    ready: VecDeque<Message>,
    /// Until when silence is nothing special.
    quiet: Instant,
    waits: Waits,
}

/// A queue of one's own and its consumer.
#[derive(Debug)]
struct Hearing {
    queue: ShortString,
    consuming: Consuming,
    session: Arc<Session>,
}

impl EventListener {
    pub(super) async fn open(link: Link, declared: Arc<AtomicU64>) -> Result<Self, BrokerError> {
        let waits = super::supervisor::waits();
        let (ready, quiet) = (VecDeque::new(), Instant::now() + SILENCE);
        let mut this = Self { link, declared, hearing: Lasting::default(), ready, quiet, waits };
        this.resume().await?;
        Ok(this)
    }

    async fn resume(&mut self) -> Result<&mut Hearing, BrokerError> {
        let (link, declared) = (&self.link, &self.declared);
        let set_up = || {
            let (link, declared) = (link.clone(), Arc::clone(declared));
            let base = events_queue(&link.identity.node, &link.identity.instance);
            async move { link.attempt(|session| hear(session, next_name(&base, &declared))).await }
        };
        self.hearing.get(set_up).await
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

async fn hear(session: Arc<Session>, queue: String) -> Result<Hearing, Trouble> {
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
        bind(&channel, &name).await?;
        channel.basic_qos(AHEAD, BasicQosOptions { global: false }).await?;
        let options = BasicConsumeOptions::default();
        channel.basic_consume(name.clone(), "".into(), options, FieldTable::default()).await
    };
    // The queue is our own: what can be missing is the exchange.
    let consumer = opened.await.map_err(|error| session.trouble(&error, EVENTS_EXCHANGE))?;
    let consuming = Consuming::new(session.generation, channel, consumer);
    Ok(Hearing { queue: name, consuming, session })
}

async fn bind(channel: &Channel, queue: &ShortString) -> lapin::Result<()> {
    let (options, none) = (QueueBindOptions::default(), FieldTable::default());
    channel.queue_bind(queue.clone(), EVENTS_EXCHANGE.into(), "".into(), options, none).await
}

impl Hearing {
    /// Binds the queue again, should that be needed.
    async fn rebind(&self) -> Result<(), Trouble> {
        let bound = bind(self.consuming.channel.raw(), &self.queue).await;
        bound.map_err(|error| self.session.trouble(&error, EVENTS_EXCHANGE))
    }
}

#[async_trait]
impl Listener for EventListener {
    async fn next(&mut self) -> Result<Message, BrokerError> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            let (link, quiet) = (self.link.clone(), self.quiet);
            let hearing = self.resume().await?;
            let Ok(heard) = timeout_at(quiet, hearing.consuming.next(&link, BATCH)).await else {
                let bound = hearing.rebind().await;
                self.quiet = Instant::now() + SILENCE;
                match bound {
                    Ok(()) => {}
                    Err(Trouble::Lost(_)) => self.hearing.end(),
                    Err(Trouble::Final(error)) => {
                        self.hearing.end();
                        return Err(error);
                    }
                }
                continue;
            };
            if let Some(deliveries) = heard {
                let channel = Arc::clone(&hearing.consuming.channel);
                let session = Arc::clone(&hearing.session);
                let tags: Vec<u64> = deliveries.iter().map(|event| event.delivery_tag).collect();
                channel.owe(&deliveries);
                self.waits.reset();
                self.quiet = Instant::now() + SILENCE;
                self.ready.extend(deliveries.into_iter().map(read));
                // On a channel that was closed meanwhile there is nothing to acknowledge.
                link.within(&session, channel.ack(&tags)).await;
                continue;
            }
            let fruitful = hearing.consuming.fruitful;
            self.hearing.end();
            if !fruitful {
                sleep(self.waits.next_wait()).await;
            }
        }
    }
}
