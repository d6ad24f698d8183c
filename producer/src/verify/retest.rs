//! Re-testing: jobs given to runners of this machine, several side by side.
//!
//! A runner is killed when the thread that started it ends (`PR_SET_PDEATHSIG`), so the futures
//! here must be polled by a thread that lives as long as the command: its main thread. Dropped
//! early (Ctrl-C), they kill their runners.

use std::{
    io,
    path::PathBuf,
    process::{ExitStatus, Stdio},
};

use futures_util::{StreamExt as _, stream};
use shared::{
    job::{Arch, DEFAULT_ATTEMPTS, Engine, Job, Task, Urgency},
    outcome::{Failure, SieveResult},
    runner::{Frame, FrameError},
    sieve::{Seeds, Sieve},
    spans::Spans,
    wire::Wire as _,
    witness::Witness,
};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::runner::{BesideError, RUNNER, beside, command, feed, next_frame};

/// How much of a runner's stderr is read, in bytes.
const MOST_STDERR: u64 = 64 * 1024;
/// The time limits of a re-test, in seconds: none to speak of.
const NO_LIMIT: f64 = 1e9;

/// A re-test that came to nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RetestError {
    /// There is no runner.
    #[error(transparent)]
    Absent(#[from] BesideError),
    /// It could not be started or watched.
    #[error("{RUNNER} can't be run: {0}")]
    System(#[from] io::Error),
    /// It said something else than frames.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The job can't be encoded.
    #[error("a job for {RUNNER} can't be encoded: {0}")]
    Unencodable(#[from] rmp_serde::encode::Error),
    /// It rejected the job.
    #[error("{RUNNER} rejected what it was to test again: {0}")]
    Rejected(String),
    /// It found that it can't be trusted.
    #[error("{RUNNER} failed ({failure}): {detail}")]
    Failed {
        /// How.
        failure: Failure,
        /// Why, in one line.
        detail: String,
    },
    /// It ended without a result.
    #[error("{RUNNER} ended without a result ({status}): {said}")]
    Died {
        /// How it ended.
        status: ExitStatus,
        /// The last line it said.
        said: String,
    },
    /// It tested something else than it was asked to.
    #[error("{RUNNER} tested something else than it was asked to")]
    Strayed,
}

/// Runners of this machine.
#[derive(Debug, Clone)]
pub struct Runners {
    program: PathBuf,
    /// How many run at a time.
    pub side_by_side: usize,
}

/// A job that puts a question to seeds once more.
#[must_use]
pub(crate) fn job(sieve: &Sieve, engine: Engine, witness: Witness, seeds: Seeds) -> Job {
    Job {
        run: "verify".to_owned(),
        epoch: 1,
        id: "verify".to_owned(),
        seq: 1,
        task: Task::Sieve { sieve: sieve.clone(), seeds, witness },
        arch: Arch::Cpu,
        urgency: Urgency::High,
        engine,
        attempt: 1,
        max_attempts: DEFAULT_ATTEMPTS,
        starts: 0,
        refused_by: Vec::new(),
        failed_on: Vec::new(),
        time_limit_seconds: NO_LIMIT,
        soft_seconds: NO_LIMIT,
        memory_mb: 0,
    }
}

impl Runners {
    /// The runner beside this program, one for each core at a time.
    ///
    /// # Errors
    /// [`RetestError::Absent`] when there is none.
    pub fn beside_this_program() -> Result<Self, RetestError> {
        let side_by_side = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Self { program: beside(RUNNER)?, side_by_side })
    }

    /// Runs jobs, several side by side, and hands each one's whole result to `take` as it comes.
    /// `progress` hears how many seeds were tested since it was last called.
    ///
    /// # Errors
    /// What a job, a runner or `take` fails with; no further runner is started then.
    pub async fn test<T, E: From<RetestError>>(
        &self,
        jobs: impl Iterator<Item = Result<(T, Job), E>>,
        progress: &dyn Fn(u64),
        mut take: impl FnMut(T, SieveResult) -> Result<(), E>,
    ) -> Result<(), E> {
        let started = stream::iter(jobs).map(|asked| async move {
            let (tag, job) = asked?;
            Ok::<_, E>((tag, self.whole(job, progress).await?))
        });
        let mut results = std::pin::pin!(started.buffer_unordered(self.side_by_side));
        while let Some(result) = results.next().await {
            let (tag, result) = result?;
            take(tag, result)?;
        }
        Ok(())
    }

    /// Everything that a job asks for, by as many runners as that takes: each stops when it has
    /// as many survivors as one result may hold.
    async fn whole(
        &self,
        mut job: Job,
        progress: &dyn Fn(u64),
    ) -> Result<SieveResult, RetestError> {
        let mut whole = SieveResult::default();
        loop {
            let part = self.once(&job, progress).await?;
            let asked = job.span().ok_or(RetestError::Strayed)?;
            let tested: Spans = part.tested.iter().copied().collect();
            if tested.is_empty() || tested.within(asked) != tested {
                return Err(RetestError::Strayed);
            }
            whole.engine = part.engine;
            whole.tested.extend(part.tested);
            whole.survivors.extend(part.survivors.iter());
            whole.near_misses.merge(part.near_misses);
            whole.busy_seconds += part.busy_seconds;
            match tested.holes(asked)[..] {
                [] => return Ok(whole),
                [rest] => job = job.for_part(rest).ok_or(RetestError::Strayed)?,
                _ => return Err(RetestError::Strayed),
            }
        }
    }

    async fn once(&self, job: &Job, progress: &dyn Fn(u64)) -> Result<SieveResult, RetestError> {
        let body = job.to_body()?;
        let mut child =
            command(&self.program).args(["--threads", "1"]).stderr(Stdio::piped()).spawn()?;
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) else {
            return Err(io::Error::other("a child without pipes").into());
        };
        let listen = async {
            let mut said = Vec::new();
            let mut stderr = stderr.take(MOST_STDERR);
            stderr.read_to_end(&mut said).await.ok();
            tokio::io::copy(&mut stderr.into_inner(), &mut tokio::io::sink()).await.ok();
            said
        };
        let ((), last, said) =
            tokio::join!(feed(stdin, &body), last_frame(stdout, progress), listen);
        let status = child.wait().await?;
        match last? {
            Some(Frame::Done(result)) => Ok(result),
            Some(Frame::Rejected(why)) => Err(RetestError::Rejected(why)),
            Some(Frame::Failed { failure, detail }) => Err(RetestError::Failed { failure, detail }),
            _ => {
                let said = String::from_utf8_lossy(&said);
                let said = said.lines().last().unwrap_or("it said nothing").to_owned();
                Err(RetestError::Died { status, said })
            }
        }
    }
}

/// Reads frames up to the last one.
async fn last_frame(
    mut stdout: impl AsyncRead + Unpin,
    progress: &dyn Fn(u64),
) -> Result<Option<Frame>, FrameError> {
    let mut heard = 0;
    let mut hear = |tested: u64| {
        progress(tested.saturating_sub(heard));
        heard = heard.max(tested);
    };
    loop {
        let frame = next_frame(&mut stdout).await?;
        match &frame {
            Some(Frame::Progress(state)) => hear(state.tested),
            Some(Frame::Done(result)) => {
                let tested: u128 = result.tested.iter().map(|span| span.len()).sum();
                hear(u64::try_from(tested).unwrap_or(u64::MAX));
                return Ok(frame);
            }
            _ => return Ok(frame),
        }
    }
}
