//! Times as people read them.

use std::fmt;

const MINUTE: f64 = 60.0;
const HOUR: f64 = 60.0 * MINUTE;
const DAY: f64 = 24.0 * HOUR;
const YEAR: f64 = 365.25 * DAY;

/// Seconds, written in the units that matter: `0.3 s`, `45 s`, `3 min 20 s`, `2 h 5 min`,
/// `3 d 4 h`, `7.5 years`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Duration(pub f64);

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0;
        let whole = seconds.round();
        let mut two = |size: f64, large: &str, part: f64, small: &str| {
            let (count, rest) = ((whole / size).floor(), (whole % size / part).floor());
            write!(f, "{count} {large} {rest} {small}")
        };
        if seconds < 9.95 {
            write!(f, "{seconds:.1} s")
        } else if whole < MINUTE {
            write!(f, "{whole} s")
        } else if whole < HOUR {
            two(MINUTE, "min", 1.0, "s")
        } else if whole < DAY {
            two(HOUR, "h", MINUTE, "min")
        } else if whole < 2.0 * YEAR {
            two(DAY, "d", HOUR, "h")
        } else if whole < 1e4 * YEAR {
            write!(f, "{:.1} years", whole / YEAR)
        } else {
            write!(f, "{:.1e} years", whole / YEAR)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_the_units_that_matter() {
        for (seconds, text) in [
            (0.04, "0.0 s"),
            (9.5, "9.5 s"),
            (59.4, "59 s"),
            (59.6, "1 min 0 s"),
            (3599.0, "59 min 59 s"),
            (7500.0, "2 h 5 min"),
            (273_600.0, "3 d 4 h"),
            (7.5 * YEAR, "7.5 years"),
            (2.0e7 * YEAR, "2.0e7 years"),
        ] {
            assert_eq!(Duration(seconds).to_string(), text);
        }
    }
}
