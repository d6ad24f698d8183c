//! Measures the embedded broker: `embedded_rates [FOLDER]` (a new folder in the temporary folder
//! unless given; put it on the disk that is to be measured).
#![expect(clippy::print_stdout, reason = "it reports what it measured")]

use std::{
    env,
    error::Error,
    path::Path,
    process::{Child, Command},
    sync::Arc,
    time::{Duration, Instant},
};

use shared::{
    broker::{Broker, EmbeddedBroker},
    wire::{Headers, Message},
};

const QUEUE: &str = "jobs.seed.cpu";
const ECHOES: &str = "results.seed";
const ECHO: &str = "RIGQUEUE_RATES_ECHO";

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn message() -> Message {
    let headers = ["run", "job", "kind", "range", "attempt", "schema"];
    let headers: Headers = headers.map(|name| (name.to_owned(), format!("a {name}"))).into();
    Message { kind: "Job".to_owned(), headers, body: vec![0xa5; 600] }
}

fn report(what: &str, count: usize, start: Instant) {
    println!("{what}: {:.0} per second", count as f64 / start.elapsed().as_secs_f64());
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Outcome<()> {
    if let Ok(folder) = env::var(ECHO) {
        return echo(Path::new(&folder)).await;
    }
    let folder = env::args_os().nth(1).map_or_else(
        || env::temp_dir().join(format!("embedded-rates-{}", std::process::id())),
        Into::into,
    );
    let broker = Arc::new(EmbeddedBroker::open(&folder).await?);
    rates(&broker).await?;
    let mut other = Command::new(env::current_exe()?).env(ECHO, &folder).spawn()?;
    let measured = latencies(&broker).await;
    stop(&mut other)?;
    measured?;
    broker.close().await;
    println!("what it wrote is in {}", folder.display());
    Ok(())
}

fn stop(other: &mut Child) -> Outcome<()> {
    other.kill()?;
    other.wait()?;
    Ok(())
}

async fn rates(broker: &Arc<EmbeddedBroker>) -> Outcome<()> {
    let (singles, pipelined, batched) = (1000, 20_000, 100_000);
    let start = Instant::now();
    for _ in 0..singles {
        broker.publish(QUEUE, message()).await?;
    }
    report("publishes, one at a time", singles, start);

    let start = Instant::now();
    each(pipelined, broker, |broker| async move { Ok(broker.publish(QUEUE, message()).await?) })
        .await?;
    report("publishes, 64 at a time", pipelined, start);

    let start = Instant::now();
    broker.publish_all(vec![(QUEUE.to_owned(), message()); batched]).await?;
    report("publishes, 100,000 in one call", batched, start);

    let start = Instant::now();
    let depth = broker.depth(QUEUE).await?;
    println!("depth ({depth:?}): {:?}", start.elapsed());

    let start = Instant::now();
    for _ in 0..singles {
        take_and_ack(broker).await?;
    }
    report("takes + acks, one at a time", singles, start);

    let start = Instant::now();
    each(pipelined, broker, |broker| async move { take_and_ack(&broker).await }).await?;
    report("takes + acks, 64 at a time", pipelined, start);

    let start = Instant::now();
    let mut subscription = broker.subscribe(QUEUE, 1000).await?;
    let mut left = batched;
    while left > 0 {
        let deliveries = subscription.next(500).await?;
        left -= deliveries.len();
        broker.ack(deliveries.into_iter().map(|delivery| delivery.tag).collect()).await?;
    }
    report("subscription + acks, 500 at a time", batched, start);

    let start = Instant::now();
    for _ in 0..singles {
        broker.take(QUEUE).await?;
    }
    report("empty takes, one at a time", singles, start);
    Ok(())
}

/// Does something `count` times from 64 tasks.
async fn each<F>(
    count: usize,
    broker: &Arc<EmbeddedBroker>,
    what: impl Fn(Arc<EmbeddedBroker>) -> F + Copy + Send + 'static,
) -> Outcome<()>
where
    F: Future<Output = Outcome<()>> + Send,
{
    let tasks: Vec<_> = (0..64)
        .map(|task| {
            let broker = Arc::clone(broker);
            tokio::spawn(async move {
                for _ in (task..count).step_by(64) {
                    what(Arc::clone(&broker)).await?;
                }
                Outcome::Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(())
}

async fn take_and_ack(broker: &EmbeddedBroker) -> Outcome<()> {
    let delivery = broker.take(QUEUE).await?.ok_or("the queue is empty too early")?;
    Ok(broker.ack(vec![delivery.tag]).await?)
}

/// From a publish here over another process's subscription and its publish back to here.
async fn latencies(broker: &EmbeddedBroker) -> Outcome<()> {
    let mut echoes = broker.subscribe(ECHOES, 10).await?;
    let mut times = Vec::new();
    for round in 0..520 {
        let start = Instant::now();
        broker.publish(QUEUE, message()).await?;
        let confirmed = start.elapsed();
        let echo = echoes.next(1).await?;
        // The first rounds wait for the other process to start.
        if round >= 20 {
            times.push((start.elapsed(), confirmed));
        }
        broker.ack(echo.into_iter().map(|delivery| delivery.tag).collect()).await?;
    }
    let at = |times: &mut Vec<Duration>, percent: usize| {
        times.sort_unstable();
        times[times.len() * percent / 100]
    };
    let (mut whole, mut confirms): (Vec<_>, Vec<_>) = times.into_iter().unzip();
    println!("confirm: median {:?}, p99 {:?}", at(&mut confirms, 50), at(&mut confirms, 99));
    println!(
        "to another process and back (two publishes, two wake-ups): median {:?}, p99 {:?}",
        at(&mut whole, 50),
        at(&mut whole, 99)
    );
    Ok(())
}

async fn echo(folder: &Path) -> Outcome<()> {
    let broker = EmbeddedBroker::open(folder).await?;
    let mut subscription = broker.subscribe(QUEUE, 10).await?;
    loop {
        for delivery in subscription.next(10).await? {
            broker.publish(ECHOES, delivery.message).await?;
            broker.ack(vec![delivery.tag]).await?;
        }
    }
}
