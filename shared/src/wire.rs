//! The wire format: one MessagePack map a message, its name in `type`, its version in a header.
//!
//! A reader takes every older version it documents (so far there is only 1) and ignores unknown
//! fields; a newer or malformed message is refused with the reason, for the dead-letter queue.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use crate::{
    job::{Job, Task},
    messages::{Bell, FleetState, Heartbeat, RunOpened, RunPart},
    outcome::{Outcome, Verdict},
    spans::Span,
};

/// `content_type` of every message.
pub const CONTENT_TYPE: &str = "application/msgpack";
/// The largest message, in bytes.
pub const MAX_MESSAGE: usize = 1024 * 1024;
/// The header that holds the version.
pub const SCHEMA: &str = "schema";
/// The longest header value, in bytes.
pub const MAX_HEADER: usize = 1024;

/// What an operator sees of a message without decoding it, by name.
pub type Headers = BTreeMap<String, String>;

/// A message as a broker carries it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// The message's name, as in [`Wire::TYPE`].
    pub kind: String,
    /// What people see in the management UI, the version among it.
    pub headers: Headers,
    /// The MessagePack map.
    pub body: Vec<u8>,
}

/// A type that travels as a message.
pub trait Wire: Sized {
    /// The message's name.
    const TYPE: &'static str;
    /// The version this build writes, and the newest it reads.
    const SCHEMA: u32;

    /// Its MessagePack map.
    ///
    /// # Errors
    /// What MessagePack says; our own types never fail.
    fn to_body(&self) -> Result<Vec<u8>, rmp_serde::encode::Error>;

    /// Reads its MessagePack map.
    ///
    /// # Errors
    /// What MessagePack says of malformed bytes.
    fn from_body(body: &[u8]) -> Result<Self, rmp_serde::decode::Error>;

    /// What people should see without decoding.
    fn headers(&self) -> Headers {
        Headers::new()
    }
}

/// The MessagePack side of [`Wire`], compiled here once and not again in every crate that sends
/// or reads a message.
macro_rules! in_message_pack {
    () => {
        fn to_body(&self) -> Result<Vec<u8>, rmp_serde::encode::Error> {
            rmp_serde::to_vec_named(self)
        }

        fn from_body(body: &[u8]) -> Result<Self, rmp_serde::decode::Error> {
            rmp_serde::from_slice(body)
        }
    };
}

/// A message that can't be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// It is another message.
    #[error("a '{found}' message came where a '{expected}' was expected")]
    Type {
        /// What it is.
        found: String,
        /// What was expected.
        expected: &'static str,
    },
    /// It has no version, or one that is no number.
    #[error(
        "the '{kind}' message has the schema {}; it must be a number from 1",
        one_line(format_args!("{found:?}"))
    )]
    NoSchema {
        /// Its name.
        kind: &'static str,
        /// What its header says.
        found: Option<String>,
    },
    /// It is newer than this build.
    #[error("the '{kind}' message has schema {found}, this build reads up to {known}: upgrade it")]
    Newer {
        /// Its name.
        kind: &'static str,
        /// Its version.
        found: u32,
        /// The newest this build reads.
        known: u32,
    },
    /// Its body is malformed.
    #[error("the '{kind}' message can't be decoded: {}", one_line(source))]
    Malformed {
        /// Its name.
        kind: &'static str,
        /// What MessagePack says.
        source: rmp_serde::decode::Error,
    },
    /// It can't be encoded.
    #[error("a '{kind}' message can't be encoded: {source}")]
    Unencodable {
        /// Its name.
        kind: &'static str,
        /// What MessagePack says.
        source: rmp_serde::encode::Error,
    },
    /// It is larger than [`MAX_MESSAGE`].
    #[error("a '{kind}' message has {size} bytes; the limit is {MAX_MESSAGE}")]
    TooLarge {
        /// Its name.
        kind: String,
        /// Its size in bytes.
        size: usize,
    },
}

/// Encodes a message.
///
/// # Errors
/// [`WireError::TooLarge`] past [`MAX_MESSAGE`].
pub fn encode<T: Wire>(value: &T) -> Result<Message, WireError> {
    let body =
        value.to_body().map_err(|source| WireError::Unencodable { kind: T::TYPE, source })?;
    if body.len() > MAX_MESSAGE {
        return Err(WireError::TooLarge { kind: T::TYPE.to_owned(), size: body.len() });
    }
    let mut headers = value.headers();
    for value in headers.values_mut() {
        truncate(value, MAX_HEADER);
    }
    headers.insert(SCHEMA.to_owned(), T::SCHEMA.to_string());
    Ok(Message { kind: T::TYPE.to_owned(), headers, body })
}

/// Decodes a message.
///
/// # Errors
/// [`WireError`] when it is another message, newer than this build, oversized or malformed.
pub fn decode<T: Wire>(message: &Message) -> Result<T, WireError> {
    if message.kind != T::TYPE {
        let found = one_line(message.kind.chars().take(64).collect::<String>());
        return Err(WireError::Type { found, expected: T::TYPE });
    }
    if message.body.len() > MAX_MESSAGE {
        return Err(WireError::TooLarge { kind: T::TYPE.to_owned(), size: message.body.len() });
    }
    let schema = message.headers.get(SCHEMA);
    match schema.and_then(|text| text.parse::<u32>().ok()) {
        None | Some(0) => Err(WireError::NoSchema { kind: T::TYPE, found: schema.cloned() }),
        Some(found) if found > T::SCHEMA => {
            Err(WireError::Newer { kind: T::TYPE, found, known: T::SCHEMA })
        }
        Some(_) => T::from_body(&message.body)
            .map_err(|source| WireError::Malformed { kind: T::TYPE, source }),
    }
}

/// What a decoder says, in one line of at most [`MAX_HEADER`] bytes that no terminal trips over: it
/// may quote whatever it was given to read.
pub fn one_line(said: impl std::fmt::Display) -> String {
    let mut line = said.to_string().trim().replace(char::is_control, " ");
    truncate(&mut line, MAX_HEADER);
    line
}

/// The run and the job that the headers of an unreadable message name. One that names no job gets
/// a name of its own: the same each time that it is delivered, and not that of another.
#[must_use]
pub fn named(message: &Message) -> (String, String) {
    let named = |name: &str| message.headers.get(name).filter(|value| !value.is_empty()).cloned();
    let nameless = || {
        let mut hasher = DefaultHasher::new();
        message.body.hash(&mut hasher);
        format!("unknown-{:016x}", hasher.finish())
    };
    let run = named("run").unwrap_or_else(|| "unknown".to_owned());
    (run, named("job").unwrap_or_else(nameless))
}

/// Cuts a text to at most `most` bytes, at a character's boundary.
pub fn truncate(text: &mut String, most: usize) {
    text.truncate(text.floor_char_boundary(most));
}

fn headers<const N: usize>(pairs: [(&str, String); N]) -> Headers {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

impl Wire for Job {
    const TYPE: &'static str = "Job";
    const SCHEMA: u32 = 1;
    in_message_pack!();

    fn headers(&self) -> Headers {
        let kind = match &self.task {
            Task::Sieve { sieve, .. } => format!("sieve {}", sieve.family),
            Task::Statistics { statistics, .. } => statistics.to_string(),
            Task::Script(script) => format!("script {}", script.name),
        };
        headers([
            ("run", self.run.clone()),
            ("job", self.id.clone()),
            ("kind", kind),
            ("range", self.span().as_ref().map_or_else(String::new, Span::to_string)),
            ("attempt", format!("{} of {}", self.attempt, self.max_attempts)),
        ])
    }
}

impl Wire for Outcome {
    const TYPE: &'static str = "Outcome";
    const SCHEMA: u32 = 1;
    in_message_pack!();

    fn headers(&self) -> Headers {
        let mut headers = headers([
            ("run", self.run.clone()),
            ("job", self.job.clone()),
            ("attempt", self.attempt.to_string()),
            ("node", self.node.clone()),
        ]);
        let (kind, rest) = match &self.verdict {
            Verdict::Done(result) => {
                let spans: Vec<String> = result.tested.iter().map(Span::to_string).collect();
                ("done", ("range", spans.join(" ")))
            }
            Verdict::Finished(result) => ("done", ("range", result.index.to_string())),
            Verdict::Failed { failure, detail, .. } => {
                ("failed", ("last_error", format!("{failure}: {detail}")))
            }
            Verdict::Returned { detail, .. } => ("returned", ("last_error", detail.clone())),
        };
        headers.insert("kind".to_owned(), kind.to_owned());
        headers.insert(rest.0.to_owned(), rest.1);
        headers
    }
}

impl Wire for RunOpened {
    const TYPE: &'static str = "RunOpened";
    const SCHEMA: u32 = 1;
    in_message_pack!();

    fn headers(&self) -> Headers {
        headers([
            ("run", self.run.clone()),
            (
                "kind",
                self.generator()
                    .map_or_else(|| self.kind.clone(), |name| format!("{} {name}", self.kind)),
            ),
            ("range", self.requested.to_string()),
        ])
    }
}

impl Wire for RunPart {
    const TYPE: &'static str = "RunPart";
    const SCHEMA: u32 = 1;
    in_message_pack!();

    fn headers(&self) -> Headers {
        headers([("run", self.run.clone()), ("kind", format!("part {}", self.part))])
    }
}

impl Wire for Bell {
    const TYPE: &'static str = "Bell";
    const SCHEMA: u32 = 1;
    in_message_pack!();
}

impl Wire for Heartbeat {
    const TYPE: &'static str = "Heartbeat";
    const SCHEMA: u32 = 1;
    in_message_pack!();

    fn headers(&self) -> Headers {
        headers([("node", self.node.clone())])
    }
}

impl Wire for FleetState {
    const TYPE: &'static str = "FleetState";
    const SCHEMA: u32 = 1;
    in_message_pack!();
}
