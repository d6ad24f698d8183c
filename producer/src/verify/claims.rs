//! What is to be verified: the survivors that a ledger or a file claims.

use shared::{outcome::Survivor, spans::Span};

use super::findings::Who;
use crate::ledger::{Ledger, LedgerError, Reported, RunRow};

/// Survivors that somebody claims.
pub trait Claims {
    /// At most `limit` of them beyond the seed `after`, ascending.
    ///
    /// # Errors
    /// [`LedgerError`] when they can't be read.
    fn after(&self, after: Option<u64>, limit: usize) -> Result<Vec<Reported>, LedgerError>;

    /// Those with seeds in `span`.
    ///
    /// # Errors
    /// [`LedgerError`] when they can't be read.
    fn within(&self, span: Span) -> Result<Vec<Reported>, LedgerError>;

    /// What is claimed of one seed.
    ///
    /// # Errors
    /// [`LedgerError`] when it can't be read.
    fn of(&self, seed: u64) -> Result<Option<Reported>, LedgerError>;

    /// Who made the outcome of that number.
    ///
    /// # Errors
    /// [`LedgerError`] when it can't be read.
    fn who(&self, outcome: i64) -> Result<Option<Who>, LedgerError>;
}

/// The survivors of a run in a ledger.
#[derive(Debug, Clone, Copy)]
pub struct LedgerClaims<'a> {
    /// The ledger.
    pub ledger: &'a Ledger,
    /// The run.
    pub run: &'a RunRow,
}

impl Claims for LedgerClaims<'_> {
    fn after(&self, after: Option<u64>, limit: usize) -> Result<Vec<Reported>, LedgerError> {
        self.ledger.survivors_after(self.run, after, limit)
    }

    fn within(&self, span: Span) -> Result<Vec<Reported>, LedgerError> {
        self.ledger.survivors_within(self.run, span)
    }

    fn of(&self, seed: u64) -> Result<Option<Reported>, LedgerError> {
        self.ledger.survivor(self.run, seed)
    }

    fn who(&self, outcome: i64) -> Result<Option<Who>, LedgerError> {
        Ok(self.ledger.report(outcome)?.as_ref().map(Who::from))
    }
}

/// Survivors from a file, and who reported all of them, where it was only one.
#[derive(Debug, Clone)]
pub struct ListedClaims {
    survivors: Vec<Survivor>,
    who: Option<Who>,
}

impl ListedClaims {
    /// Survivors, ascending by seed.
    #[must_use]
    pub const fn new(survivors: Vec<Survivor>, who: Option<Who>) -> Self {
        Self { survivors, who }
    }

    fn from(&self, first: u64) -> &[Survivor] {
        &self.survivors[self.survivors.partition_point(|survivor| survivor.seed < first)..]
    }
}

fn reported(survivor: &Survivor) -> Reported {
    Reported { survivor: *survivor, outcome: 0 }
}

impl Claims for ListedClaims {
    fn after(&self, after: Option<u64>, limit: usize) -> Result<Vec<Reported>, LedgerError> {
        let rest = match after.map(|seed| seed.checked_add(1)) {
            None => self.from(0),
            Some(None) => &[],
            Some(Some(first)) => self.from(first),
        };
        Ok(rest.iter().take(limit).map(reported).collect())
    }

    fn within(&self, span: Span) -> Result<Vec<Reported>, LedgerError> {
        let from = self.from(span.first()).iter();
        Ok(from.take_while(|survivor| survivor.seed <= span.last()).map(reported).collect())
    }

    fn of(&self, seed: u64) -> Result<Option<Reported>, LedgerError> {
        Ok(self.from(seed).first().filter(|survivor| survivor.seed == seed).map(reported))
    }

    fn who(&self, _outcome: i64) -> Result<Option<Who>, LedgerError> {
        Ok(self.who.clone())
    }
}
