//! The definition of variable skips, as plainly as it can be written: one strategy, one seed, one
//! draw at a time. All engines must agree with it, and the skips of survivors come from here.

use shared::{
    outcome::{Best, Sequences, Survivor},
    sieve::{Orders, Sieve},
    variable::{FIRST_EXPECTED, STRATEGIES, Strategy},
    witness::Witness,
};

use crate::{generators::stream, reference::Finding};

/// What a strategy came to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Walk {
    matches: u32,
    /// The skip before each draw, up to where it ended; of a draw that it missed the expected one.
    skips: Vec<u16>,
}

/// Puts a validated sieve with variable skips to one seed.
pub(crate) fn test(sieve: &Sieve, witness: Witness, seed: u64) -> Finding {
    let mut stream = Residues::new(sieve, seed);
    let Orders { leading, reverse } = sieve.orders();
    let strict = walk(STRATEGIES[0], &leading, sieve.advance, &mut stream);
    let best_leading = best(&leading, sieve.advance, &mut stream);
    let reverse = reverse.map(|draws| best(&draws, sieve.advance, &mut stream));
    let survives = best_leading.matches >= sieve.need
        && reverse.is_none_or(|reverse| reverse.matches >= sieve.reverse_need);
    Finding {
        near_miss: strict.matches >= witness.least,
        survivor: survives.then_some(Survivor { seed, best: best_leading, reverse }),
    }
}

/// The skips of a survivor's strategies.
#[must_use]
pub fn sequences(sieve: &Sieve, survivor: Survivor) -> Sequences {
    let mut stream = Residues::new(sieve, survivor.seed);
    let Orders { leading, reverse } = sieve.orders();
    let mut skips = |draws: &[u32], best: Best| {
        let strategy = STRATEGIES.get(best.skip as usize);
        strategy.map(|&strategy| walk(strategy, draws, sieve.advance, &mut stream).skips)
    };
    Sequences {
        leading: skips(&leading, survivor.best).unwrap_or_default(),
        reverse: reverse
            .zip(survivor.reverse)
            .and_then(|(draws, best)| skips(&draws, best))
            .unwrap_or_default(),
    }
}

/// The first strategy with the most matches, and how many.
fn best(draws: &[u32], advance: u32, stream: &mut Residues<'_>) -> Best {
    let mut best = Best { matches: 0, skip: 0 };
    for (id, strategy) in (0..).zip(STRATEGIES) {
        let matches = walk(strategy, draws, advance, stream).matches;
        if matches > best.matches {
            best = Best { matches, skip: id };
        }
    }
    best
}

fn walk(strategy: Strategy, draws: &[u32], advance: u32, stream: &mut Residues<'_>) -> Walk {
    let mut cursor = advance as usize;
    let mut expected = FIRST_EXPECTED;
    let mut misses = 0;
    let mut walk = Walk { matches: 0, skips: Vec::new() };
    for &draw in draws {
        let (lo, hi) = strategy.gaps(expected);
        if let Some(gap) = (lo..=hi).find(|&gap| stream.at(cursor + gap as usize) == draw) {
            walk.matches += 1;
            walk.skips.push(gap as u16);
            misses = 0;
            expected = gap;
            cursor += gap as usize + 1;
        } else {
            walk.skips.push(expected as u16);
            cursor += hi as usize;
            misses += 1;
            if misses >= strategy.max_misses {
                break;
            }
        }
    }
    walk
}

/// A seed's outputs modulo the modulus, as far as they were asked for.
struct Residues<'a> {
    sieve: &'a Sieve,
    seed: u64,
    laid_out: Vec<u32>,
}

impl<'a> Residues<'a> {
    const fn new(sieve: &'a Sieve, seed: u64) -> Self {
        Self { sieve, seed, laid_out: Vec::new() }
    }

    fn at(&mut self, position: usize) -> u32 {
        if position >= self.laid_out.len() {
            let Sieve { family, modulus, .. } = *self.sieve;
            let count = (position + 1).next_power_of_two().max(1024);
            self.laid_out = stream(family, modulus, self.seed, count)
                .into_iter()
                .map(|output| (output % u64::from(modulus)) as u32)
                .collect();
        }
        self.laid_out[position]
    }
}
