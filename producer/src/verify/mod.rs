//! Verification: what was reported is tested again, and what disagrees is named with the node and
//! device that reported it first.

mod certified;
mod claims;
mod findings;
mod fleet;
mod listed;
mod retest;
mod run;
mod sample;
mod verifier;
mod witness;

pub use certified::{Blocks, Certified};
pub use claims::{Claims, LedgerClaims, ListedClaims};
pub use findings::{Disagreement, Findings, Kind, Said, Verification, Who};
pub use fleet::{FleetPlan, KIND as KIND_OF_RUN};
pub use listed::{ListedError, parse as parse_survivors, read as read_survivors};
pub(crate) use retest::job;
pub use retest::{RetestError, Runners};
pub use run::{Retested, RunCheck, operations_per_second};
pub use sample::{Random, Share, blocks, outcomes};
pub use verifier::{Sample, Tested, Verifier, VerifyError};
pub use witness::Guesses;
