//! Endpoint slots and the handler that is shipped for them, against the local server of RunPod's own
//! package (`make python` installs it).

#![expect(clippy::print_stdout, reason = "what a test is left out for is said")]

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use shared::{
    blobs::Blobs,
    job::{Job, Task},
    outcome::{Failure, Return, Verdict},
    script::Script,
    topology::RESULTS_SCRIPT,
};

use crate::harness::{Rig, job, until};

/// The server; killed when dropped.
struct Service(Child, u16);

impl Drop for Service {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Service {
    /// Starts it with a folder of scripts; `None` where it is not installed.
    async fn start(rig: &Rig, scripts: &Path) -> Option<Self> {
        let own = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let python = own.join("../target/runpod/bin/python");
        if !own.join("../target/runpod/version").is_file() {
            println!("skipped: target/runpod is not there; `make python` installs it");
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = fs::File::create(rig.folder.path().join("service.log")).unwrap();
        let child = Command::new(python)
            .arg(own.join("scripts/endpoint_handler.py"))
            .args(["--rp_serve_api", "--rp_api_host", "127.0.0.1", "--rp_api_port"])
            .arg(port.to_string())
            .current_dir(rig.folder.path())
            .env("RIGQUEUE_SCRIPTS", scripts)
            .env("RUNPOD_TEST_SECRET", "a secret of the service's")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let service = Self(child, port);
        until("the service", async || TcpStream::connect(("127.0.0.1", port)).ok()).await;
        Some(service)
    }
}

fn script_job(id: &str, name: &str, args: &[&str], output: Option<&str>) -> Job {
    let script = Script {
        name: name.to_owned(),
        args: args.iter().map(ToString::to_string).collect(),
        output: output.map(str::to_owned),
        anywhere: true,
        ..Script::default()
    };
    Job { task: Task::Script(script), time_limit_seconds: 60.0, ..job(id, 0, 0) }
}

#[tokio::test]
async fn the_shipped_handler_runs_scripts_on_runpods_local_server() {
    let rig = Rig::new().await;
    let scripts = rig.folder.path().join("elsewhere");
    fs::create_dir(&scripts).unwrap();
    let text = "import json, os, signal, sys, time\nfor line in sys.argv[1:]:\n    exec(line)\n";
    fs::write(scripts.join("do.py"), text).unwrap();
    let Some(service) = Service::start(&rig, &scripts).await else { return };
    let settings = format!(
        "[worker]\nslots = 1\n[[endpoint]]\nurl = \"http://127.0.0.1:{}\"\nslots = 2\n\
         requests_per_second = 50.0\nrequest_timeout = \"60s\"\n",
        service.1
    );
    let home = rig.folder.path().join("home");
    let input = Blobs::of(&home).keep("in/list.json", &b"[7, 8]"[..]).unwrap();
    let worker = rig.worker_with("whole", &["--eager"], &settings);
    let verdict = async |job: &Job| {
        rig.publish(job).await;
        let outcome = rig.outcome_in(RESULTS_SCRIPT).await;
        assert_eq!(
            (outcome.job.as_str(), outcome.device.name.as_str()),
            (job.id.as_str(), "endpoint0.0")
        );
        outcome.verdict
    };

    let lines = [
        "assert os.environ['RIGQUEUE_JOB'] == 'printed'",
        "assert not any(name.startswith('RUNPOD') for name in os.environ)",
        "print('busy')",
        "print(json.dumps({'x': 1}))",
    ];
    let Verdict::Finished(result) = verdict(&script_job("printed", "do.py", &lines, None)).await
    else {
        panic!("{}", worker.log())
    };
    assert_eq!(result.value.as_deref(), Some("{\"x\": 1}"));

    let lines = [
        "given, out = json.load(open('{input:in/list.json}')), '{output}'",
        "assert out == os.environ['RIGQUEUE_OUTPUT'] == os.path.join(os.getcwd(), 't/1.json')",
        "json.dump({'sum': sum(given)}, open('t/1.json', 'w'))",
        "json.dump({'seed': 42}, open('t/1.json.meta.json', 'w'))",
    ];
    let mut wrote = script_job("wrote", "do.py", &lines, Some("t/1.json"));
    let Task::Script(script) = &mut wrote.task else { panic!("a script") };
    script.inputs = vec![input];
    let done = verdict(&wrote).await;
    let Verdict::Finished(result) = &done else { panic!("{done:?}") };
    assert_eq!(result.value.as_deref(), Some("{\"sum\": 15}"));
    let names: Vec<&str> = result.files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["t/1.json", "t/1.json.meta.json"]);
    for file in &result.files {
        let bytes = fs::read(Path::new(&file.folder).join(&file.name)).unwrap();
        assert_eq!(file.blake3, blake3::hash(&bytes).to_hex().to_string());
    }

    let write = "open('o.json', 'w').write('{')";
    for (id, line, output, expected) in [
        ("exit", "sys.exit(7)", None, Failure::ExitCode(7)),
        ("raised", "1/0", None, Failure::ExitCode(1)),
        ("crash", "os.kill(os.getpid(), signal.SIGSEGV)", None, Failure::Crashed(11)),
        ("missing", "pass", Some("o.json"), Failure::MissingOutput),
        ("invalid", write, Some("o.json"), Failure::InvalidOutput),
        ("silent", "pass", None, Failure::MissingOutput),
    ] {
        match verdict(&script_job(id, "do.py", &[line], output)).await {
            Verdict::Failed { failure, stderr_tail, .. } if failure == expected => {
                assert_eq!(stderr_tail.contains("ZeroDivisionError"), id == "raised");
            }
            other => panic!("{id}: {other:?}"),
        }
    }
    let slow = script_job("slow", "do.py", &["print('{}')", "time.sleep(600)"], None);
    let slow = Job { time_limit_seconds: 0.5, ..slow };
    let late = verdict(&slow).await;
    assert!(matches!(&late, Verdict::Failed { failure: Failure::Timeout, .. }), "{late:?}");
    let none = verdict(&script_job("none", "none.py", &[], None)).await;
    assert!(
        matches!(&none, Verdict::Returned { reason: Return::Busy, detail } if detail.contains("no script")),
        "{none:?}"
    );
}
