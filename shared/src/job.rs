//! Jobs: what a worker takes from a queue and starts in a process of its own.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    script::{InvalidScript, Script},
    sieve::{InvalidSieve, Seeds, Sieve},
    spans::Span,
    statistics::{InvalidStatistics, Statistics},
    structure::{Unsuited, suits},
    topology,
    witness::Witness,
};

/// How often a job may be tried unless it says otherwise.
pub const DEFAULT_ATTEMPTS: u32 = 3;
/// The most candidates in one job.
pub const MAX_CANDIDATES: usize = 50_000;

/// The kind of hardware a queue is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arch {
    /// NVIDIA GPUs.
    Cuda,
    /// AMD GPUs.
    Rocm,
    /// Processor cores.
    Cpu,
}

impl Arch {
    /// Every architecture.
    pub const ALL: [Self; 3] = [Self::Cuda, Self::Rocm, Self::Cpu];

    /// Its name in queue names and settings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cuda => "cuda",
            Self::Rocm => "rocm",
            Self::Cpu => "cpu",
        }
    }
}

/// How soon a job should run. Urgencies are sibling queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Urgency {
    /// Before everything else.
    High,
    /// In turn.
    #[default]
    Normal,
    /// When nothing else waits (and now and then regardless, so that it is never starved).
    Low,
}

impl Urgency {
    /// Every urgency.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }
}

/// Which implementation of a sieve computes; all agree bit for bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Engine {
    /// The fastest that suits the plan.
    #[default]
    Auto,
    /// The definition, written as plainly as possible.
    Reference,
    /// One stream for all skips, hopeless skips abandoned early.
    Scan,
    /// Generators whose low bits run by themselves, searched class by class.
    Structural,
}

impl Engine {
    /// Every engine that can be asked for.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Reference, Self::Scan, Self::Structural];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Reference => "reference",
            Self::Scan => "scan",
            Self::Structural => "structural",
        }
    }
}

/// Implements `Display` and `FromStr` by the names of `ALL`.
macro_rules! named {
    ($($type:ident $what:literal;)*) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }

        impl FromStr for $type {
            type Err = UnknownName;

            fn from_str(name: &str) -> Result<Self, UnknownName> {
                Self::ALL.into_iter().find(|value| value.name() == name).ok_or_else(|| UnknownName {
                    what: $what,
                    name: name.chars().take(64).collect(),
                    known: Self::ALL.map($type::name).join(", "),
                })
            }
        }
    )*};
}

named! { Arch "architecture"; Urgency "urgency"; Engine "engine"; }

/// A name that is not in its list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{name}' is no {what}; it is one of {known}")]
pub struct UnknownName {
    /// What kind of name was expected.
    pub what: &'static str,
    /// What was given.
    pub name: String,
    /// The names there are.
    pub known: String,
}

/// One unit of work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// The run it belongs to.
    pub run: String,
    /// The run's epoch when the job was published; jobs of an older epoch are acked away unrun.
    pub epoch: u32,
    /// Its id, unique in its run.
    pub id: String,
    /// 1 for the producer's publication, one more for each of the outbox's. (`run`, `id`, `seq`)
    /// is the ledger's key.
    pub seq: u32,
    /// What to do.
    pub task: Task,
    /// The architecture whose queue it was published to.
    pub arch: Arch,
    /// How soon.
    pub urgency: Urgency,
    /// Which engine was asked for.
    pub engine: Engine,
    /// Which try this is, from 1.
    pub attempt: u32,
    /// How many tries it has.
    pub max_attempts: u32,
    /// How many times a child was started for it and came to an outcome.
    pub starts: u32,
    /// Nodes that can never run it.
    pub refused_by: Vec<String>,
    /// Devices it failed on, as `node/device`.
    pub failed_on: Vec<String>,
    /// Seconds after which the worker ends it as timed out (or stalled).
    pub time_limit_seconds: f64,
    /// Seconds after which a runner finishes short, at the next block boundary.
    pub soft_seconds: f64,
    /// Host memory it needs, in MiB; 0 when not declared.
    pub memory_mb: u64,
}

/// What a job asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Task {
    /// A sieve over seeds.
    Sieve {
        /// The question.
        sieve: Sieve,
        /// The seeds it is put to.
        seeds: Seeds,
        /// What counts as a near miss.
        witness: Witness,
    },
    /// Statistics of single seeds: `correlation` and `analysis`.
    Statistics {
        /// The question.
        statistics: Statistics,
        /// The seeds it is put to.
        seeds: Seeds,
    },
    /// A Python script.
    Script(Script),
}

impl Task {
    /// The seeds that its question is put to; a script has none.
    #[must_use]
    pub const fn seeds(&self) -> Option<&Seeds> {
        match self {
            Self::Sieve { seeds, .. } | Self::Statistics { seeds, .. } => Some(seeds),
            Self::Script(_) => None,
        }
    }
}

/// A decoded job that no runner could run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidJob {
    /// Its sieve makes no sense.
    #[error(transparent)]
    Sieve(#[from] InvalidSieve),
    /// Its statistics make no sense.
    #[error(transparent)]
    Statistics(#[from] InvalidStatistics),
    /// Its script can't be started.
    #[error(transparent)]
    Script(#[from] InvalidScript),
    /// Seeds beyond what the family takes.
    #[error("the seeds reach {last}, but {family} takes {bits}-bit seeds")]
    SeedWidth {
        /// The largest seed asked for.
        last: u64,
        /// The family's name.
        family: &'static str,
        /// Its seed width.
        bits: u32,
    },
    /// An empty or oversized candidate list.
    #[error("it lists {0} candidates; it must be 1 to {MAX_CANDIDATES}")]
    Candidates(usize),
    /// An engine that has no way to it.
    #[error(transparent)]
    Engine(#[from] Unsuited),
    /// A time that is not one.
    #[error("its {name} is {value} seconds; it must be positive and finite")]
    Seconds {
        /// The field.
        name: &'static str,
        /// Its value, as text.
        value: String,
    },
}

impl Job {
    /// Whether it is a script.
    #[must_use]
    pub const fn is_script(&self) -> bool {
        matches!(self.task, Task::Script(_))
    }

    /// The queue that it is published to.
    #[must_use]
    pub fn queue(&self) -> String {
        match &self.task {
            Task::Sieve { .. } | Task::Statistics { .. } => {
                topology::seed_queue(self.arch, self.urgency)
            }
            Task::Script(script) => {
                topology::script_queue((!script.anywhere).then_some(self.arch), self.urgency)
            }
        }
    }

    /// What it covers: seeds, candidate indices, or a script's place in its run's list. `None` for
    /// an empty candidate list.
    #[must_use]
    pub fn span(&self) -> Option<Span> {
        match &self.task {
            Task::Sieve { seeds, .. } | Task::Statistics { seeds, .. } => seeds.span(),
            Task::Script(script) => Span::new(script.index, script.index).ok(),
        }
    }

    /// This job for another part of its seeds: `None` when `span` lies outside. A script has no
    /// parts but the whole.
    #[must_use]
    pub fn for_part(&self, span: Span) -> Option<Self> {
        let whole = self.span();
        let mut part = self.clone();
        match &mut part.task {
            Task::Sieve { seeds, .. } | Task::Statistics { seeds, .. } => {
                *seeds = seeds.slice(span)?;
            }
            Task::Script(_) => return (whole == Some(span)).then_some(part),
        }
        Some(part)
    }

    /// Checks everything a runner relies on.
    ///
    /// # Errors
    /// [`InvalidJob`] says what is wrong; such a job is rejected, never tried.
    pub fn validate(&self) -> Result<(), InvalidJob> {
        for (name, value) in
            [("time limit", self.time_limit_seconds), ("soft limit", self.soft_seconds)]
        {
            if !(value.is_finite() && value > 0.0) {
                return Err(InvalidJob::Seconds { name, value: value.to_string() });
            }
        }
        let (seeds, family, bits) = match &self.task {
            Task::Sieve { sieve, seeds, witness } => {
                sieve.validate()?;
                sieve.validate_witness(*witness)?;
                if self.engine == Engine::Structural {
                    suits(sieve)?;
                    if matches!(seeds, Seeds::Candidates { .. }) {
                        return Err(Unsuited::Candidates.into());
                    }
                }
                (seeds, sieve.family.name(), sieve.family.about().seed_bits)
            }
            Task::Statistics { statistics, seeds } => {
                statistics.validate()?;
                (seeds, statistics.generator(), statistics.seed_bits())
            }
            Task::Script(script) => return Ok(script.validate()?),
        };
        let last = match seeds {
            Seeds::Range(span) => span.last(),
            Seeds::Candidates { seeds, .. } => {
                if seeds.is_empty() || seeds.len() > MAX_CANDIDATES || self.span().is_none() {
                    return Err(InvalidJob::Candidates(seeds.len()));
                }
                seeds.iter().copied().max().unwrap_or_default()
            }
        };
        if u128::from(last) >= 1 << bits {
            return Err(InvalidJob::SeedWidth { last, family, bits });
        }
        Ok(())
    }
}
