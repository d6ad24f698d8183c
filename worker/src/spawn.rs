//! Starts subprocesses: one plain OS thread that never ends.
//!
//! A runner asks the kernel to be killed when its parent *thread* ends (`PR_SET_PDEATHSIG`), so
//! the thread that starts it must live as long as the worker; a pool's thread would not. And
//! nothing is done between fork and exec, so that the standard library uses `posix_spawn`, which
//! does not copy the worker's page tables (measured: 1,340 starts a second, fork and exec 780).
//!
//! A lease's descriptor is inheritable for the moment of its own job's start. Whatever else this
//! process starts at that moment would hold the device too, so all starts take turns: **whoever
//! starts anything in a worker that has leases does it through [`alone`]**, and not from the main
//! thread, whose children are taken for orphans (`crate::orphans`).

use std::{
    env,
    ffi::OsString,
    fs::File,
    io::{self, Seek, Write},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
};

use rustix::{
    fs::{MemfdFlags, memfd_create},
    io::{FdFlags, fcntl_setfd},
    process::{Resource, Rlimit, setrlimit},
};
use shared::{service_manager::ENV_SERVICE, settings::ENV_BROKER};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::{
    cgroup::{Room, Rooms},
    child,
    lease::Lease,
    marked::{ENV_JOB, ENV_WORKER},
    memory::Memory,
    orphans::{self, Job},
    shim::Confines,
};

/// What to start.
#[derive(Debug)]
pub struct Start {
    /// The executable.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its environment beside the worker's own.
    pub env: Arc<[(String, String)]>,
    /// What it reads on stdin, up to end of file.
    pub input: Arc<Vec<u8>>,
    /// The folder that it works in; none for the worker's own.
    pub folder: Option<PathBuf>,
}

/// What a subprocess is tied to.
#[derive(Debug, Default)]
pub struct Ties {
    /// What people know its job by; the program's name when empty.
    pub name: String,
    /// The device that it and what it starts hold from now on, as long as any of them lives.
    pub lease: Option<Arc<Lease>>,
    /// What it is bounded by: with the shim by cgroup or limits, else by a look at its memory.
    pub bounds: Option<Bounds>,
    /// For a program that is none of ours: the worker's executable ([`crate::shim::OWN`]), which
    /// gives it a session and ties it to the worker's life before its program begins.
    pub shim: Option<PathBuf>,
}

/// What a job's processes may use together. Whoever has bounds has its memory measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The host's memory, in bytes.
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    pub processes: u64,
    /// Whether it computes on a GPU, whose runtime maps far more memory than it uses.
    pub has_gpu: bool,
}

impl Bounds {
    /// What each process may map: a net under the look once a second, far above what the job
    /// should use, for stacks and arenas are mapped and never touched.
    fn mapped_bytes(&self) -> Option<u64> {
        let bytes = self.memory_bytes.filter(|_| !self.has_gpu)?;
        Some(bytes.saturating_mul(2).saturating_add(1 << 30))
    }
}

/// What was started: its leader, and what belongs to it.
#[derive(Debug)]
pub struct Started {
    pub(crate) child: Child,
    pub(crate) tree: Tree,
}

/// What belongs to a subprocess beside its leader.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) job: Job,
    pub(crate) bounds: Option<Bounds>,
    pub(crate) room: Option<Room>,
    pub(crate) memory: Memory,
    /// Whether its orphans come to this process.
    pub(crate) is_adopted: bool,
    /// It is free no earlier than the tree is gone.
    _lease: Option<Arc<Lease>>,
}

struct Request {
    start: Start,
    ties: Ties,
    reply: oneshot::Sender<io::Result<Started>>,
}

/// The way to the thread. It ends when every clone is gone, which is at the process's end.
#[derive(Debug, Clone)]
pub struct Spawner(mpsc::Sender<Request>);

impl Spawner {
    /// Starts the thread, makes this process the parent of whatever its subprocesses orphan, and
    /// forbids core files to itself and to them.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new() -> io::Result<Self> {
        Self::with_rooms(None)
    }

    /// The same, with cgroups for the jobs that have bounds.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn with_rooms(rooms: Option<Rooms>) -> io::Result<Self> {
        let (sender, requests) = mpsc::channel::<Request>();
        let is_adopted = orphans::adopt();
        // What is started inherits it: a crash must not fill a rig's disk.
        setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
        let memory = Memory::default();
        let unique = Uuid::now_v7().to_string();
        let mut own = Own { rooms, memory, is_adopted, unique, starts: 0 };
        thread::Builder::new().name("spawner".to_owned()).spawn(move || {
            for request in requests {
                let answer = own.start(request.start, request.ties);
                if let Err(Ok(started)) = request.reply.send(answer) {
                    // Whoever asked is gone: nobody would watch this child.
                    child::end_at_once(started.child);
                }
            }
        })?;
        Ok(Self(sender))
    }

    /// Starts a subprocess in a process group of its own, with stdout and stderr piped.
    ///
    /// # Errors
    /// What the system says.
    pub async fn start(&self, start: Start) -> io::Result<Started> {
        self.start_tied(start, Ties::default()).await
    }

    /// The same, with ties.
    ///
    /// # Errors
    /// What the system says.
    pub async fn start_tied(&self, start: Start, ties: Ties) -> io::Result<Started> {
        let gone = || io::Error::other("the thread that starts subprocesses has ended");
        let (reply, answer) = oneshot::channel();
        self.0.send(Request { start, ties, reply }).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

/// What every start has in common.
struct Own {
    rooms: Option<Rooms>,
    memory: Memory,
    is_adopted: bool,
    /// What is unique to this spawner.
    unique: String,
    /// How many starts there were.
    starts: u64,
}

impl Own {
    fn start(&mut self, start: Start, ties: Ties) -> io::Result<Started> {
        let Ties { name, lease, bounds, shim } = ties;
        self.starts += 1;
        let unique = format!("{}-{}", self.unique, self.starts);
        let program = start.program.file_name().unwrap_or_default().to_string_lossy();
        let name = if name.is_empty() { &program } else { name.as_str() };
        let mark = format!("{} {unique}", name.replace(char::is_control, "?"));
        let room = shim.as_ref().and_then(|_| self.room(&unique, bounds));
        let mut command = match shim {
            None => {
                let mut command = Command::new(&start.program);
                command.args(start.args).process_group(0);
                command
            }
            Some(shim) => {
                // The shim founds a session, which whoever leads a group can't.
                let confines = Confines {
                    cgroup: room.as_ref().map(|room| room.folder().to_owned()),
                    mapped_bytes: bounds.as_ref().and_then(Bounds::mapped_bytes),
                    processes: bounds.map(|bounds| bounds.processes),
                };
                let mut command = Command::new(shim);
                command.args(confines.wrap(start.program.as_os_str(), start.args));
                command
            }
        };
        if let Some(folder) = start.folder {
            command.current_dir(folder);
        }
        // A job has no business with the broker, nor with its password, nor with the worker's
        // service manager.
        for name in [ENV_BROKER].iter().chain(&ENV_SERVICE) {
            command.env_remove(name);
        }
        command
            .envs(start.env.iter().map(|(name, value)| (name, value)))
            .env(ENV_JOB, &mark)
            .stdin(Stdio::from(in_memory(&start.input)?))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = alone(|| match &lease {
            None => command.spawn(),
            Some(lease) => {
                fcntl_setfd(lease, FdFlags::empty())?;
                let child = command.spawn();
                if let Err(error) = fcntl_setfd(lease, FdFlags::CLOEXEC) {
                    tracing::error!(%error, "a lease can't be kept from the next job");
                }
                child
            }
        })?;
        let worker = start.env.iter().find(|(name, _)| name == ENV_WORKER);
        let worker = worker.map(|(_, own)| own.clone()).or_else(|| env::var(ENV_WORKER).ok());
        let job = Job { worker, mark };
        let (memory, is_adopted) = (self.memory.clone(), self.is_adopted);
        Ok(Started { child, tree: Tree { job, bounds, room, memory, is_adopted, _lease: lease } })
    }

    /// A cgroup for a job with bounds, where there are any.
    fn room(&self, unique: &str, bounds: Option<Bounds>) -> Option<Room> {
        let (rooms, bounds) = (self.rooms.as_ref()?, bounds?);
        let told = |error| tracing::warn!(%error, "a job gets no cgroup of its own");
        rooms.room(unique, bounds.memory_bytes, bounds.processes).map_err(told).ok()
    }
}

/// Starts something while nobody else does.
pub fn alone<T>(start: impl FnOnce() -> T) -> T {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let started = start();
    drop(turn);
    started
}

/// A file in memory that holds `bytes`, at its beginning: unlike a pipe it takes any amount
/// without a reader.
fn in_memory(bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create("rigqueue-job", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}
