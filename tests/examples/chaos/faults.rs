//! What can go wrong, and how often.

use std::collections::VecDeque;

use crate::chance::Chance;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// A worker is killed, and started again a little later.
    WorkerKilled,
    /// A runner is killed.
    RunnerKilled,
    /// The aggregator is killed, and started again a little later.
    AggregatorKilled,
    /// A producer is killed while it publishes.
    ProducerKilled,
    /// A worker is stopped for some seconds, and goes on.
    WorkerFrozen,
    /// The aggregator is stopped for some seconds, and goes on.
    AggregatorFrozen,
    /// A run is paused for some seconds.
    RunPaused,
    /// Every connection is closed by the operator.
    ConnectionsClosed,
    /// The queue of the jobs is deleted with all that is in it.
    QueueDeleted,
    /// The broker takes nothing for some seconds: its disk is full.
    DiskAlarm,
    /// The broker is killed, and started again.
    BrokerKilled,
}

/// Each kind, its name in the figures, and how many of it are in a deck.
pub(crate) const KINDS: [(Fault, &str, usize); 11] = [
    (Fault::WorkerKilled, "workers_killed", 8),
    (Fault::RunnerKilled, "runners_killed", 8),
    (Fault::AggregatorKilled, "aggregators_killed", 5),
    (Fault::ProducerKilled, "producers_killed", 3),
    (Fault::WorkerFrozen, "workers_frozen", 4),
    (Fault::AggregatorFrozen, "aggregators_frozen", 3),
    (Fault::RunPaused, "runs_paused", 2),
    (Fault::ConnectionsClosed, "connections_closed", 4),
    (Fault::QueueDeleted, "queues_deleted", 2),
    (Fault::DiskAlarm, "disk_alarms", 1),
    (Fault::BrokerKilled, "brokers_killed", 1),
];

impl Fault {
    /// Whether it needs a RabbitMQ node.
    pub(crate) const fn is_of_rabbitmq(self) -> bool {
        matches!(
            self,
            Self::ConnectionsClosed | Self::QueueDeleted | Self::DiskAlarm | Self::BrokerKilled
        )
    }
}

/// The faults to come: shuffled like cards, so that a short time sees every kind as well.
#[derive(Debug)]
pub(crate) struct Deck {
    rabbitmq: bool,
    cards: VecDeque<Fault>,
}

impl Deck {
    pub(crate) const fn new(rabbitmq: bool) -> Self {
        Self { rabbitmq, cards: VecDeque::new() }
    }

    /// The next fault that is possible now.
    pub(crate) fn draw(
        &mut self,
        chance: &mut Chance,
        is_possible: impl Fn(Fault) -> bool,
    ) -> Option<Fault> {
        if self.cards.is_empty() {
            let kinds = KINDS.iter().filter(|(fault, ..)| self.rabbitmq || !fault.is_of_rabbitmq());
            let mut cards: Vec<Fault> =
                kinds.flat_map(|&(fault, _, count)| std::iter::repeat_n(fault, count)).collect();
            chance.shuffle(&mut cards);
            self.cards = cards.into();
        }
        let at = self.cards.iter().position(|fault| is_possible(*fault))?;
        self.cards.remove(at)
    }
}
