//! The numbers that are looked at: streams as the existing analyses have them, hashed counters,
//! and their values below a range.

use shared::statistics::{Mapping, Prng, Source};

use crate::generators::{NumpyMt19937, stream};

/// What the counter of the hashed sequence starts from.
const COUNTER: u32 = 0x9E37_79B9;
/// The stride of the xorshift's counter.
const XORSHIFT_STRIDE: u32 = 0x7F4A_7C15;
/// The stride of the LCG's counter.
const LCG_STRIDE: u32 = 0x632B_E59B;

/// Marsaglia's step with the shifts 13, 17, 5.
fn xorshift(mut state: u32) -> u32 {
    state ^= state << 13;
    state ^= state >> 17;
    state ^ (state << 5)
}

/// Numerical Recipes' step.
fn lcg(state: u32) -> u32 {
    state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223)
}

fn steps(state: u32, step: fn(u32) -> u32) -> impl Iterator<Item = u32> {
    std::iter::successors(Some(step(state)), move |&state| Some(step(state)))
}

/// Where a generator of the correlations starts for a seed, and its outputs from there.
///
/// The twister is seeded twice: with the first output of the seed's own stream.
#[must_use]
pub fn outputs(prng: Prng, seed: u64, samples: u32) -> (u32, Vec<u32>) {
    let samples = samples as usize;
    match prng {
        Prng::Xorshift => {
            // The seed 0 never leaves 0.
            let state = (seed as u32).max(1);
            (state, steps(state, xorshift).take(samples).collect())
        }
        Prng::Lcg => (seed as u32, steps(seed as u32, lcg).take(samples).collect()),
        Prng::Mt => {
            let state = NumpyMt19937::new(seed).next().unwrap_or_default();
            (state, NumpyMt19937::new(u64::from(state)).take(samples).collect())
        }
        _ => unreachable!("a validated job asks for what this build knows"),
    }
}

/// One step from each value of a counter that is mixed with the seed.
fn hashed(prng: Prng, seed: u32, samples: u32) -> impl Iterator<Item = u32> {
    let (stride, step): (u32, fn(u32) -> u32) = match prng {
        Prng::Lcg => (LCG_STRIDE, lcg),
        _ => (XORSHIFT_STRIDE, xorshift),
    };
    (0..samples).map(move |i| step(seed ^ COUNTER.wrapping_add(i.wrapping_mul(stride))))
}

/// A seed's values, all below `range`.
#[must_use]
pub fn values(source: Source, samples: u32, mapping: Mapping, range: u32, seed: u64) -> Vec<u32> {
    let wide = u64::from(range);
    match (source, mapping) {
        (Source::Hashed(prng), Mapping::Mod) => {
            hashed(prng, seed as u32, samples).map(|output| output % range).collect()
        }
        (Source::Hashed(prng), Mapping::Scale) => {
            hashed(prng, seed as u32, samples).map(|output| single(output, range)).collect()
        }
        (Source::Stream(family), mapping) => {
            let bits = family.about().output_bits;
            let value = |output: u64| match mapping {
                Mapping::Mod => output % wide,
                Mapping::Scale => ((u128::from(output) * u128::from(range)) >> bits) as u64,
            };
            let outputs = stream(family, range, seed, samples as usize);
            outputs.into_iter().map(|output| value(output) as u32).collect()
        }
    }
}

/// An output's share of the range in single precision, as the existing analysis computes it.
/// Outputs near 2^32 are rounded up to it there, and would make the range itself.
fn single(output: u32, range: u32) -> u32 {
    let share = output as f32 * 2.0_f32.powi(-32);
    ((share * range as f32).floor() as u32).min(range - 1)
}

#[cfg(test)]
mod tests {
    use shared::families::Family;

    use super::*;

    #[test]
    fn scaling_never_returns_the_range() {
        // In single precision 2^32 - 128 and all above it are 2^32.
        for output in [u32::MAX, u32::MAX - 127] {
            assert_eq!(output as f32 * 2.0_f32.powi(-32) * 1000.0, 1000.0, "the fault is there");
            assert_eq!(single(output, 1000), 999);
        }
        assert_eq!(single(0, 1000), 0);
        assert_eq!(single(1 << 31, 1000), 500);
        for family in Family::ALL {
            for mapping in [Mapping::Mod, Mapping::Scale] {
                let values = values(Source::Stream(*family), 5000, mapping, 7, 99);
                assert!(values.iter().all(|&value| value < 7), "{family} {mapping:?}");
                assert!(values.contains(&6) && values.contains(&0), "{family} {mapping:?}");
            }
        }
    }

    #[test]
    fn a_familys_values_are_those_of_its_stream() {
        let stream = stream(Family::Pcg32, 1000, 5, 50);
        let values = values(Source::Stream(Family::Pcg32), 50, Mapping::Mod, 1000, 5);
        let expected: Vec<u32> = stream.iter().map(|output| (output % 1000) as u32).collect();
        assert_eq!(values, expected);
    }
}
