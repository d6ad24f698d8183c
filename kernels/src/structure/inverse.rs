//! Inverses modulo 2^32.

/// The inverse of an odd number modulo 2^32: Newton's iteration doubles the number of correct
/// bits, of which `odd` itself has three.
pub(super) const fn inverse(odd: u32) -> u32 {
    let mut inverse = odd;
    let mut round = 0;
    while round < 4 {
        inverse = inverse.wrapping_mul(2_u32.wrapping_sub(odd.wrapping_mul(inverse)));
        round += 1;
    }
    inverse
}
