//! A sieve: the question that is put to every seed of a range.
//!
//! Draw `i` of the window is compared with output number `advance + skip + i (skip + 1)` of the
//! generator's stream; a raw output matches when both are equal modulo `modulus`. The result of
//! a seed is its best skip's number of matches; a seed that has at least `need` survives. With
//! [`Mode::Variable`] each draw has a skip of its own: see [`crate::variable`].

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::{families::Family, outcome::MAX_SURVIVORS, spans::Span, variable, witness::Witness};

/// The longest window, in draws: a window travels inside each job, and messages stay small.
pub const MAX_WINDOW: usize = 65_536;
/// The largest skip that can be asked for.
pub const MAX_SKIP: u32 = 65_535;
/// The largest output position that a sieve may reach.
pub const MAX_POSITION: u64 = 1 << 24;
/// What one outcome's survivors may take with their skips, in bytes.
const MAX_SEQUENCES: usize = 480 * 1024;

/// In which order the window's draws are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// In the file's order.
    Forward,
    /// The same algorithm against the draws in reverse order.
    Reverse,
    /// Both, each with its own need: a seed must survive the two.
    Both,
}

/// How skips are hypothesised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Mode {
    /// One skip for the whole window.
    Fixed,
    /// A skip of its own before each draw, found by [`crate::variable::STRATEGIES`].
    Variable,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 2] = [Self::Fixed, Self::Variable];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::Variable => "variable",
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }
}

/// The skips to try, first and last included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skips {
    /// The smallest.
    pub lo: u32,
    /// The largest, at least `lo` and at most [`MAX_SKIP`].
    pub hi: u32,
}

impl Skips {
    /// How many skips there are.
    #[must_use]
    pub const fn count(self) -> u32 {
        self.hi - self.lo + 1
    }

    /// The skips, ascending.
    pub fn iter(self) -> impl Iterator<Item = u32> {
        self.lo..=self.hi
    }
}

/// The draws of a sieve in the orders in which seeds are tested on them.
#[derive(Debug)]
pub struct Orders<'a> {
    /// From first to last, or for [`Direction::Reverse`] from last to first: what a result's
    /// outer figures are about.
    pub leading: Cow<'a, [u32]>,
    /// From last to first, which [`Direction::Both`] asks for besides.
    pub reverse: Option<Vec<u32>>,
}

/// The question put to every seed; the same for all pieces of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sieve {
    /// The generator and its seeding.
    pub family: Family,
    /// Which order of the draws is tested.
    pub direction: Direction,
    /// How skips are hypothesised.
    pub mode: Mode,
    /// Outputs and draws are compared modulo this, at least 2.
    pub modulus: u32,
    /// The window's draws in the file's order, each below `modulus`.
    pub draws: Vec<u32>,
    /// How many outputs are passed over before anything else.
    pub advance: u32,
    /// The skips to try; nothing to [`Mode::Variable`].
    pub skips: Skips,
    /// How many draws must match, 1 to the window's length. For `Both`: in the file's order.
    pub need: u32,
    /// For `Both`: how many must match in reverse order. Otherwise equal to `need`.
    pub reverse_need: u32,
}

/// A sieve that makes no sense, with what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSieve {
    /// No draws at all, or too many.
    #[error("the window has {0} draws; it must have 1 to {MAX_WINDOW}")]
    Window(usize),
    /// A modulus that leaves nothing to compare, or that the family can't take.
    #[error("the modulus {0} is out of range: it must be 2 to {1}")]
    Modulus(u32, u32),
    /// A draw that was not reduced.
    #[error("the draw {0} is not below the modulus {1}")]
    Draw(u32, u32),
    /// Skips backwards or past the limit.
    #[error("the skips {0}..={1} are not a range within 0..={MAX_SKIP}")]
    Skips(u32, u32),
    /// A position past the limit.
    #[error(
        "the last draw could be output number {0}, past the limit of {MAX_POSITION}: \
         use a smaller window, skip or advance"
    )]
    Position(u64),
    /// More or fewer matches asked for than a window can have.
    #[error("{0} matches are asked of a window of {1} draws; it must be 1 to {1}")]
    Need(u32, usize),
    /// A witness that does not belong to this window and need.
    #[error("the witness {0:?} does not fit a window of {1} draws")]
    Witness(Witness, usize),
}

impl Sieve {
    /// The window's length, k.
    ///
    /// # Panics
    /// Never for a validated sieve: its window fits `u32`.
    #[must_use]
    pub fn window(&self) -> u32 {
        u32::try_from(self.draws.len()).expect("a validated window fits u32")
    }

    /// The output number that draw `index` is compared with under `skip`, a fixed one.
    #[must_use]
    pub fn position(&self, index: u32, skip: u32) -> u64 {
        u64::from(self.advance) + u64::from(skip) + u64::from(index) * (u64::from(skip) + 1)
    }

    /// The last output number that any draw may be compared with.
    #[must_use]
    pub fn last_position(&self) -> u64 {
        match self.mode {
            Mode::Fixed => self.position(self.window() - 1, self.skips.hi),
            Mode::Variable => variable::last_position(self.advance, u64::from(self.window())),
        }
    }

    /// How many survivors one outcome may report: with variable skips each brings its own, of at
    /// most three bytes a draw in MessagePack.
    #[must_use]
    pub fn max_survivors(&self) -> usize {
        if self.mode == Mode::Fixed {
            return MAX_SURVIVORS;
        }
        let directions = if self.direction == Direction::Both { 2 } else { 1 };
        let each = 9 + directions * (5 + 1 + 3 + 3 * self.draws.len());
        (MAX_SEQUENCES / each).clamp(1, MAX_SURVIVORS)
    }

    /// The draws in the orders in which seeds are tested on them.
    #[must_use]
    pub fn orders(&self) -> Orders<'_> {
        let reversed = || self.reversed_draws();
        match self.direction {
            Direction::Forward => Orders { leading: Cow::from(&self.draws), reverse: None },
            Direction::Reverse => Orders { leading: Cow::from(reversed()), reverse: None },
            Direction::Both => {
                Orders { leading: Cow::from(&self.draws), reverse: Some(reversed()) }
            }
        }
    }

    /// The draws from the last to the first.
    #[must_use]
    pub fn reversed_draws(&self) -> Vec<u32> {
        self.draws.iter().rev().copied().collect()
    }

    /// Checks every limit of this module.
    ///
    /// # Errors
    /// [`InvalidSieve`] names the first thing that is wrong. Everything else here may rely on a
    /// sieve that passed.
    pub fn validate(&self) -> Result<(), InvalidSieve> {
        let k = self.draws.len();
        if k == 0 || k > MAX_WINDOW {
            return Err(InvalidSieve::Window(k));
        }
        // nextInt takes a positive int; every other family is reduced after the fact.
        let most = if self.family == Family::JavaRandom { i32::MAX as u32 } else { u32::MAX };
        if self.modulus < 2 || self.modulus > most {
            return Err(InvalidSieve::Modulus(self.modulus, most));
        }
        if let Some(&draw) = self.draws.iter().find(|&&draw| draw >= self.modulus) {
            return Err(InvalidSieve::Draw(draw, self.modulus));
        }
        if self.skips.lo > self.skips.hi || self.skips.hi > MAX_SKIP {
            return Err(InvalidSieve::Skips(self.skips.lo, self.skips.hi));
        }
        let last = self.last_position();
        if last > MAX_POSITION {
            return Err(InvalidSieve::Position(last));
        }
        for need in [self.need, self.reverse_need] {
            if need == 0 || need as usize > k {
                return Err(InvalidSieve::Need(need, k));
            }
        }
        Ok(())
    }

    /// Checks that a witness belongs to this sieve.
    ///
    /// # Errors
    /// [`InvalidSieve::Witness`] unless `1 <= n <= need` and `F = k - need + n`.
    pub fn validate_witness(&self, witness: Witness) -> Result<(), InvalidSieve> {
        let fits = (1..=self.need).contains(&witness.least)
            && witness == Witness::new(self.window(), self.need, witness.least);
        if fits { Ok(()) } else { Err(InvalidSieve::Witness(witness, self.draws.len())) }
    }
}

/// Which seeds one job tests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seeds {
    /// Every seed of a range (`sieve`).
    Range(Span),
    /// Listed candidates (`reverse_sieve`). What is tested, covered and split is their index in
    /// the run's whole list.
    Candidates {
        /// The index of the first one.
        first_index: u64,
        /// The candidates, at most 50,000.
        seeds: Vec<u64>,
    },
}

impl Seeds {
    /// What a job covers: seeds for a range, indices for candidates. `None` for an empty list.
    #[must_use]
    pub fn span(&self) -> Option<Span> {
        match self {
            Self::Range(span) => Some(*span),
            Self::Candidates { first_index, seeds } => {
                Span::half_open(*first_index, u128::from(*first_index) + seeds.len() as u128)
            }
        }
    }

    /// The part of these seeds that lies inside `span`, which is in the same terms as
    /// [`Seeds::span`]. `None` when nothing does.
    #[must_use]
    pub fn slice(&self, span: Span) -> Option<Self> {
        let part = self.span()?.intersection(span)?;
        Some(match self {
            Self::Range(_) => Self::Range(part),
            Self::Candidates { first_index, seeds } => {
                let from = usize::try_from(part.first() - first_index).ok()?;
                let to = usize::try_from(part.last() - first_index).ok()?;
                Self::Candidates {
                    first_index: part.first(),
                    seeds: seeds.get(from..=to)?.to_vec(),
                }
            }
        })
    }
}
