//! From seeds to first states.

use shared::{spans::Span, structure::PowerLcg};

/// Part of a request in terms of first states, and what turns them into seeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) states: Span,
    /// A state xored with this is the seed.
    pub(super) flip: u64,
}

/// A range of seeds as ranges of first states.
///
/// Seeds past the state's width begin the states again. Xoring with the scramble turns the
/// aligned block of `2^n` seeds around a seed into another such block, and changes nothing at all
/// above its own highest bit; so each end of a range is widened to a block of at most twice its
/// length, and whoever looks for seeds drops what was not asked for.
pub(super) fn pieces(lcg: &PowerLcg, seeds: Span) -> Vec<Piece> {
    let mask = (1 << lcg.state_bits) - 1;
    let mut pieces = Vec::new();
    for above in seeds.first() >> lcg.state_bits..=seeds.last() >> lcg.state_bits {
        let base = above << lcg.state_bits;
        let whole = Span::new(base, base | mask).ok().and_then(|whole| whole.intersection(seeds));
        let Some(part) = whole else { continue };
        for block in blocks(part.first() & mask, part.last() & mask, lcg.scramble) {
            pieces.push(Piece { states: block, flip: lcg.scramble ^ base });
        }
    }
    pieces
}

/// Ranges of first states that hold those of the seeds from `first` to `last`, and little else.
fn blocks(first: u64, last: u64, scramble: u64) -> Vec<Span> {
    let span = |first: u64, last: u64| Span::new(first, last).into_iter();
    let width = 64 - scramble.leading_zeros();
    if scramble == 0 {
        return span(first, last).collect();
    }
    // Where the first and the last seed begin to differ.
    let split = 63 - ((first ^ last) | 1).leading_zeros();
    let block = |low: u64, high: u64, bits: u32| {
        let mask = (1 << bits) - 1;
        let (low, high) = (low & !mask, high | mask);
        // A block of one width is flipped as one; a run of blocks above the scramble stays.
        if low ^ high == mask {
            span((low ^ scramble) & !mask, (low ^ scramble) | mask)
        } else {
            span(low, high)
        }
    };
    if split < width {
        let middle = last >> split << split;
        if first == middle || first == last {
            return block(first, last, if first == last { 0 } else { split }).collect();
        }
        let around = |a: u64, b: u64| 64 - (a ^ b).leading_zeros();
        let head = block(first, middle - 1, around(first, middle - 1));
        return head.chain(block(middle, last, around(middle, last))).collect();
    }
    block(first, last, width).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared::families::Family;

    use super::*;

    proptest! {
        #[test]
        fn every_seed_of_a_range_has_its_state_in_one_piece(
            family in prop::sample::select(&[Family::JavaLcg, Family::JavaRandom, Family::AnsiC][..]),
            start in any::<u64>(),
            bits in 0_u32..40,
            length in any::<u64>(),
        ) {
            let lcg = PowerLcg::of(family).unwrap();
            let last = u64::try_from(family.seed_end() - 1).unwrap();
            let first = start & last;
            let end = first.saturating_add(length >> (64 - bits.max(1))).min(last);
            let seeds = Span::new(first, end).unwrap();
            let pieces = pieces(&lcg, seeds);
            let total: u128 = pieces.iter().map(|piece| piece.states.len()).sum();
            prop_assert!(total <= 2 * seeds.len() + (3 << 35));
            for at in [0, 1, 2, 3, 5, 8, 1000] {
                let seed = first + (end - first) / 1000 * at;
                let states = |piece: &&Piece| {
                    let state = seed ^ piece.flip;
                    state < 1 << lcg.state_bits && piece.states.contains(state)
                };
                prop_assert_eq!(pieces.iter().filter(states).count(), 1);
            }
        }
    }
}
