//! Times as people read them.

use std::fmt;

/// Seconds, written in the two units that matter: `0.3 s`, `45 s`, `3 min 20 s`, `2 h 5 min`,
/// `3 d 4 h`, `1.2e4 years`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Duration(pub f64);

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const YEAR: f64 = 365.25 * 86_400.0;
        let seconds = self.0.max(0.0);
        if seconds < 9.95 {
            return write!(f, "{seconds:.1} s");
        }
        if seconds >= 1000.0 * YEAR {
            return write!(f, "{:.1e} years", seconds / YEAR);
        }
        if seconds >= 2.0 * YEAR {
            return write!(f, "{:.1} years", seconds / YEAR);
        }
        let whole = seconds.round();
        if whole < 60.0 {
            return write!(f, "{whole:.0} s");
        }
        for (unit, large, small, name) in
            [(86_400.0, "d", "h", 3600.0), (3600.0, "h", "min", 60.0), (60.0, "min", "s", 1.0)]
                .map(|(size, large, small, part)| ((size, part), large, small, size))
        {
            let (size, part) = unit;
            if whole >= name {
                let rest = ((whole % size) / part).floor();
                return write!(f, "{:.0} {large} {rest:.0} {small}", (whole / size).floor());
            }
        }
        write!(f, "{whole:.0} s")
    }
}
