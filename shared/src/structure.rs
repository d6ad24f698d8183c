//! Which sieves have a structure that can be searched instead of seed by seed, and what that
//! costs.
//!
//! In a linear congruential generator modulo a power of two the low bits of the state depend on
//! the low bits of the seed alone, and all other bits on the rest of it linearly. The engine
//! `structural` of the runners searches by that (docs/structural.md); its cost hardly depends on
//! the number of seeds. It is stated here because the planner and the runners must agree on it.

use crate::{
    families::Family,
    sieve::Sieve,
};

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
            Family::JavaRandom => Self {
                scramble: 0x5_DEEC_E66D,
                rejects: true,
                ..lcg(0x5_DEEC_E66D, 11, 48, 17)
            },
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

/// Why a sieve has no structural search.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unsuited {
    /// Another kind of generator.
    #[error(
        "the structural engine has no search for {0}: it knows java_lcg, java_random, ansi_c and \
         msvc_rand; use --engine auto"
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
    /// A list of candidates.
    #[error("the structural engine searches ranges, not lists of candidates: use --engine auto")]
    Candidates,
}

/// The generator of a sieve that the structural engine can search.
///
/// # Errors
/// [`Unsuited`] says why it can't, and what to do.
pub fn suits(sieve: &Sieve) -> Result<PowerLcg, Unsuited> {
    let lcg = PowerLcg::of(sieve.family).ok_or(Unsuited::Family(sieve.family))?;
    if sieve.draws.len() > MAX_WINDOW {
        return Err(Unsuited::Window(sieve.draws.len()));
    }
    let most = 1 << (lcg.output_bits() - SPARE_BITS);
    let modulus = sieve.modulus;
    if modulus.is_power_of_two() || modulus.trailing_zeros() > MAX_TWOS || modulus > most {
        return Err(Unsuited::Modulus { modulus, most });
    }
    Ok(lcg)
}
