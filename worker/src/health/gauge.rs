//! Who tells how a device is.

use std::fmt::Debug;

use shared::health::Health;

use crate::devices::{Gauges, Gpu};

/// Tells how devices are. Nothing in here may wait for a device: a hung one may never answer.
pub trait Gauge: Debug + Send + Sync {
    /// Has every device read anew, some time soon.
    fn ask(&self);

    /// How a device was when it was last read; unread before that.
    fn health(&self, gpu: &Gpu) -> Health;
}

impl Gauge for Gauges {
    fn ask(&self) {
        Self::ask(self);
    }

    fn health(&self, gpu: &Gpu) -> Health {
        Self::health(self, gpu)
    }
}
