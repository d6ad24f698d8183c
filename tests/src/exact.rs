//! Runs of which every survivor is known, so that their end can be checked to the last seed,
//! whatever went wrong before.

use std::{collections::BTreeMap, sync::OnceLock};

use serde_json::Value;

use crate::{
    planted::{Generator, assert_covered, lines, listed},
    rig::{Part, Rig},
};

/// Everything but the seeds, `--draws` and the run's name.
const OPTIONS: &str = "--step 2 --family xorshift32 --window 8 --min-matches 2 --skip 0..=20 \
                       --engine reference --limit 100000 --json";
/// The seed that the draws were drawn with, at a skip of 6.
const PLANTED: u32 = 424_242;

/// A search from seed 0 with the plain engine, in many small pieces.
#[derive(Debug, Clone, Copy)]
pub struct Search {
    /// The end of its seeds, not included; at most [`LONG`]'s.
    pub end: u32,
    /// Seeds a piece.
    pub chunk: u32,
}

/// Takes a few seconds: time to do it harm.
pub const LONG: Search = Search { end: 3 << 19, chunk: 1 << 15 };
/// Takes about a second.
pub const SHORT: Search = Search { end: 1 << 19, chunk: 1 << 13 };

/// A producer that waits for its run, and its arguments.
pub type Waiting = (Part, Vec<String>);

fn draws() -> Vec<u64> {
    Generator::Xorshift32.draws(PLANTED, 0, 6, 8)
}

/// Arguments as they are given to a rig.
#[must_use]
pub fn text(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

/// Runs a test with the embedded broker and, where it is installed, with RabbitMQ.
pub fn both_brokers(test: impl Fn(&Rig)) {
    test(&Rig::embedded());
    if let Some(rig) = Rig::rabbit() {
        test(&rig);
    }
}

impl Search {
    /// Every survivor there is, counted independently: what a run without faults finds.
    ///
    /// # Panics
    /// When the planted seed is not among them.
    #[must_use]
    pub fn expected(self) -> BTreeMap<u64, (u64, u64)> {
        static ALL: OnceLock<BTreeMap<u64, (u64, u64)>> = OnceLock::new();
        let all = ALL.get_or_init(|| Generator::Xorshift32.survivors(&draws(), LONG.end, 20, 2));
        let some: BTreeMap<_, _> =
            all.range(..u64::from(self.end)).map(|(seed, best)| (*seed, *best)).collect();
        assert!(some.len() > 200 && some[&u64::from(PLANTED)] == (8, 6));
        some
    }

    /// How many pieces it is cut into.
    #[must_use]
    pub const fn pieces(self) -> u32 {
        self.end.div_ceil(self.chunk)
    }

    /// The arguments of a command that searches: `before`, then the search.
    #[must_use]
    pub fn arguments(self, rig: &Rig, before: &[&str]) -> Vec<String> {
        let mut all: Vec<String> = before.iter().map(ToString::to_string).collect();
        all.extend(OPTIONS.split_whitespace().map(str::to_owned));
        let (end, chunk) = (self.end.to_string(), self.chunk.to_string());
        let draws = rig.file("draws.txt", &lines(&draws()));
        for (option, value) in [("--seed-end", end), ("--chunk", chunk), ("--draws", draws)] {
            all.extend([option.to_owned(), value]);
        }
        all
    }

    /// Starts `enqueue --wait` for a run of that name.
    #[must_use]
    pub fn enqueue(self, rig: &Rig, run: &str) -> Waiting {
        let asked = self.arguments(rig, &["enqueue", "--wait", "--run", run]);
        (rig.start_producer(&text(&asked)), asked)
    }

    /// Checks a run's end: all of it is covered, and the survivors are those there are.
    ///
    /// # Panics
    /// When they are not.
    #[track_caller]
    pub fn check(self, status: &Value) {
        assert_covered(status, 0, u64::from(self.end));
        assert!(listed(status) == self.expected(), "survivors were lost or invented");
    }

    /// As [`Search::check`]; and an interrupted job is the same job again, not another one, nor
    /// one that was lost and had to be found.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn check_jobs(self, status: &Value) {
        self.check(status);
        let jobs = &status["jobs"];
        assert_eq!((&jobs["published"], &jobs["requeued"]), (&jobs["done"], &0.into()), "{jobs}");
    }

    /// Waits for a waiting producer and checks what it says of the run's end, which is returned.
    ///
    /// # Panics
    /// As [`Search::check_jobs`].
    #[track_caller]
    pub fn finish(self, rig: &Rig, (part, asked): Waiting) -> Value {
        let status = rig.answer(part, &text(&asked)).ok().json()["status"].take();
        self.check_jobs(&status);
        status
    }
}
