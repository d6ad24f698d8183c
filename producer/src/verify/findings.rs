//! What was found not to agree.

use std::collections::{HashMap, HashSet};

use serde::Serialize;
use shared::{
    outcome::{Best, Survivor},
    sieve::Mode,
    spans::Span,
    witness::NearMisses,
};

use crate::{
    aggregate::now,
    duration::Duration,
    ledger::{Report, Reported, found_by},
    summary::HalfOpen,
};

/// How many disagreements are listed; beyond that they are counted.
pub(super) const MOST_LISTED: usize = 1000;

/// What kind of disagreement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The survivors are not those that the certificate was written for.
    SurvivorsHash,
    /// Something is said to be covered, or must be, that no outcome (or part of the certificate)
    /// covers.
    Coverage,
    /// A survivor was reported that is none.
    NotASurvivor,
    /// A survivor was reported with other matches or another skip.
    Differs,
    /// A seed survives that was not reported.
    MissingSurvivor,
    /// A survivor was reported that nobody had been asked to test, or has tested.
    Outside,
    /// The witness of an interval saw other near misses.
    NearMisses,
}

impl Kind {
    const fn words(self) -> &'static str {
        match self {
            Self::SurvivorsHash => "other survivors than were certified",
            Self::Coverage => "covered by nothing that was reported",
            Self::NotASurvivor => "not a survivor",
            Self::Differs => "a survivor with other figures",
            Self::MissingSurvivor => "a survivor that was not reported",
            Self::Outside => "a survivor outside of what was tested",
            Self::NearMisses => "other near misses",
        }
    }
}

/// Who reported something, and when.
#[derive(Debug, Clone, PartialEq)]
pub struct Who {
    /// The node.
    pub node: String,
    /// The device on it.
    pub device: String,
    /// The device's model.
    pub model: String,
    /// When, in Unix seconds, where that is known.
    pub at: Option<f64>,
}

impl From<&Report> for Who {
    fn from(report: &Report) -> Self {
        Self {
            node: report.node.clone(),
            device: report.device.clone(),
            model: report.model.clone(),
            at: Some(report.at),
        }
    }
}

/// A side's statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Said {
    /// A survivor's figures.
    Survivor {
        /// How many draws match.
        matches: u32,
        /// The smallest skip that attains it; with variable skips the strategy.
        skip: u32,
        /// The same in reverse order, for `both`.
        #[serde(skip_serializing_if = "Option::is_none")]
        reverse: Option<Best>,
        /// Which of the two.
        #[serde(skip)]
        mode: Mode,
    },
    /// A witness's figures.
    NearMisses {
        /// How many.
        count: u64,
        /// The wrapping sum of `splitmix64` over them.
        sum: u64,
    },
    /// A list of survivors.
    Survivors {
        /// How many.
        count: u64,
        /// The BLAKE3 of their records.
        blake3: String,
    },
}

impl From<(Survivor, Mode)> for Said {
    fn from((survivor, mode): (Survivor, Mode)) -> Self {
        let Best { matches, skip } = survivor.best;
        Self::Survivor { matches, skip, reverse: survivor.reverse, mode }
    }
}

impl From<NearMisses> for Said {
    fn from(NearMisses { count, sum }: NearMisses) -> Self {
        Self::NearMisses { count, sum }
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Survivor { matches, skip, reverse, mode } => {
                let by = found_by(*mode);
                write!(f, "{matches} matches {by} {skip}")?;
                reverse.map_or(Ok(()), |Best { matches, skip }| {
                    write!(f, ", reversed {matches} {by} {skip}")
                })
            }
            Self::NearMisses { count, sum } => write!(f, "{count} with the sum {sum:#x}"),
            Self::Survivors { count, blake3 } => write!(f, "{count} with the BLAKE3 {blake3}"),
        }
    }
}

/// Something that does not agree.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Disagreement {
    /// What kind.
    pub kind: Kind,
    /// The seed it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Or the interval, of seeds or candidate indices, from its first to its last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<HalfOpen>,
    /// What was reported; `null` for nothing.
    pub reported: Option<Said>,
    /// What was found now; `null` for nothing.
    pub found: Option<Said>,
    /// The node that reported it first; `null` where nobody knows, as for `device`, `model` and
    /// `at`.
    pub node: Option<String>,
    /// The device.
    pub device: Option<String>,
    /// The device's model.
    pub model: Option<String>,
    /// When, in Unix seconds.
    pub at: Option<f64>,
    /// Who found otherwise, as `node/device`; absent when the re-test ran here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found_by: Option<String>,
}

impl std::fmt::Display for Disagreement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let said =
            |said: &Option<Said>| said.as_ref().map_or("nothing".to_owned(), Said::to_string);
        write!(f, "{}: ", self.kind.words())?;
        if let Some(seed) = self.seed {
            write!(f, "seed {seed} ({seed:#x}), ")?;
        }
        if let Some(HalfOpen { start, end }) = self.interval {
            write!(f, "[{start}, {end})")?;
            if self.kind != Kind::Coverage {
                write!(f, ", ")?;
            }
        }
        if self.kind == Kind::Coverage {
            return Ok(());
        }
        write!(f, "reported {}, found {}", said(&self.reported), said(&self.found))?;
        if let Some(by) = &self.found_by {
            write!(f, " by {by}")?;
        }
        let (Some(node), Some(device)) = (&self.node, &self.device) else { return Ok(()) };
        write!(f, "; first reported by {node}/{device}")?;
        if let Some(model) = &self.model {
            write!(f, " ({model})")?;
        }
        let ago = |at: f64| Duration((now() - at).max(0.0));
        self.at.map_or(Ok(()), |at| write!(f, ", {} ago", ago(at)))
    }
}

/// The disagreements so far, each once.
#[derive(Debug, Default)]
pub struct Findings {
    listed: Vec<Disagreement>,
    count: u64,
    seeds: HashSet<(Kind, u64)>,
}

impl Findings {
    /// Takes one in, unless the same was found about the same seed before.
    pub fn add(&mut self, found: Disagreement) {
        if let Some(seed) = found.seed
            && !self.seeds.insert((found.kind, seed))
        {
            return;
        }
        self.count += 1;
        if self.listed.len() < MOST_LISTED {
            self.listed.push(found);
        }
    }

    /// What was found, by kind and place, and how many there are in all.
    #[must_use]
    pub fn into_sorted(mut self) -> (Vec<Disagreement>, u64) {
        self.listed.sort_by_key(|d| (d.kind, d.seed, d.interval.map(|interval| interval.start)));
        (self.listed, self.count)
    }
}

/// A disagreement about a seed.
#[must_use]
pub(super) fn about_seed(
    kind: Kind,
    (seed, mode): (u64, Mode),
    reported: Option<Survivor>,
    found: Option<Survivor>,
    who: Option<Who>,
) -> Disagreement {
    let said = |survivor: Option<Survivor>| survivor.map(|survivor| (survivor, mode));
    Disagreement { seed: Some(seed), ..about(kind, said(reported), said(found), who) }
}

/// A disagreement about what was tested between the first and the last of some intervals.
#[must_use]
pub(super) fn about_spans(
    kind: Kind,
    spans: &[Span],
    reported: Option<impl Into<Said>>,
    found: Option<impl Into<Said>>,
    who: Option<Who>,
) -> Disagreement {
    let start = spans.iter().map(|span| span.first()).min();
    let end = spans.iter().map(|span| span.end()).max();
    let interval = start.zip(end).map(|(start, end)| HalfOpen { start, end });
    Disagreement { interval, ..about(kind, reported, found, who) }
}

/// A disagreement about everything.
#[must_use]
pub(super) fn about(
    kind: Kind,
    reported: Option<impl Into<Said>>,
    found: Option<impl Into<Said>>,
    who: Option<Who>,
) -> Disagreement {
    let who = who.map(|Who { node, device, model, at }| (node, device, model, at));
    let (node, device, model, at) = match who {
        Some((node, device, model, at)) => (Some(node), Some(device), Some(model), at),
        None => (None, None, None, None),
    };
    Disagreement {
        kind,
        seed: None,
        interval: None,
        reported: reported.map(Into::into),
        found: found.map(Into::into),
        node,
        device,
        model,
        at,
        found_by: None,
    }
}

/// One seed that two sides say different things of: what was reported, and what was found.
pub(super) type Difference = (u64, Option<Reported>, Option<Survivor>);

/// Compares survivors that were reported with those that were found, in any order.
pub(super) fn differences(
    reported: &[Reported],
    found: impl IntoIterator<Item = Survivor>,
) -> Vec<Difference> {
    let mut open: HashMap<u64, Reported> =
        reported.iter().map(|reported| (reported.survivor.seed, *reported)).collect();
    let mut all = Vec::new();
    for found in found {
        match open.remove(&found.seed) {
            Some(reported) if reported.survivor == found => {}
            reported => all.push((found.seed, reported, Some(found))),
        }
    }
    all.extend(open.into_values().map(|reported| (reported.survivor.seed, Some(reported), None)));
    all.sort_unstable_by_key(|(seed, ..)| *seed);
    all
}

/// The JSON of `verify`.
#[derive(Debug, Serialize)]
pub struct Verification {
    /// The run.
    pub run: String,
    /// How many survivors were tested again.
    pub survivors_tested: u64,
    /// How many outcomes' intervals (or blocks of a certificate's request) were tested again.
    pub samples: u64,
    /// How many seeds they hold.
    pub seeds_tested: u128,
    /// For how many samples near misses were compared as well.
    pub near_misses_compared: u64,
    /// How many samples were tested again on another node than the one that reported them.
    pub elsewhere: u64,
    /// How many seeds (or candidates) of the run are covered.
    pub covered: u128,
    /// How many were asked for.
    pub requested: u128,
    /// What `--seed` repeats the choice of samples.
    pub random_seed: u64,
    /// The run that the fleet did for it, with `--arch`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify_run: Option<String>,
    /// What does not agree; at most 1000.
    pub disagreements: Vec<Disagreement>,
    /// How many there are in all.
    pub disagreement_count: u64,
    /// Whether there is none.
    pub agrees: bool,
}

impl std::fmt::Display for Verification {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { run, covered, requested, survivors_tested, samples, .. } = self;
        writeln!(f, "run {run}: {covered} of {requested} covered")?;
        writeln!(f, "tested again: {survivors_tested} survivors by the reference engine")?;
        writeln!(
            f,
            "tested again: {samples} samples with {} seeds, {} of them on another node than at \
             first; near misses compared for {}",
            self.seeds_tested, self.elsewhere, self.near_misses_compared
        )?;
        if self.agrees {
            return writeln!(f, "everything agrees");
        }
        for disagreement in &self.disagreements {
            writeln!(f, "{disagreement}")?;
        }
        let more = self.disagreement_count.saturating_sub(self.disagreements.len() as u64);
        if more > 0 {
            writeln!(f, "and {more} more")?;
        }
        Ok(())
    }
}
