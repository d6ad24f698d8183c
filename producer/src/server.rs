//! `producer serve` as commands on other machines reach it.

use std::{env, io::Read, time::Duration};

use serde::{Deserialize, Serialize};
use ureq::{
    Agent, Body, RequestBuilder,
    http::{Response, Uri},
};

use crate::{ask::Ask, failure::Failure};

/// Environment variable that names a `producer serve`: `http://host:8720`.
pub const ENV_SERVER: &str = "RIGQUEUE_SERVER";
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// The longest answer, in bytes: a run with ten million survivors.
const MAX_ANSWER: u64 = 4 << 30;

/// A failure as it crosses the network.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Refusal {
    /// The exit code of the command that asked.
    pub(crate) code: u8,
    /// One line for people.
    pub(crate) error: String,
}

/// A `producer serve` somewhere.
#[derive(Debug, Clone)]
pub struct Server {
    url: String,
    token: String,
    agent: Agent,
}

impl Server {
    /// The server that the environment names, if any.
    ///
    /// # Errors
    /// [`Failure`] when it names something else than an http or https URL.
    pub fn from_environment(token: &str) -> Result<Option<Self>, Failure> {
        match env::var(ENV_SERVER) {
            Ok(url) if !url.is_empty() => Self::at(&url, token).map(Some),
            _ => Ok(None),
        }
    }

    fn at(url: &str, token: &str) -> Result<Self, Failure> {
        let parsed: Option<Uri> = url.parse().ok();
        let scheme = parsed.as_ref().and_then(Uri::scheme_str);
        if !matches!(scheme, Some("http" | "https")) {
            return Err(Failure::usage(format!(
                "{ENV_SERVER} is '{url}'; it must be the URL of a `producer serve`, as in http://host:8720"
            )));
        }
        let config = Agent::config_builder()
            .timeout_connect(Some(PATIENCE))
            .timeout_recv_response(Some(PATIENCE))
            .http_status_as_error(false)
            .build();
        let url = url.trim_end_matches('/').to_owned();
        Ok(Self { url, token: token.to_owned(), agent: config.into() })
    }

    /// The answer to `ask` as JSON.
    ///
    /// # Errors
    /// [`Failure`] as the ledger says, or when the server can't be reached.
    pub fn ask(&self, ask: &Ask) -> Result<String, Failure> {
        let request = self.known(self.agent.post(format!("{}/v1/ask", self.url)));
        let sent = request
            .header("content-type", "application/json")
            .send(serde_json::to_string(ask)?)
            .map_err(|error| self.unreachable(&error))?;
        let mut answer = self.accepted(sent)?.into_body();
        let text = answer.with_config().limit(MAX_ANSWER).read_to_string();
        text.map_err(|error| self.unreachable(&error))
    }

    /// All survivors of a run in that format.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn survivors(&self, run: &str, format: &str) -> Result<impl Read + use<>, Failure> {
        let url = format!("{}/v1/runs/{run}/survivors/{format}", self.url);
        let sent = self.known(self.agent.get(url)).call();
        let sent = sent.map_err(|error| self.unreachable(&error))?;
        Ok(self.accepted(sent)?.into_body().into_reader())
    }

    fn known<B>(&self, request: RequestBuilder<B>) -> RequestBuilder<B> {
        if self.token.is_empty() {
            return request;
        }
        request.header("authorization", format!("Bearer {}", self.token))
    }

    /// The answer, if it is one.
    fn accepted(&self, mut answer: Response<Body>) -> Result<Response<Body>, Failure> {
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        if status.as_u16() == 401 {
            let why = "it wants another token: set [serve] token as it is there";
            return Err(self.unreachable(&why));
        }
        let body = answer.body_mut().read_to_string().unwrap_or_default();
        match serde_json::from_str::<Refusal>(&body) {
            Ok(Refusal { code, error }) => Err(Failure { code, message: error }),
            Err(_) => {
                let why = format!("it answered {status}; is it a `producer serve`?");
                Err(self.unreachable(&why))
            }
        }
    }

    fn unreachable(&self, why: &dyn std::fmt::Display) -> Failure {
        Failure::unreachable(format!("the server at {} ({ENV_SERVER}): {why}", self.url))
    }
}
