//! The reference engine: the definition of a sieve, as plainly as it can be written.
//!
//! One seed at a time, the whole stream laid out, every skip and every draw looked up in it. All
//! other engines must agree with this one bit for bit.

use shared::{
    outcome::{Best, Survivor},
    sieve::{Mode, Orders, Sieve},
    witness::Witness,
};

use crate::{generators::stream, variable};

/// What a sieve says of one seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finding {
    /// Whether it is a near miss.
    pub near_miss: bool,
    /// Its result, if it survives.
    pub survivor: Option<Survivor>,
}

/// Puts a validated sieve to one seed.
#[must_use]
pub fn test(sieve: &Sieve, witness: Witness, seed: u64) -> Finding {
    if sieve.mode == Mode::Variable {
        variable::test(sieve, witness, seed)
    } else {
        fixed(sieve, witness, seed)
    }
}

fn fixed(sieve: &Sieve, witness: Witness, seed: u64) -> Finding {
    let count = sieve.last_position() as usize + 1;
    let stream: Vec<u32> = stream(sieve.family, sieve.modulus, seed, count)
        .into_iter()
        .map(|output| (output % u64::from(sieve.modulus)) as u32)
        .collect();
    let matches = |draws: &[u32], skip: u32| -> u32 {
        let matching = (0..)
            .zip(draws)
            .filter(|&(index, &draw)| stream[sieve.position(index, skip) as usize] == draw);
        matching.count() as u32
    };
    let best = |draws: &[u32]| -> Best {
        let mut best = Best { matches: 0, skip: sieve.skips.lo };
        for skip in sieve.skips.iter() {
            let matches = matches(draws, skip);
            if matches > best.matches {
                best = Best { matches, skip };
            }
        }
        best
    };

    let Orders { leading, reverse } = sieve.orders();
    let first = &leading[..witness.first as usize];
    let near_miss = sieve.skips.iter().any(|skip| matches(first, skip) >= witness.least);

    let best_leading = best(&leading);
    let reverse = reverse.map(|draws| best(&draws));
    let survives = best_leading.matches >= sieve.need
        && reverse.is_none_or(|reverse| reverse.matches >= sieve.reverse_need);
    Finding {
        near_miss,
        survivor: survives.then_some(Survivor { seed, best: best_leading, reverse }),
    }
}
