//! The slots that a run is planned for, and how fast they are.

use serde::{Deserialize, Serialize};
use shared::{
    job::{Arch, Engine},
    outcome::Device,
    rates::StoredRate,
    settings::{Settings, Slots},
    sieve::Sieve,
};

use crate::{
    aggregate::now,
    cost,
    ledger::{LearnedRate, Ledger, LedgerError},
    planner::Fleet,
    request::Request,
};

/// Nodes heard within so many seconds count as there.
const HEARD_LATELY: f64 = 60.0;

/// What the ledger knows of the fleet.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Known {
    /// The slots of nodes heard of lately: architecture and threads.
    pub slots: Vec<(Arch, u32)>,
    /// How many workers those are.
    pub workers: usize,
    /// The rates that were learned.
    pub rates: Vec<LearnedRate>,
}

impl Known {
    /// What a ledger knows.
    ///
    /// # Errors
    /// [`LedgerError`] when it can't be read.
    pub fn of(ledger: &Ledger) -> Result<Self, LedgerError> {
        let nodes = ledger.nodes(now() - HEARD_LATELY)?;
        let slots = nodes.iter().flat_map(|node| &node.heartbeat.slots);
        // Endpoints take scripts alone.
        let slots = slots.filter(|slot| !slot.is_endpoint);
        Ok(Self {
            slots: slots.map(|slot| (slot.arch, slot.device.threads)).collect(),
            workers: nodes.len(),
            rates: ledger.rates()?,
        })
    }

    /// The same rates, with those that `worker bench` stored in this machine's data folder where
    /// nothing was learned yet, and no slots: for a run on this machine alone.
    #[must_use]
    pub fn here(mut self, stored: &[StoredRate]) -> Self {
        for StoredRate { arch, model, threads, rate, .. } in stored {
            let device = Device { name: String::new(), model: model.clone(), threads: *threads };
            let Some(rate) = LearnedRate::measured(*arch, &device, rate) else { continue };
            if !self.rates.iter().any(|known| known.key == rate.key) {
                self.rates.push(rate);
            }
        }
        Self { slots: Vec::new(), workers: 0, ..self }
    }
}

/// The slots to plan for: of nodes heard of lately, else of the settings, else of this machine;
/// and where they were learned from, in words.
#[must_use]
pub fn fleet(settings: &Settings, known: &Known, request: &Request) -> (Vec<Fleet>, String) {
    let wanted = |arch: Arch| request.arch.is_none_or(|asked| asked == arch);
    let mut slots = known.slots.clone();
    slots.retain(|(arch, _)| wanted(*arch));
    let mut basis = format!("{} slots of {} workers heard lately", slots.len(), known.workers);
    if slots.is_empty() {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let cores = u32::try_from(cores).unwrap_or(1);
        let (count, source) = match settings.worker.slots {
            Slots::Count(count) => (count, "the settings"),
            Slots::Auto => (cores, "this machine's cores"),
        };
        let count = count.min(settings.worker.max_jobs).max(1);
        let arch = request.arch.unwrap_or(Arch::Cpu);
        slots = vec![(arch, (cores / count).max(1)); count as usize];
        basis = format!("{count} {arch} slots, from {source}");
    }
    // A rate counts operations of one engine; the structural one is the processor's alone.
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let seeds = request.asked.requested().len() as f64;
    let asked = request.question.sieve();
    let engine = |arch| {
        let chosen = match asked {
            Some(sieve) if arch == Arch::Cpu => cost::chosen(sieve, request.engine, seeds),
            _ => request.engine,
        };
        if chosen == Engine::Auto { Engine::Scan } else { chosen }
    };
    let mut fleet = Vec::new();
    for arch in Arch::ALL {
        let threads: Vec<u32> = slots.iter().filter(|s| s.0 == arch).map(|s| s.1).collect();
        let Some(&most) = threads.iter().max() else { continue };
        let engine = engine(arch);
        let rates = known.rates.iter().filter(|rate| {
            // What is learned is how fast sieves are.
            let same =
                |sieve: &Sieve| (sieve.family, sieve.mode) == (rate.key.family, rate.key.mode);
            rate.key.arch == arch
                && asked.is_some_and(same)
                && rate.key.engine == engine
                && rate.key.threads == most
        });
        // Several models: the slowest is planned for, and faster ones take more pieces.
        let rate = rates.map(|rate| rate.operations_per_second).reduce(f64::min);
        if rate.is_some() {
            basis += "; rates as learned";
        }
        fleet.push(Fleet {
            arch,
            slots: u32::try_from(threads.len()).unwrap_or(u32::MAX),
            operations_per_second: rate
                .unwrap_or_else(|| cost::default_operations_per_second(arch) * f64::from(most)),
        });
    }
    (fleet, basis)
}
