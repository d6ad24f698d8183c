//! Private RabbitMQ nodes on loopback: own name, data, cookie, ports and port mapper. They end
//! with the test process, however it ends.

#![expect(clippy::print_stdout, reason = "a skipped test says so")]

use std::{
    borrow::Borrow,
    fs, io,
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    installed::{Installed, SCRIPTS},
    kept::{Keeper, free_port},
};

/// The configuration that people are given.
const DEPLOYED: &str = include_str!("../../deploy/rabbitmq/rabbitmq.conf");
/// How long a node may take to start on a busy machine.
const START: Duration = Duration::from_secs(120);
/// The nodes' administrator.
pub const USER: &str = "rigqueue";
/// The administrator's password, odd enough to be searched for in logs and errors.
pub const PASSWORD: &str = "Zwiebelkuchen-7391";

/// What a node is like.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long a delivery may stay unacknowledged; RabbitMQ's 30 minutes when `None`. It looks
    /// once a minute.
    pub consumer_timeout: Option<Duration>,
    /// Whether the management plugin collects statistics (it costs processor time).
    pub statistics: bool,
    /// Scheduler threads of the virtual machine.
    pub schedulers: u32,
    /// A folder with `ca.pem`, `server.pem` and `server.key`: then the node listens with TLS as
    /// well, as `deploy/rabbitmq/rabbitmq.conf` says.
    pub tls: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self { consumer_timeout: None, statistics: false, schedulers: 2, tls: None }
    }
}

/// Why there is no node.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// RabbitMQ is not installed.
    #[error("RabbitMQ is not installed ({SCRIPTS} is missing): `make rabbitmq` installs it")]
    Absent,
    /// A file or process failed.
    #[error("the private RabbitMQ node: {0}")]
    Io(#[from] io::Error),
    /// A command of RabbitMQ's failed.
    #[error("`{command}` failed: {output}")]
    Command {
        /// What was run.
        command: String,
        /// What it said.
        output: String,
    },
    /// The management API said no.
    #[error("the management API: {0}")]
    Management(#[from] ureq::Error),
    /// It did not start in time.
    #[error("the private RabbitMQ node did not start within {START:?}; it said: {output}")]
    Slow {
        /// The end of its output.
        output: String,
    },
}

/// What was started; `None`, with a message, where RabbitMQ is not installed.
///
/// # Panics
/// When RabbitMQ is there but fails.
pub fn unless_absent<T, E: Borrow<NodeError>>(started: Result<T, E>) -> Option<T> {
    match started {
        Ok(started) => Some(started),
        Err(error) if matches!(error.borrow(), NodeError::Absent) => {
            println!("skipped: {}", error.borrow());
            None
        }
        Err(error) => panic!("{}", error.borrow()),
    }
}

/// One node.
#[derive(Debug)]
pub struct RabbitNode {
    keeper: Arc<Keeper>,
    name: String,
    port: u16,
    tls: u16,
    management: u16,
    installed: Installed,
    environment: Vec<(String, String)>,
}

impl RabbitNode {
    /// Starts a node and waits until it serves.
    ///
    /// # Errors
    /// [`NodeError::Absent`] without RabbitMQ, for the caller to decide whether to skip.
    pub fn start(options: &Options) -> Result<Self, NodeError> {
        let fleet = Fleet::start()?;
        let node = fleet.node("solo", options)?;
        node.run()?;
        Ok(node)
    }

    /// The node that this process's tests share; each takes a vhost of its own.
    ///
    /// # Errors
    /// As [`RabbitNode::start`], the same each time.
    pub fn shared() -> Result<&'static Self, &'static NodeError> {
        static SHARED: OnceLock<Result<RabbitNode, NodeError>> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(&Options::default())).as_ref()
    }

    /// The URL of a vhost, as the administrator.
    #[must_use]
    pub fn url(&self, vhost: &str) -> String {
        self.url_as(USER, PASSWORD, vhost)
    }

    /// The URL of a vhost.
    #[must_use]
    pub fn url_as(&self, user: &str, password: &str, vhost: &str) -> String {
        let vhost = vhost.replace('/', "%2f");
        format!("amqp://{user}:{password}@127.0.0.1:{}/{vhost}", self.port)
    }

    /// The URL of a vhost with TLS, by the name of the machine that the broker's certificate is
    /// asked for.
    #[must_use]
    pub fn tls_url(&self, user: &str, password: &str, host: &str, vhost: &str) -> String {
        format!("amqps://{user}:{password}@{host}:{}/{vhost}", self.tls)
    }

    /// The AMQP port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The management API's URL, without credentials.
    #[must_use]
    pub fn management_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.management)
    }

    /// The node's log.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.keeper.folder().join("log").join(format!("{}@localhost.log", self.name))
    }

    /// The version that it says it has, and the one that the environment asked for, if it did.
    ///
    /// # Errors
    /// When the management API says no.
    pub fn versions(&self) -> Result<(String, Option<String>), NodeError> {
        let says = self.get("overview")?["rabbitmq_version"].as_str().unwrap_or("").to_owned();
        Ok((says, self.installed.asked_for()))
    }

    /// The process id of the node's virtual machine.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pid(&self) -> Result<u32, NodeError> {
        let text = fs::read_to_string(self.pid_path())?;
        text.trim().parse().map_err(|error| io::Error::other(format!("'{text}': {error}")).into())
    }

    /// A new vhost, in which the administrator may do everything; its name.
    ///
    /// # Errors
    /// When the management API says no.
    pub fn add_vhost(&self) -> Result<String, NodeError> {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let name = format!("v{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.restore_vhost(&name)?;
        Ok(name)
    }

    /// A vhost of that name, with nothing in it, in which the administrator may do everything.
    ///
    /// # Errors
    /// As [`RabbitNode::add_vhost`].
    pub fn restore_vhost(&self, name: &str) -> Result<(), NodeError> {
        self.put(&format!("vhosts/{name}"), serde_json::json!({}))?;
        self.grant(USER, name, ".*")
    }

    /// Makes a user, or changes its password.
    ///
    /// # Errors
    /// As [`RabbitNode::add_vhost`].
    pub fn add_user(&self, user: &str, password: &str) -> Result<(), NodeError> {
        let body = serde_json::json!({ "password": password, "tags": "" });
        self.put(&format!("users/{user}"), body)
    }

    /// Lets a user configure, write and read what matches `pattern` in a vhost.
    ///
    /// # Errors
    /// As [`RabbitNode::add_vhost`].
    pub fn grant(&self, user: &str, vhost: &str, pattern: &str) -> Result<(), NodeError> {
        let body = serde_json::json!({ "configure": pattern, "write": pattern, "read": pattern });
        self.put(&format!("permissions/{vhost}/{user}"), body)
    }

    /// Asks the management API.
    ///
    /// # Errors
    /// As [`RabbitNode::add_vhost`].
    pub fn get(&self, path: &str) -> Result<serde_json::Value, NodeError> {
        let request = ureq::get(self.api(path)).header("authorization", basic());
        Ok(request.call()?.body_mut().read_json()?)
    }

    /// Posts to the management API; what it answers.
    ///
    /// # Errors
    /// As [`RabbitNode::add_vhost`].
    pub fn post(
        &self,
        path: &str,
        body: serde_json::Value,
    ) -> Result<serde_json::Value, NodeError> {
        let request = ureq::post(self.api(path)).header("authorization", basic());
        Ok(request.send_json(body)?.body_mut().read_json()?)
    }

    /// Deletes through the management API.
    ///
    /// # Errors
    /// As [`RabbitNode::add_vhost`].
    pub fn delete(&self, path: &str) -> Result<(), NodeError> {
        ureq::delete(self.api(path)).header("authorization", basic()).call()?;
        Ok(())
    }

    fn put(&self, path: &str, body: serde_json::Value) -> Result<(), NodeError> {
        ureq::put(self.api(path)).header("authorization", basic()).send_json(body)?;
        Ok(())
    }

    fn api(&self, path: &str) -> String {
        format!("{}/api/{path}", self.management_url())
    }

    /// Runs `rabbitmqctl`; what it printed. Takes about a second.
    ///
    /// # Errors
    /// [`NodeError::Command`] with its output.
    pub fn ctl(&self, arguments: &[&str]) -> Result<String, NodeError> {
        let ctl = format!("{SCRIPTS}/rabbitmqctl");
        let all: Vec<&str> = ["--quiet"].iter().chain(arguments).copied().collect();
        let output =
            self.installed.command(&ctl, &all).envs(self.environment.iter().cloned()).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(text);
        }
        let command = format!("rabbitmqctl {}", arguments.join(" "));
        let output = text + &String::from_utf8_lossy(&output.stderr);
        Err(NodeError::Command { command, output })
    }

    /// Writes an executable `rabbitmqctl` that reaches this node, for scripts that call it.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write_ctl(&self, path: &Path) -> Result<(), NodeError> {
        let (program, arguments) = self.installed.run(&format!("{SCRIPTS}/rabbitmqctl"), &[]);
        let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
        let mut script = "#!/bin/sh\nexec env -i".to_owned();
        for (name, value) in &self.environment {
            script += &format!(" {}", quoted(&format!("{name}={value}")));
        }
        for word in [program].iter().chain(&arguments) {
            script += &format!(" {}", quoted(word));
        }
        fs::write(path, script + " \"$@\"\n")?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
        Ok(())
    }

    /// Cuts every connection to a vhost.
    ///
    /// # Errors
    /// As [`RabbitNode::ctl`].
    pub fn close_all_connections(&self, vhost: &str) -> Result<(), NodeError> {
        self.ctl(&["close_all_connections", "--vhost", vhost, "cut by a test"]).map(drop)
    }

    /// Ends the node as a power cut would.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&self) -> Result<(), NodeError> {
        self.keeper.command(&format!("kill {}", self.name))?;
        fs::remove_file(self.pid_path()).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error.into()),
        })
    }

    /// Ends the node in good order.
    ///
    /// # Errors
    /// When it does not run.
    pub fn stop(&self) -> Result<(), NodeError> {
        self.keeper.command(&format!("stop {}", self.name))?;
        Ok(())
    }

    /// Starts the node (again) and waits until it serves.
    ///
    /// # Errors
    /// [`NodeError::Slow`] when it does not.
    pub fn run(&self) -> Result<(), NodeError> {
        self.keeper.command(&format!("start {}", self.name))?;
        self.wait_until_it_serves()
    }

    /// Stops the node in good order and starts it again.
    ///
    /// # Errors
    /// As [`RabbitNode::stop`] and [`RabbitNode::run`].
    pub fn restart(&self) -> Result<(), NodeError> {
        self.stop()?;
        self.run()
    }

    fn pid_path(&self) -> PathBuf {
        self.keeper.folder().join(format!("{}.pid", self.name))
    }

    /// The AMQP listener opens last, after the vhosts and the management API are up.
    fn wait_until_it_serves(&self) -> Result<(), NodeError> {
        let until = Instant::now() + START;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() || self.get("overview").is_err()
        {
            if Instant::now() >= until {
                return Err(NodeError::Slow { output: self.output() });
            }
            sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn output(&self) -> String {
        let path = self.keeper.folder().join(format!("{}.out", self.name));
        let text = fs::read(path).unwrap_or_default();
        let tail = text.len().saturating_sub(2_000);
        String::from_utf8_lossy(&text[tail..]).into_owned()
    }
}

/// Three nodes (or another number) that are one broker.
#[derive(Debug)]
pub struct Cluster {
    /// The nodes.
    pub nodes: Vec<RabbitNode>,
}

impl Cluster {
    /// Starts `count` nodes and joins them.
    ///
    /// # Errors
    /// As [`RabbitNode::start`].
    pub fn start(count: usize, options: &Options) -> Result<Self, NodeError> {
        let fleet = Fleet::start()?;
        let nodes = (1..=count)
            .map(|number| fleet.node(&format!("n{number}"), options))
            .collect::<Result<Vec<_>, _>>()?;
        for node in &nodes {
            node.keeper.command(&format!("start {}", node.name))?;
        }
        for node in &nodes {
            node.wait_until_it_serves()?;
        }
        let (first, others) = match nodes.split_first() {
            Some((first, others)) => (first, others),
            None => return Ok(Self { nodes }),
        };
        let first = format!("{}@localhost", first.name);
        for node in others {
            node.ctl(&["stop_app"])?;
            node.ctl(&["reset"])?;
            node.ctl(&["join_cluster", &first])?;
            node.ctl(&["start_app"])?;
            node.wait_until_it_serves()?;
        }
        Ok(Self { nodes })
    }
}

/// What nodes of one cluster have in common: the keeper, the port mapper, the cookie.
struct Fleet {
    keeper: Arc<Keeper>,
    mapper: u16,
    installed: Installed,
}

impl Fleet {
    fn start() -> Result<Self, NodeError> {
        let installed = Installed::find().ok_or(NodeError::Absent)?;
        let keeper = Arc::new(Keeper::start("rigqueue-rabbit-")?);
        let folder = keeper.folder();
        let cookie = folder.join(".erlang.cookie");
        fs::write(&cookie, folder.display().to_string().replace('/', "-"))?;
        fs::set_permissions(&cookie, fs::Permissions::from_mode(0o400))?;
        fs::write(folder.join("enabled_plugins"), "[rabbitmq_management].\n")?;
        fs::write(folder.join("environment.conf"), "")?;
        fs::write(folder.join("advanced.config"), "[].\n")?;
        let mapper = free_port()?;
        let port = mapper.to_string();
        let path = [("PATH".to_owned(), "/usr/sbin:/usr/bin:/sbin:/bin".to_owned())];
        let (program, arguments) =
            installed.run("/usr/bin/epmd", &["-port", &port, "-address", "127.0.0.1"]);
        keeper.plan("epmd", &program, &arguments, &path)?;
        keeper.command("start epmd")?;
        Ok(Self { keeper, mapper, installed })
    }

    fn node(&self, name: &str, options: &Options) -> Result<RabbitNode, NodeError> {
        let folder = self.keeper.folder();
        let (port, tls, management, distribution) =
            (free_port()?, free_port()?, free_port()?, free_port()?);
        let config = folder.join(format!("{name}.conf"));
        fs::write(&config, configuration(port, tls, management, options))?;
        let path = |part: &str| folder.join(part).display().to_string();
        let machine = format!(
            "+S {n}:{n} +sbwt none +sbwtdcpu none +sbwtdio none \
             -kernel inet_dist_use_interface {{127,0,0,1}}",
            n = options.schedulers
        );
        let environment: Vec<(String, String)> = [
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
            ("LANG", "C.UTF-8".to_owned()),
            ("HOME", folder.display().to_string()),
            ("ERL_EPMD_PORT", self.mapper.to_string()),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
            ("RABBITMQ_NODENAME", format!("{name}@localhost")),
            ("RABBITMQ_DIST_PORT", distribution.to_string()),
            ("RABBITMQ_CONFIG_FILE", config.display().to_string()),
            ("RABBITMQ_CONF_ENV_FILE", path("environment.conf")),
            ("RABBITMQ_ADVANCED_CONFIG_FILE", path("advanced.config")),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", path("enabled_plugins")),
            ("RABBITMQ_MNESIA_BASE", path("data")),
            ("RABBITMQ_LOG_BASE", path("log")),
            ("RABBITMQ_SCHEMA_DIR", path("schema")),
            ("RABBITMQ_GENERATED_CONFIG_DIR", path("generated")),
            ("RABBITMQ_PID_FILE", path(&format!("{name}.pid"))),
            ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", machine),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        let installed = self.installed.clone();
        let (program, arguments) = installed.run(&format!("{SCRIPTS}/rabbitmq-server"), &[]);
        self.keeper.plan(name, &program, &arguments, &environment)?;
        let keeper = Arc::clone(&self.keeper);
        let name = name.to_owned();
        Ok(RabbitNode { keeper, name, port, tls, management, installed, environment })
    }
}

fn configuration(port: u16, tls: u16, management: u16, options: &Options) -> String {
    let mut text = format!(
        "listeners.tcp.1 = 127.0.0.1:{port}\n\
         management.tcp.ip = 127.0.0.1\n\
         management.tcp.port = {management}\n\
         management_agent.disable_metrics_collector = {}\n\
         default_user = {USER}\n\
         default_pass = {PASSWORD}\n\
         default_user_tags.administrator = true\n\
         disk_free_limit.absolute = 50MB\n\
         raft.wal_max_size_bytes = 67108864\n\
         log.file.level = info\n",
        !options.statistics
    );
    if let Some(timeout) = options.consumer_timeout {
        text.push_str(&format!("consumer_timeout = {}\n", timeout.as_millis()));
    }
    if let Some(folder) = &options.tls {
        text.push_str(&format!("listeners.ssl.1 = 127.0.0.1:{tls}\n"));
        let folder = folder.display().to_string();
        let deployed = DEPLOYED.lines().filter(|line| line.starts_with("ssl_options."));
        for line in deployed {
            text.push_str(&line.replace("/etc/rabbitmq/tls", &folder));
            text.push('\n');
        }
    }
    text
}

/// The administrator's credentials as HTTP wants them.
fn basic() -> String {
    format!("Basic {}", base64(format!("{USER}:{PASSWORD}").as_bytes()))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let at = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let word = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4 {
            let six = (word >> (18 - 6 * digit)) & 63;
            let shown = if digit <= chunk.len() { char::from(DIGITS[six as usize]) } else { '=' };
            text.push(shown);
        }
    }
    text
}
