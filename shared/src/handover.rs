//! What becomes of a finished attempt's files: asked by a worker, answered from the ledger.

use serde::{Deserialize, Serialize};

use crate::script::OutputFile;

/// Where it is asked on a server: [`FinishedAttempt`]s, answered by as many [`Fate`]s.
pub const HANDOVER_PATH: &str = "/v1/attempts";
/// The most attempts that are asked for at a time.
pub const MAX_ATTEMPTS_ASKED: usize = 1000;

/// An attempt that has finished with files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinishedAttempt {
    /// Its run.
    pub run: String,
    /// Its job.
    pub job: String,
    /// The job's sequence number.
    pub seq: u32,
    /// Its worker's instance and its number there: `<instance>/<number>`, the end of its folder's
    /// path. Two attempts may have the rest in common.
    pub place: String,
}

impl FinishedAttempt {
    /// Whether that is the folder of this very attempt.
    #[must_use]
    pub fn is_at(&self, folder: &str) -> bool {
        folder.strip_suffix(&self.place).is_some_and(|before| before.ends_with('/'))
    }
}

/// What becomes of its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// The ledger has accepted this very attempt, and waits for these files.
    Wanted(Vec<OutputFile>),
    /// Nobody needs them any more: they are in place, or another attempt's are.
    Settled,
    /// The ledger has not heard of it yet.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_is_known_by_the_end_of_its_folder() {
        let (run, job, place) = ("r".to_owned(), "j".to_owned(), "a-b/1".to_owned());
        let attempt = FinishedAttempt { run, job, seq: 1, place };
        assert!(attempt.is_at("/home/attempts/a-b/1"));
        for other in ["/home/attempts/a-b/11", "/home/attempts/xa-b/1", "a-b/1", "/a-b/1/"] {
            assert!(!attempt.is_at(other), "{other}");
        }
    }
}
