//! What becomes of a script job, whatever its script does: real ones, with the system's Python.

use std::{fs, path::PathBuf};

use rustix::process::Signal;
use shared::{
    job::{Job, Task},
    outcome::{Failure, Outcome, Return, Verdict},
    script::{ATTEMPT_MARK, Script, ScriptResult},
    topology::RESULTS_SCRIPT,
    wire,
};

use crate::harness::{Rig, Worker, job, until};

/// Does what its arguments say, line by line of Python.
const SCRIPT: &str = "\
import json, os, signal, sys, time
for line in sys.argv[1:]:
    exec(line)
";

fn script_job(id: &str, args: &[&str], output: Option<&str>) -> Job {
    let script = Script {
        index: 3,
        name: "do.py".to_owned(),
        args: args.iter().map(ToString::to_string).collect(),
        output: output.map(str::to_owned),
        anywhere: true,
        ..Script::default()
    };
    Job { task: Task::Script(script), time_limit_seconds: 60.0, ..job(id, 0, 0) }
}

struct Place {
    rig: Rig,
    worker: Worker,
}

impl Place {
    async fn new() -> Self {
        let rig = Rig::new().await;
        let folder = rig.folder.path().join("scripts");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("do.py"), SCRIPT).unwrap();
        let settings = format!(
            "[worker]\nslots = 1\ngrace = \"300ms\"\ndrain_timeout = \"500ms\"\n\
             [scripts]\nfolders = [{folder:?}]\n"
        );
        let worker = rig.worker_with("whole", &["--eager"], &settings);
        Self { rig, worker }
    }

    async fn outcome(&self, job: &Job) -> Outcome {
        self.rig.publish(job).await;
        let outcome = self.rig.outcome_in(RESULTS_SCRIPT).await;
        assert_eq!((outcome.job.as_str(), outcome.seq), (job.id.as_str(), 1));
        let finished = matches!(outcome.verdict, Verdict::Finished(_));
        let bytes = wire::encode(job).unwrap().body;
        assert_eq!(outcome.echo, (!finished).then_some(bytes));
        outcome
    }

    async fn result(&self, job: &Job) -> ScriptResult {
        match self.outcome(job).await.verdict {
            Verdict::Finished(result) => result,
            other => panic!("{other:?}"),
        }
    }

    async fn failure(&self, job: &Job) -> (Failure, String, String) {
        match self.outcome(job).await.verdict {
            Verdict::Failed { failure, detail, stderr_tail } => {
                assert!(!detail.contains('\n'), "{detail}");
                (failure, detail, stderr_tail)
            }
            other => panic!("{other:?}"),
        }
    }

    /// The folders of attempts that are there.
    fn attempts(&self) -> Vec<PathBuf> {
        let all = self.rig.folder.path().join("home/attempts");
        let workers = fs::read_dir(all).unwrap().map(|entry| entry.unwrap().path());
        workers
            .flat_map(|worker| fs::read_dir(worker).unwrap().map(|entry| entry.unwrap().path()))
            .filter(|path| path.is_dir())
            .collect()
    }
}

#[tokio::test]
async fn a_script_succeeds_by_its_output_or_its_last_line() {
    let place = Place::new().await;
    let printed = script_job("printed", &["print('busy')", "print('{\"x\": 1}')", "print()"], None);
    let result = place.result(&printed).await;
    assert_eq!((result.index, result.value.as_deref()), (3, Some("{\"x\": 1}")));
    assert_eq!(place.attempts(), Vec::<PathBuf>::new(), "nothing in it is needed");

    let lines = [
        "out = '{output}'",
        "assert out == os.environ['RIGQUEUE_OUTPUT'] == os.path.join(os.getcwd(), 't/1.json')",
        "assert os.environ['RIGQUEUE_JOB'] == 'wrote' and 'RIGQUEUE_BROKER' not in os.environ",
        "assert os.environ['OMP_NUM_THREADS']",
        "json.dump({'loss': 0.5}, open('t/1.json', 'w'))",
    ];
    let wrote = script_job("wrote", &lines, Some("t/1.json"));
    let result = place.result(&wrote).await;
    assert_eq!(result.value.as_deref(), Some("{\"loss\": 0.5}"));
    let file = &result.files[0];
    let folder = PathBuf::from(&file.folder);
    let bytes = fs::read(folder.join(&file.name)).unwrap();
    assert_eq!((file.name.as_str(), file.size), ("t/1.json", bytes.len() as u64));
    assert_eq!(file.blake3, blake3::hash(&bytes).to_hex().to_string());
    assert_eq!(fs::read_to_string(folder.join(ATTEMPT_MARK)).unwrap(), "run-1\nwrote\n1\n");
    assert_eq!(place.attempts(), [folder]);
    assert_eq!(place.rig.take("results.seed").await.map(|delivery| delivery.message.kind), None);
}

#[tokio::test]
async fn every_failure_of_a_script_has_its_kind() {
    let place = Place::new().await;
    let output = Some("o.json");
    let write = |text: &str| format!("open('o.json', 'w').write({text:?})");
    for (id, lines, output, expected, words) in [
        ("missing", vec!["pass".to_owned()], output, Failure::MissingOutput, "wrote no o.json"),
        ("empty", vec![write("")], output, Failure::EmptyOutput, "o.json is empty"),
        ("cut", vec![write("{\"a\":")], output, Failure::InvalidOutput, "is no JSON"),
        ("silent", vec!["pass".to_owned()], None, Failure::MissingOutput, "printed no result"),
        ("words", vec!["print('done')".to_owned()], None, Failure::InvalidOutput, "no JSON: done"),
        (
            "said",
            vec!["print('{\"status\": \"error\", \"message\": \"no draws\"}')".to_owned()],
            None,
            Failure::Reported,
            "no draws",
        ),
        (
            "unsuccessful",
            vec![write("{\"success\": false, \"error\": \"nan loss\"}")],
            output,
            Failure::Reported,
            "nan loss",
        ),
        ("exit", vec!["sys.exit(7)".to_owned()], None, Failure::ExitCode(7), "code 7"),
        ("raised", vec!["1/0".to_owned()], None, Failure::ExitCode(1), "ZeroDivisionError"),
        ("memory", vec!["raise MemoryError".to_owned()], None, Failure::ExitCode(1), "MemoryError"),
        (
            "crash",
            vec!["os.kill(os.getpid(), signal.SIGSEGV)".to_owned()],
            None,
            Failure::Crashed(11),
            "SIGSEGV",
        ),
    ] {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let (failure, detail, tail) = place.failure(&script_job(id, &lines, output)).await;
        assert!(failure == expected && detail.contains(words), "{id}: {failure}: {detail}");
        assert_eq!(tail.contains("Traceback"), ["raised", "memory"].contains(&id), "{id}: {tail}");
    }
    let slow = script_job("slow", &["print('{}')", "time.sleep(600)"], None);
    let slow = Job { time_limit_seconds: 0.5, ..slow };
    let (failure, detail, _) = place.failure(&slow).await;
    assert!(failure == Failure::Timeout && detail.contains("limit of 0.5 s"), "{detail}");
    assert_eq!(place.attempts(), Vec::<PathBuf>::new(), "what failed leaves nothing behind");
}

#[tokio::test]
async fn a_script_that_is_not_in_the_folders_is_refused_unrun() {
    let place = Place::new().await;
    for (name, refused) in [("none.py", true), ("../scripts/do.py", false)] {
        let mut unknown = script_job(name, &["open('/tmp/never', 'w')"], None);
        let Task::Script(script) = &mut unknown.task else { panic!("a script") };
        script.name = name.to_owned();
        match place.outcome(&unknown).await.verdict {
            Verdict::Returned { reason: Return::NeverFits, detail } if refused => {
                assert!(detail.contains("none.py"), "{detail}");
            }
            Verdict::Failed { failure: Failure::Rejected, detail, .. } if !refused => {
                assert!(detail.contains("without '..'"), "{detail}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_draining_worker_gives_scripts_their_time_and_then_takes_them_back() {
    let mut place = Place::new().await;
    let mark = place.rig.folder.path().join("begun");
    let began = format!("open({:?}, 'w')", mark.display().to_string());
    let long = script_job("long", &[&began, "time.sleep(600)"], None);
    place.rig.publish(&long).await;
    until("the script", async || mark.exists().then_some(())).await;
    place.worker.signal(Signal::TERM);
    let outcome = place.rig.outcome_in(RESULTS_SCRIPT).await;
    assert!(
        matches!(outcome.verdict, Verdict::Returned { reason: Return::Drain, .. }),
        "{outcome:?}"
    );
    assert!(outcome.seconds >= 0.5, "its drain_timeout");
    assert_eq!(place.worker.end().await.code(), Some(0));
}
