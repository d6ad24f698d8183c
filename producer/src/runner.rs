//! A runner of this machine as a child process: where it lies, how it is started, what it says.

use std::{
    io,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde::de::DeserializeOwned;
use shared::{
    parent::ENV_PARENT,
    runner::{FrameError, decode_frame, frame_length},
    settings::ENV_BROKER,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{ChildStdin, Command},
};

use crate::failure::Failure;

/// The runner that computes for commands of this machine.
pub(crate) const RUNNER: &str = "runner-cpu";

/// A program that should lie beside this one.
#[derive(Debug, thiserror::Error)]
pub enum BesideError {
    /// It does not.
    #[error(
        "there is no '{name}' beside {}: build or install all of RigQueue's binaries together",
        .own.display()
    )]
    Absent {
        /// The program.
        name: &'static str,
        /// This one.
        own: PathBuf,
    },
    /// Nobody knows where this one lies.
    #[error("this program can't find itself: {0}")]
    Own(#[from] io::Error),
}

impl From<BesideError> for Failure {
    fn from(error: BesideError) -> Self {
        match error {
            BesideError::Absent { .. } => Self::usage(error),
            BesideError::Own(_) => Self::internal(error),
        }
    }
}

/// The program of that name beside this one.
///
/// # Errors
/// [`BesideError`] when there is none.
pub(crate) fn beside(name: &'static str) -> Result<PathBuf, BesideError> {
    let own = std::env::current_exe()?;
    let program = own.with_file_name(name);
    if program.is_file() { Ok(program) } else { Err(BesideError::Absent { name, own }) }
}

/// What starts a runner, which ends when it is dropped or when its parent does.
pub(crate) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env(ENV_PARENT, std::process::id().to_string())
        // It has no business with the broker, nor with its password.
        .env_remove(ENV_BROKER)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // Ctrl-C is for us, who end it.
        .process_group(0)
        .kill_on_drop(true);
    command
}

/// Gives a runner its question. Should it have died, its status says more than a broken pipe.
pub(crate) async fn feed(mut stdin: ChildStdin, question: &[u8]) {
    stdin.write_all(question).await.ok();
}

/// The next frame; `None` at the end of the stream.
///
/// # Errors
/// [`FrameError`] when the stream ends inside a frame or holds something else.
pub(crate) async fn next_frame<T: DeserializeOwned>(
    stdout: &mut (impl AsyncRead + Unpin),
) -> Result<Option<T>, FrameError> {
    let mut prefix = [0; 4];
    match stdout.read_exact(&mut prefix).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let mut body = vec![0; frame_length(prefix)?];
    stdout.read_exact(&mut body).await?;
    decode_frame(&body).map(Some)
}
