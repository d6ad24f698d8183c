//! What jobs use of the host's memory, where no cgroup counts it: one look at `/proc` serves every
//! job that asks within the same second.

use std::{
    collections::HashMap,
    fs,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::process::Pid;

use crate::marked::{Marks, own_processes};

/// How old a look may be.
const FRESH: Duration = Duration::from_millis(900);
/// How long is waited for a look. A process whose driver hangs can block whoever looks at it.
const PATIENCE: Duration = Duration::from_millis(500);

/// The processes of each job and the bytes that they hold in memory.
type Jobs = HashMap<String, (u64, Vec<Pid>)>;

#[derive(Debug, Default)]
struct State {
    jobs: Jobs,
    looked: Option<Instant>,
    is_looking: bool,
}

/// The last look.
#[derive(Debug, Clone, Default)]
pub struct Memory(Arc<Mutex<State>>);

impl Memory {
    /// The bytes that a job's processes hold now, by its mark ([`crate::marked::ENV_JOB`]): what
    /// they share with each other counts once for each of them, unless that is more than `limit`;
    /// then it is divided. `None` when it can't be told now.
    pub async fn used(&self, job: &str, limit: Option<u64>) -> Option<u64> {
        self.look_again().await;
        let (used, pids) = self.state(|state| state.jobs.get(job).cloned())?;
        if pids.len() < 2 || limit.is_none_or(|limit| used <= limit) {
            return Some(used);
        }
        let exact = tokio::task::spawn_blocking(move || {
            pids.into_iter().map(|pid| proportional(pid).unwrap_or_default()).sum()
        });
        tokio::time::timeout(PATIENCE, exact).await.ok()?.ok()
    }

    fn state<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn look_again(&self) {
        let begins = self.state(|state| {
            let is_fresh = state.looked.is_some_and(|at| at.elapsed() < FRESH);
            let begins = !is_fresh && !state.is_looking;
            state.is_looking |= begins;
            begins
        });
        if begins {
            let own = self.clone();
            let look = tokio::task::spawn_blocking(move || {
                let jobs = look();
                own.state(|state| {
                    *state = State { jobs, looked: Some(Instant::now()), is_looking: false };
                });
            });
            // One that is late serves the next who asks.
            tokio::time::timeout(PATIENCE, look).await.ok();
        }
    }
}

fn look() -> Jobs {
    let mut jobs = Jobs::new();
    let all = own_processes().unwrap_or_else(|error| {
        tracing::warn!(%error, "jobs' memory can't be looked at");
        Vec::new()
    });
    for pid in all {
        if let Some(job) = Marks::of(pid).job {
            let (bytes, pids) = jobs.entry(job).or_default();
            *bytes += resident(pid).unwrap_or_default();
            pids.push(pid);
        }
    }
    jobs
}

/// What a process holds in memory, in bytes.
fn resident(pid: Pid) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{}/statm", pid.as_raw_nonzero())).ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    Some(pages * u64::try_from(rustix::param::page_size()).ok()?)
}

/// The same, with shared pages divided by how many share them. Slow: it walks the page tables.
fn proportional(pid: Pid) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", pid.as_raw_nonzero())).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// `1.2 GiB`, or `128 MiB` of less than one, for people.
#[must_use]
pub fn in_words(bytes: u64) -> String {
    // It is never told as less than it is.
    if bytes < 1 << 30 {
        return format!("{} MiB", bytes.div_ceil(1 << 20));
    }
    // A tenth is the last digit that anybody reads.
    let tenths = bytes.saturating_mul(10).div_ceil(1 << 30);
    format!("{}.{} GiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_holds_something() {
        let me = rustix::process::getpid();
        let (resident, shared) = (resident(me).unwrap(), proportional(me).unwrap());
        assert!(resident > 1 << 20 && shared > 1 << 16, "{resident} {shared}");
        assert_eq!(
            [0, 200 << 20, 1 << 30, (1 << 31) + 1].map(in_words),
            ["0 MiB", "200 MiB", "1.0 GiB", "2.1 GiB"]
        );
    }
}
