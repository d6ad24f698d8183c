//! Lanes: the same small integer arithmetic on `L` independent seeds at once.
//!
//! Plain arrays in a newtype. With `L = 1` this is ordinary scalar arithmetic, the definition;
//! with larger `L` the loops have a fixed length and compile to vector instructions when the
//! surrounding function is built for them. Everything wraps, as generators want.

use std::ops::{Add, BitAnd, BitOr, BitXor, Mul, Shl, Shr, Sub};

macro_rules! operator {
    ($Lanes:ident, $word:ty, $Op:ident, $op:ident, |$a:ident, $b:ident| $body:expr) => {
        impl<const L: usize> $Op for $Lanes<L> {
            type Output = Self;

            #[inline(always)]
            fn $op(self, other: Self) -> Self {
                self.zip(other, |$a, $b| $body)
            }
        }

        impl<const L: usize> $Op<$word> for $Lanes<L> {
            type Output = Self;

            #[inline(always)]
            fn $op(self, $b: $word) -> Self {
                self.map(|$a| $body)
            }
        }
    };
}

macro_rules! lanes {
    ($(#[$doc:meta])* $Lanes:ident, $word:ty) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(align(64))]
        pub struct $Lanes<const L: usize>(pub [$word; L]);

        impl<const L: usize> $Lanes<L> {
            /// `f` of every lane.
            #[inline(always)]
            #[must_use]
            pub fn map(self, f: impl Fn($word) -> $word) -> Self {
                let mut lanes = self.0;
                for lane in &mut lanes {
                    *lane = f(*lane);
                }
                Self(lanes)
            }

            /// `f` of every two lanes that stand beside each other.
            #[inline(always)]
            #[must_use]
            pub fn zip(self, other: Self, f: impl Fn($word, $word) -> $word) -> Self {
                let mut lanes = self.0;
                for (lane, other) in lanes.iter_mut().zip(other.0) {
                    *lane = f(*lane, other);
                }
                Self(lanes)
            }

            /// The same value in every lane.
            #[inline(always)]
            #[must_use]
            pub const fn splat(value: $word) -> Self {
                Self([value; L])
            }

            /// Rotates every lane to the left.
            #[inline(always)]
            #[must_use]
            pub fn rotate_left(self, bits: u32) -> Self {
                self.map(|lane| lane.rotate_left(bits))
            }

            /// Rotates every lane to the right.
            #[inline(always)]
            #[must_use]
            pub fn rotate_right(self, bits: u32) -> Self {
                self.map(|lane| lane.rotate_right(bits))
            }
        }

        impl<const L: usize> Shl<u32> for $Lanes<L> {
            type Output = Self;

            #[inline(always)]
            fn shl(self, bits: u32) -> Self {
                self.map(|lane| lane.wrapping_shl(bits))
            }
        }

        impl<const L: usize> Shr<u32> for $Lanes<L> {
            type Output = Self;

            #[inline(always)]
            fn shr(self, bits: u32) -> Self {
                self.map(|lane| lane.wrapping_shr(bits))
            }
        }

        operator!($Lanes, $word, Add, add, |a, b| a.wrapping_add(b));
        operator!($Lanes, $word, Sub, sub, |a, b| a.wrapping_sub(b));
        operator!($Lanes, $word, Mul, mul, |a, b| a.wrapping_mul(b));
        operator!($Lanes, $word, BitXor, bitxor, |a, b| a ^ b);
        operator!($Lanes, $word, BitAnd, bitand, |a, b| a & b);
        operator!($Lanes, $word, BitOr, bitor, |a, b| a | b);
    };
}

lanes! {
    /// `L` lanes of 32 bits.
    U32x, u32
}

lanes! {
    /// `L` lanes of 64 bits.
    U64x, u64
}

impl<const L: usize> U32x<L> {
    /// The lanes as 64-bit numbers.
    #[inline(always)]
    #[must_use]
    pub fn widen(self) -> U64x<L> {
        let mut wide = [0; L];
        for (wide, lane) in wide.iter_mut().zip(self.0) {
            *wide = u64::from(lane);
        }
        U64x(wide)
    }

    /// Rotates every lane to the right by the low five bits of the lane beside it.
    #[inline(always)]
    #[must_use]
    pub fn rotate_right_each(self, bits: Self) -> Self {
        self.zip(bits, |lane, bits| lane.rotate_right(bits & 31))
    }
}

impl<const L: usize> U64x<L> {
    /// The lower halves.
    #[inline(always)]
    #[must_use]
    pub fn low(self) -> U32x<L> {
        let mut low = [0; L];
        for (low, lane) in low.iter_mut().zip(self.0) {
            *low = lane as u32;
        }
        U32x(low)
    }

    /// The upper halves.
    #[inline(always)]
    #[must_use]
    pub fn high(self) -> U32x<L> {
        (self >> 32).low()
    }
}
