//! Outcomes go out: publish with confirm first, and only then acknowledge the job.
//!
//! One task does it for the whole worker, in the order in which jobs ended: whatever has gathered
//! while one batch was under way goes with the next, so that a busy worker pays for one
//! confirmation and one acknowledgement a batch.

use std::{sync::Arc, time::Duration};

use shared::{
    broker::{Broker, Tag},
    failpoint::{self, Point},
    retry::Waits,
    wire::Message,
};
use tokio::sync::mpsc;

/// The most outcomes that wait for their confirm; past it a worker takes no more jobs.
pub const MAX_UNCONFIRMED: usize = 64;

/// What is to be handed over.
#[derive(Debug)]
pub struct Report {
    /// The outcome and its queue; none for a job that needs none any more.
    pub outcome: Option<(&'static str, Message)>,
    /// What to acknowledge when the outcome is on disk.
    pub tags: Vec<Tag>,
}

/// Hands over reports until their sender is gone; says after each batch how many it was.
pub async fn hand_over(
    broker: Arc<dyn Broker>,
    mut reports: mpsc::UnboundedReceiver<Report>,
    confirmed: mpsc::UnboundedSender<usize>,
) {
    let mut batch = Vec::new();
    while reports.recv_many(&mut batch, MAX_UNCONFIRMED).await > 0 {
        let count = batch.len();
        let mut messages = Vec::new();
        let mut tags = Vec::new();
        for report in batch.drain(..) {
            let outcome = report.outcome;
            messages.extend(outcome.map(|(queue, message)| (queue.to_owned(), message)));
            tags.extend(report.tags);
        }
        if !messages.is_empty() {
            publish(&*broker, messages).await;
            failpoint::pass(Point::OutcomePublished);
        }
        if let Err(error) = broker.ack(tags).await {
            // The jobs come back; they are known by then, and acknowledged unrun.
            tracing::warn!(%error, jobs = count, "finished jobs could not be acknowledged");
        }
        failpoint::pass(Point::JobAcknowledged);
        if confirmed.send(count).is_err() {
            return;
        }
    }
}

/// Publishes until it is confirmed, however long that takes. Saying it twice does no harm: the
/// ledger knows an outcome by its key.
async fn publish(broker: &dyn Broker, messages: Vec<(String, Message)>) {
    let mut waits = Waits::new(Duration::from_millis(100), Duration::from_secs(10));
    while let Err(error) = broker.publish_all(messages.clone()).await {
        tracing::warn!(%error, outcomes = messages.len(), "outcomes could not be published; trying again");
        tokio::time::sleep(waits.next_wait()).await;
    }
}
