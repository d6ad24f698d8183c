//! Affine maps of a generator's state: any number of steps of a linear congruential generator,
//! `s -> a s + c` again and again, is one such map.

/// `s -> a s + c`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Affine {
    /// What the state is multiplied by.
    pub(crate) a: u64,
    /// What is added then.
    pub(crate) c: u64,
}

impl Affine {
    /// This map, then `next`, modulo 2^64 and so modulo every smaller power of two.
    pub(crate) const fn then(self, next: Self) -> Self {
        Self { a: self.a.wrapping_mul(next.a), c: self.c.wrapping_mul(next.a).wrapping_add(next.c) }
    }

    /// This map, then `next`, modulo a number up to 2^64 that is above their coefficients.
    pub(crate) const fn then_modulo(self, next: Self, modulus: u128) -> Self {
        let (a, c) = (next.a as u128 * self.a as u128, next.a as u128 * self.c as u128);
        Self { a: (a % modulus) as u64, c: ((c % modulus + next.c as u128) % modulus) as u64 }
    }

    /// `count` times this map, by squaring; `then` is how two maps follow each other.
    pub(crate) fn times(self, count: u64, then: impl Fn(Self, Self) -> Self) -> Self {
        let mut whole = Self { a: 1, c: 0 };
        let mut power = self;
        for bit in 0..u64::BITS - count.leading_zeros() {
            if count >> bit & 1 == 1 {
                whole = then(whole, power);
            }
            power = then(power, power);
        }
        whole
    }
}
