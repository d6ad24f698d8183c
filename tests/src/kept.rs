//! Service processes that end with the test process, however it ends: see `bin/keeper.rs`.

use std::{
    fs,
    io::{self, BufRead, BufReader, Write},
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Mutex, PoisonError},
};

use serde_json::json;

/// A keeper and the folder that it removes at its end.
#[derive(Debug)]
pub struct Keeper {
    folder: PathBuf,
    line: Mutex<Line>,
}

#[derive(Debug)]
struct Line {
    process: Child,
    /// Taken at the end: the keeper ends when it is closed.
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Keeper {
    /// Starts a keeper with a fresh folder, whose name starts with `prefix`.
    ///
    /// # Errors
    /// When the folder can't be made, or the executable `keeper` is not beside the test.
    pub fn start(prefix: &str) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix(prefix).tempdir()?.keep();
        let mut process = Command::new(executable("keeper")?)
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A Ctrl-C at the terminal is the test's; the keeper hears of it by its input's end.
            .process_group(0)
            .spawn()?;
        let closed = || io::Error::other("the keeper has no pipes");
        let commands = Some(process.stdin.take().ok_or_else(closed)?);
        let answers = BufReader::new(process.stdout.take().ok_or_else(closed)?);
        Ok(Self { folder, line: Mutex::new(Line { process, commands, answers }) })
    }

    /// The folder, which is removed at the end.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Says how `name` is to be run; its output goes to `NAME.out` in the folder.
    ///
    /// # Errors
    /// When that can't be written.
    pub fn plan(
        &self,
        name: &str,
        program: &str,
        arguments: &[String],
        environment: &[(String, String)],
    ) -> io::Result<()> {
        let variables: serde_json::Map<_, _> =
            environment.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let plan = json!({
            "program": program,
            "arguments": arguments,
            "environment": variables,
            "log": self.folder.join(format!("{name}.out")),
        });
        fs::write(self.folder.join(format!("{name}.json")), plan.to_string())
    }

    /// Has the keeper do a command: `start NAME`, `stop NAME`, `kill NAME`.
    ///
    /// # Errors
    /// What the keeper answers, or that it is gone.
    pub fn command(&self, command: &str) -> io::Result<String> {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let commands = line.commands.as_mut().ok_or_else(|| io::Error::other("it has ended"))?;
        writeln!(commands, "{command}")?;
        commands.flush()?;
        let mut answer = String::new();
        line.answers.read_line(&mut answer)?;
        match answer.trim().split_once(' ') {
            Some(("ok", text)) => Ok(text.to_owned()),
            Some(("error", text)) => Err(io::Error::other(format!("{command}: {text}"))),
            _ => Err(io::Error::other(format!("{command}: the keeper answered '{answer}'"))),
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        drop(line.commands.take());
        // It ends by itself now; waiting makes sure that nothing is left when this returns.
        line.process.wait().ok();
    }
}

/// One of our executables, found beside the running test's (`target/release/deps/…`).
///
/// # Errors
/// When it was not built.
pub fn executable(name: &str) -> io::Result<PathBuf> {
    let test = std::env::current_exe()?;
    let places = test.ancestors().skip(1).take(2).map(|folder| folder.join(name));
    places.into_iter().find(|path| path.is_file()).ok_or_else(|| {
        io::Error::other(format!("'{name}' is not beside {}; build it first", test.display()))
    })
}

/// A port of 127.0.0.1 that is free now.
///
/// # Errors
/// When none is.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
