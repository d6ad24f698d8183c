//! What the ledger and the logs say of it all, in figures.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use tests::{exact::Search, rig::Rig};

use crate::faults::{Fault, KINDS};

/// The ledger's database, read without any code of the aggregator's.
#[derive(Debug)]
pub(crate) struct Books(Connection);

impl Books {
    /// Opens it; `None` while there is none.
    pub(crate) fn open(rig: &Rig) -> Option<Self> {
        let path = rig.home().join("ledger.db");
        let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
        db.busy_timeout(Duration::from_secs(30)).ok()?;
        let books = Self(db);
        let is_laid = books.0.query_row("SELECT count(*) FROM runs", [], |_| Ok(())).is_ok();
        is_laid.then_some(books)
    }

    fn number(&self, query: &str) -> u64 {
        let number: i64 = self.0.query_row(query, [], |row| row.get(0)).expect("a number");
        u64::try_from(number).expect("a count")
    }

    /// Seeds that are covered, of all runs together.
    pub(crate) fn covered(&self) -> u64 {
        self.number("SELECT coalesce(sum(last - first + 1), 0) FROM coverage")
    }

    /// The runs whose manifest is known, and their states.
    pub(crate) fn runs(&self) -> BTreeMap<String, String> {
        let mut query = self
            .0
            .prepare_cached("SELECT name, state FROM runs WHERE manifest IS NOT NULL")
            .expect("a query");
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("runs");
        rows.collect::<Result<_, _>>().expect("runs")
    }

    /// Later outcomes of a key that had one: they count for nothing.
    fn duplicates(&self) -> u64 {
        self.number(
            "SELECT count(*) - (SELECT count(*) FROM (SELECT DISTINCT run, job, seq FROM outcomes))
             FROM outcomes",
        )
    }

    /// Jobs of a run that were done, each counted once.
    fn done(&self, run: &str) -> u64 {
        let done: i64 = self
            .0
            .query_row(
                "SELECT count(*) FROM (SELECT DISTINCT job, seq FROM outcomes WHERE verdict = 'done'
                 AND run = (SELECT id FROM runs WHERE name = ?1))",
                [run],
                |row| row.get(0),
            )
            .expect("a number");
        u64::try_from(done).expect("a count")
    }
}

/// Faults that happened, and how long until more was covered.
#[derive(Debug, Default)]
pub(crate) struct Recoveries {
    covered: u64,
    waiting: Vec<(Fault, Instant)>,
    seen: BTreeMap<Fault, (usize, Duration)>,
}

impl Recoveries {
    /// A fault happened.
    pub(crate) fn fault(&mut self, fault: Fault, since: Instant) {
        self.waiting.push((fault, since));
        self.seen.entry(fault).or_default().0 += 1;
    }

    /// So much is covered now.
    pub(crate) fn covered(&mut self, covered: u64) {
        if covered > self.covered {
            self.covered = covered;
            for (fault, since) in self.waiting.drain(..) {
                let longest = &mut self.seen.entry(fault).or_default().1;
                *longest = since.elapsed().max(*longest);
            }
        }
    }

    /// Each kind that happened: its name, how often, the longest recovery.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = (&'static str, usize, Duration)> {
        KINDS.iter().filter_map(|(fault, name, _)| {
            self.seen.get(fault).map(|(count, longest)| (*name, *count, *longest))
        })
    }
}

/// The end of all runs against the independent count.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) jobs: u64,
    pub(crate) done: u64,
    pub(crate) retried: u64,
    pub(crate) requeued: u64,
    pub(crate) redeliveries: u64,
    pub(crate) duplicates: u64,
    /// Seeds that are not covered, and survivors that are missing or other than they should be.
    pub(crate) lost: u64,
    /// Survivors that should not be there, or twice; jobs that count twice.
    pub(crate) doubled: u64,
    pub(crate) remarks: Vec<String>,
}

impl Totals {
    pub(crate) fn of(books: &Books, redeliveries: usize) -> Self {
        let (duplicates, redeliveries) = (books.duplicates(), redeliveries as u64);
        Self { duplicates, redeliveries, ..Self::default() }
    }

    /// A run whose producer was told that all of it is published, and that nobody knows.
    pub(crate) fn add_unknown(&mut self, run: &str, search: Search) {
        self.lost += u64::from(search.end);
        self.remarks.push(format!("{run} is unknown"));
    }

    /// Adds what `status` says of a run that the ledger has.
    pub(crate) fn add(&mut self, run: &str, search: Search, status: &Value, books: &Books) {
        let end = u64::from(search.end);
        let number = |value: &Value| value.as_u64().expect("a count");
        let covered = number(&status["covered"]);
        let jobs = &status["jobs"];
        let done = number(&jobs["done"]);
        let mut missing = search.expected();
        let mut extra = 0;
        for survivor in status["survivors"].as_array().expect("survivors") {
            let seed = number(&survivor["seed"]);
            let found = (number(&survivor["matches"]), number(&survivor["skip"]));
            if missing.remove(&seed) != Some(found) {
                extra += 1;
            }
        }
        self.jobs += number(&jobs["published"]);
        self.done += done;
        self.retried += number(&jobs["retried"]);
        self.requeued += number(&jobs["requeued"]);
        let lost = end.saturating_sub(covered) + missing.len() as u64;
        let doubled = covered.saturating_sub(end) + extra + done.saturating_sub(books.done(run));
        let is_well = status["state"] == "complete"
            && status["requested"]["end"] == end
            && status["survivor_count"] == search.expected().len()
            && status["disagreements"] == 0
            && jobs["dead"] == 0;
        if lost + doubled > 0 || !is_well {
            let mut status = status.clone();
            status["survivors"].take();
            self.remarks.push(format!("{run}: lost {lost}, doubled {doubled}: {status}"));
        }
        self.lost += lost;
        self.doubled += doubled;
    }
}
