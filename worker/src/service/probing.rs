//! Devices that may not be fit: their readings, their quarantine, and probes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::watch,
    task::{JoinError, JoinSet},
};

use super::Service;
use crate::{
    child::Order,
    devices::Trouble,
    health::{self, Finding, News},
};

/// How often devices are read.
const READ_EVERY: Duration = Duration::from_secs(10);

/// What a probe has shown of the device of a slot.
pub(super) type Probed = (usize, Finding);

/// The probes under way.
#[derive(Debug, Default)]
pub(super) struct Probes {
    tasks: JoinSet<Probed>,
    orders: Vec<watch::Sender<Option<Order>>>,
    /// When devices were read last.
    read: Option<Instant>,
    /// Whether no device was fit, when that was last looked at.
    none_fit: bool,
}

impl Probes {
    /// What the next one to end has shown; never `None` while the dispatcher has others to wait
    /// for.
    pub(super) async fn next(&mut self) -> Option<Result<Probed, JoinError>> {
        self.tasks.join_next().await
    }

    /// Ends all.
    pub(super) fn stop(&mut self) {
        self.tasks = JoinSet::new();
        self.orders.clear();
    }
}

impl Service {
    /// Reads devices and begins the probes that are due.
    pub(super) fn tend_devices(&mut self, now: Instant) {
        let due = |last: Instant| now.saturating_duration_since(last) >= READ_EVERY;
        if self.probes.read.is_none_or(due) {
            self.probes.read = Some(now);
            self.node.gauge.ask();
            self.hear_kernel();
        }
        for (seat, news) in self.seats.hear(&*self.node.gauge) {
            self.pulse.news();
            let why = self.seats.why_unfit(seat).unwrap_or_default();
            let (name, _, quarantine) = self.seats.ward(seat);
            match news {
                News::Fit => tracing::info!(device = name, "fit again, by its readings"),
                News::Unfit => tracing::warn!(device = name, why, "it takes nothing for now"),
                News::Lost => {
                    let wait = quarantine.strike(now);
                    tracing::warn!(device = name, why, "in quarantine: probed in {wait:?}");
                }
            }
        }
        if !self.draining {
            for seat in self.seats.due(now) {
                self.begin_probe(seat, now);
            }
        }
        self.note_fitness();
    }

    /// Has devices probed of which the kernel says that they got stuck, were reset or are gone. An
    /// older kernel does not say which: then all are. A strike is the probe's to give, for one
    /// trouble can fill many lines.
    fn hear_kernel(&mut self) {
        let Some(log) = &mut self.node.kernel_log else { return };
        for Trouble { pci, line, .. } in log.news() {
            for seat in self.seats.at(pci.as_deref()) {
                let (name, _, quarantine) = self.seats.ward(seat);
                tracing::warn!(device = name, line, "the kernel's log; it is probed");
                quarantine.suspect();
                self.pulse.news();
            }
        }
    }

    fn begin_probe(&mut self, seat: usize, now: Instant) {
        let slot = Arc::clone(self.seats.ward(seat).1);
        let lease = match slot.gpu.as_ref().map(|gpu| self.lease(gpu)).transpose() {
            Ok(None) => None,
            Ok(Some(Some(lease))) => Some(lease),
            // Whoever holds it tries it out.
            Ok(Some(None)) | Err(_) => return self.seats.ward(seat).2.postpone(now),
        };
        self.seats.ward(seat).2.probing();
        tracing::info!(device = slot.device.name, "probed with a known job");
        let (sender, orders) = watch::channel(None);
        self.probes.orders.push(sender);
        let bench = Arc::clone(&self.bench);
        self.probes
            .tasks
            .spawn(async move { (seat, health::probe(&bench, &slot, lease, orders).await) });
    }

    /// A probe has ended.
    pub(super) fn probed(&mut self, (seat, finding): Probed) {
        self.probes.orders.retain(|orders| !orders.is_closed());
        let now = Instant::now();
        let (name, _, quarantine) = self.seats.ward(seat);
        match finding {
            Finding::Sound => {
                quarantine.pass();
                tracing::info!(device = name, "it passed its probe and works again");
            }
            Finding::Faulty(why) => {
                let wait = quarantine.strike(now);
                tracing::warn!(device = name, why, "it failed its probe; the next is in {wait:?}");
            }
            Finding::NotMade(why) => {
                quarantine.postpone(now);
                tracing::warn!(device = name, why, "it could not be probed");
            }
        }
        self.pulse.news();
        self.note_fitness();
    }

    /// Says once when no device is fit for work, and once when one is again.
    pub(super) fn note_fitness(&mut self) {
        let none_fit = self.seats.all_unfit();
        if std::mem::replace(&mut self.probes.none_fit, none_fit) != none_fit {
            if none_fit {
                tracing::warn!("no device is fit for work: nothing is taken until one is");
            } else {
                tracing::info!("a device is fit for work again");
            }
        }
    }
}
