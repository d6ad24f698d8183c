//! Sets of seeds (or of candidate indices) as closed intervals of `u64`.
//!
//! 2^64 seeds are a legal range, so a span stores its first and *last* member and counts in
//! `u128`. An empty span does not exist.

use serde::{Deserialize, Serialize};

/// A non-empty run of consecutive values, first and last both included.
///
/// On the wire it is the pair `[first, last]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "(u64, u64)", into = "(u64, u64)")]
pub struct Span {
    first: u64,
    last: u64,
}

/// A pair that is no span: its last value lies before its first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the range {first}..={last} is empty: its last value lies before its first")]
pub struct EmptySpan {
    /// What was given as the first value.
    pub first: u64,
    /// What was given as the last value.
    pub last: u64,
}

impl Span {
    /// The span `first..=last`.
    ///
    /// # Errors
    /// [`EmptySpan`] when `last < first`.
    pub const fn new(first: u64, last: u64) -> Result<Self, EmptySpan> {
        if last < first {
            return Err(EmptySpan { first, last });
        }
        Ok(Self { first, last })
    }

    /// The span of the half-open range `[start, end)`, where `end` may be 2^64.
    /// `None` when that range is empty or reaches past 2^64.
    #[must_use]
    pub fn half_open(start: u64, end: u128) -> Option<Self> {
        let last = u64::try_from(end.checked_sub(1)?).ok()?;
        Self::new(start, last).ok()
    }

    /// The first value.
    #[must_use]
    pub const fn first(self) -> u64 {
        self.first
    }

    /// The last value (included).
    #[must_use]
    pub const fn last(self) -> u64 {
        self.last
    }

    /// The end of the half-open form: `last + 1`, up to 2^64.
    #[must_use]
    pub fn end(self) -> u128 {
        u128::from(self.last) + 1
    }

    /// How many values it holds, 1 to 2^64.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a span is never empty")]
    pub fn len(self) -> u128 {
        u128::from(self.last - self.first) + 1
    }

    /// Whether `value` lies inside.
    #[must_use]
    pub const fn contains(self, value: u64) -> bool {
        self.first <= value && value <= self.last
    }

    /// The values that both spans hold.
    #[must_use]
    pub fn intersection(self, other: Self) -> Option<Self> {
        Self::new(self.first.max(other.first), self.last.min(other.last)).ok()
    }

    /// Splits off the first `count` values: they, and the rest. `count` is at least 1; a count of
    /// the whole length or more leaves no rest.
    #[must_use]
    pub fn split_at(self, count: u128) -> (Self, Option<Self>) {
        let count = count.max(1);
        if count >= self.len() {
            return (self, None);
        }
        // count < len <= 2^64, so it fits u64 and the sum stays inside the span.
        let cut = self.first + u64::try_from(count).unwrap_or(u64::MAX);
        (Self { first: self.first, last: cut - 1 }, Some(Self { first: cut, last: self.last }))
    }
}

impl TryFrom<(u64, u64)> for Span {
    type Error = EmptySpan;

    fn try_from((first, last): (u64, u64)) -> Result<Self, EmptySpan> {
        Self::new(first, last)
    }
}

impl From<Span> for (u64, u64) {
    fn from(span: Span) -> Self {
        (span.first, span.last)
    }
}

impl std::fmt::Display for Span {
    /// Half-open, as people write ranges here: `[start, end)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{}, {})", self.first, self.end())
    }
}

/// A set of values as sorted, disjoint spans that do not touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spans(Vec<Span>);

impl Spans {
    /// The spans, in order.
    #[must_use]
    pub fn as_slice(&self) -> &[Span] {
        &self.0
    }

    /// Whether nothing is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many values are in the set.
    #[must_use]
    pub fn count(&self) -> u128 {
        self.0.iter().map(|span| span.len()).sum()
    }

    /// Whether `value` is in the set.
    #[must_use]
    pub fn contains(&self, value: u64) -> bool {
        let after = self.0.partition_point(|span| span.first <= value);
        after > 0 && self.0[after - 1].contains(value)
    }

    /// Adds a span, joining it with those it overlaps or touches.
    pub fn insert(&mut self, span: Span) {
        // The first that reaches up to just before the new one, and the first that begins beyond
        // the value just after it: all between are swallowed.
        let from = self.0.partition_point(|s| s.end() < u128::from(span.first));
        let to = self.0.partition_point(|s| u128::from(s.first) <= span.end());
        let mut joined = span;
        if from < to {
            joined.first = joined.first.min(self.0[from].first);
            joined.last = joined.last.max(self.0[to - 1].last);
        }
        self.0.splice(from..to, [joined]);
    }

    /// The parts of `whole` that are not in the set, in order.
    #[must_use]
    pub fn holes(&self, whole: Span) -> Vec<Span> {
        let mut holes = Vec::new();
        let mut next = u128::from(whole.first);
        for span in self.parts(whole) {
            holes.extend(half_open_from(next, u128::from(span.first)));
            next = span.end();
        }
        holes.extend(half_open_from(next, whole.end()));
        holes
    }

    /// The part of the set that lies inside `whole`.
    #[must_use]
    pub fn within(&self, whole: Span) -> Self {
        Self(self.parts(whole).collect())
    }

    /// The spans that meet `whole`, cut to it; the others are not looked at.
    fn parts(&self, whole: Span) -> impl Iterator<Item = Span> {
        let from = self.0.partition_point(|span| span.last < whole.first);
        self.0[from..].iter().map_while(move |span| span.intersection(whole))
    }
}

fn half_open_from(start: u128, end: u128) -> Option<Span> {
    u64::try_from(start).ok().and_then(|start| Span::half_open(start, end))
}

impl Extend<Span> for Spans {
    fn extend<T: IntoIterator<Item = Span>>(&mut self, spans: T) {
        for span in spans {
            self.insert(span);
        }
    }
}

impl FromIterator<Span> for Spans {
    fn from_iter<T: IntoIterator<Item = Span>>(spans: T) -> Self {
        let mut set = Self::default();
        // In order each is joined to the last or put behind it, so that no list, whoever sent it,
        // takes more than its sorting.
        let mut spans: Vec<Span> = spans.into_iter().collect();
        spans.sort_unstable();
        set.extend(spans);
        set
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn span(first: u64, last: u64) -> Span {
        Span::new(first, last).unwrap()
    }

    #[test]
    fn the_whole_of_u64_is_a_span() {
        let all = Span::half_open(0, 1 << 64).unwrap();
        assert_eq!(all.len(), 1 << 64);
        assert_eq!(all.end(), 1 << 64);
        assert_eq!(Span::half_open(0, (1 << 64) + 1), None);
        assert_eq!(Span::half_open(7, 7), None);
        let mut set = Spans::from_iter([span(1, u64::MAX)]);
        assert_eq!(set.holes(all), [span(0, 0)]);
        set.insert(span(0, 0));
        assert_eq!(set.as_slice(), [all]);
        assert!(set.holes(all).is_empty());
    }

    proptest! {
        /// Against a plain set of values, at both ends of the number line.
        #[test]
        fn agrees_with_a_plain_set(
            top in any::<bool>(),
            pairs in prop::collection::vec((0u64..60, 0u64..12), 0..20),
        ) {
            let base = if top { u64::MAX - 80 } else { 0 };
            let mut plain = BTreeSet::new();
            let mut set = Spans::default();
            for (first, more) in pairs {
                set.insert(span(base + first, base + first + more));
                plain.extend(base + first..=base + first + more);
            }
            prop_assert_eq!(set.count(), plain.len() as u128);
            for pair in set.as_slice().windows(2) {
                prop_assert!(pair[0].end() < u128::from(pair[1].first()));
            }
            let whole = span(base + 5, base + 70);
            let holes: BTreeSet<u64> =
                set.holes(whole).iter().flat_map(|s| s.first()..=s.last()).collect();
            let expected: BTreeSet<u64> =
                (whole.first()..=whole.last()).filter(|v| !plain.contains(v)).collect();
            prop_assert_eq!(holes, expected);
            for value in base..=base + 80 {
                prop_assert_eq!(set.contains(value), plain.contains(&value));
            }
        }

        #[test]
        fn a_split_loses_nothing(first in any::<u64>(), more in any::<u64>(), count in any::<u64>()) {
            let whole = span(first, first.saturating_add(more));
            let (head, rest) = whole.split_at(u128::from(count));
            prop_assert_eq!(head.first(), whole.first());
            let rest_len = rest.map_or(0, Span::len);
            prop_assert_eq!(head.len() + rest_len, whole.len());
            if let Some(rest) = rest {
                prop_assert_eq!(head.end(), u128::from(rest.first()));
                prop_assert_eq!(rest.last(), whole.last());
            }
        }
    }
}
