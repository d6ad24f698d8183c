//! Seedless tests: can a whole file of draws come from a generator at all, whatever its seed?
//!
//! A runner is started as `runner-cpu screen --threads N` with a [`Screen`] in MessagePack on
//! stdin up to end of file, and writes [`ScreenFrame`]s in the framing of [`crate::runner`].

use serde::{Deserialize, Serialize};

use crate::{families::Family, sieve::Skips};

/// The most draws that are looked at.
pub const MAX_DRAWS: usize = 1 << 20;
/// The largest skip of the elimination, which draws every output up to the last.
pub const MAX_SKIP: u32 = 1000;

/// What is to be tested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Screen {
    /// Draws are outputs modulo this.
    pub modulus: u32,
    /// The draws in their order, each below the modulus.
    pub draws: Vec<u32>,
    /// The constant skips of the elimination.
    pub skips: Skips,
    /// The families.
    pub families: Vec<Family>,
}

/// One message of a screening runner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScreenFrame {
    /// How far it is, from 0 to 1.
    Progress(f64),
    /// The answer for a family.
    Found(Finding),
    /// The question makes no sense; why, in one line. The last frame.
    Rejected(String),
    /// Every family is answered. The last frame.
    Done,
}

/// The answer for one family.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The family.
    pub family: Family,
    /// The answer.
    pub verdict: Verdict,
    /// How it was found: `low_bits`, `elimination` or `none`.
    pub method: String,
    /// What it rests on, in words.
    pub assumptions: String,
    /// What there is to say of it, in words.
    pub detail: String,
    /// How many draws it took to know.
    pub draws_used: u64,
    /// How many draws there must be for an answer.
    pub draws_needed: u64,
    /// The skip that is consistent; of the low bits' test it is known modulo `skip_modulus`.
    pub skip: Option<u64>,
    /// What `skip` is known modulo, where it is.
    pub skip_modulus: Option<u64>,
    /// Seconds of computing.
    pub seconds: f64,
}

/// Whether a family can have made the draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Some start and skip make all that the test sees.
    Consistent,
    /// No start does, whatever the seed.
    Refuted,
    /// So few draws are consistent with nearly everything.
    TooFewDraws,
    /// There is no such test for it, or not for this modulus.
    Untested,
}
