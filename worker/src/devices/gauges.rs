//! Health without waiting: each card is read by a thread of its own.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, PoisonError,
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

/// A thread that reads some cards whenever it is asked.
#[derive(Debug)]
struct Gauge {
    asks: SyncSender<()>,
    state: Arc<Mutex<State>>,
    overdue: Duration,
    every: Duration,
}

/// Tells every GPU's health at once. No call blocks, whatever a card does: one that does not
/// answer holds only its own thread.
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
            all.add(nvidia, OVERDUE_NVIDIA, EVERY_NVIDIA, read)?;
        }
        for gpu in others {
            let (here, card) = (system.clone(), gpu.clone());
            let read = move || vec![health(&card, &here)];
            all.add(vec![gpu], OVERDUE, Duration::ZERO, read)?;
        }
        Ok(all)
    }

    /// `read` answers for the cards in their order.
    fn add(
        &mut self,
        gpus: Vec<Gpu>,
        overdue: Duration,
        every: Duration,
        read: impl Fn() -> Vec<Health> + Send + 'static,
    ) -> io::Result<()> {
        let (asks, asked) = sync_channel(1);
        let state = Arc::new(Mutex::new(State::default()));
        let keys: Vec<String> = gpus.iter().map(Gpu::key).collect();
        for key in &keys {
            self.of.insert(key.clone(), self.gauges.len());
        }
        let answers = Arc::clone(&state);
        thread::Builder::new()
            .name("gauge".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || serve(&asked, &answers, &keys, read))?;
        self.gauges.push(Gauge { asks, state, overdue, every });
        Ok(())
    }

    /// Has every card read anew. A card that is still being read is left alone.
    pub fn ask(&self) {
        for gauge in &self.gauges {
            let mut state = lock(&gauge.state);
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

    /// A GPU's health as it was last read; unread before the first answer, and unreadable when an
    /// answer is overdue.
    #[must_use]
    pub fn health(&self, gpu: &Gpu) -> Health {
        let key = gpu.key();
        let Some(gauge) = self.of.get(&key).map(|&place| &self.gauges[place]) else {
            return Health::default();
        };
        let state = lock(&gauge.state);
        match state.asked.map(|asked| asked.elapsed()) {
            Some(waited) if waited >= gauge.overdue => Health::without_readings(
                Condition::Unreadable,
                format!("its driver has not answered for {} s", waited.as_secs()),
            ),
            _ => state.answers.get(&key).cloned().unwrap_or_default(),
        }
    }
}

fn serve(
    asked: &Receiver<()>,
    state: &Mutex<State>,
    keys: &[String],
    read: impl Fn() -> Vec<Health>,
) {
    while asked.recv().is_ok() {
        let answers = read();
        let mut state = lock(state);
        state.answers = keys.iter().cloned().zip(answers).collect();
        state.asked = None;
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
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
        gauges.add(vec![gpu.clone()], Duration::ZERO, Duration::ZERO, read).unwrap();
        assert_eq!(gauges.health(&gpu).condition, Condition::Unread);
        gauges.ask();
        gauges.ask();
        let health = gauges.health(&gpu);
        assert_eq!(health.condition, Condition::Unreadable);
        assert!(health.why.contains("not answered"), "{}", health.why);
        release.send(()).unwrap();
        while gauges.health(&gpu).condition == Condition::Unreadable {
            thread::yield_now();
        }
        assert_eq!(gauges.health(&gpu).why, "at last");
    }
}
