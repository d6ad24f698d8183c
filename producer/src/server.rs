//! `producer serve` as commands on other machines reach it.

use std::io::Read;

use shared::{
    exit_codes,
    server::{Refusal, ServerError},
};

use crate::{ask::Ask, failure::Failure};

/// The longest answer, in bytes: a run with ten million survivors.
const MAX_ANSWER: u64 = 4 << 30;

/// A `producer serve` somewhere.
#[derive(Debug, Clone)]
pub struct Server(shared::server::Server);

impl Server {
    /// The server that the environment names, if any.
    ///
    /// # Errors
    /// [`Failure`] when it names something else than an http or https URL.
    pub fn from_environment(token: &str) -> Result<Option<Self>, Failure> {
        Ok(shared::server::Server::from_environment(token)?.map(Self))
    }

    /// Where its files are.
    #[must_use]
    pub const fn files(&self) -> &shared::server::Server {
        &self.0
    }

    /// The answer to `ask` as JSON.
    ///
    /// # Errors
    /// [`Failure`] as the ledger says, or when the server can't be reached.
    pub fn ask(&self, ask: &Ask) -> Result<String, Failure> {
        Ok(self.0.post("/v1/ask", serde_json::to_string(ask)?, MAX_ANSWER)?)
    }

    /// All survivors of a run in that format.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn survivors(&self, run: &str, format: &str) -> Result<impl Read + use<>, Failure> {
        Ok(self.0.get(&format!("/v1/runs/{run}/survivors/{format}"))?)
    }
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
