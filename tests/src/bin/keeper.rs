//! Keeps the processes of a test's services, so that none outlives the test however it dies.
//!
//! `keeper FOLDER` reads commands from its standard input, one a line, and answers each with one
//! line, `ok …` or `error …`:
//!
//! - `start NAME`: runs what `FOLDER/NAME.json` says (`program`, `arguments`, `environment`, `log`)
//!   in a process group of its own; answers with its process id
//! - `kill NAME`: SIGKILL to its group, and waits
//! - `stop NAME`: SIGTERM to the process in `FOLDER/NAME.pid` (or to its own), SIGKILL after 30 s
//!
//! At the end of its input, which comes when the test's process is gone, it kills every group it
//! started, last first, then whatever left those groups, and removes the folder.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufRead, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process, kill_process_group, set_child_subreaper, wait,
    waitpgid,
};

const GRACE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        return ExitCode::from(2);
    };
    // What a dead child leaves behind becomes this process's, and is reaped with its group.
    if set_child_subreaper(Some(getpid())).is_err() {
        return ExitCode::FAILURE;
    }
    let mut kept = Kept { folder, children: Vec::new() };
    let mut answers = io::stdout();
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        let answer = match kept.obey(&line) {
            Ok(text) => format!("ok {text}"),
            Err(error) => format!("error {error}"),
        };
        if writeln!(answers, "{answer}").and_then(|()| answers.flush()).is_err() {
            break;
        }
    }
    kept.end();
    ExitCode::SUCCESS
}

struct Kept {
    folder: PathBuf,
    children: Vec<(String, Child)>,
}

impl Kept {
    fn obey(&mut self, line: &str) -> io::Result<String> {
        match line.trim().split_once(' ') {
            Some(("start", name)) => self.start(name),
            Some(("kill", name)) => self.take(name).and_then(kill),
            Some(("stop", name)) => self.stop(name),
            _ => Err(io::Error::other(format!("'{line}' is no command"))),
        }
    }

    fn start(&mut self, name: &str) -> io::Result<String> {
        let plan = Plan::read(&self.folder.join(format!("{name}.json")))?;
        let log = File::options().create(true).append(true).open(&plan.log)?;
        let child = Command::new(&plan.program)
            .args(&plan.arguments)
            .env_clear()
            .envs(&plan.environment)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()?;
        let id = child.id();
        self.children.push((name.to_owned(), child));
        Ok(id.to_string())
    }

    fn take(&mut self, name: &str) -> io::Result<Child> {
        let at = self.children.iter().position(|(kept, _)| kept == name);
        at.map(|at| self.children.remove(at).1)
            .ok_or_else(|| io::Error::other(format!("'{name}' was not started")))
    }

    fn stop(&mut self, name: &str) -> io::Result<String> {
        let mut child = self.take(name)?;
        let written = fs::read_to_string(self.folder.join(format!("{name}.pid"))).ok();
        let process = written
            .and_then(|text| text.trim().parse().ok())
            .and_then(Pid::from_raw)
            .unwrap_or_else(|| Pid::from_child(&child));
        kill_process(process, Signal::TERM)?;
        let until = Instant::now() + GRACE;
        while child.try_wait()?.is_none() {
            if Instant::now() >= until {
                return kill(child);
            }
            sleep(Duration::from_millis(20));
        }
        kill(child)
    }

    fn end(&mut self) {
        while let Some((_, child)) = self.children.pop() {
            // Its end is all that is wanted here; there is nobody left to tell.
            kill(child).ok();
        }
        sweep();
        fs::remove_dir_all(&self.folder).ok();
    }
}

/// Ends a child's whole group and waits until all of it is gone, and its ports are free.
fn kill(mut child: Child) -> io::Result<String> {
    let group = Pid::from_child(&child);
    match kill_process_group(group, Signal::KILL) {
        // The group is gone already.
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => return Err(error.into()),
    }
    let status = child.wait()?;
    while let Ok(Some(_)) = waitpgid(group, WaitOptions::empty()) {}
    Ok(status.to_string())
}

/// Ends whoever left its group (a daemon, such as a port mapper that a node started) and was thus
/// handed to this process, the subreaper.
fn sweep() {
    let children = format!("/proc/self/task/{}/children", getpid());
    while let Ok(list) = fs::read_to_string(&children)
        && !list.trim().is_empty()
    {
        for pid in list.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)) {
            // It may have ended by itself meanwhile.
            kill_process(pid, Signal::KILL).ok();
        }
        while let Ok(Some(_)) = wait(WaitOptions::empty()) {}
    }
}

struct Plan {
    program: String,
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
    log: PathBuf,
}

impl Plan {
    fn read(path: &Path) -> io::Result<Self> {
        let plan: serde_json::Value = serde_json::from_slice(&fs::read(path)?)?;
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        Ok(Self {
            program: text(&plan["program"]),
            arguments: plan["arguments"].as_array().into_iter().flatten().map(text).collect(),
            environment: plan["environment"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, value)| (name.clone(), text(value)))
                .collect(),
            log: text(&plan["log"]).into(),
        })
    }
}
