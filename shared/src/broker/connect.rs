//! Chooses the implementation by URL.

use std::{
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
};

use super::{Broker, BrokerError, EmbeddedBroker, Patience, RabbitBroker};
use crate::settings::BrokerSettings;

/// Who connects: shown in the management UI and in queue names.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The node, as in `[worker] node` or the host's name.
    pub node: String,
    /// What is unique to this process.
    pub instance: String,
    /// `producer`, `worker` or `aggregator`.
    pub role: &'static str,
}

/// What will be a session.
pub type Connecting<'a> =
    Pin<Box<dyn Future<Output = Result<Arc<dyn Broker>, BrokerError>> + Send + 'a>>;

/// Opens a session with the broker of the settings. A bare `embedded:` means the folder `broker` in
/// `home`.
///
/// # Errors
/// [`BrokerError::Url`] for another scheme; [`BrokerError::Certificate`] for certificates or keys
/// that can't be used; [`BrokerError::Refused`] at once when the broker says
/// no; [`BrokerError::Unreachable`] when patience ends; [`BrokerError::Folder`] for an embedded
/// broker's folder that can't be used.
// Boxed, so that all of a broker's machinery is compiled in this crate, once.
#[must_use = "a future does nothing until it is awaited"]
pub fn connect<'a>(
    settings: &'a BrokerSettings,
    home: &'a Path,
    identity: Identity,
    patience: Patience,
) -> Connecting<'a> {
    Box::pin(async move {
        let url = settings.url.as_str();
        if let Some(folder) = embedded_folder(url, home) {
            return Ok(Arc::new(EmbeddedBroker::open(&folder).await?) as Arc<dyn Broker>);
        }
        if url.starts_with("amqp://") || url.starts_with("amqps://") {
            return Ok(Arc::new(RabbitBroker::connect(settings, identity, patience).await?) as _);
        }
        let shown = url.split_once("://").map_or(url, |(scheme, _)| scheme);
        Err(BrokerError::Url { url: shown.to_owned(), why: "its scheme is not known".to_owned() })
    })
}

/// The folder that an `embedded:` URL means; `None` for any other.
pub(super) fn embedded_folder(url: &str, home: &Path) -> Option<PathBuf> {
    let path = url.strip_prefix("embedded:")?;
    Some(if path.is_empty() { home.join("broker") } else { path.into() })
}
