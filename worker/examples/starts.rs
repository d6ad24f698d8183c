//! Measures what a fresh process for each job costs: starts a program so often, one after the
//! other, watches each to its end, and prints milliseconds and processor time a start.
//!
//! `starts COUNT PROGRAM [ARGUMENT...]`, as in `starts 3000 true` or
//! `starts 3000 worker __exec -- true`.

use std::{
    env, fs,
    io::{self, Write},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::watch;
use worker::{
    child::{self, Limits},
    output::Frames,
    spawn::{Spawner, Start},
};

/// Milliseconds of processor time so far, of this process and of its children that have ended:
/// in user mode and in the kernel.
fn processor() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("proc");
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    let ticks = fields.split_ascii_whitespace().skip(11).take(4);
    ticks.map(|field| field.parse::<f64>().expect("a number")).sum::<f64>() * 10.0
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut words = env::args_os().skip(1);
    let count: u32 = words.next().and_then(|word| word.to_str()?.parse().ok()).expect("a count");
    let program = words.next().expect("a program");
    let args: Vec<_> = words.collect();
    let spawner = Spawner::new().expect("a thread");
    let (_orders, orders) = watch::channel(None);
    let hour = Duration::from_secs(3600);
    let (begun, before) = (Instant::now(), processor());
    for _ in 0..count {
        let start = Start {
            program: program.clone().into(),
            args: args.clone(),
            env: Arc::new([]),
            input: Arc::default(),
            folder: None,
        };
        let child = spawner.start(start).await.expect("a start");
        let limits = Limits { time: hour, stall: hour, grace: hour };
        let ending = child::watch(child, limits, Frames::default(), orders.clone(), |_| ()).await;
        assert!(ending.expect("an ending").status.success());
    }
    let (milliseconds, processor) = (begun.elapsed().as_secs_f64() * 1e3, processor() - before);
    let count = f64::from(count);
    writeln!(
        io::stdout(),
        "{:.3} ms and {:.3} ms of processor time a start",
        milliseconds / count,
        processor / count
    )
    .expect("stdout");
}
