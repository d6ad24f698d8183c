//! A folder for each attempt, so that two attempts can't spoil one output.
//!
//! `attempts/<instance>/<number>` in the data folder. The aggregator takes the accepted attempt's
//! files out of it; every other one is deleted here, at the attempt's end or, when its worker was
//! killed, by the next worker that starts with this data folder.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use rustix::fs::{FlockOperation, flock};
use shared::script::ATTEMPT_MARK;

/// What nobody took out of an attempt's folder for so long, nobody will.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// The file in a worker's folder of attempts that it holds a lock on while it lives.
const LOCK: &str = "lock";

/// Where the attempts of one worker work.
#[derive(Debug)]
pub struct Attempts {
    folder: PathBuf,
    count: AtomicU64,
    /// Held for as long as the worker lives.
    _lock: File,
}

impl Attempts {
    /// Makes the worker's folder in the data folder `home`, and deletes what workers that are gone
    /// have left beside it.
    ///
    /// # Errors
    /// What the system says when it can't be made.
    pub fn new(home: &Path, instance: &str) -> io::Result<Self> {
        let all = home.join("attempts");
        let folder = all.join(instance);
        fs::create_dir_all(&folder)?;
        // Locked before it has its name: whoever sees it and can lock it may delete the folder.
        let unnamed = folder.join("lock.new");
        let lock = File::create(&unnamed)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        fs::rename(unnamed, folder.join(LOCK))?;
        if let Err(error) = sweep(&all) {
            tracing::warn!(%error, folder = %all.display(), "old attempts could not be deleted");
        }
        Ok(Self { folder, count: AtomicU64::new(0), _lock: lock })
    }

    /// A new folder, empty but for the folders that `output` lies in.
    pub(super) fn begin(&self, output: Option<&str>) -> io::Result<PathBuf> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let folder = self.folder.join(number.to_string());
        fs::create_dir(&folder)?;
        if let Some(inner) = output.and_then(|output| Path::new(output).parent()) {
            fs::create_dir_all(folder.join(inner))?;
        }
        Ok(folder)
    }
}

/// Marks an attempt's folder as one whose outputs somebody will come for.
pub(super) fn mark(folder: &Path, run: &str, job: &str, seq: u32) -> io::Result<()> {
    let mark = File::create(folder.join(ATTEMPT_MARK))?;
    io::Write::write_all(&mut &mark, format!("{run}\n{job}\n{seq}\n").as_bytes())?;
    mark.sync_all()
}

/// Deletes an attempt's folder that nobody needs any more.
pub(super) fn discard(folder: &Path) {
    if let Err(error) = fs::remove_dir_all(folder) {
        tracing::warn!(%error, folder = %folder.display(), "an attempt's folder stays behind");
    }
}

/// Deletes what workers that are gone have left: unfinished attempts, and finished ones whose
/// outputs nobody has come for in a week.
fn sweep(all: &Path) -> io::Result<()> {
    for worker in fs::read_dir(all)? {
        let worker = worker?.path();
        let Ok(lock) = File::open(worker.join(LOCK)) else { continue };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        let mut left = 0;
        for attempt in fs::read_dir(&worker)? {
            let attempt = attempt?.path();
            if !attempt.is_dir() {
                continue;
            }
            let finished = fs::metadata(attempt.join(ATTEMPT_MARK)).and_then(|m| m.modified());
            let recent = |at| SystemTime::now().duration_since(at).unwrap_or_default() < KEPT;
            if finished.is_ok_and(recent) {
                left += 1;
            } else {
                discard(&attempt);
            }
        }
        if left == 0 {
            discard(&worker);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_dead_left_unfinished_is_swept_away() {
        let home = tempfile::tempdir().unwrap();
        let dead = Attempts::new(home.path(), "dead").unwrap();
        let unfinished = dead.begin(Some("out/a.json")).unwrap();
        assert!(unfinished.join("out").is_dir());
        let finished = dead.begin(None).unwrap();
        mark(&finished, "r", "j", 1).unwrap();
        let idle = Attempts::new(home.path(), "idle").unwrap();
        let alive = Attempts::new(home.path(), "alive").unwrap();
        let running = alive.begin(None).unwrap();
        assert!(unfinished.is_dir(), "its worker lives");
        drop((dead, idle));
        let next = Attempts::new(home.path(), "next").unwrap();
        assert!(!unfinished.exists() && !home.path().join("attempts/idle").exists());
        assert!(finished.is_dir() && running.is_dir());
        let old = SystemTime::now() - 2 * KEPT;
        File::open(finished.join(ATTEMPT_MARK)).unwrap().set_modified(old).unwrap();
        drop(next);
        Attempts::new(home.path(), "last").unwrap();
        assert!(!finished.exists() && running.is_dir());
    }
}
