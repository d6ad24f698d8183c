//! Staged sets: what every node is to have on its ramdisk, where that stands, and which set a run's
//! jobs need.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use shared::{
    blobs::Blobs,
    input::{Input, StagedSet},
    messages::{StageProgress, StageState},
    settings::StepPreset,
};

use crate::{
    aggregate::now, ask::Ask, context::Context, failure::Failure, job_inputs::JobInputs,
    ledger::Ledger, local_files::LocalFiles,
};

/// A worker that was silent for longer is not waited for, in seconds.
const LIVE: f64 = 30.0;

/// All sets, and how they stand on each live worker that runs scripts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageStatus {
    /// The sets.
    pub sets: Vec<SetLine>,
    /// The workers.
    pub nodes: Vec<NodeStage>,
}

/// A set in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetLine {
    /// Its step.
    pub step: String,
    /// Its id.
    pub set: String,
    /// How many bytes its files take together.
    pub bytes: u64,
    /// Its files.
    pub files: Vec<Input>,
}

/// How the sets stand on one worker's node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStage {
    /// The node.
    pub node: String,
    /// The worker on it.
    pub instance: String,
    /// How each set that it has heard of stands.
    pub sets: Vec<StageState>,
}

impl StageStatus {
    /// Reads it from the ledger in `home`.
    ///
    /// # Errors
    /// [`Failure`] when that can't be read.
    pub fn read(home: &Path) -> Result<Self, Failure> {
        let Some(ledger) = Ledger::read(home)? else { return Ok(Self::default()) };
        let sets = ledger.staged()?.into_iter().map(|set| SetLine {
            set: set.id(),
            bytes: set.size(),
            step: set.step,
            files: set.files,
        });
        let nodes = ledger.nodes(now() - LIVE)?.into_iter().filter_map(|seen| {
            // The last words of one that has ended are that it drains.
            let beat = Some(seen.heartbeat).filter(|beat| !beat.draining)?;
            Some(NodeStage { node: beat.node, instance: beat.instance, sets: beat.staged? })
        });
        Ok(Self { sets: sets.collect(), nodes: nodes.collect() })
    }

    /// How a set stands on a worker's node.
    #[must_use]
    pub fn stand(set: &SetLine, node: &NodeStage) -> (StageProgress, Option<String>) {
        let found = node.sets.iter().find(|state| state.set == set.set && state.step == set.step);
        // One that has not heard of it yet will.
        found
            .map_or((StageProgress::Staging, None), |state| (state.progress, state.trouble.clone()))
    }

    /// Whether every live worker that runs scripts has a step's set, and there is one.
    #[must_use]
    pub fn is_ready(&self, step: &str) -> bool {
        let Some(set) = self.sets.iter().find(|set| set.step == step) else { return false };
        !self.nodes.is_empty()
            && self.nodes.iter().all(|node| Self::stand(set, node).0 == StageProgress::Ready)
    }
}

/// Writes a set into the ledger in `home`, where its files are kept already.
pub(crate) fn stage(home: &Path, set: &StagedSet) -> Result<StageStatus, Failure> {
    set.validate().map_err(Failure::usage)?;
    let blobs = Blobs::of(home);
    if let Some(missing) = set.files.iter().find(|file| !blobs.has(file)) {
        let why = format!("the file '{}' of the set is not kept here", missing.name);
        return Err(Failure::usage(why));
    }
    Ledger::write(home)?.stage(set, now())?;
    StageStatus::read(home)
}

/// Forgets a step's set.
pub(crate) fn unstage(home: &Path, step: &str) -> Result<StageStatus, Failure> {
    if Ledger::read(home)?.is_none() || !Ledger::write(home)?.unstage(step)? {
        return Err(Failure::not_found(format!("nothing is staged for step {step}")));
    }
    StageStatus::read(home)
}

/// Files as the set of a step, kept where workers find them.
///
/// # Errors
/// [`Failure`] when one can't be read or kept, or two have one name.
pub fn keep(step: &str, paths: &[PathBuf], place: &JobInputs) -> Result<StagedSet, Failure> {
    let mut local = LocalFiles::default();
    let mut files = local.inputs(paths).map_err(Failure::usage)?;
    files.sort();
    let set = StagedSet { step: step.to_owned(), files };
    set.validate().map_err(Failure::usage)?;
    local.keep(place)?;
    Ok(set)
}

/// The set that is staged for a step, as the ledger says, with all files that its preset wants.
///
/// # Errors
/// [`Failure`] when the preset wants files that are not staged.
pub fn for_step(
    context: &Context,
    step: &str,
    preset: Option<&StepPreset>,
) -> Result<Option<StagedSet>, Failure> {
    let status: StageStatus = context.ask(&Ask::Stages)?;
    let set = status.sets.into_iter().find(|set| set.step == step);
    let has = |name: &String| {
        set.as_ref().is_some_and(|set| set.files.iter().any(|file| file.name == *name))
    };
    let wanted = preset.map_or(&[][..], |preset| &preset.inputs);
    let missing: Vec<&str> = wanted.iter().filter(|name| !has(name)).map(String::as_str).collect();
    if !missing.is_empty() {
        return Err(Failure::usage(format!(
            "step {step} needs staged files, and {} is not staged: producer stage --step {step} {}",
            missing.join(", "),
            wanted.join(" ")
        )));
    }
    Ok(set.map(|set| StagedSet { step: set.step, files: set.files }))
}
