//! The fault matrix: each process is killed, as by a power cut, at every stage of a job's way.
//! After each death the run ends exact, nothing is left in any queue, and all processes work on.
//!
//! With `--nocapture` it says how long each recovery took.

#![expect(clippy::print_stdout, reason = "a recovery says how long it took")]

use std::{path::Path, time::Instant};

use serde_json::Value;
use shared::failpoint::Point;
use tests::{
    exact::{LONG, SHORT, Search, both_brokers, text},
    rig::{Part, Rig},
};

/// What a killed producer did not publish is queued by the aggregator, after this silence instead
/// of the usual minute.
const SOON: &str = "[aggregator]\nreconcile_after = \"2s\"";

/// The recovery from one death.
struct Recovery<'a> {
    rig: &'a Rig,
    run: &'a str,
    since: Instant,
    /// What was covered at the death.
    before: Option<u64>,
}

impl<'a> Recovery<'a> {
    /// Begins with the death of `part`.
    fn from(rig: &'a Rig, part: Part, run: &'a str) -> Self {
        rig.until_killed(part);
        let since = Instant::now();
        Self { rig, run, since, before: covered(rig.status(run).as_ref()) }
    }

    /// Waits until more is covered.
    fn goes_on(self) -> Self {
        self.rig.until("more to be covered", || {
            let status = self.rig.status(self.run)?;
            let over = status["state"] != "open";
            (over || covered(Some(&status)) > self.before).then_some(())
        });
        self.says("went on");
        self
    }

    fn says(&self, what: &str) {
        let broker = if self.rig.node().is_some() { "RabbitMQ" } else { "embedded" };
        let seconds = self.since.elapsed().as_secs_f64();
        println!("{broker}: {} {what} {seconds:.2} s after the death", self.run);
    }
}

fn covered(status: Option<&Value>) -> Option<u64> {
    status.and_then(|status| status["covered"].as_u64())
}

fn at(point: Point, turn: u32) -> String {
    format!("{}:{turn}", point.name())
}

/// For many processes, of which one dies.
fn once(point: Point, file: &Path) -> String {
    format!("{}@{}", point.name(), file.display())
}

/// Nothing waits in any queue, neither while the services run nor once they have given back all
/// that they held.
fn nothing_is_left(rig: &Rig) {
    rig.until_empty();
    rig.end_services();
    rig.until_empty();
}

#[test]
fn a_worker_killed_at_any_stage_costs_nothing() {
    both_brokers(|rig| {
        rig.spawn_aggregator();
        for (point, turn) in [
            (Point::JobTaken, 1),
            (Point::JobTaken, 6),
            (Point::ChildStarted, 5),
            (Point::ChildEnded, 5),
            (Point::OutcomePublished, 4),
            (Point::JobAcknowledged, 4),
        ] {
            let run = format!("{}-{turn}", point.name());
            let doomed = rig.doomed(&at(point, turn), |rig| rig.spawn_worker(2));
            let waiting = SHORT.enqueue(rig, &run);
            let recovery = Recovery::from(rig, doomed, &run);
            let worker = rig.spawn_worker(2);
            let recovery = recovery.goes_on();
            let status = SHORT.finish(rig, waiting);
            recovery.says("was whole");
            assert_eq!(status["jobs"]["retried"], 0, "no job failed: {}", status["jobs"]);
            rig.until_empty();
            assert!(rig.terminate(worker).success());
        }
        nothing_is_left(rig);
    });
}

#[test]
fn a_runner_killed_at_any_stage_is_tried_again() {
    both_brokers(|rig| {
        rig.spawn_aggregator();
        for point in [Point::JobRead, Point::BlockTested] {
            let died = rig.path(point.name());
            let worker = rig.armed(&once(point, &died), |rig| rig.spawn_worker(2));
            let waiting = SHORT.enqueue(rig, point.name());
            rig.until("a runner's death", || died.exists().then_some(()));
            let since = Instant::now();
            let recovery = Recovery { rig, run: point.name(), since, before: None };
            let status = SHORT.finish(rig, waiting);
            recovery.says("was whole");
            assert_eq!(status["jobs"]["retried"], 1, "{}", status["jobs"]);
            rig.until_empty();
            assert!(rig.terminate(worker).success());
        }
        nothing_is_left(rig);
    });
}

#[test]
fn an_aggregator_killed_at_any_stage_costs_nothing() {
    both_brokers(|rig| {
        for (point, turn) in [
            (Point::ResultsTaken, 1),
            (Point::ResultsTaken, 4),
            (Point::ResultsApplied, 1),
            (Point::ResultsApplied, 4),
            (Point::ResultsAcknowledged, 4),
            (Point::OutboxPublished, 1),
            (Point::OutboxDeleted, 1),
        ] {
            let run = format!("{}-{turn}", point.name());
            let doomed = rig.doomed(&at(point, turn), Rig::spawn_aggregator);
            // A runner's death gives the outbox something to do.
            let fails = matches!(point, Point::OutboxPublished | Point::OutboxDeleted);
            let worker = if fails {
                rig.armed(&once(Point::JobRead, &rig.path(&run)), |rig| rig.spawn_worker(2))
            } else {
                rig.spawn_worker(2)
            };
            let waiting = SHORT.enqueue(rig, &run);
            let recovery = Recovery::from(rig, doomed, &run);
            let aggregator = rig.spawn_aggregator();
            let recovery = recovery.goes_on();
            let status = SHORT.finish(rig, waiting);
            recovery.says("was whole");
            assert_eq!(status["jobs"]["retried"], u64::from(fails), "{}", status["jobs"]);
            rig.until_empty();
            assert!(rig.terminate(worker).success());
            assert!(rig.terminate(aggregator).success());
        }
        nothing_is_left(rig);
    });
}

#[test]
fn everything_killed_at_its_worst_moment_again_and_again_costs_nothing() {
    both_brokers(|rig| {
        let search = Search { chunk: SHORT.chunk, ..LONG };
        let run = "everything";
        let asked = search.arguments(rig, &["enqueue", "--run", run]);
        let asked = text(&asked);
        let producer = rig.doomed(&at(Point::JobsPublished, 1), |rig| rig.start_producer(&asked));
        rig.until_killed(producer);
        // It sees to it that there are results to die of.
        let died = rig.path("once");
        rig.armed(&once(Point::BlockTested, &died), |rig| rig.spawn_worker(1));
        // First, so that the failed job is not one that a killed worker has finished.
        rig.until("a runner's death", || died.exists().then_some(()));
        for (of_aggregator, of_worker) in [
            (Point::ResultsTaken, Point::JobTaken),
            (Point::ResultsApplied, Point::OutcomePublished),
            (Point::ResultsAcknowledged, Point::ChildEnded),
            (Point::ResultsApplied, Point::JobAcknowledged),
        ] {
            let aggregator = rig.doomed(&at(of_aggregator, 2), Rig::spawn_aggregator);
            // The aggregator may be dead before this one hears of it.
            let worker = rig.doomed(&at(of_worker, 3), |rig| rig.spawn_eager_worker(2));
            rig.until_killed(aggregator);
            let recovery = Recovery::from(rig, worker, run);
            assert!(recovery.before < Some(u64::from(search.end)), "it was over before the fault");
        }
        rig.spawn_aggregator();
        rig.spawn_worker(2);
        let whole = Recovery { rig, run, since: Instant::now(), before: None };
        let status = rig.until_status(run, "its end", |status| status["state"] != "open");
        whole.says("was whole");
        search.check_jobs(&status);
        assert_eq!(status["jobs"]["retried"], 1, "{}", status["jobs"]);
        nothing_is_left(rig);
    });
}

#[test]
fn a_producer_killed_at_any_stage_has_its_run_done() {
    both_brokers(|rig| {
        rig.add_settings(SOON);
        rig.spawn_aggregator();
        rig.spawn_worker(2);
        // The producer publishes 2000 jobs at a time.
        let many = Search { chunk: SHORT.end / 2100, ..SHORT };
        let recoveries = [
            (Point::ManifestPublished, SHORT),
            (Point::SomeJobsPublished, many),
            (Point::JobsPublished, SHORT),
        ]
        .map(|(point, search)| {
            let asked = search.arguments(rig, &["enqueue", "--run", point.name()]);
            let asked = text(&asked);
            let doomed = rig.doomed(&at(point, 1), |rig| rig.start_producer(&asked));
            (Recovery::from(rig, doomed, point.name()), search)
        });
        for (recovery, search) in recoveries {
            let status =
                rig.until_status(recovery.run, "its end", |status| status["state"] != "open");
            recovery.says("was whole");
            search.check(&status);
            let all_published = recovery.run == Point::JobsPublished.name();
            assert_eq!(status["jobs"]["requeued"] == 0, all_published, "{}", status["jobs"]);
            if all_published {
                search.check_jobs(&status);
            }
        }
        nothing_is_left(rig);
    });
}
