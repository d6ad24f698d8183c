//! A group of seeds, one to a lane: their streams are generated once for all skips.
//!
//! The stream is walked in tiles. A tile's outputs become keys (see [`crate::residue`]), which
//! stay in the cache while every skip picks out its own: under skip `s` draw `i` is compared with
//! position `(i + 1)(s + 1) - 1`, so each skip walks the tile with a fixed stride. How far each
//! skip came, and its count of matches, is kept between tiles; memory does not grow with the
//! window.

use shared::outcome::Best;

use super::{
    streams::{BLOCK, MORE, Streams},
    window::Window,
};
use crate::{
    generators::{Generator, Output},
    lanes::{U32x, U64x},
    residue::Modulus,
};

/// A tile has at least this many positions: with 32 lanes 32 KiB of keys.
const TILE: usize = 256;

/// The generator and the working memory of a group.
pub(super) struct Group<G, const L: usize> {
    /// Always there between calls; taken out into registers while one runs.
    generator: Option<G>,
    modulus: Modulus,
    keys: Vec<U32x<L>>,
    counts: Vec<U32x<L>>,
    cursors: Vec<Cursor>,
}

/// Where one skip continues.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    position: usize,
    draw: usize,
}

impl<G: Generator<L>, const L: usize> Group<G, L> {
    pub(super) fn new(modulus: Modulus) -> Self {
        Self { generator: None, modulus, keys: Vec::new(), counts: Vec::new(), cursors: Vec::new() }
    }

    /// Counts every skip's matches for `L` seeds, and returns a bit for each lane in which some
    /// skip has `window.least`.
    #[inline(always)]
    pub(super) fn count(&mut self, window: &Window, seeds: U64x<L>) -> u64 {
        let modulus = self.modulus;
        let mut generator = self.generator.take().unwrap_or_else(|| G::blank(&modulus));
        generator.seed(seeds);
        for _ in 0..window.advance {
            generator.pass();
        }

        let positions = window.positions();
        let tile = positions.min(TILE.max(window.skips.hi as usize + 1));
        self.keys.resize(tile, U32x::splat(0));
        self.counts.clear();
        self.counts.resize(window.skips.count() as usize, U32x::splat(0));
        self.cursors.clear();
        self.cursors
            .extend(window.skips.iter().map(|skip| Cursor { position: skip as usize, draw: 0 }));

        let mut most = U32x::splat(0);
        let mut from = 0;
        while from < positions {
            let end = positions.min(from + tile);
            for (position, keys) in (from..end).zip(&mut self.keys) {
                if window.wants(position) {
                    *keys = modulus.keys(generator.next().fold(&modulus));
                } else {
                    generator.pass();
                }
            }
            let keys = &self.keys[..end - from];
            for ((skip, counts), cursor) in
                window.skips.iter().zip(&mut self.counts).zip(&mut self.cursors)
            {
                // All in locals, so that the loop keeps them in registers.
                let (mut count, mut draw) = (*counts, cursor.draw);
                let mut place = cursor.position - from;
                while let (Some(keys), Some(target)) = (keys.get(place), window.targets.get(draw)) {
                    count = count + modulus.matches(*keys, *target);
                    place += skip as usize + 1;
                    draw += 1;
                }
                *cursor = Cursor { position: from + place, draw };
                *counts = count;
                most = most.zip(count, u32::max);
            }
            from = end;
        }
        self.generator = Some(generator);

        let mut mask = 0;
        for (lane, &most) in most.0.iter().enumerate() {
            mask |= u64::from(most >= window.least) << lane;
        }
        mask
    }

    /// What outputs are compared modulo.
    pub(super) const fn modulus(&self) -> &Modulus {
        &self.modulus
    }

    /// Begins the streams of `L` seeds, `advance` outputs passed over.
    pub(super) fn start(&mut self, advance: u32, seeds: U64x<L>) {
        let generator = self.generator.get_or_insert_with(|| G::blank(&self.modulus));
        generator.seed(seeds);
        for _ in 0..advance {
            generator.pass();
        }
    }

    /// Lays out some more of the streams.
    #[inline(always)]
    pub(super) fn more(&mut self, streams: &mut Streams) {
        let modulus = self.modulus;
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

    /// The best skip of one lane as last counted.
    pub(super) fn best(&self, window: &Window, lane: usize) -> Best {
        let mut best = Best { matches: 0, skip: window.skips.lo };
        for (skip, count) in window.skips.iter().zip(&self.counts) {
            if count.0[lane] > best.matches {
                best = Best { matches: count.0[lane], skip };
            }
        }
        best
    }
}
