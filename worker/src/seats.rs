//! Which slot holds which job, and which takes another.

use std::{path::Path, sync::Arc, time::Instant};

use shared::{
    broker::Tag,
    job::{Arch, Job},
    messages::SlotState,
    runner::Progress,
};
use tokio::sync::watch;

use crate::{
    child::Order,
    endpoint::Endpoint,
    health::{Fitness, Gauge, News, Quarantine},
    heartbeat::{Holding, slot_state},
    lease::Lease,
    recent::Key,
    slots::Slot,
};

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
}

/// A job was delivered once more. Earlier sessions' tags acknowledge nothing any more.
pub fn came_back(tags: &mut Vec<Tag>, tag: Tag) {
    tags.retain(|known| !known.is_older_than(&tag));
    tags.push(tag);
}

#[derive(Debug)]
struct Seat {
    slot: Arc<Slot>,
    /// Its device as the fleet knows it: `node/device`.
    name: String,
    running: Option<Running>,
    /// Whether the fleet has put its device in quarantine.
    quarantined: bool,
    /// The worker's own quarantine of its device.
    own: Quarantine,
    /// What its device's readings say.
    fitness: Fitness,
    /// Whether another process was seen to hold its device.
    held_elsewhere: bool,
}

impl Seat {
    fn is_fit(&self) -> bool {
        let answers = self.slot.endpoint.as_ref().is_none_or(|endpoint| endpoint.takes());
        answers && !self.quarantined && self.own.is_clear() && self.fitness.is_fit()
    }

    fn is_here(&self) -> bool {
        self.slot.endpoint.is_none()
    }

    fn takes(&self) -> bool {
        self.running.is_none() && self.is_fit() && !self.held_elsewhere
    }

    /// Why the worker itself gives it nothing to do.
    fn unfit(&self) -> Option<String> {
        let own = || "it failed: it takes nothing until it has passed a probe".to_owned();
        let answers = self.slot.endpoint.as_ref().and_then(|endpoint| endpoint.why_unfit());
        answers.or_else(|| self.fitness.why()).or_else(|| (!self.own.is_clear()).then(own))
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
            own: Quarantine::default(),
            fitness: Fitness::default(),
            held_elsewhere: false,
        };
        Self(slots.into_iter().map(seat).collect())
    }

    /// How many of this machine's would take a job now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.0.iter().filter(|seat| seat.is_here() && seat.takes()).count()
    }

    /// The architectures of the endpoints that would take a job now, one for each slot.
    #[must_use]
    pub fn open_away(&self) -> Vec<Arch> {
        let mut tried: Vec<&Arc<Endpoint>> = Vec::new();
        let mut open = Vec::new();
        for seat in self.0.iter().filter(|seat| seat.takes()) {
            let Some(endpoint) = &seat.slot.endpoint else { continue };
            // One that has failed is tried with one job.
            if endpoint.why_unfit().is_some() {
                if tried.iter().any(|known| Arc::ptr_eq(known, endpoint)) {
                    continue;
                }
                tried.push(endpoint);
            }
            open.push(endpoint.arch);
        }
        open
    }

    /// How many jobs run on this machine.
    #[must_use]
    pub fn running_here(&self) -> usize {
        self.0.iter().filter(|seat| seat.is_here() && seat.running.is_some()).count()
    }

    /// The place of an endpoint's that takes that job now, with its slot, as [`Seats::choose`].
    #[must_use]
    pub fn choose_away(&self, job: &Job) -> Option<(usize, Arc<Slot>)> {
        let suits = |seat: &Seat| seat.slot.endpoint.as_ref().is_some_and(|it| it.suits(job));
        self.pick(&job.failed_on, |seat| suits(seat) && seat.takes())
    }

    /// Whether an endpoint's could take that job at some time.
    #[must_use]
    pub fn suits_away(&self, job: &Job) -> bool {
        self.0.iter().any(|seat| seat.slot.endpoint.as_ref().is_some_and(|it| it.suits(job)))
    }

    /// The place of one of this machine's that takes a job, with its slot: where there is a choice,
    /// one on whose device (`node/device`) the job has not failed.
    #[must_use]
    pub fn choose(&self, failed_on: &[String]) -> Option<(usize, Arc<Slot>)> {
        self.pick(failed_on, |seat| seat.is_here() && seat.takes())
    }

    fn pick(&self, failed_on: &[String], is: impl Fn(&Seat) -> bool) -> Option<(usize, Arc<Slot>)> {
        let open = || self.0.iter().enumerate().filter(|(_, seat)| is(seat));
        let (place, seat) =
            open().find(|(_, seat)| !failed_on.contains(&seat.name)).or_else(|| open().next())?;
        Some((place, Arc::clone(&seat.slot)))
    }

    /// Whether another process was seen to hold any device.
    #[must_use]
    pub fn any_held_elsewhere(&self) -> bool {
        self.0.iter().any(|seat| seat.held_elsewhere)
    }

    /// Whether no device is fit for work, whatever runs still.
    #[must_use]
    pub fn all_unfit(&self) -> bool {
        !self.0.iter().any(Seat::is_fit)
    }

    /// Another process holds the device.
    pub fn is_held_elsewhere(&mut self, place: usize) {
        self.0[place].held_elsewhere = true;
    }

    /// The devices of free slots that other processes were seen to hold.
    pub fn held_elsewhere(&self) -> impl Iterator<Item = &str> {
        let held = |seat: &&Seat| seat.held_elsewhere && seat.running.is_none() && seat.is_fit();
        self.0.iter().filter(held).map(|seat| seat.slot.device.name.as_str())
    }

    /// Asks again for the leases that others were seen to hold, and gives them back at once.
    pub fn look_at_leases(&mut self, leases: &Path) {
        for seat in self.0.iter_mut().filter(|seat| seat.held_elsewhere) {
            let Some(gpu) = &seat.slot.gpu else { continue };
            seat.held_elsewhere = matches!(Lease::take(leases, &gpu.key()), Ok(None));
        }
    }

    /// The first slot, to speak for the worker where no slot was at work.
    #[must_use]
    pub fn first(&self) -> Option<Arc<Slot>> {
        self.0.first().map(|seat| Arc::clone(&seat.slot))
    }

    /// Puts a job on a free one.
    pub fn seat(&mut self, place: usize, running: Running) {
        if let Some(endpoint) = &self.0[place].slot.endpoint {
            endpoint.begin();
        }
        self.0[place].running = Some(running);
    }

    /// Takes the job off.
    pub fn clear(&mut self, place: usize) -> Option<Running> {
        if let Some(endpoint) = &self.0[place].slot.endpoint {
            endpoint.ended();
        }
        self.0[place].running.take()
    }

    /// A slot's name as the fleet knows it (`node/device`), its slot, and its quarantine.
    pub fn ward(&mut self, place: usize) -> (&str, &Arc<Slot>, &mut Quarantine) {
        let seat = &mut self.0[place];
        (&seat.name, &seat.slot, &mut seat.own)
    }

    /// Why the worker itself gives a slot nothing to do.
    #[must_use]
    pub fn why_unfit(&self, place: usize) -> Option<String> {
        self.0[place].unfit()
    }

    /// Takes in how the devices of GPUs are. Returns what has changed: the places, and how.
    pub fn hear(&mut self, gauge: &dyn Gauge) -> Vec<(usize, News)> {
        let seats = self.0.iter_mut().enumerate();
        seats
            .filter_map(|(place, seat)| {
                let gpu = seat.slot.gpu.as_ref()?;
                Some((place, seat.fitness.hear(gauge.health(gpu))?))
            })
            .collect()
    }

    /// The places of slots on a GPU at that PCI address, or on any GPU.
    #[must_use]
    pub fn at(&self, pci: Option<&str>) -> Vec<usize> {
        let is_there = |seat: &Seat| {
            seat.slot.gpu.as_ref().is_some_and(|gpu| pci.is_none_or(|pci| gpu.pci == pci))
        };
        let seats = self.0.iter().enumerate();
        seats.filter(|(_, seat)| is_there(seat)).map(|(place, _)| place).collect()
    }

    /// Free slots whose devices are to be probed now.
    #[must_use]
    pub fn due(&self, now: Instant) -> Vec<usize> {
        let seats = self.0.iter().enumerate();
        let due =
            |seat: &Seat| seat.own.is_due(now) && seat.running.is_none() && seat.fitness.is_fit();
        seats.filter(|(_, seat)| due(seat)).map(|(place, _)| place).collect()
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

    /// What every running job, by its slot's place, shows of itself.
    pub fn holding(&self, place: usize) -> Option<&Holding> {
        self.0[place].running.as_ref().map(|running| &running.holding)
    }

    /// Every slot for a heartbeat, with what `held` says that it holds.
    pub fn states<'a>(&'a self, held: impl Fn(usize) -> Option<&'a Holding>) -> Vec<SlotState> {
        let seats = self.0.iter().enumerate();
        seats
            .map(|(place, seat)| {
                let health = seat.slot.gpu.is_some().then(|| seat.fitness.last().clone());
                let state = slot_state(&seat.slot, held(place));
                SlotState { health, unfit: seat.unfit(), ..state }
            })
            .collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use shared::{
        job::Arch,
        outcome::{Device, Return},
    };

    use super::*;
    use crate::devices::Gpu;

    fn plain(name: &str) -> Slot {
        Slot {
            arch: Arch::Cpu,
            device: Device { name: name.to_owned(), model: String::new(), threads: 1 },
            gpu: None,
            endpoint: None,
            runner: "runner".into(),
            env: Arc::new([]),
        }
    }

    pub(crate) fn gpu() -> Gpu {
        Gpu {
            index: 0,
            ordinal: 0,
            arch: Arch::Rocm,
            architecture: "gfx1032".to_owned(),
            name: "AMD Radeon RX 6600".to_owned(),
            uuid: None,
            pci: "0000:03:00.0".to_owned(),
            memory_bytes: 8 << 30,
        }
    }

    fn three() -> Seats {
        Seats::new(["cpu0", "cpu1", "cpu2"].map(|name| Arc::new(plain(name))).into(), "rig")
    }

    fn running() -> Running {
        let key = Key { run: "r".to_owned(), job: "j".to_owned(), seq: 1, epoch: 1 };
        let holding = Holding::now(&key);
        let results = shared::topology::RESULTS_SEED;
        let orders = watch::Sender::new(None);
        Running { key, number: 1, results, tags: Vec::new(), holding, orders }
    }

    fn chosen(seats: &Seats, failed_on: &[&str]) -> Option<usize> {
        let failed_on: Vec<String> = failed_on.iter().map(ToString::to_string).collect();
        seats.choose(&failed_on).map(|(place, _)| place)
    }

    #[test]
    fn a_job_goes_where_it_has_not_failed_if_it_can() {
        let mut seats = three();
        assert_eq!(chosen(&seats, &[]), Some(0));
        assert_eq!(chosen(&seats, &["rig/cpu0", "other/cpu1"]), Some(1));
        seats.seat(1, running());
        assert_eq!(chosen(&seats, &["rig/cpu0", "other/cpu1"]), Some(2));
        assert_eq!(chosen(&seats, &["rig/cpu2", "rig/cpu0"]), Some(0), "rather than nowhere");
        seats.clear(1);
        assert_eq!(chosen(&seats, &["rig/cpu0"]), Some(1));
    }

    #[test]
    fn a_device_in_the_workers_own_quarantine_takes_nothing_but_probes() {
        let now = Instant::now();
        let mut seats = three();
        let wait = seats.ward(0).2.strike(now);
        assert_eq!((seats.open(), chosen(&seats, &[])), (2, Some(1)));
        assert!(seats.why_unfit(0).is_some() && seats.why_unfit(1).is_none());
        assert_eq!((seats.due(now), seats.due(now + wait)), (vec![], vec![0]));
        seats.seat(0, running());
        assert!(seats.due(now + wait).is_empty(), "what runs goes on, and is not disturbed");
        seats.clear(0);
        for place in [1, 2] {
            assert!(!seats.all_unfit());
            seats.ward(place).2.suspect();
        }
        assert!(seats.all_unfit());
        assert_eq!(seats.due(now), [1, 2]);
        seats.ward(1).2.pass();
        assert_eq!((seats.all_unfit(), chosen(&seats, &[])), (false, Some(1)));
    }

    #[test]
    fn a_device_that_others_hold_is_passed_over_until_it_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let mut seats = three();
        let slot = Slot { gpu: Some(gpu()), ..plain("gpu0") };
        seats.0[1].slot = Arc::new(slot);
        let theirs = Lease::take(folder.path(), &gpu().key()).unwrap();
        seats.is_held_elsewhere(1);
        seats.look_at_leases(folder.path());
        assert_eq!(seats.held_elsewhere().collect::<Vec<_>>(), ["gpu0"]);
        assert_eq!((seats.open(), seats.all_unfit()), (2, false));
        drop(theirs);
        seats.look_at_leases(folder.path());
        assert!(!seats.any_held_elsewhere() && seats.open() == 3);
    }

    #[test]
    fn a_change_of_quarantine_is_told_once() {
        let mut seats = three();
        let bad = |device: &str| device == "rig/cpu0";
        assert_eq!(seats.quarantine(bad), [("rig/cpu0".to_owned(), true)]);
        assert_eq!(seats.quarantine(bad), []);
        assert_eq!((seats.open(), chosen(&seats, &[])), (2, Some(1)));
        assert_eq!(seats.quarantine(|_| false), [("rig/cpu0".to_owned(), false)]);
        assert_eq!(seats.open(), 3);
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
