//! How a command fails: one line for people, one exit code for scripts.

use std::{io, path::Path};

use shared::{
    broker::BrokerError,
    exit_codes,
    settings::{HomeError, SettingsError},
    wire::WireError,
};

use crate::{
    aggregate::AggregateError, certificate::CertificateError, export::ExportError,
    ledger::LedgerError,
};

/// A command's failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit code, one of [`exit_codes`].
    pub code: u8,
    /// What was wrong and what to do, in one line; empty when all was said already.
    pub message: String,
}

impl Failure {
    /// Bad input or usage.
    #[must_use]
    pub fn usage(message: impl std::fmt::Display) -> Self {
        Self { code: exit_codes::USAGE, message: message.to_string() }
    }

    /// A fault of ours.
    #[must_use]
    pub fn internal(message: impl std::fmt::Display) -> Self {
        Self { code: exit_codes::INTERNAL, message: message.to_string() }
    }

    /// The broker or the ledger can't be reached.
    #[must_use]
    pub fn unreachable(message: impl std::fmt::Display) -> Self {
        Self { code: exit_codes::UNREACHABLE, message: message.to_string() }
    }

    /// No such run, job or node.
    #[must_use]
    pub fn not_found(message: impl std::fmt::Display) -> Self {
        Self { code: exit_codes::NOT_FOUND, message: message.to_string() }
    }

    /// No such run.
    #[must_use]
    pub fn no_run(name: &str, home: &Path) -> Self {
        Self::not_found(format!(
            "no run is called '{name}' in {} (`producer runs` lists all)",
            home.display()
        ))
    }

    /// No such node.
    #[must_use]
    pub fn no_node(name: &str) -> Self {
        Self::not_found(format!(
            "no node called '{name}' was heard in the last 7 days (`producer node list` lists all)"
        ))
    }
}

impl From<BrokerError> for Failure {
    fn from(error: BrokerError) -> Self {
        Self { code: error.exit_code(), message: error.to_string() }
    }
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Refused(_) => Self::usage(error),
            LedgerError::Corrupt(_) => Self::internal(error),
            _ => Self::unreachable(error),
        }
    }
}

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Ledger(error)
            | ExportError::Certificate(CertificateError::Ledger(error)) => error.into(),
            ExportError::Certificate(_)
            | ExportError::Reports { .. }
            | ExportError::File { .. } => Self::usage(error),
            ExportError::Stream(error) => error.into(),
        }
    }
}

impl From<AggregateError> for Failure {
    fn from(error: AggregateError) -> Self {
        match error {
            AggregateError::Broker(error) => error.into(),
            AggregateError::Ledger(error) => error.into(),
            AggregateError::Wire(error) => error.into(),
        }
    }
}

impl From<WireError> for Failure {
    fn from(error: WireError) -> Self {
        Self::internal(error)
    }
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        Self::usage(error)
    }
}

impl From<HomeError> for Failure {
    fn from(error: HomeError) -> Self {
        Self::usage(error)
    }
}

impl From<io::Error> for Failure {
    /// Output that nobody reads any more (`| head`) is no failure.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self { code: exit_codes::DONE, message: String::new() };
        }
        Self::internal(format!("the output can't be written: {error}"))
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        io::Error::from(error).into()
    }
}
