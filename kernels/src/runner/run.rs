//! One run of a runner: a job on stdin, frames on stdout, an exit code.

use std::{
    io::{self, Read},
    num::NonZeroUsize,
    process::ExitCode,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use shared::{
    exit_codes,
    failpoint::{self, Point},
    job::{Engine, Job, Task},
    runner::{EXIT_REJECTED, Frame, FrameError, write_frame},
    sieve::Seeds,
    wire::{MAX_MESSAGE, Wire as _, one_line},
};

use super::{
    args::{Args, ArgsError},
    blocks::{BlocksError, Contradiction, Question, drive},
    cpu::Cpu,
    process::{TieError, catch_term, tie_to_parent},
    statistics,
    tester::Tester,
};
use crate::{
    device::{Device, Driver, Fault, Form, Plan},
    engine::Prepared,
};

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
    /// What computes has failed; [`Frame::Failed`] was written.
    #[error(transparent)]
    Fault(#[from] Fault),
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
            Self::Fault(_) => exit_codes::DEVICE,
            Self::Rejected(_) => u8::try_from(EXIT_REJECTED).unwrap_or(exit_codes::USAGE),
            _ => exit_codes::INTERNAL,
        }
    }

    /// What the worker is told by it, as people are by the exit code and stderr.
    fn last_frame(&self) -> Option<Frame> {
        match self {
            Self::Rejected(reason) => Some(Frame::Rejected(reason.clone())),
            Self::Fault(Fault { failure, detail }) => {
                Some(Frame::Failed { failure: *failure, detail: one_line(detail) })
            }
            _ => None,
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
            BlocksError::Fault(fault) => fault.into(),
            BlocksError::Progress(error) => error.into(),
        }
    }
}

/// Runs `runner-cpu` with the arguments that follow its name.
///
/// # Errors
/// [`RunError`], with the exit code that it stands for.
pub fn run_cpu(args: impl IntoIterator<Item = String>) -> Result<(), RunError> {
    run(args, || Ok(()), |(), asked| Ok(on_processor(&asked)))
}

/// Runs a device's runner with the arguments that follow its name: `open` finds the device. Plans
/// that a device can't take, and engines that are not its own, are left to the processor.
///
/// # Errors
/// [`RunError`], with the exit code that it stands for.
pub fn run_device<D: Driver>(
    args: impl IntoIterator<Item = String>,
    open: impl FnOnce() -> Result<D, Fault>,
) -> Result<(), RunError> {
    run(args, open, |mut driver, asked| {
        if !matches!(asked.engine, Engine::Auto | Engine::Scan) {
            return Ok(on_processor(&asked));
        }
        let Question { sieve, seeds, witness } = asked.question;
        let listed = matches!(seeds, Seeds::Candidates { .. });
        match Plan::new(sieve, witness, listed, Form::Shortest) {
            Ok(plan) => Ok(Box::new(Device::new(&mut driver, &plan, sieve, witness)?)),
            Err(why) => {
                let (device, family) = (driver.describe(), sieve.family);
                say(&format!(
                    "'{device}' can't take this sieve of {family}, the processor does: {why}"
                ));
                Ok(on_processor(&asked))
            }
        }
    })
}

/// What a job asks of whatever computes.
struct Asked<'a> {
    engine: Engine,
    question: Question<'a>,
    threads: NonZeroUsize,
}

fn on_processor(asked: &Asked<'_>) -> Box<dyn Tester> {
    let Question { sieve, seeds, witness } = asked.question;
    let engine = Prepared::for_seeds(asked.engine, sieve, witness, seeds);
    Box::new(Cpu::new(engine, asked.threads))
}

fn run<D>(
    args: impl IntoIterator<Item = String>,
    open: impl FnOnce() -> Result<D, Fault>,
    prepare: impl FnOnce(D, Asked<'_>) -> Result<Box<dyn Tester>, Fault>,
) -> Result<(), RunError> {
    tie_to_parent()?;
    let term = catch_term()?;
    let args = Args::parse(args)?;
    let mut out = io::stdout().lock();
    let result = open().map_err(RunError::Fault).and_then(|device| {
        let job = read_job(io::stdin().lock())?.map_err(RunError::Rejected)?;
        failpoint::pass(Point::JobRead);
        let started = Instant::now();
        // Validation saw to it that this is a duration.
        let soft = args.soft.unwrap_or_else(|| {
            Duration::try_from_secs_f64(job.soft_seconds).unwrap_or(Duration::MAX)
        });
        let stop = || term.load(Ordering::Relaxed);
        let progress = |progress| write_frame(&mut out, &Frame::Progress(progress));
        match &job.task {
            Task::Sieve { sieve, seeds, witness } => {
                let question = Question { sieve, seeds, witness: *witness };
                let asked = Asked { engine: job.engine, question, threads: args.threads };
                let mut tester = prepare(device, asked)?;
                Ok(drive(&mut *tester, question, started, soft, stop, progress)?)
            }
            // The processor's alone, whichever runner a worker has started for it.
            Task::Statistics { statistics, seeds } => {
                let time = (started, soft);
                Ok(statistics::drive(statistics, seeds, args.threads, time, stop, progress)?)
            }
            _ => Err(RunError::Rejected("this runner does not know its kind".to_owned())),
        }
    });
    match result {
        Ok(result) => Ok(write_frame(&mut out, &Frame::Done(result))?),
        Err(error) => {
            if let Some(last) = error.last_frame() {
                write_frame(&mut out, &last)?;
            }
            Err(error)
        }
    }
}

/// Runs a runner as a process: its arguments, one line on stderr when it fails, its exit code.
pub fn report(
    name: &str,
    run: impl FnOnce(std::iter::Skip<std::env::Args>) -> Result<(), RunError>,
) -> ExitCode {
    match run(std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("{name}: {}", one_line(&error)));
            ExitCode::from(error.exit_code())
        }
    }
}

#[expect(clippy::print_stderr, reason = "stderr is where a runner speaks to people")]
fn say(line: &str) {
    eprintln!("{line}");
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
