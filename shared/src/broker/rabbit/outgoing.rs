//! Publishing with confirms, pipelined.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicUsize, Ordering},
};

use futures_util::future::poll_immediate;
use lapin::{Channel, Confirmation, PublisherConfirm, options::BasicPublishOptions};

use super::{
    super::BrokerError,
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
/// Bytes of them: a window of large messages is shorter.
const WINDOW_BYTES: usize = 16 * 1024 * 1024;

/// Publishes `messages` from the `confirmed`th on and counts up as the broker confirms them, in
/// order. The channel is closed with whatever is open when this fails or is dropped.
pub(super) async fn publish(
    session: &Session,
    messages: &[(String, Message)],
    confirmed: &AtomicUsize,
) -> Result<(), Trouble> {
    let mut rest = messages[confirmed.load(Ordering::Relaxed)..].iter();
    let Some((queue, _)) = rest.as_slice().first() else { return Ok(()) };
    let lease = session.confirms(queue).await?;
    let mut open = VecDeque::new();
    let mut bytes = 0;
    loop {
        while open.len() < WINDOW
            && bytes < WINDOW_BYTES
            && let Some((queue, message)) = rest.next()
        {
            // lapin queues the frames at the first poll and is done when they are written. To wait
            // for each write would cost a wake-up of its thread a message.
            let mut sending = Box::pin(send(lease.channel(), session, queue, message));
            let sent = poll_immediate(&mut sending).await.transpose()?;
            bytes += message.body.len();
            open.push_back((queue.as_str(), message.body.len(), sent.ok_or(sending)));
        }
        let Some((queue, size, sent)) = open.pop_front() else { break };
        let confirm = match sent {
            Ok(confirm) => confirm,
            Err(sending) => sending.await?,
        };
        let answer = confirm.await.map_err(|error| session.trouble(&error, queue))?;
        accepted(answer, session, queue)?;
        confirmed.fetch_add(1, Ordering::Relaxed);
        bytes -= size;
    }
    drop(open);
    lease.done();
    Ok(())
}

fn accepted(answer: Confirmation, session: &Session, queue: &str) -> Result<(), Trouble> {
    match answer {
        Confirmation::Ack(None) => Ok(()),
        // Confirms that come in one frame are told apart in no particular order, so the returned
        // message itself says which queue is missing.
        Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned)) => {
            Err(Trouble::Final(session.address.no_queue(returned.routing_key.as_str())))
        }
        Confirmation::Nack(None) => Err(Trouble::Lost(format!(
            "the broker did not accept a message for '{queue}': the queue is full or has lost the \
             majority of its nodes"
        ))),
        Confirmation::NotRequested => {
            Err(Trouble::Final(BrokerError::Internal("a channel without confirms".to_owned())))
        }
    }
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
