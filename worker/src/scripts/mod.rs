//! Script jobs: finding the script, a folder for the attempt, the child, what its end means.

mod attempt;
mod deliver;
mod find;
mod inputs;
mod judge;
mod output;
mod run;
mod supply;
mod text;

pub use attempt::Attempts;
pub use deliver::Deliveries;
pub(crate) use judge::{End, judge};
pub use run::{Scripts, attempt};
pub(crate) use run::{look, pass_on};
pub use supply::{Supply, SupplyError};
pub use text::Text;
