//! Health without waiting: each card is read by a thread of its own.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use shared::{
    health::{Condition, Health},
    job::Arch,
};

use super::{Gpu, System, health, nvidia};

/// A card that has not answered for so long is unreadable.
const OVERDUE: Duration = Duration::from_secs(15);
/// The same for NVIDIA's, whose driver may have to be loaded for the answer.
const OVERDUE_NVIDIA: Duration = Duration::from_secs(40);
/// NVIDIA's library is not asked more often: each time is a process.
const EVERY_NVIDIA: Duration = Duration::from_secs(30);

/// The last answer, and since when a question is open.
#[derive(Debug, Default)]
struct State {
    asked: Option<Instant>,
    last_asked: Option<Instant>,
    answers: BTreeMap<String, Health>,
}

/// What a gauge's thread and everybody else look at.
#[derive(Debug, Default)]
struct Desk {
    state: Mutex<State>,
    answered: Condvar,
}

/// A thread that reads some cards whenever it is asked.
#[derive(Debug)]
struct Gauge {
    asks: SyncSender<()>,
    desk: Arc<Desk>,
    overdue: Duration,
    every: Duration,
}

/// Tells every GPU's health at once. No call but [`Gauges::settle`] blocks, whatever a card does:
/// one that does not answer holds only its own thread.
#[derive(Debug)]
pub struct Gauges {
    gauges: Vec<Gauge>,
    /// Which gauge reads a card.
    of: BTreeMap<String, usize>,
}

impl Gauges {
    /// Starts the threads: one for each AMD card, one for all of NVIDIA's. They end when this is
    /// dropped, or when the process does. Nothing is read yet.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(gpus: &[Gpu], system: &System) -> io::Result<Self> {
        let mut all = Self { gauges: Vec::new(), of: BTreeMap::new() };
        let (nvidia, others): (Vec<Gpu>, Vec<Gpu>) =
            gpus.iter().cloned().partition(|gpu| gpu.arch == Arch::Cuda);
        if !nvidia.is_empty() {
            let here = system.clone();
            let group = nvidia.clone();
            let read = move || nvidia::health(&group, &here);
            all.add(&nvidia, OVERDUE_NVIDIA, EVERY_NVIDIA, read)?;
        }
        for gpu in others {
            let (here, card) = (system.clone(), gpu.clone());
            let read = move || vec![health(&card, &here)];
            all.add(&[gpu], OVERDUE, Duration::ZERO, read)?;
        }
        Ok(all)
    }

    /// `read` answers for the cards in their order.
    fn add(
        &mut self,
        gpus: &[Gpu],
        overdue: Duration,
        every: Duration,
        read: impl Fn() -> Vec<Health> + Send + 'static,
    ) -> io::Result<()> {
        let (asks, asked) = sync_channel(1);
        let desk = Arc::new(Desk::default());
        let keys: Vec<String> = gpus.iter().map(Gpu::key).collect();
        for key in &keys {
            self.of.insert(key.clone(), self.gauges.len());
        }
        let own = Arc::clone(&desk);
        thread::Builder::new()
            .name("gauge".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || serve(&asked, &own, &keys, read))?;
        self.gauges.push(Gauge { asks, desk, overdue, every });
        Ok(())
    }

    /// Has every card read anew. A card that is still being read is left alone.
    pub fn ask(&self) {
        for gauge in &self.gauges {
            let mut state = gauge.desk.lock();
            let early = state.last_asked.is_some_and(|last| last.elapsed() < gauge.every);
            if state.asked.is_some() || early {
                continue;
            }
            match gauge.asks.try_send(()) {
                Ok(()) => {
                    state.asked = Some(Instant::now());
                    state.last_asked = state.asked;
                }
                Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
            }
        }
    }

    /// Waits until every question is answered or overdue: for commands, which have nothing better
    /// to do.
    pub fn settle(&self) {
        for gauge in &self.gauges {
            let mut state = gauge.desk.lock();
            while let Some(asked) = state.asked
                && let left = gauge.overdue.saturating_sub(asked.elapsed())
                && !left.is_zero()
            {
                let waited = gauge.desk.answered.wait_timeout(state, left);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }

    /// A GPU's health as it was last read; unread before the first answer, and unreadable when an
    /// answer is overdue.
    #[must_use]
    pub fn health(&self, gpu: &Gpu) -> Health {
        let key = gpu.key();
        let Some(gauge) = self.of.get(&key).map(|&place| &self.gauges[place]) else {
            return Health::default();
        };
        let state = gauge.desk.lock();
        match state.asked.map(|asked| asked.elapsed()) {
            Some(waited) if waited >= gauge.overdue => Health::without_readings(
                Condition::Unreadable,
                format!("its driver has not answered for {} s", waited.as_secs()),
            ),
            _ => state.answers.get(&key).cloned().unwrap_or_default(),
        }
    }
}

fn serve(asked: &Receiver<()>, desk: &Desk, keys: &[String], read: impl Fn() -> Vec<Health>) {
    while asked.recv().is_ok() {
        let answers = read();
        let mut state = desk.lock();
        state.answers = keys.iter().cloned().zip(answers).collect();
        state.asked = None;
        desk.answered.notify_all();
    }
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overdue_answer_is_unreadable_until_it_comes() {
        let gpu = Gpu {
            index: 0,
            ordinal: 0,
            arch: Arch::Rocm,
            architecture: String::new(),
            name: String::new(),
            uuid: None,
            pci: "0000:03:00.0".to_owned(),
            memory_bytes: 0,
        };
        let (release, held) = std::sync::mpsc::channel();
        let read = move || {
            held.recv().ok();
            vec![Health::without_readings(Condition::Good, "at last")]
        };
        let mut gauges = Gauges { gauges: Vec::new(), of: BTreeMap::new() };
        gauges.add(std::slice::from_ref(&gpu), Duration::ZERO, Duration::ZERO, read).unwrap();
        assert_eq!(gauges.health(&gpu).condition, Condition::Unread);
        gauges.ask();
        gauges.ask();
        let health = gauges.health(&gpu);
        assert_eq!(health.condition, Condition::Unreadable);
        assert!(health.why.contains("not answered"), "{}", health.why);
        release.send(()).unwrap();
        gauges.gauges[0].overdue = Duration::from_secs(60);
        gauges.settle();
        assert_eq!(gauges.health(&gpu).why, "at last");
    }
}
