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
/// What the other process does, and where.
const ROLE: &str = "RIGQUEUE_RATES_ROLE";
const FOLDER: &str = "RIGQUEUE_RATES_FOLDER";

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
    if let (Ok(role), Ok(folder)) = (env::var(ROLE), env::var(FOLDER)) {
        let broker = Arc::new(EmbeddedBroker::open(Path::new(&folder)).await?);
        return if role == "echo" { echo(&broker).await } else { hammer(&broker).await };
    }
    let folder = env::args_os().nth(1).map_or_else(
        || env::temp_dir().join(format!("embedded-rates-{}", std::process::id())),
        Into::into,
    );
    let broker = Arc::new(EmbeddedBroker::open(&folder).await?);
    rates(&broker).await?;
    let mut other = start("echo", &folder)?;
    let measured = latencies(&broker).await;
    stop(&mut other)?;
    measured?;
    let mut other = start("hammer", &folder)?;
    let measured = beside_a_busy_process(&broker).await;
    stop(&mut other)?;
    measured?;
    broker.close().await;
    println!("what it wrote is in {}", folder.display());
    Ok(())
}

fn start(role: &str, folder: &Path) -> Outcome<Child> {
    Ok(Command::new(env::current_exe()?).env(ROLE, role).env(FOLDER, folder).spawn()?)
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
    let (whole, confirms): (Vec<_>, Vec<_>) = times.into_iter().unzip();
    spread("confirm", confirms);
    spread("to another process and back (two publishes, two wake-ups)", whole);
    Ok(())
}

fn spread(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    println!("{what}: median {:?}, p99 {:?}, longest {:?}", at(50), at(99), at(100));
}

/// Confirms while another process publishes without a pause.
async fn beside_a_busy_process(broker: &EmbeddedBroker) -> Outcome<()> {
    let mut hammer = broker.subscribe(ECHOES, 1).await?;
    hammer.next(1).await?;
    let mut times = Vec::new();
    let (before, start) = (broker.depth(QUEUE).await?.unwrap_or(0), Instant::now());
    while start.elapsed() < Duration::from_secs(4) {
        let start = Instant::now();
        broker.publish(QUEUE, message()).await?;
        times.push(start.elapsed());
    }
    let seconds = start.elapsed().as_secs_f64();
    let after = broker.depth(QUEUE).await?.unwrap_or(0);
    spread("confirm beside a process that publishes without a pause", times);
    println!("which publishes {:.0} per second", after.saturating_sub(before) as f64 / seconds);
    Ok(())
}

async fn hammer(broker: &EmbeddedBroker) -> Outcome<()> {
    broker.publish(ECHOES, message()).await?;
    loop {
        broker.publish_all(vec![(QUEUE.to_owned(), message()); 10_000]).await?;
    }
}

async fn echo(broker: &EmbeddedBroker) -> Outcome<()> {
    let mut subscription = broker.subscribe(QUEUE, 10).await?;
    loop {
        for delivery in subscription.next(10).await? {
            broker.publish(ECHOES, delivery.message).await?;
            broker.ack(vec![delivery.tag]).await?;
        }
    }
}
