//! The messages beside jobs and outcomes: manifests, bells, heartbeats, fleet state.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    health::Health,
    input::StagedSet,
    job::{Arch, Engine, Job, Urgency},
    outcome::Device,
    rates::MeasuredRate,
    sieve::Sieve,
    spans::Span,
    statistics::Statistics,
};

/// The most bytes of candidates or jobs in one [`RunPart`].
pub const MAX_PART_BYTES: usize = 512 * 1024;

/// What [`RunOpened::kind`] is of the trials of a study.
pub const KIND_STUDY: &str = "study";

/// A run's manifest: what the ledger must know of it, published before its first job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunOpened {
    /// The run's id.
    pub run: String,
    /// Its epoch.
    pub epoch: u32,
    /// The pipeline step, `2` for sieves.
    pub step: String,
    /// `sieve`, `reverse_sieve`, `correlation`, `analysis`, `script`, `study`, or `verify` for a
    /// verification of another run.
    pub kind: String,
    /// A sieve's question; `None` for statistics.
    #[serde(default)]
    pub sieve: Option<Sieve>,
    /// The question of `correlation` and `analysis`.
    #[serde(default)]
    pub statistics: Option<Statistics>,
    /// How the outputs of scripts are kept; `None` for anything but scripts.
    #[serde(default)]
    pub scripts: Option<ScriptOutputs>,
    /// What is to be covered: seeds, the indices of the candidate list, or the places of scripts
    /// in theirs.
    pub requested: Span,
    /// The parts of `requested` that are to be covered, for a verification of samples; empty for
    /// all of it.
    #[serde(default)]
    pub samples: Vec<Span>,
    /// How many [`RunPart`]s follow (0 for a range).
    pub parts: u32,
    /// How many jobs the producer publishes.
    pub jobs: u64,
    /// Survivors that chance alone would leave.
    pub expected_by_chance: f64,
    /// The standard error of that, if it was sampled.
    #[serde(default)]
    pub expected_error: Option<f64>,
    /// How that was computed: `binomial`, or with variable skips `sampled` or `modelled`.
    pub expected_method: String,
    /// Which engine was asked for.
    pub engine: Engine,
    /// Which hardware was asked for; `None` for all there is.
    #[serde(default)]
    pub arch: Option<Arch>,
    /// Seeds (or candidates) a piece, if that was asked for.
    #[serde(default)]
    pub chunk: Option<u64>,
    /// How soon its jobs should run.
    pub urgency: Urgency,
    /// How often a job may be tried.
    pub max_attempts: u32,
    /// Seconds a piece was planned for.
    pub target_seconds: f64,
    /// How many dead jobs the run survives.
    pub max_dead: MaxDead,
    /// The producer's version.
    pub version: String,
    /// When it was opened, in Unix seconds.
    pub opened_at: f64,
}

impl RunOpened {
    /// The name of the generator that it is about.
    #[must_use]
    pub fn generator(&self) -> Option<&'static str> {
        let sieve = self.sieve.as_ref().map(|sieve| sieve.family.name());
        sieve.or(self.statistics.as_ref().map(Statistics::generator))
    }

    /// Whether its list of scripts is not known when it opens: `requested` has a place for each
    /// that may be asked for, and every job brings a [`RunPart`] of its own with it.
    #[must_use]
    pub fn grows(&self) -> bool {
        self.scripts.is_some() && self.kind == KIND_STUDY
    }

    /// What must be covered for the run to be complete.
    #[must_use]
    pub fn wanted(&self) -> Vec<Span> {
        if self.samples.is_empty() { vec![self.requested] } else { self.samples.clone() }
    }
}

/// Where the outputs of a run's scripts belong.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScriptOutputs {
    /// The folder, absolute; `None` for the aggregator's own.
    #[serde(default)]
    pub dir: Option<String>,
    /// Whether they lie in that folder itself and not in one of the run's own inside it.
    #[serde(default)]
    pub preserve_paths: bool,
}

/// How many dead jobs a run survives.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaxDead {
    /// That many jobs.
    Jobs(u64),
    /// That share of the run's jobs, in percent, and at least 10 jobs. 100 switches the rule off.
    Percent(f64),
}

/// A part of a manifest: candidates or script jobs, in the list's order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunPart {
    /// The run's id.
    pub run: String,
    /// Which part this is, from 0.
    pub part: u32,
    /// The index of its first candidate or job in the whole list.
    pub first_index: u64,
    /// The candidates.
    #[serde(default)]
    pub seeds: Vec<u64>,
    /// The script jobs, as they are published first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<Job>,
}

/// Jobs were published: wake up and look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bell {
    /// The queues that jobs were published to.
    pub queues: Vec<String>,
}

/// What a worker says of itself every few seconds and whenever its jobs change much.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The node.
    pub node: String,
    /// The worker on it.
    pub instance: String,
    /// The worker's version.
    pub version: String,
    /// Its slots.
    pub slots: Vec<SlotState>,
    /// Whether it is shutting down, or its node is told to drain.
    pub draining: bool,
    /// Whether its node is told to pause.
    #[serde(default)]
    pub paused: bool,
    /// Jobs that fit the node but not now. While there is one, nothing else is taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<HeldJob>,
    /// The host's memory, where it can be read.
    #[serde(default)]
    pub memory: Option<MemoryState>,
    /// Whether it has heard a [`FleetState`]; one that has not is answered at once.
    pub informed: bool,
    /// How the staged sets stand on this node; `None` for a worker that runs no scripts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged: Option<Vec<StageState>>,
    /// What `worker bench` measured on slots like these: one rate for each family and engine.
    #[serde(default)]
    pub measured: Vec<MeasuredRate>,
    /// When, in Unix seconds.
    pub at: f64,
}

impl Heartbeat {
    /// Every job that the worker holds, whether it runs, waits for a confirm, or is kept.
    pub fn held(&self) -> impl Iterator<Item = &HeldJob> {
        self.slots.iter().filter_map(|slot| slot.job.as_ref()).chain(&self.kept)
    }
}

/// How one staged set stands on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageState {
    /// Its step.
    pub step: String,
    /// Its id.
    pub set: String,
    /// Where it stands.
    pub progress: StageProgress,
    /// What is wrong, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// Where a staged set stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageProgress {
    /// It is being staged.
    Staging,
    /// Every file is there and verified.
    Ready,
    /// It can't be staged; it is tried again.
    Failed,
}

/// A host's memory at one moment, as far as jobs may use it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MemoryState {
    /// All there is, or all that the worker's control group may use, in bytes.
    pub total_bytes: u64,
    /// What could be used without swapping, in bytes.
    pub available_bytes: u64,
    /// The share of the last 10 s in which something waited for memory, in percent, where the
    /// kernel measures it.
    #[serde(default)]
    pub pressure: Option<f64>,
    /// How many jobs the worker runs side by side at most, for now.
    pub jobs_allowed: u32,
}

/// One slot: what it is and what it holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SlotState {
    /// Its architecture.
    pub arch: Arch,
    /// Its device.
    pub device: Device,
    /// The job it holds.
    pub job: Option<HeldJob>,
    /// How the device is; `None` where nothing tells, as for processor cores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Why the worker itself gives it nothing to do, in one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unfit: Option<String>,
    /// Whether it is an endpoint's: it takes scripts alone, and no range is planned for it.
    #[serde(default)]
    pub is_endpoint: bool,
}

/// A job that a worker holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeldJob {
    /// Its run.
    pub run: String,
    /// Its id.
    pub job: String,
    /// Its sequence number.
    pub seq: u32,
    /// Where it stands.
    pub stage: Stage,
    /// Seeds or candidates tested so far.
    pub tested: u64,
    /// Survivors found so far.
    pub survivors: u64,
    /// Seconds since it was taken.
    pub seconds: f64,
    /// What a kept job waits for, with figures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
}

/// Where a held job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Stage {
    /// It fits the node, but not now.
    Kept,
    /// Its child runs.
    Running,
    /// Its outcome waits for the broker's confirm.
    Unconfirmed,
}

/// What the aggregator wants every worker to know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FleetState {
    /// Per run whose jobs may still be queued: jobs of a smaller epoch are acked away unrun.
    pub min_epochs: BTreeMap<String, u32>,
    /// Runs that were cancelled or have failed: what still runs of them is ended (TERM, grace,
    /// KILL).
    pub ended: BTreeSet<String>,
    /// Runs that are paused: their runners are asked to finish short, their scripts go on.
    pub paused: BTreeSet<String>,
    /// Nodes that are told to stand aside.
    pub nodes: BTreeMap<String, NodeOrder>,
    /// Devices that take nothing, as `node/device`.
    pub quarantined: BTreeSet<String>,
    /// The files that every node that runs scripts is to have on its ramdisk, a set for a step.
    pub staged: Vec<StagedSet>,
}

/// What a node is told to do until it is told otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeOrder {
    /// Take no new jobs; what runs goes on.
    Pause,
    /// Take no new jobs; runners finish short, scripts go on for `drain_timeout`, and what was
    /// not done goes back.
    Drain,
}
