//! The catalogue of families: what each is called, how wide its seed is, what it is.
//!
//! A family is a generator together with its seeding. The arithmetic lives in `kernels`; the
//! catalogue lives here, so that a producer refuses what no runner could run.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// What a family is, for people and for validation.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct About {
    /// The name on the command line, in survivor files and on the wire.
    pub name: &'static str,
    /// Seeds are `0 .. 2^seed_bits`.
    pub seed_bits: u32,
    /// How many bits one output has.
    pub output_bits: u32,
    /// Seeding, step and output in one line.
    pub definition: &'static str,
    /// Its period and what repeats.
    pub period: &'static str,
    /// Where the definition comes from.
    pub source: &'static str,
}

macro_rules! families {
    ($($(#[$doc:meta])* $variant:ident => $about:expr;)*) => {
        /// A generator with its seeding.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "&'static str")]
        pub enum Family { $($(#[$doc])* $variant,)* }

        impl Family {
            /// Every family, in the order of the catalogue.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// What it is.
            #[must_use]
            pub const fn about(self) -> &'static About {
                match self { $(Self::$variant => { const ABOUT: &About = &$about; ABOUT })* }
            }
        }
    };
}

families! {
    /// Marsaglia's 32-bit xorshift.
    Xorshift32 => About {
        name: "xorshift32", seed_bits: 32, output_bits: 32,
        definition: "s = seed; s^=s<<13, s^=s>>17, s^=s<<5; out s",
        period: "2^32-1; seed 0 is a fixed point",
        source: "Marsaglia, Xorshift RNGs, J. Stat. Soft. 8(14), 2003",
    };
    /// The fleet's 32-bit LCG, reduced modulo a prime.
    Lcg32 => About {
        name: "lcg32", seed_bits: 32, output_bits: 31,
        definition: "s = seed; s = (1103515245 s + 12345) mod (2^31-1); out s",
        period: "2^31-1 states for 2^32 seeds: survivors come in groups",
        source: "the fleet's existing sieve",
    };
    /// Java's LCG without its scramble.
    JavaLcg => About {
        name: "java_lcg", seed_bits: 48, output_bits: 32,
        definition: "s = seed; s = (25214903917 s + 11) mod 2^48; out bits 16..47",
        period: "2^48",
        source: "the fleet's existing sieve; constants of java.util.Random",
    };
    /// The second minimal standard generator.
    Minstd => About {
        name: "minstd", seed_bits: 32, output_bits: 31,
        definition: "s = seed mod (2^31-1), 0 becomes 1; s = 48271 s mod (2^31-1); out s",
        period: "2^31-2 states for 2^32 seeds: survivors come in groups",
        source: "Park, Miller and Stockmeyer, CACM 36(7), 1993; std::minstd_rand",
    };
    /// xorshift64 with the multiplication kept in the state.
    Xorshift64 => About {
        name: "xorshift64", seed_bits: 64, output_bits: 64,
        definition: "s = seed; s^=s>>12, s^=s<<25, s^=s>>27, s*=2545F4914F6CDD1D kept; out s",
        period: "not known; seed 0 is a fixed point",
        source: "the fleet's existing sieve (see xorshift64star for the published one)",
    };
    /// Marsaglia's xorshift with four words, seeded in the first.
    Xorshift128 => About {
        name: "xorshift128", seed_bits: 32, output_bits: 32,
        definition: "x = seed, y = 362436069, z = 521288629, w = 88675123; out w",
        period: "2^128-1",
        source: "Marsaglia, Xorshift RNGs, J. Stat. Soft. 8(14), 2003",
    };
    /// PCG XSH-RR 64/32 with the seed as its state.
    Pcg32 => About {
        name: "pcg32", seed_bits: 64, output_bits: 32,
        definition: "state = seed, increment 1442695040888963407; out XSH-RR of the old state",
        period: "2^64",
        source: "O'Neill, PCG, HMC-CS-2014-0905; pcg32_random_r",
    };
    /// xoshiro256++ with the seed in its first word.
    Xoshiro256pp => About {
        name: "xoshiro256pp", seed_bits: 64, output_bits: 64,
        definition: "s0 = seed, s1..s3 = 9E3779B97F4A7C15, 6A09E667F3BCC908, BB67AE8584CAA73B",
        period: "2^256-1",
        source: "Blackman and Vigna, xoshiro256plusplus.c; seeding of the fleet's existing sieve",
    };
    /// sfc64 with the seed in its first word.
    Sfc64 => About {
        name: "sfc64", seed_bits: 64, output_bits: 64,
        definition: "a = seed, b = 9E3779B97F4A7C15, c = 6A09E667F3BCC908, counter 1",
        period: "at least 2^64; its second output is one constant for all seeds",
        source: "Doty-Humphrey, PractRand sfc64; seeding of the fleet's existing sieve",
    };
    /// Philox 4x32-10, word 0 of each block.
    Philox4x32 => About {
        name: "philox4x32", seed_bits: 64, output_bits: 32,
        definition: "key = (lo, hi) of the seed; word 0 of block (p, 0, 0, 0), 10 rounds",
        period: "2^32 blocks",
        source: "Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC11; Random123",
    };
    /// The Mersenne twister, `init_genrand`.
    Mt19937 => About {
        name: "mt19937", seed_bits: 32, output_bits: 32,
        definition: "init_genrand(seed); genrand_int32",
        period: "2^19937-1",
        source: "Matsumoto and Nishimura, mt19937ar.c; std::mt19937",
    };
    /// `java.util.Random`, as Java programs use it.
    JavaRandom => About {
        name: "java_random", seed_bits: 48, output_bits: 31,
        definition: "new Random(seed).nextInt(modulus), its scramble and its rejection included",
        period: "2^48",
        source: "java.util.Random's specification (Java SE API)",
    };
    /// The first minimal standard generator.
    MinstdRand0 => About {
        name: "minstd_rand0", seed_bits: 32, output_bits: 31,
        definition: "s = seed mod (2^31-1), 0 becomes 1; s = 16807 s mod (2^31-1); out s",
        period: "2^31-2 states for 2^32 seeds: survivors come in groups",
        source: "Park and Miller, CACM 31(10), 1988; std::minstd_rand0",
    };
    /// The LCG of ANSI C's example and glibc's TYPE_0.
    AnsiC => About {
        name: "ansi_c", seed_bits: 32, output_bits: 31,
        definition: "s = seed; s = (1103515245 s + 12345) mod 2^31; out s",
        period: "2^31; seeds 2^31 apart are the same",
        source: "glibc random_r TYPE_0; the constants of ISO C's example rand()",
    };
    /// Microsoft C's `rand()`.
    MsvcRand => About {
        name: "msvc_rand", seed_bits: 32, output_bits: 15,
        definition: "s = seed; s = (214013 s + 2531011) mod 2^32; out bits 16..30",
        period: "2^32, outputs repeat with 2^31; seeds 2^31 apart are the same",
        source: "Microsoft C runtime's rand()",
    };
    /// glibc's `random()` and `rand()`.
    GlibcRandom => About {
        name: "glibc_random", seed_bits: 32, output_bits: 31,
        definition: "srandom(seed), seed 0 becomes 1; random(): r[i] = r[i-3] + r[i-31], out >> 1",
        period: "about 16 (2^31-1)",
        source: "glibc random_r TYPE_3",
    };
    /// PHP's `mt_rand()` since 7.1.
    PhpMtRand => About {
        name: "php_mt_rand", seed_bits: 32, output_bits: 31,
        definition: "mt_srand(seed); mt_rand(): mt19937 >> 1",
        period: "2^19937-1",
        source: "PHP 7.1 and later, ext/standard/mt_rand.c",
    };
    /// CPython's `random.seed(n)` and `getrandbits(32)`.
    PythonRandom => About {
        name: "python_random", seed_bits: 64, output_bits: 32,
        definition: "init_by_array(the integer's 32-bit words, low first); getrandbits(32)",
        period: "2^19937-1",
        source: "CPython Modules/_randommodule.c; mt19937ar.c",
    };
    /// The published xorshift64*.
    Xorshift64star => About {
        name: "xorshift64star", seed_bits: 64, output_bits: 64,
        definition: "s = seed; s^=s>>12, s^=s<<25, s^=s>>27; out s * 2545F4914F6CDD1D",
        period: "2^64-1; seed 0 is a fixed point",
        source: "Vigna, An experimental exploration of Marsaglia's xorshift, 2016",
    };
    /// PCG32 seeded the way its library does.
    Pcg32Srandom => About {
        name: "pcg32_srandom", seed_bits: 64, output_bits: 32,
        definition: "pcg32_srandom_r(seed, stream 54); pcg32_random_r",
        period: "2^64",
        source: "O'Neill, pcg-c-basic (pcg32-demo's stream)",
    };
    /// xoshiro256++ seeded through splitmix64.
    Xoshiro256ppSplitmix => About {
        name: "xoshiro256pp_splitmix", seed_bits: 64, output_bits: 64,
        definition: "s0..s3 = four outputs of splitmix64(seed)",
        period: "2^256-1",
        source: "Blackman and Vigna's recommended seeding; rand_xoshiro's seed_from_u64",
    };
    /// Philox 4x32-10, all four words of each block.
    Philox4x32Full => About {
        name: "philox4x32_full", seed_bits: 64, output_bits: 32,
        definition: "key = (lo, hi) of the seed; words 0..3 of block (p, 0, 0, 0), 10 rounds",
        period: "2^34 outputs",
        source: "Salmon et al., SC11; Random123",
    };
}

impl Family {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.about().name
    }

    /// The end of its seed range: 2^`seed_bits`.
    #[must_use]
    pub const fn seed_end(self) -> u128 {
        1 << self.about().seed_bits
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that no family has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no family is called '{name}'; did you mean '{nearest}'? (`producer families` lists all)")]
pub struct UnknownFamily {
    /// What was asked for.
    pub name: String,
    /// The catalogue's name nearest to it.
    pub nearest: &'static str,
}

impl FromStr for Family {
    type Err = UnknownFamily;

    fn from_str(name: &str) -> Result<Self, UnknownFamily> {
        Self::ALL.iter().copied().find(|family| family.name() == name).ok_or_else(|| {
            let likeness = |f: &Family| strsim::jaro_winkler(&name.to_lowercase(), f.name());
            let nearest = Self::ALL
                .iter()
                .copied()
                .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
                .unwrap_or(Self::Mt19937);
            UnknownFamily { name: name.chars().take(64).collect(), nearest: nearest.name() }
        })
    }
}

impl TryFrom<String> for Family {
    type Error = UnknownFamily;

    fn try_from(name: String) -> Result<Self, UnknownFamily> {
        name.parse()
    }
}

impl From<Family> for &'static str {
    fn from(family: Family) -> Self {
        family.name()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_families() {
        for family in Family::ALL {
            assert_eq!(family.name().parse::<Family>().as_ref(), Ok(family));
        }
    }

    #[test]
    fn a_misspelt_name_is_answered_with_the_nearest() {
        let nearest = |name: &str| name.parse::<Family>().unwrap_err().nearest;
        assert_eq!(nearest("mt19973"), "mt19937");
        assert_eq!(nearest("javarandom"), "java_random");
        assert_eq!(nearest("XORSHIFT32"), "xorshift32");
    }
}
