//! Generators modulo a power of two, whose low bits run by themselves in a short cycle.
//!
//! The lowest visible bit, number `b` of the state, is a function of the position in a cycle of
//! 2^(b+1) states. Draws with a constant skip walk along that cycle with a constant stride. All
//! starts and all strides are tried, and so all seeds and all skips: for each stride the set of
//! starts is a row of bits, which each draw cuts down by a copy of the cycle, turned.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use shared::{
    families::Family,
    screen::{Finding, Verdict},
    structure::PowerLcg,
};

use super::{Draws, SPARE_BITS, too_few};

/// So many draws cut down the whole row; the few starts left then are followed one by one.
const DENSE: usize = 9;
/// Strides that a thread takes at a time.
const BATCH: u64 = 64;
/// More starts than this at the end can only be the same stream, which one stands for.
const NONE: u64 = u64::MAX;

/// The cycle of a generator's low bits.
struct Cycle {
    /// The lowest visible bit by position, twice around and a word more.
    bits: Vec<u64>,
    /// How many positions there are; at least 64, then several times around.
    length: usize,
}

impl Cycle {
    fn new(lcg: &PowerLcg) -> Self {
        let length = (1_usize << (lcg.low_bit + 1)).max(64);
        let mut bits = vec![0_u64; 2 * length / 64 + 1];
        let mut state = 0_u64;
        for position in 0..64 * bits.len() {
            bits[position / 64] |= (state >> lcg.low_bit & 1) << (position % 64);
            state = state.wrapping_mul(lcg.multiplier).wrapping_add(lcg.increment);
        }
        Self { bits, length }
    }

    fn bit(&self, position: usize) -> u32 {
        (self.bits[position / 64] >> (position % 64)) as u32 & 1
    }

    /// Leaves the starts whose bit `offset` further on is `wanted`.
    fn cut(&self, starts: &mut [u64], offset: usize, wanted: u32) {
        let (from, shift) = (offset / 64, offset % 64);
        let flip = if wanted == 1 { 0 } else { u64::MAX };
        let low = &self.bits[from..from + starts.len()];
        let high = &self.bits[from + 1..from + 1 + starts.len()];
        for ((starts, low), high) in starts.iter_mut().zip(low).zip(high) {
            // Two shifts, since a shift by 64 is none.
            *starts &= ((low >> shift) | ((high << 1) << (63 - shift))) ^ flip;
        }
    }

    /// The first of the starts whose lowest bits under this stride are all those of the draws, and
    /// that `more` accepts for the others: what it makes of it.
    fn find<T>(
        &self,
        stride: usize,
        draws: &[u32],
        starts: &mut [u64],
        more: impl Fn(usize) -> Option<T>,
    ) -> Option<T> {
        let mask = self.length - 1;
        starts.fill(u64::MAX);
        for (number, draw) in draws.iter().take(DENSE).enumerate() {
            self.cut(starts, (number * stride) & mask, draw & 1);
        }
        for (word, &left) in starts.iter().enumerate() {
            let mut left = left;
            while left != 0 {
                let start = 64 * word + left.trailing_zeros() as usize;
                left &= left - 1;
                let fits = |(number, draw): (usize, &u32)| {
                    self.bit((start + number * stride) & mask) == draw & 1
                };
                if draws.iter().enumerate().skip(DENSE).all(fits)
                    && let Some(found) = more(start)
                {
                    return Some(found);
                }
            }
        }
        None
    }
}

/// All visible bits by position.
struct Outputs {
    values: Vec<u8>,
    /// The bits that are looked at.
    visible: u8,
    /// The number of positions, less one.
    mask: usize,
}

impl Outputs {
    /// Of the lowest `bits` bits, at most 8.
    fn new(lcg: &PowerLcg, bits: u32) -> Self {
        let length = 1_usize << (lcg.low_bit + bits);
        let visible = ((1_u32 << bits) - 1) as u8;
        let mut state = 0_u64;
        let values = (0..length)
            .map(|_| {
                let value = (state >> lcg.low_bit) as u8 & visible;
                state = state.wrapping_mul(lcg.multiplier).wrapping_add(lcg.increment);
                value
            })
            .collect();
        Self { values, visible, mask: length - 1 }
    }

    /// The stride with which a start has all of the draws' visible bits, if what is known of both
    /// in a cycle of `length` can be completed to one.
    fn stride(&self, start: usize, stride: usize, length: usize, draws: &[u32]) -> Option<usize> {
        let whole = self.mask + 1;
        let step = length.min(whole);
        let starts = (start % step..whole).step_by(step);
        starts
            .flat_map(|start| (stride % step..whole).step_by(step).map(move |s| (start, s)))
            .find(|&(start, stride)| {
                draws.iter().enumerate().all(|(number, &draw)| {
                    self.values[(start + number * stride) & self.mask] == draw as u8 & self.visible
                })
            })
            .map(|(_, stride)| stride)
    }
}

/// Tries every start and every stride.
pub(super) fn test<E>(
    family: Family,
    lcg: &PowerLcg,
    draws: Draws<'_>,
    threads: usize,
    progress: &mut impl FnMut(f64) -> Result<(), E>,
) -> Result<Finding, E> {
    let needed = 2 * u64::from(lcg.low_bit + 1) + SPARE_BITS;
    let cycle_bits = lcg.low_bit + draws.bits.min(8);
    let finding = Finding {
        family,
        verdict: Verdict::Refuted,
        method: "low_bits".to_owned(),
        assumptions: format!(
            "every draw is an output, reduced, and a constant number of outputs lies between two, \
             whatever the number; any start{}",
            if lcg.rejects { "; no output was rejected on the way" } else { "" }
        ),
        detail: format!(
            "no start and no skip of any size make these draws: the lowest bits repeat after \
             2^{cycle_bits} outputs, and all ways along them were tried"
        ),
        draws_used: draws.values.len() as u64,
        draws_needed: needed,
        skip: None,
        skip_modulus: None,
        seconds: 0.0,
    };
    if (draws.values.len() as u64) < needed {
        return Ok(too_few(finding, draws.values.len()));
    }
    let cycle = Cycle::new(lcg);
    let outputs = Outputs::new(lcg, draws.bits.min(8));
    let Some(stride) = search(&cycle, &outputs, draws.values, threads, progress)? else {
        return Ok(finding);
    };
    let modulus = 1_u64 << cycle_bits;
    let skip = (stride as u64 + modulus - 1) % modulus;
    Ok(Finding {
        verdict: Verdict::Consistent,
        detail: format!(
            "the lowest {} bits of all draws are those of a start under a skip that is {skip} \
             modulo {modulus}",
            draws.bits.min(8)
        ),
        skip: Some(skip),
        skip_modulus: Some(modulus),
        ..finding
    })
}

/// The stride of a start that fits, if there is one.
fn search<E>(
    cycle: &Cycle,
    outputs: &Outputs,
    draws: &[u32],
    threads: usize,
    progress: &mut impl FnMut(f64) -> Result<(), E>,
) -> Result<Option<usize>, E> {
    let total = cycle.length as u64;
    let (next, found) = (AtomicU64::new(0), AtomicU64::new(NONE));
    let batch = |starts: &mut Vec<u64>| {
        let first = next.fetch_add(BATCH, Ordering::Relaxed);
        for stride in first..total.min(first.saturating_add(BATCH)) {
            let stride = stride as usize;
            let whole = |start| outputs.stride(start, stride, cycle.length, draws);
            if let Some(stride) = cycle.find(stride, draws, starts, whole) {
                found.fetch_min(stride as u64, Ordering::Relaxed);
                next.store(total, Ordering::Relaxed);
            }
        }
        first < total
    };
    let row = || vec![0_u64; cycle.length / 64];
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|| {
                let mut starts = row();
                while batch(&mut starts) {}
            });
        }
        let mut starts = row();
        while batch(&mut starts) {
            let done = next.load(Ordering::Relaxed).min(total);
            if let Err(error) = progress(done as f64 / total as f64) {
                next.store(total, Ordering::Relaxed);
                return Err(error);
            }
        }
        Ok(())
    })?;
    let found = found.into_inner();
    Ok((found != NONE).then_some(found as usize))
}
