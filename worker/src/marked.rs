//! Processes that carry a worker's mark in their environment, whatever became of their parents,
//! groups and sessions.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read},
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStrExt, fs::MetadataExt},
    },
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, getuid, pidfd_open, pidfd_send_signal},
};

/// Environment variable of every child: which worker it belongs to, by that worker's instance.
pub const ENV_WORKER: &str = "RIGQUEUE_WORKER";
/// Environment variable of every child: which start of which job it belongs to: a
/// name for people, a space, and what no other start on this host has.
pub const ENV_JOB: &str = "RIGQUEUE_TREE";
/// The most of an environment that is looked at: what the kernel lets a process start with.
const MAX_ENVIRONMENT: u64 = 8 << 20;

/// What a process's environment says of where it belongs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    /// [`ENV_WORKER`].
    pub worker: Option<String>,
    /// [`ENV_JOB`].
    pub job: Option<String>,
}

impl Marks {
    /// The marks of a process; none when it has none, has ended, or is not ours to look at.
    #[must_use]
    pub fn of(pid: Pid) -> Self {
        let mut bytes = Vec::new();
        let file = File::open(format!("/proc/{}/environ", pid.as_raw_nonzero()));
        // One that ends while it is read has said nothing.
        match file.and_then(|file| file.take(MAX_ENVIRONMENT).read_to_end(&mut bytes)) {
            Ok(_) => Self::read(&bytes),
            Err(_) => Self::default(),
        }
    }

    fn read(environment: &[u8]) -> Self {
        let mut marks = Self::default();
        for entry in environment.split(|&byte| byte == 0) {
            for (name, mark) in [(ENV_WORKER, &mut marks.worker), (ENV_JOB, &mut marks.job)] {
                let value =
                    entry.strip_prefix(name.as_bytes()).and_then(|at| at.strip_prefix(b"="));
                if let (Some(value), None) = (value, &mark) {
                    *mark = Some(String::from_utf8_lossy(value).into_owned());
                }
            }
        }
        marks
    }

    /// The job's name, without what makes its start unique.
    #[must_use]
    pub fn job_name(&self) -> &str {
        let job = self.job.as_deref().unwrap_or_default();
        job.rsplit_once(' ').map_or(job, |(name, _)| name)
    }
}

/// A marked process. The descriptor names this very process: its id may be another's by now.
#[derive(Debug)]
pub struct Marked {
    /// Its id.
    pub pid: Pid,
    /// Its marks.
    pub marks: Marks,
    fd: OwnedFd,
}

impl Marked {
    /// The process with that id, if its marks are as wanted.
    pub fn find(pid: Pid, wanted: impl Fn(&Marks) -> bool) -> Option<Self> {
        if !wanted(&Marks::of(pid)) {
            return None;
        }
        // Once more with the process held: the id could have changed hands in between, and if it
        // does so after this a signal reaches nobody.
        let fd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        let marks = Marks::of(pid);
        wanted(&marks).then_some(Self { pid, marks, fd })
    }

    /// Signals it; nothing happens when it has ended.
    pub fn signal(&self, signal: Signal) {
        if let Err(error) = pidfd_send_signal(&self.fd, signal)
            && error != Errno::SRCH
        {
            tracing::warn!(%error, pid = %self.pid.as_raw_nonzero(), ?signal, "a process could not be signalled");
        }
    }

    /// Its command line, with spaces between the words.
    #[must_use]
    pub fn command(&self) -> String {
        let bytes = fs::read(format!("/proc/{}/cmdline", self.pid.as_raw_nonzero()));
        let bytes = bytes.unwrap_or_default();
        let words = bytes.split(|&byte| byte == 0).filter(|word| !word.is_empty());
        let words: Vec<_> = words.map(String::from_utf8_lossy).collect();
        words.join(" ").chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
    }

    /// Seconds since its start.
    #[must_use]
    pub fn age_seconds(&self) -> Option<f64> {
        let since_boot: f64 =
            fs::read_to_string("/proc/uptime").ok()?.split(' ').next()?.parse().ok()?;
        let ticks: f64 = stat_field(self.pid, 22)?.parse().ok()?;
        #[expect(clippy::cast_precision_loss, reason = "ticks a second: about a hundred")]
        let a_second = rustix::param::clock_ticks_per_second() as f64;
        Some((since_boot - ticks / a_second).max(0.0))
    }
}

/// A field of `/proc/PID/stat`, numbered from 1 as in proc(5); one after the process's name.
#[must_use]
pub fn stat_field(pid: Pid, number: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // The name may contain anything, a parenthesis included; the third field follows it.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(number.checked_sub(3)?).map(str::to_owned)
}

/// The ids of this user's processes.
///
/// # Errors
/// When `/proc` can't be read.
pub fn own_processes() -> io::Result<Vec<Pid>> {
    let uid = getuid().as_raw();
    let number = |name: &OsStr| std::str::from_utf8(name.as_bytes()).ok()?.parse().ok();
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(entry) = entry else { continue };
        let Some(pid) = number(&entry.file_name()).and_then(Pid::from_raw) else { continue };
        if entry.metadata().is_ok_and(|found| found.uid() == uid) {
            all.push(pid);
        }
    }
    Ok(all)
}

/// Every process of this user whose marks are as wanted.
///
/// # Errors
/// When `/proc` can't be read.
pub fn marked(wanted: impl Fn(&Marks) -> bool) -> io::Result<Vec<Marked>> {
    Ok(own_processes()?.into_iter().filter_map(|pid| Marked::find(pid, &wanted)).collect())
}

/// Waits until all of them have ended (a zombie has), or so many milliseconds; says whether they
/// have.
pub fn wait(processes: &[Marked], milliseconds: u32) -> bool {
    let until = std::time::Instant::now() + std::time::Duration::from_millis(milliseconds.into());
    let mut left: Vec<&Marked> = processes.iter().collect();
    loop {
        let mut fds: Vec<_> = left.iter().map(|it| PollFd::new(&it.fd, PollFlags::IN)).collect();
        let patience = until.saturating_duration_since(std::time::Instant::now());
        let patience = Timespec {
            tv_sec: patience.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: patience.subsec_nanos().into(),
        };
        if let Err(error) = poll(&mut fds, Some(&patience))
            && error != Errno::INTR
        {
            tracing::warn!(%error, "processes can't be waited for");
            return false;
        }
        let ended: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let mut ended = ended.into_iter();
        left.retain(|_| !ended.next().unwrap_or_default());
        if left.is_empty() {
            return true;
        }
        if std::time::Instant::now() >= until {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_whole_entries() {
        let marks = |text: &str| Marks::read(text.as_bytes());
        let both = marks("A=1\0RIGQUEUE_WORKER=w\0RIGQUEUE_TREE=run-1/job 2 uuid\0");
        assert_eq!((both.worker.as_deref(), both.job_name()), (Some("w"), "run-1/job 2"));
        assert_eq!(
            marks("XRIGQUEUE_WORKER=w\0RIGQUEUE_WORKERS=w\0A=RIGQUEUE_WORKER=w"),
            Marks::default()
        );
        assert_eq!(marks(""), Marks::default());
        // The first stands, as it does for getenv.
        assert_eq!(marks("RIGQUEUE_WORKER=a\0RIGQUEUE_WORKER=b").worker.as_deref(), Some("a"));
    }

    #[test]
    fn a_process_knows_its_age_and_its_words() {
        let me = rustix::process::getpid();
        let own = Marked::find(me, |_| true).unwrap();
        assert!(own.age_seconds().unwrap() < 3600.0);
        assert!(own.command().contains("worker"));
        let parent = rustix::process::getppid().unwrap().as_raw_nonzero().to_string();
        assert_eq!(stat_field(me, 4), Some(parent));
        assert!(own_processes().unwrap().contains(&me));
        assert!(!wait(&[own], 1), "this very process lives");
    }
}
