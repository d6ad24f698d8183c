//! The trait on behalf of one session.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use tokio::{
    sync::{mpsc, oneshot},
    task::AbortHandle,
};

use super::{
    bell::{self, Bells},
    fault::Fault,
    listener::EmbeddedListener,
    request::{Reply, Request, Unclaimed},
    subscription::EmbeddedSubscription,
    thread,
};
use crate::{
    broker::{Broker, BrokerError, Delivery, Listener, Subscription, Tag},
    wire::Message,
};

/// How many messages one transaction publishes: others' commits come between two of them.
const PUBLISH_AT_A_TIME: usize = 1000;
/// And how many bytes, beyond which it takes no further message.
const PUBLISH_BYTES: usize = 4 << 20;

/// The sessions of this process, for the tags.
static SESSIONS: AtomicU64 = AtomicU64::new(1);

/// A session with the queues in a folder.
#[derive(Debug)]
pub struct EmbeddedBroker {
    link: Arc<Link>,
}

/// What ties a session's broker, subscriptions and listeners to its thread. With the last of them
/// the session ends.
#[derive(Debug)]
pub(super) struct Link {
    /// What tasks wait on.
    pub(super) bells: Bells,
    requests: mpsc::UnboundedSender<Request>,
    folder: PathBuf,
    number: u64,
    attendant: AbortHandle,
}

impl EmbeddedBroker {
    /// Opens a session with the queues in `folder`, which is made if it is not there. Must be
    /// called within a tokio runtime with time and I/O enabled.
    ///
    /// # Errors
    /// [`BrokerError::Folder`] when it can't be written, lies on a network file system, or holds
    /// something else or something damaged; [`BrokerError::Unreachable`] when another process
    /// keeps the database locked for 15 s.
    pub async fn open(folder: &Path) -> Result<Self, BrokerError> {
        let number = SESSIONS.fetch_add(1, Ordering::Relaxed);
        let (requests, inbox) = mpsc::unbounded_channel();
        let bells = Bells::new();
        let failed = |fault: Fault| fault.into_error(folder);
        let place =
            thread::Place { folder: folder.to_owned(), number, requests: requests.downgrade() };
        let bell = thread::start(place, bells.clone(), inbox).map_err(failed)?;
        let bell = bell.await.unwrap_or_else(|_| Err(ended())).map_err(failed)?;
        let pipe = bell::open(&bell).map_err(|error| failed(Fault::io("open", &bell, &error)))?;
        let attend = bell::attend(pipe, bells.clone(), requests.downgrade());
        let attendant = tokio::spawn(attend).abort_handle();
        let link = Link { bells, requests, folder: folder.to_owned(), number, attendant };
        Ok(Self { link: Arc::new(link) })
    }
}

fn ended() -> Fault {
    Fault::Internal("the thread of the embedded broker has ended".to_owned())
}

impl Link {
    /// Asks the thread and waits for its answer.
    pub(super) async fn ask<T>(
        &self,
        request: impl FnOnce(Reply<T>) -> Request,
    ) -> Result<T, BrokerError> {
        let (reply, answer) = oneshot::channel();
        self.send(request(reply))?;
        let closed = |_| Err(if self.bells.is_closed() { Fault::Closed } else { ended() });
        answer.await.unwrap_or_else(closed).map_err(|fault| self.error(fault))
    }

    /// Tells the thread.
    pub(super) fn send(&self, request: Request) -> Result<(), BrokerError> {
        self.requests.send(request).map_err(|_| self.error(Fault::Closed))
    }

    /// What a caller is told.
    pub(super) fn error(&self, fault: Fault) -> BrokerError {
        fault.into_error(&self.folder)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.attendant.abort();
    }
}

#[async_trait]
impl Broker for EmbeddedBroker {
    async fn publish_all(&self, messages: Vec<(String, Message)>) -> Result<(), BrokerError> {
        let mut messages = messages.into_iter().peekable();
        while messages.peek().is_some() {
            let mut bytes = 0;
            let mut some = Vec::new();
            while some.len() < PUBLISH_AT_A_TIME
                && bytes < PUBLISH_BYTES
                && let Some(message) = messages.next()
            {
                bytes += message.1.body.len();
                some.push(message);
            }
            self.link.ask(|reply| Request::Publish { messages: some, reply }).await?;
        }
        Ok(())
    }

    async fn take(&self, queue: &str) -> Result<Option<Delivery>, BrokerError> {
        let queue = queue.to_owned();
        let taken = self.link.ask(|reply| Request::Take { queue, reply }).await?;
        Ok(taken.and_then(Unclaimed::claim))
    }

    async fn subscribe(
        &self,
        queue: &str,
        prefetch: u16,
    ) -> Result<Box<dyn Subscription>, BrokerError> {
        Ok(Box::new(EmbeddedSubscription::new(queue, prefetch, &self.link)))
    }

    async fn ack(&self, tags: Vec<Tag>) -> Result<(), BrokerError> {
        let ours = tags.into_iter().filter(|tag| tag.session == self.link.number);
        let deliveries: Vec<u64> = ours.map(|tag| tag.delivery).collect();
        if deliveries.is_empty() {
            return Ok(());
        }
        self.link.ask(|reply| Request::Ack { deliveries, reply }).await
    }

    async fn broadcast(&self, event: Message) -> Result<(), BrokerError> {
        self.link.ask(|reply| Request::Broadcast { event, reply }).await
    }

    async fn listen(&self) -> Result<Box<dyn Listener>, BrokerError> {
        Ok(Box::new(EmbeddedListener::new(&self.link).await?))
    }

    async fn depth(&self, queue: &str) -> Result<Option<u64>, BrokerError> {
        let queue = queue.to_owned();
        self.link.ask(|reply| Request::Depth { queue, reply }).await.map(Some)
    }

    async fn close(&self) {
        if let Err(error) = self.link.ask(|reply| Request::Close { reply }).await {
            tracing::debug!(%error, "closing a session that has ended");
        }
    }
}
