//! What RabbitMQ and our client do on this machine, on a private node:
//! `cargo run --release -p tests --example rabbitmq_rates`.

use std::{
    error::Error,
    future::Future,
    io::{Write, stdout},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use shared::{
    broker::{Broker, BrokerError, Identity, Patience, RabbitBroker, Topology},
    settings::BrokerSettings,
    wire::Message,
};
use tests::rabbitmq::{Options, RabbitNode};

type Outcome = Result<(), Box<dyn Error>>;

const QUEUE: &str = "jobs.seed.cpu";

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Outcome {
    let schedulers = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(2);
    let node = RabbitNode::start(&Options { schedulers, ..Options::default() })?;
    let settings = BrokerSettings::at(node.url("/"));
    let topology = Topology::connect(&settings, Patience::COMMAND).await?;
    topology.apply().await?;
    topology.close().await;
    let identity = |instance: &str| Identity {
        node: "bench".to_owned(),
        instance: instance.to_owned(),
        role: "worker",
    };
    let broker =
        Arc::new(RabbitBroker::connect(&settings, identity("a"), Patience::Forever).await?);
    let other = RabbitBroker::connect(&settings, identity("b"), Patience::Forever).await?;
    say(&format!("schedulers {schedulers}; memory of two idle sessions {} KiB", resident()?))?;

    latency("one confirmed publish", 1_000, async || broker.publish(QUEUE, job()).await).await?;
    drain(&broker, "take + ack, 1 task", 1, 1_000).await?;
    for round in 0..3 {
        let started = Instant::now();
        let jobs = (0..20_000).map(|_| (QUEUE.to_owned(), job())).collect();
        broker.publish_all(jobs).await?;
        rate(&format!("pipelined publishes, round {round}"), 20_000, started)?;
        if round == 0 {
            drain(&broker, "take + ack, 4 tasks", 4, 20_000).await?;
        } else {
            consume(&broker, 20_000).await?;
        }
    }
    singles(&broker, 16, 10_000).await?;
    drain(&broker, "take + ack, 12 tasks", 12, 10_000).await?;
    latency("an empty take", 2_000, async || broker.take(QUEUE).await.map(drop)).await?;
    latency("a depth", 2_000, async || broker.depth(QUEUE).await.map(drop)).await?;
    let mut listener = other.listen().await?;
    latency("a broadcast until it is heard", 2_000, async || {
        broker.broadcast(job()).await?;
        listener.next().await.map(drop)
    })
    .await?;
    say(&format!("memory at the end: {} KiB", resident()?))?;
    broker.close().await;
    other.close().await;
    Ok(())
}

fn job() -> Message {
    let headers = [("run", "r-20261121-1"), ("job", "r-20261121-1/000123"), ("schema", "1")];
    Message {
        kind: "Job".to_owned(),
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        body: vec![0x5a; 900],
    }
}

async fn latency(
    what: &str,
    times: usize,
    mut call: impl AsyncFnMut() -> Result<(), BrokerError>,
) -> Outcome {
    let mut taken = Vec::with_capacity(times);
    for _ in 0..times {
        let started = Instant::now();
        call().await?;
        taken.push(started.elapsed());
    }
    taken.sort();
    let (median, p99) = (taken[times / 2], taken[times * 99 / 100]);
    say(&format!("{what}: median {median:.0?}, 99 % {p99:.0?}"))
}

async fn drain(broker: &Arc<RabbitBroker>, what: &str, tasks: usize, count: usize) -> Outcome {
    let done = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    side_by_side(tasks, || {
        let (broker, done) = (Arc::clone(broker), Arc::clone(&done));
        async move {
            while let Some(delivery) = broker.take(QUEUE).await? {
                broker.ack(vec![delivery.tag]).await?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        }
    })
    .await?;
    assert_eq!(done.load(Ordering::Relaxed), count, "{what}");
    rate(what, count, started)
}

async fn consume(broker: &Arc<RabbitBroker>, count: usize) -> Outcome {
    let started = Instant::now();
    let mut subscription = broker.subscribe(QUEUE, 1000).await?;
    let mut seen = 0;
    while seen < count {
        let batch = subscription.next(500).await?;
        seen += batch.len();
        broker.ack(batch.into_iter().map(|delivery| delivery.tag).collect()).await?;
    }
    rate("subscription, batches acknowledged", count, started)
}

async fn singles(broker: &Arc<RabbitBroker>, tasks: usize, count: usize) -> Outcome {
    let left = Arc::new(AtomicUsize::new(count));
    let started = Instant::now();
    side_by_side(tasks, || {
        let (broker, left) = (Arc::clone(broker), Arc::clone(&left));
        let next = move |left: &AtomicUsize| {
            left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok()
        };
        async move {
            while next(&left) {
                broker.publish(QUEUE, job()).await?;
            }
            Ok(())
        }
    })
    .await?;
    rate(&format!("confirmed publishes, {tasks} tasks"), count, started)
}

async fn side_by_side<F>(tasks: usize, task: impl Fn() -> F) -> Outcome
where
    F: Future<Output = Result<(), BrokerError>> + Send + 'static,
{
    let running: Vec<_> = (0..tasks).map(|_| tokio::spawn(task())).collect();
    for task in running {
        task.await??;
    }
    Ok(())
}

fn rate(what: &str, count: usize, started: Instant) -> Outcome {
    let seconds = started.elapsed().max(Duration::from_micros(1)).as_secs_f64();
    say(&format!("{what}: {:.0} a second", count as f64 / seconds))
}

fn resident() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let text = line.and_then(|line| line.split_whitespace().next()).ok_or("no VmRSS")?;
    Ok(text.parse()?)
}

fn say(line: &str) -> Outcome {
    writeln!(stdout(), "{line}")?;
    Ok(())
}
