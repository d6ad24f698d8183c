//! The events as they come.

use std::{collections::VecDeque, sync::Arc};

use async_trait::async_trait;
use tokio::sync::watch;

use super::{broker::Link, fault::Fault, request::Request};
use crate::{
    broker::{BrokerError, Listener},
    wire::Message,
};

/// One listener with its own place among the events.
#[derive(Debug)]
pub(super) struct EmbeddedListener {
    heard: VecDeque<Message>,
    last: i64,
    bell: watch::Receiver<()>,
    link: Arc<Link>,
}

impl EmbeddedListener {
    /// Listens from now on.
    pub(super) async fn new(link: &Arc<Link>) -> Result<Self, BrokerError> {
        let bell = link.bells.events();
        let last = link.ask(|reply| Request::Newest { reply }).await?;
        Ok(Self { heard: VecDeque::new(), last, bell, link: Arc::clone(link) })
    }
}

#[async_trait]
impl Listener for EmbeddedListener {
    async fn next(&mut self) -> Result<Message, BrokerError> {
        loop {
            if let Some(event) = self.heard.pop_front() {
                return Ok(event);
            }
            if self.link.bells.is_closed() {
                return Err(self.link.error(Fault::Closed));
            }
            self.bell.borrow_and_update();
            let after = self.last;
            let events = self.link.ask(|reply| Request::Events { after, reply }).await?;
            if let Some((newest, _)) = events.last() {
                self.last = *newest;
                self.heard.extend(events.into_iter().map(|(_, event)| event));
            } else if self.bell.changed().await.is_err() {
                return Err(self.link.error(Fault::Closed));
            }
        }
    }
}
