//! The names of exchanges and queues: the one place that knows them.

use crate::job::{Arch, Urgency};

/// Direct exchange that jobs are published to, with the queue's name as routing key.
pub const JOBS_EXCHANGE: &str = "rigqueue.jobs";
/// Direct exchange that outcomes and manifests are published to.
pub const RESULTS_EXCHANGE: &str = "rigqueue.results";
/// Direct exchange for what is dead.
pub const DEAD_EXCHANGE: &str = "rigqueue.dead";
/// Fanout exchange for bells, heartbeats and fleet state.
pub const EVENTS_EXCHANGE: &str = "rigqueue.events";
/// The exchange whose alternate exchange names the ledger that a vhost belongs to. AMQP can't list
/// exchanges, but it refuses to declare this one for a second ledger.
pub const LEDGER_EXCHANGE: &str = "rigqueue.ledger";
/// A durable exchange named by this prefix and the ledger's uuid shows people whose vhost it is.
pub const LEDGER_EXCHANGE_PREFIX: &str = "rigqueue.ledger.";

/// Manifests and outcomes of seed-range runs.
pub const RESULTS_SEED: &str = "results.seed";
/// Manifests and outcomes of script runs.
pub const RESULTS_SCRIPT: &str = "results.script";
/// What the broker itself dead-lettered; the aggregator reads it.
pub const RESULTS_DEAD: &str = "results.dead";
/// Copies of dead jobs for people at the management UI; bounded, oldest dropped first.
pub const DEAD_JOBS: &str = "dead.jobs";
/// Results that could not be applied.
pub const DEAD_RESULTS: &str = "dead.results";

/// The net under a job that kills its worker; RigQueue counts attempts itself.
pub const DELIVERY_LIMIT: i64 = 100;
/// How many copies `dead.jobs` keeps.
pub const DEAD_JOBS_MAX_LENGTH: i64 = 10_000;
/// How long an event waits for a listener, in milliseconds.
pub const EVENTS_TTL_MS: i64 = 30_000;
/// How many events wait for one listener; the oldest are dropped first.
pub const EVENTS_MAX_LENGTH: i64 = 10_000;

/// The queue of seed-range jobs for an architecture and urgency: `jobs.seed.cpu.high`.
#[must_use]
pub fn seed_queue(arch: Arch, urgency: Urgency) -> String {
    with_urgency(format!("jobs.seed.{}", arch.name()), urgency)
}

/// The queues of seed-range jobs of an urgency, one of each architecture.
#[must_use]
pub fn seed_queues(urgency: Urgency) -> [String; 3] {
    Arch::ALL.map(|arch| seed_queue(arch, urgency))
}

/// The queues of script jobs of an urgency: one of each architecture, and the one for any.
#[must_use]
pub fn script_queues(urgency: Urgency) -> [String; 4] {
    let [cuda, rocm, cpu] = Arch::ALL.map(Some);
    [cuda, rocm, cpu, None].map(|arch| script_queue(arch, urgency))
}

/// The queue of script jobs for an architecture (`None`: any) and urgency.
#[must_use]
pub fn script_queue(arch: Option<Arch>, urgency: Urgency) -> String {
    with_urgency(format!("jobs.script.{}", arch.map_or("any", Arch::name)), urgency)
}

fn with_urgency(name: String, urgency: Urgency) -> String {
    match urgency {
        Urgency::Normal => name,
        Urgency::High | Urgency::Low => format!("{name}.{}", urgency.name()),
    }
}

/// Every queue that jobs go to.
#[must_use]
pub fn job_queues() -> Vec<String> {
    let archs = Arch::ALL.into_iter();
    archs
        .clone()
        .flat_map(|arch| Urgency::ALL.map(|urgency| seed_queue(arch, urgency)))
        .chain(
            archs
                .map(Some)
                .chain([None])
                .flat_map(|arch| Urgency::ALL.map(|urgency| script_queue(arch, urgency))),
        )
        .collect()
}

/// Every durable queue, with the exchange it is bound to by its own name.
#[must_use]
pub fn durable_queues() -> Vec<(String, &'static str)> {
    let fixed = [RESULTS_SEED, RESULTS_SCRIPT, RESULTS_DEAD, DEAD_JOBS, DEAD_RESULTS];
    job_queues()
        .into_iter()
        .chain(fixed.map(str::to_owned))
        .map(|queue| {
            let exchange = exchange_of(&queue);
            (queue, exchange)
        })
        .collect()
}

/// The exchange through which a queue is published to.
#[must_use]
pub fn exchange_of(queue: &str) -> &'static str {
    match queue {
        RESULTS_DEAD | DEAD_JOBS | DEAD_RESULTS => DEAD_EXCHANGE,
        RESULTS_SEED | RESULTS_SCRIPT => RESULTS_EXCHANGE,
        _ => JOBS_EXCHANGE,
    }
}

/// The queue that the outcomes of a job queue's jobs go to.
#[must_use]
pub fn results_of(job_queue: &str) -> &'static str {
    if job_queue.starts_with("jobs.script.") { RESULTS_SCRIPT } else { RESULTS_SEED }
}

/// The queue that one listener declares for its own use on the events exchange.
#[must_use]
pub fn events_queue(node: &str, instance: &str) -> String {
    format!("events.{node}.{instance}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_architecture_and_urgency_has_its_queue() {
        let queues = job_queues();
        for name in ["jobs.seed.cuda", "jobs.seed.rocm.high", "jobs.script.any.low"] {
            assert!(queues.iter().any(|queue| queue == name), "{name} in {queues:?}");
        }
        assert_eq!(queues.len(), 3 * 3 + 4 * 3);
        let scripts = queues.iter().filter(|queue| results_of(queue) == RESULTS_SCRIPT);
        assert_eq!(scripts.count(), 4 * 3);
    }
}
