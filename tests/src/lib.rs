//! Whole-system tests of RigQueue: what they run against.

mod answer;
pub mod exact;
mod installed;
pub mod kept;
pub mod planted;
pub mod python;
mod queues;
pub mod rabbitmq;
pub mod rig;
