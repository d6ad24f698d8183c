//! The dispatcher: the one task that owns the worker's state. It takes jobs for free slots, starts
//! them, hands their outcomes over, and drains when it is asked to end.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use shared::{
    broker::{Broker, BrokerError, Delivery, Tag},
    failpoint::{self, Point},
    job::{Arch, Job},
    messages::{FleetState, Heartbeat, NodeOrder, Stage},
    outcome::{Failure, Outcome, Return, Verdict},
    runner::Progress,
    topology,
    wire::{self, Message},
};
use tokio::{
    sync::{mpsc, watch},
    task::{JoinError, JoinSet},
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use crate::{
    WorkerError,
    child::Order,
    events::{self, Event},
    fleet::Fleet,
    heartbeat::{Holding, Pulse, slot_state},
    job::{self, Bench, Taken},
    lease,
    looks::{Look, Looks},
    recent::{Key, Recent},
    report::{self, MAX_UNCONFIRMED, Report},
    seats::{Running, Seats},
    signals::{Asked, Signals},
    slots::Slot,
};

/// How long a worker waits for its first fleet state before its first take.
const UNINFORMED_WAIT: Duration = Duration::from_secs(6);
/// How often it looks at queues that no bell rang for.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How long the broker may take for the last words after a second signal.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long a slot takes nothing after its device was lost or computed wrongly, whatever the fleet
/// says meanwhile.
const SET_ASIDE: Duration = Duration::from_secs(60);

type Take = (Look, Result<Option<Delivery>, BrokerError>);

/// A job's progress, where it runs, and which one it is.
type News = (usize, u64, Progress);

/// A worker at work.
#[derive(Debug)]
pub struct Service {
    broker: Arc<dyn Broker>,
    bench: Arc<Bench>,
    seats: Seats,
    /// How many jobs were started.
    started: u64,
    looks: Looks,
    fleet: Fleet,
    /// Whether jobs may be taken without the fleet's state.
    ready: bool,
    draining: bool,
    /// Asked twice: nothing is waited for.
    hurried: bool,
    /// What the node is told to do, and was logged.
    order: Option<NodeOrder>,
    takes: JoinSet<Take>,
    jobs: JoinSet<(usize, Outcome)>,
    /// Outcomes whose keys need not be run again.
    recent: Recent,
    /// Reports that wait for their confirm, oldest first: which slot held the job, and the job.
    unconfirmed: VecDeque<Option<(usize, Holding)>>,
    /// Bounded by what may be unconfirmed and by the slots.
    reports: mpsc::UnboundedSender<Report>,
    confirmed: mpsc::UnboundedReceiver<usize>,
    events: mpsc::Receiver<Event>,
    news: mpsc::Receiver<News>,
    news_sender: mpsc::Sender<News>,
    heartbeats: mpsc::Sender<Message>,
    pulse: Pulse,
}

impl Service {
    /// Listens to events and starts the tasks beside the dispatcher.
    ///
    /// # Errors
    /// [`WorkerError::Broker`] when the broker refuses a listener.
    pub async fn start(
        broker: Arc<dyn Broker>,
        bench: Arc<Bench>,
        slots: Vec<Arc<Slot>>,
        eager: bool,
    ) -> Result<Self, WorkerError> {
        let listener = broker.listen().await?;
        let (event_sender, events) = mpsc::channel(64);
        tokio::spawn(events::hear(Arc::clone(&broker), listener, event_sender));
        let (reports, report_queue) = mpsc::unbounded_channel();
        let (confirmed_sender, confirmed) = mpsc::unbounded_channel();
        tokio::spawn(report::hand_over(Arc::clone(&broker), report_queue, confirmed_sender));
        let (heartbeats, heartbeat_queue) = mpsc::channel(1);
        tokio::spawn(events::speak(Arc::clone(&broker), heartbeat_queue));
        let (news_sender, news) = mpsc::channel(256);
        let arch = slots.first().map_or(Arch::Cpu, |slot| slot.arch);
        if let Some(slot) = slots.first() {
            tracing::info!(
                node = bench.node,
                instance = bench.instance,
                slots = slots.len(),
                threads = slot.device.threads,
                device = slot.device.model,
                "at work"
            );
        }
        Ok(Self {
            broker,
            seats: Seats::new(slots, &bench.node),
            started: 0,
            looks: Looks::new(arch, bench.scripts.attempts.is_some()),
            bench,
            fleet: Fleet::default(),
            ready: eager,
            draining: false,
            hurried: false,
            order: None,
            takes: JoinSet::new(),
            jobs: JoinSet::new(),
            recent: Recent::default(),
            unconfirmed: VecDeque::new(),
            reports,
            confirmed,
            events,
            news,
            news_sender,
            heartbeats,
            pulse: Pulse::default(),
        })
    }

    /// Works until a signal asks it to end, drains, and says which signal it was. The last
    /// outcomes get `patience` to reach the broker.
    ///
    /// # Errors
    /// [`WorkerError::Unreported`] when they did not; [`WorkerError::Internal`] for a fault of
    /// ours.
    pub async fn run(
        mut self,
        signals: &mut Signals,
        patience: Duration,
    ) -> Result<Asked, WorkerError> {
        let mut asked = None;
        let mut look_again = interval(LOOK_EVERY);
        let mut every_second = interval(Duration::from_secs(1));
        look_again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        every_second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut uninformed = std::pin::pin!(sleep(UNINFORMED_WAIT));
        while !(self.draining && self.jobs.is_empty()) {
            self.look();
            tokio::select! {
                Some(take) = self.takes.join_next() => self.taken(take.map_err(|error| fault(&error))?)?,
                Some(ended) = self.jobs.join_next() => self.ended(ended.map_err(|error| fault(&error))?),
                Some(count) = self.confirmed.recv() => self.confirm(count),
                Some(event) = self.events.recv() => self.hear(event),
                Some((seat, number, progress)) = self.news.recv() => {
                    self.seats.progress(seat, number, progress);
                    self.pulse.news();
                }
                _ = every_second.tick() => if self.pulse.due() {
                    self.beat();
                },
                _ = look_again.tick() => self.looks.forget(),
                () = uninformed.as_mut(), if !self.ready => {
                    tracing::info!("no aggregator answered; taking jobs without the fleet's state");
                    self.ready = true;
                }
                signal = signals.next() => {
                    if self.draining {
                        tracing::warn!("asked again: ending runners at once");
                        self.hurried = true;
                        self.seats.tell_all(Order::Kill);
                        break;
                    }
                    asked = Some(signal);
                    self.drain();
                }
            }
        }
        self.finish(signals, patience).await?;
        Ok(asked.unwrap_or(Asked::Terminate))
    }

    /// Begins as many looks as are worth it.
    fn look(&mut self) {
        while self.ready
            && !self.draining
            && self.order.is_none()
            && self.unconfirmed.len() < MAX_UNCONFIRMED
            && self.takes.len() < self.seats.open(Instant::now())
        {
            let Some(look) = self.looks.begin() else { return };
            let broker = Arc::clone(&self.broker);
            self.takes.spawn(async move {
                let answer = broker.take(&look.name).await;
                (look, answer)
            });
        }
    }

    fn taken(&mut self, (look, answer): Take) -> Result<(), WorkerError> {
        match answer {
            Ok(Some(delivery)) => {
                failpoint::pass(Point::JobTaken);
                self.looks.found(&look);
                self.place(delivery, look.arch)?;
            }
            Ok(None) => self.looks.empty(&look),
            Err(error) => {
                if self.looks.missing(&look) {
                    tracing::warn!(%error, queue = look.name, "a queue can't be looked at; trying now and then");
                }
            }
        }
        Ok(())
    }

    /// Starts a job, or disposes of what is none (or none any more).
    fn place(&mut self, delivery: Delivery, arch: Arch) -> Result<(), WorkerError> {
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
            running.came_back(tag);
            return Ok(());
        }
        if self.recent.contains(&key) || self.fleet.is_past(&job.run, job.epoch) {
            tracing::debug!(run = key.run, job = key.job, "acknowledged unrun");
            self.report(None, vec![tag], None);
            return Ok(());
        }
        let taken = Taken { job, bytes: Arc::new(message.body), at: job::now() };
        let unrun = match taken.job.validate() {
            Err(error) => job::failed(Failure::Rejected, error.to_string(), String::new()),
            Ok(()) => match self.seat_for(&taken.job) {
                Some((seat, slot)) => {
                    self.start_job((seat, slot), key, (tag, results), taken);
                    return Ok(());
                }
                None => job::returned(Return::Drain, "no slot takes it any more".to_owned()),
            },
        };
        let outcome = job::outcome(&self.bench, &spokesman, &taken, unrun, 0.0);
        self.recent.remember(key);
        log(&outcome);
        self.report(Some((results, outcome)), vec![tag], None);
        Ok(())
    }

    /// A slot for a job. There may be none any more: orders come while a look is under way.
    fn seat_for(&self, job: &Job) -> Option<(usize, Arc<Slot>)> {
        if self.order.is_some() { None } else { self.seats.choose(&job.failed_on, Instant::now()) }
    }

    fn start_job(
        &mut self,
        (seat, slot): (usize, Arc<Slot>),
        key: Key,
        (tag, results): (Tag, &'static str),
        taken: Taken,
    ) {
        self.started += 1;
        let number = self.started;
        let (sender, orders) = watch::channel(None);
        let holding = Holding::now(&key);
        let tags = vec![tag];
        let running = Running { key, number, results, tags, holding, orders: sender };
        self.seats.seat(seat, running);
        let bench = Arc::clone(&self.bench);
        let news = self.news_sender.clone();
        self.jobs.spawn(async move {
            let progress = |progress| {
                // Progress may be lost when the dispatcher is busy: newer progress follows.
                news.try_send((seat, number, progress)).ok();
            };
            match lease::of_slot(&slot).await {
                Ok(lease) => {
                    let ran = job::run(&bench, &slot, &taken, lease, orders, progress).await;
                    (seat, ran.outcome)
                }
                Err(why) => {
                    let verdict = job::returned(Return::NotHere, why);
                    (seat, job::outcome(&bench, &slot, &taken, verdict, 0.0))
                }
            }
        });
    }

    fn ended(&mut self, (seat, outcome): (usize, Outcome)) {
        log(&outcome);
        if let Verdict::Failed { failure, .. } = &outcome.verdict
            && matches!(failure, Failure::DeviceLost | Failure::WitnessMissed)
        {
            let device = &outcome.device.name;
            tracing::warn!(device, %failure, "the device takes nothing for {SET_ASIDE:?}");
            self.seats.set_aside(seat, Instant::now() + SET_ASIDE);
        }
        if let Some(running) = self.seats.clear(seat) {
            let mut holding = running.holding;
            holding.job.stage = Stage::Unconfirmed;
            self.recent.remember(running.key);
            self.report(Some((running.results, outcome)), running.tags, Some((seat, holding)));
        }
    }

    /// Hands an outcome over, with the queue it goes to.
    fn report(
        &mut self,
        outcome: Option<(&'static str, Outcome)>,
        tags: Vec<Tag>,
        held: Option<(usize, Holding)>,
    ) {
        let encoded = |(queue, outcome)| job::encode(outcome).map(|message| (queue, message));
        let outcome = match outcome.map(encoded).transpose() {
            Ok(outcome) => outcome,
            Err(error) => {
                // Unacknowledged, the job comes back when the session ends.
                tracing::error!(%error, "an outcome can't be written");
                return;
            }
        };
        if self.reports.send(Report { outcome, tags }).is_ok() {
            self.unconfirmed.push_back(held);
        }
    }

    fn confirm(&mut self, count: usize) {
        self.unconfirmed.drain(..count.min(self.unconfirmed.len()));
    }

    fn hear(&mut self, event: Event) {
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
    }

    fn drain(&mut self) {
        tracing::info!(jobs = self.jobs.len(), "draining: no new jobs, runners finish short");
        self.draining = true;
        // Looks may have no answer for as long as the broker is away; what one would still find
        // comes back when the session ends.
        self.takes = JoinSet::new();
        self.seats.tell_all(Order::Finish(Return::Drain));
        self.beat();
    }

    fn beat(&mut self) {
        match wire::encode(&self.heartbeat()) {
            Ok(message) => {
                // One that still waits for the broker says enough.
                self.heartbeats.try_send(message).ok();
            }
            Err(error) => tracing::error!(%error, "a heartbeat can't be written"),
        }
    }

    fn heartbeat(&self) -> Heartbeat {
        let unconfirmed = |seat| {
            self.unconfirmed.iter().flatten().find(|(at, _)| *at == seat).map(|(_, held)| held)
        };
        let slots = self.seats.iter().enumerate().map(|(seat, (slot, running))| {
            let held = running.map(|running| &running.holding).or_else(|| unconfirmed(seat));
            slot_state(slot, held)
        });
        Heartbeat {
            node: self.bench.node.clone(),
            instance: self.bench.instance.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            slots: slots.collect(),
            draining: self.draining || self.order == Some(NodeOrder::Drain),
            paused: self.order == Some(NodeOrder::Pause),
            informed: self.fleet.is_informed(),
            measured: self.bench.measured.clone(),
            at: job::now(),
        }
    }

    /// Waits for the last jobs (killed, if any are left) and for the last confirms, then closes
    /// the session: what was taken and not acknowledged comes back to its queue.
    async fn finish(
        &mut self,
        signals: &mut Signals,
        patience: Duration,
    ) -> Result<(), WorkerError> {
        let mut hurried = self.hurried;
        let mut until = std::pin::pin!(sleep(if hurried { LAST_WORDS } else { patience }));
        while !(self.jobs.is_empty() && self.unconfirmed.is_empty()) {
            tokio::select! {
                Some(ended) = self.jobs.join_next() => self.ended(ended.map_err(|error| fault(&error))?),
                Some(count) = self.confirmed.recv() => self.confirm(count),
                _ = signals.next() => {
                    hurried = true;
                    until.as_mut().reset(tokio::time::Instant::now() + LAST_WORDS);
                }
                () = until.as_mut() => break,
            }
        }
        let outcomes = self.unconfirmed.len() + self.jobs.len();
        if outcomes > 0 && !hurried {
            return Err(WorkerError::Unreported { outcomes, seconds: patience.as_secs_f64() });
        }
        let last = wire::encode(&self.heartbeat());
        let end = async {
            if let Ok(message) = last
                && let Err(error) = self.broker.broadcast(message).await
            {
                tracing::debug!(%error, "the last heartbeat could not be sent");
            }
            self.broker.close().await;
        };
        if timeout(LAST_WORDS, end).await.is_err() {
            tracing::warn!("the session with the broker could not be closed in good order");
        }
        tracing::info!(unreported = outcomes, "ended");
        Ok(())
    }
}

fn log(outcome: &Outcome) {
    let Outcome { run, job, seconds, device, .. } = outcome;
    let device = &device.name;
    match &outcome.verdict {
        Verdict::Done(_) | Verdict::Finished(_) => {
            tracing::debug!(run, job, device, seconds, "done")
        }
        Verdict::Failed { failure, detail, .. } => {
            tracing::warn!(run, job, device, seconds, %failure, detail, "a job failed");
        }
        Verdict::Returned { detail, .. } => {
            tracing::info!(run, job, device, seconds, detail, "a job goes back");
        }
    }
}

/// A task of ours that panicked.
fn fault(error: &JoinError) -> WorkerError {
    WorkerError::Internal(error.to_string())
}
