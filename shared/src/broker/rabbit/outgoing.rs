//! Publishing with confirms, pipelined.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicUsize, Ordering},
};

use lapin::{Channel, Confirmation, PublisherConfirm, options::BasicPublishOptions};

use super::{
    properties::{short, write},
    session::Session,
    trouble::Trouble,
};
use crate::{
    topology::{EVENTS_EXCHANGE, exchange_of},
    wire::Message,
};

/// Messages on their way whose confirms have not come.
const WINDOW: usize = 1024;

/// Publishes `messages` from the `confirmed`th on and counts up as the broker confirms them, in
/// order. The channel is closed with whatever is open when this fails or is dropped.
pub(super) async fn publish(
    session: &Session,
    messages: &[(String, Message)],
    confirmed: &AtomicUsize,
) -> Result<(), Trouble> {
    let mut next = confirmed.load(Ordering::Relaxed);
    let Some((queue, _)) = messages.get(next) else { return Ok(()) };
    let lease = session.confirms(queue).await?;
    let mut open = VecDeque::new();
    loop {
        while open.len() < WINDOW
            && let Some((queue, message)) = messages.get(next)
        {
            let confirm = send(lease.channel(), session, queue, message).await?;
            open.push_back((queue.as_str(), confirm));
            next += 1;
        }
        let Some((queue, confirm)) = open.pop_front() else { break };
        match confirm.await.map_err(|error| session.trouble(&error, queue))? {
            Confirmation::Ack(None) => {
                confirmed.fetch_add(1, Ordering::Relaxed);
            }
            // Confirms that come in one frame are told apart in no particular order, so the
            // returned message itself says which queue is missing.
            Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned)) => {
                let queue = returned.routing_key.as_str();
                return Err(Trouble::Final(session.address.no_queue(queue)));
            }
            Confirmation::Nack(None) => {
                return Err(Trouble::Lost(format!(
                    "the broker did not accept a message for '{queue}': the queue is full or has \
                     lost the majority of its nodes"
                )));
            }
            Confirmation::NotRequested => {
                return Err(Trouble::Lost("a channel without confirms".to_owned()));
            }
        }
    }
    lease.done();
    Ok(())
}

async fn send(
    channel: &Channel,
    session: &Session,
    queue: &str,
    message: &Message,
) -> Result<PublisherConfirm, Trouble> {
    let properties = write(message, true).map_err(Trouble::Final)?;
    let key = short(queue).map_err(Trouble::Final)?;
    let options = BasicPublishOptions { mandatory: true, immediate: false };
    channel
        .basic_publish(exchange_of(queue).into(), key, options, &message.body, properties)
        .await
        .map_err(|error| session.trouble(&error, queue))
}

/// Sends an event. While a resource alarm holds publishes up it is dropped instead: events may be
/// lost, and those that wait would be stale.
pub(super) async fn broadcast(session: &Session, event: &Message) -> Result<(), Trouble> {
    if session.publishing.status().blocked() {
        return Ok(());
    }
    let properties = write(event, false).map_err(Trouble::Final)?;
    let lease = session.events(EVENTS_EXCHANGE).await?;
    lease
        .channel()
        .basic_publish(
            EVENTS_EXCHANGE.into(),
            "".into(),
            BasicPublishOptions::default(),
            &event.body,
            properties,
        )
        .await
        .map_err(|error| session.trouble(&error, EVENTS_EXCHANGE))?;
    lease.done();
    Ok(())
}
