//! The processor as a tester: a block is shared between threads.

use std::{
    num::NonZeroUsize,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use shared::job::Engine;

use super::tester::Tester;
use crate::{
    device::Fault,
    engine::{Prepared, Tally},
    sequence::Sequence,
};

/// Operations, by the engine's rough count, that take about ten milliseconds on one thread; a
/// block of fewer is not worth a second thread.
const SMALL: f64 = 16e6;
/// A thread's part of a block is cut into this many pieces, so that none waits long for another.
const PIECES: usize = 8;
/// Pieces are multiples of this, so that groups of seeds stay full.
const FULL: u64 = 64;

/// An engine of the processor with the threads that it may use.
#[derive(Debug)]
pub struct Cpu {
    engine: Prepared,
    threads: NonZeroUsize,
}

impl Cpu {
    /// An engine on so many threads.
    #[must_use]
    pub const fn new(engine: Prepared, threads: NonZeroUsize) -> Self {
        Self { engine, threads }
    }

    fn share(&self, block: &Sequence<'_>, room: usize) -> Tally {
        let length = u64::try_from(block.len()).unwrap_or(u64::MAX);
        let pieces = (self.threads.get() * PIECES) as u64;
        let length = length.div_ceil(pieces).next_multiple_of(FULL);
        let pieces = cut(block, length);
        let tallies: Vec<Mutex<Tally>> = pieces.iter().map(|_| Mutex::default()).collect();
        let next = AtomicUsize::new(0);
        let work = || {
            loop {
                let turn = next.fetch_add(1, Ordering::Relaxed);
                let (Some(piece), Some(tally)) = (pieces.get(turn), tallies.get(turn)) else {
                    return;
                };
                let tested = self.engine.test(piece, room);
                *tally.lock().unwrap_or_else(PoisonError::into_inner) = tested;
            }
        };
        thread::scope(|scope| {
            for _ in 1..self.threads.get().min(pieces.len()) {
                scope.spawn(work);
            }
            work();
        });

        let mut whole = Tally::default();
        for (tally, turn) in tallies.into_iter().zip(0..) {
            let mut tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
            for found in &mut tally.found {
                found.index += turn * length;
            }
            whole.found.append(&mut tally.found);
            whole.near_misses.merge(tally.near_misses);
        }
        whole
    }
}

/// Pieces of `length` seeds, the last one shorter if need be.
fn cut<'a>(block: &Sequence<'a>, length: u64) -> Vec<Sequence<'a>> {
    let mut rest = Some(*block);
    std::iter::from_fn(|| {
        let (piece, after) = rest?.split_at(length);
        rest = after;
        Some(piece)
    })
    .collect()
}

impl Tester for Cpu {
    fn engine(&self) -> Engine {
        self.engine.engine()
    }

    fn first_block(&self) -> u64 {
        (SMALL / self.engine.work()).clamp(FULL as f64 / 2.0, 16_384.0) as u64
    }

    fn fixed_block(&self) -> Option<u64> {
        self.engine.block()
    }

    fn test(&mut self, block: &Sequence<'_>, room: usize) -> Result<Tally, Fault> {
        if let Some(tally) = self.engine.test_shared(block, self.threads) {
            return Ok(tally);
        }
        let operations = block.len() as f64 * self.engine.work();
        Ok(if self.threads.get() == 1 || operations < SMALL {
            self.engine.test(block, room)
        } else {
            self.share(block, room)
        })
    }
}
