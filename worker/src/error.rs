//! What a worker can end with.

use std::{io, path::PathBuf};

use shared::{broker::BrokerError, exit_codes, parent::ParentGone, settings::SettingsError};

use crate::devices::DeviceError;

/// Why a worker did not start, or had to end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// Settings that can't be had.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A setting that the worker can't work with.
    #[error("{0}")]
    Setting(String),
    /// There is no data folder.
    #[error(transparent)]
    Home(#[from] shared::settings::HomeError),
    /// The rates of this machine can't be kept.
    #[error(transparent)]
    Rates(#[from] shared::rates::RatesError),
    /// The devices that the settings ask for are not there.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// There is no runtime folder.
    #[error(transparent)]
    RuntimeFolder(#[from] crate::RuntimeFolderError),
    /// The broker refused or is not there.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The runner is not beside the worker.
    #[error(
        "there is no runner at {}: build or install it beside this worker \
         (cargo build --release -p kernels --bin {})",
        .path.display(), .path.file_name().unwrap_or_default().display()
    )]
    NoRunner {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The process that this worker was to end with has already ended.
    #[error(transparent)]
    ParentGone(#[from] ParentGone),
    /// A drain that could not hand over its last outcomes.
    #[error(
        "{outcomes} outcomes could not be handed to the broker within {seconds} s of the end; \
         their jobs will come back to the queue"
    )]
    Unreported {
        /// How many.
        outcomes: usize,
        /// How long it was tried.
        seconds: f64,
    },
    /// The system refuses something that a worker can't do without.
    #[error("{what}: {source}")]
    System {
        /// What was being done.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// A fault of ours.
    #[error("a fault of the worker: {0}")]
    Internal(String),
}

impl WorkerError {
    /// The exit code that goes with it.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Settings(_)
            | Self::Setting(_)
            | Self::Home(_)
            | Self::RuntimeFolder(_)
            | Self::Rates(_)
            | Self::NoRunner { .. } => exit_codes::USAGE,
            // It may work again, without a change of settings.
            Self::Device(DeviceError::Driver(_)) => exit_codes::DEVICE,
            Self::Device(_) => exit_codes::USAGE,
            Self::Broker(error) => error.exit_code(),
            Self::Unreported { .. } => exit_codes::UNREACHABLE,
            Self::ParentGone(_) => exit_codes::INTERRUPTED,
            Self::System { .. } | Self::Internal(_) => exit_codes::INTERNAL,
        }
    }
}
