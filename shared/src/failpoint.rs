//! Failpoints: places on a job's way where a process can be made to die, for tests of what
//! happens then.
//!
//! `RIGQUEUE_FAILPOINT=outcome_published:3` kills the process, as a power cut would, when it
//! passes [`Point::OutcomePublished`] for the third time (`:1` may be left out).
//! `RIGQUEUE_FAILPOINT=job_read@/tmp/once` kills only whoever then creates that file: of all the
//! processes that inherit the variable (a worker's runners, one after the other) one dies. Without
//! the variable a point costs one load.

use std::{
    env,
    fs::File,
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use rustix::process::{Signal, getpid, kill_process};

/// Environment variable that arms one point.
pub const ENV_FAILPOINT: &str = "RIGQUEUE_FAILPOINT";

/// A place between two steps that must not be thought of as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// The producer: the manifest is confirmed, no job is published.
    ManifestPublished,
    /// The producer: some jobs of a run are confirmed, more are to come.
    SomeJobsPublished,
    /// The producer: every job is confirmed, no bell was rung.
    JobsPublished,
    /// The worker: a job was taken, nothing was started.
    JobTaken,
    /// The worker: the job's child was started.
    ChildStarted,
    /// The worker: the child has ended, nobody knows of it.
    ChildEnded,
    /// The worker: the outcome is confirmed, the job is not acknowledged.
    OutcomePublished,
    /// The worker: the job is acknowledged.
    JobAcknowledged,
    /// The aggregator: results were taken, the ledger knows nothing of them.
    ResultsTaken,
    /// The aggregator: the ledger has them, they are not acknowledged.
    ResultsApplied,
    /// The aggregator: they are acknowledged.
    ResultsAcknowledged,
    /// The aggregator: jobs of the outbox are confirmed, their rows are still there.
    OutboxPublished,
    /// The aggregator: their rows are deleted.
    OutboxDeleted,
    /// The runner: its job is read, nothing is tested.
    JobRead,
    /// The runner: a block is tested, nothing is reported.
    BlockTested,
}

impl Point {
    /// Every point.
    pub const ALL: [Self; 15] = [
        Self::ManifestPublished,
        Self::SomeJobsPublished,
        Self::JobsPublished,
        Self::JobTaken,
        Self::ChildStarted,
        Self::ChildEnded,
        Self::OutcomePublished,
        Self::JobAcknowledged,
        Self::ResultsTaken,
        Self::ResultsApplied,
        Self::ResultsAcknowledged,
        Self::OutboxPublished,
        Self::OutboxDeleted,
        Self::JobRead,
        Self::BlockTested,
    ];

    /// Its name in the variable.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ManifestPublished => "manifest_published",
            Self::SomeJobsPublished => "some_jobs_published",
            Self::JobsPublished => "jobs_published",
            Self::JobTaken => "job_taken",
            Self::ChildStarted => "child_started",
            Self::ChildEnded => "child_ended",
            Self::OutcomePublished => "outcome_published",
            Self::JobAcknowledged => "job_acknowledged",
            Self::ResultsTaken => "results_taken",
            Self::ResultsApplied => "results_applied",
            Self::ResultsAcknowledged => "results_acknowledged",
            Self::OutboxPublished => "outbox_published",
            Self::OutboxDeleted => "outbox_deleted",
            Self::JobRead => "job_read",
            Self::BlockTested => "block_tested",
        }
    }
}

/// What the variable arms.
#[derive(Debug)]
struct Armed {
    point: Point,
    /// How often it is still passed, this time included.
    left: AtomicU32,
    /// What must be created first, if anything: the proof that nobody died here before.
    once: Option<PathBuf>,
}

impl Armed {
    /// Whether passing this point now is to die.
    fn is_due(&self, point: Point) -> bool {
        self.point == point
            && self.left.fetch_sub(1, Ordering::Relaxed) == 1
            && self.once.as_deref().is_none_or(is_first)
    }
}

/// Whether nobody has created the file before.
fn is_first(path: &Path) -> bool {
    File::create_new(path).is_ok()
}

static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

/// Passes a point: where it is armed and its turn has come, the process dies here.
pub fn pass(point: Point) {
    let armed = ARMED.get_or_init(|| env::var(ENV_FAILPOINT).ok().as_deref().and_then(parse));
    if armed.as_ref().is_some_and(|armed| armed.is_due(point)) {
        // It can't fail: the process is our own.
        kill_process(getpid(), Signal::KILL).ok();
    }
}

/// `NAME[:N][@FILE]`. Anything else arms nothing: a test that counts on it sees no death.
fn parse(text: &str) -> Option<Armed> {
    let (text, once) = match text.split_once('@') {
        Some((text, file)) => (text, Some(PathBuf::from(file))),
        None => (text, None),
    };
    let (name, times) = text.split_once(':').unwrap_or((text, "1"));
    let point = Point::ALL.into_iter().find(|point| point.name() == name)?;
    Some(Armed { point, left: AtomicU32::new(times.parse().ok()?), once })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_armed_by_name_and_turn() {
        let armed = |text| parse(text).map(|armed| (armed.point, armed.left.into_inner()));
        assert_eq!(armed("job_taken"), Some((Point::JobTaken, 1)));
        assert_eq!(armed("outcome_published:3"), Some((Point::OutcomePublished, 3)));
        assert_eq!(armed("nowhere"), None);
        assert_eq!(armed("job_taken:x"), None);
        for point in Point::ALL {
            assert_eq!(armed(point.name()), Some((point, 1)));
        }
        let armed = parse("job_taken:3").expect("a point");
        let due: Vec<bool> = (0..5).map(|_| armed.is_due(Point::JobTaken)).collect();
        assert_eq!(due, [false, false, true, false, false]);
        assert!(!parse("job_taken").expect("a point").is_due(Point::JobRead));
    }

    #[test]
    fn of_all_processes_with_the_same_file_one_dies() {
        let folder = tempfile::tempdir().expect("a folder");
        let text = format!("block_tested:2@{}", folder.path().join("once:@").display());
        let one = parse(&text).expect("a point");
        let other = parse(&text).expect("a point");
        let due = [&one, &other, &one, &other, &one].map(|armed| armed.is_due(Point::BlockTested));
        assert_eq!(due, [false, false, true, false, false]);
    }
}
