//! `producer serve` as other machines reach it.

use std::{
    env,
    fs::File,
    io::{self, Read},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use ureq::{
    Agent, Body, RequestBuilder, SendBody,
    http::{Response, Uri},
};

use crate::{
    input::{Input, MAX_FILE_BYTES},
    settings::ENV_SERVER,
};

/// How long a connection may take, and an answer to begin.
const PATIENCE: Duration = Duration::from_secs(15);
/// A file may take this long, and a second for each [`LEAST_RATE`] of its bytes.
const FILE_PATIENCE: Duration = Duration::from_secs(60);
/// Bytes per second that a file is sent with at least.
const LEAST_RATE: u64 = 256 << 10;
/// The most of a refusal that is read, in bytes.
const MAX_REFUSAL: u64 = 64 << 10;

/// A failure as it crosses the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The exit code of the command that asked.
    pub code: u8,
    /// One line for people.
    pub error: String,
}

/// Where files lie on a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shelf {
    /// What jobs read.
    Inputs,
    /// What scripts wrote, on its way to the output folder.
    Outputs,
}

impl Shelf {
    /// The path of a file's address, before its hash.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Inputs => "/v1/blobs",
            Self::Outputs => "/v1/outputs",
        }
    }
}

/// What a server did not do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// It is no URL of one.
    #[error(
        "{ENV_SERVER} is '{0}'; it must be the URL of a `producer serve`, as in http://host:8720"
    )]
    NoUrl(String),
    /// It can't be reached, or answers as none would.
    #[error("the server at {url} ({ENV_SERVER}): {why}")]
    Unreachable {
        /// Its URL.
        url: String,
        /// Why.
        why: String,
    },
    /// It wants another token.
    #[error(
        "the server at {0} ({ENV_SERVER}): it wants another token: set [serve] token as it is there"
    )]
    Token(String),
    /// It says no, and why.
    #[error("{}", .0.error)]
    Refused(Refusal),
    /// It has no such file.
    #[error("the server at {url} ({ENV_SERVER}) has no file of hash {blake3}")]
    NoFile {
        /// Its URL.
        url: String,
        /// The hash.
        blake3: String,
    },
    /// A file that is too large for any.
    #[error("it has {0} bytes; the server takes at most {MAX_FILE_BYTES}")]
    TooLarge(u64),
    /// A file here that can't be read.
    #[error("it can't be read: {0}")]
    Unreadable(#[from] io::Error),
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
    /// [`ServerError::NoUrl`] when it names something else than an http or https URL.
    pub fn from_environment(token: &str) -> Result<Option<Self>, ServerError> {
        match env::var(ENV_SERVER) {
            Ok(url) if !url.is_empty() => Self::at(&url, token).map(Some),
            _ => Ok(None),
        }
    }

    /// The server at a URL, which lets in whoever brings `token`.
    ///
    /// # Errors
    /// [`ServerError::NoUrl`] for anything but an http or https URL.
    pub fn at(url: &str, token: &str) -> Result<Self, ServerError> {
        let parsed: Option<Uri> = url.parse().ok();
        let scheme = parsed.as_ref().and_then(Uri::scheme_str);
        if !matches!(scheme, Some("http" | "https")) {
            return Err(ServerError::NoUrl(url.to_owned()));
        }
        let config = Agent::config_builder()
            .timeout_connect(Some(PATIENCE))
            .timeout_recv_response(Some(PATIENCE))
            .http_status_as_error(false)
            .build();
        let url = url.trim_end_matches('/').to_owned();
        Ok(Self { url, token: token.to_owned(), agent: config.into() })
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The answer to a JSON text, of at most `limit` bytes.
    ///
    /// # Errors
    /// [`ServerError`] when it can't be reached, or says no.
    pub fn post(&self, path: &str, json: String, limit: u64) -> Result<String, ServerError> {
        let request = self.known(self.agent.post(format!("{}{path}", self.url)));
        let sent = request
            .header("content-type", "application/json")
            .send(json)
            .map_err(|error| self.unreachable(&error))?;
        let mut answer = self.accepted(sent)?.into_body();
        let text = answer.with_config().limit(limit).read_to_string();
        text.map_err(|error| self.unreachable(&error))
    }

    /// What lies at a path, as it comes.
    ///
    /// # Errors
    /// As [`Self::post`].
    pub fn get(&self, path: &str) -> Result<impl Read + use<>, ServerError> {
        let sent = self.known(self.agent.get(format!("{}{path}", self.url))).call();
        let sent = sent.map_err(|error| self.unreachable(&error))?;
        Ok(self.accepted(sent)?.into_body().into_reader())
    }

    /// Whether it has a file already.
    ///
    /// # Errors
    /// As [`Self::post`].
    pub fn has(&self, shelf: Shelf, blake3: &str) -> Result<bool, ServerError> {
        let request = self.known(self.agent.head(self.file(shelf, blake3)));
        let answer = request.call().map_err(|error| self.unreachable(&error))?;
        if answer.status().as_u16() == 404 {
            return Ok(false);
        }
        self.accepted(answer).map(|_| true)
    }

    /// A file as it comes, unverified.
    ///
    /// # Errors
    /// [`ServerError::NoFile`], else as [`Self::post`].
    pub fn fetch(&self, input: &Input) -> Result<impl Read + use<>, ServerError> {
        let request = self.known(self.agent.get(self.file(Shelf::Inputs, &input.blake3)));
        let request = request.config().timeout_global(Some(time_for(input.size))).build();
        let answer = request.call().map_err(|error| self.unreachable(&error))?;
        if answer.status().as_u16() == 404 {
            let (url, blake3) = (self.url.clone(), input.blake3.clone());
            return Err(ServerError::NoFile { url, blake3 });
        }
        Ok(self.accepted(answer)?.into_body().into_reader())
    }

    /// Sends a file; it is taken only if it has that hash.
    ///
    /// # Errors
    /// [`ServerError`] when it is too large, can't be read, or is not taken.
    pub fn send(&self, shelf: Shelf, blake3: &str, mut file: &File) -> Result<(), ServerError> {
        let size = file.metadata()?.len();
        self.send_bytes(shelf, blake3, size, &mut file)
    }

    /// Sends `size` bytes as a file; see [`Self::send`].
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn send_bytes(
        &self,
        shelf: Shelf,
        blake3: &str,
        size: u64,
        content: &mut dyn Read,
    ) -> Result<(), ServerError> {
        if size > MAX_FILE_BYTES {
            return Err(ServerError::TooLarge(size));
        }
        let time = time_for(size);
        let request = self.known(self.agent.put(self.file(shelf, blake3)));
        let request = request
            .header("content-length", size.to_string())
            .config()
            .timeout_global(Some(time))
            .timeout_recv_response(Some(time))
            .build();
        let mut content = content.take(size);
        let sent = request.send(SendBody::from_reader(&mut content));
        let sent = sent.map_err(|error| self.unreachable(&error))?;
        self.accepted(sent).map(drop)
    }

    fn file(&self, shelf: Shelf, blake3: &str) -> String {
        format!("{}{}/{blake3}", self.url, shelf.path())
    }

    fn known<B>(&self, request: RequestBuilder<B>) -> RequestBuilder<B> {
        if self.token.is_empty() {
            return request;
        }
        request.header("authorization", format!("Bearer {}", self.token))
    }

    /// The answer, if it is one.
    fn accepted(&self, mut answer: Response<Body>) -> Result<Response<Body>, ServerError> {
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        if status.as_u16() == 401 {
            return Err(ServerError::Token(self.url.clone()));
        }
        let body = answer.body_mut().with_config().limit(MAX_REFUSAL).read_to_string();
        Err(match serde_json::from_str(&body.unwrap_or_default()) {
            Ok(refusal) => ServerError::Refused(refusal),
            Err(_) => self.unreachable(&format!("it answered {status}; is it a `producer serve`?")),
        })
    }

    fn unreachable(&self, why: &dyn std::fmt::Display) -> ServerError {
        ServerError::Unreachable { url: self.url.clone(), why: why.to_string() }
    }
}

fn time_for(size: u64) -> Duration {
    FILE_PATIENCE + Duration::from_secs(size / LEAST_RATE)
}
