//! The dispatcher's state, its loop, and its looks.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use shared::{
    broker::{Broker, BrokerError, Delivery},
    failpoint::{self, Point},
    job::Arch,
    messages::NodeOrder,
    runner::Progress,
    wire::Message,
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};

use super::{ending::fault, kept::Kept, probing::Probes};
use crate::{
    WorkerError,
    admission::{Gate, Limits, Permit, Spacing},
    child::Order,
    devices::KernelLog,
    events::{self, Event},
    fleet::Fleet,
    health::Gauge,
    heartbeat::{Holding, Pulse},
    job::{Bench, Ran},
    looks::{Kind, Look, Looks},
    recent::Recent,
    report::{self, MAX_UNCONFIRMED, Report},
    seats::Seats,
    signals::{Asked, Signals},
    slots::Slot,
};

/// How long a worker waits for its first fleet state before its first take.
const UNINFORMED_WAIT: Duration = Duration::from_secs(6);
/// How often it looks at queues that no bell rang for.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How often it looks whether what a job, or the worker, waits for has come: memory, a device, or
/// the node's limit.
const WAIT_EVERY: Duration = Duration::from_millis(250);

type Take = (Look, Permit, Result<Option<Delivery>, BrokerError>);

/// A job's progress, where it runs, and which one it is.
type News = (usize, u64, Progress);

/// What the worker shares with the others of its node, and what the node allows.
#[derive(Debug)]
pub struct Node {
    /// How many jobs and scripts run on it.
    pub limits: Limits,
    /// How scripts' starts are spaced.
    pub spacing: Spacing,
    /// What its memory allows.
    pub gate: Gate,
    /// The runtime folder, where devices are leased.
    pub leases: PathBuf,
    /// What tells how its devices are.
    pub gauge: Arc<dyn Gauge>,
    /// What the kernel says of GPUs, where it may be read.
    pub kernel_log: Option<KernelLog>,
}

/// A worker at work.
#[derive(Debug)]
pub struct Service {
    pub(super) broker: Arc<dyn Broker>,
    pub(super) bench: Arc<Bench>,
    pub(super) node: Node,
    pub(super) seats: Seats,
    /// The architecture of this machine's slots.
    pub(super) arch: Arch,
    /// How many jobs were started.
    pub(super) started: u64,
    pub(super) looks: Looks,
    /// Whether the node's limit, reached by other workers, kept this one from looking.
    limited: bool,
    /// Jobs that fit, but not now, oldest first. While one lets nothing pass, nothing else is taken.
    pub(super) kept: VecDeque<Kept>,
    pub(super) fleet: Fleet,
    /// Whether jobs may be taken without the fleet's state.
    pub(super) ready: bool,
    pub(super) draining: bool,
    /// Asked twice: nothing is waited for.
    pub(super) hurried: bool,
    /// What the node is told to do, and was logged.
    pub(super) order: Option<NodeOrder>,
    pub(super) takes: JoinSet<Take>,
    /// How many of them are for endpoints.
    takes_away: usize,
    pub(super) jobs: JoinSet<(usize, Ran)>,
    pub(super) probes: Probes,
    /// Outcomes whose keys need not be run again.
    pub(super) recent: Recent,
    /// Reports that wait for their confirm, oldest first: which slot held the job, and the job.
    pub(super) unconfirmed: VecDeque<Option<(usize, Holding)>>,
    /// Bounded by what may be unconfirmed and by the slots.
    pub(super) reports: mpsc::UnboundedSender<Report>,
    pub(super) confirmed: mpsc::UnboundedReceiver<usize>,
    events: mpsc::Receiver<Event>,
    news: mpsc::Receiver<News>,
    pub(super) news_sender: mpsc::Sender<News>,
    pub(super) heartbeats: mpsc::Sender<Message>,
    pub(super) pulse: Pulse,
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
        node: Node,
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
        let away = slots.iter().filter(|slot| slot.endpoint.is_some());
        let away: Vec<Arch> = away.map(|slot| slot.arch).collect();
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
            node,
            started: 0,
            looks: Looks::new(arch, bench.scripts.attempts.is_some(), &away),
            arch,
            bench,
            limited: false,
            kept: VecDeque::new(),
            fleet: Fleet::default(),
            ready: eager,
            draining: false,
            hurried: false,
            order: None,
            takes: JoinSet::new(),
            takes_away: 0,
            jobs: JoinSet::new(),
            probes: Probes::default(),
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
        let mut waiting = interval(WAIT_EVERY);
        look_again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        every_second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        waiting.set_missed_tick_behavior(MissedTickBehavior::Delay);
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
                Some(probed) = self.probes.next() => self.probed(probed.map_err(|error| fault(&error))?),
                _ = every_second.tick() => self.every_second(),
                _ = waiting.tick(), if self.waits() => self.ask_again(),
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

    /// What is looked after without being told: pressure, devices, heartbeats.
    fn every_second(&mut self) {
        let now = Instant::now();
        if let Some(changed) = self.node.gate.tend(now) {
            tracing::warn!("{changed}");
            self.pulse.news();
        }
        self.tend_devices(now);
        if self.bench.scripts.staging.has_changed() {
            self.pulse.news();
        }
        if self.pulse.due() {
            self.beat();
        }
    }

    /// Whether something is waited for that nobody tells of when it comes.
    fn waits(&self) -> bool {
        !self.kept.is_empty() || self.limited || self.seats.any_held_elsewhere()
    }

    fn ask_again(&mut self) {
        self.seats.look_at_leases(&self.node.leases);
        self.start_kept();
    }

    /// Begins as many looks as are worth it.
    fn look(&mut self) {
        self.limited = false;
        while self.ready
            && !self.draining
            && self.order.is_none()
            && self.kept_let_pass()
            && self.unconfirmed.len() < MAX_UNCONFIRMED
        {
            let Some((look, permit)) = self.look_here().or_else(|| self.look_away()) else {
                return;
            };
            let broker = Arc::clone(&self.broker);
            self.takes.spawn(async move {
                let answer = broker.take(&look.name).await;
                (look, permit, answer)
            });
        }
    }

    /// Whether more scripts are taken: while one waits for its step, pieces alone pass it, and while
    /// files are put on the ramdisk none would find what it needs there.
    fn takes_scripts(&self) -> bool {
        self.kept.is_empty() && !self.bench.scripts.staging.is_pending()
    }

    /// A look for a slot of this machine, with the tokens that its job would need.
    fn look_here(&mut self) -> Option<(Look, Permit)> {
        let allowed = self.node.gate.allowed();
        let in_flight = self.takes.len() - self.takes_away;
        if in_flight >= self.seats.open() || in_flight + self.seats.running_here() >= allowed {
            return None;
        }
        let arch = self.arch;
        let runs_scripts = self.takes_scripts() && !self.bench.scripts.folders.is_empty();
        let mut script = None;
        let look = self.looks.begin(|kind| match kind {
            Kind::Piece => true,
            Kind::Script(of) if runs_scripts && of.is_none_or(|of| of == arch) => {
                script = script.take().or_else(|| self.node.limits.script());
                self.limited |= script.is_none();
                script.is_some()
            }
            Kind::Script(_) => false,
        })?;
        let Some(job) = self.node.limits.job() else {
            self.looks.give_up(&look);
            self.limited = true;
            return None;
        };
        let script = script.filter(|_| look.is_script);
        Some((look, Permit { job: Some(job), script, step: None }))
    }

    /// A look for an endpoint: it uses nothing of this machine.
    fn look_away(&mut self) -> Option<(Look, Permit)> {
        let away = self.seats.open_away();
        if away.is_empty() || !self.takes_scripts() || self.takes_away >= away.len() {
            return None;
        }
        let look = self.looks.begin(|kind| match kind {
            Kind::Piece => false,
            Kind::Script(of) => of.is_none_or(|of| away.contains(&of)),
        })?;
        self.takes_away += 1;
        Some((look, Permit::default()))
    }

    fn taken(&mut self, (look, permit, answer): Take) -> Result<(), WorkerError> {
        // Those for this machine hold a token.
        self.takes_away -= usize::from(permit.job.is_none());
        match answer {
            Ok(Some(delivery)) => {
                failpoint::pass(Point::JobTaken);
                self.looks.found(&look);
                self.place(delivery, look.arch, permit)?;
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
}
