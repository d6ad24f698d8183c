//! Slots: what jobs run on.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use shared::{
    job::Arch,
    outcome::Device,
    settings::{Settings, Slots},
};

use crate::{WorkerError, cores};

/// A place for one job at a time.
#[derive(Debug)]
pub struct Slot {
    /// Its architecture: whose queues it serves first.
    pub arch: Arch,
    /// What it runs on.
    pub device: Device,
    /// The executable that runs its jobs.
    pub runner: PathBuf,
    /// What its children find in their environment beside the worker's own.
    pub env: Arc<[(String, String)]>,
}

/// The CPU slots that the settings ask for: as many as cores, or the count given, at most
/// `max_jobs`; the cores are shared out among them. The runner lies in `folder`.
///
/// # Errors
/// [`WorkerError::Setting`] when no job may run at all; [`WorkerError::NoRunner`] when the runner
/// is not in `folder`.
pub fn cpu_slots(
    settings: &Settings,
    cores: u32,
    folder: &Path,
    env: &[(String, String)],
) -> Result<Vec<Arc<Slot>>, WorkerError> {
    let wanted = match settings.worker.slots {
        Slots::Auto => cores,
        Slots::Count(count) => count,
    };
    let count = wanted.min(settings.worker.max_jobs);
    if count == 0 {
        let why = "worker.max_jobs is 0; it must be at least 1".to_owned();
        return Err(WorkerError::Setting(why));
    }
    let runner = folder.join("runner-cpu");
    if !runner.is_file() {
        return Err(WorkerError::NoRunner { path: runner });
    }
    let profile = settings.arch.get(&Arch::Cpu);
    let mut all = env.to_vec();
    all.extend(profile.into_iter().flat_map(|profile| profile.env.clone()));
    let env: Arc<[_]> = all.into();
    let model = cores::model();
    let threads = (cores / count).max(1);
    Ok((0..count)
        .map(|index| {
            Arc::new(Slot {
                arch: Arch::Cpu,
                device: Device { name: format!("cpu{index}"), model: model.clone(), threads },
                runner: runner.clone(),
                env: Arc::clone(&env),
            })
        })
        .collect())
}
