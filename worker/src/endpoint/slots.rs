//! The slots that endpoints are.

use std::{path::PathBuf, sync::Arc};

use shared::{outcome::Device, settings::Settings};

use super::Endpoint;
use crate::slots::Slot;

/// The slots of every endpoint in the settings.
#[must_use]
pub fn slots(settings: &Settings) -> Vec<Arc<Slot>> {
    let worker = &settings.worker;
    let mut slots = Vec::new();
    for (number, own) in settings.endpoint.iter().enumerate() {
        let endpoint = Endpoint::new(own, worker.arch, worker.admission_wait.duration());
        tracing::info!(endpoint = endpoint.host, arch = %endpoint.arch, slots = own.slots, "slots elsewhere");
        let endpoint = Arc::new(endpoint);
        slots.extend((0..own.slots).map(|place| {
            Arc::new(Slot {
                arch: endpoint.arch,
                device: Device {
                    name: format!("endpoint{number}.{place}"),
                    model: endpoint.host.clone(),
                    threads: 1,
                },
                gpu: None,
                endpoint: Some(Arc::clone(&endpoint)),
                runner: PathBuf::new(),
                env: Arc::new([]),
            })
        }));
    }
    slots
}
