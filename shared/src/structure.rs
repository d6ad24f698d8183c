//! Which sieves have a structure that can be searched instead of seed by seed, and what that
//! costs.
//!
//! In a linear congruential generator modulo a power of two the low bits of the state depend on
//! the low bits of the seed alone, and all other bits on the rest of it linearly. Modulo a prime
//! there are no such bits, but few states match one draw. The engine `structural` of the runners
//! searches by that (docs/structural.md); its cost hardly depends on the number of seeds. It is
//! stated here because the planner and the runners must agree on it.

use crate::{
    families::Family,
    sieve::{Direction, Mode, Sieve},
};

/// By how many times the structural engine must be predicted to be faster where nobody asks for it:
/// predictions of either engine may be off by a good part of that.
pub const CLEARLY: f64 = 2.0;
/// The longest window, in draws: matches are counted in bytes.
pub const MAX_WINDOW: usize = 255;
/// The largest power of two that may divide the modulus, as an exponent.
const MAX_TWOS: u32 = 6;
/// The modulus must leave so many bits of an output, so that a match is a range of some length.
const SPARE_BITS: u32 = 5;

/// A generator `s = multiplier s + increment` modulo `2^state_bits` whose output is all bits of
/// the state from `low_bit` on. The seed, xored with `scramble`, is the first state; bits of the
/// seed past the state's width change nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PowerLcg {
    /// The multiplier, 1 modulo 4: with an odd increment the period is the modulus (Hull and
    /// Dobell, SIAM Review 4, 1962).
    pub multiplier: u64,
    /// The increment, odd.
    pub increment: u64,
    /// The state's width.
    pub state_bits: u32,
    /// The lowest bit that comes out.
    pub low_bit: u32,
    /// What seeds are xored with.
    pub scramble: u64,
    /// Whether an output past the last multiple of the modulus is thrown away and drawn again.
    pub rejects: bool,
}

impl PowerLcg {
    /// The generator of a family, if it is one of these.
    #[must_use]
    pub fn of(family: Family) -> Option<Self> {
        let lcg = |multiplier, increment, state_bits, low_bit| Self {
            multiplier,
            increment,
            state_bits,
            low_bit,
            scramble: 0,
            rejects: false,
        };
        Some(match family {
            Family::JavaLcg => lcg(0x5_DEEC_E66D, 11, 48, 16),
            Family::JavaRandom => {
                Self { scramble: 0x5_DEEC_E66D, rejects: true, ..lcg(0x5_DEEC_E66D, 11, 48, 17) }
            }
            // The upper bit of 32 reaches no output.
            Family::AnsiC => lcg(1_103_515_245, 12_345, 31, 0),
            Family::MsvcRand => lcg(214_013, 2_531_011, 31, 16),
            _ => return None,
        })
    }

    /// How wide an output is.
    #[must_use]
    pub const fn output_bits(&self) -> u32 {
        self.state_bits - self.low_bit
    }
}

/// A generator `s = multiplier s + increment` modulo the prime `2^31 - 1` whose output is its
/// state. The first state is the seed modulo the prime; where nothing is added, 0 becomes 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PrimeLcg {
    /// The multiplier, above 0.
    pub multiplier: u32,
    /// The increment.
    pub increment: u32,
}

impl PrimeLcg {
    /// The modulus: 2^31 - 1.
    pub const PRIME: u32 = (1 << 31) - 1;

    /// The generator of a family, if it is one of these.
    #[must_use]
    pub const fn of(family: Family) -> Option<Self> {
        let (multiplier, increment) = match family {
            Family::Lcg32 => (1_103_515_245, 12_345),
            Family::Minstd => (48_271, 0),
            Family::MinstdRand0 => (16_807, 0),
            _ => return None,
        };
        Some(Self { multiplier, increment })
    }
}

/// A generator with a structure to search by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lcg {
    /// Modulo a power of two: by classes and lattices.
    Power(PowerLcg),
    /// Modulo a prime: from the states that match one draw.
    Prime(PrimeLcg),
}

/// Why a sieve has no structural search.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unsuited {
    /// Another kind of generator.
    #[error(
        "the structural engine has no search for {0}: it knows java_lcg, java_random, ansi_c, \
         msvc_rand, lcg32, minstd and minstd_rand0; use --engine auto"
    )]
    Family(Family),
    /// Too many draws.
    #[error(
        "the structural engine takes windows of at most {MAX_WINDOW} draws, and this one has {0}: \
         use a shorter --window, or --engine auto"
    )]
    Window(usize),
    /// A modulus of which too little is left.
    #[error(
        "the structural engine takes moduli up to {most} that have an odd factor above 1 and are \
         no multiple of 128, and this one is {modulus}: use --engine auto"
    )]
    Modulus {
        /// The modulus.
        modulus: u32,
        /// The largest for this family.
        most: u32,
    },
    /// Variable skips.
    #[error("the structural engine searches fixed skips alone: use --mode fixed or --engine auto")]
    Variable,
    /// A search that would neither report nor stop for too long.
    #[error(
        "the structural engine would take about {0} s to search this sieve, without a stop, and \
         at most {LONGEST} s are allowed: ask for fewer skips or more matches, or use --engine auto"
    )]
    Long(u64),
    /// A list of candidates.
    #[error("the structural engine searches ranges, not lists of candidates: use --engine auto")]
    Candidates,
}

/// The generator of a sieve that the structural engine can search.
///
/// # Errors
/// [`Unsuited`] says why it can't, and what to do.
pub fn suits(sieve: &Sieve) -> Result<Lcg, Unsuited> {
    let lcg = match (PowerLcg::of(sieve.family), PrimeLcg::of(sieve.family)) {
        (Some(lcg), _) => Lcg::Power(lcg),
        (None, Some(lcg)) => Lcg::Prime(lcg),
        (None, None) => return Err(Unsuited::Family(sieve.family)),
    };
    if sieve.mode == Mode::Variable {
        return Err(Unsuited::Variable);
    }
    if sieve.draws.len() > MAX_WINDOW {
        return Err(Unsuited::Window(sieve.draws.len()));
    }
    if let Lcg::Power(lcg) = lcg {
        let most = 1 << (lcg.output_bits() - SPARE_BITS);
        let modulus = sieve.modulus;
        if modulus.is_power_of_two() || modulus.trailing_zeros() > MAX_TWOS || modulus > most {
            return Err(Unsuited::Modulus { modulus, most });
        }
    } else {
        let seconds = Price::of_prime(sieve).fixed_seconds;
        if seconds > LONGEST {
            return Err(Unsuited::Long(seconds.ceil() as u64));
        }
    }
    Ok(lcg)
}

/// How many further draws a state that matches one must match at once to be looked at closely,
/// where `need` are to match in all, and among how many behind draw `pivot` of `window`: a
/// survivor that matches none before the pivot has them there.
#[must_use]
pub const fn followers(window: u32, need: u32, pivot: u32) -> (u32, u32) {
    let least = if need > 2 { 2 } else { need - 1 };
    (least, if least == 0 { 0 } else { window - need - pivot + least })
}

/// What a search costs, in seconds of one thread of the processor that SIEVES.md was measured on,
/// and what it finds. Right within a small factor; decides nothing but engines and lengths.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Price {
    /// For any range: the low sieve, and the sets of the classes that it keeps; or the states
    /// that match a draw.
    pub fixed_seconds: f64,
    /// For each seed of it: points to look at, survivors to count again, rejections to list.
    pub seconds_per_seed: f64,
    /// How many seeds of it are found in one direction, the stricter one of two.
    pub found_per_seed: f64,
}

impl Price {
    /// The price of a sieve that is suited; `None` of another.
    #[must_use]
    pub fn of(sieve: &Sieve) -> Option<Self> {
        let lcg = suits(sieve).ok()?;
        Some(match lcg {
            Lcg::Power(lcg) => Self::of_power(sieve, &lcg),
            Lcg::Prime(_) => Self::of_prime(sieve),
        })
    }

    fn of_prime(sieve: &Sieve) -> Self {
        let (need, hit) = stricter(sieve);
        let (k, skips) = (sieve.window(), f64::from(sieve.skips.count()));
        let matching = f64::from(sieve.modulus).recip();
        let states = f64::from(PrimeLcg::PRIME) * matching + 1.0;
        let each = |pivot: u32| {
            let (least, among) = followers(k, need, pivot);
            let passing: f64 = (0..least).map(|n| binomial(among, matching, n)).sum();
            VALUE + f64::from(among) * TEST + (1.0 - passing).max(0.0) * f64::from(k) * RECOUNT
        };
        let fixed = skips * states * (0..=k - need).map(each).sum::<f64>();
        let found = skips * hit;
        Self {
            fixed_seconds: SETUP + fixed,
            // Ranges end where enough is found, and each of them costs the whole.
            seconds_per_seed: (found * (fixed / BLOCK_SURVIVORS + counted(sieve)))
                .max(f64::MIN_POSITIVE),
            found_per_seed: found,
        }
    }

    fn of_power(sieve: &Sieve, lcg: &PowerLcg) -> Self {
        let (need, hit) = stricter(sieve);
        let (k, skips) = (sieve.window(), f64::from(sieve.skips.count()));
        let twos = sieve.modulus.trailing_zeros();
        let classes = f64::from(lcg.low_bit + twos).exp2();
        let rests = f64::from(lcg.state_bits - lcg.low_bit - twos).exp2();
        let odd = f64::from(sieve.modulus >> twos);
        let low = f64::from(twos).exp2().recip();
        let size = need.min(4);
        let points = rests / odd.powi(size.cast_signed());
        let mut kept = 0.0;
        let mut sets = 0.0;
        for n in need..=k {
            let share = binomial(k, low, n);
            kept += share;
            sets += share * sets_of(n, need, size);
        }
        let sieved = classes * f64::from(k) * SIEVE;
        let searched = classes * (kept * CLASS + sets * SET);
        let walked = classes * sets * points * POINT / (classes * rests);
        let counted = counted(sieve);
        let rejected = if lcg.rejects {
            let all = f64::from(lcg.output_bits()).exp2();
            outputs(sieve) * (all % f64::from(sieve.modulus)) / all
        } else {
            0.0
        };
        Self {
            fixed_seconds: SETUP + skips * (sieved + searched),
            seconds_per_seed: skips * (walked + hit * counted) + rejected * counted / 16.0,
            found_per_seed: skips * hit,
        }
    }

    /// What a range of so many seeds costs.
    #[must_use]
    pub fn seconds(&self, seeds: f64) -> f64 {
        self.fixed_seconds + seeds * self.seconds_per_seed
    }
}

/// The most survivors, by chance, and the most seeds to look at for them, in a range that is
/// searched at once.
pub const BLOCK_SURVIVORS: f64 = 10_000.0;

/// The most seconds of one thread that a search modulo a prime, which is done whole, may take.
const LONGEST: f64 = 10.0;

/// How many matches are needed in the stricter direction, and with what probability a seed has
/// them under one skip.
fn stricter(sieve: &Sieve) -> (u32, f64) {
    let need = match sieve.direction {
        Direction::Both => sieve.need.max(sieve.reverse_need),
        Direction::Forward | Direction::Reverse => sieve.need,
    };
    let matching = f64::from(sieve.modulus).recip();
    (need, (need..=sieve.window()).map(|n| binomial(sieve.window(), matching, n)).sum())
}

/// How many outputs of a seed are looked at or passed over.
fn outputs(sieve: &Sieve) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a position is at most 2^24")]
    let last = sieve.last_position() as f64;
    last + 1.0
}

/// Seconds to count a seed's matches again by the definition.
fn counted(sieve: &Sieve) -> f64 {
    (outputs(sieve) + f64::from(sieve.window()) * f64::from(sieve.skips.count())) * COUNT
}

/// Seconds modulo a prime: for a state that matches a draw, for another draw that it is tested
/// against, and for a draw of one that is looked at closely.
const VALUE: f64 = 1e-9;
const TEST: f64 = 1.6e-10;
const RECOUNT: f64 = 5e-9;

/// Seconds, from the engine's profile at threshold .25 and at k = 8: to lay out the classes'
/// cycle, for one draw of one class in the low sieve, for a class that is kept, for a set with its
/// share of a lattice, for a point, and for an output or comparison of a seed that is found.
const SETUP: f64 = 3e-3;
const SIEVE: f64 = 5e-11;
const CLASS: f64 = 1e-7;
const SET: f64 = 2e-7;
const POINT: f64 = 5e-10;
const COUNT: f64 = 5e-9;

/// The probability of `n` successes of `k`, at most [`MAX_WINDOW`].
fn binomial(k: u32, p: f64, n: u32) -> f64 {
    if p >= 1.0 {
        return f64::from(u8::from(n == k));
    }
    let ways: f64 = (0..n).map(|i| f64::from(k - i) / f64::from(i + 1)).product();
    ways * p.powi(n.cast_signed()) * (1.0 - p).powi((k - n).cast_signed())
}

/// About how many sets of `size` it takes so that every `m` of `n` positions contain one: twice
/// de Caen's bound (Ars Combinatoria 16, 1983), which covers of these sizes stay below.
fn sets_of(n: u32, m: u32, size: u32) -> f64 {
    if n == m {
        return 1.0;
    }
    let choose =
        |n: u32| -> f64 { (0..size).map(|i| f64::from(n - i) / f64::from(i + 1)).product() };
    let fewer: f64 = (0..size - 1).map(|i| f64::from(m - 1 - i) / f64::from(i + 1)).product();
    2.0 * f64::from(n - m + 1) / f64::from(n - size + 1) * choose(n) / fewer.max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sieve::{Mode, Skips};

    fn sieve(family: Family, k: usize, need: u32, hi: u32) -> Sieve {
        Sieve {
            family,
            direction: Direction::Forward,
            mode: Mode::Fixed,
            modulus: 1000,
            draws: vec![7; k],
            advance: 0,
            skips: Skips { lo: 0, hi },
            need,
            reverse_need: need,
        }
    }

    /// SIEVES.md section 3.3b, measured over all 2^48 seeds on one core.
    #[test]
    fn prices_are_within_a_factor_of_four_of_the_table() {
        for (k, need, hi, measured) in [
            (30, 8, 20, 0.12),
            (30, 10, 20, 0.021),
            (30, 6, 20, 0.93),
            (30, 8, 240, 1.31),
            (50, 13, 20, 0.057),
            (50, 8, 20, 2.6),
        ] {
            let price = Price::of(&sieve(Family::JavaLcg, k, need, hi)).unwrap();
            let ratio = price.seconds(48_f64.exp2()) / measured;
            assert!((0.25..4.0).contains(&ratio), "k {k}, need {need}: {ratio}");
        }
    }

    /// docs/structural.md, over all 2^32 seeds.
    #[test]
    fn prices_modulo_a_prime_are_within_a_factor_of_four_of_the_table() {
        for (k, need, hi, measured) in [(30, 8, 20, 2.0), (30, 10, 20, 2.0), (8, 4, 16, 0.15)] {
            let price = Price::of(&sieve(Family::Lcg32, k, need, hi)).unwrap();
            let ratio = price.seconds(32_f64.exp2()) / measured;
            assert!((0.25..4.0).contains(&ratio), "k {k}, need {need}: {ratio}");
        }
    }

    #[test]
    fn what_has_no_structure_has_no_price() {
        let mut odd = sieve(Family::JavaLcg, 30, 8, 20);
        for modulus in [1024, 128 * 3, 1 << 27 | 1] {
            odd.modulus = modulus;
            let why = suits(&odd).unwrap_err();
            assert!(why.to_string().contains(&modulus.to_string()), "{why}");
            assert_eq!(Price::of(&odd), None);
        }
        assert!(suits(&sieve(Family::Lcg32, 30, 8, 20)).is_ok());
        let long = suits(&sieve(Family::Minstd, 30, 8, 2000)).unwrap_err();
        assert!(matches!(long, Unsuited::Long(_)), "{long}");
        let other = suits(&sieve(Family::Mt19937, 30, 8, 20)).unwrap_err();
        assert!(other.to_string().contains("mt19937"));
        assert_eq!(suits(&sieve(Family::JavaLcg, 256, 8, 0)), Err(Unsuited::Window(256)));
    }
}
