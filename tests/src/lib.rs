//! Whole-system tests of RigQueue: what they run against.

pub mod exact;
pub mod kept;
pub mod planted;
pub mod rabbitmq;
pub mod rig;
