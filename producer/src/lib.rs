//! RigQueue's coordinator side: plan a request, publish its jobs, aggregate their outcomes into
//! the ledger, report.

pub mod aggregate;
pub mod ask;
pub mod candidates;
pub mod certificate;
pub mod chance;
pub mod cli;
mod commands;
pub mod context;
pub mod cost;
pub mod draws;
pub mod dry_run;
pub mod duration;
pub mod export;
pub mod failure;
pub mod fleet;
pub mod ledger;
mod output;
mod planned_jobs;
pub mod planner;
mod reconcile;
pub mod request;
mod request_error;
pub mod rows;
mod runner;
mod sample;
mod serve;
pub mod server;
pub mod sieve_args;
pub mod statistics_args;
mod statistics_plan;
pub mod strategies;
pub mod summary;
pub mod verify;
