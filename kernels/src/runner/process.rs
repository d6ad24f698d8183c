//! A runner's ties as a process: a session of its own, and no life after its parent's.

use std::sync::{Arc, atomic::AtomicBool};

use rustix::process::{Signal, getpid, getsid, setsid};
use shared::parent::{ParentGone, end_with_parent};

/// A process that can't be tied as it should.
#[derive(Debug, thiserror::Error)]
pub enum TieError {
    /// The kernel refused.
    #[error("this process can't be set up: {0}")]
    System(#[from] rustix::io::Errno),
    /// The signal handler could not be installed.
    #[error("SIGTERM can't be caught: {0}")]
    Signal(#[from] std::io::Error),
    /// The parent is gone: nobody waits for this job.
    #[error(transparent)]
    Orphaned(#[from] ParentGone),
}

/// Makes this process lead a session, unless it leads a group already, and die with the parent that
/// the environment names.
///
/// # Errors
/// [`TieError`] when the kernel refuses, or when that parent is gone.
pub fn tie_to_parent() -> Result<(), TieError> {
    if getsid(None)? != getpid() {
        match setsid() {
            // A group's leader can't found a session and does not need to.
            Ok(_) | Err(rustix::io::Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(end_with_parent(Signal::KILL)?)
}

/// A flag that SIGTERM sets from now on.
///
/// # Errors
/// [`TieError::Signal`] when the handler can't be installed.
pub fn catch_term() -> Result<Arc<AtomicBool>, TieError> {
    let flag = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&flag))?;
    Ok(flag)
}
