//! Runs, published one after the other for as long as the faults last.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use shared::failpoint::Point;
use tests::{
    exact::{LONG, SHORT, Search, text},
    rig::{Part, Rig},
};

use crate::{chance::Chance, figures::Books, say};

/// What a run may look like: a few large pieces, or many small ones.
const SHAPES: [Search; 4] =
    [Search { chunk: 1 << 16, ..LONG }, LONG, Search { chunk: 1 << 15, ..SHORT }, SHORT];
/// So many runs lie side by side.
const OPEN: usize = 3;
/// After a publication that failed, as when the queue is missing, the next one waits.
const PAUSE: Duration = Duration::from_secs(2);

/// A run that was to be published.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) search: Search,
    /// Whether its producer said that all of it is.
    pub(crate) is_promised: bool,
}

/// Who publishes, and what was published.
#[derive(Debug, Default)]
pub(crate) struct Work {
    publishing: Option<(Part, String)>,
    failed_at: Option<Instant>,
    pub(crate) runs: BTreeMap<String, Asked>,
}

impl Work {
    /// Whether a producer is at work.
    pub(crate) const fn is_publishing(&self) -> bool {
        self.publishing.is_some()
    }

    /// Publishes another run; `doom` is where its producer dies.
    pub(crate) fn publish(&mut self, rig: &Rig, chance: &mut Chance, doom: Option<Point>) -> Part {
        let search = SHAPES[chance.below(SHAPES.len())];
        let run = format!("run-{:03}", self.runs.len() + 1);
        let before = ["enqueue", "--run", &run, "--max-attempts", "8"];
        let asked = search.arguments(rig, &before);
        let start = |rig: &Rig| rig.start_producer(&text(&asked));
        let part = match doom {
            Some(point) => rig.doomed(&format!("{}:1", point.name()), start),
            None => start(rig),
        };
        self.publishing = Some((part, run.clone()));
        self.runs.insert(run, Asked { search, is_promised: false });
        part
    }

    /// Hears of a producer's end.
    pub(crate) fn look(&mut self, rig: &Rig) {
        let Some((part, run)) = &self.publishing else { return };
        let Some(status) = rig.ended(*part) else { return };
        if let Some(asked) = self.runs.get_mut(run) {
            asked.is_promised = status.success();
        }
        if !status.success() {
            self.failed_at = Some(Instant::now());
            let log = rig.log(*part);
            say(&format!("the producer of {run} ended with {status}: {}", log.trim_end()));
        }
        self.publishing = None;
    }

    /// Whether there is too little to do.
    pub(crate) fn is_short(&self, books: &Books) -> bool {
        let known = books.runs();
        let waits = |(run, asked): (&String, &Asked)| match known.get(run) {
            Some(state) => state == "open",
            None => asked.is_promised,
        };
        let is_waiting = self.failed_at.is_some_and(|at| at.elapsed() < PAUSE);
        !self.is_publishing()
            && !is_waiting
            && self.runs.iter().filter(|each| waits(*each)).count() < OPEN
    }

    /// The runs that have still to end.
    pub(crate) fn unfinished(&self, books: &Books) -> Vec<String> {
        let known = books.runs();
        let is_over = |state: &String| state != "open" && state != "paused";
        let unknown =
            self.runs.iter().filter(|(run, asked)| asked.is_promised && !known.contains_key(*run));
        let open = known.iter().filter(|(_, state)| !is_over(state));
        unknown.map(|(run, _)| run.clone()).chain(open.map(|(run, _)| run.clone())).collect()
    }
}
