//! What a failed call means: try again on the next session, or tell the caller.

use lapin::{ErrorKind, protocol::AMQPErrorKind};

use super::{super::BrokerError, address::Address};

/// `ACCESS_REFUSED`.
const ACCESS_REFUSED: u16 = 403;
/// `NOT_FOUND`.
const NOT_FOUND: u16 = 404;

/// Why a call failed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The session or the channel went away: the next one may do better.
    Lost(String),
    /// Waiting does not help.
    Final(BrokerError),
}

impl Trouble {
    /// Reads lapin's error about a queue (or exchange).
    pub(super) fn of(error: &lapin::Error, address: &Address, queue: &str) -> Self {
        let why = error.to_string();
        match error.kind() {
            ErrorKind::ProtocolError(said) => match (said.kind(), said.get_id()) {
                (AMQPErrorKind::Soft(_), ACCESS_REFUSED) => Self::Final(address.refused(format!(
                    "{}; grant user '{}' the permission (rabbitmqctl set_permissions)",
                    said.get_message(),
                    address.user()
                ))),
                // A queue whose leader is being moved or whose node is down is "not found" too,
                // with other words, and comes back.
                (AMQPErrorKind::Soft(_), NOT_FOUND)
                    if says_missing(said.get_message().as_str()) =>
                {
                    Self::Final(address.no_queue(queue))
                }
                (AMQPErrorKind::Soft(_), NOT_FOUND) | (AMQPErrorKind::Hard(_), _) => {
                    Self::Lost(why)
                }
                (AMQPErrorKind::Soft(_), _) => {
                    Self::Final(BrokerError::Internal(format!("'{queue}': {why}")))
                }
            },
            ErrorKind::InvalidChannel(_)
            | ErrorKind::InvalidChannelState(..)
            | ErrorKind::InvalidConnectionState(_)
            | ErrorKind::IOError(_)
            | ErrorKind::MissingHeartbeatError => Self::Lost(why),
            _ => Self::Final(BrokerError::Internal(format!("'{queue}': {why}"))),
        }
    }
}

fn says_missing(text: &str) -> bool {
    text.contains("no queue") || text.contains("no exchange")
}
