//! Starts subprocesses: one plain OS thread that never ends.
//!
//! A runner asks the kernel to be killed when its parent *thread* ends (`PR_SET_PDEATHSIG`), so
//! the thread that starts it must live as long as the worker; a pool's thread would not. And
//! nothing is done between fork and exec, so that the standard library uses `posix_spawn`, which
//! does not copy the worker's page tables (measured: 1,340 starts a second, fork and exec 780).

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Seek, Write},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, mpsc},
    thread,
};

use rustix::fs::{MemfdFlags, memfd_create};
use shared::settings::ENV_BROKER;
use tokio::sync::oneshot;

use crate::child;

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

struct Request {
    start: Start,
    reply: oneshot::Sender<io::Result<Child>>,
}

/// The way to the thread. It ends when every clone is gone, which is at the process's end.
#[derive(Debug, Clone)]
pub struct Spawner(mpsc::Sender<Request>);

impl Spawner {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new() -> io::Result<Self> {
        let (sender, requests) = mpsc::channel::<Request>();
        thread::Builder::new().name("spawner".to_owned()).spawn(move || {
            for request in requests {
                let answer = start(request.start);
                if let Err(Ok(child)) = request.reply.send(answer) {
                    // Whoever asked is gone: nobody would watch this child.
                    child::end_at_once(child);
                }
            }
        })?;
        Ok(Self(sender))
    }

    /// Starts a subprocess in a process group of its own, with stdout and stderr piped.
    ///
    /// # Errors
    /// What the system says.
    pub async fn start(&self, start: Start) -> io::Result<Child> {
        let gone = || io::Error::other("the thread that starts subprocesses has ended");
        let (reply, answer) = oneshot::channel();
        self.0.send(Request { start, reply }).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

fn start(start: Start) -> io::Result<Child> {
    let mut command = Command::new(start.program);
    if let Some(folder) = start.folder {
        command.current_dir(folder);
    }
    command
        .args(start.args)
        // A job has no business with the broker, nor with its password.
        .env_remove(ENV_BROKER)
        .envs(start.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::from(in_memory(&start.input)?))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
}

/// A file in memory that holds `bytes`, at its beginning: unlike a pipe it takes any amount
/// without a reader.
fn in_memory(bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create("rigqueue-job", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}
