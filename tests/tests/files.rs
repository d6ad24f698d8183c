//! Files between machines: inputs that are fetched, outputs that are brought, sets that are staged.
//! The other machine is a worker that has a data folder of its own where nobody else sees it: in a
//! mount namespace. What goes between them goes through `producer serve`.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "these are tests")]

use std::{
    fs::{self, File},
    os::unix::{fs::PermissionsExt as _, process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use shared::{blobs::hash_of, failpoint::ENV_FAILPOINT};
use tests::rig::{Answer, Part, Rig};

const TOKEN: &str = "Lebkuchen-5678";
/// Says what a file says, in a file or as its result. It waits for a last file that it is given.
const SCRIPT: &str = r#"
import json, os, sys, time
mode, path, more = sys.argv[1], sys.argv[2], sys.argv[3:]
if "wait" in mode:
    open(more[-1] + ".begun", "w").close()
    while not os.path.exists(more[-1]):
        time.sleep(0.02)
said = {"said": open(path).read(), "of": os.environ["RIGQUEUE_JOB"]}
if "write" in mode:
    json.dump(said, open(more[0], "w"))
else:
    print(json.dumps(said))
"#;

/// What a worker is started with, so that its data folder is its own: `$2` is `$1` to it.
const APART: &str = r#"mount --bind "$1" "$2" && shift 2 && exec "$@""#;

/// A worker on the other machine.
struct Node {
    child: Child,
    log: PathBuf,
}

impl Node {
    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn end(mut self, signal: Signal) -> ExitStatus {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("--- the other machine's worker\n{}", self.log());
        }
        // It may have ended.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A rig with a server, and another machine.
struct Site {
    rig: Rig,
    url: String,
    server: Part,
    /// How a mount namespace is made here.
    apart: &'static [&'static str],
}

fn namespace() -> Option<&'static [&'static str]> {
    let ways: [&'static [&'static str]; 2] =
        [&["--mount"], &["--user", "--map-root-user", "--mount"]];
    let works = |way: &&[&str]| {
        let tried =
            Command::new("unshare").args(*way).args(["mount", "--bind", "/tmp", "/tmp"]).output();
        tried.is_ok_and(|tried| tried.status.success())
    };
    let way = ways.into_iter().find(works);
    if way.is_none() {
        println!("skipped: no mount namespace can be made here (unshare --mount)");
    }
    way
}

impl Site {
    fn new() -> Option<Self> {
        let apart = namespace()?;
        let rig = Rig::embedded();
        let scripts = rig.path("scripts");
        fs::create_dir(&scripts).unwrap();
        fs::write(scripts.join("do.py"), SCRIPT).unwrap();
        let ramdisk = rig.path("ramdisk");
        rig.add_settings(&format!(
            "[serve]\ntoken = \"{TOKEN}\"\n[scripts]\nfolders = [{scripts:?}]\n\
             [steps.\"3\"]\nscript = \"do.py\"\ntimeout = \"60s\"\n\
             [steps.\"4\"]\nscript = \"do.py\"\ninputs = [\"history.json\"]\n"
        ));
        let settings = fs::read_to_string(rig.path("settings.toml")).unwrap();
        let worker = format!("[worker]\nramdisk = {ramdisk:?}\n");
        let settings = settings.replacen("[worker]\n", &worker, 1);
        fs::write(rig.path("settings.toml"), settings).unwrap();
        let (server, url) = serve(&rig, "127.0.0.1:0");
        for folder in ["node", "node-itself"] {
            fs::create_dir(rig.path(folder)).unwrap();
        }
        Some(Self { rig, url, server, apart })
    }

    /// A worker on the other machine.
    fn worker(&self) -> Node {
        self.worker_with(&[])
    }

    fn worker_with(&self, more: &[(&str, &str)]) -> Node {
        let worker = self.rig.command("worker", ["--slots", "2"]);
        let log = (0..).map(|n| self.rig.path(&format!("node-{n}.log")));
        let log = log.into_iter().find(|path| !path.exists()).unwrap();
        let mut command = Command::new("unshare");
        command.args(self.apart).args(["sh", "-c", APART, "sh"]);
        command.args([self.node(), self.rig.path("node")]);
        command.arg(worker.get_program()).args(worker.get_args());
        for (name, value) in worker.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let child = command
            .env("RIGQUEUE_HOME", self.rig.path("node"))
            .env("RIGQUEUE_SERVER", &self.url)
            .envs(more.iter().copied())
            .current_dir(self.rig.path("node"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Node { child, log }
    }

    /// The other machine's data folder, as this one can see it.
    fn node(&self) -> PathBuf {
        self.rig.path("node-itself")
    }

    /// A command on a third machine, which asks the server.
    fn producer(&self, words: &[&str]) -> Answer {
        let home = self.rig.path("third").display().to_string();
        let env = [("RIGQUEUE_HOME", home.as_str()), ("RIGQUEUE_SERVER", &self.url)];
        self.rig.with_env(&env, |rig| rig.producer(words))
    }

    fn jobs(&self, jobs: &[Value]) -> String {
        self.rig.file("jobs.json", &json!({ "jobs": jobs }).to_string())
    }

    fn enqueue(&self, run: &str, step: &str, jobs: &[Value], more: &[&str]) -> Answer {
        let file = self.jobs(jobs);
        let words = ["enqueue", "--step", step, "--jobs-file", &file, "--run", run, "--json"];
        self.producer(&[&words, more].concat())
    }

    /// Waits for a run's end; its results.
    fn complete(&self, run: &str) -> Value {
        let status =
            self.rig.until_status(run, "the run's end", |status| status["state"] != "open");
        assert_eq!(status["state"], "complete", "{status}");
        status["results"].clone()
    }

    /// What is left of attempts on the other machine.
    fn attempts(&self) -> Vec<PathBuf> {
        let workers = fs::read_dir(self.node().join("attempts")).unwrap();
        let workers = workers.map(|worker| worker.unwrap().path()).filter(|path| path.is_dir());
        workers
            .flat_map(|worker| fs::read_dir(worker).unwrap())
            .map(|attempt| attempt.unwrap().path())
            .filter(|path| path.is_dir())
            .collect()
    }

    fn until_no_attempts(&self) {
        self.rig
            .until("the node's folder to be emptied", || self.attempts().is_empty().then_some(()));
    }

    /// Waits until a step's set is ready on every node.
    fn until_staged(&self, step: &str) {
        self.producer(&["stage", "--step", step, "--wait"]).ok();
    }
}

fn serve(rig: &Rig, listen: &str) -> (Part, String) {
    let server = rig.start_producer(&["serve", "--listen", listen]);
    let url = rig.until("an address", || {
        let log = rig.log(server);
        let at = log.split("address=").nth(1)?;
        Some(format!("http://{}", at.split_whitespace().next()?))
    });
    (server, url)
}

fn reading(number: usize, input: &str) -> Value {
    let name = input.rsplit('/').next().unwrap();
    json!({"job_id": format!("t{number}"), "args": ["print", format!("{{input:{name}}}")],
        "inputs": [input]})
}

#[test]
fn inputs_go_to_the_node_and_outputs_come_back() {
    let Some(site) = Site::new() else { return };
    let _worker = site.worker();
    let input = site.rig.file("hello.txt", "hello");
    let jobs: Vec<Value> = (0..12)
        .map(|number| {
            let mut job = reading(number, &input);
            if number % 2 == 0 {
                let output = format!("deep/{number}.json");
                job["args"] = json!(["write", "{input:hello.txt}", output]);
                job["expected_output"] = json!(output);
            }
            job
        })
        .collect();
    let out = site.rig.path("out");
    let dir = out.display().to_string();
    site.enqueue("r", "3", &jobs, &["--output-dir", &dir]).ok();
    let results = site.complete("r");
    for number in 0..12 {
        let name = format!("t{number}");
        let said = json!({"said": "hello", "of": name});
        let result = results.as_array().unwrap().iter().find(|result| result["job"] == name);
        assert_eq!(result.unwrap()["result"], said);
        // The run is complete only once the files lie there.
        let path = out.join(format!("r/deep/{number}.json"));
        assert_eq!(path.exists(), number % 2 == 0, "{}", path.display());
        if number % 2 == 0 {
            let wrote: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
            assert_eq!(wrote, said);
        }
    }
    site.until_no_attempts();
    // Nothing of it stays on the way, and the node keeps what it may need again.
    let arrived = site.rig.home().join("arrived");
    let left = fs::read_dir(arrived).unwrap().flat_map(|shelf| fs::read_dir(shelf.unwrap().path()));
    assert_eq!(left.flatten().count(), 0);
    assert!(site.node().join("cache").is_dir() && !site.node().join("blobs").exists());
    site.rig.end_services();
}

#[test]
fn a_spoilt_copy_is_fetched_again_and_a_lost_input_is_named() {
    let Some(site) = Site::new() else { return };
    let _worker = site.worker();
    let input = site.rig.file("hello.txt", "hello");
    site.enqueue("a", "3", &[reading(1, &input)], &[]).ok();
    site.complete("a");
    let hash = hash_of(Path::new(&input)).unwrap();
    let spoil = |home: PathBuf| {
        let path = home.join(&hash[..2]).join(&hash);
        fs::remove_file(&path).unwrap();
        fs::write(path, "hullo").unwrap();
    };
    spoil(site.node().join("cache"));
    site.enqueue("b", "3", &[reading(1, &input)], &[]).ok();
    assert_eq!(site.complete("b")[0]["result"]["said"], "hello");
    // Spoilt on the server as well: it is never given to a script.
    spoil(site.node().join("cache"));
    spoil(site.rig.home().join("blobs"));
    // Enqueued without the file, as by a producer that was told that it is there.
    site.enqueue("c", "3", &[reading(1, &input)], &[]).ok();
    let failed = site.rig.until_status("c", "a failure", |status| status["jobs"]["failed"] != 0);
    let failure = &failed["results"][0]["failure"];
    assert_eq!(failure["kind"], "InputMissing", "{failed}");
    let detail = failure["detail"].as_str().unwrap();
    assert!(detail.contains("'hello.txt'") && detail.contains("enqueue it again"), "{detail}");
    // As it says.
    site.enqueue("d", "3", &[reading(1, &input)], &[]).ok();
    assert_eq!(site.complete("d")[0]["result"]["said"], "hello");
    assert_eq!(site.complete("c")[0]["result"]["said"], "hello");
}

#[test]
fn without_the_token_nothing_is_taken_or_given() {
    let Some(site) = Site::new() else { return };
    let input = site.rig.file("hello.txt", "hello");
    site.enqueue("r", "3", &[reading(1, &input)], &[]).ok();
    let settings = fs::read_to_string(site.rig.path("settings.toml")).unwrap();
    let strange = site.rig.file("strange.toml", &settings.replace(TOKEN, "another"));
    let worker = site.worker_with(&[("RIGQUEUE_CONFIG", &strange)]);
    let failed = site.rig.until_status("r", "a failure", |status| status["jobs"]["failed"] != 0);
    let detail = failed["results"][0]["failure"]["detail"].as_str().unwrap();
    assert!(detail.contains("another token") && !detail.contains(TOKEN), "{detail}");
    let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
    let hash = hash_of(Path::new(&input)).unwrap();
    let blob = format!("{}/v1/blobs/{hash}", site.url);
    assert_eq!(agent.get(&blob).call().unwrap().status(), 401);
    assert_eq!(agent.put(&blob).send("hello").unwrap().status(), 401);
    let known = format!("Bearer {TOKEN}");
    let put = |url: &str, body: &str| {
        agent.put(url).header("authorization", &known).send(body).unwrap().status().as_u16()
    };
    assert_eq!(put(&blob, "hullo"), 422, "another file");
    assert_eq!(put(&format!("{}/v1/blobs/..%2Fledger.db", site.url), "x"), 400);
    assert_eq!(put(&blob, "hello"), 204);
    let got = agent.get(&blob).header("authorization", &known).call().unwrap();
    assert_eq!(got.into_body().read_to_string().unwrap(), "hello");
    assert!(worker.end(Signal::TERM).success());
    let _worker = site.worker();
    site.complete("r");
}

#[test]
fn what_a_killed_worker_had_finished_is_brought_by_the_next() {
    let Some(site) = Site::new() else { return };
    let input = site.rig.file("hello.txt", "hello");
    let output = |number: usize| {
        json!({"job_id": format!("t{number}"), "inputs": [input], "expected_output": "o.json",
            "args": ["write", "{input:hello.txt}", "o.json"]})
    };
    // The ledger hears of it, the broker gives its job away again, and its file is on the node.
    let point = "outcome_published";
    let mut doomed = site.worker_with(&[(ENV_FAILPOINT, point)]);
    site.enqueue("r", "3", &[output(1)], &[]).ok();
    let status = doomed.child.wait().unwrap();
    assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "{}", doomed.log());
    assert_eq!(site.attempts().len(), 1, "what it had finished");
    let _next = site.worker();
    site.complete("r");
    assert!(site.rig.home().join("outputs/r/o.json").exists());
    site.until_no_attempts();
    site.rig.end_services();
}

#[test]
fn a_server_that_is_away_for_a_while_costs_time_alone() {
    let Some(site) = Site::new() else { return };
    let worker = site.worker();
    let (input, go) = (site.rig.file("hello.txt", "hello"), site.rig.path("go"));
    let job = json!({"job_id": "t", "inputs": [input], "expected_output": "o.json",
        "args": ["write-wait", "{input:hello.txt}", "o.json", go]});
    site.enqueue("r", "3", &[job], &[]).ok();
    let begun = site.rig.path("go.begun");
    site.rig.until("the script to have begun", || begun.exists().then_some(()));
    assert!(site.rig.terminate(site.server).success());
    fs::write(&go, "").unwrap();
    site.rig.until("the worker to miss the server", || {
        worker.log().contains("outputs stay here for now").then_some(())
    });
    assert_eq!(site.attempts().len(), 1);
    serve(&site.rig, site.url.strip_prefix("http://").unwrap());
    site.complete("r");
    assert!(site.rig.home().join("outputs/r/o.json").exists());
    site.until_no_attempts();
    site.rig.end_services();
}

/// A job that reads the staged history.
fn staged(id: &str, mode: &str, more: &[&str]) -> Value {
    let mut args = vec![mode, "{staged}/history.json"];
    args.extend(more);
    json!({"job_id": id, "args": args})
}

#[test]
fn staged_files_are_there_before_the_scripts_and_after_a_reboot() {
    let Some(site) = Site::new() else { return };
    let refused = site.enqueue("none", "4", &[staged("t", "print", &[])], &[]);
    assert!(refused.code == 2 && refused.stderr.contains("producer stage --step 4"), "{refused}");
    let history = site.rig.file("history.json", "[1]");
    let holdout = site.rig.file("holdout.json", "[2]");
    site.producer(&["stage", "--step", "4", &history, &holdout]).ok();
    // Nobody is there who could have staged it: the job finds it all the same.
    let answer = site.enqueue("r", "4", &[staged("t", "print", &[])], &[]);
    answer.ok();
    let worker = site.worker();
    assert_eq!(site.complete("r")[0]["result"]["said"], "[1]");
    site.until_staged("4");
    let status = site.producer(&["stage", "--status", "--json"]).ok().json();
    assert_eq!(status["nodes"][0]["sets"][0]["progress"], "ready", "{status}");
    let by_link = site.rig.path("ramdisk/step4/holdout.json");
    assert_eq!(fs::read_to_string(&by_link).unwrap(), "[2]");
    let table = site.producer(&["stage", "--status"]).ok().stdout;
    assert!(table.contains("history.json holdout.json") && table.contains("ready"), "{table}");

    // A reboot: no worker, and the ramdisk is empty.
    worker.end(Signal::KILL);
    fs::remove_dir_all(site.rig.path("ramdisk")).unwrap();
    site.enqueue("s", "4", &[staged("t", "print", &[])], &[]).ok();
    let worker = site.worker();
    assert_eq!(site.complete("s")[0]["result"]["said"], "[1]");
    assert!(by_link.exists());

    // The same with the files of one machine, and nothing of the run's own stays behind.
    let file = site.jobs(&[staged("t", "print", &[])]);
    let local = site.rig.producer(&["run", "--step", "4", "--jobs-file", &file, "--json"]).ok();
    assert_eq!(local.json()["results"][0]["result"]["said"], "[1]");
    assert!(by_link.exists());

    site.producer(&["stage", "--step", "4", "--clear"]).ok();
    site.rig.until("the ramdisk to be cleared", || {
        let left = fs::read_dir(site.rig.path("ramdisk/sets")).unwrap().count();
        (left == 0 && by_link.symlink_metadata().is_err()).then_some(())
    });
    let gone = site.producer(&["stage", "--step", "4", "--clear"]);
    assert_eq!(gone.code, 5, "{gone}");
    assert!(worker.end(Signal::TERM).success());
    site.rig.end_services();
}

#[test]
fn a_new_set_takes_the_place_of_one_in_use_when_that_is_done() {
    let Some(site) = Site::new() else { return };
    let _worker = site.worker();
    let history = site.rig.file("history.json", "old");
    site.producer(&["stage", "--step", "3", &history, "--wait"]).ok();
    let go = site.rig.path("go").display().to_string();
    let waiting = staged("t", "print-wait", &[&go]);
    site.enqueue("r", "3", &[waiting], &[]).ok();
    site.rig.until("the script to have begun", || site.rig.path("go.begun").exists().then_some(()));
    let sets = || fs::read_dir(site.rig.path("ramdisk/sets")).unwrap().count();
    assert_eq!(sets(), 2, "a folder and its mark");
    let history = site.rig.file("history.json", "new");
    site.producer(&["stage", "--step", "3", &history, "--wait"]).ok();
    let by_link = site.rig.path("ramdisk/step3/history.json");
    assert_eq!(fs::read_to_string(by_link).unwrap(), "new");
    assert_eq!(sets(), 4, "the old one is in use");
    fs::write(go, "").unwrap();
    assert_eq!(site.complete("r")[0]["result"]["said"], "old");
    site.enqueue("s", "3", &[staged("t", "print", &[])], &[]).ok();
    assert_eq!(site.complete("s")[0]["result"]["said"], "new");
    site.rig.until("the old set to be gone", || (sets() == 2).then_some(()));
    site.rig.end_services();
}

#[test]
fn a_set_that_cannot_be_staged_is_told_and_its_jobs_say_so() {
    let Some(site) = Site::new() else { return };
    let ramdisk = site.rig.path("ramdisk");
    fs::create_dir(&ramdisk).unwrap();
    let open = |mode| {
        fs::set_permissions(&ramdisk, fs::Permissions::from_mode(mode)).unwrap();
    };
    open(0o777);
    let _worker = site.worker();
    let history = site.rig.file("history.json", "old");
    site.producer(&["stage", "--step", "3", &history]).ok();
    site.enqueue("r", "3", &[staged("t", "print", &[])], &[]).ok();
    let failed = site.rig.until_status("r", "a failure", |status| status["jobs"]["failed"] != 0);
    let failure = &failed["results"][0]["failure"];
    assert_eq!(failure["kind"], "InputMissing", "{failed}");
    assert!(failure["detail"].as_str().unwrap().contains("mode 0777"), "{failed}");
    let table = site.rig.until("the trouble to be told", || {
        let table = site.producer(&["stage", "--status"]).ok().stdout;
        table.contains("failed").then_some(table)
    });
    assert!(table.contains("has mode 0777"), "{table}");
    open(0o755);
    site.until_staged("3");
    assert_eq!(site.complete("r")[0]["result"]["said"], "old");
    site.rig.end_services();
}
