//! One run of a runner: a job on stdin, frames on stdout, an exit code.

use std::{
    io::{self, Read},
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use shared::{
    exit_codes,
    failpoint::{self, Point},
    job::{Job, Task},
    outcome::Failure,
    runner::{EXIT_REJECTED, Frame, FrameError, write_frame},
    wire::{MAX_MESSAGE, Wire as _, one_line},
};

use super::{
    args::{Args, ArgsError},
    blocks::{BlocksError, Contradiction, Question, drive},
    cpu::Cpu,
    process::{TieError, catch_term, tie_to_parent},
};
use crate::engine::Prepared;

/// Why a runner ended without a result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// Its arguments make no sense.
    #[error(transparent)]
    Args(#[from] ArgsError),
    /// It could not be set up as a process.
    #[error(transparent)]
    Tie(#[from] TieError),
    /// The job could not be read.
    #[error("the job can't be read from stdin: {0}")]
    Input(io::Error),
    /// The job makes no sense; [`Frame::Rejected`] was written.
    #[error("the job is rejected: {0}")]
    Rejected(String),
    /// A frame could not be written.
    #[error(transparent)]
    Output(#[from] FrameError),
    /// The engine missed what was planted for it; [`Frame::Failed`] was written.
    #[error("{0}")]
    PlantMissed(String),
    /// The engine is at fault.
    #[error(transparent)]
    Contradiction(#[from] Contradiction),
}

impl RunError {
    /// The exit code that tells of it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Args(_) => exit_codes::USAGE,
            Self::Rejected(_) => u8::try_from(EXIT_REJECTED).unwrap_or(exit_codes::USAGE),
            _ => exit_codes::INTERNAL,
        }
    }

    /// Whether nobody reads stdout any more: there is nobody to complain to.
    #[must_use]
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(FrameError::Pipe(error))
            if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl From<BlocksError<FrameError>> for RunError {
    fn from(error: BlocksError<FrameError>) -> Self {
        match error {
            BlocksError::Contradiction(contradiction) => contradiction.into(),
            missed @ BlocksError::PlantMissed { .. } => Self::PlantMissed(missed.to_string()),
            BlocksError::Progress(error) => error.into(),
        }
    }
}

/// Runs `runner-cpu` with the arguments that follow its name.
///
/// # Errors
/// [`RunError`], with the exit code that it stands for.
pub fn run_cpu(args: impl IntoIterator<Item = String>) -> Result<(), RunError> {
    tie_to_parent()?;
    let term = catch_term()?;
    let args = Args::parse(args)?;
    let mut out = io::stdout().lock();
    let job = match read_job(io::stdin().lock())? {
        Ok(job) => job,
        Err(reason) => {
            write_frame(&mut out, &Frame::Rejected(reason.clone()))?;
            return Err(RunError::Rejected(reason));
        }
    };
    failpoint::pass(Point::JobRead);
    let started = Instant::now();
    // Validation saw to it that this is a duration.
    let soft = args
        .soft
        .unwrap_or_else(|| Duration::try_from_secs_f64(job.soft_seconds).unwrap_or(Duration::MAX));
    let Task::Sieve { sieve, seeds, witness } = &job.task else {
        let reason = "this runner knows sieves alone".to_owned();
        write_frame(&mut out, &Frame::Rejected(reason.clone()))?;
        return Err(RunError::Rejected(reason));
    };
    let question = Question { sieve, seeds, witness: *witness };
    let mut cpu = Cpu::new(Prepared::for_seeds(job.engine, sieve, *witness, seeds), args.threads);
    let result = drive(
        &mut cpu,
        question,
        started,
        soft,
        || term.load(Ordering::Relaxed),
        |progress| write_frame(&mut out, &Frame::Progress(progress)),
    )
    .map_err(RunError::from);
    if let Err(RunError::PlantMissed(detail)) = &result {
        let failure = Failure::WitnessMissed;
        write_frame(&mut out, &Frame::Failed { failure, detail: detail.clone() })?;
    }
    let result = result?;
    Ok(write_frame(&mut out, &Frame::Done(result))?)
}

/// Reads a job up to end of file; the inner error says why it is rejected.
fn read_job(input: impl Read) -> Result<Result<Job, String>, RunError> {
    let mut bytes = Vec::new();
    // One byte more than a message may have tells a long one from one that just fits.
    input.take(MAX_MESSAGE as u64 + 1).read_to_end(&mut bytes).map_err(RunError::Input)?;
    if bytes.len() > MAX_MESSAGE {
        return Ok(Err(format!("the job is longer than {MAX_MESSAGE} bytes")));
    }
    let job = Job::from_body(&bytes);
    Ok(match job {
        Err(error) => {
            Err(format!("its {} bytes can't be decoded as a job: {}", bytes.len(), one_line(error)))
        }
        Ok(job) => match job.validate() {
            Err(error) => Err(error.to_string()),
            Ok(()) => Ok(job),
        },
    })
}
