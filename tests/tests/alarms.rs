//! A broker that is there and does not do what it should: what the programs say, and that they go
//! on by themselves.

use shared::broker::{Patience, apply_topology};
use tests::{
    planted::lines,
    rabbitmq::{Options, PASSWORD, RabbitNode, unless_absent},
    rig::{Answer, Part, Rig},
};

fn enqueue(rig: &Rig, run: &str) -> Answer {
    let draws = rig.file("draws.txt", &lines(&(100..140).collect::<Vec<_>>()));
    let line = format!(
        "enqueue --run {run} --step 2 --family xorshift32 --seed-end 2^16 --window 12 --threshold 1 \
         --draws {draws}"
    );
    rig.producer(&line.split(' ').collect::<Vec<_>>())
}

fn complete(rig: &Rig, run: &str) {
    rig.until_status(run, "a complete run", |status| status["state"] == "complete");
}

fn until_log(rig: &Rig, part: Part, text: &str) {
    rig.until(text, || rig.log(part).contains(text).then_some(()));
}

#[test]
fn a_disk_alarm_is_spoken_of_and_work_goes_on_after_it() {
    let Some(node) = unless_absent(RabbitNode::start(&Options::default())) else { return };
    let node: &'static RabbitNode = Box::leak(Box::new(node));
    let rig = Rig::on(node);
    let parts = [rig.spawn_aggregator(), rig.spawn_worker(1)];
    let [_, worker] = parts;
    assert_eq!(enqueue(&rig, "before").code, 0);
    complete(&rig, "before");

    node.ctl(&["set_disk_free_limit", "1000000GB"]).unwrap();
    // A command says so and ends; a service says so and waits.
    let answer = enqueue(&rig, "meanwhile");
    assert!(answer.code == 3 && answer.stderr.contains("resource alarm"), "{answer}");
    until_log(&rig, worker, "the broker has raised a resource alarm; publishes wait");
    node.ctl(&["set_disk_free_limit", "50MB"]).unwrap();
    until_log(&rig, worker, "the broker takes publishes again");
    assert_eq!(enqueue(&rig, "after").code, 0);
    complete(&rig, "after");
    for part in parts {
        assert!(rig.terminate(part).success());
        assert!(!rig.log(part).contains(PASSWORD));
    }
}

#[test]
fn a_broker_that_comes_back_without_its_queues_is_spoken_of() {
    let Some(mut rig) = Rig::rabbit() else { return };
    rig.use_own_user();
    let (node, vhost) = rig.node().unwrap();
    let worker = rig.spawn_worker(1);
    until_log(&rig, worker, "at work");
    for queue in ["jobs.seed.rocm", "jobs.script.cpu.high"] {
        node.delete(&format!("queues/{vhost}/{queue}")).unwrap();
    }
    rig.cut();
    until_log(&rig, worker, "the broker came back without these queues");
    let log = rig.log(worker);
    let line = log.lines().find(|line| line.contains("came back without")).unwrap();
    assert!(line.contains("jobs.seed.rocm") && line.contains("jobs.script.cpu.high"), "{line}");
    assert!(line.contains("producer topology apply") && !line.contains(PASSWORD), "{line}");
    // And everything goes on without a restart once they are there again.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let settings = shared::settings::BrokerSettings::at(rig.url());
    runtime.block_on(apply_topology(&settings, Patience::COMMAND)).unwrap();
    let aggregator = rig.spawn_aggregator();
    assert_eq!(enqueue(&rig, "after").code, 0);
    complete(&rig, "after");
    for part in [worker, aggregator] {
        assert!(rig.terminate(part).success());
    }
}
