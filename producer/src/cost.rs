//! What a seed costs, in model operations, and how many of those a device does in a second.
//!
//! The unit is one operation on one 32-bit lane of a processor core's vector unit, as SIEVES.md
//! counts them in section 4. The figures need to be right only roughly and relative to each
//! other: the ledger learns what a device really does per family, and pieces that take longer
//! than planned finish short.

use shared::{
    families::Family,
    job::{Arch, Engine},
    sieve::{Direction, Mode, Sieve},
    statistics::Statistics,
    structure::{CLEARLY, Price},
    variable::{FIRST_EXPECTED, STRATEGIES},
};

use crate::chance::{binomial_tail, match_probability};

/// Reducing an output and holding it ready to compare: "9.5 ops per position" (section 4, AVX2).
const RESIDUE: f64 = 9.5;
/// What a 64-bit output costs beyond that: "64-bit outputs + 15" (section 4, AVX2).
const FOLD: f64 = 15.0;
/// One comparison: "1 per pair" (section 4, AVX2).
const PAIR: f64 = 1.0;
/// Getting a seed into its lane and its verdict out; of no weight but for the shortest sieves.
const LANE: f64 = 20.0;
/// What scalar code does in the time of one lane operation: a vector has 8 lanes of 32 bits.
const SCALAR: f64 = 8.0;
/// One 64-bit division in the reference engine, in lane operations (about 25 cycles).
const DIVISION: f64 = 200.0;
/// Laying an output out beside the others of its seed, for variable skips: the scan's 60,000 to
/// 90,000 seeds a second of a core for thirty draws (docs/variable.md), in the unit of the others.
const LAID_OUT: f64 = 350.0;
/// The same in the reference engine: 16,000 to 30,000 seeds a second.
const WALKED: f64 = 1200.0;
/// Beyond this many comparisons a seed, distinct positions are estimated, not counted.
const COUNTED: u64 = 1 << 16;

/// Model operations a second of one slot of `arch` before anything is learned; for `Cpu` of one
/// thread.
///
/// `Cpu`: the AVX2 prototypes of section 3.2 do 2.5e10 to 4e10 of the operations that are counted
/// here. `Cuda` and `Rocm`: half of section 4's ceilings for a 3080 Ti (5.3 G seeds/s) and an
/// RX 6600 (1.4 G), the share of the ceiling that section 5 calls a good target, for `java_lcg`'s
/// 4,700 operations at threshold .25.
#[must_use]
pub const fn default_operations_per_second(arch: Arch) -> f64 {
    match arch {
        Arch::Cpu => 3e10,
        Arch::Cuda => 1.2e13,
        Arch::Rocm => 3.3e12,
    }
}

/// Model operations that an engine spends on a range of seeds: so many for any range, and so many
/// for each seed of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// For any range.
    pub fixed: f64,
    /// For each seed.
    pub each: f64,
}

impl Cost {
    /// Of a sieve under an engine. `Auto` costs what `Scan` does: see [`chosen`].
    #[must_use]
    pub fn of(sieve: &Sieve, engine: Engine) -> Self {
        let by_seed = |each| Self { fixed: 0.0, each };
        match engine {
            Engine::Reference => by_seed(reference(sieve)),
            Engine::Structural => Price::of(sieve).map_or_else(
                || by_seed(scan(sieve)),
                |price| Self {
                    fixed: price.fixed_seconds * STRUCTURAL,
                    each: price.seconds_per_seed * STRUCTURAL,
                },
            ),
            _ => by_seed(scan(sieve)),
        }
    }

    /// Of a sieve under the engine that [`chosen`] leaves so many seeds to.
    #[must_use]
    pub fn of_chosen(sieve: &Sieve, seeds: f64) -> Self {
        Self::of(sieve, chosen(sieve, Engine::Auto, seeds))
    }

    /// Of so many seeds.
    #[must_use]
    pub fn seeds(&self, seeds: f64) -> f64 {
        self.fixed + self.each * seeds
    }

    /// How many seeds so many operations are enough for, at least as many as double the fixed
    /// cost: less is not worth it.
    #[must_use]
    pub fn seeds_for(&self, operations: f64) -> f64 {
        (operations - self.fixed).max(self.fixed) / self.each
    }
}

/// Of a correlation or an analysis: for each sample about 30 ns and 1 ns a lag on one core.
#[must_use]
pub fn of_statistics(statistics: &Statistics) -> Cost {
    #[expect(clippy::cast_precision_loss, reason = "at most a thousand lags")]
    let each = STATISTICS_SAMPLE + statistics.lags().len() as f64 * STATISTICS_LAG;
    Cost { fixed: 0.0, each: f64::from(statistics.samples()) * each }
}

/// What making and counting one sample costs, in lane operations.
const STATISTICS_SAMPLE: f64 = 900.0;
/// What one sample costs for one lag.
const STATISTICS_LAG: f64 = 30.0;

/// The engine that a range of so many seeds is left to: of `Auto` the structural one where it is
/// predicted to be clearly faster.
#[must_use]
pub fn chosen(sieve: &Sieve, engine: Engine, seeds: f64) -> Engine {
    if engine != Engine::Auto || Price::of(sieve).is_none() {
        return engine;
    }
    let of = |engine| Cost::of(sieve, engine).seeds(seeds);
    let is_clear = CLEARLY * of(Engine::Structural) < of(Engine::Scan);
    if is_clear { Engine::Structural } else { engine }
}

/// Model operations in a second of the structural engine's price: the default of one thread.
const STRUCTURAL: f64 = default_operations_per_second(Arch::Cpu);

/// What generating costs, in lane operations.
struct Generation {
    /// Once for a seed.
    seeding: f64,
    /// For each output up to the last that is looked at.
    output: f64,
    /// For each output that is looked at.
    used: f64,
}

/// `output` and `used` are fitted to the AVX2 column of section 3.2's table at threshold .25
/// (525 outputs, 215 of them looked at) with the constants above; the families it does not list
/// cost what their nearest relative does.
fn generation(family: Family, outputs: f64) -> Generation {
    // The twisters seed as many words as the outputs asked for reach: word p needs word p + 397.
    let words = (outputs + 397.0).min(624.0);
    let (seeding, output, used) = match family {
        Family::Xorshift32 => (0.0, 5.0, 0.0),
        Family::Xorshift128 => (0.0, 3.0, 0.0),
        Family::Lcg32 | Family::Minstd | Family::MinstdRand0 => (0.0, 6.0, 0.0),
        Family::AnsiC | Family::MsvcRand => (0.0, 3.0, 0.0),
        Family::JavaLcg => (0.0, 4.0, 0.0),
        // The scramble, the rejection's comparison, and lanes that wait for one that rejects.
        Family::JavaRandom => (5.0, 8.0, 0.0),
        Family::Pcg32 => (0.0, 12.0, 0.0),
        Family::Pcg32Srandom => (24.0, 12.0, 0.0),
        Family::Xorshift64 | Family::Xorshift64star => (0.0, 15.0, 0.0),
        Family::Xoshiro256pp | Family::Sfc64 => (0.0, 5.0, 0.0),
        // Four splitmix64 steps of two 64-bit products each.
        Family::Xoshiro256ppSplitmix => (140.0, 5.0, 0.0),
        // Ten rounds a block; a counter generator passes over outputs for nothing.
        Family::Philox4x32 => (0.0, 0.0, 85.0),
        Family::Philox4x32Full => (0.0, 21.0, 0.0),
        Family::Mt19937 | Family::PhpMtRand => (words * 10.0, 9.0, 0.0),
        // init_genrand, then two passes over all words, each dependent on the one before.
        Family::PythonRandom => (624.0 * 30.0, 9.0, 0.0),
        // 31 words modulo 2^31 - 1, then 310 outputs thrown away.
        Family::GlibcRandom => (31.0 * 12.0 + 310.0 * 3.0, 3.0, 0.0),
    };
    Generation { seeding, output, used }
}

/// Looking at the first draws of all seeds and at the whole window of those that pass, with the
/// stage that costs least: `least` matches among the first `k - need + least` draws are
/// necessary for a survivor, whichever `least` is chosen.
fn scan(sieve: &Sieve) -> f64 {
    if sieve.mode == Mode::Variable {
        return walks(sieve, LAID_OUT, PAIR);
    }
    let k = sieve.window();
    let p = match_probability(sieve);
    let whole = look(sieve, k);
    // A few more draws make a stage exact enough; beyond that it only grows.
    (1..=sieve.need.min(32))
        .map(|least| {
            let first = k - sieve.need + least;
            let none = 1.0 - binomial_tail(first, p, least);
            let passing = 1.0 - none.powf(f64::from(sieve.skips.count()));
            look(sieve, first) + 2.0 * passing * whole
        })
        .fold(f64::INFINITY, f64::min)
}

/// Comparing the first draws under every skip, in lanes.
fn look(sieve: &Sieve, first: u32) -> f64 {
    let outputs = last_output(sieve, first) + 1.0;
    let used = distinct_positions(sieve, first);
    let generation = generation(sieve.family, outputs);
    let fold = if sieve.family.about().output_bits > 32 { FOLD } else { 0.0 };
    LANE + generation.seeding
        + outputs * generation.output
        + used * (generation.used + RESIDUE + fold)
        + f64::from(first) * f64::from(sieve.skips.count()) * PAIR
}

/// The definition, one seed at a time: the whole stream, reduced by division, then every draw
/// under every skip looked up in it, once for near misses and once for each direction.
fn reference(sieve: &Sieve) -> f64 {
    if sieve.mode == Mode::Variable {
        return walks(sieve, WALKED, SCALAR);
    }
    let k = sieve.window();
    let outputs = last_output(sieve, k) + 1.0;
    let generation = generation(sieve.family, outputs);
    let pairs = f64::from(k) * f64::from(sieve.skips.count());
    let generated = generation.seeding + outputs * (generation.output + generation.used);
    SCALAR * (generated + 3.0 * pairs) + outputs * DIVISION + 100.0 * LANE
}

/// The walks of all strategies of variable skips over a random seed's outputs, each output and each
/// comparison of one at such a price.
///
/// A random seed's draws are mostly misses, which step over the gap that is expected at first and
/// the tolerance. A walk ends with its last miss in a row, or when it can't reach the need.
fn walks(sieve: &Sieve, output: f64, pair: f64) -> f64 {
    let directions = if sieve.direction == Direction::Both { 2.0 } else { 1.0 };
    let hopeless = f64::from(sieve.window() - sieve.need + 1);
    let mut furthest = 0.0;
    let mut looked_at = 0.0;
    for strategy in STRATEGIES {
        let (lo, hi) = strategy.gaps(FIRST_EXPECTED);
        let (width, step) = (f64::from(hi - lo + 1), f64::from(hi));
        let found = 1.0 - (1.0 - match_probability(sieve)).powf(width);
        // About so many draws until so many misses in a row.
        let ends = f64::from(strategy.max_misses) / (1.0 - found).max(0.02).powi(2);
        let draws = ends.min(hopeless / (1.0 - found).max(0.02)).min(f64::from(sieve.window()));
        furthest = f64::max(furthest, draws * step);
        looked_at += draws * width * directions;
    }
    let outputs = f64::from(sieve.advance) + furthest;
    let generation = generation(sieve.family, outputs);
    let fold = if sieve.family.about().output_bits > 32 { FOLD } else { 0.0 };
    LANE + generation.seeding
        + outputs * (generation.output + generation.used + RESIDUE + fold + output)
        + looked_at * pair
}

fn last_output(sieve: &Sieve, first: u32) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a position is at most 2^24")]
    let last = sieve.position(first - 1, sieve.skips.hi) as f64;
    last
}

/// How many outputs the first draws are compared with: skips share positions.
fn distinct_positions(sieve: &Sieve, first: u32) -> f64 {
    let pairs = u64::from(first) * u64::from(sieve.skips.count());
    let outputs = last_output(sieve, first) + 1.0;
    if pairs > COUNTED {
        #[expect(clippy::cast_precision_loss, reason = "at most 2^32 pairs")]
        let pairs = pairs as f64;
        // Pairs thrown at random on the outputs leave each empty with e^-(pairs / outputs).
        return outputs * -(-pairs / outputs).exp_m1();
    }
    let mut positions: Vec<u64> = sieve
        .skips
        .iter()
        .flat_map(|skip| (0..first).map(move |index| sieve.position(index, skip)))
        .collect();
    positions.sort_unstable();
    positions.dedup();
    #[expect(clippy::cast_precision_loss, reason = "at most 2^16 were counted")]
    let distinct = positions.len() as f64;
    distinct
}

#[cfg(test)]
mod tests {
    use shared::sieve::Skips;

    use super::*;

    fn sieve(family: Family, k: usize, need: u32, hi: u32, advance: u32) -> Sieve {
        Sieve {
            family,
            direction: Direction::Forward,
            mode: Mode::Fixed,
            modulus: 1000,
            draws: vec![7; k],
            advance,
            skips: Skips { lo: 0, hi },
            need,
            reverse_need: need,
        }
    }

    /// Million seeds a second of one thread, as predicted.
    fn predicted(sieve: &Sieve) -> f64 {
        default_operations_per_second(Arch::Cpu) / Cost::of(sieve, Engine::Scan).each / 1e6
    }

    /// Measured AVX2 rates of one core, M seeds/s (SIEVES.md section 3.2): k = 30 with skips 0 to
    /// 20 at threshold .25 and 1, and k = 8 with offset 43 and skips 0 to 16 at .25.
    #[test]
    fn predictions_are_within_a_factor_of_three_of_the_prototypes() {
        for (family, quarter, full, short) in [
            (Family::JavaLcg, 9.2, 109.0, 36.1),
            (Family::Xorshift32, 6.0, 70.0, 43.1),
            (Family::Lcg32, 6.7, 75.0, 26.7),
            (Family::Minstd, 6.8, 75.0, 26.7),
            (Family::Xorshift128, 8.1, 62.0, 28.9),
            (Family::Pcg32, 3.3, 25.0, 10.4),
            (Family::Xorshift64, 2.2, 16.0, 7.0),
            (Family::Xoshiro256pp, 3.6, 23.0, 11.4),
            (Family::Sfc64, 3.7, 26.0, 11.9),
            (Family::Philox4x32, 1.5, 7.9, 4.5),
            (Family::Mt19937, 1.8, 4.2, 2.9),
        ] {
            for (sieve, measured) in [
                (sieve(family, 30, 8, 20, 0), quarter),
                (sieve(family, 30, 30, 20, 0), full),
                (sieve(family, 8, 2, 16, 43), short),
            ] {
                let ratio = predicted(&sieve) / measured;
                assert!((1.0 / 3.0..3.0).contains(&ratio), "{family} {measured}: {ratio}");
            }
        }
        for (family, measured) in [(Family::Lcg32, 0.205), (Family::JavaLcg, 0.389)] {
            let ratio = predicted(&sieve(family, 512, 6, 20, 0)) / measured;
            assert!((1.0 / 3.0..3.0).contains(&ratio), "{family} k 512: {ratio}");
        }
    }

    /// All of 2^48 is a matter of a second where a seed at a time takes weeks; a few seeds are
    /// not worth the low sieve.
    #[test]
    fn the_structural_engine_is_chosen_where_it_is_faster() {
        let java = sieve(Family::JavaLcg, 30, 8, 20, 0);
        let all = 48_f64.exp2();
        assert_eq!(chosen(&java, Engine::Auto, all), Engine::Structural);
        assert_eq!(chosen(&java, Engine::Scan, all), Engine::Scan);
        assert_eq!(chosen(&java, Engine::Auto, 1000.0), Engine::Auto);
        let prime = sieve(Family::Lcg32, 30, 8, 20, 0);
        assert_eq!(chosen(&prime, Engine::Auto, 32_f64.exp2()), Engine::Structural);
        assert_eq!(chosen(&prime, Engine::Auto, 1e6), Engine::Auto);
        let long = sieve(Family::Lcg32, 30, 8, 2000, 0);
        assert_eq!(chosen(&long, Engine::Auto, 32_f64.exp2()), Engine::Auto);
        let other = sieve(Family::Xorshift32, 30, 8, 20, 0);
        assert_eq!(chosen(&other, Engine::Auto, all), Engine::Auto);
        let cost = Cost::of(&java, Engine::Structural);
        assert!(cost.seeds(all) < default_operations_per_second(Arch::Cpu));
        assert!(cost.seeds_for(1.0) > all, "halves cost as much as the whole");
    }

    /// Section 3.2: at threshold .25 a stage of 25 draws and 525 pairs looks at 215 positions.
    #[test]
    fn positions_are_counted_as_in_the_table() {
        let sieve = sieve(Family::JavaLcg, 30, 8, 20, 0);
        assert!((distinct_positions(&sieve, 25) - 215.0).abs() < 0.5);
        assert!((last_output(&sieve, 25) - 524.0).abs() < 0.5);
        assert!((distinct_positions(&sieve, 30) - 264.0).abs() < 0.5);
    }

    #[test]
    fn more_to_look_at_costs_more() {
        for &family in Family::ALL {
            let cost = |k, need, hi, advance| {
                Cost::of(&sieve(family, k, need, hi, advance), Engine::Scan).each
            };
            let base = cost(30, 15, 20, 0);
            assert!(base.is_finite() && base > 0.0);
            assert!(cost(30, 8, 20, 0) > base, "{family}: a lower need");
            assert!(cost(30, 30, 20, 0) < base, "{family}: a full match");
            assert!(cost(30, 15, 40, 0) > base, "{family}: more skips");
            assert!(cost(30, 15, 20, 99) >= base, "{family}: an advance");
            assert!(cost(1, 1, 0, 0) < base, "{family}: a single draw");
            let reference = sieve(family, 30, 15, 20, 0);
            assert!(Cost::of(&reference, Engine::Reference).each > base, "{family}");
        }
    }

    #[test]
    fn the_largest_sieves_are_estimated_not_counted() {
        let wide = sieve(Family::Mt19937, 256, 1, 65_535, 0);
        assert!(Cost::of(&wide, Engine::Scan).each.is_finite());
        let long = sieve(Family::Mt19937, 65_536, 65_536, 255, 0);
        assert!(Cost::of(&long, Engine::Reference).each.is_finite());
        assert!(Cost::of(&long, Engine::Scan).each.is_finite());
    }
}
