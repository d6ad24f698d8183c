//! What the fleet's machinery costs on this machine: real `producer`, `worker` and `runner-cpu`
//! processes, outcomes in the ledger, through a private RabbitMQ and through the embedded broker.
//!
//! `make bench`; after it, `target/release/examples/bench [--jobs N] [--slots 2,4,8]
//! [--latencies N] [--seconds S]` measures again.

mod fleet;
mod idle;
mod jobs;
mod latency;
mod report;
mod scan;
mod spawning;

use std::{env, error::Error, process::ExitCode};

use report::{Line, say};
use tests::rabbitmq::{Options, RabbitNode};

/// Whatever went wrong: a measuring program has nobody to tell errors apart.
type Failed = Box<dyn Error>;

/// How much is measured.
#[derive(Debug)]
struct Size {
    /// Jobs in a burst.
    jobs: u64,
    /// The worker's slots, one burst each.
    slots: Vec<u32>,
    /// Jobs sent one by one to an idle fleet.
    latencies: usize,
    /// About how long the scan takes, and an idle worker is watched.
    seconds: f64,
}

impl Size {
    fn from_args(args: &[String]) -> Result<Self, Failed> {
        let mut size = Self { jobs: 3000, slots: vec![2, 4, 8], latencies: 200, seconds: 20.0 };
        for pair in args.chunks(2) {
            let [option, value] = pair else { return Err(format!("{pair:?} has no value").into()) };
            match option.as_str() {
                "--jobs" => size.jobs = value.parse()?,
                "--slots" => {
                    size.slots = value.split(',').map(str::parse).collect::<Result<_, _>>()?;
                }
                "--latencies" => size.latencies = value.parse()?,
                "--seconds" => size.seconds = value.parse()?,
                _ => return Err(format!("'{option}' is no option of this program").into()),
            }
        }
        Ok(size)
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let end = match args.split_first() {
        Some((first, rest)) if first == spawning::COMMAND => spawning::child(rest),
        _ => measure(&args).await,
    };
    match end {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

async fn measure(args: &[String]) -> Result<(), Failed> {
    let size = Size::from_args(args)?;
    report::machine()?;
    let node = RabbitNode::start(&Options::default())?;
    let mut lines: Vec<Line> = Vec::new();
    say("1. A burst of jobs, a process each, until the ledger has the last")?;
    let rabbit = jobs::rabbit(&node, &size, &mut lines).await?;
    let embedded = jobs::embedded(&size, &mut lines).await?;
    say("2. One job on an idle fleet")?;
    latency::measure(&rabbit, "RabbitMQ", size.latencies, &mut lines).await?;
    latency::measure(&embedded, "embedded", size.latencies, &mut lines).await?;
    say("3. A worker with nothing to do")?;
    idle::measure(&rabbit, "RabbitMQ", size.seconds, &mut lines)?;
    idle::measure(&embedded, "embedded", size.seconds, &mut lines)?;
    say("4. A long scan on two slots")?;
    scan::measure(&rabbit, &size, &mut lines).await?;
    report::table(&lines)
}
