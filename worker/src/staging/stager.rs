//! Stages what the aggregator wants staged, by itself and before jobs that need it are taken.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use shared::{
    input::StagedSet,
    messages::{StageProgress, StageState},
};
use tokio::task::spawn_blocking;

use super::ramdisk::{Held, Ramdisk, StagingError};
use crate::scripts::Supply;

/// A set that a newer one has taken the place of goes when no script has used it for so long: jobs
/// that still need it come one after another.
const UNUSED: Duration = Duration::from_secs(10);

/// The staged sets of a worker.
#[derive(Debug)]
pub struct Staging {
    /// `None` where nothing is staged.
    ramdisk: Option<Ramdisk>,
    runs_scripts: bool,
    supply: Arc<Supply>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    wanted: Vec<StagedSet>,
    /// By id: whether a set is there, or why not.
    found: BTreeMap<String, Result<(), String>>,
    /// The steps whose link this worker has set.
    linked: BTreeSet<String>,
    busy: bool,
    changed: bool,
}

impl Staging {
    /// Stages into the folder `ramdisk`, or nothing if that is empty.
    #[must_use]
    pub fn new(ramdisk: &str, runs_scripts: bool, supply: Arc<Supply>) -> Self {
        let ramdisk = (!ramdisk.is_empty()).then(|| Ramdisk::at(PathBuf::from(ramdisk)));
        Self { ramdisk, runs_scripts, supply, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hears what is to be staged: it is begun, or looked at again. It comes again and again.
    pub fn hear(self: &Arc<Self>, sets: &[StagedSet]) {
        if !self.runs_scripts {
            return;
        }
        let mut state = self.state();
        if state.wanted != sets {
            state.wanted = sets.to_vec();
            state.changed = true;
            let wanted: BTreeSet<String> = sets.iter().map(StagedSet::id).collect();
            state.found.retain(|id, _| wanted.contains(id));
        }
        if (sets.is_empty() && state.linked.is_empty()) || state.busy {
            return;
        }
        state.busy = true;
        drop(state);
        let this = Arc::clone(self);
        spawn_blocking(move || this.stage());
    }

    /// Stages everything until it is what is wanted by then.
    fn stage(&self) {
        loop {
            let wanted = self.state().wanted.clone();
            for set in &wanted {
                let staged = match &self.ramdisk {
                    Some(ramdisk) => ramdisk.keep(set, &self.supply),
                    None => Err(StagingError::Off),
                };
                self.note(set, staged.map_err(|error| error.to_string()));
            }
            self.clear(&wanted);
            let mut state = self.state();
            if state.wanted == wanted {
                state.busy = false;
                return;
            }
        }
    }

    fn note(&self, set: &StagedSet, staged: Result<(), String>) {
        let mut state = self.state();
        if staged.is_ok() {
            state.linked.insert(set.step.clone());
        }
        let id = set.id();
        if state.found.get(&id) == Some(&staged) {
            return;
        }
        if let Err(why) = &staged {
            tracing::warn!(step = set.step, set = id, "a set can't be staged: {why}");
        }
        // Another may be wanted by now.
        if state.wanted.contains(set) {
            state.found.insert(id, staged);
            state.changed = true;
        }
    }

    /// Clears the steps that have no set any more.
    fn clear(&self, wanted: &[StagedSet]) {
        let Some(ramdisk) = &self.ramdisk else { return };
        let linked = self.state().linked.clone();
        for step in linked {
            if wanted.iter().any(|set| set.step == step) {
                continue;
            }
            match ramdisk.clear(&step) {
                Ok(()) => {
                    tracing::info!(step, "its staged files are cleared");
                    self.state().linked.remove(&step);
                }
                Err(error) => tracing::warn!(step, "its staged files can't be cleared: {error}"),
            }
        }
        if let Err(error) = ramdisk.tidy(UNUSED) {
            tracing::debug!(%error, "old sets stay on the ramdisk");
        }
    }

    /// Whether a set was heard of of which it is not known yet whether it can be staged.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        let state = self.state();
        state.wanted.iter().any(|set| !state.found.contains_key(&set.id()))
    }

    /// Whether something changed since this was asked last.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        std::mem::take(&mut self.state().changed)
    }

    /// How each set stands, for others.
    #[must_use]
    pub fn told(&self) -> Option<Vec<StageState>> {
        if !self.runs_scripts {
            return None;
        }
        let state = self.state();
        let told = state.wanted.iter().map(|set| {
            let (progress, trouble) = match state.found.get(&set.id()) {
                None => (StageProgress::Staging, None),
                Some(Ok(())) => (StageProgress::Ready, None),
                Some(Err(why)) => (StageProgress::Failed, Some(why.clone())),
            };
            StageState { step: set.step.clone(), set: set.id(), progress, trouble }
        });
        Some(told.collect())
    }

    /// Makes sure that a job's set is there as long as it is held. Blocks.
    ///
    /// # Errors
    /// [`StagingError`] when it can't be.
    pub fn hold(&self, set: &StagedSet) -> Result<Held, StagingError> {
        self.ramdisk.as_ref().ok_or(StagingError::Off)?.hold(set, &self.supply)
    }

    /// The worker's end: what only its own jobs needed goes.
    pub fn end(&self) {
        if let Some(ramdisk) = self.ramdisk.as_ref().filter(|_| self.runs_scripts)
            && let Err(error) = ramdisk.tidy(Duration::ZERO)
        {
            tracing::debug!(%error, "the ramdisk is not tidied");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use shared::blobs::Blobs;

    use super::*;

    async fn until(staging: &Staging, wanted: impl Fn(&Staging) -> bool) {
        while !wanted(staging) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn staging(home: &Path, ramdisk: &str) -> Arc<Staging> {
        Arc::new(Staging::new(ramdisk, true, Arc::new(Supply::of(home, 16, None))))
    }

    #[tokio::test]
    async fn what_is_wanted_is_staged_told_and_cleared() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("ramdisk");
        let staging = staging(home.path(), root.to_str().unwrap());
        let file = Blobs::of(home.path()).keep("a.json", &b"1"[..]).unwrap();
        let set = StagedSet { step: "3".to_owned(), files: vec![file] };
        staging.hear(std::slice::from_ref(&set));
        until(&staging, |staging| !staging.is_pending()).await;
        assert_eq!(staging.told().unwrap()[0].progress, StageProgress::Ready);
        assert!(staging.has_changed() && root.join("step3/a.json").exists());
        // As after a reboot.
        until(&staging, |staging| !staging.state().busy).await;
        std::fs::remove_dir_all(&root).unwrap();
        staging.hear(std::slice::from_ref(&set));
        until(&staging, |staging| !staging.state().busy).await;
        assert!(root.join("step3/a.json").exists() && !staging.is_pending());
        staging.hear(&[]);
        until(&staging, |staging| !staging.state().busy).await;
        assert!(!root.join("step3").exists() && staging.told().unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_cannot_be_staged_is_told() {
        let home = tempfile::tempdir().unwrap();
        let staging = staging(home.path(), "");
        let file = Blobs::of(home.path()).keep("a.json", &b"1"[..]).unwrap();
        let set = StagedSet { step: "3".to_owned(), files: vec![file] };
        staging.hear(std::slice::from_ref(&set));
        until(&staging, |staging| !staging.is_pending()).await;
        let told = staging.told().unwrap();
        assert_eq!(told[0].progress, StageProgress::Failed);
        assert!(told[0].trouble.as_ref().unwrap().contains("worker.ramdisk"));
        assert!(matches!(staging.hold(&set), Err(StagingError::Off)));
    }
}
