//! Tests of [`super`].

use std::fs;

use serde_json::{Value, json};
use shared::settings::{Layers, Seconds};

use super::*;
use crate::{chunks::Cutter, jobs_file};

fn options(output_dir: Option<&str>) -> ScriptOptions {
    ScriptOptions {
        step: "3".to_owned(),
        arch: None,
        urgency: Urgency::Normal,
        max_dead: MaxDead::Percent(1.0),
        max_attempts: 3,
        output_dir: output_dir.map(PathBuf::from),
        preserve_paths: false,
        staged: None,
    }
}

fn settings() -> Settings {
    Layers::load(None).unwrap().settings().unwrap()
}

fn run(jobs: &str, out: Option<&str>, settings: &Settings) -> Result<ScriptRun, String> {
    let entries = jobs_file::parse(jobs.as_bytes()).unwrap();
    ScriptRun::new(entries, options(out), settings).map_err(|error| error.to_string())
}

fn script_of(job: &Job) -> &Script {
    match &job.task {
        Task::Script(script) => script,
        _ => panic!("{job:?}"),
    }
}

#[test]
fn a_preset_fills_what_the_file_leaves_open() {
    let preset = StepPreset {
        script: "full.py".to_owned(),
        args: vec!["--fast".to_owned()],
        chunk_size: None,
        sample_size: None,
        timeout: Some(Seconds(90.0)),
        memory_mb: Some(900),
        concurrency: Some(2),
        imports: Vec::new(),
        preload: Vec::new(),
        inputs: Vec::new(),
    };
    let steps = BTreeMap::from([("3".to_owned(), preset)]);
    let settings = Settings { steps, ..settings() };
    let file = r#"[{"job_id": "a"}, {"job_id": "b", "script": "b.py", "args": [], "timeout": 5,
        "memory_mb": 10, "arch": "rocm", "gpu_id": 1}]"#;
    let made = run(file, None, &settings).unwrap();
    let [a, b] = &made.jobs[..] else { panic!("two jobs") };
    let of = script_of(a);
    assert_eq!(
        (of.name.as_str(), &of.args[..], of.index),
        ("full.py", &["--fast".to_owned()][..], 0)
    );
    assert_eq!((a.time_limit_seconds, a.memory_mb, of.concurrency), (90.0, 900, Some(2)));
    assert_eq!(of.step, "3");
    assert_eq!(a.queue(), "jobs.script.any");
    let of = script_of(b);
    assert_eq!((of.name.as_str(), of.args.len(), of.index, of.gpu), ("b.py", 0, 1, Some(1)));
    assert_eq!((b.time_limit_seconds, b.memory_mb), (5.0, 10));
    assert_eq!(b.queue(), "jobs.script.rocm");
    assert!(made.jobs.iter().all(|job| job.validate().is_ok()));
    let manifest = made.manifest("r", 1);
    assert_eq!((manifest.jobs, manifest.requested.len(), manifest.step.as_str()), (2, 2, "3"));
    assert!(
        run(r#"[{"job_id": "a"}]"#, None, &self::settings()).unwrap_err().contains("'a' names")
    );
}

#[test]
fn a_step_over_survivors_is_a_job_for_each_chunk() {
    let over = |preset: Value| {
        let preset: StepPreset = serde_json::from_value(preset).unwrap();
        let settings = Settings { steps: BTreeMap::from([("3".to_owned(), preset)]), ..settings() };
        let cut = |size| {
            let mut cutter = Cutter::new(size);
            cutter.push_list(&br#"[{"seed": 1}, {"seed": 2}, {"seed": 3}]"#[..], "f").unwrap();
            Ok(cutter.end("f").unwrap())
        };
        let made = ScriptRun::over(options(None), &settings, cut);
        made.map_err(|error: ScriptRequestError| error.to_string())
    };
    let made = over(json!({"script": "s.py", "chunk_size": 2, "sample_size": 50,
        "args": ["--in={chunk}", "-n", "{sample_size}", "{output}"]}))
    .unwrap();
    let second = script_of(&made.jobs[1]);
    assert_eq!(second.args, ["--in={input:chunk.json}", "-n", "50", "{output}"]);
    assert_eq!((made.jobs[1].id.as_str(), second.index), ("chunk-00002", 1));
    assert_eq!(second.output.as_deref(), Some("chunk-00002.json"));
    assert_eq!(second.inputs, [made.chunks[1].input.clone()]);
    assert!(made.jobs.len() == 2 && made.jobs.iter().all(|job| job.validate().is_ok()));
    let prints = over(json!({"script": "s.py", "args": ["{chunk}"], "chunk_size": 9})).unwrap();
    assert_eq!(script_of(&prints.jobs[0]).output, None);
    for (preset, why) in [
        (json!({"script": "s.py", "chunk_size": 2}), "no argument {chunk}"),
        (json!({"script": "s.py", "args": ["{chunk}"]}), "no chunk_size"),
        (
            json!({"script": "s.py", "args": ["{chunk}", "{sample_size}"], "chunk_size": 2}),
            "no sample_size",
        ),
    ] {
        let error = over(preset).unwrap_err();
        assert!(error.contains(why) && error.contains("steps.\"3\""), "{error}");
    }
}

#[test]
fn outputs_lie_inside_their_folder() {
    let file = |output: &str| {
        format!(r#"[{{"job_id": "a", "script": "s", "expected_output": "{output}"}}]"#)
    };
    let made = |output: &str, out| {
        let made = run(&file(output), out, &settings())?;
        let script = script_of(&made.jobs[0]);
        Ok::<_, String>((script.output.clone().unwrap(), script.declared.clone()))
    };
    assert_eq!(made("t/a.json", None), Ok(("t/a.json".to_owned(), None)));
    assert_eq!(made("./a.json", None), Ok(("a.json".to_owned(), Some("./a.json".to_owned()))));
    let absolute = Ok(("a.json".to_owned(), Some("/out/a.json".to_owned())));
    assert_eq!(made("/out/a.json", Some("/out")), absolute);
    for (output, out, why) in [
        ("/out/a.json", None, "--output-dir"),
        ("/outside/a.json", Some("/out"), "outside of the output folder"),
        ("/out/../etc/x", Some("/out"), "'..'"),
        ("../x", None, "'..'"),
        ("/out", Some("/out"), "inside its folder"),
        (".", None, "inside its folder"),
        ("", None, "inside its folder"),
    ] {
        let error = made(output, out).unwrap_err();
        assert!(error.contains(why) && error.starts_with("job 'a'"), "{output}: {error}");
    }
    let twice = r#"[{"job_id": "a", "script": "s", "expected_output": "x"},
        {"job_id": "b", "script": "s", "expected_output": "./x"}]"#;
    let error = run(twice, None, &settings()).unwrap_err();
    assert_eq!(error, "job 'b' declares the output 'x' of job 'a' too");
}

#[test]
fn a_script_that_can_be_seen_to_be_missing_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("s.py"), "").unwrap();
    let mut settings = settings();
    let file = |name: &str| format!(r#"[{{"job_id": "a", "script": "{name}"}}]"#);
    assert!(run(&file("t.py"), None, &settings).unwrap().notes[0].contains("is empty here"));
    settings.scripts.folders = vec![folder.path().display().to_string()];
    run(&file("s.py"), None, &settings).unwrap();
    assert!(run(&file("t.py"), None, &settings).unwrap_err().contains("has 't.py'"));
    // A folder that is on the rigs alone may have it.
    settings.scripts.folders.push("/on/the/rigs".to_owned());
    run(&file("t.py"), None, &settings).unwrap();
}

#[test]
fn parts_hold_every_job_once_and_fit_into_messages() {
    let jobs: Vec<String> = (0..40)
        .map(|n| format!(r#"{{"job_id": {n}, "script": "s", "args": ["{}"]}}"#, "x".repeat(60_000)))
        .collect();
    let made = run(&format!("[{}]", jobs.join(",")), None, &settings()).unwrap();
    let parts = made.parts("r");
    assert!(parts.len() > 3, "{}", parts.len());
    let mut next = 0;
    for (number, part) in (0u32..).zip(&parts) {
        assert_eq!((part.part, part.first_index), (number, next));
        assert!(shared::wire::encode(part).unwrap().body.len() < MAX_PART_BYTES + 100_000);
        next += part.jobs.len() as u64;
    }
    assert_eq!(next, 40);
}
