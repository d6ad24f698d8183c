//! The queues and events in SQL.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use rusqlite::{Connection, Row, params};

use super::{fault::Fault, request::Numbered, schema};
use crate::{
    broker::{Delivery, Tag},
    topology::{
        DEAD_JOBS, DEAD_JOBS_MAX_LENGTH, DELIVERY_LIMIT, EVENTS_MAX_LENGTH, EVENTS_TTL_MS,
        RESULTS_DEAD,
    },
    wire::Message,
};

/// One take hands over no more than about this many bytes.
const TAKE_BYTES: usize = 16 << 20;
/// How many events are read at a time.
const EVENTS_AT_A_TIME: i64 = 256;
/// A log larger than this, in bytes, is emptied even if readers must be waited for.
const LARGE_LOG: u64 = 64 << 20;

/// The database, on behalf of one session.
#[derive(Debug)]
pub(super) struct Store {
    db: Connection,
    file: PathBuf,
    inode: u64,
    session: String,
    /// The session's number in this process, for the tags.
    number: u64,
    durable: bool,
}

impl Store {
    /// Opens the database file for a session.
    pub(super) fn open(file: &Path, session: &str, number: u64) -> Result<Self, Fault> {
        let db = schema::open(file)?;
        let inode = fs::metadata(file).map_err(|error| Fault::io("examine", file, &error))?.ino();
        let file = file.to_owned();
        Ok(Self { db, file, inode, session: session.to_owned(), number, durable: true })
    }

    /// Runs `work` as one transaction: all or nothing. A durable one is on disk when this
    /// returns; another is on disk after the next durable one of any process.
    pub(super) fn transaction<T>(
        &mut self,
        durable: bool,
        work: impl FnOnce(&Self) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        self.still_there()?;
        if durable != self.durable {
            let level = if durable { "FULL" } else { "NORMAL" };
            self.db.pragma_update(None, "synchronous", level)?;
            self.durable = durable;
        }
        self.run("BEGIN IMMEDIATE")?;
        let result = work(self).and_then(|value| self.run("COMMIT").map(|()| value));
        if result.is_err() && !self.db.is_autocommit() {
            self.run("ROLLBACK")?;
        }
        result
    }

    /// Whether a message waits in a queue.
    pub(super) fn any_waiting(&self, queue: &str) -> Result<bool, Fault> {
        let mut query =
            self.db.prepare_cached("SELECT EXISTS (SELECT 1 FROM waiting WHERE queue = ?1)")?;
        Ok(query.query_row([queue], |row| row.get(0))?)
    }

    /// How many messages wait in a queue.
    pub(super) fn depth(&self, queue: &str) -> Result<u64, Fault> {
        let mut query = self.db.prepare_cached("SELECT count(*) FROM waiting WHERE queue = ?1")?;
        let count: i64 = query.query_row([queue], |row| row.get(0))?;
        Ok(count.unsigned_abs())
    }

    /// Puts a message at a queue's end.
    pub(super) fn publish(&self, queue: &str, message: &Message) -> Result<(), Fault> {
        self.db
            .prepare_cached(
                "INSERT INTO messages (queue, kind, headers, body) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![queue, message.kind, headers(message)?, message.body])?;
        self.db
            .prepare_cached("INSERT INTO waiting (queue, id, returns) VALUES (?1, ?2, 0)")?
            .execute(params![queue, self.db.last_insert_rowid()])?;
        if queue == DEAD_JOBS {
            self.drop_oldest(queue, DEAD_JOBS_MAX_LENGTH)?;
        }
        Ok(())
    }

    fn drop_oldest(&self, queue: &str, most: i64) -> Result<(), Fault> {
        const SURPLUS: &str =
            "SELECT id FROM waiting WHERE queue = ?1 ORDER BY id DESC LIMIT -1 OFFSET ?2";
        self.db
            .prepare_cached(&format!("DELETE FROM messages WHERE id IN ({SURPLUS})"))?
            .execute(params![queue, most])?;
        self.db
            .prepare_cached(&format!("DELETE FROM waiting WHERE queue = ?1 AND id IN ({SURPLUS})"))?
            .execute(params![queue, most])?;
        Ok(())
    }

    /// Takes a queue's oldest messages for this session.
    pub(super) fn take(&self, queue: &str, most: usize) -> Result<Vec<Delivery>, Fault> {
        let mut oldest = self.db.prepare_cached(
            "SELECT id, returns, kind, headers, body FROM waiting JOIN messages USING (id)
             WHERE waiting.queue = ?1 ORDER BY id LIMIT ?2",
        )?;
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let mut rows = oldest.query(params![queue, most])?;
        let (mut deliveries, mut bytes) = (Vec::new(), 0);
        let mut moves = Vec::new();
        while bytes < TAKE_BYTES
            && let Some(row) = rows.next()?
        {
            let (id, returns): (i64, i64) = (row.get(0)?, row.get(1)?);
            let message = message(row, 2)?;
            bytes += message.body.len();
            moves.push((id, returns));
            deliveries.push(Delivery {
                queue: queue.to_owned(),
                message,
                redelivered: returns > 0,
                tag: Tag { session: self.number, delivery: id.unsigned_abs(), channel: None },
            });
        }
        drop(rows);
        let mut delete =
            self.db.prepare_cached("DELETE FROM waiting WHERE queue = ?1 AND id = ?2")?;
        let mut insert = self
            .db
            .prepare_cached("INSERT INTO taken (session, id, returns) VALUES (?1, ?2, ?3)")?;
        for (id, returns) in moves {
            delete.execute(params![queue, id])?;
            insert.execute(params![self.session, id, returns])?;
        }
        Ok(deliveries)
    }

    /// Deletes a message that this session holds; another's, or none, is passed over.
    pub(super) fn ack(&self, delivery: u64) -> Result<(), Fault> {
        let id = row_id(delivery);
        if self.release(id)? {
            self.db.prepare_cached("DELETE FROM messages WHERE id = ?1")?.execute([id])?;
        }
        Ok(())
    }

    /// Puts back a message that this session holds and nobody has seen.
    pub(super) fn put_back_unseen(&self, delivery: u64) -> Result<(), Fault> {
        let id = row_id(delivery);
        self.db
            .prepare_cached(
                "INSERT INTO waiting (queue, id, returns)
                 SELECT queue, id, returns FROM taken JOIN messages USING (id)
                 WHERE session = ?1 AND id = ?2",
            )?
            .execute(params![self.session, id])?;
        self.release(id)?;
        Ok(())
    }

    fn release(&self, id: i64) -> Result<bool, Fault> {
        let mut delete =
            self.db.prepare_cached("DELETE FROM taken WHERE session = ?1 AND id = ?2")?;
        Ok(delete.execute(params![self.session, id])? == 1)
    }

    /// Puts back everything a session holds, marked as redelivered; a job that came back more
    /// often than [`DELIVERY_LIMIT`] goes to [`RESULTS_DEAD`] instead, with the headers that
    /// RabbitMQ gives it. Returns how many messages it was.
    pub(super) fn put_back_all(&self, session: &str) -> Result<usize, Fault> {
        self.db
            .prepare_cached(
                "UPDATE messages SET queue = ?2, headers = json_set(headers,
                     '$.x-first-death-queue', queue, '$.x-first-death-reason', 'delivery_limit')
                 WHERE queue GLOB 'jobs.*'
                 AND id IN (SELECT id FROM taken WHERE session = ?1 AND returns >= ?3)",
            )?
            .execute(params![session, RESULTS_DEAD, DELIVERY_LIMIT])?;
        self.db
            .prepare_cached(
                "INSERT INTO waiting (queue, id, returns)
                 SELECT queue, id, returns + 1 FROM taken JOIN messages USING (id)
                 WHERE session = ?1",
            )?
            .execute([session])?;
        Ok(self.db.prepare_cached("DELETE FROM taken WHERE session = ?1")?.execute([session])?)
    }

    /// The sessions that hold messages, this one among them if it does.
    pub(super) fn holders(&self) -> Result<Vec<String>, Fault> {
        // From one session straight to the next, however much each holds.
        let mut next =
            self.db.prepare_cached("SELECT min(session) FROM taken WHERE session > ?1")?;
        let mut holders = Vec::new();
        let mut last = String::new();
        while let Some(holder) = next.query_row([&last], |row| row.get::<_, Option<String>>(0))? {
            last.clone_from(&holder);
            holders.push(holder);
        }
        Ok(holders)
    }

    /// Writes an event and forgets those that are too old or too many.
    pub(super) fn broadcast(&self, event: &Message) -> Result<(), Fault> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        self.db
            .prepare_cached("INSERT INTO events (at, kind, headers, body) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![now, event.kind, headers(event)?, event.body])?;
        let newest = self.db.last_insert_rowid();
        self.db
            .prepare_cached(
                "DELETE FROM events WHERE id <= ?1
                 OR id < (SELECT id FROM events WHERE at >= ?2 ORDER BY id LIMIT 1)",
            )?
            .execute(params![newest - EVENTS_MAX_LENGTH, now - EVENTS_TTL_MS])?;
        Ok(())
    }

    /// The newest event's number, though it may be forgotten already; 0 before the first.
    pub(super) fn newest_event(&self) -> Result<i64, Fault> {
        let mut query = self.db.prepare_cached(
            "SELECT ifnull((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0)",
        )?;
        Ok(query.query_row([], |row| row.get(0))?)
    }

    /// The next events after a number.
    pub(super) fn events(&self, after: i64) -> Result<Vec<Numbered>, Fault> {
        let mut query = self.db.prepare_cached(
            "SELECT id, kind, headers, body FROM events WHERE id > ?1 ORDER BY id LIMIT ?2",
        )?;
        let rows = query
            .query_map([after, EVENTS_AT_A_TIME], |row| Ok((row.get(0)?, message(row, 1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Empties a log that has grown since readers never left a gap.
    pub(super) fn bound_log(&self) -> Result<(), Fault> {
        let mut log = self.file.clone().into_os_string();
        log.push("-wal");
        if fs::metadata(log).is_ok_and(|about| about.len() > LARGE_LOG) {
            self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        }
        Ok(())
    }

    /// A file that was deleted or replaced would swallow everything written to it.
    fn still_there(&self) -> Result<(), Fault> {
        if fs::metadata(&self.file).is_ok_and(|about| about.ino() == self.inode) {
            return Ok(());
        }
        Err(Fault::Folder(format!(
            "{} was removed or replaced while it was in use; start again",
            self.file.display()
        )))
    }

    fn run(&self, statement: &str) -> Result<(), Fault> {
        self.db.prepare_cached(statement)?.execute([])?;
        Ok(())
    }
}

fn row_id(delivery: u64) -> i64 {
    i64::try_from(delivery).unwrap_or(-1)
}

fn headers(message: &Message) -> Result<String, Fault> {
    serde_json::to_string(&message.headers)
        .map_err(|error| Fault::Internal(format!("headers can't be encoded: {error}")))
}

/// The message in a row's `kind`, `headers` and `body` from column `first` on. Headers that can't
/// be read are as good as none: the message then has no schema, and its reader says so.
fn message(row: &Row<'_>, first: usize) -> rusqlite::Result<Message> {
    let headers: String = row.get(first + 1)?;
    Ok(Message {
        kind: row.get(first)?,
        headers: serde_json::from_str(&headers).unwrap_or_default(),
        body: row.get(first + 2)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{broker::embedded::files, wire::Headers};

    fn store(folder: &tempfile::TempDir) -> Store {
        Store::open(&files::prepare(folder.path()).unwrap(), "me", 1).unwrap()
    }

    fn message(size: usize) -> Message {
        Message { kind: "Job".to_owned(), headers: Headers::new(), body: vec![0xa5; size] }
    }

    fn uses_index(store: &Store, statement: &str) {
        let mut plan = store.db.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).unwrap();
        let steps = plan.query_map([], |row| row.get::<_, String>(3)).unwrap();
        let steps: Vec<String> = steps.collect::<Result<_, _>>().unwrap();
        assert!(!steps.iter().any(|step| step.contains("SCAN")), "{statement}: {steps:?}");
        assert!(!steps.iter().any(|step| step.contains("TEMP")), "{statement}: {steps:?}");
    }

    #[test]
    fn taking_reads_no_more_than_it_takes() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        uses_index(
            &store,
            "SELECT id, returns, kind, headers, body FROM waiting JOIN messages USING (id)
             WHERE waiting.queue = 'q' ORDER BY id LIMIT 5",
        );
        uses_index(&store, "SELECT min(session) FROM taken WHERE session > 'a'");
        uses_index(&store, "SELECT 1 FROM waiting WHERE queue = 'q'");
        uses_index(&store, "SELECT id FROM events WHERE id > 5 ORDER BY id LIMIT 5");
    }

    #[test]
    fn a_job_that_ends_its_workers_is_dead_after_the_delivery_limit() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        store.publish("jobs.seed.cpu", &message(10)).unwrap();
        store.publish("results.seed", &message(20)).unwrap();
        for delivery in 0..=DELIVERY_LIMIT {
            let job = store.take("jobs.seed.cpu", 1).unwrap().pop().unwrap();
            assert_eq!(job.redelivered, delivery > 0);
            assert_eq!(store.take("results.seed", 1).unwrap().len(), 1);
            assert_eq!(store.put_back_all("me").unwrap(), 2);
        }
        assert_eq!(store.depth("jobs.seed.cpu").unwrap(), 0);
        assert_eq!(store.depth("results.seed").unwrap(), 1, "results are for ever");
        let dead = store.take(RESULTS_DEAD, 1).unwrap().pop().unwrap();
        assert_eq!(dead.message.body, message(10).body);
        assert_eq!(dead.message.headers["x-first-death-queue"], "jobs.seed.cpu");
        assert_eq!(dead.message.headers["x-first-death-reason"], "delivery_limit");
    }

    #[test]
    fn copies_of_dead_jobs_are_bounded_and_the_oldest_go_first() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = store(&folder);
        let surplus = 3;
        store
            .transaction(false, |store| {
                // As many at once as no publisher has, then some as publishers do.
                store.db.execute_batch(&format!(
                    "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n
                         WHERE n < {DEAD_JOBS_MAX_LENGTH})
                     INSERT INTO messages SELECT n, '{DEAD_JOBS}', 'Job', '{{}}', x'' FROM n;
                     INSERT INTO waiting SELECT queue, id, 0 FROM messages;"
                ))?;
                (0..surplus).try_for_each(|_| store.publish(DEAD_JOBS, &message(1)))
            })
            .unwrap();
        assert_eq!(store.depth(DEAD_JOBS).unwrap(), DEAD_JOBS_MAX_LENGTH.unsigned_abs());
        let oldest = store.take(DEAD_JOBS, 1).unwrap().pop().unwrap();
        assert_eq!(oldest.tag.delivery, surplus + 1);
        let count = |table| {
            let count = format!("SELECT count(*) FROM {table}");
            store.db.query_row(&count, [], |row| row.get::<_, i64>(0)).unwrap()
        };
        assert_eq!(count("messages"), DEAD_JOBS_MAX_LENGTH);
    }

    #[test]
    fn events_are_bounded_in_number_and_age() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = store(&folder);
        let count = |store: &Store| -> i64 {
            store.db.query_row("SELECT count(*) FROM events", [], |row| row.get(0)).unwrap()
        };
        store
            .transaction(false, |store| {
                (0..EVENTS_MAX_LENGTH + 5).try_for_each(|_| store.broadcast(&message(1)))
            })
            .unwrap();
        assert_eq!(count(&store), EVENTS_MAX_LENGTH);
        let old = "UPDATE events SET at = at - ?1 - 1000";
        store.db.execute(old, [EVENTS_TTL_MS]).unwrap();
        store.broadcast(&message(2)).unwrap();
        assert_eq!(count(&store), 1);
        let newest = store.newest_event().unwrap();
        assert_eq!(newest, EVENTS_MAX_LENGTH + 6);
        assert_eq!(store.events(newest - 1).unwrap(), [(newest, message(2))]);
        store.db.execute("DELETE FROM events", []).unwrap();
        assert_eq!(store.newest_event().unwrap(), newest);
    }

    #[test]
    fn a_full_disk_is_said_and_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = store(&folder);
        store.db.pragma_update_and_check(None, "max_page_count", 100, |_| Ok(())).unwrap();
        store.transaction(true, |store| store.publish("q", &message(10))).unwrap();
        let full = store.transaction(true, |store| {
            store.publish("q", &message(10))?;
            store.publish("q", &message(1_000_000))
        });
        match full {
            Err(Fault::Folder(why)) => assert!(why.contains("disk is full"), "{why}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(store.depth("q").unwrap(), 1);
        store.transaction(true, |store| store.publish("q", &message(10))).unwrap();
        assert_eq!(store.depth("q").unwrap(), 2);
    }

    #[test]
    fn what_is_acknowledged_leaves_room_for_more() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = store(&folder);
        let size = || fs::metadata(folder.path().join(files::DATABASE)).unwrap().len();
        let mut first = 0;
        for round in 0..20 {
            for _ in 0..50 {
                store.transaction(false, |store| store.publish("q", &message(10_000))).unwrap();
            }
            let held = store.transaction(false, |store| store.take("q", 1000)).unwrap();
            assert_eq!(held.len(), 50);
            let acks = |store: &Store| held.iter().try_for_each(|d| store.ack(d.tag.delivery));
            store.transaction(false, acks).unwrap();
            store.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
            if round == 0 {
                first = size();
            }
        }
        assert!(size() <= 2 * first, "{} after {first}", size());
    }
}
