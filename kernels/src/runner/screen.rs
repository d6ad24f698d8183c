//! `runner-cpu screen`: the seedless tests as a process of their own.

use std::{
    io::{self, Read as _},
    time::{Duration, Instant},
};

use shared::{
    runner::{FrameError, write_frame},
    screen::{MAX_DRAWS, Screen, ScreenFrame},
    wire::one_line,
};

use super::{args::Args, process::tie_to_parent, run::RunError};
use crate::screen::{check, screen};

/// The most bytes of a question: five a draw, and what else there is.
const MAX_QUESTION: u64 = 5 * MAX_DRAWS as u64 + 64 * 1024;
/// How often progress is reported at most.
const PROGRESS: Duration = Duration::from_millis(250);

/// Answers the question on stdin, with the arguments that follow `screen`.
///
/// # Errors
/// [`RunError`], with the exit code that it stands for.
pub fn run_screen(args: impl IntoIterator<Item = String>) -> Result<(), RunError> {
    tie_to_parent()?;
    let args = Args::parse(args)?;
    let mut out = io::stdout().lock();
    let question = match read()? {
        Ok(question) => question,
        Err(why) => {
            write_frame(&mut out, &ScreenFrame::Rejected(why.clone()))?;
            return Err(RunError::Rejected(why));
        }
    };
    let out = std::cell::RefCell::new(out);
    let write = |frame: &ScreenFrame| write_frame(&mut *out.borrow_mut(), frame);
    let mut reported = Instant::now();
    let progress = |share| -> Result<(), FrameError> {
        if reported.elapsed() < PROGRESS {
            return Ok(());
        }
        reported = Instant::now();
        write(&ScreenFrame::Progress(share))
    };
    screen(&question, args.threads.get(), progress, |finding| write(&ScreenFrame::Found(finding)))?;
    Ok(write(&ScreenFrame::Done)?)
}

/// The question; the inner error says why it is rejected.
fn read() -> Result<Result<Screen, String>, RunError> {
    let mut bytes = Vec::new();
    let input = io::stdin().lock();
    input.take(MAX_QUESTION + 1).read_to_end(&mut bytes).map_err(RunError::Input)?;
    if bytes.len() as u64 > MAX_QUESTION {
        return Ok(Err(format!("the question is longer than {MAX_QUESTION} bytes")));
    }
    let question: Result<Screen, _> = rmp_serde::from_slice(&bytes);
    Ok(match question {
        Err(error) => Err(format!("it can't be decoded: {}", one_line(error))),
        Ok(question) => check(&question).map(|()| question),
    })
}
