//! What is set up in one session, and again in the next.

use std::{fmt, future::Future};

use tokio::task::JoinHandle;

use super::super::BrokerError;

/// A consumer that is at work, or on its way. Whoever waits for it may give up at any moment, as a
/// loop with other things to do does: the setting up goes on. Given up in the middle, it would
/// leave a consumer at the broker that nobody listens to, which is sent its share of the messages
/// until the session ends.
pub(super) struct Lasting<T> {
    at_work: Option<T>,
    coming: Option<JoinHandle<Result<T, BrokerError>>>,
}

impl<T> Default for Lasting<T> {
    fn default() -> Self {
        Self { at_work: None, coming: None }
    }
}

impl<T> fmt::Debug for Lasting<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lasting").field("at_work", &self.at_work.is_some()).finish_non_exhaustive()
    }
}

impl<T: Send + 'static> Lasting<T> {
    /// The one at work, or what `set_up` makes of it; not called while one is on its way.
    pub(super) async fn get<F>(&mut self, set_up: impl FnOnce() -> F) -> Result<&mut T, BrokerError>
    where
        F: Future<Output = Result<T, BrokerError>> + Send + 'static,
    {
        let at_work = match self.at_work.take() {
            Some(at_work) => at_work,
            None => {
                let coming = self.coming.get_or_insert_with(|| tokio::spawn(set_up()));
                let came = coming.await;
                self.coming = None;
                came.map_err(|error| BrokerError::Internal(error.to_string()))??
            }
        };
        Ok(self.at_work.insert(at_work))
    }

    /// It has ended: the next one is set up when it is asked for.
    pub(super) fn end(&mut self) {
        self.at_work = None;
    }
}
