//! Files that scripts find on the node's ramdisk: staged once for all workers of a node, verified,
//! kept as long as they are wanted or used.

mod ramdisk;
mod stager;

pub use ramdisk::{Held, Ramdisk, StagingError};
pub use stager::Staging;
