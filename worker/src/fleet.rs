//! What the aggregator wants every worker to know.

use shared::{job::Job, messages::FleetState};

/// The newest [`FleetState`] heard, if any.
#[derive(Debug, Default)]
pub struct Fleet(Option<FleetState>);

impl Fleet {
    /// Whether any state was heard.
    #[must_use]
    pub const fn is_informed(&self) -> bool {
        self.0.is_some()
    }

    /// Takes a newer state.
    pub fn hear(&mut self, state: FleetState) {
        self.0 = Some(state);
    }

    /// Whether the job belongs to an epoch that its run has left behind.
    #[must_use]
    pub fn is_past(&self, job: &Job) -> bool {
        let least = self.0.as_ref().and_then(|state| state.min_epochs.get(&job.run));
        least.is_some_and(|&least| job.epoch < least)
    }
}
