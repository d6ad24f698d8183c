//! From a delivery to a running job.

use std::{
    io,
    sync::Arc,
    time::{Instant, SystemTime},
};

use shared::{
    broker::Delivery,
    job::{Arch, Job, Task},
    messages::Stage,
    outcome::{Failure, Return, Verdict},
    topology, wire,
};
use tokio::sync::watch;

use super::{Service, ending::log, kept::Kept};
use crate::{
    WorkerError,
    admission::{Answer, Permit},
    devices::Gpu,
    health::memory_is_back,
    heartbeat::Holding,
    job::{self, Taken},
    lease::Lease,
    recent::Key,
    seats::{Running, came_back},
    slots::Slot,
};

/// What becomes of a job that would start.
#[derive(Debug)]
enum Decision {
    /// It starts there.
    Start(Box<Place>),
    /// It is kept; after `admission_wait` it goes back for that reason. Whether others may pass it
    /// meanwhile.
    Wait(Return, String, bool),
    /// It goes back.
    Back(Box<Verdict>),
}

/// Where a job starts.
#[derive(Debug)]
struct Place {
    seat: usize,
    slot: Arc<Slot>,
    lease: Option<Lease>,
    /// What it holds of the node's limits, beyond what it was taken with; an endpoint's holds none.
    permit: Permit,
}

impl Decision {
    fn back(reason: Return, why: String) -> Self {
        Self::Back(Box::new(job::returned(reason, why)))
    }

    const fn wait(reason: Return, why: String) -> Self {
        Self::Wait(reason, why, false)
    }

    /// It waits for what others that pass it would not use up.
    fn aside(why: impl Into<String>) -> Self {
        Self::Wait(Return::Busy, why.into(), true)
    }
}

impl Service {
    /// Starts a job, or disposes of what is none (or none any more).
    pub(super) fn place(
        &mut self,
        delivery: Delivery,
        arch: Arch,
        permit: Permit,
    ) -> Result<(), WorkerError> {
        let Some(spokesman) = self.seats.first() else {
            return Err(WorkerError::Internal("a job was taken without a slot".to_owned()));
        };
        let results = topology::results_of(&delivery.queue);
        let Delivery { message, tag, redelivered, .. } = delivery;
        let job = match wire::decode::<Job>(&message) {
            Ok(job) => job,
            Err(error) => {
                tracing::warn!(%error, queue = delivery.queue, "a message is no job");
                let why = error.to_string();
                let outcome = job::undecodable(&self.bench, &spokesman, arch, &message, &why);
                self.report(Some((results, outcome)), vec![tag], None);
                return Ok(());
            }
        };
        let key = Key::of(&job);
        if redelivered {
            tracing::info!(run = key.run, job = key.job, "a job was delivered again");
        }
        if let Some(running) = self.seats.running(&key) {
            // The session it was taken in is gone; it is ours again, and still runs.
            tracing::info!(run = key.run, job = key.job, "a running job came back");
            came_back(&mut running.tags, tag);
            return Ok(());
        }
        if let Some(kept) = self.kept.iter_mut().find(|kept| kept.key == key) {
            tracing::info!(run = key.run, job = key.job, "a kept job came back");
            came_back(&mut kept.tags, tag);
            return Ok(());
        }
        if self.recent.contains(&key) || self.fleet.is_past(&job.run, job.epoch) {
            tracing::debug!(run = key.run, job = key.job, "acknowledged unrun");
            self.report(None, vec![tag], None);
            return Ok(());
        }
        let holding = Holding::now(&key);
        let invalid = job.validate().err();
        let taken = Taken { job, bytes: Arc::new(message.body), at: job::now() };
        let tags = vec![tag];
        let candidate = Kept { key, results, tags, taken, permit, holding, lets_pass: false };
        if let Some(error) = invalid {
            let unrun = job::failed(Failure::Rejected, error.to_string(), String::new());
            self.dispose(candidate, unrun);
        } else if self.kept_let_pass() {
            self.try_start(candidate);
        } else {
            self.keep(candidate, "its turn: a job before it is kept".to_owned());
        }
        Ok(())
    }

    /// Starts a job if it may start now; keeps it, or gives it back, if not. Returns whether it is
    /// kept.
    pub(super) fn try_start(&mut self, candidate: Kept) -> bool {
        let now = Instant::now();
        match self.decide(&candidate, now) {
            Decision::Start(place) => self.start_job(*place, candidate),
            Decision::Back(verdict) => self.dispose(candidate, *verdict),
            Decision::Wait(reason, why, lets_pass) => {
                let waited = now.saturating_duration_since(candidate.holding.since);
                if waited >= self.node.gate.wait() {
                    let seconds = waited.as_secs_f64();
                    let why = format!("{why}; it was kept for {seconds:.1} s");
                    self.dispose(candidate, job::returned(reason, why));
                } else {
                    self.keep(Kept { lets_pass, ..candidate }, why);
                    return true;
                }
            }
        }
        false
    }

    /// What becomes of a job that would start now: here if it may, else at an endpoint. Nothing is
    /// held for it unless it starts.
    fn decide(&mut self, candidate: &Kept, now: Instant) -> Decision {
        let job = &candidate.taken.job;
        // Orders come while a look is under way.
        if self.draining || self.order.is_some() {
            return Decision::back(Return::Drain, "no slot takes it any more".to_owned());
        }
        let here = self.decide_here(candidate, now);
        if matches!(here, Decision::Start(_)) {
            return here;
        }
        if let Some((seat, slot)) = self.seats.choose_away(job) {
            let (lease, permit) = (None, Permit::default());
            return Decision::Start(Box::new(Place { seat, slot, lease, permit }));
        }
        match here {
            // Not here, but an endpoint has run out of slots meanwhile, or does not answer.
            Decision::Back(_) if self.seats.suits_away(job) => {
                Decision::back(Return::Busy, "no endpoint takes it now".to_owned())
            }
            here => here,
        }
    }

    fn decide_here(&mut self, candidate: &Kept, now: Instant) -> Decision {
        let job = &candidate.taken.job;
        if let Task::Script(script) = &job.task {
            let no_folders = self.bench.scripts.folders.is_empty();
            if no_folders || !(script.anywhere || job.arch == self.arch) {
                let why =
                    "no slot of this machine runs it, and no endpoint of its worker".to_owned();
                return Decision::back(Return::NeverFits, why);
            }
        }
        if self.seats.open() == 0 && self.seats.held_elsewhere().next().is_none() {
            return if candidate.permit.job.is_none() {
                Decision::aside("it is nothing for an endpoint and waits for a slot here")
            } else {
                Decision::back(Return::Drain, "no slot takes it any more".to_owned())
            };
        }
        match self.node.gate.ask(job, now) {
            Answer::Fits => {}
            Answer::NotNow(why) => return Decision::wait(Return::NoMemoryNow, why),
            Answer::Never(why) => return Decision::back(Return::NeverFits, why),
        }
        let permit = match self.permit(candidate) {
            Ok(permit) => permit,
            Err(why) => return Decision::aside(why),
        };
        while let Some((seat, slot)) = self.seats.choose(&job.failed_on) {
            let lease = match slot.gpu.as_ref().map(|gpu| self.lease(gpu)).transpose() {
                Ok(None) => None,
                Ok(Some(Some(lease))) => Some(lease),
                Ok(Some(None)) => {
                    self.seats.is_held_elsewhere(seat);
                    continue;
                }
                Err(error) => {
                    let device = &slot.device.name;
                    let why = format!("the lease on {device} can't be taken: {error}");
                    let failed = job::failed(Failure::SpawnFailed, why, String::new());
                    return Decision::Back(Box::new(failed));
                }
            };
            if job.is_script()
                && let Err(left) = self.node.spacing.claim(SystemTime::now())
            {
                let seconds = left.as_secs_f64();
                let why = format!("start_spacing: the next script may start in {seconds:.1} s");
                return Decision::wait(Return::Busy, why);
            }
            return Decision::Start(Box::new(Place { seat, slot, lease, permit }));
        }
        let held: Vec<&str> = self.seats.held_elsewhere().collect();
        let why = format!("another process holds {}", held.join(", "));
        Decision::wait(Return::Busy, why)
    }

    /// What a job that would start here lacks of the node's limits, or which limit it waits for.
    fn permit(&mut self, candidate: &Kept) -> Result<Permit, String> {
        let (has, limits) = (&candidate.permit, &mut self.node.limits);
        let mut more = Permit::default();
        if has.job.is_none() {
            more.job = Some(limits.job().ok_or("max_jobs: so many run on this node")?);
        }
        let Task::Script(script) = &candidate.taken.job.task else { return Ok(more) };
        if has.script.is_none() {
            let full = "max_concurrent_script_jobs: so many run on this node";
            more.script = Some(limits.script().ok_or(full)?);
        }
        if let Some(most) = script.concurrency {
            more.step = Some(limits.step(&script.step, most)?);
        }
        Ok(more)
    }

    /// The lease on a device; `None` when another process holds it.
    pub(super) fn lease(&self, gpu: &Gpu) -> io::Result<Option<Lease>> {
        let lease = Lease::take(&self.node.leases, &gpu.key())?;
        Ok(lease.map(|lease| match memory_is_back(&self.node.gauge, gpu) {
            Some(is_back) => lease.until(is_back),
            None => lease,
        }))
    }

    fn start_job(&mut self, place: Place, job: Kept) {
        let Place { seat, slot, lease, permit: more } = place;
        let is_here = slot.endpoint.is_none();
        let Kept { key, results, tags, taken, permit, mut holding, .. } = job;
        self.started += 1;
        let number = self.started;
        let (sender, orders) = watch::channel(None);
        if holding.job.stage == Stage::Kept {
            tracing::info!(run = key.run, job = key.job, "a kept job starts");
            holding = Holding::now(&key);
        }
        // What runs elsewhere holds nothing of this node.
        let permit = is_here.then(|| permit.with(more));
        if is_here {
            self.node.gate.begin(number, &taken.job, Instant::now());
        }
        self.seats.seat(seat, Running { key, number, results, tags, holding, orders: sender });
        let bench = Arc::clone(&self.bench);
        let news = self.news_sender.clone();
        self.jobs.spawn(async move {
            let progress = |progress| {
                // Progress may be lost when the dispatcher is busy: newer progress follows.
                news.try_send((seat, number, progress)).ok();
            };
            let ran = job::run(&bench, &slot, &taken, lease, orders, progress).await;
            // The node's other workers may go on.
            drop(permit);
            (seat, ran)
        });
    }

    /// Says what becomes of a job that was not started.
    pub(super) fn dispose(&mut self, job: Kept, verdict: Verdict) {
        let Some(spokesman) = self.seats.first() else { return };
        let outcome = job::outcome(&self.bench, &spokesman, &job.taken, verdict, 0.0);
        self.recent.remember(job.key);
        log(&outcome);
        self.report(Some((job.results, outcome)), job.tags, None);
    }
}
