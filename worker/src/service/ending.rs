//! What follows a job's end, and the worker's own.

use std::time::{Duration, Instant};

use shared::{
    broker::Tag,
    messages::Stage,
    outcome::{Failure, Outcome, Return, Verdict},
    wire,
};
use tokio::{
    task::{JoinError, JoinSet},
    time::{sleep, timeout},
};

use super::Service;
use crate::{
    WorkerError,
    child::Order,
    heartbeat::Holding,
    job::{self, Ran},
    report::Report,
    signals::Signals,
};

/// How long the broker may take for the last words after a second signal.
const LAST_WORDS: Duration = Duration::from_secs(1);

impl Service {
    pub(super) fn ended(&mut self, (seat, ran): (usize, Ran)) {
        let Ran { outcome, peak_bytes } = ran;
        log(&outcome);
        self.blame(seat, &outcome.verdict);
        if let Some(running) = self.seats.clear(seat) {
            self.node.gate.end(running.number, peak_bytes);
            let mut holding = running.holding;
            holding.job.stage = Stage::Unconfirmed;
            self.recent.remember(running.key);
            self.report(Some((running.results, outcome)), running.tags, Some((seat, holding)));
        }
        self.start_kept();
    }

    /// What an ending says about the device.
    fn blame(&mut self, seat: usize, verdict: &Verdict) {
        let (name, _, quarantine) = self.seats.ward(seat);
        match verdict {
            Verdict::Failed { failure, .. } => match failure {
                Failure::DeviceLost | Failure::WitnessMissed => {
                    let wait = quarantine.strike(Instant::now());
                    let device = name.to_owned();
                    tracing::warn!(device, %failure, "in quarantine: probed in {wait:?}");
                    self.note_fitness();
                }
                Failure::Stalled => quarantine.suspect(),
                _ => {}
            },
            Verdict::Returned { .. } => {}
            Verdict::Done(_) | Verdict::Finished(_) => quarantine.worked(),
        }
    }

    /// Hands an outcome over, with the queue it goes to.
    pub(super) fn report(
        &mut self,
        outcome: Option<(&'static str, Outcome)>,
        tags: Vec<Tag>,
        held: Option<(usize, Holding)>,
    ) {
        let encoded = |(queue, outcome)| job::encode(outcome).map(|message| (queue, message));
        let outcome = match outcome.map(encoded).transpose() {
            Ok(outcome) => outcome,
            Err(error) => {
                // Unacknowledged, the job comes back when the session ends.
                tracing::error!(%error, "an outcome can't be written");
                return;
            }
        };
        if self.reports.send(Report { outcome, tags }).is_ok() {
            self.unconfirmed.push_back(held);
        }
    }

    pub(super) fn confirm(&mut self, count: usize) {
        self.unconfirmed.drain(..count.min(self.unconfirmed.len()));
    }

    /// Takes nothing more, and has what runs finish short.
    pub(super) fn drain(&mut self) {
        tracing::info!(jobs = self.jobs.len(), "draining: no new jobs, runners finish short");
        self.draining = true;
        // Looks may have no answer for as long as the broker is away; what one would still find
        // comes back when the session ends.
        self.takes = JoinSet::new();
        self.probes.stop();
        self.seats.tell_all(Order::Finish(Return::Drain));
        self.start_kept();
        self.beat();
    }

    /// Waits for the last jobs (killed, if any are left) and for the last confirms, then closes
    /// the session: what was taken and not acknowledged comes back to its queue.
    pub(super) async fn finish(
        &mut self,
        signals: &mut Signals,
        patience: Duration,
    ) -> Result<(), WorkerError> {
        let mut hurried = self.hurried;
        let mut until = std::pin::pin!(sleep(if hurried { LAST_WORDS } else { patience }));
        while !(self.jobs.is_empty() && self.unconfirmed.is_empty()) {
            tokio::select! {
                Some(ended) = self.jobs.join_next() => self.ended(ended.map_err(|error| fault(&error))?),
                Some(count) = self.confirmed.recv() => self.confirm(count),
                _ = signals.next() => {
                    hurried = true;
                    until.as_mut().reset(tokio::time::Instant::now() + LAST_WORDS);
                }
                () = until.as_mut() => break,
            }
        }
        let outcomes = self.unconfirmed.len() + self.jobs.len();
        if outcomes > 0 && !hurried {
            return Err(WorkerError::Unreported { outcomes, seconds: patience.as_secs_f64() });
        }
        let last = wire::encode(&self.heartbeat());
        let end = async {
            if let Ok(message) = last
                && let Err(error) = self.broker.broadcast(message).await
            {
                tracing::debug!(%error, "the last heartbeat could not be sent");
            }
            self.broker.close().await;
        };
        if timeout(LAST_WORDS, end).await.is_err() {
            tracing::warn!("the session with the broker could not be closed in good order");
        }
        tracing::info!(unreported = outcomes, "ended");
        Ok(())
    }
}

pub(super) fn log(outcome: &Outcome) {
    let Outcome { run, job, seconds, device, .. } = outcome;
    let device = &device.name;
    match &outcome.verdict {
        Verdict::Done(_) | Verdict::Finished(_) => {
            tracing::debug!(run, job, device, seconds, "done");
        }
        Verdict::Failed { failure, detail, .. } => {
            tracing::warn!(run, job, device, seconds, %failure, detail, "a job failed");
        }
        Verdict::Returned { detail, .. } => {
            tracing::info!(run, job, device, seconds, detail, "a job goes back");
        }
    }
}

/// A task of ours that panicked.
pub(super) fn fault(error: &JoinError) -> WorkerError {
    WorkerError::Internal(error.to_string())
}
