//! The seam between the runner and what computes.

use shared::job::Engine;

use crate::{device::Fault, engine::Tally, sequence::Sequence};

/// Something that tests one block of seeds after another.
pub trait Tester {
    /// Which engine it is.
    fn engine(&self) -> Engine;

    /// How many seeds it tests in some milliseconds, by a guess that is rather too low.
    fn first_block(&self) -> u64;

    /// How many seeds every block has, where the time it takes hardly depends on their number.
    fn fixed_block(&self) -> Option<u64> {
        None
    }

    /// Tests a block. It may stop early once more than `room` survived, and then returns more
    /// than `room` survivors; whoever asked cuts the block there.
    ///
    /// # Errors
    /// [`Fault`] when what computes fails; the job has no result then.
    fn test(&mut self, block: &Sequence<'_>, room: usize) -> Result<Tally, Fault>;

    /// After the last block: proves that what was reported can be trusted, where that is in doubt.
    ///
    /// # Errors
    /// [`Fault`] when it can't.
    fn conclude(&mut self) -> Result<(), Fault> {
        Ok(())
    }
}
