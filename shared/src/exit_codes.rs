//! The exit codes of every RigQueue command: a contract with scripts.

/// Done.
pub const DONE: u8 = 0;
/// A fault of ours: please report it.
pub const INTERNAL: u8 = 1;
/// Bad input or usage: a file, a flag or a setting must be corrected.
pub const USAGE: u8 = 2;
/// The broker or the ledger can't be reached.
pub const UNREACHABLE: u8 = 3;
/// The run ended with dead or failed jobs.
pub const RUN_FAILED: u8 = 4;
/// No such run, job or node.
pub const NOT_FOUND: u8 = 5;
/// What a runner computes with has failed: its device, driver or compiler is missing or broken,
/// or a planted seed was missed.
pub const DEVICE: u8 = 6;
/// Interrupted by a signal.
pub const INTERRUPTED: u8 = 130;
