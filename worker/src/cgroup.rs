//! A cgroup (version 2) for each job that is bounded, where the system has delegated a subtree to
//! this worker (`Delegate=yes` in its systemd unit).
//!
//! The kernel then holds the job to its memory and its number of processes, counts what it used at
//! most, and ends it as a whole. Where nothing is delegated, limits of processes and a look at the
//! job's memory once a second stand in (`crate::memory`).

use std::{
    env, fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process,
    time::Duration,
};

use rustix::{
    fs::{Access, access, getxattr},
    process::{Pid, PidfdFlags, Signal, getuid, pidfd_open, pidfd_send_signal},
};
use tokio::time::{Instant, sleep};

/// Environment variable: the cgroup under which jobs get theirs, over where it would be otherwise;
/// empty for none.
pub const ENV_CGROUP: &str = "RIGQUEUE_CGROUP";
/// What a job's cgroup is called, before what is unique to it.
const PREFIX: &str = "job-";
/// How long is waited for the last process of a killed cgroup, from one look to the next.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// How often what will not end is told.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Where jobs get their cgroups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rooms(PathBuf);

impl Rooms {
    /// Those under the cgroup that [`ENV_CGROUP`] names, else under this process's own if that was
    /// delegated to it; none otherwise. In its own it moves itself into a leaf first: the kernel
    /// gives controllers only to cgroups without processes.
    #[must_use]
    pub fn find() -> Option<Self> {
        let told = |error: io::Error| tracing::warn!(%error, "jobs get no cgroups of their own");
        match env::var_os(ENV_CGROUP).map(PathBuf::from) {
            Some(none) if none.as_os_str().is_empty() => None,
            Some(folder) => Self::at(&folder).map_err(told).ok(),
            None => {
                let folder = delegated(&own()?)?;
                let moved = leave(&folder).and_then(|()| Self::at(&folder));
                moved.map_err(told).ok()
            }
        }
    }

    /// Those under that cgroup. What earlier workers left there empty is removed.
    ///
    /// # Errors
    /// When no cgroup can be made there.
    pub fn at(folder: &Path) -> io::Result<Self> {
        for entry in fs::read_dir(folder)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                // One that is in use stays: the system refuses.
                fs::remove_dir(entry.path()).ok();
            }
        }
        access(folder, Access::WRITE_OK)?;
        let controllers = fs::read_to_string(folder.join("cgroup.controllers"))?;
        for controller in controllers.split_ascii_whitespace() {
            if ["memory", "pids"].contains(&controller) {
                // Without it the job is merely not held to that.
                let file = folder.join("cgroup.subtree_control");
                if let Err(error) = fs::write(file, format!("+{controller}")) {
                    tracing::warn!(%error, controller, "jobs' cgroups go without a controller");
                }
            }
        }
        Ok(Self(folder.to_owned()))
    }

    /// Makes one, named after something unique, for at most so many bytes and processes.
    ///
    /// # Errors
    /// What the system says.
    pub fn room(&self, unique: &str, memory: Option<u64>, processes: u64) -> io::Result<Room> {
        let folder = self.0.join(format!("{PREFIX}{unique}"));
        fs::create_dir(&folder)?;
        let mut room = Room { folder, has_memory: false };
        room.has_memory = room.set("memory.oom.group", "1")?;
        if let Some(bytes) = memory {
            room.set("memory.max", &bytes.to_string())?;
            // What it wants beyond that ends it instead of making the host swap.
            room.set("memory.swap.max", "0")?;
        }
        room.set("pids.max", &processes.to_string())?;
        Ok(room)
    }
}

/// This process's cgroup, where version 2 is mounted.
fn own() -> Option<PathBuf> {
    let cgroup = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mount = mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        after.starts_with("cgroup2 ").then(|| before.split(' ').nth(4))?
    })?;
    // The root is everybody's.
    (!path.is_empty()).then(|| Path::new(mount).join(path))
}

/// The cgroup that was delegated to this process: its own, or the one above when the unit has
/// `DelegateSubgroup=`. systemd says so in an attribute, and gives the folder to the unit's user.
fn delegated(own: &Path) -> Option<PathBuf> {
    let uid = getuid().as_raw();
    let is_told = |folder: &Path| {
        ["trusted.delegate", "user.delegate"].iter().any(|name| {
            let mut value = [0; 2];
            matches!(getxattr(folder, *name, &mut value), Ok(1) if value[0] == b'1')
        })
    };
    let is_given = |folder: &Path| {
        uid != 0 && fs::metadata(folder).is_ok_and(|found| found.uid() == uid) && is_alone(folder)
    };
    let above = own.parent().filter(|above| is_told(above)).map(Path::to_owned);
    if is_told(own) || is_given(own) { Some(own.to_owned()) } else { above }
}

fn is_alone(folder: &Path) -> bool {
    fs::read_to_string(folder.join("cgroup.procs"))
        .is_ok_and(|ids| ids.trim() == process::id().to_string())
}

/// Moves this process into a leaf below.
fn leave(folder: &Path) -> io::Result<()> {
    let leaf = folder.join("worker");
    match fs::create_dir(&leaf) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => fs::write(leaf.join("cgroup.procs"), process::id().to_string()),
    }
}

/// One job's cgroup. Dropped, its processes are killed.
#[derive(Debug)]
pub struct Room {
    folder: PathBuf,
    has_memory: bool,
}

/// What a job's cgroup has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// The most memory that was in use at once, in bytes.
    pub peak_bytes: Option<u64>,
    /// Whether the kernel killed it for wanting more than its own limit.
    pub over_limit: bool,
    /// Whether the kernel killed it because the host was out of memory.
    pub host_was_out: bool,
}

impl Room {
    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether memory is counted and limited here.
    #[must_use]
    pub const fn has_memory(&self) -> bool {
        self.has_memory
    }

    /// Sets a value where there is such a file; says whether there is.
    fn set(&self, name: &str, value: &str) -> io::Result<bool> {
        let file = self.folder.join(name);
        match fs::OpenOptions::new().write(true).open(&file) {
            Ok(_) => fs::write(file, value).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn is_populated(&self) -> bool {
        value(&self.folder.join("cgroup.events"), "populated") == Some(1)
    }

    fn kill(&self) {
        let killed = self.set("cgroup.kill", "1").and_then(|killed| match killed {
            true => Ok(()),
            // Kernels before 5.14: one by one.
            false => self.kill_each(),
        });
        if let Err(error) = killed {
            let folder = self.folder.display();
            tracing::warn!(%error, %folder, "a job's cgroup could not be killed");
        }
    }

    fn kill_each(&self) -> io::Result<()> {
        let members = || fs::read_to_string(self.folder.join("cgroup.procs"));
        let is_member = |pid: Pid| -> io::Result<bool> {
            let pid = pid.as_raw_nonzero().to_string();
            Ok(members()?.lines().any(|line| line == pid))
        };
        for pid in members()?.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)) {
            // Once more with the process held: its id could be another's by now.
            if let Ok(fd) = pidfd_open(pid, PidfdFlags::empty())
                && is_member(pid)?
            {
                pidfd_send_signal(fd, Signal::KILL).ok();
            }
        }
        Ok(())
    }

    /// What it has counted so far.
    #[must_use]
    pub fn counted(&self) -> Counted {
        let peak = fs::read_to_string(self.folder.join("memory.peak")).ok();
        let events = self.folder.join("memory.events");
        let killed = value(&events, "oom_kill").unwrap_or_default() > 0;
        let wanted_more = value(&events, "oom").unwrap_or_default() > 0;
        Counted {
            peak_bytes: peak.and_then(|text| text.trim().parse().ok()),
            over_limit: killed && wanted_more,
            host_was_out: killed && !wanted_more,
        }
    }

    /// Kills what is left in it and waits until that has ended: for ever if it won't. Returns what
    /// it has counted.
    pub async fn end(self) -> Counted {
        let mut told = Instant::now();
        while self.is_populated() {
            self.kill();
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                let folder = self.folder.display();
                tracing::warn!(%folder, "a job's cgroup was killed and won't end");
            }
            // What was killed and adopted counts until it is reaped.
            crate::orphans::reap().ok();
            sleep(LOOK_AGAIN).await;
        }
        self.counted()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.is_populated() {
            self.kill();
        }
        // One that still has dying processes is removed when the next worker starts.
        fs::remove_dir(&self.folder).ok();
    }
}

/// The number after a name in a file of `name number` lines.
fn value(file: &Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that looks like the cgroup that systemd delegates.
    fn made(controllers: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("cgroup.controllers"), controllers).unwrap();
        fs::write(folder.path().join("cgroup.subtree_control"), "").unwrap();
        folder
    }

    #[test]
    fn what_the_kernel_counted_says_whose_fault_it_was() {
        let folder = made("cpu memory pids\n");
        let rooms = Rooms::at(folder.path()).unwrap();
        let control = fs::read_to_string(folder.path().join("cgroup.subtree_control")).unwrap();
        assert_eq!(control, "+pids", "each controller is asked for by itself");
        let room = rooms.room("a", Some(1 << 30), 100).unwrap();
        assert!(!room.has_memory(), "files that the kernel would have made");
        assert_eq!(room.counted(), Counted::default());
        let write = |name: &str, text: &str| fs::write(room.folder().join(name), text).unwrap();
        write("memory.peak", "1234567\n");
        write("memory.events", "low 0\nhigh 0\nmax 9\noom 2\noom_kill 3\noom_group_kill 1\n");
        let expected =
            Counted { peak_bytes: Some(1_234_567), over_limit: true, host_was_out: false };
        assert_eq!(room.counted(), expected);
        write("memory.events", "low 0\nhigh 0\nmax 0\noom 0\noom_kill 1\noom_group_kill 0\n");
        let expected = Counted { over_limit: false, host_was_out: true, ..expected };
        assert_eq!(room.counted(), expected);
    }

    #[test]
    fn limits_are_set_where_the_kernel_has_them() {
        let folder = made("memory pids\n");
        let rooms = Rooms::at(folder.path()).unwrap();
        // As the kernel would, by making the folder.
        let room = Room { folder: folder.path().join("job-a"), has_memory: true };
        fs::create_dir(room.folder()).unwrap();
        for name in ["memory.max", "pids.max"] {
            fs::write(room.folder().join(name), "max\n").unwrap();
        }
        assert!(room.set("memory.max", "1024").unwrap());
        assert!(!room.set("memory.swap.max", "0").unwrap());
        assert_eq!(fs::read_to_string(room.folder().join("memory.max")).unwrap(), "1024");
        assert!(rooms.room("a", None, 1).is_err(), "a name that is taken");
        assert!(Rooms::at(&folder.path().join("nowhere")).is_err());
    }
}
