//! The ledger: the truth about every run, in SQLite, owned by the one aggregator.
//!
//! Delivery is at least once; the ledger makes the effect exactly once. The first outcome of a
//! key (run, job, seq) writes what follows to the outbox in the same transaction; a later one of
//! the same key adds intervals and survivors only, and both are sets.

mod apply;
mod coverage;
mod dead;
mod epochs;
mod nodes;
mod open;
mod outbox;
mod placing;
mod rates;
mod reports;
mod runs;
mod scripts;
mod staged;
mod statistics;
mod strikes;
mod survivors;
#[cfg(test)]
mod tests;

pub use apply::{Applied, Record};
pub use dead::{Attempt, DeadDetail, DeadFilter, DeadLetter};
pub use nodes::NodeSeen;
pub use open::{Ledger, LedgerError, LedgerLock};
pub use outbox::Due;
pub use placing::{Outstanding, Stand, Unplaced};
pub use rates::{LearnedRate, RateKey};
pub use reports::{Report, Reported};
pub use runs::{Counts, DeadJob, RunRow, RunState};
pub use scripts::ScriptRow;
pub use survivors::{Disagreement, Kept, found_by};
