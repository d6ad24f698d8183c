//! How many trials run at a time: fewer while they keep failing, and more again when they don't.

/// So many failures in a row halve the parallelism.
const IN_A_ROW: u32 = 3;

/// How many trials may run at a time.
#[derive(Debug)]
pub(crate) struct Pace {
    limit: usize,
    most: usize,
    failures: u32,
}

impl Pace {
    /// At most `most` at a time, at first that many.
    pub(crate) fn new(most: usize) -> Self {
        Self { limit: most.max(1), most: most.max(1), failures: 0 }
    }

    /// How many may run now.
    pub(crate) const fn limit(&self) -> usize {
        self.limit
    }

    /// Takes how a trial ended, in the order in which they end; a line for people when that
    /// changes anything.
    pub(crate) fn ended(&mut self, well: bool) -> Option<String> {
        if well {
            self.failures = 0;
            if self.limit == self.most {
                return None;
            }
            self.limit += 1;
            return Some(format!("a trial went well: {} at a time", self.limit));
        }
        self.failures += 1;
        if self.failures < IN_A_ROW {
            return None;
        }
        self.failures = 0;
        if self.limit == 1 {
            return None;
        }
        self.limit /= 2;
        Some(format!("{IN_A_ROW} trials failed in a row: {} at a time from now on", self.limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_halve_it_and_successes_bring_it_back() {
        let mut pace = Pace::new(5);
        let limits: Vec<usize> = "ffgfff"
            .chars()
            .chain("fffffffffg".chars())
            .chain("ggggg".chars())
            .map(|how| {
                pace.ended(how == 'g');
                pace.limit()
            })
            .collect();
        assert_eq!(limits[..6], [5, 5, 5, 5, 5, 2]);
        assert_eq!(limits[6..16], [2, 2, 1, 1, 1, 1, 1, 1, 1, 2]);
        assert_eq!(limits[16..], [3, 4, 5, 5, 5]);
    }
}
