//! RigQueue's coordinator side: plan a request, publish its jobs, aggregate their outcomes into
//! the ledger, report.

pub mod aggregate;
pub mod cli;
mod commands;
pub mod context;
pub mod cost;
pub mod export;
pub mod failure;
pub mod ledger;
mod output;
pub mod summary;
