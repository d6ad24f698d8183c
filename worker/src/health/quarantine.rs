//! A worker's own quarantine: a device that was lost or computed wrongly takes nothing but probes.

use std::time::{Duration, Instant};

/// Until the first probe; each that fails doubles it.
const FIRST: Duration = Duration::from_secs(60);
/// The longest time between two probes.
const LONGEST: Duration = Duration::from_secs(3600);
/// A probe that could not be made is tried again after so long.
const POSTPONED: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, Default)]
enum State {
    #[default]
    Clear,
    /// A probe is to be made, then or as soon as the device is free.
    Waiting(Option<Instant>),
    Probing,
}

/// One device's quarantine: probes after 1, 2, 4 … 60 minutes. One that passes lets the device
/// work, on probation: until a job succeeds, the next strike goes on doubling.
#[derive(Debug, Default)]
pub struct Quarantine {
    state: State,
    last: Option<Duration>,
}

impl Quarantine {
    /// Whether the device may work.
    #[must_use]
    pub const fn is_clear(&self) -> bool {
        matches!(self.state, State::Clear)
    }

    /// The device was lost, computed wrongly, or failed its probe. Returns how long it takes
    /// nothing from now on.
    pub fn strike(&mut self, now: Instant) -> Duration {
        let wait = self.last.map_or(FIRST, |last| (last * 2).min(LONGEST));
        self.last = Some(wait);
        self.state = State::Waiting(Some(now + wait));
        wait
    }

    /// Something is odd about the device: it is probed before it works again.
    pub const fn suspect(&mut self) {
        if self.is_clear() {
            self.state = State::Waiting(None);
        }
    }

    /// Whether it is time for a probe.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        matches!(self.state, State::Waiting(until) if until.is_none_or(|until| until <= now))
    }

    /// A probe is under way.
    pub const fn probing(&mut self) {
        self.state = State::Probing;
    }

    /// The probe could not be made, which says nothing about the device.
    pub fn postpone(&mut self, now: Instant) {
        self.state = State::Waiting(Some(now + POSTPONED));
    }

    /// The probe came out well.
    pub const fn pass(&mut self) {
        self.state = State::Clear;
    }

    /// A job succeeded: what was before is forgotten.
    pub const fn worked(&mut self) {
        if self.is_clear() {
            self.last = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_come_after_a_minute_and_then_twice_as_late_up_to_an_hour() {
        let mut now = Instant::now();
        let mut quarantine = Quarantine::default();
        assert!(quarantine.is_clear() && !quarantine.is_due(now));
        let mut waits = Vec::new();
        for _ in 0..8 {
            let wait = quarantine.strike(now);
            assert!(!quarantine.is_clear() && !quarantine.is_due(now + wait / 2));
            now += wait;
            assert!(quarantine.is_due(now));
            quarantine.probing();
            assert!(!quarantine.is_due(now) && !quarantine.is_clear());
            waits.push(wait.as_secs() / 60);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        // On probation it goes on where it was; a success starts afresh.
        quarantine.pass();
        assert!(quarantine.is_clear());
        assert_eq!(quarantine.strike(now), LONGEST);
        quarantine.pass();
        quarantine.worked();
        assert_eq!(quarantine.strike(now), FIRST);
    }

    #[test]
    fn a_suspect_is_probed_at_once_and_a_probe_that_was_not_made_costs_nothing() {
        let now = Instant::now();
        let mut quarantine = Quarantine::default();
        quarantine.suspect();
        assert!(quarantine.is_due(now) && !quarantine.is_clear());
        quarantine.probing();
        quarantine.postpone(now);
        assert!(!quarantine.is_due(now) && quarantine.is_due(now + POSTPONED));
        quarantine.worked();
        assert!(!quarantine.is_clear(), "what was started before says nothing");
        assert_eq!(quarantine.strike(now), FIRST);
        quarantine.suspect();
        assert!(!quarantine.is_due(now), "it is known to be worse");
    }
}
