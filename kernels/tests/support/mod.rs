//! What the tests of the runner share: jobs, and running the real binary on them.
#![expect(clippy::unwrap_used, reason = "a test stops where something is wrong")]

use std::{
    io::Write,
    process::{Child, Command, Stdio},
};

use shared::{
    families::Family,
    job::{Arch, Engine, Job, Task, Urgency},
    outcome::SieveResult,
    runner::{Frame, read_frame},
    sieve::{Direction, Mode, Seeds, Sieve, Skips},
    spans::Span,
    witness::Witness,
};

/// A window of 12 draws under three skips, all of which must match.
pub(crate) fn sieve(family: Family, need: u32) -> Sieve {
    Sieve {
        family,
        direction: Direction::Forward,
        mode: Mode::Fixed,
        modulus: 1000,
        draws: (0..12).map(|draw| (draw * 617 + 123) % 1000).collect(),
        advance: 0,
        skips: Skips { lo: 0, hi: 2 },
        need,
        reverse_need: need,
    }
}

/// A job for a sieve whose near misses have one match among their first draws.
pub(crate) fn job(sieve: Sieve, seeds: Seeds) -> Job {
    let witness = Witness::new(sieve.window(), sieve.need, 1);
    Job {
        run: "run".to_owned(),
        epoch: 1,
        id: "job".to_owned(),
        seq: 1,
        task: Task::Sieve { sieve, seeds, witness },
        arch: Arch::Cpu,
        urgency: Urgency::Normal,
        engine: Engine::Auto,
        attempt: 1,
        max_attempts: 3,
        starts: 0,
        refused_by: Vec::new(),
        failed_on: Vec::new(),
        time_limit_seconds: 600.0,
        soft_seconds: 600.0,
        memory_mb: 0,
    }
}

pub(crate) fn range(first: u64, last: u64) -> Seeds {
    Seeds::Range(Span::new(first, last).unwrap())
}

/// Starts the runner and gives it these bytes.
pub(crate) fn start(input: &[u8], args: &[&str]) -> Child {
    start_as(Command::new(env!("CARGO_BIN_EXE_runner-cpu")).args(args), input)
}

/// Starts a runner as a command says and gives it these bytes.
pub(crate) fn start_as(command: &mut Command, input: &[u8]) -> Child {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child
}

/// What a runner said and how it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) frames: Vec<Frame>,
    pub(crate) code: Option<i32>,
    pub(crate) stderr: String,
}

pub(crate) fn end(child: Child) -> Ended {
    let output = child.wait_with_output().unwrap();
    let mut bytes = &output.stdout[..];
    let frames = std::iter::from_fn(|| read_frame(&mut bytes).unwrap()).collect();
    Ended {
        frames,
        code: output.status.code(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Ended {
    /// The result of a run that went well.
    pub(crate) fn result(&self) -> &SieveResult {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        match self.frames.last() {
            Some(Frame::Done(result)) => result,
            other => panic!("the last frame is {other:?}"),
        }
    }
}

/// Runs a job to its end.
pub(crate) fn run(job: &Job, args: &[&str]) -> Ended {
    end(start(&rmp_serde::to_vec_named(job).unwrap(), args))
}
