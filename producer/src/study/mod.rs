//! Studies: Optuna's trials as script jobs.
//!
//! One process drives a study. Optuna proposes (a child process that it talks to, [`driver`]), the
//! broker and the workers run, and the ledger says what came of it ([`ground`]). What is asked and
//! told, and in which order, depends on the study alone ([`board`]), so that a study gives the same
//! trials however many of them run at a time and however often it was interrupted.

mod best;
mod board;
mod driver;
mod ground;
mod lock;
mod pace;
mod progress;
mod report;
mod request;
mod runs;
mod seed;
mod session;
mod space;
mod trial;

pub(crate) use request::{Kind, StudyRequest};
pub(crate) use session::study;
pub(crate) use space::read as space;
