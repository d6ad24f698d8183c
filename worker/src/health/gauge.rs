//! Who tells how a device is.

use std::fmt::Debug;

use shared::health::Health;

use crate::devices::Gpu;

/// Tells how devices are. Nothing in here may wait for a device: a hung one may never answer.
pub trait Gauge: Debug + Send + Sync {
    /// Has every device read anew, some time soon.
    fn ask(&self);

    /// How a device was when it was last read; unread before that.
    fn health(&self, gpu: &Gpu) -> Health;
}

/// Where there is nothing to read, as for processor cores.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoGauge;

impl Gauge for NoGauge {
    fn ask(&self) {}

    fn health(&self, _: &Gpu) -> Health {
        Health::default()
    }
}
