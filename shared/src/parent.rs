//! Ending with one's parent, whatever ends it.

use rustix::process::{Signal, getppid, set_parent_process_death_signal};

/// Environment variable: the process that a child must not outlive, by its id.
pub const ENV_PARENT: &str = "RIGQUEUE_PARENT";

/// The parent is gone already, or was never ours.
#[derive(Debug, thiserror::Error)]
#[error(
    "the process {0} that this one was to end with ({ENV_PARENT}) is not its parent (any more)"
)]
pub struct ParentGone(pub String);

/// When [`ENV_PARENT`] is set, asks the kernel for `signal` at our parent's death (of the *thread*
/// that started us: whoever sets the variable starts children from a thread that never ends).
/// Without the variable it does nothing.
///
/// # Errors
/// [`ParentGone`] when our parent is not the process that the variable names: the caller ends.
pub fn end_with_parent(signal: Signal) -> Result<(), ParentGone> {
    let Some(parent) = std::env::var(ENV_PARENT).ok().filter(|parent| !parent.is_empty()) else {
        return Ok(());
    };
    // First ask, then look: a parent that dies in between is noticed by one of the two.
    let asked = set_parent_process_death_signal(Some(signal)).is_ok();
    let now = getppid().map(|pid| pid.as_raw_nonzero().to_string());
    if asked && now.as_deref() == Some(parent.trim()) { Ok(()) } else { Err(ParentGone(parent)) }
}
