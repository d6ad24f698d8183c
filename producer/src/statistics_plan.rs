//! What a plan of a correlation or an analysis depends on.

use shared::{
    job::{Arch, Engine},
    settings::PlannerSettings,
    statistics::{MAX_REPORT_BYTES, Statistics},
};

use crate::{
    chance::Chance,
    cost,
    planner::{Fleet, PlanInput},
    request::{Asked, Request},
};

impl PlanInput {
    /// The input for statistics: the processors of a fleet, in pieces that an outcome has room
    /// for the reports of.
    pub(crate) fn of_statistics(
        request: &Request,
        statistics: &Statistics,
        mut fleet: Vec<Fleet>,
        settings: &PlannerSettings,
    ) -> Self {
        fleet.retain(|slots| slots.arch == Arch::Cpu);
        Self {
            requested: request.asked.requested(),
            candidates: matches!(request.asked, Asked::Candidates(_)),
            engine: Engine::Auto,
            cost: cost::of_statistics(statistics),
            chance: Chance::NONE,
            max_survivors: request.max_survivors,
            remedy: String::new(),
            fleet,
            target_seconds: settings.target_seconds,
            min_seconds: settings.min_seconds,
            chunk: request.chunk,
            reported: Some((MAX_REPORT_BYTES / statistics.report_bytes()) as u64),
        }
    }
}
