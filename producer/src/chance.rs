//! What chance alone would leave: survivors and near misses of a sieve over random seeds.
//!
//! Each draw matches a random output with probability `1 / modulus`, so the matches of one skip
//! are binomial, and a seed is in when any of its skips is (SIEVES.md, section 1). Skips share
//! outputs, so they are not quite independent; the difference is far below the noise of a count.
//!
//! With variable skips it is not so simple: see [`crate::strategies`], and [`of`].
//!
//! Two things shift the mean and are taken into account:
//!
//! * An output that is the same for every seed says nothing about a seed. Its draw is taken out
//!   of the window; where it matches, it does so for all seeds and is taken out of `need` too.
//!   Of the catalogue only `sfc64` has one: its second output is made of constants alone before
//!   the seed has mixed in. In every other family each output is a function of the seed that is
//!   not constant: the LCGs, `pcg32` and the xorshifts step by bijections of a state that starts
//!   as the seed; `xorshift128` and `xoshiro256pp` put the seeded word into their first output and
//!   into all later ones; the Mersenne twisters and `glibc_random` mix the seed into every word
//!   of the state that an output reads; Philox is keyed by the seed. (Seen so in the first 700
//!   outputs of 40 random seeds of each of these families.)
//! * A family with fewer output values than the modulus matches more often than `1 / modulus`.
//!
//! For small seeds the first output of `pcg32` has few values (its seeding is none), which is
//! left out: it concerns one draw of one skip.

use std::collections::BTreeMap;

use shared::{
    families::Family,
    sieve::{Mode, Orders, Sieve},
    witness::Witness,
};

use crate::strategies;

/// So many survivors of a sample make its share good to a third; of fewer the model is asked.
const ENOUGH: u32 = 10;
/// How many near misses a piece should expect, so that their count proves something.
pub const NEAR_MISSES: f64 = 1000.0;

/// The second output of `sfc64` whatever its seed: `(b ^ b >> 11) + (c + (c << 3)) + 2` of the
/// family's constants, as the generator's second step adds them up.
const SFC64_SECOND: u64 = 0x587D_D8FD_DA08_A6A4;

/// What chance alone makes of a random seed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Chance {
    /// The probability that it survives.
    pub per_seed: f64,
    /// The standard error of that, if it was sampled.
    pub error: Option<f64>,
    /// How it was computed: `expected_method` of manifests and results.
    pub method: &'static str,
}

impl Chance {
    /// Of a question that leaves no survivors.
    pub const NONE: Self = Self { per_seed: 0.0, error: None, method: "none" };
}

/// How many of some random seeds survived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// How many seeds there were, at least one.
    pub seeds: u32,
    /// How many survived.
    pub survivors: u32,
}

/// What chance alone makes of a seed: by counting with a fixed skip. With variable skips by a
/// sample, if it has enough survivors to say something, else by the model of the strategies.
#[must_use]
pub fn of(sieve: &Sieve, sample: Option<Sample>) -> Chance {
    match sample {
        Some(Sample { seeds, survivors }) if survivors >= ENOUGH => {
            let per_seed = f64::from(survivors) / f64::from(seeds);
            let error = (per_seed * (1.0 - per_seed) / f64::from(seeds)).sqrt();
            Chance { per_seed, error: Some(error), method: "sampled" }
        }
        _ => Chance {
            per_seed: survivor_probability(sieve),
            error: None,
            method: if sieve.mode == Mode::Variable { "modelled" } else { "binomial" },
        },
    }
}

/// The probability that a random seed survives by chance.
#[must_use]
pub fn survivor_probability(sieve: &Sieve) -> f64 {
    if sieve.mode == Mode::Variable {
        return strategies::survivor_probability(sieve);
    }
    let k = sieve.window();
    let Orders { leading, reverse } = sieve.orders();
    let leading = some_skip(sieve, &leading, k, sieve.need);
    let reverse = reverse.map(|draws| some_skip(sieve, &draws, k, sieve.reverse_need));
    leading * reverse.unwrap_or(1.0)
}

/// The probability that a random seed is a near miss.
#[must_use]
pub fn near_miss_probability(sieve: &Sieve, witness: Witness) -> f64 {
    if sieve.mode == Mode::Variable {
        return strategies::near_miss_probability(sieve, witness.least);
    }
    some_skip(sieve, &sieve.orders().leading, witness.first, witness.least)
}

/// What a reader of an expected count should know about this sieve, a sentence each.
#[must_use]
pub fn notes(sieve: &Sieve, seeds: u128) -> Vec<String> {
    let mut notes = Vec::new();
    let family = sieve.family;
    if let Some(apart) = repeats_after(family)
        && seeds > apart
    {
        notes.push(format!(
            "seeds of {family} {apart} apart give the same stream: survivors come in groups"
        ));
    }
    let met = match sieve.mode {
        Mode::Variable => sieve.advance <= 1,
        _ => sieve.skips.iter().take(2).any(|skip| met_at(sieve, skip, sieve.window()).is_some()),
    };
    if family == Family::Sfc64 && met {
        notes.push(
            "the second output of sfc64 is one constant for all seeds: its draw tells them \
             nothing apart"
                .to_owned(),
        );
    }
    notes
}

/// The smallest need, at least the present one, with which at most `limit` survivors are
/// expected among `seeds`. For `Both` it is tried for both directions. `None` when not even a
/// full match does it.
#[must_use]
pub fn need_that_fits(sieve: &Sieve, seeds: u128, limit: f64) -> Option<u32> {
    let fits = |need: u32| {
        let mut stricter = sieve.clone();
        stricter.need = need;
        stricter.reverse_need = sieve.reverse_need.max(need);
        expected(seeds, survivor_probability(&stricter)) <= limit
    };
    first_true(sieve.need, sieve.window(), fits)
}

/// How many are expected among `seeds`, each with `probability`.
#[must_use]
pub fn expected(seeds: u128, probability: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "an expectation needs no exact count")]
    let seeds = seeds as f64;
    seeds * probability
}

/// Chooses witnesses for the pieces of one sieve, remembering what it has computed.
#[derive(Debug)]
pub struct Witnesses<'s> {
    sieve: &'s Sieve,
    probabilities: BTreeMap<u32, f64>,
}

impl<'s> Witnesses<'s> {
    /// For the pieces of `sieve`.
    #[must_use]
    pub const fn of(sieve: &'s Sieve) -> Self {
        Self { sieve, probabilities: BTreeMap::new() }
    }

    /// The witness of a piece of `seeds` seeds: the largest n in `1..=need` with at least
    /// [`NEAR_MISSES`] near misses expected, else 1.
    pub fn for_piece(&mut self, seeds: u128) -> Witness {
        let k = self.sieve.window();
        let need = self.sieve.need;
        // Fewer near misses are expected with every step of n: the first that is too rare, less
        // one, is the largest that is not.
        let too_rare = first_true(1, need, |least| {
            let probability = *self
                .probabilities
                .entry(least)
                .or_insert_with(|| near_miss_probability(self.sieve, Witness::new(k, need, least)));
            expected(seeds, probability) < NEAR_MISSES
        });
        let least = too_rare.map_or(need, |least| (least - 1).max(1));
        Witness::new(k, need, least)
    }
}

/// The witness of one piece: see [`Witnesses::for_piece`].
#[must_use]
pub fn witness_for(sieve: &Sieve, seeds_in_piece: u128) -> Witness {
    Witnesses::of(sieve).for_piece(seeds_in_piece)
}

/// The first of `lo..=hi` for which `holds`, which once true stays true.
fn first_true(lo: u32, hi: u32, mut holds: impl FnMut(u32) -> bool) -> Option<u32> {
    let (mut lo, mut end) = (lo, hi + 1);
    while lo < end {
        let middle = lo + (end - lo) / 2;
        if holds(middle) {
            end = middle;
        } else {
            lo = middle + 1;
        }
    }
    (lo <= hi).then_some(lo)
}

/// The probability that some skip of a random seed matches at least `least` of the first
/// `first` of `draws`.
fn some_skip(sieve: &Sieve, draws: &[u32], first: u32, least: u32) -> f64 {
    let p = match_probability(sieve);
    // Only the smallest skips can meet a constant output, since draw 0 stands at least at `skip`.
    let special = sieve.skips.iter().take(2).filter_map(|skip| met_at(sieve, skip, first));
    let mut plain = f64::from(sieve.skips.count());
    let mut ln_none = 0.0;
    for index in special {
        let constant = SFC64_SECOND % u64::from(sieve.modulus);
        let matches = draws.get(index as usize).is_some_and(|&draw| u64::from(draw) == constant);
        ln_none += ln_not(binomial_tail(first - 1, p, least - u32::from(matches)));
        plain -= 1.0;
    }
    if plain > 0.0 {
        ln_none += plain * ln_not(binomial_tail(first, p, least));
    }
    // Not `-x`: where nothing can survive that is a negative zero.
    0.0 - ln_none.exp_m1()
}

/// Which of the first `first` draws is compared with a constant output under `skip`.
fn met_at(sieve: &Sieve, skip: u32, first: u32) -> Option<u32> {
    if sieve.family != Family::Sfc64 {
        return None;
    }
    (0..first.min(2)).find(|&index| sieve.position(index, skip) == 1)
}

/// The probability that a draw matches a random output.
pub(crate) fn match_probability(sieve: &Sieve) -> f64 {
    let values = f64::from(sieve.family.about().output_bits).exp2();
    f64::from(sieve.modulus).min(values).recip()
}

/// How far apart seeds are that give the same stream.
fn repeats_after(family: Family) -> Option<u128> {
    match family {
        Family::Lcg32 | Family::Minstd | Family::MinstdRand0 => Some((1 << 31) - 1),
        Family::AnsiC | Family::MsvcRand => Some(1 << 31),
        _ => None,
    }
}

/// `ln(1 - p)`.
fn ln_not(p: f64) -> f64 {
    (-p).ln_1p()
}

/// `P[Bin(n, p) >= m]` for `0 < p < 1`, to nearly full precision however small it is: the terms
/// are summed from the largest one outwards, starting from its logarithm.
#[must_use]
pub fn binomial_tail(n: u32, p: f64, m: u32) -> f64 {
    if m == 0 {
        return 1.0;
    }
    if m > n {
        return 0.0;
    }
    let odds = p / (1.0 - p);
    if f64::from(m) > f64::from(n) * p {
        // Above the mean: the terms fall from m on.
        let ratio = |j: u32| f64::from(n - j) / f64::from(j + 1) * odds;
        return (ln_term(n, p, m).exp() * falling_sum((m..n).map(ratio))).min(1.0);
    }
    // Below the mean the complement is the smaller side; its terms fall from m - 1 downwards.
    let ratio = |j: u32| f64::from(j) / (f64::from(n - j + 1) * odds);
    let below = ln_term(n, p, m - 1).exp() * falling_sum((1..m).rev().map(ratio));
    (1.0 - below).max(0.0)
}

/// `1 + r1 + r1 r2 + …`, until the terms no longer count.
fn falling_sum(ratios: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for ratio in ratios {
        term *= ratio;
        sum += term;
        if term < sum * 1e-18 {
            break;
        }
    }
    sum
}

/// `ln(C(n, j) p^j (1-p)^(n-j))`.
fn ln_term(n: u32, p: f64, j: u32) -> f64 {
    let shorter = j.min(n - j);
    let ln_choose: f64 =
        (1..=shorter).map(|i| (f64::from(n - shorter + i) / f64::from(i)).ln()).sum();
    ln_choose + f64::from(j) * p.ln() + f64::from(n - j) * ln_not(p)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared::sieve::{Direction, Skips};

    use super::*;

    fn sieve(k: usize, need: u32, skips: u32) -> Sieve {
        Sieve {
            family: Family::JavaLcg,
            direction: Direction::Forward,
            mode: Mode::Fixed,
            modulus: 1000,
            draws: vec![7; k],
            advance: 0,
            skips: Skips { lo: 0, hi: skips - 1 },
            need,
            reverse_need: need,
        }
    }

    fn close(value: f64, to: f64, within: f64) -> bool {
        (value / to - 1.0).abs() <= within
    }

    #[test]
    fn what_can_not_survive_has_no_sign() {
        // Pieces are cut by it: below nothing, each seed would be one.
        for mode in Mode::ALL {
            let chance = survivor_probability(&Sieve { mode, ..sieve(512, 512, 3) });
            assert!(chance == 0.0 && chance.is_sign_positive(), "{mode:?}: {chance}");
        }
    }

    /// SIEVES.md section 7; its figures have one or two digits.
    #[test]
    fn the_table_of_expected_survivors_is_met() {
        for (k, need, skip, low21, high21, low241) in [
            (8, 2, 2.8e-5, 2.5e6, 1.6e11, 2.9e7),
            (8, 4, 7.0e-11, 6.3, 4.1e5, 72.0),
            (10, 3, 1.2e-7, 1.1e4, 7.1e8, 1.2e5),
            (12, 3, 2.2e-7, 2.0e4, 1.3e9, 2.3e5),
            (16, 4, 1.8e-9, 163.0, 1.1e7, 1.9e3),
            (30, 3, 4.0e-6, 3.6e5, 2.4e10, 4.1e6),
            (30, 8, 5.7e-18, 5e-7, 0.034, 6e-6),
            (50, 8, 5.2e-16, 5e-5, 3.1, 5e-4),
            (512, 6, 1.6e-5, 1.4e6, 9e10, 1.6e7),
        ] {
            let all = |skips, seeds| expected(seeds, survivor_probability(&sieve(k, need, skips)));
            for (value, table) in [
                (binomial_tail(u32::try_from(k).unwrap(), 1e-3, need), skip),
                (all(21, 1 << 32), low21),
                (all(21, 1 << 48), high21),
                (all(241, 1 << 32), low241),
            ] {
                assert!(close(value, table, 0.11), "k {k}, need {need}: {value} for {table}");
            }
        }
    }

    #[test]
    fn both_directions_multiply() {
        // SIEVES.md section 7: k = 8, threshold .25, skips 5 to 246: 4.5e-5 per seed; and k = 4
        // with 2 forward and 1 reverse: 1.45e-3 times .62.
        let mut both = sieve(8, 2, 242);
        both.skips = Skips { lo: 5, hi: 246 };
        both.direction = Direction::Both;
        assert!(close(survivor_probability(&both), 4.5e-5, 0.02));
        both.draws.truncate(4);
        both.reverse_need = 1;
        assert!(close(survivor_probability(&both), 9.0e-4, 0.01));
    }

    /// Every tail against a plain sum of exactly rounded terms from Pascal's triangle.
    #[test]
    fn tails_agree_with_pascals_triangle() {
        for n in [1u32, 2, 7, 30, 60] {
            let mut row = vec![1.0f64];
            for _ in 0..n {
                let mut next = vec![1.0];
                next.extend(row.windows(2).map(|pair| pair[0] + pair[1]));
                next.push(1.0);
                row = next;
            }
            for p in [1e-9f64, 1e-3, 0.1, 0.5, 0.9] {
                let term = |j: u32| {
                    row[j as usize]
                        * p.powi(i32::try_from(j).unwrap())
                        * (1.0 - p).powi(i32::try_from(n - j).unwrap())
                };
                for m in 0..=n + 1 {
                    let plain: f64 = (m..=n).rev().map(term).sum();
                    let tail = binomial_tail(n, p, m);
                    if m <= n && tail.max(plain) < 1e-280 {
                        // The plain powers lose their digits to underflow first.
                        continue;
                    }
                    assert!(
                        (tail - plain).abs() <= 1e-12 * plain.max(1e-300),
                        "n {n} p {p} m {m}: {tail} for {plain}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_longest_windows_stay_finite() {
        for (modulus, need) in [(2, 1), (2, 32_768), (2, 40_000), (2, 65_536), (u32::MAX, 65_536)] {
            let mut long = sieve(65_536, need, 2);
            long.modulus = modulus;
            let p = survivor_probability(&long);
            assert!((0.0..=1.0).contains(&p), "{modulus} {need}: {p}");
            long.validate_witness(witness_for(&long, 1 << 64)).unwrap();
        }
        assert!(binomial_tail(65_536, 0.5, 32_768) > 0.5);
        assert!(binomial_tail(65_536, 0.5, 65_536).abs() < 1e-300);
    }

    /// `golden/first_outputs.json` holds outputs of several seeds: only `sfc64` repeats one.
    #[test]
    fn constant_outputs_are_those_of_the_golden_vectors() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../shared/data/golden/first_outputs.json");
        let Ok(text) = std::fs::read_to_string(&path) else {
            println!("skipped: {} is not here", path.display());
            return;
        };
        let golden: BTreeMap<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
        let mut checked = 0;
        for (name, seeds) in golden {
            let (Ok(family), Some(seeds)) = (name.parse::<Family>(), seeds.as_object()) else {
                continue;
            };
            let rows: Vec<&Vec<serde_json::Value>> =
                seeds.values().filter_map(serde_json::Value::as_array).collect();
            let constant: Vec<usize> = (0..rows[0].len())
                .filter(|&index| rows.iter().all(|row| row[index] == rows[0][index]))
                .collect();
            if family == Family::Sfc64 {
                assert_eq!(constant, [1]);
                assert_eq!(rows[0][1].as_u64(), Some(SFC64_SECOND));
            } else {
                assert!(constant.is_empty(), "{family} {constant:?}");
            }
            checked += 1;
        }
        assert!(checked >= 11, "{checked}");
    }

    #[test]
    fn a_constant_output_is_taken_out_of_the_window() {
        let mut constant = sieve(8, 2, 3);
        constant.family = Family::Sfc64;
        let tail = |n, m| binomial_tail(n, 1e-3, m);
        let some = |tails: [f64; 3]| 1.0 - tails.iter().map(|tail| 1.0 - tail).product::<f64>();
        // Output 1 is draw 1 under skip 0 and draw 0 under skip 1; draws of 7 do not match it.
        let p = survivor_probability(&constant);
        assert!(close(p, some([tail(7, 2), tail(7, 2), tail(8, 2)]), 1e-9));
        // Where it matches, one match is everybody's.
        constant.draws[0] = u32::try_from(SFC64_SECOND % 1000).unwrap();
        let p = survivor_probability(&constant);
        assert!(close(p, some([tail(7, 2), tail(7, 1), tail(8, 2)]), 1e-9));
        constant.advance = 2;
        let p = survivor_probability(&constant);
        assert!(close(p, some([tail(8, 2), tail(8, 2), tail(8, 2)]), 1e-9));
        // In reverse order the first draw stands last.
        constant.advance = 0;
        constant.direction = Direction::Reverse;
        let p = survivor_probability(&constant);
        assert!(close(p, some([tail(7, 2), tail(7, 2), tail(8, 2)]), 1e-9));
    }

    #[test]
    fn narrow_outputs_match_more_often_than_a_wide_modulus() {
        let mut narrow = sieve(1, 1, 1);
        narrow.family = Family::MsvcRand;
        narrow.modulus = 1 << 20;
        assert!(close(survivor_probability(&narrow), 1.0 / 32_768.0, 1e-9));
    }

    #[test]
    fn groups_are_told_of_when_the_range_has_them() {
        let mut minstd = sieve(8, 4, 3);
        minstd.family = Family::Minstd;
        assert!(notes(&minstd, 1 << 20).is_empty());
        assert!(notes(&minstd, 1 << 32)[0].contains("come in groups"));
        minstd.family = Family::Sfc64;
        assert!(notes(&minstd, 1)[0].contains("one constant"));
        minstd.advance = 5;
        assert!(notes(&minstd, 1).is_empty());
    }

    #[test]
    fn the_need_that_fits_is_the_smallest_one() {
        let loose = sieve(8, 1, 21);
        let fits = need_that_fits(&loose, 1 << 32, 1e7).unwrap();
        assert_eq!(fits, 2, "2.5 million with 2 matches (the table), 7e8 with 1");
        assert_eq!(need_that_fits(&loose, 1 << 64, 1.0), Some(8));
        let mut hopeless = sieve(1, 1, 21);
        assert_eq!(need_that_fits(&hopeless, 1 << 64, 1e7), None);
        hopeless.direction = Direction::Both;
        assert_eq!(need_that_fits(&hopeless, 1 << 64, 1e18), Some(1));
    }

    proptest! {
        #[test]
        fn a_witness_is_the_largest_that_is_common_enough(
            k in 1usize..60,
            share in 0.01f64..1.0,
            skips in 1u32..40,
            modulus in prop_oneof![2u32..20, 900u32..1100],
            bits in 0u32..65,
            direction in prop_oneof![
                Just(Direction::Forward), Just(Direction::Reverse), Just(Direction::Both)
            ],
        ) {
            let mut sieve = sieve(k, 1, skips);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let need = (share * k as f64).ceil() as u32;
            sieve.modulus = modulus;
            sieve.draws.fill(0);
            (sieve.need, sieve.reverse_need, sieve.direction) = (need, need, direction);
            let seeds = 1u128 << bits;
            let witness = witness_for(&sieve, seeds);
            sieve.validate_witness(witness).unwrap();
            let misses = |witness| expected(seeds, near_miss_probability(&sieve, witness));
            prop_assert!(witness.least == 1 || misses(witness) >= NEAR_MISSES);
            if witness.least < need {
                let next = Witness::new(witness.first - witness.least + need, need, witness.least + 1);
                prop_assert!(misses(next) < NEAR_MISSES);
            }
        }
    }
}
