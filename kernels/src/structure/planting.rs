//! Seeds that are planted: each search must find one that it was not asked for.

use shared::{sieve::Sieve, witness::splitmix64};

/// Numbers by chance.
#[derive(Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    /// A number below `end`, above 0.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 = splitmix64(self.0);
        self.0 % end
    }
}

/// Draws in the order in which they are compared, with `need` of them in random places replaced by
/// those of a seed with these outputs under a skip.
pub(super) fn planted(
    sieve: &Sieve,
    (leading, need): (&[u32], usize),
    (outputs, skip): (&[u64], u32),
    random: &mut Random,
) -> Vec<u32> {
    let mut draws = leading.to_vec();
    let mut left: Vec<u32> = (0..sieve.window()).collect();
    for _ in 0..need {
        let index = left.swap_remove(random.below(left.len() as u64) as usize);
        let output = outputs[sieve.position(index, skip) as usize];
        draws[index as usize] = (output % u64::from(sieve.modulus)) as u32;
    }
    draws
}
