//! `numpy.random.MT19937(seed)`: the Mersenne twister, seeded through NumPy's `SeedSequence`.
//!
//! `SeedSequence` is O'Neill's `seed_seq` design (<https://www.pcg-random.org/posts/developing-a-seed_seq-alternative.html>)
//! with a pool of four words, as in NumPy's `numpy/random/bit_generator.pyx`.

use super::mersenne::{Twister, UPPER, WORDS, temper};
use crate::lanes::U32x;

const POOL: usize = 4;
const XSHIFT: u32 = 16;
const INIT_A: u32 = 0x43B0_D7E5;
const MULT_A: u32 = 0x931E_8875;
const INIT_B: u32 = 0x8B51_F9DD;
const MULT_B: u32 = 0x58F3_8DED;
const MIX_LEFT: u32 = 0xCA01_F9DD;
const MIX_RIGHT: u32 = 0x4973_F715;

/// Hashes words one after another with a multiplier that goes on from word to word.
struct Hash {
    constant: u32,
    multiplier: u32,
}

impl Hash {
    fn of(&mut self, value: u32) -> u32 {
        let value = value ^ self.constant;
        self.constant = self.constant.wrapping_mul(self.multiplier);
        let value = value.wrapping_mul(self.constant);
        value ^ (value >> XSHIFT)
    }
}

fn mix(left: u32, right: u32) -> u32 {
    let mixed = MIX_LEFT.wrapping_mul(left).wrapping_sub(MIX_RIGHT.wrapping_mul(right));
    mixed ^ (mixed >> XSHIFT)
}

/// `SeedSequence(seed)`'s pool.
fn pool(seed: u64) -> [u32; POOL] {
    // A number below 2^32 has one word of entropy; words that are not there hash as 0.
    let words = [seed as u32, (seed >> 32) as u32, 0, 0];
    let mut hash = Hash { constant: INIT_A, multiplier: MULT_A };
    let mut pool = words.map(|word| hash.of(word));
    for source in 0..POOL {
        for target in (0..POOL).filter(|&target| target != source) {
            pool[target] = mix(pool[target], hash.of(pool[source]));
        }
    }
    pool
}

/// `SeedSequence(seed).generate_state(..)`, word by word.
fn generate_state(seed: u64) -> impl Iterator<Item = u32> {
    let mut hash = Hash { constant: INIT_B, multiplier: MULT_B };
    pool(seed).into_iter().cycle().map(move |word| hash.of(word))
}

/// NumPy's generator of that name.
pub struct NumpyMt19937 {
    twister: Twister<1>,
    /// The last word of the key comes out before anything is twisted: NumPy seeds the generator
    /// as if that word were still to be used.
    first: Option<u32>,
}

impl NumpyMt19937 {
    /// `MT19937(seed)`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut key = Box::new([U32x([0]); WORDS]);
        for (word, state) in key.iter_mut().zip(generate_state(seed)) {
            *word = U32x([state]);
        }
        key[0] = U32x([UPPER]);
        let first = Some(temper(key[WORDS - 1]).0[0]);
        Self { twister: Twister::whole(key), first }
    }
}

impl Iterator for NumpyMt19937 {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        Some(self.first.take().unwrap_or_else(|| self.twister.next().0[0]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `SeedSequence(seed).generate_state(4)` and `MT19937(seed).random_raw(4)` of NumPy 2.4.6.
    const NUMPY: [(u64, [u32; 4], [u32; 4]); 6] = [
        (
            0,
            [2_968_811_710, 3_677_149_159, 745_650_761, 2_884_920_346],
            [2_058_676_884, 2_606_108_953, 1_230_491_694, 2_111_045_058],
        ),
        (
            1,
            [1_835_504_127, 1_731_038_949, 1_320_224_556, 2_330_041_505],
            [1_033_693_557, 3_869_576_402, 3_133_530_284, 467_933_012],
        ),
        (
            12_345,
            [2_688_385_916, 3_048_105_090, 4_196_366_895, 3_152_189_807],
            [1_622_936_285, 3_620_788_691, 1_426_156_273, 1_659_384_060],
        ),
        (
            u32::MAX as u64,
            [1_992_424_968, 705_021_410, 3_255_730_584, 540_206_095],
            [1_394_946_674, 3_557_703_980, 1_529_754_954, 548_678_305],
        ),
        (
            1 << 32,
            [3_964_924_996, 1_358_922_860, 3_894_904_162, 2_051_610_843],
            [3_525_255_378, 3_333_638_346, 2_607_778_258, 3_270_988_506],
        ),
        (
            u64::MAX,
            [2_458_692_877, 2_931_597_649, 2_251_873_402, 295_448_644],
            [1_425_729_566, 2_689_546_049, 2_101_147_785, 471_349_280],
        ),
    ];

    #[test]
    fn seeds_and_outputs_are_numpys() {
        for (seed, state, raw) in NUMPY {
            assert_eq!(generate_state(seed).take(4).collect::<Vec<_>>(), state, "seed {seed}");
            assert_eq!(NumpyMt19937::new(seed).take(4).collect::<Vec<_>>(), raw, "seed {seed}");
        }
    }

    /// NumPy's own test data, `numpy/random/tests/data/mt19937-testset-1.csv` and `-2.csv`: the
    /// first outputs and the last of 1000, which lie on both sides of a twist.
    #[test]
    fn published_streams_are_reproduced() {
        for (seed, first, last) in [
            (0xDEAD_BEAF, [0xC816_921F, 0xB362_3C6D, 0x5FA3_91BB, 0x0401_78D9], 0x68A1_9647),
            (0, [0x7AB4_EA94, 0x9B56_1119, 0x4957_D02E, 0x7DD3_FDC2], 0xAD8C_191B),
        ] {
            let stream: Vec<u32> = NumpyMt19937::new(seed).take(1000).collect();
            assert_eq!((&stream[..4], stream[999]), (&first[..], last), "seed {seed:#x}");
        }
    }
}
