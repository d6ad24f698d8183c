//! The processes that faults happen to, and what follows a fault a little later.

use std::{
    fs,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use shared::{
    failpoint::Point,
    job::{Arch, Urgency},
    topology::seed_queue,
};
use tests::{
    rabbitmq::RabbitNode,
    rig::{Part, Rig},
};

use crate::{chance::Chance, faults::Fault, figures::Books, say, work::Work};

const WORKERS: usize = 3;
const SLOTS: u32 = 2;

/// What is to be done at a time to come.
#[derive(Debug)]
enum Later {
    StartWorker(usize),
    StartAggregator,
    Thaw(Part),
    Kill(Part),
    Resume(String),
}

/// One aggregator, three workers of a node each, and producers.
#[derive(Debug)]
pub(crate) struct Fleet<'a> {
    rig: &'a Rig,
    pub(crate) work: Work,
    aggregator: Option<Part>,
    workers: [Option<Part>; WORKERS],
    /// Every worker that ever was, for what it logged.
    all_workers: Vec<Part>,
    frozen: Vec<Part>,
    later: Vec<(Instant, Later)>,
    /// Somebody stops and starts the node, or fills its disk.
    operator: Option<JoinHandle<()>>,
    orders: Vec<(Part, Vec<String>)>,
}

impl<'a> Fleet<'a> {
    /// All of it, started.
    pub(crate) fn start(rig: &'a Rig) -> Self {
        let mut fleet = Self {
            rig,
            work: Work::default(),
            aggregator: None,
            workers: [None; WORKERS],
            all_workers: Vec::new(),
            frozen: Vec::new(),
            later: Vec::new(),
            operator: None,
            orders: Vec::new(),
        };
        fleet.act(Later::StartAggregator);
        (0..WORKERS).for_each(|number| fleet.act(Later::StartWorker(number)));
        fleet
    }

    fn act(&mut self, later: Later) {
        match later {
            Later::StartWorker(number) => {
                let part = self.rig.spawn_worker_of(&format!("rig-{}", number + 1), SLOTS);
                self.workers[number] = Some(part);
                self.all_workers.push(part);
            }
            Later::StartAggregator => self.aggregator = Some(self.rig.spawn_aggregator()),
            Later::Thaw(part) => {
                self.frozen.retain(|frozen| *frozen != part);
                self.send(part, Signal::CONT);
            }
            Later::Kill(part) => {
                self.send(part, Signal::KILL);
            }
            Later::Resume(run) => self.order("resume", &run),
        }
    }

    /// Sends a signal to a part, unless it has ended.
    fn send(&self, part: Part, signal: Signal) {
        if self.rig.ended(part).is_none() {
            kill_process(self.rig.pid(part), signal).expect("a signal");
        }
    }

    fn order(&mut self, word: &str, run: &str) {
        let words = [word, run].map(str::to_owned).to_vec();
        self.orders.push((self.rig.start_producer(&[word, run]), words));
    }

    /// Does what is due, and hears of whoever has ended.
    pub(crate) fn look(&mut self) {
        let now = Instant::now();
        while let Some(at) = self.later.iter().position(|(due, _)| *due <= now) {
            let (_, later) = self.later.swap_remove(at);
            self.act(later);
        }
        self.work.look(self.rig);
        if let Some(operator) = self.operator.take_if(|operator| operator.is_finished()) {
            end_of(operator);
        }
        let rig = self.rig;
        self.orders.retain(|(part, words)| {
            let Some(status) = rig.ended(*part) else { return true };
            // 2: the run ended before.
            if !matches!(status.code(), Some(0 | 2)) {
                say(&format!("{words:?} ended with {status}: {}", rig.log(*part)));
            }
            false
        });
        rig.check();
    }

    /// Ends all faults, and waits until everybody is back.
    pub(crate) fn heal(&mut self) {
        while let Some((_, later)) = self.later.pop() {
            self.act(later);
        }
        if let Some(operator) = self.operator.take() {
            end_of(operator);
        }
        self.rig.until("the last producers", || {
            self.look();
            (!self.work.is_publishing() && self.orders.is_empty()).then_some(())
        });
    }

    /// Orders that came to nothing are given again.
    pub(crate) fn resume_all(&mut self, books: &Books) {
        for (run, _) in books.runs().iter().filter(|(_, state)| *state == "paused") {
            drop(self.rig.producer(&["resume", run]).ok());
        }
    }

    /// How many jobs workers were given again by the broker, as they logged it.
    pub(crate) fn redeliveries(&self) -> usize {
        let logs = self.all_workers.iter().map(|part| self.rig.log(*part));
        logs.map(|log| log.matches("a job was delivered again").count()).sum()
    }

    /// Workers that run, not frozen.
    fn awake(&self) -> Vec<(usize, Part)> {
        let parts = self.workers.iter().enumerate();
        let parts = parts.filter_map(|(number, part)| part.map(|part| (number, part)));
        parts.filter(|(_, part)| !self.frozen.contains(part)).collect()
    }

    fn awake_aggregator(&self) -> Option<Part> {
        self.aggregator.filter(|part| !self.frozen.contains(part))
    }

    fn runners(&self) -> Vec<Pid> {
        let workers = self.workers.iter().flatten();
        workers.flat_map(|part| children(self.rig.pid(*part))).collect()
    }

    /// Whether a fault has anything to happen to.
    pub(crate) fn is_possible(&self, fault: Fault, books: &Books) -> bool {
        match fault {
            Fault::WorkerKilled | Fault::WorkerFrozen => !self.awake().is_empty(),
            Fault::RunnerKilled => !self.runners().is_empty(),
            Fault::AggregatorKilled | Fault::AggregatorFrozen => self.awake_aggregator().is_some(),
            Fault::ProducerKilled => !self.work.is_publishing() && self.operator.is_none(),
            Fault::RunPaused => books.runs().values().any(|state| state == "open"),
            Fault::ConnectionsClosed
            | Fault::QueueDeleted
            | Fault::DiskAlarm
            | Fault::BrokerKilled => self.operator.is_none(),
        }
    }

    /// Does it; whether there was still something for it to happen to.
    pub(crate) fn suffer(&mut self, fault: Fault, chance: &mut Chance, books: &Books) -> bool {
        match fault {
            Fault::WorkerKilled => {
                let Some((number, part)) = chance.one_of(&self.awake()) else { return false };
                self.rig.kill9(part);
                self.workers[number] = None;
                self.after(chance.millis(0, 2000), Later::StartWorker(number));
            }
            Fault::RunnerKilled => {
                let Some(runner) = chance.one_of(&self.runners()) else { return false };
                // It may have ended by itself meanwhile.
                return kill_process(runner, Signal::KILL).is_ok();
            }
            Fault::AggregatorKilled => {
                let Some(part) = self.awake_aggregator() else { return false };
                self.rig.kill9(part);
                self.aggregator = None;
                self.after(chance.millis(0, 2000), Later::StartAggregator);
            }
            Fault::ProducerKilled => self.kill_a_producer(chance),
            Fault::WorkerFrozen => {
                let Some((_, part)) = chance.one_of(&self.awake()) else { return false };
                self.freeze(part, chance);
            }
            Fault::AggregatorFrozen => {
                let Some(part) = self.awake_aggregator() else { return false };
                self.freeze(part, chance);
            }
            Fault::RunPaused => {
                let open = books.runs().into_iter().filter(|(_, state)| state == "open");
                let open: Vec<String> = open.map(|(run, _)| run).collect();
                let Some(run) = chance.one_of(&open) else { return false };
                self.order("pause", &run);
                self.after(chance.millis(2000, 5000), Later::Resume(run));
            }
            Fault::ConnectionsClosed => self.rig.cut(),
            Fault::QueueDeleted => {
                let Some((node, vhost)) = self.rig.node() else { return false };
                let queue = seed_queue(Arch::Cpu, Urgency::Normal);
                // It may be missing still, since the last time.
                return node.delete(&format!("queues/{vhost}/{queue}")).is_ok();
            }
            Fault::DiskAlarm => self.operate(chance.millis(2000, 5000), |node, pause| {
                node.ctl(&["set_disk_free_limit", "900000000000000"]).expect("an alarm");
                thread::sleep(pause);
                node.ctl(&["set_disk_free_limit", "50MB"]).expect("the alarm's end");
            }),
            Fault::BrokerKilled => self.operate(chance.millis(0, 3000), |node, pause| {
                node.kill().expect("a node to kill");
                thread::sleep(pause);
                node.run().expect("the node again");
            }),
        }
        true
    }

    fn kill_a_producer(&mut self, chance: &mut Chance) {
        let points = [Some(Point::ManifestPublished), Some(Point::JobsPublished), None];
        let doom = points[chance.below(points.len())];
        let part = self.work.publish(self.rig, chance, doom);
        if doom.is_none() {
            self.after(chance.millis(5, 100), Later::Kill(part));
        }
    }

    fn freeze(&mut self, part: Part, chance: &mut Chance) {
        self.send(part, Signal::STOP);
        self.frozen.push(part);
        self.after(chance.millis(1000, 6000), Later::Thaw(part));
    }

    fn after(&mut self, wait: Duration, later: Later) {
        self.later.push((Instant::now() + wait, later));
    }

    /// Does something to the node that takes its time.
    fn operate(&mut self, pause: Duration, work: fn(&RabbitNode, Duration)) {
        if let Some((node, _)) = self.rig.node() {
            self.operator = Some(thread::spawn(move || work(node, pause)));
        }
    }
}

/// What went wrong for an operator goes wrong for all.
fn end_of(operator: JoinHandle<()>) {
    if let Err(panic) = operator.join() {
        std::panic::resume_unwind(panic);
    }
}

/// A process's children, whichever of its threads started them.
fn children(parent: Pid) -> Vec<Pid> {
    let threads = fs::read_dir(format!("/proc/{}/task", parent.as_raw_nonzero()));
    let lists = threads.into_iter().flatten().filter_map(|thread| {
        // A thread may end meanwhile.
        fs::read_to_string(thread.ok()?.path().join("children")).ok()
    });
    let lists: Vec<String> = lists.collect();
    let ids = lists.iter().flat_map(|list| list.split_whitespace());
    ids.filter_map(|id| Pid::from_raw(id.parse().ok()?)).collect()
}
