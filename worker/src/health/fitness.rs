//! What a device's readings say about its next job, without flapping.

use shared::health::{Condition, Health};

/// A device that was too hot is fit again when it is so many degrees cooler.
const COOLER: i32 = 10;
/// A device whose readings failed is fit again after so many good ones in a row.
const GOOD_AGAIN: u32 = 2;

/// Whether a device is fit, by its readings.
#[derive(Debug, Default)]
pub struct Fitness {
    last: Health,
    /// The lowest temperature at which it was called too hot, until it has cooled down.
    hot_from: Option<i32>,
    /// How many good readings are still to come, after one that failed.
    doubted: u32,
}

/// What a reading has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// The device is not fit any more.
    Unfit,
    /// It is gone: that is a fault of its own, and no matter of waiting alone.
    Lost,
    /// It is fit again.
    Fit,
}

impl Fitness {
    /// How the device was when it was last read.
    #[must_use]
    pub const fn last(&self) -> &Health {
        &self.last
    }

    /// Whether jobs may run on it.
    #[must_use]
    pub const fn is_fit(&self) -> bool {
        self.hot_from.is_none() && self.doubted == 0
    }

    /// Why it is not fit.
    #[must_use]
    pub fn why(&self) -> Option<String> {
        if let Some(hot) = self.hot_from {
            let now = self.last.readings.temperature_c.map(|now| format!("{now} C now, "));
            let now = now.unwrap_or_default();
            let cool = hot.saturating_sub(COOLER);
            return Some(format!("too hot: {now}nothing before {cool} C"));
        }
        if self.doubted == 0 {
            return None;
        }
        let why = if self.last.why.is_empty() { "readings failed" } else { &self.last.why };
        Some(format!("{}: {why}", self.last.condition))
    }

    /// Takes in a reading. One that was not made, or tells nothing (`N/A`), changes nothing.
    pub fn hear(&mut self, health: Health) -> Option<News> {
        let was = self.is_fit();
        let was_lost = self.last.condition == Condition::Lost;
        let heat = health.readings.temperature_c;
        match health.condition {
            Condition::Unread => return None,
            Condition::Hot => {
                let from = heat.unwrap_or(i32::MAX);
                self.hot_from = Some(self.hot_from.map_or(from, |before| before.min(from)));
                self.doubted = 0;
            }
            Condition::Good => {
                self.doubted = self.doubted.saturating_sub(1);
                if let (Some(hot), Some(heat)) = (self.hot_from, heat)
                    && heat <= hot.saturating_sub(COOLER)
                {
                    self.hot_from = None;
                }
            }
            _ => self.doubted = GOOD_AGAIN,
        }
        let is_lost = health.condition == Condition::Lost;
        self.last = health;
        match (was, self.is_fit()) {
            _ if is_lost && !was_lost => Some(News::Lost),
            (true, false) => Some(News::Unfit),
            (false, true) => Some(News::Fit),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::health::Readings;

    use super::*;

    fn at(heat: Option<i32>) -> Health {
        Health::of(Readings { temperature_c: heat, ..Readings::default() }, 105)
    }

    #[test]
    fn what_was_too_hot_waits_until_it_is_ten_degrees_cooler() {
        let mut fitness = Fitness::default();
        let heats = [60, 104, 105, 104, 96, 105, 107, 95, 104, 94];
        let news: Vec<_> = heats.map(|heat| fitness.hear(at(Some(heat)))).into();
        let (hot, fit) = (Some(News::Unfit), Some(News::Fit));
        assert_eq!(news, [None, None, hot, None, None, None, None, fit, None, None]);
        assert_eq!(fitness.hear(at(Some(105))), hot);
        assert_eq!(fitness.why().as_deref(), Some("too hot: 105 C now, nothing before 95 C"));
        assert_eq!(fitness.hear(at(None)), None, "N/A does not cool it");
        assert!(!fitness.is_fit());
    }

    #[test]
    fn one_failed_reading_needs_two_good_ones_and_a_lost_device_is_told_once() {
        let bad = |condition| Health::without_readings(condition, "no answer");
        let mut fitness = Fitness::default();
        assert_eq!(fitness.hear(Health::default()), None);
        assert!(fitness.is_fit());
        assert_eq!(fitness.hear(bad(Condition::Unreadable)), Some(News::Unfit));
        assert_eq!(fitness.why().as_deref(), Some("unreadable: no answer"));
        assert_eq!(fitness.hear(at(None)), None);
        assert_eq!(fitness.hear(bad(Condition::Unreadable)), None);
        assert_eq!(fitness.hear(at(None)), None);
        assert_eq!(fitness.hear(at(Some(50))), Some(News::Fit));
        assert_eq!(fitness.hear(bad(Condition::Lost)), Some(News::Lost));
        assert_eq!(fitness.hear(bad(Condition::Lost)), None);
    }
}
