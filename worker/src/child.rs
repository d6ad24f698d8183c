//! One subprocess: its watch, its end.
//!
//! A job is killed as a tree: TERM to its process group, a grace, KILL. The leader's end is seen
//! through a pidfd; what is left of its group is killed *before* the leader is reaped, while its
//! process id still can't belong to anybody else. Then whatever has left the group is ended and
//! reaped (`crate::orphans`): when a watch is over, nothing of the job is left.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    pin::pin,
    process::{Child, ExitStatus},
    time::Duration,
};

use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open},
};
use shared::{outcome::Return, runner::Progress};
use tokio::{
    io::{Interest, unix::AsyncFd},
    net::unix::pipe::Receiver,
    sync::watch,
    task::spawn_blocking,
    time::{Instant, MissedTickBehavior, interval_at, sleep_until},
};

use crate::{
    cgroup::{Counted, Room},
    orphans,
    output::{Stdout, Tail},
    spawn::{Started, Tree},
};

/// What is read from a pipe at once.
const PIECE: usize = 16 * 1024;
/// How often a pipe is read after the leader's end. A pipe holds at most 1 MiB, so this empties
/// it; an escaped writer can't keep us here.
const LAST_READS: usize = 128;
/// How often the memory of a job with bounds is looked at where no cgroup counts it.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// From TERM to KILL, at most, for what a job leaves behind.
const ORPHANS_GRACE: Duration = Duration::from_secs(1);

/// How long a subprocess may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From its start to its end.
    pub time: Duration,
    /// Without progress.
    pub stall: Duration,
    /// From TERM to KILL.
    pub grace: Duration,
}

/// What a subprocess is told from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Finish short: TERM, and KILL after the grace. What has no result then goes back for this
    /// reason.
    Finish(Return),
    /// KILL at once: the worker is in a hurry.
    Kill,
}

/// Where a subprocess hears its orders: none at first.
pub type Orders = watch::Receiver<Option<Order>>;

/// Why a subprocess was ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    Asked(Return),
    /// It made no progress for so long.
    NoProgress(Duration),
    /// It ran for so long.
    TimeLimit(Duration),
    /// Its output made no sense.
    Garbage,
    /// It used so many bytes of the host's memory, more than its limit; without one the kernel
    /// ended it because the host was out of memory.
    Memory {
        /// How many, where it was counted.
        used: Option<u64>,
        /// Its own limit.
        limit: Option<u64>,
    },
}

/// How a subprocess ended, and what it said.
#[derive(Debug)]
pub struct Ending<S> {
    /// How it exited.
    pub status: ExitStatus,
    /// Why it was ended, when it was.
    pub ended: Option<Ended>,
    /// Its stdout.
    pub stdout: S,
    /// The end of its stderr.
    pub stderr: Tail,
    /// The most of the host's memory that it used at once, in bytes; known of what has bounds.
    pub peak_bytes: Option<u64>,
}

/// A child that does not outlive its watch: dropped early, its whole group is killed.
struct Leader(Option<Child>);

impl Leader {
    fn signal(&self, signal: Signal) {
        if let Some(child) = &self.0 {
            signal_group(child, signal);
        }
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        // It is not waited for: what hangs in the kernel would hang the worker with it.
        self.signal(Signal::KILL);
    }
}

/// Kills a child's whole group and reaps the child.
pub fn end_at_once(mut child: Child) {
    signal_group(&child, Signal::KILL);
    if let Err(error) = child.wait() {
        tracing::warn!(%error, pid = child.id(), "a killed subprocess could not be reaped");
    }
}

fn pid(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

/// Signals a group whose leader was not reaped yet, so that its id can't be somebody else's. A
/// program behind the shim leads one only from its first moments on; until then it is alone.
fn signal_group(child: &Child, signal: Signal) {
    let result = pid(child).map_or(Err(Errno::SRCH), |pid| {
        kill_process_group(pid, signal).or_else(|error| match error {
            Errno::SRCH => kill_process(pid, signal),
            other => Err(other),
        })
    });
    if let Err(error) = result
        && error != Errno::SRCH
    {
        tracing::warn!(%error, pid = child.id(), ?signal, "a process group could not be signalled");
    }
}

/// Watches a subprocess until it has ended and nothing of its tree is left. What it says is taken
/// in by `said`, and its progress handed to `progress` as it comes.
///
/// # Errors
/// What the system says when the subprocess can't be watched; it is dead then.
pub async fn watch<S: Stdout>(
    started: Started,
    limits: Limits,
    mut said: S,
    mut orders: Orders,
    mut progress: impl FnMut(Progress),
) -> io::Result<Ending<S>> {
    let Started { mut child, tree } = started;
    let pipes = (child.stdout.take().map(OwnedFd::from), child.stderr.take().map(OwnedFd::from));
    let id = pid(&child).ok_or_else(|| io::Error::other("a subprocess without an id"))?;
    let mut leader = Leader(Some(child));
    let (Some(stdout), Some(stderr)) = pipes else {
        return Err(io::Error::other("a subprocess without pipes"));
    };
    #[expect(deprecated, reason = "sound for an OwnedFd; its successor is an unsafe function")]
    let exit = AsyncFd::with_interest(pidfd_open(id, PidfdFlags::empty())?, Interest::READABLE)?;
    let stdout = Receiver::from_owned_fd(stdout)?;
    let stderr = Receiver::from_owned_fd(stderr)?;

    let start = Instant::now();
    let far = Duration::from_secs(365 * 86_400);
    let time_limit = start + limits.time.min(far);
    let stall_limit = |since: Instant| since + limits.stall.min(far);
    let mut deadline = pin!(sleep_until(time_limit.min(stall_limit(start))));
    let mut heard = start;
    let mut ended: Option<Ended> = None;
    let (mut stdout_open, mut stderr_open) = (true, true);
    let mut killed = false;
    let mut tail = Tail::default();
    let mut piece = vec![0; PIECE];
    let limit = tree.bounds.and_then(|bounds| bounds.memory_bytes);
    let is_looked_at = tree.bounds.is_some() && !tree.room.as_ref().is_some_and(Room::has_memory);
    let mut peak: Option<u64> = None;
    let mut look = interval_at(start + LOOK_EVERY, LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);

    loop {
        // What follows: end it for this reason.
        let mut reason = None;
        // The pipes come last: who floods them without a pause must not escape the rest.
        tokio::select! {
            biased;
            gone = exit.readable() => {
                gone?.retain_ready();
                break;
            }
            Ok(()) = orders.changed() => match *orders.borrow_and_update() {
                Some(Order::Finish(why)) => reason = Some(Ended::Asked(why)),
                Some(Order::Kill) if !killed => {
                    ended.get_or_insert(Ended::Asked(Return::Drain));
                    leader.signal(Signal::KILL);
                    killed = true;
                }
                _ => {}
            },
            () = deadline.as_mut(), if !killed => {
                if ended.is_some() {
                    leader.signal(Signal::KILL);
                    killed = true;
                } else if Instant::now() >= time_limit {
                    reason = Some(Ended::TimeLimit(limits.time));
                } else {
                    reason = Some(Ended::NoProgress(heard.elapsed()));
                }
            }
            _ = look.tick(), if is_looked_at => {
                if let Some(used) = tree.memory.used(&tree.job.mark, limit).await {
                    peak = peak.max(Some(used));
                    if limit.is_some_and(|limit| used > limit) {
                        reason = Some(Ended::Memory { used: Some(used), limit });
                    }
                }
            }
            ready = stdout.readable(), if stdout_open => {
                ready?;
                match stdout.try_read(&mut piece) {
                    Ok(0) => stdout_open = false,
                    Ok(count) => if let Some(news) = said.take_in(&piece[..count]) {
                        heard = Instant::now();
                        if ended.is_none() {
                            deadline.as_mut().reset(time_limit.min(stall_limit(heard)));
                        }
                        progress(news);
                    },
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
                if said.is_garbage() {
                    reason = Some(Ended::Garbage);
                }
            }
            ready = stderr.readable(), if stderr_open => {
                ready?;
                match stderr.try_read(&mut piece) {
                    Ok(0) => stderr_open = false,
                    Ok(count) => tail.take_in(&piece[..count]),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
        }
        if let (None, Some(reason)) = (ended, reason) {
            ended = Some(reason);
            leader.signal(Signal::TERM);
            deadline.as_mut().reset(Instant::now() + limits.grace.min(far));
        }
    }

    // The leader is a zombie now: stragglers of its group go first.
    leader.signal(Signal::KILL);
    let status = match leader.0.take() {
        Some(mut child) => child.wait()?,
        None => return Err(io::Error::other("a subprocess that was reaped by somebody else")),
    };
    // Past the runtime's own idea of readiness, which may lag behind the leader's last words.
    read_rest(&stdout, &mut piece, |bytes| {
        said.take_in(bytes);
    });
    read_rest(&stderr, &mut piece, |bytes| tail.take_in(bytes));
    let counted = end_tree(tree, limits.grace.min(ORPHANS_GRACE)).await?;
    let peak_bytes = counted.peak_bytes.or(peak);
    if !status.success() && (counted.over_limit || counted.host_was_out) {
        let limit = limit.filter(|_| counted.over_limit);
        ended = Some(Ended::Memory { used: peak_bytes, limit });
    }
    Ok(Ending { status, ended, stdout: said, stderr: tail, peak_bytes })
}

/// Ends what is left of a tree whose leader has ended, and reaps it. Returns what its cgroup has
/// counted.
async fn end_tree(tree: Tree, grace: Duration) -> io::Result<Counted> {
    let Tree { job, room, is_adopted, .. } = tree;
    let counted = match room {
        Some(room) => room.end().await,
        None => Counted::default(),
    };
    // Mostly there is nobody, and nothing to wait for.
    if !is_adopted || orphans::reap().map_or(true, |alive| !alive.is_empty()) {
        // Whoever looks at a process may be blocked by its driver: not this thread.
        let ended = spawn_blocking(move || job.end(is_adopted, grace)).await;
        ended.map_err(io::Error::other)??;
    }
    Ok(counted)
}

fn read_rest(pipe: impl AsFd, piece: &mut [u8], mut take_in: impl FnMut(&[u8])) {
    for _ in 0..LAST_READS {
        match rustix::io::read(&pipe, &mut *piece) {
            Ok(0) | Err(Errno::AGAIN) => return,
            Ok(count) => take_in(&piece[..count]),
            Err(Errno::INTR) => {}
            Err(error) => {
                tracing::debug!(%error, "the end of a subprocess's output could not be read");
                return;
            }
        }
    }
}
