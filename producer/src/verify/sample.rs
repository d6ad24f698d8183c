//! What is tested again: a random share, at least one.

use std::{collections::BTreeSet, str::FromStr};

use shared::{
    spans::{Span, Spans},
    witness::splitmix64,
};

use crate::ledger::Report;

/// The step of splitmix64's state (Steele, Lea and Flood, OOPSLA 2014).
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// A share above 0 % and at most 100 %.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share(f64);

impl Share {
    /// Of so many, that many: at least one of any.
    #[must_use]
    pub fn of(self, count: u128) -> u128 {
        if self.0 >= 1.0 {
            return count;
        }
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of seeds needs no more than 53 bits"
        )]
        let share = (count as f64 * self.0).ceil() as u128;
        share.clamp(1, count.max(1))
    }
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.trim().strip_suffix('%').map(str::trim_end);
        let percent = number.and_then(|number| number.parse::<f64>().ok());
        match percent {
            Some(percent) if percent > 0.0 && percent <= 100.0 => Ok(Self(percent / 100.0)),
            Some(_) => Err(format!("'{text}' must be over 0 % and at most 100 %")),
            None => Err(format!("'{text}' is no percentage: write it as 1% or 0.5%")),
        }
    }
}

/// Random numbers that a seed repeats.
#[derive(Debug, Clone, Copy)]
pub struct Random(u64);

impl Random {
    /// The numbers of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A seed that nobody chose.
    #[must_use]
    pub fn fresh_seed() -> u64 {
        // Short enough to be typed again.
        uuid::Uuid::new_v4().as_u64_pair().0 >> 32
    }

    /// A number below `end`, which is above 0 and at most 2^64.
    fn below(&mut self, end: u128) -> u128 {
        let number = splitmix64(self.0);
        self.0 = self.0.wrapping_add(GOLDEN);
        if end > u128::from(u64::MAX) {
            u128::from(number)
        } else {
            (u128::from(number) * end) >> 64
        }
    }

    fn index_below(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u128)).unwrap_or_default()
    }

    fn shuffle<T>(&mut self, list: &mut [T]) {
        for end in (2..=list.len()).rev() {
            list.swap(end - 1, self.index_below(end));
        }
    }
}

/// Chooses outcomes at random until together they hold the share of everything that `reports`
/// cover, those of other nodes than `own` first.
#[must_use]
pub fn outcomes<'r>(
    reports: &'r [Report],
    share: Share,
    own: &str,
    random: &mut Random,
) -> Vec<&'r Report> {
    let all: Spans = reports.iter().flat_map(|report| report.tested.iter().copied()).collect();
    let wanted = share.of(all.count());
    let mut order: Vec<&Report> = reports.iter().collect();
    random.shuffle(&mut order);
    order.sort_by_key(|report| report.node == own);
    let mut covered = Spans::default();
    let mut count = 0;
    let mut chosen = Vec::new();
    for report in order {
        if count >= wanted {
            break;
        }
        let news: u128 =
            report.tested.iter().flat_map(|span| covered.holes(*span)).map(Span::len).sum();
        if news > 0 {
            count += news;
            covered.extend(report.tested.iter().copied());
            chosen.push(report);
        }
    }
    chosen
}

/// Chooses blocks of `length` seeds at random, each once, until they make up the share of
/// `requested` but not more than `most` seeds; ascending. At least one.
#[must_use]
pub fn blocks(
    requested: Span,
    length: u128,
    share: Share,
    most: u128,
    random: &mut Random,
) -> Vec<Span> {
    let length = length.clamp(1, requested.len());
    let count = requested.len().div_ceil(length);
    let wanted = share.of(count).min((most / length).max(1));
    // Floyd's sampling (Bentley, CACM 30(9), 1987): distinct numbers without a list of all.
    let mut chosen = BTreeSet::new();
    for last in count - wanted..count {
        let number = random.below(last + 1);
        chosen.insert(if chosen.contains(&number) { last } else { number });
    }
    let block = |number: u128| {
        let start = u64::try_from(u128::from(requested.first()) + number * length).ok()?;
        Span::half_open(start, (u128::from(start) + length).min(requested.end()))
    };
    chosen.into_iter().filter_map(block).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn report(id: i64, node: &str, first: u64, last: u64) -> Report {
        Report {
            id,
            job: format!("r.{id}"),
            node: node.to_owned(),
            device: "cpu0".to_owned(),
            model: "a processor".to_owned(),
            engine: None,
            tested: vec![Span::new(first, last).unwrap()],
            near_misses: None,
            seconds: 1.0,
            at: 0.0,
        }
    }

    fn share(text: &str) -> Share {
        text.parse().unwrap()
    }

    #[test]
    fn shares_are_percentages_over_0_and_at_most_100() {
        assert_eq!(share("1%").of(1000), 10);
        assert_eq!(share("0.5 %").of(1000), 5);
        assert_eq!(share("0.0001%").of(1000), 1);
        assert_eq!(share("100%").of(1 << 64), 1 << 64);
        for text in ["0%", "-1%", "101%", "1", "", "%", "NaN%", "inf%", "one%"] {
            let message = text.parse::<Share>().unwrap_err();
            assert!(message.contains(text) && !message.contains('\n'), "{message}");
        }
    }

    #[test]
    fn other_nodes_go_first_and_all_means_all() {
        let reports: Vec<Report> = (0..20)
            .map(|i| {
                let node = if i % 4 == 0 { "there" } else { "here" };
                report(i64::try_from(i).unwrap(), node, i * 10, i * 10 + 9)
            })
            .collect();
        for seed in 0..50 {
            let few = outcomes(&reports, share("10%"), "here", &mut Random::new(seed));
            assert_eq!(few.len(), 2);
            assert!(few.iter().all(|report| report.node == "there"));
            let all = outcomes(&reports, share("100%"), "here", &mut Random::new(seed));
            assert_eq!(all.len(), 20);
        }
        let chosen = |seed| {
            let chosen = outcomes(&reports, share("20%"), "", &mut Random::new(seed));
            chosen.iter().map(|report| report.id).collect::<Vec<_>>()
        };
        assert_eq!(chosen(3), chosen(3));
        assert!((0..20).any(|seed| chosen(seed) != chosen(3)));
    }

    #[test]
    fn every_outcome_is_chosen_about_equally_often() {
        let reports: Vec<Report> =
            (0..10).map(|i| report(i64::try_from(i).unwrap(), "n", i, i)).collect();
        let mut often = [0; 10];
        for seed in 0..2000 {
            for report in outcomes(&reports, share("30%"), "", &mut Random::new(seed)) {
                often[usize::try_from(report.id).unwrap()] += 1;
            }
        }
        // 600 expected, with a standard deviation of 20.
        assert!(often.iter().all(|count| (500..700).contains(count)), "{often:?}");
    }

    proptest! {
        #[test]
        fn blocks_are_distinct_parts_of_the_request(
            first in prop_oneof![0u64..1000, Just(u64::MAX - 500)],
            more in 0u64..500,
            length in 1u128..70,
            percent in 1u32..=100,
            seed in any::<u64>(),
        ) {
            let requested = Span::new(first, first.saturating_add(more)).unwrap();
            let share = Share(f64::from(percent) / 100.0);
            let chosen = blocks(requested, length, share, u128::MAX, &mut Random::new(seed));
            prop_assert!(!chosen.is_empty());
            let set: Spans = chosen.iter().copied().collect();
            prop_assert_eq!(set.count(), chosen.iter().map(|span| span.len()).sum::<u128>());
            prop_assert_eq!(set.within(requested), set.clone());
            let enough = share.of(requested.len());
            prop_assert!(set.count() + length.min(requested.len()) > enough);
            if percent == 100 {
                prop_assert_eq!(set.count(), requested.len());
            }
            let least = blocks(requested, length, share, 1, &mut Random::new(seed));
            prop_assert_eq!(least.len(), 1);
        }
    }

    #[test]
    fn blocks_of_all_seeds_there_are() {
        let all = Span::new(0, u64::MAX).unwrap();
        let chosen = blocks(all, 1 << 40, share("1%"), 1 << 42, &mut Random::new(1));
        assert_eq!(chosen.len(), 4);
        assert_eq!(blocks(all, 1, share("1%"), 3, &mut Random::new(1)).len(), 3);
    }
}
