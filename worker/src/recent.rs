//! Which outcomes were handed over lately.

use std::collections::{HashSet, VecDeque};

use shared::job::Job;

/// How many are remembered.
pub const REMEMBERED: usize = 10_000;

/// The ledger's key of an outcome, and the epoch: a job that its run queues anew is not the old
/// one, whatever it is called.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// The run.
    pub run: String,
    /// The job.
    pub job: String,
    /// The job's sequence number.
    pub seq: u32,
    /// The job's epoch.
    pub epoch: u32,
}

impl Key {
    /// The key of a job's outcome.
    #[must_use]
    pub fn of(job: &Job) -> Self {
        Self { run: job.run.clone(), job: job.id.clone(), seq: job.seq, epoch: job.epoch }
    }
}

/// The keys of the last [`REMEMBERED`] outcomes. A session can die between an outcome's confirm
/// and its job's ack; the job then comes back, and is acknowledged instead of run again.
#[derive(Debug, Default)]
pub struct Recent {
    order: VecDeque<Key>,
    keys: HashSet<Key>,
}

impl Recent {
    /// Remembers a key, and forgets the oldest past the limit.
    pub fn remember(&mut self, key: Key) {
        if !self.keys.insert(key.clone()) {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.keys.remove(&oldest);
        }
    }

    /// Whether it is remembered.
    #[must_use]
    pub fn contains(&self, key: &Key) -> bool {
        self.keys.contains(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_the_last_and_forgets_the_oldest() {
        let key = |seq| Key { run: "r".to_owned(), job: "j".to_owned(), seq, epoch: 1 };
        let mut recent = Recent::default();
        for seq in 0..=u32::try_from(REMEMBERED).unwrap() {
            recent.remember(key(seq));
            recent.remember(key(seq));
        }
        assert!(!recent.contains(&key(0)));
        assert!(recent.contains(&key(1)));
        assert_eq!(recent.order.len(), REMEMBERED);
        assert_eq!(recent.keys.len(), REMEMBERED);
    }
}
