//! What a job leaves behind: processes that left its group or session and lost their parents.
//!
//! The worker is a child subreaper: whatever of its descendants loses its parent becomes its own
//! child. At the moment when a job's leader has ended, everything that is left of the job is such
//! a child or a descendant of one. The kernel lists the children of each *thread*, and adopted ones
//! go to the main thread, which starts nothing itself; so one short file tells whether a job has
//! left anything, and only then `/proc` is searched for its mark.
//!
//! This is the one place that reaps what the standard library did not start, one id at a time and
//! never "any child", which could steal the exit status of a job.

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, getpid, getuid, set_child_subreaper, waitid,
};

use crate::marked::{Marked, Marks, marked, wait};

/// How long an orphan without our mark is let be: one that is being started has none for a moment.
const STRANGE_FOR: Duration = Duration::from_millis(200);
/// How long is waited before looking again, in milliseconds.
const LOOK_AGAIN: u32 = 20;
/// How long is waited for the end of an orphan without our mark. What hangs in a driver can't be
/// killed, and no slot in particular is to blame for it.
const STRANGE_PATIENCE: Duration = Duration::from_secs(10);
/// How often what will not end is told.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Makes this process the parent of its orphaned descendants. Says whether it can tell them from
/// its other children; where the kernel can't (`CONFIG_PROC_CHILDREN`), it does not adopt, and
/// each job's mark is searched for at its end.
#[must_use]
pub fn adopt() -> bool {
    let adopted = adopted().and_then(|_| Ok(set_child_subreaper(Some(getpid()))?));
    if let Err(error) = &adopted {
        tracing::warn!(%error, "orphans can't be adopted; each job's are searched for at its end");
    }
    adopted.is_ok()
}

/// Orphans that this process was given, dead or alive.
fn adopted() -> io::Result<Vec<Pid>> {
    // Open once for all: it is read at the end of every job.
    static CHILDREN: OnceLock<File> = OnceLock::new();
    let file = match CHILDREN.get() {
        Some(file) => file,
        None => {
            let main = getpid().as_raw_nonzero();
            let file = File::open(format!("/proc/self/task/{main}/children"))?;
            CHILDREN.get_or_init(|| file)
        }
    };
    let mut text = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match file.read_at(&mut piece, text.len() as u64)? {
            0 => break,
            count => text.extend_from_slice(&piece[..count]),
        }
    }
    let ids = String::from_utf8_lossy(&text);
    Ok(ids.split_ascii_whitespace().filter_map(|id| Pid::from_raw(id.parse().ok()?)).collect())
}

/// Whoever has it may reap. It holds the orphans without our mark that would not end and are not
/// waited for again.
fn turn() -> MutexGuard<'static, Vec<Pid>> {
    static TURN: Mutex<Vec<Pid>> = Mutex::new(Vec::new());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reaps the adopted orphans that have ended; returns those that live and are waited for.
/// Costs microseconds.
///
/// # Errors
/// When the kernel does not list them.
pub fn reap() -> io::Result<Vec<Pid>> {
    // One at a time: between the list and the wait, nobody else may let an id go.
    let mut turn = turn();
    let mut alive = adopted()?;
    alive.retain(|&pid| {
        let ended = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        matches!(ended, Ok(None))
    });
    turn.retain(|pid| alive.contains(pid));
    alive.retain(|pid| !turn.contains(pid));
    Ok(alive)
}

/// A job's marks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its worker's instance, where its processes are told.
    pub worker: Option<String>,
    /// What is unique to this start of it.
    pub mark: String,
}

impl Job {
    fn owns(&self, marks: &Marks) -> bool {
        marks.job.as_deref() == Some(&self.mark)
    }

    /// Whose environment does not name this worker belongs to none of its jobs that we could
    /// tell, and could hold a device.
    fn is_strange(&self, marks: &Marks) -> bool {
        marks.worker != self.worker
    }

    /// Ends what is left of this job after its leader's end, and reaps it: TERM, `grace`, KILL.
    /// Returns how many processes were ended. It blocks, for ever if one can't be killed.
    ///
    /// # Errors
    /// When `/proc` can't be read.
    pub fn end(&self, is_adopted: bool, grace: Duration) -> io::Result<usize> {
        let begun = Instant::now();
        let mut told = begun;
        let mut asked: Vec<Pid> = Vec::new();
        let mut strange: HashMap<Pid, Instant> = HashMap::new();
        loop {
            let alive = if is_adopted { reap()? } else { Vec::new() };
            let now = Instant::now();
            let marks = alive.iter().map(|&pid| (pid, Marks::of(pid)));
            let (own, other): (Vec<_>, Vec<_>) = marks.partition(|(_, marks)| self.owns(marks));
            let other = other.iter().filter(|(pid, marks)| self.is_strange(marks) && is_ours(*pid));
            strange = other.map(|&(pid, _)| (pid, *strange.get(&pid).unwrap_or(&now))).collect();
            if is_adopted && own.is_empty() && strange.is_empty() {
                return Ok(asked.len());
            }
            for (pid, _) in strange.iter().filter(|(_, since)| now - **since >= STRANGE_PATIENCE) {
                let pid = *pid;
                tracing::warn!(pid = %pid.as_raw_nonzero(), "an orphan won't end and is let be");
                turn().push(pid);
            }
            let mut left = marked(|marks| self.owns(marks))?;
            let ripe = strange.iter().filter(|(_, since)| now - **since >= STRANGE_FOR);
            left.extend(ripe.filter_map(|(&pid, _)| Marked::find(pid, |it| self.is_strange(it))));
            if left.is_empty() && strange.is_empty() {
                return Ok(asked.len());
            }
            for process in &left {
                let is_new = !asked.contains(&process.pid);
                if is_new {
                    let (job, command) = (&self.mark, process.command());
                    let pid = process.pid.as_raw_nonzero();
                    tracing::info!(job, %pid, command, "what the job left behind is ended");
                    asked.push(process.pid);
                }
                if now - begun >= grace {
                    process.signal(Signal::KILL);
                } else if is_new {
                    process.signal(Signal::TERM);
                }
            }
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                let processes = left.len();
                tracing::warn!(job = self.mark, processes, "what the job left behind won't end");
            }
            if left.is_empty() {
                std::thread::sleep(Duration::from_millis(LOOK_AGAIN.into()));
            } else {
                wait(&left, LOOK_AGAIN);
            }
        }
    }
}

/// Whether it may be signalled. Its folder's owner does not tell: it is root where a process does
/// not let itself be traced.
fn is_ours(pid: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero()));
    let status = status.unwrap_or_default();
    let real = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().next());
    getuid().is_root() || real.and_then(|uid| uid.parse().ok()) == Some(getuid().as_raw())
}
