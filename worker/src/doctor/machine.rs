//! The machine: folders, programs, limits.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use rustix::{
    fs::statvfs,
    process::{Resource, getrlimit},
};
use shared::settings::{Settings, has_password};

use super::{examination::Subject, findings::Findings};
use crate::{runtime_folder, slots::runner_of};

const MIB: u64 = 1 << 20;
/// Descriptors of a worker: its connections, and for each job three pipes, a pidfd, a lease, its
/// input and what is being read of `/proc`.
const DESCRIPTORS: u64 = 64;
const DESCRIPTORS_A_JOB: u64 = 8;
/// Less than this in the data folder, in MiB, and a worker is likely to fill the disk.
const ROOM_MB: u64 = 1024;

/// Where the settings came from, and who may read a password in them.
pub(super) fn settings(subject: &Subject<'_>, findings: &mut Findings) {
    let node = &subject.identity.node;
    let arch = subject.settings.worker.arch;
    let Some(file) = subject.file else {
        findings.ok("settings", format!("built-in defaults; node {node}, jobs run on {arch}"));
        return;
    };
    let shown = file.display();
    let readable = fs::metadata(file).is_ok_and(|about| about.permissions().mode() & 0o004 != 0);
    if readable && has_password(&subject.settings.broker.url) {
        let found = format!("{shown} holds the broker's password and everybody may read it");
        findings.warn("settings", found, format!("chmod o-r {shown}"));
    } else {
        findings.ok("settings", format!("{shown}; node {node}, jobs run on {arch}"));
    }
}

/// The folders that a worker writes to and the programs that it starts.
pub(super) fn folders(subject: &Subject<'_>, findings: &mut Findings) {
    match runtime_folder() {
        Ok(folder) => findings.ok("runtime", format!("{} (locks)", folder.display())),
        Err(error) => findings.fail("runtime", error, "a worker can't start without one"),
    }
    let home = subject.home;
    let cache = subject.settings.worker.cache_mb;
    match room(home) {
        Err(error) => findings.fail(
            "home",
            format!("the data folder {} can't be written: {error}", home.display()),
            "set RIGQUEUE_HOME to a folder that this user may write",
        ),
        Ok(free) if free < ROOM_MB + cache => findings.warn(
            "home",
            format!("{} has {free} MiB left", home.display()),
            format!("worker.cache_mb alone is {cache} MiB: make room, or lower it"),
        ),
        Ok(free) => findings.ok("home", format!("{}, {free} MiB free", home.display())),
    }
    let runner = subject.programs.join(runner_of(subject.settings.worker.arch));
    match fs::metadata(&runner) {
        Ok(about) if about.is_file() && about.permissions().mode() & 0o111 != 0 => {
            findings.ok("runner", runner.display());
        }
        Ok(_) => findings.fail(
            "runner",
            format!("{} is not executable", runner.display()),
            format!("chmod +x {}", runner.display()),
        ),
        Err(error) => findings.fail(
            "runner",
            format!("{}: {error}", runner.display()),
            "build or install it beside the worker",
        ),
    }
}

/// Free MiB of the disk below a folder that this user can write to; where it does not exist yet,
/// below the nearest that does.
pub(super) fn room(folder: &Path) -> io::Result<u64> {
    let mut there = folder.to_owned();
    while !there.exists() {
        there = there.parent().map(PathBuf::from).ok_or(io::ErrorKind::NotFound)?;
    }
    rustix::fs::access(&there, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK)?;
    let about = statvfs(&there)?;
    Ok(about.f_bavail.saturating_mul(about.f_frsize) / MIB)
}

/// What the system lets this user open and start.
pub(super) fn limits(settings: &Settings, findings: &mut Findings) {
    let jobs = u64::from(settings.worker.max_jobs);
    let wanted = DESCRIPTORS + jobs * DESCRIPTORS_A_JOB;
    match getrlimit(Resource::Nofile).current {
        Some(limit) if limit < wanted => findings.fail(
            "descriptors",
            format!("{limit} open files allowed; {jobs} jobs need {wanted}"),
            format!("LimitNOFILE={wanted} in the unit, or `ulimit -n {wanted}` before the worker"),
        ),
        Some(limit) => findings.ok("descriptors", format!("{limit} open files allowed")),
        None => findings.ok("descriptors", "any number of open files allowed"),
    }
    // A GPU runtime starts some twenty threads, a Python script with its libraries more.
    let wanted = jobs * 64;
    match getrlimit(Resource::Nproc).current {
        Some(limit) if limit < wanted => findings.warn(
            "processes",
            format!("{limit} processes and threads allowed; {jobs} jobs may need {wanted}"),
            format!("TasksMax= and LimitNPROC={wanted} in the unit, or lower worker.max_jobs"),
        ),
        Some(limit) => findings.ok("processes", format!("{limit} processes and threads allowed")),
        None => findings.ok("processes", "any number of processes and threads allowed"),
    }
}
