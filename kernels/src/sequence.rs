//! The seeds of a block: a range or a list, behind one face.

use shared::{sieve::Seeds, spans::Span};

/// Seeds in the order in which they are tested.
#[derive(Debug, Clone, Copy)]
pub enum Sequence<'a> {
    /// Consecutive seeds.
    Range(Span),
    /// Listed candidates, at least one.
    List(&'a [u64]),
}

impl<'a> Sequence<'a> {
    /// A job's seeds.
    #[must_use]
    pub fn new(seeds: &'a Seeds) -> Self {
        match seeds {
            Seeds::Range(span) => Self::Range(*span),
            Seeds::Candidates { seeds, .. } => Self::List(seeds),
        }
    }

    /// How many seeds there are: up to 2^64.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a sequence is never empty")]
    pub fn len(&self) -> u128 {
        match self {
            Self::Range(span) => span.len(),
            Self::List(seeds) => seeds.len() as u128,
        }
    }

    /// Seed number `index`, which is below the length.
    #[must_use]
    pub fn get(&self, index: u64) -> u64 {
        match self {
            Self::Range(span) => span.first() + index,
            Self::List(seeds) => seeds[index as usize],
        }
    }

    /// Splits off the first `count` seeds, at least 1: they, and the rest if there is one.
    #[must_use]
    pub fn split_at(&self, count: u64) -> (Self, Option<Self>) {
        match *self {
            Self::Range(span) => {
                let (head, rest) = span.split_at(u128::from(count));
                (Self::Range(head), rest.map(Self::Range))
            }
            Self::List(seeds) => {
                let count = usize::try_from(count.max(1)).unwrap_or(usize::MAX).min(seeds.len());
                let (head, rest) = seeds.split_at(count);
                (Self::List(head), (!rest.is_empty()).then_some(Self::List(rest)))
            }
        }
    }

    /// Writes the seeds from number `index` on into `lanes` and returns how many there are; the
    /// lanes past the last seed repeat it. `index` is below the length.
    #[inline]
    pub fn fill(&self, index: u64, lanes: &mut [u64]) -> usize {
        let left = self.len() - u128::from(index);
        let valid = usize::try_from(left).unwrap_or(usize::MAX).min(lanes.len());
        match self {
            Self::Range(span) => {
                let first = span.first() + index;
                for (lane, seed) in lanes.iter_mut().enumerate() {
                    *seed = first.wrapping_add(lane as u64);
                }
            }
            Self::List(seeds) => {
                lanes[..valid].copy_from_slice(&seeds[index as usize..][..valid]);
            }
        }
        let last = lanes[valid - 1];
        lanes[valid..].fill(last);
        valid
    }
}
