//! Opening the database: its settings, its tables, and whether it is ours at all.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags};

use super::fault::Fault;

/// `application_id` of the queues' database: "RigQ".
const APPLICATION: i64 = 0x5269_6751;
/// The tables' version, as `user_version`.
const VERSION: i64 = 1;

/// Messages lie still while they wait, are taken and come back; only the small rows beside them
/// move. Numbers are never used twice, since a late acknowledgement may still name one.
const TABLES: &str = "
    CREATE TABLE messages (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        queue TEXT NOT NULL,
        kind TEXT NOT NULL,
        headers TEXT NOT NULL,      -- a JSON object of strings
        body BLOB NOT NULL
    ) STRICT;
    CREATE TABLE waiting (
        queue TEXT NOT NULL,
        id INTEGER NOT NULL,
        returns INTEGER NOT NULL,   -- how many times it came back
        PRIMARY KEY (queue, id)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE taken (
        session TEXT NOT NULL,      -- the name of its lock in sessions/
        id INTEGER NOT NULL,
        returns INTEGER NOT NULL,
        PRIMARY KEY (session, id)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE events (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at INTEGER NOT NULL,        -- milliseconds since 1970
        kind TEXT NOT NULL,
        headers TEXT NOT NULL,
        body BLOB NOT NULL
    ) STRICT;";

/// The most pages the log holds before a commit moves them to the database: 16 MiB.
const CHECKPOINT_PAGES: i64 = 4096;
/// What is left of the log's file after a large commit, in bytes.
const LOG_BYTES: i64 = 64 << 20;
/// After this many waits (16 s and more) a busy database is given up.
const MOST_WAITS: i32 = 8100;

/// Opens a database file, makes the tables in an empty one. To be called in
/// [`super::files::turn_to_open`].
pub(super) fn open(path: &Path) -> Result<Connection, Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_EXRESCODE;
    let mut db = Connection::open_with_flags(path, flags)?;
    db.busy_handler(Some(wait))?;
    db.set_prepared_statement_cache_capacity(64);
    let pragma = |name| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (application, version) = (pragma("application_id")?, pragma("user_version")?);
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if (application, version, tables) != (0, 0, 0) {
        refuse_strangers(application, version)?;
    }
    let mode: String = db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(Fault::Folder(format!(
            "its file system can't share memory between processes (journal mode {mode}); choose a \
             local disk with RIGQUEUE_HOME or RIGQUEUE_BROKER=embedded:/path"
        )));
    }
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    db.pragma_update(None, "journal_size_limit", LOG_BYTES)?;
    if tables == 0 {
        db.execute_batch(&format!(
            "BEGIN IMMEDIATE; {TABLES} PRAGMA application_id = {APPLICATION};
             PRAGMA user_version = {VERSION}; COMMIT"
        ))?;
    }
    Ok(db)
}

fn refuse_strangers(application: i64, version: i64) -> Result<(), Fault> {
    let name = super::files::DATABASE;
    if application != APPLICATION {
        return Err(Fault::Folder(format!(
            "its {name} is a database of another program; move it away or choose another folder"
        )));
    }
    if version != VERSION {
        return Err(Fault::Folder(format!(
            "its {name} has version {version}, this build knows {VERSION}: use the build that \
             wrote it, or move it away"
        )));
    }
    Ok(())
}

/// Waits for another process's commit: shortly at first, since most take a few milliseconds.
fn wait(waits: i32) -> bool {
    let pause = match waits {
        0..10 => Duration::from_micros(100),
        10..100 => Duration::from_micros(500),
        _ => Duration::from_millis(2),
    };
    std::thread::sleep(pause);
    waits < MOST_WAITS
}
