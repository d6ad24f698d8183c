//! What the thread is asked to do.

use std::sync::Arc;

use tokio::sync::{mpsc::WeakUnboundedSender, oneshot};

use super::{fault::Fault, subscription::Window};
use crate::{broker::Delivery, wire::Message};

/// Where an answer goes.
pub(super) type Reply<T> = oneshot::Sender<Result<T, Fault>>;

/// An event with its number.
pub(super) type Numbered = (i64, Message);

/// One thing to do, within the next commit.
#[derive(Debug)]
pub(super) enum Request {
    /// Puts messages into their queues.
    Publish { messages: Vec<(String, Message)>, reply: Reply<()> },
    /// Takes a queue's oldest message.
    Take { queue: String, reply: Reply<Option<Unclaimed>> },
    /// Takes what a subscription has room for, at most this many.
    Fill { window: Arc<Window>, most: usize },
    /// Deletes what this session took.
    Ack { deliveries: Vec<u64>, reply: Reply<()> },
    /// Puts back what nobody has seen.
    PutBack { deliveries: Vec<u64> },
    /// Puts back what a subscription that was dropped has not handed out.
    Unsubscribe { window: Arc<Window> },
    /// Writes an event.
    Broadcast { event: Message, reply: Reply<()> },
    /// The newest event's number.
    Newest { reply: Reply<i64> },
    /// The events after a number.
    Events { after: i64, reply: Reply<Vec<Numbered>> },
    /// How many messages wait.
    Depth { queue: String, reply: Reply<u64> },
    /// Puts back what sessions that are gone have held.
    Sweep,
    /// Ends the session.
    Close { reply: Reply<()> },
}

impl Request {
    /// About how many bytes it writes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Publish { messages, .. } => {
                messages.iter().map(|(_, message)| message.body.len() + 256).sum()
            }
            Self::Broadcast { event, .. } => event.body.len(),
            _ => 0,
        }
    }
}

/// A delivery on its way to a task that may have stopped waiting: goes back if nobody claims it.
#[derive(Debug)]
pub(super) struct Unclaimed {
    delivery: Option<Delivery>,
    requests: WeakUnboundedSender<Request>,
}

impl Unclaimed {
    pub(super) fn new(delivery: Delivery, requests: WeakUnboundedSender<Request>) -> Self {
        Self { delivery: Some(delivery), requests }
    }

    /// The delivery, which is the caller's from here on.
    pub(super) fn claim(mut self) -> Option<Delivery> {
        self.delivery.take()
    }
}

impl Drop for Unclaimed {
    fn drop(&mut self) {
        if let Some(delivery) = self.delivery.take()
            && let Some(requests) = self.requests.upgrade()
        {
            let request = Request::PutBack { deliveries: vec![delivery.tag.delivery] };
            // A thread that has ended has put back everything.
            drop(requests.send(request));
        }
    }
}
