//! Ending with one's parent, whatever ends it.

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

/// Environment variable: the process that a child must not outlive, by its id.
pub const ENV_PARENT: &str = "RIGQUEUE_PARENT";

/// When [`ENV_PARENT`] names this process's parent, asks the kernel for `signal` at that parent's
/// death (of the *thread* that started us: whoever sets the variable starts children from a
/// thread that never ends). Returns false when that parent is gone already, so that the caller
/// ends at once. Without the variable it does nothing.
#[must_use]
pub fn end_with_parent(signal: Signal) -> bool {
    let Some(parent) = std::env::var(ENV_PARENT).ok().and_then(|text| text.parse().ok()) else {
        return true;
    };
    // First ask, then look: a parent that dies between the two is noticed by one of them.
    let asked = set_parent_process_death_signal(Some(signal)).is_ok();
    asked && getppid() == Pid::from_raw(parent)
}
