//! Slots that are endpoints: against a small server that behaves as it is told to.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use rustix::process::Signal;
use serde_json::{Value, json};
use shared::{
    job::{Job, Task},
    messages::FleetState,
    outcome::{Failure, Outcome, Return, Verdict},
    script::Script,
    topology::RESULTS_SCRIPT,
    wire,
};

use crate::harness::{Rig, Worker, job, until};

/// What the server does with requests.
#[derive(Debug, Clone)]
enum Mode {
    /// As it should, with this answer of the handler's, or none yet.
    Works(Option<Value>),
    /// It answers that to everything.
    Says(u16, &'static str),
    /// It answers nothing while it does so.
    Hangs,
    /// It takes jobs, and says that to questions about them.
    Tells(u16, Value),
}

#[derive(Debug)]
struct State {
    mode: Mode,
    /// Every request: its method and path, and its body.
    asked: Vec<(String, Value)>,
    tokens: Vec<String>,
    /// Whether `/status` must be posted.
    posts: bool,
}

/// An endpoint of the test's own.
#[derive(Debug, Clone)]
struct Server {
    state: Arc<Mutex<State>>,
    port: u16,
}

/// What the handler answers of a script that printed a result.
fn printed() -> Value {
    json!({"rigqueue": 1, "status": "exited", "exit_code": 0, "stdout_tail": "x\n{\"at\": 1}\n"})
}

impl Server {
    fn start(mode: Mode) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = State { mode, asked: Vec::new(), tokens: Vec::new(), posts: false };
        let server = Self { state: Arc::new(Mutex::new(state)), port };
        let own = server.clone();
        // They end with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let own = own.clone();
                thread::spawn(move || own.answer(stream));
            }
        });
        server
    }

    fn answer(&self, mut stream: TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let request = line.rsplit_once(' ')?.0.to_owned();
        let mut headers = BTreeMap::new();
        loop {
            line.clear();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim().split_once(": ") else { break };
            headers.insert(name.to_lowercase(), value.to_owned());
        }
        let length = headers.get("content-length").and_then(|text| text.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body).ok()?;
        let (code, text) = self.reply(&request, &headers, &body)?;
        let head = format!(
            "HTTP/1.1 {code} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            text.len()
        );
        stream.write_all(head.as_bytes()).ok()?;
        stream.write_all(text.as_bytes()).ok()
    }

    fn reply(
        &self,
        request: &str,
        headers: &BTreeMap<String, String>,
        body: &[u8],
    ) -> Option<(u16, String)> {
        let mut state = self.state.lock().unwrap();
        state.asked.push((request.to_owned(), serde_json::from_slice(body).unwrap_or_default()));
        state.tokens.extend(headers.get("authorization").cloned());
        let id = request.rsplit('/').next()?;
        let told = |status: &str| json!({"id": id, "status": status});
        if let Mode::Says(code, text) = &state.mode {
            return Some((*code, (*text).to_owned()));
        }
        if matches!(state.mode, Mode::Hangs) {
            drop(state);
            while matches!(self.state.lock().unwrap().mode, Mode::Hangs) {
                thread::sleep(Duration::from_millis(10));
            }
            return None;
        }
        if request.contains("/run") {
            let id = state.asked.iter().filter(|(request, _)| request.contains("/run")).count();
            return Some((200, json!({"id": format!("j-{id}"), "status": "IN_QUEUE"}).to_string()));
        }
        if request.contains("/cancel/") {
            return Some((200, told("CANCELLED").to_string()));
        }
        if state.posts && request.starts_with("GET") {
            return Some((405, String::new()));
        }
        Some(match &state.mode {
            Mode::Tells(code, said) => {
                let mut said = said.clone();
                said["id"] = id.into();
                (*code, said.to_string())
            }
            Mode::Works(Some(answer)) => {
                let mut told = told("COMPLETED");
                told["output"] = answer.clone();
                (200, told.to_string())
            }
            _ => (200, told("IN_PROGRESS").to_string()),
        })
    }

    fn set(&self, mode: Mode) {
        self.state.lock().unwrap().mode = mode;
    }

    fn count(&self, part: &str) -> usize {
        let state = self.state.lock().unwrap();
        state.asked.iter().filter(|(request, _)| request.contains(part)).count()
    }

    /// A worker whose one slot of its own runs no scripts unless `settings` say so.
    fn worker(&self, rig: &Rig, endpoint: &str, settings: &str) -> Worker {
        let settings = format!(
            "[worker]\nslots = 1\nnode = \"here\"\ngrace = \"300ms\"\ndrain_timeout = \"300ms\"\n{settings}\n\
             [[endpoint]]\nurl = \"http://127.0.0.1:{}/v2/e\"\nrequests_per_second = 200.0\n\
             {endpoint}\n",
            self.port
        );
        rig.worker_with("whole", &["--eager"], &settings)
    }
}

fn script_job(id: &str, output: Option<&str>) -> Job {
    let script = Script {
        index: 3,
        name: "do.py".to_owned(),
        args: vec!["--n".to_owned(), "{output}".to_owned()][..1 + usize::from(output.is_some())]
            .to_vec(),
        output: output.map(str::to_owned),
        anywhere: true,
        ..Script::default()
    };
    Job { task: Task::Script(script), time_limit_seconds: 60.0, ..job(id, 0, 0) }
}

async fn outcome(rig: &Rig, job: &Job) -> Outcome {
    rig.publish(job).await;
    let outcome = rig.outcome_in(RESULTS_SCRIPT).await;
    assert_eq!(outcome.job, job.id);
    outcome
}

#[tokio::test]
async fn a_script_at_an_endpoint_is_judged_as_one_of_our_own() {
    let rig = Rig::new().await;
    let server = Server::start(Mode::Works(Some(printed())));
    server.state.lock().unwrap().posts = true;
    let _worker = server.worker(&rig, "token = \"s3cret\"", "");
    let done = outcome(&rig, &script_job("printed", None)).await;
    let Verdict::Finished(result) = &done.verdict else { panic!("{done:?}") };
    assert_eq!((result.index, result.value.as_deref()), (3, Some("{\"at\": 1}")));
    assert_eq!((done.device.name.as_str(), done.echo), ("endpoint0.0", None));
    {
        let state = server.state.lock().unwrap();
        assert!(state.tokens.iter().all(|token| token == "Bearer s3cret"));
        assert_eq!(state.tokens.len(), state.asked.len());
        let (request, body) = &state.asked[0];
        assert_eq!(request, "POST /v2/e/run");
        let input = &body["input"];
        assert_eq!((&input["script"], &input["job"]), (&json!("do.py"), &json!("printed")));
        assert_eq!(input["args"], json!(["--n"]));
    }

    let wrote = |name: &str, content: &str| {
        let files = json!([{"name": name, "base64": content}]);
        json!({"rigqueue": 1, "status": "exited", "exit_code": 0, "files": files})
    };
    let ended = |code: i32, status: &str| {
        json!({"rigqueue": 1, "status": status, "exit_code": code,
        "stderr_tail": "Traceback\nValueError: no\n", "stdout_tail": "{}"})
    };
    let output = Some("t/o.json");
    for (id, output, answer, expected) in [
        ("missing", output, printed(), Failure::MissingOutput),
        ("empty", output, wrote("t/o.json", ""), Failure::EmptyOutput),
        ("invalid", output, wrote("t/o.json", "e30gfQ=="), Failure::InvalidOutput),
        ("exit", None, ended(3, "exited"), Failure::ExitCode(3)),
        ("crash", None, ended(-11, "exited"), Failure::Crashed(11)),
        ("late", None, ended(-15, "timeout"), Failure::Timeout),
    ] {
        server.set(Mode::Works(Some(answer)));
        match outcome(&rig, &script_job(id, output)).await.verdict {
            Verdict::Failed { failure, .. } if failure == expected => {}
            other => panic!("{id}: {other:?}"),
        }
    }
    server.set(Mode::Works(Some(wrote("t/o.json", "WzFd"))));
    let done = outcome(&rig, &script_job("wrote", output)).await;
    let Verdict::Finished(result) = &done.verdict else { panic!("{done:?}") };
    let file = &result.files[0];
    let at = std::path::Path::new(&file.folder).join(&file.name);
    assert_eq!((fs::read(at).unwrap(), result.value.as_deref()), (b"[1]".to_vec(), Some("[1]")));
}

#[tokio::test]
async fn whatever_is_wrong_with_an_endpoint_costs_no_job_an_attempt() {
    let rig = Rig::new().await;
    let server = Server::start(Mode::Works(None));
    let endpoint = "failures = 2\ncooldown = \"20ms\"\nrequest_timeout = \"500ms\"\n\
                    queue_timeout = \"300ms\"";
    let _worker = server.worker(&rig, endpoint, "");
    let tells = Mode::Tells;
    let odd = json!({"rigqueue": 1, "status": "exited", "files": [{"name": "../x", "base64": ""}]});
    for (id, mode, words) in [
        ("500", Mode::Says(500, "oh"), "answered 500"),
        ("forgets", tells(404, json!({})), "forgotten"),
        ("429", Mode::Says(429, ""), "too often"),
        (
            "unknown",
            tells(200, json!({"status": "FAILED", "error": "Job ID not found"})),
            "forgotten",
        ),
        ("401", Mode::Says(401, ""), "refuses the token"),
        ("status", tells(200, json!({"status": "DONE"})), "makes no sense"),
        ("404", Mode::Says(404, ""), "no such endpoint"),
        ("down", tells(503, json!({})), "answered 503"),
        ("redirect", Mode::Says(302, ""), "answered 302"),
        ("cancelled", tells(200, json!({"status": "CANCELLED"})), "called the job off"),
        ("words", Mode::Says(200, "<html>"), "makes no sense"),
        ("expired", tells(200, json!({"status": "TIMED_OUT"})), "in its queue"),
        ("id", Mode::Says(200, "{\"id\": \"../x\", \"status\": \"IN_QUEUE\"}"), "no URL can hold"),
        ("queue", tells(200, json!({"status": "IN_QUEUE"})), "in its queue"),
        ("hangs", Mode::Hangs, "did not answer in time"),
        ("nothing", tells(200, json!({"status": "COMPLETED"})), "answer is missing"),
        ("other", tells(200, json!({"status": "COMPLETED", "output": [1]})), "makes no sense"),
        ("odd", tells(200, json!({"status": "COMPLETED", "output": odd})), "nobody declared"),
    ] {
        server.set(mode);
        let outcome = outcome(&rig, &script_job(id, None)).await;
        let Verdict::Returned { reason: Return::Busy, detail } = &outcome.verdict else {
            panic!("{id}: {outcome:?}")
        };
        assert!(
            detail.starts_with("endpoint 127.0.0.1:") && detail.contains(words),
            "{id}: {detail}"
        );
        assert!(!detail.contains('\n') && outcome.echo.is_some(), "{id}: {detail}");
    }
    // Whose fault it is when the service's worker dies shows elsewhere.
    server.set(tells(200, json!({"status": "FAILED", "error": "worker exited with 137"})));
    let died = outcome(&rig, &script_job("died", None)).await;
    assert!(
        matches!(&died.verdict, Verdict::Failed { failure: Failure::Crashed(9), detail, .. }
            if detail.contains("137")),
        "{died:?}"
    );
    // What the handler refuses is not given to it again.
    let refused = json!({"rigqueue": 1, "status": "refused", "why": "there is no script here"});
    server.set(Mode::Works(Some(refused)));
    let back = outcome(&rig, &script_job("refused", None)).await;
    assert!(matches!(&back.verdict, Verdict::Returned { reason: Return::Busy, .. }), "{back:?}");
    let never = outcome(&rig, &script_job("never", None)).await;
    assert!(
        matches!(&never.verdict, Verdict::Returned { reason: Return::NeverFits, .. }),
        "{never:?}"
    );
}

/// The breaker opens, and slots here do the work meanwhile.
#[tokio::test]
async fn an_endpoint_that_fails_is_left_alone() {
    let rig = Rig::new().await;
    let mut ears = rig.ears().await;
    let server = Server::start(Mode::Says(500, ""));
    let folder = rig.folder.path().join("scripts");
    fs::create_dir(&folder).unwrap();
    let text = "import os, sys, time\nwhile not os.path.exists(sys.argv[1]):\n    \
                time.sleep(0.01)\nprint(2)\n";
    fs::write(folder.join("do.py"), text).unwrap();
    let settings = format!("[scripts]\nfolders = [{folder:?}]\n");
    let endpoint = "slots = 2\nfailures = 2\ncooldown = \"10m\"";
    let mut worker = server.worker(&rig, endpoint, &settings);
    let end = rig.folder.path().join("end");
    let own = |id: &str| {
        let mut job = script_job(id, None);
        let Task::Script(script) = &mut job.task else { panic!("a script") };
        script.args = vec![end.display().to_string()];
        job
    };
    // The slot here comes first; the endpoint gets what it does not take.
    rig.publish(&own("here")).await;
    ears.heartbeat(|heartbeat| heartbeat.slots[0].job.is_some()).await;
    let back = outcome(&rig, &own("away")).await;
    assert!(matches!(&back.verdict, Verdict::Returned { reason: Return::Busy, .. }), "{back:?}");
    let asked = server.count("");
    rig.publish(&own("waits")).await;
    let heartbeat = ears.heartbeat(|heartbeat| heartbeat.slots[1].unfit.is_some()).await;
    let why = heartbeat.slots[2].unfit.clone().unwrap();
    assert!(why.starts_with("it answered 500; it is tried again in"), "{why}");
    fs::write(&end, "").unwrap();
    for id in ["here", "waits"] {
        let outcome = rig.outcome_in(RESULTS_SCRIPT).await;
        assert_eq!((outcome.job.as_str(), outcome.device.name.as_str()), (id, "cpu0"));
    }
    assert_eq!(server.count(""), asked, "it is left alone");
    worker.signal(Signal::TERM);
    assert_eq!(worker.end().await.code(), Some(0));
    assert!(worker.log().contains("it takes nothing for 600s"), "{}", worker.log());
}

#[tokio::test]
async fn an_endpoint_that_works_again_is_found_out_with_one_job() {
    let rig = Rig::new().await;
    let server = Server::start(Mode::Says(500, ""));
    let worker = server.worker(&rig, "slots = 3\nfailures = 2\ncooldown = \"100ms\"", "");
    let back = outcome(&rig, &script_job("fails", None)).await;
    assert!(matches!(&back.verdict, Verdict::Returned { reason: Return::Busy, .. }), "{back:?}");
    assert_eq!(server.count("/run"), 2);
    server.set(Mode::Hangs);
    for number in 0..3 {
        rig.publish(&script_job(&format!("job-{number}"), None)).await;
    }
    until("a job that tries it", async || (server.count("/run") > 2).then_some(())).await;
    let heartbeat = rig.heartbeat(|heartbeat| heartbeat.slots[1].job.is_some()).await;
    let why = heartbeat.slots[2].unfit.clone().unwrap();
    assert_eq!(why, "it answered 500; it is tried with one job");
    assert!(heartbeat.slots[2].job.is_none() && heartbeat.slots[3].job.is_none());
    server.set(Mode::Works(Some(printed())));
    let mut done = 0;
    while done < 2 {
        // The one that tried it got no answer.
        let outcome = rig.outcome_in(RESULTS_SCRIPT).await;
        done += usize::from(matches!(outcome.verdict, Verdict::Finished(_)));
    }
    assert!(worker.log().contains("it works again"), "{}", worker.log());
}

#[tokio::test]
async fn an_endpoint_holds_no_more_jobs_than_it_has_slots() {
    let rig = Rig::new().await;
    let server = Server::start(Mode::Works(None));
    let _worker = server.worker(&rig, "slots = 2", "");
    for number in 0..5 {
        rig.publish(&script_job(&format!("job-{number}"), None)).await;
    }
    until("questions", async || (server.count("/status/") >= 8).then_some(())).await;
    assert_eq!(server.count("/run"), 2);
    let queued = rig.broker.depth(&script_job("", None).queue()).await.unwrap();
    assert_eq!(queued, Some(3), "the rest is there for others");
    server.set(Mode::Works(Some(printed())));
    for _ in 0..5 {
        let outcome = rig.outcome_in(RESULTS_SCRIPT).await;
        assert!(matches!(outcome.verdict, Verdict::Finished(_)), "{outcome:?}");
    }
    assert_eq!(server.count("/run"), 5);
}

#[tokio::test]
async fn a_job_is_called_off_with_its_run_and_with_its_worker_and_at_its_time_limit() {
    let rig = Rig::new().await;
    let server = Server::start(Mode::Works(None));
    let mut worker = server.worker(&rig, "", "");
    rig.publish(&script_job("cancelled", None)).await;
    until("a question", async || (server.count("/status/j-1") > 0).then_some(())).await;
    let state = FleetState {
        min_epochs: [("run-1".to_owned(), 2)].into(),
        ended: ["run-1".to_owned()].into(),
        ..FleetState::default()
    };
    rig.broker.broadcast(wire::encode(&state).unwrap()).await.unwrap();
    let back = rig.outcome_in(RESULTS_SCRIPT).await;
    assert!(
        matches!(&back.verdict, Verdict::Returned { reason: Return::Cancelled, .. }),
        "{back:?}"
    );
    assert_eq!(server.count("/cancel/j-1"), 1);

    rig.publish(&Job { epoch: 2, ..script_job("drained", None) }).await;
    until("a question", async || (server.count("/status/j-2") > 0).then_some(())).await;
    worker.signal(Signal::TERM);
    let back = rig.outcome_in(RESULTS_SCRIPT).await;
    assert!(matches!(&back.verdict, Verdict::Returned { reason: Return::Drain, .. }), "{back:?}");
    assert!(back.seconds >= 0.3, "its drain_timeout");
    assert_eq!(server.count("/cancel/j-2"), 1);
    assert_eq!(worker.end().await.code(), Some(0));
}

#[tokio::test]
async fn what_a_killed_worker_had_at_an_endpoint_runs_again() {
    let rig = Rig::new().await;
    let server = Server::start(Mode::Works(None));
    let mut worker = server.worker(&rig, "", "");
    rig.publish(&script_job("again", None)).await;
    until("a question", async || (server.count("/status/j-1") > 0).then_some(())).await;
    worker.signal(Signal::KILL);
    worker.end().await;
    server.set(Mode::Works(Some(printed())));
    let _next = server.worker(&rig, "", "");
    let outcome = rig.outcome_in(RESULTS_SCRIPT).await;
    assert!(matches!(outcome.verdict, Verdict::Finished(_)), "{outcome:?}");
    assert_eq!(server.count("/run"), 2);
}
