//! A rig of real processes: a broker of its own, a data folder, a settings file, and whatever
//! producers, workers and aggregators a test starts, each with a log file of its own.
//!
//! It is for tests: what goes wrong here panics, and says what the processes said.

#![expect(clippy::print_stdout, reason = "what a test waits for is said")]

use std::{
    cell::{Cell, RefCell},
    ffi::OsStr,
    fmt::Write as _,
    fs::{self, File},
    io::Write as _,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use shared::failpoint::ENV_FAILPOINT;
use tempfile::{NamedTempFile, TempDir};

pub use crate::answer::Answer;
use crate::{
    kept::executable,
    rabbitmq::{NodeError, PASSWORD, RabbitNode, USER, unless_absent},
};

/// How long anything may take, on a machine that does other things as well.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Short pieces, short graces: a test has no 30 s to spare for one job.
const SETTINGS: &str = r#"
[planner]
target_seconds = 1.0
min_seconds = 0.2

[worker]
grace = "500ms"
drain_timeout = "2s"
"#;

/// Which broker a rig has.
#[derive(Debug, Clone)]
enum Place {
    Embedded,
    Rabbit {
        node: &'static RabbitNode,
        vhost: String,
        user: String,
    },
    /// With TLS, and a user for each role.
    Guarded {
        node: &'static RabbitNode,
        vhost: String,
    },
}

/// One rig; everything that it started ends with it.
#[derive(Debug)]
pub struct Rig {
    folder: TempDir,
    place: Place,
    processes: RefCell<Vec<Process>>,
    commands: Cell<usize>,
    /// What the parts that are started now find in [`ENV_FAILPOINT`].
    /// What the next programs find in their environment beside the usual.
    extra: RefCell<Vec<(String, String)>>,
}

/// One of a rig's processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part(usize);

#[derive(Debug)]
struct Process {
    name: String,
    child: Child,
    ended: Option<ExitStatus>,
    /// Whether somebody asked for its end, or waits for it.
    may_end: bool,
    out: PathBuf,
    err: PathBuf,
}

impl Rig {
    /// A rig with the embedded broker.
    #[must_use]
    pub fn embedded() -> Self {
        Self::new(Place::Embedded)
    }

    /// A rig with a fresh vhost of this process's RabbitMQ and the topology in it; `None`, with a
    /// message, where RabbitMQ is not installed.
    ///
    /// # Panics
    /// When RabbitMQ is there but fails, or the topology does.
    #[must_use]
    pub fn rabbit() -> Option<Self> {
        let rig = Self::bare_rabbit()?;
        let applied = rig.producer(&["topology", "apply"]).ok();
        assert!(applied.stdout.contains("were made"), "{applied}");
        Some(rig)
    }

    /// As [`Rig::rabbit`], without the topology.
    ///
    /// # Panics
    /// When RabbitMQ is there but fails.
    #[must_use]
    pub fn bare_rabbit() -> Option<Self> {
        let node = unless_absent(RabbitNode::shared())?;
        let vhost = node.add_vhost().expect("a vhost");
        Some(Self::new(Place::Rabbit { node, vhost, user: USER.to_owned() }))
    }

    /// From now on connects as a user of its own, whose connections [`Rig::cut`] can tell from
    /// those of other tests.
    ///
    /// # Panics
    /// When the node refuses, or the rig has none.
    pub fn use_own_user(&mut self) {
        let Place::Rabbit { node, vhost, user } = &mut self.place else {
            panic!("the embedded broker has no users");
        };
        *user = format!("user-of-{vhost}");
        node.add_user(user, PASSWORD).expect("a user");
        node.grant(user, vhost, ".*").expect("permissions");
    }

    /// Closes every connection of the rig's own user, as an operator would.
    ///
    /// # Panics
    /// When the node refuses, or the rig has none.
    pub fn cut(&self) {
        let Place::Rabbit { node, user, .. } = &self.place else {
            panic!("the embedded broker has no connections");
        };
        let all = format!("connections/username/{user}");
        self.until("closed connections", || match node.delete(&all) {
            // One of them ended by itself meanwhile, and the others may still be there.
            Err(NodeError::Management(ureq::Error::StatusCode(500))) => None,
            closed => {
                closed.expect("closed connections");
                Some(())
            }
        });
    }

    /// A rig with the default vhost of a node of its own, and the topology in it.
    ///
    /// # Panics
    /// When the topology fails.
    #[must_use]
    pub fn on(node: &'static RabbitNode) -> Self {
        let rig = Self::new(Place::Rabbit { node, vhost: "/".to_owned(), user: USER.to_owned() });
        let applied = rig.producer(&["topology", "apply"]).ok();
        assert!(applied.stdout.contains("were made"), "{applied}");
        rig
    }

    /// A rig whose every program connects as the user of its own role, with TLS and the
    /// certificate `client.pem` of `certificates`, to a vhost that has those users.
    ///
    /// # Panics
    /// When its settings can't be written.
    #[must_use]
    pub fn guarded(node: &'static RabbitNode, vhost: &str, certificates: &Path) -> Self {
        let rig = Self::new(Place::Guarded { node, vhost: vhost.to_owned() });
        let path = |name: &str| certificates.join(name).display().to_string();
        let (ca, certificate, key) = (path("ca.pem"), path("client.pem"), path("client.key"));
        let papers =
            format!("[broker]\nca = '{ca}'\ncertificate = '{certificate}'\nkey = '{key}'\n");
        fs::write(rig.path("settings.toml"), SETTINGS.to_owned() + &papers).expect("the settings");
        rig
    }

    /// The password of a guarded rig's role.
    #[must_use]
    pub fn password(role: &str) -> String {
        format!("{PASSWORD}-of-{role}")
    }

    /// The URL that a role connects to.
    #[must_use]
    pub fn url_of(&self, role: &str) -> String {
        match &self.place {
            Place::Guarded { node, vhost } => {
                node.tls_url(role, &Self::password(role), "localhost", vhost)
            }
            _ => self.url(),
        }
    }

    fn new(place: Place) -> Self {
        let folder = tempfile::Builder::new().prefix("rigqueue-rig-").tempdir().expect("a folder");
        let mut settings = SETTINGS.to_owned();
        if let Place::Rabbit { node, .. } = &place {
            write!(settings, "[broker]\nmanagement = \"{}\"\n", node.management_url())
                .expect("a string");
        }
        fs::write(folder.path().join("settings.toml"), settings).expect("the settings");
        Self {
            folder,
            place,
            processes: RefCell::default(),
            commands: Cell::new(0),
            extra: RefCell::default(),
        }
    }

    /// Adds a section to the settings of whatever is started from now on.
    ///
    /// # Panics
    /// When they can't be written.
    pub fn add_settings(&self, section: &str) {
        let mut file = File::options().append(true).open(self.path("settings.toml"));
        let file = file.as_mut().expect("the settings");
        writeln!(file, "{section}").expect("the settings");
    }

    /// Leaves its folder, with the logs and the ledger, where it is.
    pub fn keep_folder(&mut self) -> &Path {
        self.folder.disable_cleanup(true);
        self.folder.path()
    }

    /// The data folder of all its processes.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// A file of the rig's own folder, outside the data folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes such a file whole, so that a process that is reading the one before it never sees
    /// half of it; its path, as an argument.
    ///
    /// # Panics
    /// When it can't be written.
    #[must_use]
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        let mut file = NamedTempFile::new_in(self.folder.path()).expect("a new file of the rig");
        file.write_all(text.as_bytes()).expect("what the file holds");
        file.persist(&path).expect("a file of the rig");
        path.display().to_string()
    }

    /// The broker's URL.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.place {
            Place::Embedded => format!("embedded:{}", self.path("broker").display()),
            Place::Rabbit { node, vhost, user } => node.url_as(user, PASSWORD, vhost),
            Place::Guarded { .. } => self.url_of("producer"),
        }
    }

    /// The RabbitMQ node and the vhost, if it has one.
    #[must_use]
    pub fn node(&self) -> Option<(&'static RabbitNode, &str)> {
        match &self.place {
            Place::Embedded => None,
            Place::Rabbit { node, vhost, .. } | Place::Guarded { node, vhost } => {
                Some((node, vhost))
            }
        }
    }

    /// Runs `producer` to its end.
    pub fn producer(&self, args: &[&str]) -> Answer {
        self.run("producer", args)
    }

    /// Runs a program of ours to its end.
    pub fn run(&self, program: &str, args: &[&str]) -> Answer {
        let part = self.start(program, program, args);
        self.answer(part, args)
    }

    /// What a part that was started said, once it has ended by itself.
    pub fn answer(&self, part: Part, args: &[&str]) -> Answer {
        self.processes.borrow_mut()[part.0].may_end = true;
        let status = self.until(&format!("the end of {args:?}"), || self.ended(part));
        let process = &self.processes.borrow()[part.0];
        Answer {
            asked: format!("{} {}", process.name, args.join(" ")),
            code: status.code().unwrap_or(-1),
            stdout: read(&process.out),
            stderr: read(&process.err),
        }
    }

    /// Starts `producer` and leaves it running.
    pub fn start_producer(&self, args: &[&str]) -> Part {
        let part = self.start("producer", "producer", args);
        self.processes.borrow_mut()[part.0].may_end = true;
        part
    }

    /// Starts a worker.
    pub fn spawn_worker(&self, slots: u32) -> Part {
        self.start("worker", "worker", &["--slots", &slots.to_string()])
    }

    /// Starts a worker of a node of that name.
    pub fn spawn_worker_of(&self, node: &str, slots: u32) -> Part {
        self.start(node, "worker", &["--slots", &slots.to_string(), "--node", node])
    }

    /// Starts a worker that takes jobs without having heard of an aggregator.
    pub fn spawn_eager_worker(&self, slots: u32) -> Part {
        self.start("worker", "worker", &["--eager", "--slots", &slots.to_string()])
    }

    /// Starts an aggregator.
    pub fn spawn_aggregator(&self) -> Part {
        self.start("aggregator", "producer", &["aggregate"])
    }

    /// What `start` starts finds this in [`ENV_FAILPOINT`], and so do its own children.
    pub fn armed(&self, failpoint: &str, start: impl FnOnce(&Self) -> Part) -> Part {
        self.with_env(&[(ENV_FAILPOINT, failpoint)], start)
    }

    /// What `start` starts finds these in its environment, and so do its own children.
    pub fn with_env<T>(&self, extra: &[(&str, &str)], start: impl FnOnce(&Self) -> T) -> T {
        let owned = extra.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.extra.replace(owned.collect());
        let started = start(self);
        self.extra.replace(Vec::new());
        started
    }

    /// As [`Rig::armed`], for a part that is to die of it.
    pub fn doomed(&self, failpoint: &str, start: impl FnOnce(&Self) -> Part) -> Part {
        let part = self.armed(failpoint, start);
        self.processes.borrow_mut()[part.0].may_end = true;
        part
    }

    /// Waits for the end of a doomed part.
    ///
    /// # Panics
    /// When it ends in another way.
    pub fn until_killed(&self, part: Part) {
        let status = self.wait(part);
        let log = self.log(part);
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "it was not killed: {log}");
    }

    fn start(&self, name: &str, program: &str, args: &[&str]) -> Part {
        let number = self.commands.get();
        self.commands.set(number + 1);
        let out = self.path(&format!("{number:03}-{name}.out"));
        let err = self.path(&format!("{number:03}-{name}.log"));
        let child = self
            .command(program, args)
            .stdout(File::create(&out).expect("a log"))
            .stderr(File::create(&err).expect("a log"))
            .spawn()
            .expect("a process");
        let name = name.to_owned();
        let mut processes = self.processes.borrow_mut();
        processes.push(Process { name, child, ended: None, may_end: false, out, err });
        Part(processes.len() - 1)
    }

    /// A command in the rig's surroundings and no others.
    ///
    /// # Panics
    /// When the program was not built.
    #[must_use]
    pub fn command(&self, program: &str, args: impl IntoIterator<Item: AsRef<OsStr>>) -> Command {
        let path = executable(program).unwrap_or_else(|error| panic!("{error}"));
        let mut command = Command::new(path);
        for variable in
            ["XDG_DATA_HOME", "RIGQUEUE_SERVER", "RIGQUEUE_LOG", ENV_FAILPOINT, "RUST_BACKTRACE"]
        {
            command.env_remove(variable);
        }
        command.args(args);
        let role = role(program, command.get_args().next());
        command
            .current_dir(self.folder.path())
            .env("RIGQUEUE_CONFIG", self.path("settings.toml"))
            .env("RIGQUEUE_HOME", self.home())
            .env("RIGQUEUE_RUNTIME", self.path("runtime"))
            .env("RIGQUEUE_BROKER", self.url_of(role))
            .envs(self.extra.borrow().iter().map(|(name, value)| (name, value)))
            // Should the test itself be killed, its processes end with it.
            .env("RIGQUEUE_PARENT", std::process::id().to_string())
            .stdin(Stdio::null());
        command
    }

    /// Ends a part as a power cut would.
    ///
    /// # Panics
    /// When it has ended already.
    pub fn kill9(&self, part: Part) {
        self.signal(part, Signal::KILL);
        self.wait(part);
    }

    /// Asks a part to end, and waits until it has.
    ///
    /// # Panics
    /// As [`Rig::kill9`].
    pub fn terminate(&self, part: Part) -> ExitStatus {
        self.signal(part, Signal::TERM);
        self.wait(part)
    }

    /// Sends a part a signal, after which it may end.
    ///
    /// # Panics
    /// As [`Rig::kill9`].
    pub fn signal(&self, part: Part, signal: Signal) {
        assert_eq!(self.ended(part), None, "it has ended too early: {}", self.logs());
        self.processes.borrow_mut()[part.0].may_end = true;
        kill_process(self.pid(part), signal).expect("a signal");
    }

    /// A part's process id.
    ///
    /// # Panics
    /// Never: a process has an id.
    #[must_use]
    pub fn pid(&self, part: Part) -> Pid {
        Pid::from_child(&self.processes.borrow()[part.0].child)
    }

    /// What a part has logged.
    #[must_use]
    pub fn log(&self, part: Part) -> String {
        read(&self.processes.borrow()[part.0].err)
    }

    fn wait(&self, part: Part) -> ExitStatus {
        self.until("a process to end", || self.ended(part))
    }

    /// How a part ended, once it has.
    ///
    /// # Panics
    /// Never: it is a child of this process.
    pub fn ended(&self, part: Part) -> Option<ExitStatus> {
        self.processes.borrow_mut()[part.0].look()
    }

    /// Looks again and again until there is something; meanwhile no process may end unasked.
    ///
    /// # Panics
    /// When there is nothing for too long, or a process ends unasked.
    pub fn until<T>(&self, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = ask() {
                return found;
            }
            self.check();
            assert!(Instant::now() < deadline, "waited in vain for {what}: {}", self.logs());
            sleep(LOOK);
        }
    }

    /// What `status RUN --json` says of a run; `None` while it is unknown.
    ///
    /// # Panics
    /// When it says anything else.
    pub fn status(&self, run: &str) -> Option<Value> {
        let answer = self.producer(&["status", run, "--json", "--limit", "10000000"]);
        match answer.code {
            0 => Some(answer.json()),
            5 => None,
            _ => panic!("{answer}"),
        }
    }

    /// Waits until a run's status is as wanted.
    pub fn until_status(&self, run: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.until(what, || self.status(run).filter(|status| wanted(status)))
    }

    /// Waits until something of a run is covered, and not all.
    ///
    /// # Panics
    /// When the run ends before.
    pub fn until_under_way(&self, run: &str) -> Value {
        let status = self.until_status(run, "a run under way", |status| {
            status["covered"].as_u64().is_some_and(|covered| covered > 0)
        });
        assert_eq!(status["state"], "open", "the run was over before the fault: {status}");
        status
    }

    /// Asks every service that runs to end, and waits until all have, in good order.
    ///
    /// # Panics
    /// When one has ended already, or ends badly.
    pub fn end_services(&self) {
        self.check();
        let all = 0..self.processes.borrow().len();
        let running: Vec<Part> = all.map(Part).filter(|part| self.ended(*part).is_none()).collect();
        for part in &running {
            self.signal(*part, Signal::TERM);
        }
        for part in running {
            let status = self.wait(part);
            assert!(status.success(), "it ended with {status}: {}", self.log(part));
        }
    }

    /// Fails when a process ended unasked.
    ///
    /// # Panics
    /// When one did.
    pub fn check(&self) {
        let mut processes = self.processes.borrow_mut();
        let dead: Vec<String> = processes
            .iter_mut()
            .filter(|process| !process.may_end)
            .filter_map(|process| process.look().map(|status| (status, process)))
            .map(|(status, process)| format!("{} ended unasked ({status})", process.name))
            .collect();
        drop(processes);
        assert!(dead.is_empty(), "{}: {}", dead.join(", "), self.logs());
    }

    /// The ends of the logs of services, and of whatever failed.
    fn logs(&self) -> String {
        let mut text = String::new();
        for process in self.processes.borrow().iter() {
            if !process.ended.is_some_and(|status| status.success()) {
                let tail = tail(&process.err);
                write!(text, "\n--- {} {:?}\n{tail}", process.name, process.ended).ok();
            }
        }
        text
    }
}

/// Whose part a program plays.
fn role(program: &str, first: Option<&OsStr>) -> &'static str {
    match (program, first.and_then(OsStr::to_str)) {
        ("worker", _) => "worker",
        (_, Some("aggregate")) => "aggregator",
        (_, Some("topology")) => "admin",
        _ => "producer",
    }
}

impl Process {
    fn look(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("a child of ours");
        }
        self.ended
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.check();
        }
        for process in self.processes.borrow_mut().iter_mut() {
            if process.ended.is_none() {
                // It may just have ended by itself; there is nobody left to tell.
                process.child.kill().ok();
                process.ended = process.child.wait().ok();
            }
        }
        if std::thread::panicking() {
            println!("{}", self.logs());
        }
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

fn tail(path: &Path) -> String {
    let text = read(path);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
