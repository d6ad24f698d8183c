//! Linear congruential generators as a device steps through them: from one output that is wanted to
//! the next in one leap.

use shared::families::Family;

use crate::affine::Affine;

/// A family's step, as the device keeps the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leaper {
    /// What the state is reduced by: 2^31 - 1, 2^32 or 2^64. Smaller powers of two come by
    /// themselves.
    modulus: u128,
    step: Affine,
    /// Steps before the first output.
    first: u64,
}

impl Leaper {
    /// The step of a family that is affine.
    pub(super) const fn of(family: Family) -> Option<Self> {
        const PRIME: u128 = (1 << 31) - 1;
        let (modulus, a, c, first) = match family {
            Family::Lcg32 => (PRIME, 1_103_515_245, 12_345, 1),
            Family::Minstd => (PRIME, 48_271, 0, 1),
            Family::MinstdRand0 => (PRIME, 16_807, 0, 1),
            Family::AnsiC => (1 << 32, 1_103_515_245, 12_345, 1),
            Family::MsvcRand => (1 << 32, 214_013, 2_531_011, 1),
            // Its 48 bits stand at the top of 64.
            Family::JavaLcg => (1 << 64, 0x5_DEEC_E66D, 11 << 16, 1),
            Family::Pcg32 => (1 << 64, 6_364_136_223_846_793_005, 1_442_695_040_888_963_407, 0),
            Family::Pcg32Srandom => (1 << 64, 6_364_136_223_846_793_005, 109, 0),
            _ => return None,
        };
        Some(Self { modulus, step: Affine { a, c }, first })
    }

    /// From the state of output `from`, or of the seed for `None`, to that of output `to`, which
    /// lies behind it.
    pub(super) fn leap(&self, from: Option<u64>, to: u64) -> Affine {
        let steps = match from {
            Some(from) => to - from,
            None => to + self.first,
        };
        self.step.times(steps, |map, next| map.then_modulo(next, self.modulus))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leap_is_its_steps() {
        for &family in Family::ALL {
            let Some(leaper) = Leaper::of(family) else { continue };
            let apply = |leap: Affine, s: u64| {
                let product = u128::from(s) * u128::from(leap.a);
                ((product % leaper.modulus + u128::from(leap.c)) % leaper.modulus) as u64
            };
            let mut state = 12_345;
            for _ in 0..leaper.first {
                state = apply(leaper.step, state);
            }
            for position in 0..70 {
                assert_eq!(apply(leaper.leap(None, position), 12_345), state, "{family}");
                let from = leaper.leap(None, position / 2);
                if position > position / 2 {
                    let on = leaper.leap(Some(position / 2), position);
                    assert_eq!(apply(on, apply(from, 12_345)), state, "{family}");
                }
                state = apply(leaper.step, state);
            }
        }
    }
}
