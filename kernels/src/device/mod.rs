//! Sieves on GPUs: one C source for CUDA and OpenCL, specialised for each sieve and compiled when
//! a job starts. The drivers themselves live in the runners, which alone load a GPU library.

mod bound;
mod cache;
mod driver;
mod leap;
mod plan;
mod source;
mod straight;
mod table;
mod tester;
mod witness;

pub use bound::{Seen, find, given};
pub use cache::{Cache, KeyParts};
pub use driver::{Driver, Fault, Launch, Loaded, Report};
pub use plan::{Form, Plan, Unsupported};
pub use source::{EXAMINERS, FOUND_LENGTH, GROUP, Language, QUEUE_LENGTH};
pub use tester::Device;
