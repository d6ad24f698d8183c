//! One ledger a broker: a second one would reconcile away what the first has queued.

use std::{path::Path, pin::Pin};

use super::{BrokerError, Patience, connect::embedded_folder, embedded, rabbit::Topology};
use crate::settings::BrokerSettings;

/// Which ledger a broker belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// The one that was asked about.
    This,
    /// None yet.
    Nobody,
    /// Another one; its uuid, where the broker tells.
    Other(Option<String>),
}

/// What will be known of a broker's owner.
pub type Claiming<'a> = Pin<Box<dyn Future<Output = Result<Owner, BrokerError>> + Send + 'a>>;

/// Makes a broker the property of the ledger with this uuid, and says whose it was before. May be
/// repeated at any time. `adopt` takes it away from another ledger, for an owner whose ledger was
/// lost. A bare `embedded:` means the folder `broker` in `home`.
///
/// # Errors
/// [`BrokerError::Owned`] when it belongs to another ledger and is not to be adopted; otherwise as
/// [`super::connect()`], and [`BrokerError::Refused`] without the permission to configure.
// Boxed for the same reason as `connect`.
#[must_use = "a future does nothing until it is awaited"]
pub fn claim_ledger<'a>(
    settings: &'a BrokerSettings,
    home: &'a Path,
    uuid: &'a str,
    adopt: bool,
    patience: Patience,
) -> Claiming<'a> {
    Box::pin(async move {
        if let Some(folder) = embedded_folder(&settings.url, home) {
            return embedded::claim(&folder, uuid, adopt);
        }
        let topology = Topology::connect(settings, patience).await?;
        let claimed = topology.claim(uuid, adopt).await;
        topology.close().await;
        claimed
    })
}

/// Whether a broker belongs to the ledger with this uuid. Changes nothing, but for restoring what
/// is missing of this ledger's own mark.
///
/// # Errors
/// As [`super::connect()`].
#[must_use = "a future does nothing until it is awaited"]
pub fn owns_ledger<'a>(
    settings: &'a BrokerSettings,
    home: &'a Path,
    uuid: &'a str,
    patience: Patience,
) -> Claiming<'a> {
    Box::pin(async move {
        if let Some(folder) = embedded_folder(&settings.url, home) {
            return embedded::owner(&folder, uuid);
        }
        let topology = Topology::connect(settings, patience).await?;
        let owner = topology.owner(uuid).await;
        topology.close().await;
        owner
    })
}
