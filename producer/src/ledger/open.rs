//! Opening the ledger: to own it, to read it, to write one short transaction.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};
use rustix::fs::{FlockOperation, flock};

/// What brings a ledger from each version to the next, from none to the first.
const MIGRATIONS: [&str; 5] = [
    include_str!("schema/1.sql"),
    include_str!("schema/2.sql"),
    include_str!("schema/3.sql"),
    include_str!("schema/4.sql"),
    include_str!("schema/5.sql"),
];
const VERSION: i64 = MIGRATIONS.len() as i64;
/// "RigQ": marks the file as ours.
const APPLICATION_ID: i64 = 0x5269_6751;
/// Another process's short transaction may hold the ledger; nobody holds it longer.
const BUSY: Duration = Duration::from_secs(15);

/// The ledger of one data folder.
#[derive(Debug)]
pub struct Ledger {
    pub(super) db: Connection,
}

/// Keeps a second aggregator out for as long as it lives, and however its process ends.
#[derive(Debug)]
pub struct LedgerLock {
    _file: File,
}

/// What the ledger could not do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// Its folder or file can't be used.
    #[error("the ledger {path} can't be used: {why}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Another aggregator owns it.
    #[error(
        "another aggregator already works on the ledger in {0}: stop it first, or use another RIGQUEUE_HOME"
    )]
    Owned(PathBuf),
    /// SQLite failed: a full disk, a fault of the disk, or of ours.
    #[error("the ledger failed: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A record that makes no sense beside what the ledger holds.
    #[error("{0}")]
    Refused(String),
    /// What the ledger itself stored can't be read back.
    #[error("the ledger holds a record that can't be read: {0}")]
    Corrupt(String),
}

impl LedgerError {
    /// Whether the record is at fault, so that trying it again can't help.
    #[must_use]
    pub const fn is_the_records(&self) -> bool {
        matches!(self, Self::Refused(_))
    }
}

impl Ledger {
    /// The ledger's file in a data folder.
    #[must_use]
    pub fn path(home: &Path) -> PathBuf {
        home.join("ledger.db")
    }

    /// Opens the ledger as its one owner, making the folder and the file if need be.
    ///
    /// # Errors
    /// [`LedgerError::Owned`] when another aggregator has it; [`LedgerError::Unusable`] when the
    /// folder can't be written or the file is not a ledger of a known version.
    pub fn own(home: &Path) -> Result<(Self, LedgerLock), LedgerError> {
        let unusable = |error: &dyn std::fmt::Display| LedgerError::Unusable {
            path: Self::path(home),
            why: error.to_string(),
        };
        fs::create_dir_all(home).map_err(|error| unusable(&error))?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(home.join("ledger.lock"))
            .map_err(|error| unusable(&error))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(LedgerError::Owned(home.to_owned())),
            Err(error) => return Err(unusable(&io::Error::from(error))),
        }
        Ok((Self::write(home)?, LedgerLock { _file: lock }))
    }

    /// Opens the ledger for a short transaction, making it if need be.
    ///
    /// # Errors
    /// As [`Ledger::own`], but for ownership.
    pub fn write(home: &Path) -> Result<Self, LedgerError> {
        let path = Self::path(home);
        let unusable = |why: String| LedgerError::Unusable { path: path.clone(), why };
        fs::create_dir_all(home).map_err(|error| unusable(error.to_string()))?;
        let mut db = Connection::open(&path).map_err(|error| unusable(error.to_string()))?;
        prepare(&mut db).map_err(|error| match error {
            LedgerError::Sqlite(error) => unusable(error.to_string()),
            LedgerError::Refused(why) => unusable(why),
            other => other,
        })?;
        Ok(Self { db })
    }

    /// Opens the ledger for reading; `None` when the folder has none yet. One of an older version
    /// is brought up to this one's first.
    ///
    /// # Errors
    /// [`LedgerError::Unusable`] when there is a file that can't be read as a ledger.
    pub fn read(home: &Path) -> Result<Option<Self>, LedgerError> {
        let path = Self::path(home);
        if !path.exists() {
            return Ok(None);
        }
        let unusable = |why: String| LedgerError::Unusable { path: path.clone(), why };
        let open = || -> Result<(Connection, i64), rusqlite::Error> {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let db = Connection::open_with_flags(&path, flags)?;
            db.busy_timeout(BUSY)?;
            let version = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
            Ok((db, version))
        };
        match open() {
            // The file was just made and its owner has not laid the tables yet.
            Ok((_, 0)) => Ok(None),
            Ok((db, VERSION)) => Ok(Some(Self { db })),
            Ok((_, older)) if older < VERSION => {
                drop(Self::write(home)?);
                Self::read(home)
            }
            Ok((_, version)) => Err(unusable(newer(version))),
            Err(error) => Err(unusable(error.to_string())),
        }
    }

    /// A number that changes whenever another connection committed something.
    ///
    /// # Errors
    /// [`LedgerError::Sqlite`].
    pub fn data_version(&self) -> Result<i64, LedgerError> {
        Ok(self.db.pragma_query_value(None, "data_version", |row| row.get(0))?)
    }
}

fn newer(version: i64) -> String {
    format!("it has version {version}, this build knows up to {VERSION}: upgrade RigQueue")
}

fn prepare(db: &mut Connection) -> Result<(), LedgerError> {
    db.busy_timeout(BUSY)?;
    db.set_prepared_statement_cache_capacity(64);
    db.pragma_update(None, "journal_mode", "wal")?;
    // An acknowledged outcome must survive a power cut.
    db.pragma_update(None, "synchronous", "full")?;
    let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let version: i64 = tx.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let lacking = usize::try_from(version).ok().and_then(|version| MIGRATIONS.get(version..));
    let Some(lacking) = lacking else { return Err(LedgerError::Refused(newer(version))) };
    if version == 0 {
        let tables: i64 = tx.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))?;
        if tables > 0 {
            return Err(LedgerError::Refused("it is some other SQLite database".to_owned()));
        }
    }
    for migration in lacking {
        tx.execute_batch(migration)?;
    }
    if version == 0 {
        let uuid = uuid::Uuid::now_v7().to_string();
        tx.execute("INSERT INTO ledger (uuid) VALUES (?1)", [uuid])?;
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    tx.pragma_update(None, "user_version", VERSION)?;
    Ok(tx.commit()?)
}

/// A `u64` as SQLite stores it, so that order holds.
pub(super) const fn stored(value: u64) -> i64 {
    (value ^ (1 << 63)).cast_signed()
}

/// The `u64` that SQLite stored.
pub(super) const fn loaded(value: i64) -> u64 {
    value.cast_unsigned() ^ (1 << 63)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_seeds_keep_their_order() {
        let seeds = [0, 1, (1 << 63) - 1, 1 << 63, u64::MAX];
        assert!(seeds.windows(2).all(|pair| stored(pair[0]) < stored(pair[1])));
        assert!(seeds.iter().all(|&seed| loaded(stored(seed)) == seed));
    }

    #[test]
    fn a_second_owner_is_kept_out() {
        let home = tempfile::tempdir().unwrap();
        let first = Ledger::own(home.path()).unwrap();
        assert!(matches!(Ledger::own(home.path()), Err(LedgerError::Owned(_))));
        assert!(Ledger::read(home.path()).unwrap().is_some());
        drop(first);
        Ledger::own(home.path()).unwrap();
    }

    #[test]
    fn a_ledger_of_the_first_version_is_brought_up_to_date() {
        let home = tempfile::tempdir().unwrap();
        let db = Connection::open(Ledger::path(home.path())).unwrap();
        db.execute_batch(MIGRATIONS[0]).unwrap();
        db.execute_batch(
            "INSERT INTO ledger VALUES ('u'); PRAGMA user_version = 1;
             INSERT INTO runs (name, epoch, state, opened_at, done) VALUES ('r', 3, 'open', 7, 2);
             INSERT INTO dead (run, job, failure, detail, at) VALUES (1, 'j', 'Rejected', 'd', 8);
             INSERT INTO survivors (run, seed, matches, skip, outcome) VALUES (1, 5, 9, 2, 1);",
        )
        .unwrap();
        drop(db);
        let ledger = Ledger::read(home.path()).unwrap().unwrap();
        let run = ledger.run("r").unwrap().unwrap();
        assert_eq!((run.epoch, run.counts.done, run.note.clone()), (3, 2, None));
        assert_eq!(ledger.dead_jobs(&run).unwrap()[0].job, "j");
        let survivors = ledger.survivors(&run, 10).unwrap();
        assert_eq!((survivors[0].survivor.best.matches, &survivors[0].sequences), (9, &None));
        assert_eq!(ledger.uuid().unwrap(), "u");
    }

    #[test]
    fn foreign_and_newer_files_are_refused() {
        let home = tempfile::tempdir().unwrap();
        let db = Connection::open(Ledger::path(home.path())).unwrap();
        db.execute_batch("CREATE TABLE other (x)").unwrap();
        assert!(Ledger::write(home.path()).unwrap_err().to_string().contains("some other"));
        db.pragma_update(None, "user_version", 7).unwrap();
        for error in [Ledger::write(home.path()), Ledger::read(home.path()).map(Option::unwrap)] {
            assert!(error.unwrap_err().to_string().contains("upgrade RigQueue"));
        }
        fs::write(
            Ledger::path(home.path()),
            b"garbage that is longer than a header of SQLite, much",
        )
        .unwrap();
        assert!(matches!(Ledger::write(home.path()), Err(LedgerError::Unusable { .. })));
    }
}
