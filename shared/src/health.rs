//! The health of a device, as its driver's own readings tell it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a device's driver says of it. Each reading may be missing: drivers answer `N/A`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Readings {
    /// The temperature of the chip, in degrees Celsius.
    pub temperature_c: Option<i32>,
    /// How much of the time it computed lately, in percent.
    pub utilisation_percent: Option<u32>,
    /// Its memory in use, in bytes.
    pub memory_used_bytes: Option<u64>,
    /// Its whole memory, in bytes.
    pub memory_total_bytes: Option<u64>,
}

/// What the readings amount to, in a word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Condition {
    /// It was not read yet.
    #[default]
    Unread,
    /// It answers, and nothing is wrong.
    Good,
    /// It is as hot as its driver lets it become, or nearly so.
    Hot,
    /// It is there, but its readings fail or do not come: it hangs, or is being reset.
    Unreadable,
    /// It is not there any more: it fell off the bus, or its driver gave it up.
    Lost,
}

impl Condition {
    /// Whether jobs may run on it, as far as readings can tell. What was never read may.
    #[must_use]
    pub const fn is_fit(self) -> bool {
        matches!(self, Self::Unread | Self::Good)
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unread => "unread",
            Self::Good => "good",
            Self::Hot => "hot",
            Self::Unreadable => "unreadable",
            Self::Lost => "lost",
        })
    }
}

/// A device's health at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// In a word.
    pub condition: Condition,
    /// Why, in one line; empty when it is good.
    #[serde(default)]
    pub why: String,
    /// What was read.
    #[serde(default)]
    pub readings: Readings,
}

impl Health {
    /// With the reason and no readings.
    #[must_use]
    pub fn without_readings(condition: Condition, why: impl Into<String>) -> Self {
        Self { condition, why: why.into(), readings: Readings::default() }
    }

    /// From readings that came well: hot from `limit` degrees on.
    #[must_use]
    pub fn of(readings: Readings, limit: i32) -> Self {
        match readings.temperature_c {
            Some(heat) if heat >= limit => Self {
                condition: Condition::Hot,
                why: format!("it has {heat} degrees; from {limit} on it is too hot to work"),
                readings,
            },
            _ => Self { condition: Condition::Good, why: String::new(), readings },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heat_decides_where_it_was_read() {
        let at = |heat| {
            let readings = Readings { temperature_c: heat, ..Readings::default() };
            Health::of(readings, 95).condition
        };
        assert_eq!([at(None), at(Some(94))], [Condition::Good; 2]);
        assert_eq!(at(Some(95)), Condition::Hot);
        assert!(!Condition::Hot.is_fit() && Condition::Unread.is_fit());
    }

    #[test]
    fn a_reader_takes_readings_that_it_does_not_know_and_misses_none() {
        let known: Health = serde_json::from_str(
            r#"{"condition":"lost","readings":{"fans":2,"temperature_c":61}}"#,
        )
        .unwrap();
        assert_eq!(known.condition, Condition::Lost);
        assert_eq!(known.readings.temperature_c, Some(61));
        assert_eq!((known.why.as_str(), known.readings.memory_total_bytes), ("", None));
    }
}
