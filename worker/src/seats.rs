//! Which slot holds which job, and which takes another.

use std::{sync::Arc, time::Instant};

use shared::{broker::Tag, runner::Progress};
use tokio::sync::watch;

use crate::{child::Order, heartbeat::Holding, recent::Key, slots::Slot};

/// A job that runs.
#[derive(Debug)]
pub struct Running {
    /// Its key in the ledger.
    pub key: Key,
    /// Which job of this worker it is, in the order of their starts.
    pub number: u64,
    /// Where its outcome goes.
    pub results: &'static str,
    /// What acknowledges it: one for each time that it was delivered in the newest session.
    pub tags: Vec<Tag>,
    /// What others see of it.
    pub holding: Holding,
    /// Where it hears orders.
    pub orders: watch::Sender<Option<Order>>,
}

impl Running {
    /// Gives an order; says whether it is a new one. The first reason to finish stands.
    pub fn tell(&self, order: Order) -> bool {
        self.orders.send_if_modified(|told| {
            let is_new = match order {
                Order::Finish(_) => told.is_none(),
                Order::Kill => *told != Some(Order::Kill),
            };
            if is_new {
                *told = Some(order);
            }
            is_new
        })
    }

    /// The job was delivered once more. Earlier sessions' tags acknowledge nothing any more.
    pub fn came_back(&mut self, tag: Tag) {
        self.tags.retain(|known| !known.is_older_than(&tag));
        self.tags.push(tag);
    }
}

#[derive(Debug)]
struct Seat {
    slot: Arc<Slot>,
    /// Its device as the fleet knows it: `node/device`.
    name: String,
    running: Option<Running>,
    /// Whether the fleet has put its device in quarantine.
    quarantined: bool,
    /// Until when the worker itself lets it take nothing.
    aside: Option<Instant>,
}

impl Seat {
    fn takes(&self, now: Instant) -> bool {
        self.running.is_none() && !self.quarantined && self.aside.is_none_or(|until| until <= now)
    }
}

/// The worker's slots, and what each holds.
#[derive(Debug)]
pub struct Seats(Vec<Seat>);

impl Seats {
    /// All free, on a node of that name.
    #[must_use]
    pub fn new(slots: Vec<Arc<Slot>>, node: &str) -> Self {
        let seat = |slot: Arc<Slot>| Seat {
            name: format!("{node}/{}", slot.device.name),
            slot,
            running: None,
            quarantined: false,
            aside: None,
        };
        Self(slots.into_iter().map(seat).collect())
    }

    /// How many would take a job now.
    #[must_use]
    pub fn open(&self, now: Instant) -> usize {
        self.0.iter().filter(|seat| seat.takes(now)).count()
    }

    /// The place of one that takes a job, with its slot: where there is a choice, one on whose
    /// device (`node/device`) the job has not failed.
    #[must_use]
    pub fn choose(&self, failed_on: &[String], now: Instant) -> Option<(usize, Arc<Slot>)> {
        let open = || self.0.iter().enumerate().filter(|(_, seat)| seat.takes(now));
        let (place, seat) =
            open().find(|(_, seat)| !failed_on.contains(&seat.name)).or_else(|| open().next())?;
        Some((place, Arc::clone(&seat.slot)))
    }

    /// The first slot, to speak for the worker where no slot was at work.
    #[must_use]
    pub fn first(&self) -> Option<Arc<Slot>> {
        self.0.first().map(|seat| Arc::clone(&seat.slot))
    }

    /// Puts a job on a free one.
    pub fn seat(&mut self, place: usize, running: Running) {
        self.0[place].running = Some(running);
    }

    /// Takes the job off.
    pub fn clear(&mut self, place: usize) -> Option<Running> {
        self.0[place].running.take()
    }

    /// Lets one take nothing until then; what it holds goes on.
    pub fn set_aside(&mut self, place: usize, until: Instant) {
        self.0[place].aside = Some(until);
    }

    /// Lets those whose devices are in quarantine take nothing; what they hold goes on. Returns
    /// what has changed: devices (`node/device`), and whether each is in quarantine now.
    pub fn quarantine(&mut self, is_quarantined: impl Fn(&str) -> bool) -> Vec<(String, bool)> {
        let mut changed = Vec::new();
        for seat in &mut self.0 {
            let now = is_quarantined(&seat.name);
            if std::mem::replace(&mut seat.quarantined, now) != now {
                changed.push((seat.name.clone(), now));
            }
        }
        changed
    }

    /// The running job with that key.
    pub fn running(&mut self, key: &Key) -> Option<&mut Running> {
        self.0
            .iter_mut()
            .filter_map(|seat| seat.running.as_mut())
            .find(|running| running.key == *key)
    }

    /// Every running job.
    pub fn all_running(&self) -> impl Iterator<Item = &Running> {
        self.0.iter().filter_map(|seat| seat.running.as_ref())
    }

    /// Gives every running job an order.
    pub fn tell_all(&self, order: Order) {
        for running in self.all_running() {
            running.tell(order);
        }
    }

    /// Notes how far a job is; news of one that has ended is passed over.
    pub fn progress(&mut self, place: usize, number: u64, progress: Progress) {
        if let Some(running) = &mut self.0[place].running
            && running.number == number
        {
            running.holding.job.tested = progress.tested;
            running.holding.job.survivors = progress.survivors;
        }
    }

    /// Every slot with what it holds.
    pub fn iter(&self) -> impl Iterator<Item = (&Slot, Option<&Running>)> {
        self.0.iter().map(|seat| (&*seat.slot, seat.running.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::{
        job::Arch,
        outcome::{Device, Return},
    };

    use super::*;

    fn three() -> Seats {
        let slot = |name: &str| Slot {
            arch: Arch::Cpu,
            device: Device { name: name.to_owned(), model: String::new(), threads: 1 },
            gpu: None,
            runner: "runner".into(),
            env: Arc::new([]),
        };
        Seats::new(["cpu0", "cpu1", "cpu2"].map(|name| Arc::new(slot(name))).into(), "rig")
    }

    fn running() -> Running {
        let key = Key { run: "r".to_owned(), job: "j".to_owned(), seq: 1, epoch: 1 };
        let holding = Holding::now(&key);
        let results = shared::topology::RESULTS_SEED;
        let orders = watch::Sender::new(None);
        Running { key, number: 1, results, tags: Vec::new(), holding, orders }
    }

    fn chosen(seats: &Seats, failed_on: &[&str], now: Instant) -> Option<usize> {
        let failed_on: Vec<String> = failed_on.iter().map(ToString::to_string).collect();
        seats.choose(&failed_on, now).map(|(place, _)| place)
    }

    #[test]
    fn a_job_goes_where_it_has_not_failed_if_it_can() {
        let now = Instant::now();
        let mut seats = three();
        assert_eq!(chosen(&seats, &[], now), Some(0));
        assert_eq!(chosen(&seats, &["rig/cpu0", "other/cpu1"], now), Some(1));
        seats.seat(1, running());
        assert_eq!(chosen(&seats, &["rig/cpu0", "other/cpu1"], now), Some(2));
        assert_eq!(chosen(&seats, &["rig/cpu2", "rig/cpu0"], now), Some(0), "rather than nowhere");
        seats.clear(1);
        assert_eq!(chosen(&seats, &["rig/cpu0"], now), Some(1));
    }

    #[test]
    fn a_slot_set_aside_takes_nothing_for_a_while() {
        let now = Instant::now();
        let until = now + Duration::from_secs(60);
        let mut seats = three();
        seats.set_aside(0, until);
        assert_eq!((seats.open(now), chosen(&seats, &["rig/cpu1", "rig/cpu2"], now)), (2, Some(1)));
        assert_eq!((seats.open(until), chosen(&seats, &[], until)), (3, Some(0)));
        seats.seat(0, running());
        assert_eq!(seats.open(until), 2);
    }

    #[test]
    fn a_change_of_quarantine_is_told_once() {
        let now = Instant::now();
        let mut seats = three();
        let bad = |device: &str| device == "rig/cpu0";
        assert_eq!(seats.quarantine(bad), [("rig/cpu0".to_owned(), true)]);
        assert_eq!(seats.quarantine(bad), []);
        assert_eq!((seats.open(now), chosen(&seats, &[], now)), (2, Some(1)));
        assert_eq!(seats.quarantine(|_| false), [("rig/cpu0".to_owned(), false)]);
        assert_eq!(seats.open(now), 3);
    }

    #[test]
    fn the_first_reason_stands_and_haste_overrules_it() {
        let running = running();
        let orders = running.orders.subscribe();
        assert!(running.tell(Order::Finish(Return::Paused)));
        assert!(!running.tell(Order::Finish(Return::Cancelled)));
        assert_eq!(*orders.borrow(), Some(Order::Finish(Return::Paused)));
        assert!(running.tell(Order::Kill));
        assert!(!running.tell(Order::Kill) && !running.tell(Order::Finish(Return::Drain)));
        assert_eq!(*orders.borrow(), Some(Order::Kill));
    }
}
