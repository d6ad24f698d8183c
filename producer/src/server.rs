//! `producer serve` as commands on other machines reach it.

use std::io::Read;

use shared::{
    exit_codes,
    server::{Refusal, ServerError},
};

pub use shared::server::Server;

use crate::{ask::Ask, failure::Failure};

/// The longest answer, in bytes: a run with ten million survivors.
const MAX_ANSWER: u64 = 4 << 30;

/// The server's answer to `ask` as JSON.
///
/// # Errors
/// [`Failure`] as the ledger says, or when the server can't be reached.
pub fn ask(server: &Server, ask: &Ask) -> Result<String, Failure> {
    Ok(server.post("/v1/ask", serde_json::to_string(ask)?, MAX_ANSWER)?)
}

/// All survivors of a run in that format.
///
/// # Errors
/// As [`ask`].
pub fn survivors(server: &Server, run: &str, format: &str) -> Result<impl Read + use<>, Failure> {
    Ok(server.get(&format!("/v1/runs/{run}/survivors/{format}"))?)
}

impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Self {
        match error {
            ServerError::Refused(Refusal { code, error }) => Self { code, message: error },
            wrong @ (ServerError::NoUrl(_) | ServerError::TooLarge(_)) => {
                Self { code: exit_codes::USAGE, message: wrong.to_string() }
            }
            other => Self::unreachable(other),
        }
    }
}
