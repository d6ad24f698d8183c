//! Jobs that fit the node, but not now.

use shared::{broker::Tag, messages::Stage};

use super::Service;
use crate::{admission::Permit, heartbeat::Holding, job::Taken, recent::Key};

/// A job that was taken and is not started.
#[derive(Debug)]
pub(super) struct Kept {
    /// Its key in the ledger.
    pub(super) key: Key,
    /// Where its outcome goes.
    pub(super) results: &'static str,
    /// What acknowledges it.
    pub(super) tags: Vec<Tag>,
    /// The job.
    pub(super) taken: Taken,
    /// Its share in the node's limits.
    pub(super) permit: Permit,
    /// What others see of it.
    pub(super) holding: Holding,
    /// Whether others may pass it: what it waits for is nothing that they would use up.
    pub(super) lets_pass: bool,
}

impl Service {
    /// Keeps a job, last of all.
    pub(super) fn keep(&mut self, mut job: Kept, why: String) {
        if job.holding.job.stage != Stage::Kept {
            tracing::info!(run = job.key.run, job = job.key.job, why, "a job is kept");
            job.holding.job.stage = Stage::Kept;
            self.pulse.news();
        }
        job.holding.job.waits_for = Some(why);
        self.kept.push_back(job);
    }

    /// Whether every kept job lets others pass.
    pub(super) fn kept_let_pass(&self) -> bool {
        self.kept.iter().all(|kept| kept.lets_pass)
    }

    /// Starts the kept jobs that may start by now, in the order in which they came: none goes
    /// before one that does not let it pass.
    pub(super) fn start_kept(&mut self) {
        let mut waiting = std::mem::take(&mut self.kept);
        while let Some(job) = waiting.pop_front() {
            if self.try_start(job) && !self.kept_let_pass() {
                break;
            }
        }
        self.kept.append(&mut waiting);
    }

    /// Does with kept jobs as the fleet's state says: what lies in the queue of a run that has
    /// ended or is paused is acknowledged unrun, and so are they.
    pub(super) fn review_kept(&mut self) {
        for job in std::mem::take(&mut self.kept) {
            if self.fleet.is_past(&job.key.run, job.key.epoch) {
                tracing::info!(run = job.key.run, job = job.key.job, "acknowledged unrun");
                self.report(None, job.tags, None);
            } else {
                self.kept.push_back(job);
            }
        }
        self.start_kept();
    }
}
