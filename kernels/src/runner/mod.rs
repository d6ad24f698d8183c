//! The runner: a process that takes one job, computes block by block and reports (see
//! [`shared::runner`] for how it talks).

mod args;
mod blocks;
mod cpu;
mod process;
mod run;
mod screen;
mod statistics;
mod stream;
mod tester;

pub use args::{Args, ArgsError};
pub use blocks::{BlocksError, Contradiction, Question, drive};
pub use cpu::Cpu;
pub use process::{TieError, catch_term, tie_to_parent};
pub use run::{RunError, report, run_cpu, run_device};
pub use screen::run_screen;
pub use stream::run_stream;
pub use tester::Tester;
