//! What the aggregator wants every worker to know.

use shared::{
    messages::{FleetState, NodeOrder},
    outcome::Return,
};

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

    /// Whether the run has left that epoch behind.
    #[must_use]
    pub fn is_past(&self, run: &str, epoch: u32) -> bool {
        let least = self.0.as_ref().and_then(|state| state.min_epochs.get(run));
        least.is_some_and(|&least| epoch < least)
    }

    /// Why a running job of that run and epoch is to end; `None` when it may go on. One of an
    /// older epoch may, as long as its run is open: nothing tested is thrown away.
    #[must_use]
    pub fn ends(&self, run: &str, epoch: u32) -> Option<Return> {
        let state = self.0.as_ref().filter(|_| self.is_past(run, epoch))?;
        if state.ended.contains(run) {
            Some(Return::Cancelled)
        } else {
            state.paused.contains(run).then_some(Return::Paused)
        }
    }

    /// What the node is told to do, if anything.
    #[must_use]
    pub fn order(&self, node: &str) -> Option<NodeOrder> {
        self.0.as_ref().and_then(|state| state.nodes.get(node).copied())
    }

    /// Whether the device, named as `node/device`, is to take nothing.
    #[must_use]
    pub fn is_quarantined(&self, device: &str) -> bool {
        self.0.as_ref().is_some_and(|state| state.quarantined.contains(device))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_past_is_ended() {
        let mut fleet = Fleet::default();
        assert!(!fleet.is_past("r", 0) && fleet.ends("r", 0).is_none());
        fleet.hear(FleetState {
            min_epochs: ["open", "paused", "ended"].map(|run| (run.to_owned(), 2)).into(),
            ended: ["ended".to_owned(), "unnamed".to_owned()].into(),
            paused: ["paused".to_owned()].into(),
            ..FleetState::default()
        });
        assert!(fleet.is_past("open", 1) && !fleet.is_past("open", 2));
        assert_eq!(fleet.ends("open", 1), None);
        assert_eq!(fleet.ends("paused", 1), Some(Return::Paused));
        assert_eq!(fleet.ends("ended", 1), Some(Return::Cancelled));
        for run in ["paused", "ended"] {
            assert_eq!(fleet.ends(run, 2), None, "resumed meanwhile");
        }
        assert_eq!(fleet.ends("unnamed", 1), None);
    }
}
