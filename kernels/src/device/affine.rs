//! Linear congruential generators make any number of steps in one: `s -> a s + c` again and again
//! is `s -> A s + C`.

use shared::families::Family;

/// A step of a family's state, as the device keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Affine {
    /// What the state is reduced by: 2^31 - 1, or 0 for 2^64. Smaller powers of two come by
    /// themselves.
    modulus: u128,
    step: Leap,
    /// Steps before the first output.
    first: u64,
}

/// A number of steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leap {
    /// What the state is multiplied by.
    pub(super) multiplier: u64,
    /// What is added then.
    pub(super) increment: u64,
}

impl Affine {
    /// The step of a family that is one.
    pub(super) const fn of(family: Family) -> Option<Self> {
        const PRIME: u128 = (1 << 31) - 1;
        let (modulus, multiplier, increment, first) = match family {
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
        Some(Self { modulus, step: Leap { multiplier, increment }, first })
    }

    /// From the state of output `from`, or of the seed for `None`, to that of output `to`, which
    /// lies behind it.
    pub(super) fn leap(&self, from: Option<u64>, to: u64) -> Leap {
        let steps = match from {
            Some(from) => to - from,
            None => to + self.first,
        };
        // By squaring: (a, c) twice is (a a, a c + c).
        let mut whole = Leap { multiplier: 1, increment: 0 };
        let mut power = self.step;
        for bit in 0..u64::BITS - steps.leading_zeros() {
            if steps >> bit & 1 == 1 {
                whole = self.after(power, whole);
            }
            power = self.after(power, power);
        }
        whole
    }

    /// `first`, then `second`.
    fn after(&self, second: Leap, first: Leap) -> Leap {
        let times = |x: u64| u128::from(second.multiplier) * u128::from(x);
        let increment = times(first.increment) % self.modulus + u128::from(second.increment);
        let reduce = |x: u128| (x % self.modulus) as u64;
        Leap { multiplier: reduce(times(first.multiplier)), increment: reduce(increment) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leap_is_its_steps() {
        for &family in Family::ALL {
            let Some(affine) = Affine::of(family) else { continue };
            let apply = |leap: Leap, s: u64| {
                let product = u128::from(s) * u128::from(leap.multiplier);
                ((product % affine.modulus + u128::from(leap.increment)) % affine.modulus) as u64
            };
            let mut state = 12_345;
            for _ in 0..affine.first {
                state = apply(affine.step, state);
            }
            for position in 0..70 {
                assert_eq!(apply(affine.leap(None, position), 12_345), state, "{family}");
                let from = affine.leap(None, position / 2);
                if position > position / 2 {
                    let on = affine.leap(Some(position / 2), position);
                    assert_eq!(apply(on, apply(from, 12_345)), state, "{family}");
                }
                state = apply(affine.step, state);
            }
        }
    }
}
