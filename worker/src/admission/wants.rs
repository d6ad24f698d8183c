//! How much host memory a job wants: what it declares, else what its kind was seen to use, else a
//! small assumption.

use std::collections::HashMap;

use shared::{
    families::Family,
    job::{Arch, Engine, Job, Task},
};

const MIB: u64 = 1 << 20;
/// Assumed of a runner on processor cores until one has ended.
const CPU_RUNNER: u64 = 64 * MIB;
/// Assumed of a runner on a GPU: its driver's runtime takes most of it.
const GPU_RUNNER: u64 = 256 * MIB;
/// Assumed of a script: an interpreter with numpy.
const SCRIPT: u64 = 512 * MIB;
/// A smaller peak moves what is learned by this part of the difference; a larger one all the way.
const FALL: u64 = 8;
/// A learned want is the peak and this part of it on top.
const MARGIN: u64 = 8;
/// The most kinds that are remembered; past it all are forgotten and learned again.
const MOST_KINDS: usize = 1024;

/// Jobs that use memory alike.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Sieves of a family by an engine.
    Sieve(Family, Engine),
    /// `correlation` and `analysis`.
    Statistics,
    /// A script, by its name.
    Script(String),
}

impl Kind {
    /// The kind of a job.
    #[must_use]
    pub fn of(job: &Job) -> Self {
        match &job.task {
            Task::Sieve { sieve, .. } => Self::Sieve(sieve.family, job.engine),
            Task::Statistics { .. } => Self::Statistics,
            Task::Script(script) => Self::Script(script.name.clone()),
            _ => Self::Script(String::new()),
        }
    }
}

/// Where a figure comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The job says so.
    Declared,
    /// Its kind was seen to use that.
    Learned,
    /// Nothing is known.
    Assumed,
}

/// How much memory a job wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want {
    /// In bytes.
    pub bytes: u64,
    /// Says who.
    pub origin: Origin,
}

/// The peaks that kinds of jobs were seen to use on this worker's slots.
#[derive(Debug, Default)]
pub struct Learned(HashMap<Kind, u64>);

impl Learned {
    /// What a job wants on slots of an architecture.
    #[must_use]
    pub fn want(&self, job: &Job, arch: Arch) -> Want {
        if job.memory_mb > 0 {
            let bytes = job.memory_mb.saturating_mul(MIB);
            return Want { bytes, origin: Origin::Declared };
        }
        let kind = Kind::of(job);
        if let Some(peak) = self.0.get(&kind) {
            return Want { bytes: peak.saturating_add(peak / MARGIN), origin: Origin::Learned };
        }
        let bytes = match (kind, arch) {
            (Kind::Script(_), _) => SCRIPT,
            (_, Arch::Cpu) => CPU_RUNNER,
            (_, Arch::Cuda | Arch::Rocm) => GPU_RUNNER,
        };
        Want { bytes, origin: Origin::Assumed }
    }

    /// A job of that kind has ended, and its processes used so many bytes at most.
    pub fn learn(&mut self, kind: Kind, peak: u64) {
        if self.0.len() >= MOST_KINDS && !self.0.contains_key(&kind) {
            self.0.clear();
        }
        let known = self.0.entry(kind).or_insert(peak);
        *known = if peak >= *known { peak } else { *known - (*known - peak) / FALL };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::gate::tests::job;

    #[test]
    fn what_is_declared_stands_and_what_is_learned_rises_at_once_and_falls_slowly() {
        let mut learned = Learned::default();
        let plain = job(0);
        let kind = || Kind::of(&plain);
        assert_eq!(learned.want(&plain, Arch::Cpu).bytes, CPU_RUNNER);
        assert_eq!(learned.want(&plain, Arch::Rocm).bytes, GPU_RUNNER);
        learned.learn(kind(), 800 * MIB);
        let want = learned.want(&plain, Arch::Cpu);
        assert_eq!((want.bytes, want.origin), (900 * MIB, Origin::Learned));
        learned.learn(kind(), 80 * MIB);
        assert_eq!(learned.want(&plain, Arch::Cpu).bytes, 710 * MIB + 710 * MIB / 8);
        for _ in 0..200 {
            learned.learn(kind(), 80 * MIB);
        }
        assert!(learned.want(&plain, Arch::Cpu).bytes < 91 * MIB, "a lone outlier is forgotten");
        learned.learn(kind(), 1600 * MIB);
        assert_eq!(learned.want(&plain, Arch::Cpu).bytes, 1800 * MIB);
        let declared = learned.want(&job(2048), Arch::Cpu);
        assert_eq!((declared.bytes, declared.origin), (2048 * MIB, Origin::Declared));
    }
}
