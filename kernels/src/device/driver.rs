//! The seam between the sieve and what drives a GPU.

use shared::{exit_codes, outcome::Failure};

use super::plan::Plan;

/// Why a device gave no result. Its `failure` says whose fault it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Fault {
    /// What kind of failure.
    pub failure: Failure,
    /// One line for people.
    pub detail: String,
}

impl Fault {
    /// There is no driver, no compiler or no device on this node.
    #[must_use]
    pub const fn missing(detail: String) -> Self {
        Self { failure: Failure::SpawnFailed, detail }
    }

    /// The device fails under the job.
    #[must_use]
    pub const fn lost(detail: String) -> Self {
        Self { failure: Failure::DeviceLost, detail }
    }

    /// The device computed wrongly.
    #[must_use]
    pub const fn witness(detail: String) -> Self {
        Self { failure: Failure::WitnessMissed, detail }
    }

    /// This compiler does not take the program. Another's may: it costs the job an attempt.
    #[must_use]
    pub const fn uncompiled(detail: String) -> Self {
        Self { failure: Failure::ExitCode(exit_codes::DEVICE as i32), detail }
    }
}

/// One device with its driver.
pub trait Driver {
    /// What it is, for messages.
    fn describe(&self) -> String;

    /// Compiles a plan, or takes it from the cache, and makes room for it on the device.
    ///
    /// # Errors
    /// [`Fault`] when the program can't be compiled, or the device can't hold it.
    fn load(&mut self, plan: &Plan) -> Result<Box<dyn Loaded>, Fault>;
}

/// What one launch tests.
#[derive(Debug, Clone, Copy)]
pub struct Launch<'a> {
    /// The first seed of a range; 0 for a list.
    pub first: u64,
    /// How many seeds, at least 1.
    pub count: u32,
    /// The candidates, when the plan is listed: `count` of them. Otherwise empty.
    pub list: &'a [u64],
    /// Near misses among these places are reported apart: the first, and how many.
    pub probe: (u32, u32),
}

/// What a launch left behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// How many seeds passed the first stage. With more than `QUEUE_LENGTH` the rest says nothing.
    pub queued: u32,
    /// How many survived. With more than `FOUND_LENGTH` the rest says nothing.
    pub found: u32,
    /// The places of those, in no order.
    pub places: Vec<u32>,
    /// Four words an item: near misses, the sum of splitmix64 over them, and both for the probe.
    pub sums: Vec<u64>,
}

/// A plan on a device, ready to be launched.
pub trait Loaded {
    /// Tests some seeds and waits for the end.
    ///
    /// # Errors
    /// [`Fault`] when the device fails.
    fn launch(&mut self, launch: Launch<'_>) -> Result<Report, Fault>;

    /// Overwrites the tables in the device's memory, as a broken card might: for tests of the
    /// witness. There are as many words as before.
    ///
    /// # Errors
    /// [`Fault`] when the device fails.
    fn overwrite_tables(&mut self, tables: &[u32]) -> Result<(), Fault>;
}
