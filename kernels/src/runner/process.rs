//! A runner's ties as a process: a session of its own, and no life after its parent's.

use std::{
    env,
    sync::{Arc, atomic::AtomicBool},
};

use rustix::process::{Pid, Signal, getpid, getppid, getsid, setsid};

/// The environment variable in which a parent may give its process id.
pub const PARENT: &str = "RIGQUEUE_PARENT";

/// A process that can't be tied as it should.
#[derive(Debug, thiserror::Error)]
pub enum TieError {
    /// The kernel refused.
    #[error("this process can't be set up: {0}")]
    System(#[from] rustix::io::Errno),
    /// The signal handler could not be installed.
    #[error("SIGTERM can't be caught: {0}")]
    Signal(#[from] std::io::Error),
    /// The parent died before this process could ask to die with it.
    #[error("the parent, process {0}, is gone: nobody waits for this job")]
    Orphaned(String),
}

/// Makes this process lead a session, unless it leads a group already, and die with its parent.
///
/// # Errors
/// [`TieError`] when the kernel refuses, or when the parent named in [`PARENT`] is gone.
pub fn tie_to_parent() -> Result<(), TieError> {
    if getsid(None)? != getpid() {
        match setsid() {
            // A group's leader can't found a session and does not need to.
            Ok(_) | Err(rustix::io::Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
    }
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // A parent that died before the line above is noticed here.
    if let Some(parent) = env::var_os(PARENT) {
        let parent = parent.to_string_lossy().into_owned();
        let now = getppid().map(Pid::as_raw_pid).map(|pid| pid.to_string());
        if now.as_deref() != Some(parent.as_str()) {
            return Err(TieError::Orphaned(parent));
        }
    }
    Ok(())
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
