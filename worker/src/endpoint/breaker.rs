//! The circuit breaker of one endpoint: after so many failed requests in a row it is left alone
//! for a while, then tried with one job.

use std::time::{Duration, Instant};

/// The longest time that an endpoint is left alone.
const LONGEST: Duration = Duration::from_secs(600);

/// Whether an endpoint may be asked.
#[derive(Debug)]
pub(super) struct Breaker {
    limit: u32,
    first: Duration,
    state: State,
    /// For how long it was left alone last; zero while it works.
    last: Duration,
}

#[derive(Debug)]
enum State {
    /// It works; so many requests in a row have failed.
    Closed(u32),
    /// It is left alone until then, for that reason.
    Open(Instant, String),
    /// One job tries it out.
    Trying(String),
}

/// What has changed, for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// It is left alone for so long.
    Opened(Duration),
    /// It works again.
    Closed,
}

impl Breaker {
    /// Opens after `limit` failures in a row, for `first` at first.
    #[must_use]
    pub(super) const fn new(limit: u32, first: Duration) -> Self {
        Self { limit, first, state: State::Closed(0), last: Duration::ZERO }
    }

    /// Whether a job may be given to it now: any while it works, one when its time is over.
    #[must_use]
    pub(super) fn takes(&self, now: Instant) -> bool {
        match &self.state {
            State::Closed(_) => true,
            State::Open(until, _) => now >= *until,
            State::Trying(_) => false,
        }
    }

    /// A job is given to it.
    pub(super) fn begin(&mut self, now: Instant) {
        if let State::Open(until, why) = &mut self.state
            && now >= *until
        {
            self.state = State::Trying(std::mem::take(why));
        }
    }

    /// Whether those who ask should stop.
    #[must_use]
    pub(super) const fn is_open(&self) -> bool {
        matches!(self.state, State::Open(..))
    }

    /// Why it takes nothing, in one line.
    #[must_use]
    pub(super) fn why(&self, now: Instant) -> Option<String> {
        match &self.state {
            State::Closed(_) => None,
            State::Open(until, why) => {
                let left = until.saturating_duration_since(now).as_secs();
                Some(format!("{why}; it is tried again in {left} s"))
            }
            State::Trying(why) => Some(format!("{why}; it is tried with one job")),
        }
    }

    /// It answered as it should.
    pub(super) fn worked(&mut self) -> Change {
        // What others asked before it was left alone proves nothing of it now.
        if self.is_open() {
            return Change::None;
        }
        let was_trying = matches!(self.state, State::Trying(_));
        self.state = State::Closed(0);
        self.last = Duration::ZERO;
        if was_trying { Change::Closed } else { Change::None }
    }

    /// It did not. `hopeless`: nothing but a change of settings would help.
    pub(super) fn failed(&mut self, why: &str, hopeless: bool, now: Instant) -> Change {
        let count = match &self.state {
            State::Closed(count) => count.saturating_add(1),
            State::Trying(_) => self.limit,
            State::Open(..) => return Change::None,
        };
        if count < self.limit && !hopeless {
            self.state = State::Closed(count);
            return Change::None;
        }
        self.last = if self.last.is_zero() { self.first } else { self.last * 2 }.min(LONGEST);
        self.state = State::Open(now + self.last, why.to_owned());
        Change::Opened(self.last)
    }

    /// The job that tried it out ended without having asked.
    pub(super) fn untried(&mut self, now: Instant) {
        if let State::Trying(why) = &mut self.state {
            self.state = State::Open(now, std::mem::take(why));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIRST: Duration = Duration::from_secs(30);

    #[test]
    fn it_opens_is_tried_with_one_job_and_closes() {
        let start = Instant::now();
        let mut breaker = Breaker::new(3, FIRST);
        for _ in 0..2 {
            assert_eq!(breaker.failed("500", false, start), Change::None);
        }
        assert_eq!(breaker.worked(), Change::None);
        for _ in 0..2 {
            assert_eq!(breaker.failed("500", false, start), Change::None);
            assert!(breaker.takes(start) && breaker.why(start).is_none());
        }
        assert_eq!(breaker.failed("it answered 500", false, start), Change::Opened(FIRST));
        assert_eq!(breaker.failed("500", false, start), Change::None, "from before");
        assert_eq!(breaker.worked(), Change::None, "from before as well");
        assert!(!breaker.takes(start) && breaker.is_open());
        let why = breaker.why(start).unwrap();
        assert_eq!(why, "it answered 500; it is tried again in 30 s");
        let later = start + FIRST;
        assert!(breaker.takes(later));
        breaker.begin(later);
        assert!(!breaker.takes(later) && !breaker.is_open(), "one job alone");
        assert_eq!(breaker.failed("502", false, later), Change::Opened(2 * FIRST));
        let latest = later + 2 * FIRST;
        breaker.begin(latest);
        breaker.untried(latest);
        assert!(breaker.takes(latest), "whoever tried it did not ask");
        breaker.begin(latest);
        assert_eq!(breaker.worked(), Change::Closed);
        assert!(breaker.takes(latest) && breaker.why(latest).is_none());
        assert_eq!(breaker.failed("401", true, latest), Change::Opened(FIRST), "at once");
    }

    proptest! {
        /// Whatever happens: it is never left alone for more than the longest time, and a job is
        /// given to it by then.
        #[test]
        fn it_always_gets_another_chance(events in prop::collection::vec(0u8..4, 1..200)) {
            let mut now = Instant::now();
            let mut breaker = Breaker::new(2, FIRST);
            for event in events {
                now += Duration::from_secs(1);
                match event {
                    0 => { breaker.worked(); }
                    1 => { breaker.failed("x", false, now); }
                    2 if breaker.takes(now) => breaker.begin(now),
                    _ => {}
                }
                let mut later = now + LONGEST;
                if matches!(breaker.state, State::Trying(_)) {
                    continue;
                }
                prop_assert!(breaker.takes(later));
                later += FIRST;
                prop_assert!(breaker.takes(later));
            }
        }
    }
}
