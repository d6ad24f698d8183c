//! x

pub mod candidates;
pub mod chance;
pub mod cost;
pub mod draws;
pub mod dry_run;
pub mod duration;
pub mod planner;
pub mod request;
pub mod rows;
pub mod sieve_args;
