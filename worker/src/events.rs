//! Events come in: bells and fleet state; events go out: heartbeats.

use std::{sync::Arc, time::Duration};

use shared::{
    broker::{Broker, Listener},
    messages::{Bell, FleetState},
    retry::Waits,
    wire::{self, Message, Wire, WireError},
};
use tokio::sync::mpsc;

/// What a worker listens for.
#[derive(Debug)]
pub enum Event {
    /// Jobs were published.
    Bell(Bell),
    /// The aggregator spoke.
    Fleet(FleetState),
}

/// Hears events for as long as anybody wants them.
pub async fn hear(
    broker: Arc<dyn Broker>,
    mut listener: Box<dyn Listener>,
    events: mpsc::Sender<Event>,
) {
    let mut waits = Waits::new(Duration::from_millis(100), Duration::from_secs(10));
    loop {
        let event = match listener.next().await {
            Ok(message) => {
                waits.reset();
                read(&message)
            }
            Err(error) => {
                tracing::warn!(%error, "events can't be heard; listening anew");
                tokio::time::sleep(waits.next_wait()).await;
                match broker.listen().await {
                    Ok(anew) => listener = anew,
                    Err(error) => tracing::debug!(%error, "listening anew failed"),
                }
                continue;
            }
        };
        match event {
            Ok(Some(event)) => {
                if events.send(event).await.is_err() {
                    return;
                }
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "an event was passed over"),
        }
    }
}

/// The event in a message, if it is one for workers.
fn read(message: &Message) -> Result<Option<Event>, WireError> {
    Ok(match message.kind.as_str() {
        Bell::TYPE => Some(Event::Bell(wire::decode(message)?)),
        FleetState::TYPE => Some(Event::Fleet(wire::decode(message)?)),
        _ => None,
    })
}

/// Broadcasts what it is given, one after the other.
pub async fn speak(broker: Arc<dyn Broker>, mut messages: mpsc::Receiver<Message>) {
    while let Some(message) = messages.recv().await {
        if let Err(error) = broker.broadcast(message).await {
            tracing::warn!(%error, "a heartbeat could not be sent");
        }
    }
}
