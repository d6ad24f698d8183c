//! Which slot holds which job.

use std::sync::Arc;

use shared::{broker::Tag, runner::Progress};

use crate::{heartbeat::Holding, recent::Key, slots::Slot};

/// A job that runs.
#[derive(Debug)]
pub struct Running {
    /// Its key in the ledger.
    pub key: Key,
    /// Which job of this worker it is, in the order of their starts.
    pub number: u64,
    /// What acknowledges it: one for each time that it was delivered.
    pub tags: Vec<Tag>,
    /// What others see of it.
    pub holding: Holding,
}

/// The worker's slots, and what each holds.
#[derive(Debug)]
pub struct Seats {
    seats: Vec<(Arc<Slot>, Option<Running>)>,
    free: usize,
}

impl Seats {
    /// All free.
    #[must_use]
    pub fn new(slots: Vec<Arc<Slot>>) -> Self {
        let free = slots.len();
        Self { seats: slots.into_iter().map(|slot| (slot, None)).collect(), free }
    }

    /// How many are free.
    #[must_use]
    pub const fn free(&self) -> usize {
        self.free
    }

    /// A free one, with its place.
    #[must_use]
    pub fn first_free(&self) -> Option<(usize, Arc<Slot>)> {
        let place = self.seats.iter().position(|(_, running)| running.is_none())?;
        Some((place, Arc::clone(&self.seats[place].0)))
    }

    /// Puts a job on a free one.
    pub fn seat(&mut self, place: usize, running: Running) {
        if self.seats[place].1.replace(running).is_none() {
            self.free -= 1;
        }
    }

    /// Takes the job off.
    pub fn clear(&mut self, place: usize) -> Option<Running> {
        let running = self.seats[place].1.take()?;
        self.free += 1;
        Some(running)
    }

    /// The running job with that key.
    pub fn running(&mut self, key: &Key) -> Option<&mut Running> {
        self.seats
            .iter_mut()
            .filter_map(|(_, running)| running.as_mut())
            .find(|running| running.key == *key)
    }

    /// Notes how far a job is; news of one that has ended is passed over.
    pub fn progress(&mut self, place: usize, number: u64, progress: Progress) {
        if let Some(running) = &mut self.seats[place].1
            && running.number == number
        {
            running.holding.job.tested = progress.tested;
            running.holding.job.survivors = progress.survivors;
        }
    }

    /// Every slot with what it holds.
    pub fn iter(&self) -> impl Iterator<Item = (&Slot, Option<&Running>)> {
        self.seats.iter().map(|(slot, running)| (&**slot, running.as_ref()))
    }
}
