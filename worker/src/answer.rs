//! A short subprocess that is asked something: what it writes on stdout, within a time.

use std::{
    io::{self, Read as _},
    os::fd::AsFd,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};

use crate::spawn::alone;

/// The most bytes of an answer.
const MAX_BYTES: usize = 1 << 20;

/// What a subprocess answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// All that it wrote.
    pub(crate) said: Vec<u8>,
    /// How it ended; `None` when it has closed its stdout and does not end, or somebody else
    /// reaped it.
    pub(crate) status: Option<ExitStatus>,
}

/// Starts a subprocess with nothing on stdin and waits for its answer. One that is late or says
/// more than 1 MiB is killed.
///
/// # Errors
/// What the system says, or that it was late or said too much.
pub(crate) fn answer(command: &mut Command, patience: Duration) -> io::Result<Answer> {
    let deadline = Instant::now() + patience;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = alone(|| command.spawn())?;
    let told = told(&mut child, deadline);
    let mut grace = deadline;
    if told.is_err() {
        child.kill().ok();
        grace = Instant::now() + Duration::from_secs(1);
    }
    // What hangs in the kernel can't be killed, and is not waited for.
    let mut status = None;
    if ended(&child, grace).is_ok() {
        // Whoever else reaps this process's children may have been first.
        status = child.wait().ok();
    }
    Ok(Answer { said: told?, status })
}

fn told(child: &mut Child, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut pipe = child.stdout.take().ok_or_else(|| io::Error::other("it has no stdout"))?;
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        within(deadline, &pipe)?;
        match pipe.read(&mut piece)? {
            0 => return Ok(bytes),
            count => bytes.extend_from_slice(&piece[..count]),
        }
        if bytes.len() > MAX_BYTES {
            return Err(io::Error::other(format!("it said more than {MAX_BYTES} bytes")));
        }
    }
}

fn ended(child: &Child, deadline: Instant) -> io::Result<()> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("it has no process id"))?;
    within(deadline, &pidfd_open(pid, PidfdFlags::empty())?)
}

/// Waits until something can be read.
fn within(deadline: Instant, file: &impl AsFd) -> io::Result<()> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&left)) {
            Ok(0) => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "it did not answer in time"));
            }
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
