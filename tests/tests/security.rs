//! Who may do what: the users, permissions and certificates that `deploy/rabbitmq` makes, on a real
//! node, with the real programs; and passwords, which nobody gets to see.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "these are tests")]

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use rustix::process::{Pid, Signal};
use shared::{
    broker::{
        Broker, BrokerError, Identity, Patience, apply_topology, check_topology, claim_ledger,
        connect, owns_ledger,
    },
    settings::BrokerSettings,
    wire::Message,
};
use tests::{
    kept::Keeper,
    planted::{Generator, assert_whole, lines, listed},
    rabbitmq::{Options, PASSWORD, RabbitNode, unless_absent},
    rig::{Answer, Rig},
};

const VHOST: &str = "rigqueue";
const ROLES: [&str; 4] = ["producer", "worker", "aggregator", "admin"];
const COMMAND: Patience = Patience::For(Duration::from_secs(5));

fn deployed(script: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/rabbitmq").join(script)
}

/// Runs a script of `deploy/rabbitmq`; what it printed.
fn script(name: &str, arguments: &[&str], environment: &[(String, String)]) -> String {
    let output = Command::new(deployed(name))
        .args(arguments)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// A node as `deploy/rabbitmq` sets it up, which this process's tests share.
struct Site {
    node: &'static RabbitNode,
    certificates: PathBuf,
    _keeper: Keeper,
}

impl Site {
    /// The site, for one test at a time: they cut each other's connections.
    fn turn() -> Option<MutexGuard<'static, Self>> {
        static SITE: OnceLock<Option<Mutex<Site>>> = OnceLock::new();
        let site = SITE.get_or_init(|| Self::start().map(Mutex::new)).as_ref()?;
        Some(site.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn start() -> Option<Self> {
        if Command::new("openssl").arg("version").output().is_err() {
            println!("skipped: openssl is not installed");
            return None;
        }
        // Removed at this process's end, however it ends: there are keys in it.
        let keeper = Keeper::start("rigqueue-site-").unwrap();
        let folder = keeper.folder();
        let certificates = folder.join("tls");
        let at = certificates.display().to_string();
        script("certificates", &[&at, "server", "localhost", "127.0.0.1"], &[]);
        script("certificates", &[&at, "client", "client"], &[]);
        let options = Options { tls: Some(certificates.clone()), ..Options::default() };
        let node = unless_absent(RabbitNode::start(&options))?;
        let node: &'static RabbitNode = Box::leak(Box::new(node));
        let programs = folder.join("bin");
        fs::create_dir(&programs).unwrap();
        node.write_ctl(&programs.join("rabbitmqctl")).unwrap();
        node.ctl(&["add_user", "guest", "guest"]).unwrap();
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        let mut environment = vec![("PATH".to_owned(), path)];
        for role in ROLES.iter().filter(|role| **role != "admin") {
            let name = format!("RIGQUEUE_PASSWORD_{}", role.to_uppercase());
            environment.push((name, Rig::password(role)));
        }
        // The one without a password gets one made up, once.
        let made = script("setup", &[], &environment);
        let (user, password) = made.trim().split_once(' ').expect("a user and its password");
        assert!(user == "admin" && password.len() == 48, "{made}");
        environment.push(("RIGQUEUE_PASSWORD_ADMIN".to_owned(), Rig::password("admin")));
        assert_eq!(script("setup", &[], &environment), "");
        // The tests' own administrator looks into the vhost as well.
        node.grant(tests::rabbitmq::USER, VHOST, ".*").unwrap();
        Some(Self { node, certificates, _keeper: keeper })
    }

    fn settings(&self, role: &str) -> BrokerSettings {
        let path = |name: &str| self.certificates.join(name).display().to_string();
        BrokerSettings {
            ca: path("ca.pem"),
            certificate: path("client.pem"),
            key: path("client.key"),
            ..BrokerSettings::at(self.node.tls_url(role, &Rig::password(role), "localhost", VHOST))
        }
    }

    async fn session(&self, role: &'static str) -> Arc<dyn Broker> {
        let identity = Identity { node: "rig1".to_owned(), instance: role.to_owned(), role };
        connect(&self.settings(role), Path::new("/nonexistent"), identity, COMMAND).await.unwrap()
    }
}

fn message() -> Message {
    Message { kind: "Job".to_owned(), headers: [].into(), body: vec![1] }
}

/// Checks a refusal: one line that names the user and says what to do.
#[track_caller]
fn refused<T: std::fmt::Debug>(what: &str, role: &str, result: Result<T, BrokerError>) {
    let error = match result {
        Err(error @ BrokerError::Refused { .. }) => error.to_string(),
        other => panic!("{role}, {what}: {other:?}"),
    };
    assert!(error.contains(&format!("user '{role}'")), "{what}: {error}");
    assert!(!error.contains('\n') && !error.contains(PASSWORD), "{what}: {error}");
}

#[test]
fn guest_is_gone_and_nobody_is_an_administrator_of_the_broker() {
    let Some(site) = Site::turn() else { return };
    let users = site.node.get("users").unwrap();
    let named: Vec<(&str, String)> = users
        .as_array()
        .unwrap()
        .iter()
        .map(|user| (user["name"].as_str().unwrap(), user["tags"].to_string()))
        .filter(|(name, _)| *name != tests::rabbitmq::USER)
        .collect();
    assert_eq!(named.len(), 4, "{named:?}");
    assert!(named.iter().all(|(name, tags)| {
        ROLES.contains(name) && !tags.contains("administrator") && !tags.contains("policymaker")
    }));
}

#[test]
fn each_role_may_do_its_own_work_and_nothing_else() {
    let Some(site) = Site::turn() else { return };
    runtime().block_on(roles(&site));
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

async fn roles(site: &Site) {
    let home = Path::new("/nonexistent");
    let jobs = "jobs.script.cpu.low";
    let results = "results.script";
    assert!(apply_topology(&site.settings("admin"), COMMAND).await.unwrap().is_sound());

    let worker = site.session("worker").await;
    let producer = site.session("producer").await;
    let aggregator = site.session("aggregator").await;
    let mut heard = aggregator.listen().await.unwrap();

    // What each is there for.
    producer.publish(jobs, message()).await.unwrap();
    producer.publish(results, message()).await.unwrap();
    producer.broadcast(message()).await.unwrap();
    heard.next().await.unwrap();
    assert!(producer.depth(jobs).await.unwrap().is_some());
    let mut bells = worker.listen().await.unwrap();
    let job = worker.take(jobs).await.unwrap().expect("the job");
    worker.publish(results, message()).await.unwrap();
    worker.ack(vec![job.tag]).await.unwrap();
    worker.broadcast(message()).await.unwrap();
    bells.next().await.unwrap();
    let mut taken = aggregator.subscribe(results, 10).await.unwrap();
    let mut tags = Vec::new();
    while tags.len() < 2 {
        tags.extend(taken.next(10).await.unwrap().into_iter().map(|delivery| delivery.tag));
    }
    aggregator.ack(tags).await.unwrap();
    aggregator.publish(jobs, message()).await.unwrap();
    aggregator.publish("dead.jobs", message()).await.unwrap();
    site.node.delete(&format!("queues/{VHOST}/{jobs}")).unwrap();
    let again = apply_topology(&site.settings("aggregator"), COMMAND).await.unwrap();
    assert_eq!(again.created, [jobs]);
    for role in ROLES {
        assert!(check_topology(&site.settings(role), COMMAND).await.unwrap().is_sound(), "{role}");
    }

    // And what it is not.
    refused("publishing jobs", "worker", worker.publish(jobs, message()).await);
    refused("publishing dead letters", "worker", worker.publish("dead.jobs", message()).await);
    for queue in ["results.seed", "results.dead", "dead.jobs", "dead.results"] {
        refused(queue, "worker", worker.take(queue).await);
        refused(queue, "worker", worker.subscribe(queue, 1).await.map(drop));
        refused(queue, "producer", producer.take(queue).await);
        refused(queue, "producer", producer.subscribe(queue, 1).await.map(drop));
    }
    refused("taking jobs", "producer", producer.take(jobs).await);
    refused("listening", "producer", producer.listen().await.map(drop));
    refused("dead letters", "producer", producer.publish("dead.jobs", message()).await);
    site.node.delete(&format!("queues/{VHOST}/{jobs}")).unwrap();
    for role in ["worker", "producer"] {
        let settings = site.settings(role);
        refused("configuring", role, apply_topology(&settings, COMMAND).await);
        refused("claiming", role, claim_ledger(&settings, home, "x", false, COMMAND).await);
        refused("adopting", role, claim_ledger(&settings, home, "x", true, COMMAND).await);
        // Asking whose it is needs no permission.
        owns_ledger(&settings, home, "x", COMMAND).await.unwrap();
    }
    // The aggregator's question mends its own mark, for which it needs what it was granted.
    let asked = [site.settings("aggregator"), site.settings("admin")];
    let aggregator_sees = owns_ledger(&asked[0], home, "x", COMMAND).await.unwrap();
    assert_eq!(aggregator_sees, owns_ledger(&asked[1], home, "x", COMMAND).await.unwrap());
    for session in [worker, producer, aggregator] {
        session.close().await;
    }
    apply_topology(&site.settings("admin"), COMMAND).await.unwrap();
}

/// A search, what it must find, and its options.
fn search(rig: &Rig) -> (Vec<String>, u64) {
    let seed = 123_456;
    let draws = Generator::Xorshift32.draws(seed, 0, 0, 40);
    let draws = rig.file("draws.txt", &lines(&draws));
    let options = format!(
        "enqueue --run guarded --step 2 --family xorshift32 --window 12 --threshold 1 --skip 0..=9 \
         --seed-end 2^24 --chunk 2000000 --draws {draws}"
    );
    (options.split(' ').map(str::to_owned).collect(), u64::from(seed))
}

/// Every process of this machine that descends from `ancestor`: its command line, and what it was
/// given as environment unless it is `ancestor` itself, or still a copy of it that is about to
/// become another program.
fn descendants(ancestor: Pid) -> Vec<(String, String)> {
    let read = |pid: i32, file: &str| {
        let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\0', " ")
    };
    let mut found = Vec::new();
    let ancestor = ancestor.as_raw_nonzero().get();
    let own = read(ancestor, "cmdline");
    let mut next = vec![ancestor];
    while let Some(pid) = next.pop() {
        // The line first: what is another program by then has that program's environment after.
        let line = read(pid, "cmdline");
        let environment = if line == own { String::new() } else { read(pid, "environ") };
        found.push((line, environment));
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        for task in tasks {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            next.extend(children.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
        }
    }
    found
}

/// Every file in a folder, however deep.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries
        .flat_map(|entry| match entry.file_type().unwrap() {
            kind if kind.is_dir() => files(&entry.path()),
            kind if kind.is_file() => vec![entry.path()],
            _ => Vec::new(),
        })
        .collect()
}

#[test]
fn a_run_goes_through_with_least_privileges_and_no_password_is_seen() {
    let Some(site) = Site::turn() else { return };
    let rig = Rig::guarded(site.node, VHOST, &site.certificates);
    let (options, seed) = search(&rig);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    assert!(
        rig.producer(&["topology", "apply", "--adopt"]).ok().stdout.contains("owner: this ledger")
    );
    let parts = [rig.spawn_aggregator(), rig.spawn_worker(2)];
    assert_eq!(rig.producer(&options).code, 0);
    let mut seen = BTreeSet::new();
    let status = rig.until("the end of the run", || {
        for part in parts {
            seen.extend(descendants(rig.pid(part)));
        }
        rig.status("guarded").filter(|status| status["state"] == "complete")
    });
    assert_whole(&status, 0, 1 << 24);
    assert!(listed(&status).contains_key(&seed), "{status}");
    // A broker that goes away is spoken of, and so is one that refuses.
    site.node.close_all_connections(VHOST).unwrap();
    rig.until("the session to come back", || {
        parts.iter().all(|part| rig.log(*part).contains("the broker is back")).then_some(())
    });
    for part in parts {
        rig.signal(part, Signal::TERM);
    }
    rig.until("their ends", || {
        parts.iter().all(|part| descendants(rig.pid(*part))[0].0.is_empty()).then_some(())
    });
    let line = ["status", "guarded", "--broker"];
    let url = site.node.tls_url("producer", "Spundekaes-9", "localhost", VHOST);
    let said: Vec<Answer> = vec![
        rig.producer(&["topology", "check"]),
        rig.producer(&["config", "show"]),
        rig.producer(&[line[0], line[1], line[2], &url]),
    ];
    let warned = |answer: &Answer| answer.stderr.matches("can be read by everybody").count();
    assert_eq!(said.iter().map(warned).collect::<Vec<_>>(), [0, 0, 1], "{said:?}");

    assert!(seen.iter().any(|(line, _)| line.contains("runner-cpu")), "no runner was seen");
    for (line, environment) in &seen {
        assert!(!line.contains(PASSWORD), "a command line: {line}");
        assert!(!environment.contains(PASSWORD), "the environment of {line}");
        assert!(!environment.contains("RIGQUEUE_BROKER"), "the environment of {line}");
    }
    let mut looked = 0;
    for path in files(&rig.path("")) {
        let text = fs::read(&path).unwrap();
        let text = String::from_utf8_lossy(&text);
        assert!(!text.contains(PASSWORD) && !text.contains("Spundekaes"), "{}", path.display());
        looked += 1;
    }
    assert!(looked > 8, "only {looked} files");
    let log = fs::read_to_string(site.node.log_path()).unwrap();
    assert!(!log.contains(PASSWORD));
}

#[test]
fn a_program_with_another_roles_user_says_so_in_one_line() {
    let Some(site) = Site::turn() else { return };
    let rig = Rig::guarded(site.node, VHOST, &site.certificates);
    let (options, _) = search(&rig);
    assert_eq!(rig.producer(&["topology", "apply", "--adopt"]).code, 0);
    let enqueue: Vec<&str> = options.iter().map(String::as_str).collect();
    for (program, arguments, role, part) in [
        ("producer", &enqueue[..], "worker", "rigqueue.jobs"),
        ("producer", &["topology", "apply"], "producer", "rigqueue."),
        ("producer", &["aggregate"], "producer", "user 'producer'"),
        ("worker", &["--slots", "1"], "producer", "user 'producer'"),
    ] {
        let child =
            rig.command(program, arguments).env("RIGQUEUE_BROKER", rig.url_of(role)).output();
        let output = child.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let line = said.lines().last().unwrap_or_default();
        assert_eq!(output.status.code(), Some(3), "{program} as {role}: {said}");
        assert!(line.starts_with("error: ") && line.contains("refused"), "{said}");
        assert!(line.contains(part) && line.contains(&format!("'{role}'")), "{said}");
        assert!(!said.contains(PASSWORD) && !said.contains("panicked"), "{said}");
    }
}

#[test]
fn a_second_ledger_is_kept_off_until_it_adopts_the_broker() {
    let mut rigs = vec![Rig::embedded()];
    rigs.extend(Rig::bare_rabbit());
    for rig in rigs {
        let homes = ["home", "second"].map(|name| rig.path(name));
        let topology = |home: &Path, arguments: &[&str]| {
            let arguments: Vec<&str> = ["topology"].iter().chain(arguments).copied().collect();
            let output = rig.command("producer", &arguments).env("RIGQUEUE_HOME", home).output();
            let output = output.unwrap();
            let said = [&output.stdout, &output.stderr].map(|t| String::from_utf8_lossy(t));
            (output.status.code().unwrap(), said.join("\n"))
        };
        let unclaimed = topology(&homes[0], &["check"]).1;
        assert!(unclaimed.contains("owner: unknown"), "{unclaimed}");
        let first = topology(&homes[0], &["apply"]);
        assert!(first.0 == 0 && first.1.contains("owner: this ledger"), "{first:?}");
        assert_eq!(topology(&homes[0], &["apply"]).0, 0);
        assert_eq!(topology(&homes[0], &["check"]).0, 0);
        let second = topology(&homes[1], &["apply"]);
        assert!(
            second.0 == 3 && second.1.contains("producer topology apply --adopt"),
            "{second:?}"
        );
        let second = topology(&homes[1], &["check"]);
        assert!(second.0 == 3 && second.1.contains("owner: another ledger"), "{second:?}");
        let adopted = topology(&homes[1], &["apply", "--adopt"]);
        assert!(adopted.0 == 0 && adopted.1.contains("it belonged to"), "{adopted:?}");
        assert_eq!(topology(&homes[1], &["check"]).0, 0);
        assert_eq!(topology(&homes[0], &["check"]).0, 3);
        assert_eq!(topology(&homes[0], &["apply"]).0, 3);
    }
}

#[test]
fn what_the_certificates_script_makes_is_for_its_owner_alone() {
    let Some(site) = Site::turn() else { return };
    for path in files(&site.certificates) {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", path.display());
    }
}
