//! NVIDIA's cards, from the worker's side: a subprocess asks the library, within a time.

use std::{
    io::{self, Read as _},
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};
use shared::{
    health::{Condition, Health},
    parent::ENV_PARENT,
};

use super::{ENV_ROOT, Found, Gpu, LeftOut, System, nvml::Answer};
use crate::spawn::alone;

/// How long the first question may take: it may load the driver, card by card.
const PATIENCE_FIRST: Duration = Duration::from_secs(60);
/// How long a later one may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The most bytes of an answer.
const MAX_BYTES: usize = 1 << 20;

/// The cards that the driver describes.
///
/// # Errors
/// One line, when there is a driver and it does not answer.
pub(super) fn found(system: &System) -> Result<Found, String> {
    let answer = ask(system, PATIENCE_FIRST)?;
    let failed = answer.failed.into_iter().map(|why| LeftOut {
        pci: String::new(),
        name: "an NVIDIA card".to_owned(),
        why,
    });
    Ok(Found {
        gpus: answer.gpus.into_iter().map(|seen| seen.gpu).collect(),
        left_out: failed.collect(),
    })
}

/// The health of some cards, in their order.
pub(super) fn health(gpus: &[Gpu], system: &System) -> Vec<Health> {
    let answer = ask(system, PATIENCE);
    let of = |gpu: &Gpu| match &answer {
        Err(why) => Health::without_readings(Condition::Unreadable, why.clone()),
        Ok(answer) => {
            let seen = answer.gpus.iter().find(|seen| seen.gpu.uuid == gpu.uuid);
            seen.map(|seen| seen.health.clone()).unwrap_or_else(|| {
                let said = answer.failed.join("; ");
                let why = format!("NVIDIA's driver does not show it any more; {said}");
                let why = why.trim_end_matches("; ");
                Health::without_readings(Condition::Lost, why)
            })
        }
    };
    gpus.iter().map(of).collect()
}

fn ask(system: &System, patience: Duration) -> Result<Answer, String> {
    let bytes = said(system, patience)
        .map_err(|error| format!("the subprocess that asks its library failed: {error}"))?;
    let answer: Answer = serde_json::from_slice(&bytes)
        .map_err(|error| format!("the subprocess that asks its library told nonsense: {error}"))?;
    match answer.broken {
        Some(why) => Err(why),
        None => Ok(answer),
    }
}

/// What the subprocess writes. It ends with the thread that asks (`ENV_PARENT`), which waits here.
fn said(system: &System, patience: Duration) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + patience;
    let mut command = Command::new(system.worker());
    command
        .arg0("worker")
        .arg("__nvml")
        .env(ENV_ROOT, if system.is_real() { "".as_ref() } else { system.root().as_os_str() })
        .env(ENV_PARENT, std::process::id().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = alone(|| command.spawn())?;
    let told = told(&mut child, deadline);
    let mut grace = deadline;
    if told.is_err() {
        child.kill().ok();
        grace = Instant::now() + Duration::from_secs(1);
    }
    // What hangs in the kernel can't be killed, and is not waited for.
    if ended(&child, grace).is_ok() {
        // Whoever else reaps this process's children may have been first.
        child.wait().ok();
    }
    told
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
fn within(deadline: Instant, file: &impl std::os::fd::AsFd) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    /// A subprocess that does this instead.
    fn asked(script: &str, patience: Duration) -> Result<Answer, String> {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("worker");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        ask(&System::recorded(folder.path(), program), patience)
    }

    #[test]
    fn a_library_that_hangs_is_not_waited_for() {
        let why = asked("echo '{'; exec sleep 600", Duration::from_millis(50)).unwrap_err();
        assert!(why.contains("did not answer in time"), "{why}");
        let long = asked("exec yes", Duration::from_secs(60)).unwrap_err();
        assert!(long.contains("more than"), "{long}");
    }

    #[test]
    fn the_subprocess_is_told_whose_it_is_and_what_to_do() {
        let script = format!(
            "[ \"$1 ${ENV_PARENT}\" = \"__nvml {}\" ] && echo '{{\"driver\":\"1\"}}'",
            std::process::id()
        );
        let answer = asked(&script, Duration::from_secs(60)).unwrap();
        assert_eq!(answer.driver.as_deref(), Some("1"));
        let gone = asked("exit 1", Duration::from_secs(60)).unwrap_err();
        assert!(gone.contains("nonsense"), "{gone}");
    }
}
