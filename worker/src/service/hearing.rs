//! What the aggregator orders, and what others are told.

use std::time::Instant;

use shared::{
    messages::{FleetState, Heartbeat, NodeOrder},
    outcome::Return,
    topology, wire,
};

use super::Service;
use crate::{child::Order, events::Event, job, recent::Key};

impl Service {
    pub(super) fn hear(&mut self, event: Event) {
        match event {
            Event::Bell(bell) => {
                self.looks.ring(bell.queues.iter().map(String::as_str));
            }
            Event::Fleet(state) => self.obey(state),
        }
    }

    /// Does as the fleet's state says. It comes again and again: what is no news is passed over.
    fn obey(&mut self, state: FleetState) {
        if !self.fleet.is_informed() {
            // There is an aggregator, and it may not have heard of this worker yet.
            self.pulse.news();
        }
        self.bench.scripts.staging.hear(&state.staged);
        self.fleet.hear(state);
        self.ready = true;
        for running in self.seats.all_running() {
            let Key { run, job, epoch, .. } = &running.key;
            // What a paused run's scripts have begun they end; only the first order is heard, and
            // a later one may matter more to them.
            if let Some(why) = self.fleet.ends(run, *epoch)
                && !(why == Return::Paused && running.results == topology::RESULTS_SCRIPT)
                && running.tell(Order::Finish(why))
            {
                tracing::info!(run, job, ?why, "a running job is asked to end");
            }
        }
        for (device, quarantined) in self.seats.quarantine(|name| self.fleet.is_quarantined(name)) {
            if quarantined {
                tracing::warn!(device, "in quarantine: it takes no jobs");
            } else {
                tracing::info!(device, "out of quarantine");
            }
        }
        let order = self.fleet.order(&self.bench.node);
        if order == Some(NodeOrder::Drain) {
            self.seats.tell_all(Order::Finish(Return::Drain));
        }
        if order != self.order {
            match order {
                Some(NodeOrder::Pause) => tracing::info!("the node is paused: no new jobs"),
                Some(NodeOrder::Drain) => {
                    tracing::info!("the node drains: no new jobs, runners finish short");
                }
                None => tracing::info!("the node is at work again"),
            }
            self.order = order;
            self.beat();
        }
        self.note_fitness();
        self.review_kept();
    }

    pub(super) fn beat(&mut self) {
        match wire::encode(&self.heartbeat()) {
            Ok(message) => {
                // One that still waits for the broker says enough.
                self.heartbeats.try_send(message).ok();
            }
            Err(error) => tracing::error!(%error, "a heartbeat can't be written"),
        }
    }

    pub(super) fn heartbeat(&mut self) -> Heartbeat {
        let unconfirmed = |seat| {
            self.unconfirmed.iter().flatten().find(|(at, _)| *at == seat).map(|(_, held)| held)
        };
        let slots =
            self.seats.states(|seat| self.seats.holding(seat).or_else(|| unconfirmed(seat)));
        let memory = self.node.gate.state(Instant::now());
        Heartbeat {
            node: self.bench.node.clone(),
            instance: self.bench.instance.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            slots,
            draining: self.draining || self.order == Some(NodeOrder::Drain),
            paused: self.order == Some(NodeOrder::Pause),
            kept: self.kept.iter().map(|job| job.holding.told()).collect(),
            memory,
            informed: self.fleet.is_informed(),
            staged: self.bench.scripts.staging.told(),
            measured: self.bench.measured.clone(),
            at: job::now(),
        }
    }
}
