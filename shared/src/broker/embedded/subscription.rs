//! The messages of one queue as they come.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use tokio::sync::{Notify, watch};

use super::{broker::Link, fault::Fault, request::Request};
use crate::broker::{BrokerError, Delivery, Subscription};

/// What passes between a subscription and the thread. What the thread took for it lies here until
/// it is handed out, so that a dropped `next` loses nothing.
#[derive(Debug)]
pub(super) struct Window {
    queue: String,
    prefetch: usize,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    arrived: VecDeque<Delivery>,
    /// Those in `arrived` among them.
    unacked: usize,
    fault: Option<Fault>,
    /// A fill is on its way to the thread.
    asked: bool,
    dropped: bool,
}

impl Window {
    fn new(queue: &str, prefetch: u16) -> Self {
        Self {
            queue: queue.to_owned(),
            prefetch: usize::from(prefetch).max(1),
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// The queue.
    pub(super) fn queue(&self) -> &str {
        &self.queue
    }

    /// The thread begins to fill: what is published from here on needs another fill.
    pub(super) fn begin_fill(&self) {
        self.state().asked = false;
    }

    /// How many more it may hold.
    pub(super) fn room(&self) -> usize {
        let state = self.state();
        if state.dropped { 0 } else { self.prefetch.saturating_sub(state.unacked) }
    }

    /// The thread hands over what it took.
    pub(super) fn arrive(&self, deliveries: Result<Vec<Delivery>, Fault>) {
        let mut state = self.state();
        match deliveries {
            Ok(deliveries) if deliveries.is_empty() => return,
            Ok(deliveries) => {
                state.unacked += deliveries.len();
                state.arrived.extend(deliveries);
            }
            Err(fault) => state.fault = Some(fault),
        }
        self.changed.notify_one();
    }

    /// One that was handed out is acknowledged.
    pub(super) fn release(&self) {
        let mut state = self.state();
        state.unacked = state.unacked.saturating_sub(1);
        self.changed.notify_one();
    }

    /// What arrived and will not be handed out, since the subscription was dropped.
    pub(super) fn abandon(&self) -> Vec<Delivery> {
        let mut state = self.state();
        state.dropped = true;
        state.arrived.drain(..).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The subscription itself.
#[derive(Debug)]
pub(super) struct EmbeddedSubscription {
    window: Arc<Window>,
    bell: watch::Receiver<()>,
    link: Arc<Link>,
}

impl EmbeddedSubscription {
    pub(super) fn new(queue: &str, prefetch: u16, link: &Arc<Link>) -> Self {
        let window = Arc::new(Window::new(queue, prefetch));
        Self { window, bell: link.bells.messages(), link: Arc::clone(link) }
    }
}

#[async_trait]
impl Subscription for EmbeddedSubscription {
    async fn next(&mut self, most: usize) -> Result<Vec<Delivery>, BrokerError> {
        let most = most.max(1);
        loop {
            self.bell.borrow_and_update();
            {
                let mut state = self.window.state();
                if !state.arrived.is_empty() {
                    let count = most.min(state.arrived.len());
                    return Ok(state.arrived.drain(..count).collect());
                }
                if let Some(fault) = state.fault.take() {
                    return Err(self.link.error(fault));
                }
                if state.unacked < self.window.prefetch && !state.asked {
                    state.asked = true;
                    self.link.send(Request::Fill { window: Arc::clone(&self.window), most })?;
                }
            }
            if self.link.bells.is_closed() {
                return Err(self.link.error(Fault::Closed));
            }
            tokio::select! {
                () = self.window.changed.notified() => {}
                _ = self.bell.changed() => {}
            }
        }
    }
}

impl Drop for EmbeddedSubscription {
    fn drop(&mut self) {
        // A thread that has ended has put back everything.
        drop(self.link.send(Request::Unsubscribe { window: Arc::clone(&self.window) }));
    }
}
