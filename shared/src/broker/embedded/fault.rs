//! What can go wrong below the trait, in a form that every caller of one commit can be told.

use std::{io, path::Path};

use rusqlite::ErrorCode;

use crate::broker::BrokerError;

/// Where to go when a folder can't be used.
const ELSEWHERE: &str =
    "choose another with RIGQUEUE_HOME or RIGQUEUE_BROKER=embedded:/path/to/a/local/folder";

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// Another process held the database for longer than anyone should.
    Busy(String),
    /// The folder or what lies in it can't be used.
    Folder(String),
    /// The session has ended.
    Closed,
    /// A fault of ours.
    Internal(String),
}

impl Fault {
    /// A file operation that failed, as in `can't <action> <path>`.
    pub(super) fn io(action: &str, path: &Path, error: &io::Error) -> Self {
        let advice = match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                format!("make it writable for this user, or {ELSEWHERE}")
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "free some space on its disk".to_owned()
            }
            io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
                format!("a file stands where a folder is needed: remove it, or {ELSEWHERE}")
            }
            _ => ELSEWHERE.to_owned(),
        };
        Self::Folder(format!("can't {action} {}: {error}; {advice}", path.display()))
    }

    /// What the caller is told.
    pub(super) fn into_error(self, folder: &Path) -> BrokerError {
        let url = || format!("embedded:{}", folder.display());
        match self {
            Self::Busy(why) => BrokerError::Unreachable { url: url(), why },
            Self::Closed => {
                BrokerError::Unreachable { url: url(), why: "this session was closed".to_owned() }
            }
            Self::Folder(why) => BrokerError::Folder { folder: folder.display().to_string(), why },
            Self::Internal(why) => BrokerError::Internal(why),
        }
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        let Some(code) = error.sqlite_error_code() else {
            return Self::Internal(format!("the queues' database: {error}"));
        };
        match code {
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::FileLockingProtocolFailed => Self::Busy(format!(
                "another process has held its database for more than 15 s ({error}); look for a \
                 stopped process or a disk that hangs"
            )),
            ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied => {
                Self::Folder(format!(
                    "its database can't be written ({error}); make the folder and its files \
                     writable for this user, or {ELSEWHERE}"
                ))
            }
            ErrorCode::DiskFull => {
                Self::Folder(format!("its disk is full ({error}); free some space on it"))
            }
            ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt => Self::Folder(format!(
                "{} is damaged or no database at all ({error}); move it away (the ledger will \
                 queue again what is missing) and check the disk",
                super::files::DATABASE
            )),
            ErrorCode::SystemIoFailure => Self::Folder(format!(
                "reading or writing its database failed ({error}); check the disk, then try again"
            )),
            _ => Self::Internal(format!("the queues' database: {error}")),
        }
    }
}
