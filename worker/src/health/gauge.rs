//! Who tells how a device is.

use std::{
    fmt::Debug,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use shared::{health::Health, job::Arch};

use crate::{
    devices::{Gauges, Gpu},
    lease::MemoryIsBack,
};

/// What a device's memory may differ by from one time that it is idle to the next, in bytes.
const SLACK: u64 = 64 << 20;

/// After a job that was over sooner nothing is waited for.
const BRIEF: Duration = Duration::from_secs(1);

/// Tells how devices are. Nothing in here may wait for a device: a hung one may never answer.
pub trait Gauge: Debug + Send + Sync {
    /// Has every device read anew, some time soon.
    fn ask(&self);

    /// How a device was when it was last read; unread before that.
    fn health(&self, gpu: &Gpu) -> Health;
}

impl Gauge for Gauges {
    fn ask(&self) {
        Self::ask(self);
    }

    fn health(&self, gpu: &Gpu) -> Health {
        Self::health(self, gpu)
    }
}

/// Says whether a GPU's memory is back to what it is now, for its lease. `None` where that is not
/// read: NVIDIA's library is asked too seldom for it, and its driver frees memory with the process.
#[must_use]
pub fn memory_is_back(gauge: &Arc<dyn Gauge>, gpu: &Gpu) -> Option<MemoryIsBack> {
    is_back_after(gauge, gpu, BRIEF)
}

fn is_back_after(gauge: &Arc<dyn Gauge>, gpu: &Gpu, least: Duration) -> Option<MemoryIsBack> {
    if gpu.arch != Arch::Rocm {
        return None;
    }
    let before = gauge.health(gpu).readings.memory_used_bytes?;
    let (gauge, gpu) = (Arc::clone(gauge), gpu.clone());
    let (leased, asked) = (Instant::now(), AtomicBool::new(false));
    Some(Box::new(move || {
        if leased.elapsed() < least {
            return Some(true);
        }
        // The last reading may be older than the job.
        let is_new = asked.swap(true, Ordering::Relaxed);
        gauge.ask();
        let used = gauge.health(&gpu).readings.memory_used_bytes?;
        Some(is_new && used <= before.saturating_add(SLACK))
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use shared::health::Readings;

    use super::*;
    use crate::seats::tests::gpu;

    #[derive(Debug)]
    struct Used(Mutex<Option<u64>>);

    impl Gauge for Used {
        fn ask(&self) {}

        fn health(&self, _: &Gpu) -> Health {
            let memory_used_bytes = *self.0.lock().unwrap();
            Health::of(Readings { memory_used_bytes, ..Readings::default() }, 100)
        }
    }

    #[test]
    fn a_devices_memory_is_waited_for_where_it_is_read() {
        let used = Arc::new(Used(Mutex::new(Some(1 << 30))));
        let gauge = Arc::clone(&used) as Arc<dyn Gauge>;
        let is_back = is_back_after(&gauge, &gpu(), Duration::ZERO).unwrap();
        assert_eq!(is_back(), Some(false), "not by what was read before");
        *used.0.lock().unwrap() = Some(3 << 30);
        assert_eq!(is_back(), Some(false));
        *used.0.lock().unwrap() = Some((1 << 30) + SLACK);
        assert_eq!(is_back(), Some(true));
        *used.0.lock().unwrap() = None;
        assert_eq!(is_back(), None);
        assert!(memory_is_back(&gauge, &gpu()).is_none(), "what is not read is not waited for");
    }
}
