//! When to speak up, and what of.

use std::time::Instant;

use shared::messages::{HeldJob, SlotState, Stage};

use crate::{recent::Key, slots::Slot};

/// How often at least, in seconds.
pub const EVERY_SECONDS: u64 = 5;

/// What a slot holds, as far as others should know.
#[derive(Debug, Clone)]
pub struct Holding {
    /// The job, as others see it.
    pub job: HeldJob,
    /// Since when.
    pub since: Instant,
}

impl Holding {
    /// A job that was taken now.
    #[must_use]
    pub fn now(key: &Key) -> Self {
        let job = HeldJob {
            run: key.run.clone(),
            job: key.job.clone(),
            seq: key.seq,
            stage: Stage::Running,
            tested: 0,
            survivors: 0,
            seconds: 0.0,
            waits_for: None,
        };
        Self { job, since: Instant::now() }
    }

    /// The job as it stands now.
    #[must_use]
    pub fn told(&self) -> HeldJob {
        HeldJob { seconds: self.since.elapsed().as_secs_f64(), ..self.job.clone() }
    }
}

/// The state of one slot, for a heartbeat.
#[must_use]
pub fn slot_state(slot: &Slot, holding: Option<&Holding>) -> SlotState {
    let job = holding.map(Holding::told);
    let device = slot.device.clone();
    SlotState {
        arch: slot.arch,
        device,
        job,
        health: None,
        unfit: None,
        is_endpoint: slot.endpoint.is_some(),
    }
}

/// Decides when a heartbeat is due. Asked once a second.
#[derive(Debug, Default)]
pub struct Pulse {
    /// Seconds since the last one; none was given yet when `None`.
    quiet: Option<u64>,
    news: bool,
}

impl Pulse {
    /// A job made progress: worth a heartbeat at the next second.
    pub fn news(&mut self) {
        self.news = true;
    }

    /// Whether one is due this second; it counts as given then.
    pub fn due(&mut self) -> bool {
        let quiet = self.quiet.map(|seconds| seconds + 1);
        let due = self.news || quiet.is_none_or(|seconds| seconds >= EVERY_SECONDS);
        self.quiet = if due { Some(0) } else { quiet };
        self.news = self.news && !due;
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speaks_at_first_then_every_five_seconds_and_on_news() {
        let mut pulse = Pulse::default();
        let mut heard = |seconds: std::ops::Range<u64>| -> Vec<u64> {
            seconds.filter(|_| pulse.due()).collect()
        };
        assert_eq!(heard(0..12), [0, 5, 10]);
        pulse.news();
        let mut heard = |seconds: std::ops::Range<u64>| -> Vec<u64> {
            seconds.filter(|_| pulse.due()).collect()
        };
        assert_eq!(heard(12..20), [12, 17]);
    }
}
