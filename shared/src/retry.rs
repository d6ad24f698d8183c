//! Waiting between tries: the one module that knows the `backoff` crate, so that another can take
//! its place in one file (it is unmaintained; see deny.toml).

use std::time::Duration;

use backoff::{ExponentialBackoff, ExponentialBackoffBuilder, backoff::Backoff as _};

/// Growing, jittered waits: `first`, doubled each time up to `longest`, each drawn from half to
/// one and a half times its value; without end.
#[derive(Debug)]
pub struct Waits(ExponentialBackoff);

impl Waits {
    /// Waits from `first` up to about `longest`.
    #[must_use]
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self(
            ExponentialBackoffBuilder::new()
                .with_initial_interval(first)
                .with_multiplier(2.0)
                .with_randomization_factor(0.5)
                .with_max_interval(longest)
                .with_max_elapsed_time(None)
                .build(),
        )
    }

    /// The next wait.
    pub fn next_wait(&mut self) -> Duration {
        self.0.next_backoff().unwrap_or(self.0.max_interval)
    }

    /// Starts again from the first.
    pub fn reset(&mut self) {
        self.0.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_limit_and_never_end() {
        let mut waits = Waits::new(Duration::from_millis(100), Duration::from_secs(10));
        let first = waits.next_wait();
        assert!(first >= Duration::from_millis(50) && first <= Duration::from_millis(150));
        let later: Vec<_> = (0..50).map(|_| waits.next_wait()).collect();
        assert!(later.iter().all(|wait| *wait <= Duration::from_secs(15)));
        assert!(later[49] >= Duration::from_secs(5));
    }
}
