//! A group of seeds, one to a lane: their streams are generated once for all skips.
//!
//! The stream is walked in tiles. A tile's outputs become keys (see [`crate::residue`]), which
//! stay in the cache while every skip picks out its own: under skip `s` draw `i` is compared with
//! position `(i + 1)(s + 1) - 1`, so each skip walks the tile with a fixed stride. How far each
//! skip came, and its count of matches, is kept between tiles; memory does not grow with the
//! window.

use shared::outcome::Best;

use super::{
    matching::{Comb, Matching},
    streams::{BLOCK, MORE, Streams},
    window::Window,
};
use crate::{
    generators::{Generator, Output},
    lanes::{U32x, U64x},
    residue::Modulus,
};

/// A tile has at least this many positions: all that the first look at a usual window reaches. Keys
/// lie at the positions that some draw is compared with, which are less than half of them: with 32
/// lanes some 30 KiB.
const TILE: usize = 640;

/// The generator and the working memory of a group.
pub(super) struct Group<G, const L: usize> {
    /// Always there between calls; taken out into registers while one runs.
    generator: Option<G>,
    counter: Counter<L>,
}

/// The working memory of comparisons, whichever way outputs come.
pub(super) struct Counter<const L: usize> {
    modulus: Modulus,
    keys: Vec<U32x<L>>,
    counts: Vec<U32x<L>>,
    cursors: Vec<Cursor>,
}

/// Where the outputs of a group come from, tile by tile.
pub(super) trait Fill<const L: usize> {
    /// Writes the keys of the outputs from position `from` on that the window wants.
    ///
    /// # Safety
    /// The processor must have the instructions of `M`.
    #[expect(unsafe_code, reason = "code for an instruction set found at run time")]
    unsafe fn fill<M: Matching<L>>(&mut self, window: &Window, from: usize, keys: &mut [U32x<L>]);
}

/// Outputs one after the other.
struct Stream<G> {
    generator: G,
    modulus: Modulus,
}

impl<G: Generator<L>, const L: usize> Fill<L> for Stream<G> {
    #[expect(unsafe_code, reason = "code for an instruction set found at run time")]
    #[inline(always)]
    unsafe fn fill<M: Matching<L>>(&mut self, window: &Window, from: usize, keys: &mut [U32x<L>]) {
        for (position, keys) in (from..).zip(keys) {
            // Of a state of so few lanes compilers make scalars, unless it has to be in memory.
            let generator = &mut self.generator;
            let generator = if L <= 8 { std::hint::black_box(generator) } else { generator };
            if window.wants(position) {
                let outputs = generator.next().fold(&self.modulus);
                // SAFETY: the caller has the instructions.
                *keys = unsafe { M::keys(&self.modulus, outputs) };
            } else {
                generator.pass();
            }
        }
    }
}

/// Where one skip continues.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    position: usize,
    draw: usize,
}

impl<G: Generator<L>, const L: usize> Group<G, L> {
    pub(super) fn new(modulus: Modulus) -> Self {
        let counter =
            Counter { modulus, keys: Vec::new(), counts: Vec::new(), cursors: Vec::new() };
        Self { generator: None, counter }
    }

    /// Counts every skip's matches for `L` seeds, and returns a bit for each lane in which some
    /// skip has `window.least`.
    ///
    /// # Safety
    /// The processor must have the instructions of `M`.
    #[expect(unsafe_code, reason = "code for an instruction set found at run time")]
    #[inline(always)]
    pub(super) unsafe fn count<M: Matching<L>>(&mut self, window: &Window, seeds: U64x<L>) -> u64 {
        let modulus = self.counter.modulus;
        let mut generator = self.generator.take().unwrap_or_else(|| G::blank(&modulus));
        generator.seed(seeds);
        for _ in 0..window.advance {
            generator.pass();
        }
        let mut stream = Stream { generator, modulus };
        // SAFETY: the caller has the instructions.
        let mask = unsafe { self.counter.compare::<M>(window, &mut stream) };
        self.generator = Some(stream.generator);
        mask
    }

    /// What outputs are compared modulo.
    pub(super) const fn modulus(&self) -> &Modulus {
        &self.counter.modulus
    }

    /// Begins the streams of `L` seeds, `advance` outputs passed over.
    pub(super) fn start(&mut self, advance: u32, seeds: U64x<L>) {
        let generator = self.generator.get_or_insert_with(|| G::blank(&self.counter.modulus));
        generator.seed(seeds);
        for _ in 0..advance {
            generator.pass();
        }
    }

    /// Lays out some more of the streams.
    #[inline(always)]
    pub(super) fn more(&mut self, streams: &mut Streams) {
        let modulus = self.counter.modulus;
        let mut generator = self.generator.take().unwrap_or_else(|| G::blank(&modulus));
        let from = streams.extend();
        for block in (from..from + MORE).step_by(BLOCK) {
            let mut keys = [U32x::splat(0); BLOCK];
            for keys in &mut keys {
                *keys = modulus.keys(generator.next().fold(&modulus));
            }
            for lane in 0..L {
                let mut block_of_lane = [0; BLOCK];
                for (key, keys) in block_of_lane.iter_mut().zip(&keys) {
                    *key = keys.0[lane];
                }
                streams.write(lane, block, &block_of_lane);
            }
        }
        self.generator = Some(generator);
    }

    /// Where matches are counted.
    pub(super) const fn counter(&mut self) -> &mut Counter<L> {
        &mut self.counter
    }

    /// The best skip of one lane as last counted.
    pub(super) fn best(&self, window: &Window, lane: usize) -> Best {
        let mut best = Best { matches: 0, skip: window.skips.lo };
        for (skip, count) in window.skips.iter().zip(&self.counter.counts) {
            if count.0[lane] > best.matches {
                best = Best { matches: count.0[lane], skip };
            }
        }
        best
    }
}

impl<const L: usize> Counter<L> {
    /// Compares the outputs of `L` seeds; see [`Group::count`].
    ///
    /// # Safety
    /// The processor must have the instructions of `M`.
    #[expect(unsafe_code, reason = "code for an instruction set found at run time")]
    #[inline(always)]
    pub(super) unsafe fn compare<M: Matching<L>>(
        &mut self,
        window: &Window,
        outputs: &mut impl Fill<L>,
    ) -> u64 {
        let modulus = self.modulus;
        let positions = window.positions();
        let tile = positions.min(TILE.max(window.skips.hi as usize + 1));
        self.keys.resize(tile, U32x::splat(0));
        self.counts.clear();
        self.counts.resize(window.skips.count() as usize, U32x::splat(0));
        self.cursors.clear();
        self.cursors
            .extend(window.skips.iter().map(|skip| Cursor { position: skip as usize, draw: 0 }));

        let one = std::hint::black_box(1);
        let mut mask = 0;
        let mut from = 0;
        while from < positions {
            let end = positions.min(from + tile);
            // SAFETY: the caller has the instructions.
            unsafe { outputs.fill::<M>(window, from, &mut self.keys[..end - from]) };
            let mut most = U32x::splat(0);
            for ((skip, counts), cursor) in
                window.skips.iter().zip(&mut self.counts).zip(&mut self.cursors)
            {
                let comb = Comb {
                    keys: &self.keys[..end - from],
                    targets: &window.targets[cursor.draw..],
                    place: cursor.position - from,
                    stride: skip as usize + 1,
                    one,
                };
                // SAFETY: the caller has the instructions.
                let (count, draws) = unsafe { M::count(&modulus, comb, *counts) };
                cursor.draw += draws;
                cursor.position += draws * (skip as usize + 1);
                *counts = count;
                most = most.zip(count, u32::max);
            }
            // Counts only grow: what is reached in some tile stays so.
            // SAFETY: the caller has the instructions.
            mask |= unsafe { M::at_least(&most, window.least) };
            from = end;
        }
        mask
    }
}
