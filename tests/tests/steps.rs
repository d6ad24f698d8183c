//! All steps as `make steps` goes through them, on small sizes and through RabbitMQ.

use std::{fs, path::Path, process::Command};

use serde_json::Value;
use tests::{python, rig::Rig};

#[test]
fn every_step_follows_from_the_one_before_through_rabbitmq() {
    let Some(python) = python::interpreter() else { return };
    let Some(rig) = Rig::rabbit() else { return };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let settings = fs::read_to_string(root.join("examples/steps/settings.toml")).unwrap();
    rig.add_settings(&settings.replace("@ROOT@", root.to_str().unwrap()));
    let aggregator = rig.spawn_aggregator();
    rig.spawn_worker(2);
    let work = rig.path("steps");
    let like = rig.command("producer", ["status"]);
    let mut steps = Command::new("sh");
    for (name, value) in like.get_envs() {
        match value {
            Some(value) => steps.env(name, value),
            None => steps.env_remove(name),
        };
    }
    // Its commands have the shell for a parent, and not this process.
    steps.env_remove("RIGQUEUE_PARENT");
    let programs = Path::new(like.get_program()).parent().unwrap();
    let ended = steps
        .arg(root.join("examples/steps/run"))
        .arg(&work)
        .env("STEPS_PROGRAMS", programs)
        .env("STEPS_SEEDS", "2^16")
        .env("STEPS_TRIALS", "4")
        .env("STEPS_FEW", "2")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    let complained = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{said}\n{complained}\n{}", rig.log(aggregator));

    let read = |name: &str| -> Value {
        serde_json::from_str(&fs::read_to_string(work.join(name)).unwrap()).unwrap()
    };
    let (found, scored) = (read("survivors.json"), read("scored.json"));
    let (found, scored) = (found.as_array().unwrap(), scored.as_array().unwrap());
    assert!(found.len() > 300 && found.len() == scored.len(), "{}", found.len());
    assert!(scored.iter().all(|record| record["features"]["holdout_score"].is_f64()));
    let trained = rig.status("trained").unwrap();
    let values = trained["results"].as_array().unwrap();
    assert!(values.len() == 4 && values.iter().all(|job| job["result"]["value"].is_f64()));
    // Optuna itself opens what the studies left, and finds every trial in it.
    let ask = "import optuna, sys\noptuna.logging.set_verbosity(optuna.logging.ERROR)\n\
               for name in ('scoring', 'nets', 'models'):\n    \
               study = optuna.load_study(study_name=name, storage=sys.argv[1])\n    \
               print(name, len(study.trials), study.best_trial.state.name)";
    let storage = format!("sqlite:///{}", work.join("studies.db").display());
    let told = Command::new(python).args(["-c", ask, &storage]).output().unwrap();
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert_eq!(told, "scoring 2 COMPLETE\nnets 2 COMPLETE\nmodels 4 COMPLETE\n");
    rig.end_services();
}
