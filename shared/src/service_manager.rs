//! What a service tells the service manager that started it (systemd's `sd_notify`): that it is up
//! and that it is alive. Without one (`NOTIFY_SOCKET` is not set) nothing is told.

use sd_notify::{NotifyState, notify, watchdog_enabled};
use tokio::{task::JoinHandle, time::sleep};

/// Environment variables by which a service manager reaches a service; none of its children's
/// business.
pub const ENV_SERVICE: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// A service that is up, and says so for as long as this value lives.
#[derive(Debug)]
pub struct Up(JoinHandle<()>);

impl Up {
    /// Tells that the service is up, whatever it still waits for, and from now on that it is
    /// alive: three times in the time after which it is taken for hung (`WatchdogSec=`). A task
    /// tells it: a process whose runtime stands still is ended and started again.
    #[must_use]
    pub fn tell(status: &str) -> Self {
        notify_manager(&[NotifyState::Ready, NotifyState::Status(status)]);
        let every = watchdog_enabled().map(|limit| limit / 3);
        Self(tokio::spawn(async move {
            let Some(every) = every else { return };
            loop {
                notify_manager(&[NotifyState::Watchdog]);
                sleep(every).await;
            }
        }))
    }

    /// Tells in a few words what the service does now.
    pub fn status(&self, status: &str) {
        notify_manager(&[NotifyState::Status(status)]);
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn notify_manager(what: &[NotifyState<'_>]) {
    if let Err(error) = notify(what) {
        tracing::debug!(%error, "the service manager could not be told");
    }
}
