//! A rig's broker as a test sees it: a session of its own, and what waits in the queues.

#![expect(clippy::print_stdout, reason = "what a test waits for is said")]

use std::{collections::BTreeMap, sync::Arc};

use shared::{
    broker::{Broker, Identity, Patience, connect},
    settings::BrokerSettings,
    topology,
};
use tokio::runtime::Runtime;

use crate::rig::Rig;

impl Rig {
    /// A session of the test's own, and what it runs on.
    ///
    /// # Panics
    /// When there is none to be had.
    #[must_use]
    pub fn session(&self) -> (Runtime, Arc<dyn Broker>) {
        // On a thread of its own, where the session works on between two questions.
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let identity =
            Identity { node: "tests".to_owned(), instance: "tests".to_owned(), role: "producer" };
        let (settings, home) = (BrokerSettings::at(self.url()), self.home());
        let broker = runtime.block_on(connect(&settings, &home, identity, Patience::COMMAND));
        (runtime, broker.expect("a session"))
    }

    /// Waits until nothing waits in any queue.
    ///
    /// # Panics
    /// When the broker can't be asked, or something waits for too long.
    pub fn until_empty(&self) {
        let (runtime, broker) = self.session();
        let mut waiting = BTreeMap::new();
        self.until("empty queues", || {
            let before = std::mem::take(&mut waiting);
            for (queue, _) in topology::durable_queues() {
                let depth = runtime.block_on(broker.depth(&queue)).expect("a depth");
                if depth != Some(0) {
                    waiting.insert(queue, depth);
                }
            }
            if !waiting.is_empty() && waiting != before {
                println!("still queued: {waiting:?}");
            }
            waiting.is_empty().then_some(())
        });
        runtime.block_on(broker.close());
    }
}
