//! A FAKE worker for the tests of leases: takes the leases that its arguments name in the folder
//! that the first one names, starts something on each that outlives it, and prints device and id
//! of each, in any order. Never installed.

use std::{
    env,
    io::{self, Read, Write},
    path::Path,
    sync::Arc,
    time::Duration,
};

use tokio::sync::watch;
use worker::{
    child::{self, Limits},
    lease::Lease,
    output::Stdout,
    spawn::{Spawner, Start, Ties},
};

/// Nobody listens.
struct Deaf;

impl Stdout for Deaf {
    fn take_in(&mut self, bytes: &[u8]) -> Option<shared::runner::Progress> {
        io::stdout().write_all(bytes).and_then(|()| io::stdout().flush()).expect("stdout");
        None
    }

    fn is_garbage(&self) -> bool {
        false
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut words = env::args().skip(1);
    let folder = words.next().expect("a folder");
    let spawner = Spawner::new().expect("a thread");
    let (_orders, orders) = watch::channel(None);
    let hour = Duration::from_secs(3600);
    for device in words {
        let lease = Lease::take(Path::new(&folder), &device).expect("a folder").expect("free");
        let start = Start {
            program: "sh".into(),
            args: vec!["-c".into(), format!("echo {device} $$; exec sleep 1000").into()],
            env: Arc::new([]),
            input: Arc::default(),
            folder: None,
        };
        let ties = Ties { lease: Some(Arc::new(lease)), ..Ties::default() };
        let started = spawner.start_tied(start, ties).await.expect("a shell");
        let limits = Limits { time: hour, stall: hour, grace: hour };
        tokio::spawn(child::watch(started, limits, Deaf, orders.clone(), |_| ()));
    }
    // It ends by being killed, or when whoever started it is gone.
    let end = tokio::task::spawn_blocking(|| io::stdin().read(&mut [0]));
    end.await.expect("a thread").expect("stdin");
}
