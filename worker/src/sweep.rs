//! The sweep: what workers that were killed left behind is ended before a new one takes jobs.
//!
//! Each worker holds a lock on `<instance>.lock` in the runtime folder for its life. A process whose
//! mark names an instance with a *free* lock belongs to a dead worker. One whose mark names an
//! instance without any lock file belongs to a worker with another runtime folder, dead or alive:
//! it is left alone, as is everything without a mark.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
    process::{Pid, Signal, getpid},
};
use serde::Serialize;
use uuid::Uuid;

use crate::marked::{Marked, Marks, marked, stat_field, wait};

/// From TERM to KILL, in milliseconds.
const GRACE: u32 = 1000;
/// From one look to the next after KILL, in milliseconds.
const LOOK_AGAIN: u32 = 50;
/// How long is waited for what does not even end by KILL.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a lock is touched, for whatever tidies /tmp up by age.
const TOUCH_EVERY: Duration = Duration::from_secs(12 * 3600);
/// Whoever makes, looks through or removes locks holds this one.
const TURN: &str = "sweep";

/// A process that a dead worker left behind.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Swept {
    /// Its id.
    pub pid: i32,
    /// Its command line.
    pub command: String,
    /// The worker that it belonged to.
    pub instance: String,
    /// The job that it belonged to; empty when it does not say.
    pub job: String,
    /// Seconds since its start, where they can be told.
    pub age_seconds: Option<f64>,
    /// Whether it was ended.
    pub ended: bool,
}

/// What a sweep found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sweep {
    /// What dead workers left behind.
    pub swept: Vec<Swept>,
    /// How many marked processes belong to workers that this runtime folder does not know.
    pub unknown: usize,
}

/// This worker's lock, held.
#[derive(Debug)]
pub struct Instance {
    name: String,
    path: PathBuf,
    file: File,
}

impl Instance {
    /// Takes this worker's lock, so that its processes are its own from now on; then ends whatever
    /// dead workers left behind. It blocks, for at most 10 s.
    ///
    /// # Errors
    /// What the system says when the runtime folder can't be used.
    pub fn begin(runtime_folder: &Path, name: &str) -> io::Result<(Self, Sweep)> {
        let turn = turn(runtime_folder)?;
        let path = lock_path(runtime_folder, name);
        let file = open(&path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let sweep = sweep(runtime_folder, true)?;
        drop(turn);
        Ok((Self { name: name.to_owned(), path, file }, sweep))
    }

    /// Keeps the lock from looking old. Never ends.
    pub async fn stay_young(&self) {
        loop {
            tokio::time::sleep(TOUCH_EVERY).await;
            if let Err(error) = self.file.set_modified(SystemTime::now()) {
                tracing::warn!(%error, "the worker's lock can't be touched");
            }
        }
    }

    /// Ends what this worker has left, and gives the lock up.
    ///
    /// # Errors
    /// What the system says; the next worker's sweep does the rest.
    pub fn retire(&self) -> io::Result<()> {
        let own = |marks: &Marks| marks.worker.as_ref() == Some(&self.name);
        let begun = Instant::now();
        loop {
            let left = marked(own)?;
            if left.is_empty() {
                return fs::remove_file(&self.path);
            }
            if begun.elapsed() > Duration::from_millis(GRACE.into()) {
                return Err(io::Error::other(format!("{} processes won't end", left.len())));
            }
            left.iter().for_each(|process| process.signal(Signal::KILL));
            wait(&left, LOOK_AGAIN);
            // Its own children go only when they are reaped.
            crate::orphans::reap().ok();
        }
    }
}

/// Finds what dead workers left behind, and unless it is `to_end` does no more.
///
/// # Errors
/// What the system says when the runtime folder or `/proc` can't be read.
pub fn cleanup(runtime_folder: &Path, to_end: bool) -> io::Result<Sweep> {
    let turn = turn(runtime_folder)?;
    let sweep = sweep(runtime_folder, to_end);
    drop(turn);
    sweep
}

/// Waits for others that make, look through or remove locks.
fn turn(runtime_folder: &Path) -> io::Result<File> {
    let file = open(&runtime_folder.join(TURN))?;
    flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)
}

fn lock_path(runtime_folder: &Path, instance: &str) -> PathBuf {
    runtime_folder.join(format!("{instance}.lock"))
}

/// The workers that have a lock here: dead ones with theirs, held by us from now on, and the living
/// without.
fn workers(runtime_folder: &Path) -> io::Result<BTreeMap<String, Option<File>>> {
    let mut workers = BTreeMap::new();
    for entry in fs::read_dir(runtime_folder)? {
        let path = entry?.path();
        let is_lock = path.extension().is_some_and(|extension| extension == "lock");
        let name = path.file_stem().and_then(|stem| stem.to_str());
        let Some(name) = name.filter(|name| is_lock && Uuid::parse_str(name).is_ok()) else {
            continue;
        };
        let file = File::open(&path)?;
        let lock = match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Some(file),
            Err(Errno::WOULDBLOCK) => None,
            Err(error) => return Err(error.into()),
        };
        workers.insert(name.to_owned(), lock);
    }
    Ok(workers)
}

/// This process and those that it descends from: one of them may be a dead worker's job.
fn ancestors() -> Vec<Pid> {
    let mut line = vec![getpid()];
    while let Some(&last) = line.last()
        && let Some(parent) = stat_field(last, 4).and_then(|id| Pid::from_raw(id.parse().ok()?))
        && !line.contains(&parent)
    {
        line.push(parent);
    }
    line
}

fn sweep(runtime_folder: &Path, to_end: bool) -> io::Result<Sweep> {
    let workers = workers(runtime_folder)?;
    let is_dead = |name: &str| workers.get(name).is_some_and(Option::is_some);
    if to_end && !workers.values().any(Option::is_some) {
        return Ok(Sweep::default());
    }
    let line = ancestors();
    let orphans = || -> io::Result<Vec<Marked>> {
        let mut all = marked(|marks| marks.worker.as_deref().is_some_and(is_dead))?;
        all.retain(|process| !line.contains(&process.pid));
        Ok(all)
    };
    let is_unknown = |name: &str| !workers.contains_key(name);
    let unknown = marked(|marks| marks.worker.as_deref().is_some_and(is_unknown))?.len();
    let mut swept = BTreeMap::new();
    let mut left = orphans()?;
    let begun = Instant::now();
    let mut signal = Signal::TERM;
    loop {
        for process in &left {
            let pid = process.pid.as_raw_nonzero().get();
            swept.entry(pid).or_insert_with(|| described(process));
            if to_end {
                process.signal(signal);
            }
        }
        if left.is_empty() || !to_end || begun.elapsed() > PATIENCE {
            break;
        }
        wait(&left, if signal == Signal::TERM { GRACE } else { LOOK_AGAIN });
        signal = Signal::KILL;
        left = orphans()?;
    }
    for swept in swept.values_mut() {
        swept.ended = to_end && !left.iter().any(|it| it.pid.as_raw_nonzero().get() == swept.pid);
    }
    for (name, _lock) in workers.iter().filter(|(_, lock)| to_end && lock.is_some()) {
        if !left.iter().any(|process| process.marks.worker.as_ref() == Some(name)) {
            fs::remove_file(lock_path(runtime_folder, name))?;
        }
    }
    Ok(Sweep { swept: swept.into_values().collect(), unknown })
}

fn described(process: &Marked) -> Swept {
    Swept {
        pid: process.pid.as_raw_nonzero().get(),
        command: process.command(),
        instance: process.marks.worker.clone().unwrap_or_default(),
        job: process.marks.job_name().to_owned(),
        age_seconds: process.age_seconds(),
        ended: false,
    }
}
