//! The broker trait on RabbitMQ.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize},
    },
};

use async_trait::async_trait;
use futures_util::future::{join, join_all};
use lapin::{
    options::{BasicAckOptions, BasicGetOptions, QueueDeclareOptions},
    types::FieldTable,
};

use super::{
    super::{Broker, BrokerError, Delivery, Identity, Listener, Patience, Subscription, Tag},
    address::Address,
    consuming::ConsumerChannel,
    listener::EventListener,
    outgoing,
    properties::{read, short},
    session::{Held, Session},
    subscription::QueueSubscription,
    supervisor::Link,
    trouble::Trouble,
};
use crate::{settings::BrokerSettings, wire::Message};

/// A session with RabbitMQ that survives the broker's restarts.
#[derive(Debug)]
pub struct RabbitBroker {
    link: Link,
    listeners: Arc<AtomicU64>,
}

impl RabbitBroker {
    /// Opens a session with the broker of the settings, whose URL's query may say
    /// `heartbeat` (seconds) and `connection_timeout` (milliseconds).
    ///
    /// # Errors
    /// [`BrokerError::Url`] for a URL that is none; [`BrokerError::Refused`] at once for a wrong
    /// user, password or vhost; [`BrokerError::Unreachable`] when patience ends.
    pub async fn connect(
        settings: &BrokerSettings,
        identity: Identity,
        patience: Patience,
    ) -> Result<Self, BrokerError> {
        let link = Link::connect(Address::of(settings)?, identity, patience).await?;
        Ok(Self { link, listeners: Arc::default() })
    }
}

#[async_trait]
impl Broker for RabbitBroker {
    async fn publish_all(&self, messages: Vec<(String, Message)>) -> Result<(), BrokerError> {
        let confirmed = AtomicUsize::new(0);
        let (messages, confirmed) = (&messages, &confirmed);
        self.link
            .attempt_counting(confirmed, move |session| async move {
                outgoing::publish(&session, messages, confirmed).await
            })
            .await
    }

    async fn take(&self, queue: &str) -> Result<Option<Delivery>, BrokerError> {
        self.link.attempt(move |session| take(session, queue)).await
    }

    async fn subscribe(
        &self,
        queue: &str,
        prefetch: u16,
    ) -> Result<Box<dyn Subscription>, BrokerError> {
        Ok(Box::new(QueueSubscription::open(self.link.clone(), queue, prefetch).await?))
    }

    async fn ack(&self, tags: Vec<Tag>) -> Result<(), BrokerError> {
        // Without a session there is nothing to acknowledge: every delivery has come back.
        let Some(session) = self.link.current() else { return Ok(()) };
        let mut taken = Vec::new();
        let mut subscribed: HashMap<usize, (Arc<ConsumerChannel>, Vec<u64>)> = HashMap::new();
        for tag in tags.into_iter().filter(|tag| tag.session == session.generation) {
            match tag.channel.and_then(|channel| channel.downcast::<ConsumerChannel>().ok()) {
                Some(channel) => {
                    let key = Arc::as_ptr(&channel).addr();
                    subscribed.entry(key).or_insert((channel, Vec::new())).1.push(tag.delivery);
                }
                None => taken.extend(session.release(tag.delivery)),
            }
        }
        let singles = join_all(taken.into_iter().map(ack_taken));
        let groups = join_all(
            subscribed.into_values().map(async |(channel, tags)| channel.ack(&tags).await),
        );
        let answered = self.link.within(&session, join(singles, groups)).await;
        // With its session gone, everything has come back.
        let Some((singles, groups)) = answered else { return Ok(()) };
        for error in singles.into_iter().chain(groups).filter_map(Result::err) {
            // Its channel was closed under it (a consumer timeout, a lost session): the delivery
            // has come back, and whoever takes it next does its work a second time.
            tracing::warn!(%error, "an acknowledgement came too late; the delivery comes back");
        }
        Ok(())
    }

    async fn broadcast(&self, event: Message) -> Result<(), BrokerError> {
        let event = &event;
        self.link
            .attempt(move |session| async move { outgoing::broadcast(&session, event).await })
            .await
    }

    async fn listen(&self) -> Result<Box<dyn Listener>, BrokerError> {
        let listener = EventListener::open(self.link.clone(), Arc::clone(&self.listeners)).await?;
        Ok(Box::new(listener))
    }

    async fn depth(&self, queue: &str) -> Result<Option<u64>, BrokerError> {
        match self.link.attempt(move |session| depth(session, queue)).await {
            Ok(depth) => Ok(Some(depth)),
            Err(BrokerError::NoQueue { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn close(&self) {
        self.link.close().await;
    }
}

async fn take(session: Arc<Session>, queue: &str) -> Result<Option<Delivery>, Trouble> {
    let name = short(queue).map_err(Trouble::Final)?;
    let lease = session.plain(queue).await?;
    let got = lease.channel().basic_get(name, BasicGetOptions { no_ack: false }).await;
    let Some(message) = got.map_err(|error| session.trouble(&error, queue))? else {
        lease.done();
        return Ok(None);
    };
    let delivery = message.delivery;
    let number = session.hold(Held { lease, tag: delivery.delivery_tag });
    Ok(Some(Delivery {
        queue: queue.to_owned(),
        redelivered: delivery.redelivered,
        tag: Tag { session: session.generation, delivery: number, channel: None },
        message: read(delivery),
    }))
}

async fn ack_taken(held: Held) -> lapin::Result<()> {
    let Held { lease, tag } = held;
    lease.channel().basic_ack(tag, BasicAckOptions { multiple: false }).await?;
    lease.done();
    Ok(())
}

async fn depth(session: Arc<Session>, queue: &str) -> Result<u64, Trouble> {
    let name = short(queue).map_err(Trouble::Final)?;
    let lease = session.plain(queue).await?;
    let options = QueueDeclareOptions { passive: true, ..Default::default() };
    let declared = lease.channel().queue_declare(name, options, FieldTable::default()).await;
    let count = declared.map_err(|error| session.trouble(&error, queue))?.message_count();
    lease.done();
    Ok(u64::from(count))
}
