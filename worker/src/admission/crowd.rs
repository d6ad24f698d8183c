//! How many jobs run side by side: fewer under memory pressure, at once, and more again slowly.

use std::time::{Duration, Instant};

use super::Memory;

/// Above this share of time spent waiting for memory, in percent, the host is under pressure.
const PRESSED: f64 = 10.0;
/// Below this share it is calm. In between nothing changes, so that nothing flaps.
const CALM: f64 = 5.0;
/// The least time between two falls: the kernel's average looks 10 s back, and jobs that run need
/// a moment to end.
const FALL_EVERY: Duration = Duration::from_secs(10);
/// So long must be calm before one job more is allowed.
const RISE_EVERY: Duration = Duration::from_secs(30);

/// How many jobs may run side by side: halved under pressure, one more for every 30 s of calm.
#[derive(Debug)]
pub struct Crowd {
    most: usize,
    allowed: usize,
    fell: Option<Instant>,
    calm_since: Option<Instant>,
}

impl Crowd {
    /// As many as there are slots.
    #[must_use]
    pub const fn new(slots: usize) -> Self {
        Self { most: slots, allowed: slots, fell: None, calm_since: None }
    }

    /// How many may run: 1 at least.
    #[must_use]
    pub fn allowed(&self) -> usize {
        self.allowed.max(1)
    }

    /// Whether it is lower than it might be.
    #[must_use]
    pub const fn is_lowered(&self) -> bool {
        self.allowed < self.most
    }

    /// Takes in how the memory is, with `running` jobs and `reserve` bytes that are to stay free.
    /// Returns what is allowed now, when that has changed.
    pub fn hear(
        &mut self,
        memory: &Memory,
        reserve: u64,
        running: usize,
        now: Instant,
    ) -> Option<usize> {
        let before = self.allowed();
        let share = memory.pressure.unwrap_or(0.0);
        if share > PRESSED || memory.available < reserve {
            self.calm_since = None;
            if self.fell.is_none_or(|fell| now.duration_since(fell) >= FALL_EVERY) {
                // What does not run anyway need not be forbidden first.
                self.allowed = (self.allowed.min(running.max(1)) / 2).max(1);
                self.fell = Some(now);
            }
        } else if share < CALM && memory.available >= reserve.saturating_add(reserve / 4) {
            let since = *self.calm_since.get_or_insert(now);
            if self.is_lowered() && now.duration_since(since) >= RISE_EVERY {
                self.allowed += 1;
                self.calm_since = Some(now);
            }
        } else {
            self.calm_since = None;
        }
        (self.allowed() != before).then(|| self.allowed())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RESERVE: u64 = 1 << 30;

    fn memory(pressure: f64) -> Memory {
        Memory { total: 16 << 30, available: 8 << 30, pressure: Some(pressure) }
    }

    #[test]
    fn pressure_halves_and_calm_adds_one_at_a_time() {
        let start = Instant::now();
        let mut crowd = Crowd::new(12);
        let mut told = Vec::new();
        // A minute of pressure, half a minute of neither, then calm.
        for second in 0..600u64 {
            let share = if second < 60 {
                20.0
            } else if second < 90 {
                7.0
            } else {
                0.0
            };
            let now = start + Duration::from_secs(second);
            let running = crowd.allowed();
            told.extend(crowd.hear(&memory(share), RESERVE, running, now).map(|n| (second, n)));
        }
        let falls = [(0, 6), (10, 3), (20, 1)];
        let rises: Vec<_> = (2..=12).zip(0..).map(|(n, i)| (120 + 30 * i, n)).collect();
        assert_eq!(told, [falls.to_vec(), rises].concat());
    }

    #[test]
    fn little_memory_is_pressure_too_and_few_running_jobs_are_the_measure() {
        let mut crowd = Crowd::new(12);
        let scarce = Memory { available: RESERVE - 1, ..memory(0.0) };
        assert_eq!(crowd.hear(&scarce, RESERVE, 4, Instant::now()), Some(2));
    }

    proptest! {
        /// Whatever is heard: at least one job may run, never more than there are slots, and
        /// between two changes lies the time that keeps it from flapping.
        #[test]
        fn it_stays_within_bounds_and_changes_seldom(
            shares in prop::collection::vec(0.0f64..30.0, 1..300),
            slots in 1usize..27,
        ) {
            let start = Instant::now();
            let mut crowd = Crowd::new(slots);
            let mut last: Option<u64> = None;
            for (second, share) in (0..).zip(shares) {
                let now = start + Duration::from_secs(second);
                if crowd.hear(&memory(share), RESERVE, slots, now).is_some() {
                    prop_assert!(last.is_none_or(|last| second - last >= 10));
                    last = Some(second);
                }
                prop_assert!((1..=slots).contains(&crowd.allowed()));
            }
        }
    }
}
