//! Whose vhost it is. AMQP can't list exchanges, but declaring one that is there with another
//! alternate exchange is refused: whichever ledger declares it first has the vhost.

use super::{
    super::{BrokerError, Owner},
    topology::{Found, Part, Topology, ledger_mark},
};
use crate::topology::LEDGER_EXCHANGE_PREFIX;

impl Topology {
    /// Makes the vhost the ledger's; whose it was before.
    ///
    /// # Errors
    /// [`BrokerError::Owned`] when it is another's and not to be adopted; otherwise as
    /// [`Topology::apply`].
    pub async fn claim(&self, uuid: &str, adopt: bool) -> Result<Owner, BrokerError> {
        let mark = ledger_mark(uuid)?;
        let title = Part::Ledger(mark.name().to_owned());
        let before = match self.declare(&title, true).await? {
            Found::Fine => Owner::This,
            Found::Missing | Found::Conflict(_) => Owner::Nobody,
        };
        let owner = match self.declare(&title, false).await? {
            Found::Fine => before,
            Found::Missing => return Err(self.missing(title.name())),
            Found::Conflict(why) => {
                let owner = named(&why);
                if !adopt {
                    return Err(self.owned(owner, uuid));
                }
                self.take_over(&title, owner.as_deref()).await?;
                Owner::Other(owner)
            }
        };
        match self.declare(&mark, false).await? {
            Found::Fine => Ok(owner),
            Found::Missing => Err(self.missing(mark.name())),
            Found::Conflict(why) => Err(BrokerError::Internal(why)),
        }
    }

    /// Whose vhost it is. Without the permission to configure, another's name stays unknown.
    ///
    /// # Errors
    /// As [`Topology::apply`].
    pub async fn owner(&self, uuid: &str) -> Result<Owner, BrokerError> {
        let mark = ledger_mark(uuid)?;
        let title = Part::Ledger(mark.name().to_owned());
        if matches!(self.declare(&title, true).await?, Found::Missing) {
            return Ok(Owner::Nobody);
        }
        match self.claim(uuid, false).await {
            Ok(_) => Ok(Owner::This),
            Err(BrokerError::Owned { owner, .. }) => Ok(Owner::Other(owner)),
            // The mark alone tells, then.
            Err(BrokerError::Refused { .. }) => match self.declare(&mark, true).await? {
                Found::Fine => Ok(Owner::This),
                Found::Missing | Found::Conflict(_) => Ok(Owner::Other(None)),
            },
            Err(error) => Err(error),
        }
    }

    /// Declares the title anew. The earlier owner's mark goes first: should this stop half-way, the
    /// vhost still has at most one owner.
    async fn take_over(&self, title: &Part, from: Option<&str>) -> Result<(), BrokerError> {
        if let Some(uuid) = from {
            self.delete_exchange(ledger_mark(uuid)?.name()).await?;
        }
        self.delete_exchange(title.name()).await?;
        match self.declare(title, false).await? {
            Found::Fine => Ok(()),
            Found::Missing => Err(self.missing(title.name())),
            Found::Conflict(why) => Err(BrokerError::Internal(format!(
                "another ledger claimed the broker at the same time: {why}"
            ))),
        }
    }
}

/// The owner that a refusal names, as in "received the value 'rigqueue.ledger.B' of type 'longstr'
/// but current is the value 'rigqueue.ledger.A' of type 'longstr'".
fn named(why: &str) -> Option<String> {
    let (_, current) = why.split_once("current is")?;
    let (_, name) = current.split_once(LEDGER_EXCHANGE_PREFIX)?;
    name.split_once('\'').map(|(uuid, _)| uuid.to_owned())
}
