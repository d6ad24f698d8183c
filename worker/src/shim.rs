//! `worker __exec`: what stands between the worker and a program that is none of ours.
//!
//! Whatever must be done in the child before its program begins is done here and not between fork
//! and exec, where it would cost the worker `posix_spawn`. It stays small: it runs once for each
//! script.

use std::{
    ffi::{OsStr, OsString},
    fs,
    io::{self, Write},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Command, ExitCode},
};

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit, setsid};
use shared::parent::{ENV_PARENT, end_with_parent};

/// The subcommand.
pub const WORD: &str = "__exec";
/// This very executable, for [`Confines::wrap`], even if its file was replaced meanwhile.
pub const OWN: &str = "/proc/self/exe";
/// The exit code when the program could not be started, with [`WORDS`] on stderr.
pub const NOT_STARTED: u8 = 126;
/// What the line on stderr begins with when the program could not be started.
pub const WORDS: &str = "worker __exec: ";
/// How readily the kernel takes a job rather than the rest of the host when memory is out
/// (`oom_score_adj`, -1000 to 1000).
const OOM_SCORE: &str = "500";

/// What a program is confined to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Confines {
    /// The cgroup that it joins.
    pub cgroup: Option<PathBuf>,
    /// How much private memory each of its processes may map for writing, in bytes
    /// (`RLIMIT_DATA`). Not for programs with a GPU, whose runtimes map far more than they use.
    pub mapped_bytes: Option<u64>,
    /// How many processes and threads it may add to what runs on the host now (`RLIMIT_NPROC`;
    /// without effect on root).
    pub processes: Option<u64>,
}

impl Confines {
    /// The arguments with which `worker` runs the program so confined.
    #[must_use]
    pub fn wrap(&self, program: &OsStr, args: Vec<OsString>) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec![WORD.into()];
        let number = |number: u64| OsString::from(number.to_string());
        let options = [
            ("--cgroup", self.cgroup.clone().map(OsString::from)),
            ("--mapped-bytes", self.mapped_bytes.map(number)),
            ("--processes", self.processes.map(number)),
        ];
        for (name, value) in options {
            words.extend(value.into_iter().flat_map(|value| [name.into(), value]));
        }
        words.extend(["--".into(), program.to_owned()]);
        words.extend(args);
        words
    }

    /// Reads what [`Confines::wrap`] wrote (without the subcommand), up to the program.
    fn read(words: &mut impl Iterator<Item = OsString>) -> Result<Self, ShimError> {
        let mut confines = Self::default();
        loop {
            let word = words.next().ok_or(ShimError::NoProgram)?;
            let Some(name) = word.to_str().filter(|&name| name != "--") else {
                return if word == "--" { Ok(confines) } else { Err(ShimError::Option(word)) };
            };
            let value = words.next().ok_or(ShimError::NoProgram)?;
            let number = || value.to_str().and_then(|text| text.parse().ok());
            match name {
                "--cgroup" => confines.cgroup = Some(PathBuf::from(value)),
                "--mapped-bytes" => confines.mapped_bytes = number(),
                "--processes" => confines.processes = number(),
                _ => return Err(ShimError::Option(word)),
            }
        }
    }
}

/// Why a program could not be started.
#[derive(Debug, thiserror::Error)]
enum ShimError {
    #[error("there is no program to run after --; this is for the worker's own use")]
    NoProgram,
    #[error("'{}' is no option; this is for the worker's own use", .0.display())]
    Option(OsString),
    #[error(transparent)]
    Orphaned(#[from] shared::parent::ParentGone),
    #[error("{what}: {source}")]
    System { what: String, source: io::Error },
}

/// Becomes the program that the words (those after the subcommand) name, in a session of its own,
/// bound to the worker's life, confined. Returns only when that failed.
pub fn run(mut words: impl Iterator<Item = OsString>) -> ExitCode {
    let Err(error) = become_program(&mut words);
    // Nobody is left to tell when stderr is closed.
    writeln!(io::stderr(), "{WORDS}{error}").ok();
    NOT_STARTED.into()
}

fn become_program(
    words: &mut impl Iterator<Item = OsString>,
) -> Result<std::convert::Infallible, ShimError> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |source| ShimError::System { what, source }
    };
    let confines = Confines::read(words)?;
    let program = words.next().ok_or(ShimError::NoProgram)?;
    match setsid() {
        // Whoever leads a group already can't found a session, and can be signalled as a tree.
        Ok(_) | Err(rustix::io::Errno::PERM) => {}
        Err(error) => return Err(failed("setsid")(error.into())),
    }
    end_with_parent(Signal::KILL)?;
    if let Some(folder) = &confines.cgroup {
        let joined = fs::write(folder.join("cgroup.procs"), "0");
        joined.map_err(failed("joining the job's cgroup"))?;
    }
    // The worker's own limit says the same; a script run by hand gets no core file either.
    lower(Resource::Core, 0)?;
    if let Some(bytes) = confines.mapped_bytes {
        lower(Resource::Data, bytes)?;
    }
    if let Some(more) = confines.processes {
        lower(Resource::Nproc, threads_of_the_host().saturating_add(more))?;
    }
    // Without it the kernel chooses as it likes.
    fs::write("/proc/self/oom_score_adj", OOM_SCORE).ok();
    // What it starts itself has another parent.
    let error = Command::new(&program).args(words).env_remove(ENV_PARENT).exec();
    Err(failed(&format!("{} could not be started", program.display()))(error))
}

/// Lowers a limit, never raises it.
fn lower(resource: Resource, limit: u64) -> Result<(), ShimError> {
    let maximum = getrlimit(resource).maximum.map_or(limit, |now| now.min(limit));
    setrlimit(resource, Rlimit { current: Some(maximum), maximum: Some(maximum) }).map_err(
        |error| ShimError::System { what: format!("limiting {resource:?}"), source: error.into() },
    )
}

/// How many threads there are on the host: at least as many as this user's, which is what the
/// limit is compared with.
fn threads_of_the_host() -> u64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let threads = text.split(' ').nth(3).and_then(|ratio| ratio.split_once('/'));
    threads.and_then(|(_, all)| all.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confines_go_through_the_command_line() {
        let full = Confines {
            cgroup: Some("/sys/fs/cgroup/a b".into()),
            mapped_bytes: Some(1 << 40),
            processes: Some(50),
        };
        for confines in [Confines::default(), full] {
            let words = confines.wrap("prog".as_ref(), vec!["--".into(), "--cgroup".into()]);
            let mut words = words.into_iter();
            assert_eq!(words.next().unwrap(), WORD);
            assert_eq!(Confines::read(&mut words).unwrap(), confines);
            assert_eq!(words.collect::<Vec<_>>(), ["prog", "--", "--cgroup"]);
        }
        for bad in [vec![], vec!["--"], vec!["--cgroup"], vec!["--what", "1", "--", "x"]] {
            let mut words = bad.iter().map(OsString::from);
            let read = Confines::read(&mut words);
            assert!(read.is_err() || words.next().is_none(), "{bad:?}");
        }
        assert!(threads_of_the_host() > 1);
    }
}
