//! The outputs of a group of seeds as keys, each seed's behind each other: what a walk looks at.

/// Keys are laid out in blocks of so many, and looked at so many at a time.
pub(super) const BLOCK: usize = 16;
/// So many more are laid out at a time.
pub(super) const MORE: usize = 8 * BLOCK;

/// The streams of a group, as far as they are laid out.
#[derive(Debug)]
pub(super) struct Streams {
    lanes: usize,
    /// How many of each are laid out, a multiple of [`BLOCK`].
    length: usize,
    /// How many there is room for.
    room: usize,
    keys: Vec<u32>,
}

impl Streams {
    pub(super) const fn new(lanes: usize) -> Self {
        Self { lanes, length: 0, room: 0, keys: Vec::new() }
    }

    /// Forgets everything: other seeds follow.
    pub(super) const fn clear(&mut self) {
        self.length = 0;
    }

    /// What is laid out of one lane's stream.
    #[inline(always)]
    pub(super) fn of(&self, lane: usize) -> &[u32] {
        &self.keys[lane * self.room..][..self.length]
    }

    /// Makes room for so many more and returns where it begins.
    pub(super) fn extend(&mut self) -> usize {
        let from = self.length;
        self.length += MORE;
        if self.length > self.room {
            // An odd number of cache lines, or all lanes would fall into the same few sets.
            let room = (2 * self.room).max(16 * MORE) + BLOCK;
            let mut keys = vec![0; self.lanes * room];
            for lane in 0..self.lanes {
                let laid_out = &self.keys[lane * self.room..][..from];
                keys[lane * room..][..from].copy_from_slice(laid_out);
            }
            (self.keys, self.room) = (keys, room);
        }
        from
    }

    /// Writes a block of one lane's stream, from a place on.
    #[inline(always)]
    pub(super) fn write(&mut self, lane: usize, from: usize, block: &[u32; BLOCK]) {
        self.keys[lane * self.room + from..][..BLOCK].copy_from_slice(block);
    }
}
