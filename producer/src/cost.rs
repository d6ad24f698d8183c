//! tmp
use shared::{job::Engine, sieve::Sieve};
/// tmp
#[must_use]
pub fn operations_per_seed(_s: &Sieve, _e: Engine) -> f64 { 1.0 }
