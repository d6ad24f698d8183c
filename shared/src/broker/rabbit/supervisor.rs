//! The session's supervisor: notices when it is lost, builds the next one with capped, jittered
//! back-off for as long as the broker value lives, and numbers each.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{Stream, StreamExt, stream::select};
use lapin::Event;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    super::{BrokerError, Identity, Patience},
    address::Address,
    session::Session,
    topology::Topology,
    trouble::Trouble,
};
use crate::retry::Waits;

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// A call that got no answer for so long, and is not held up by a resource alarm, never will: its
/// session is given up.
const STUCK: Duration = Duration::from_secs(60);
/// A session that lived less long was none: the next is waited for.
const SHORT_LIVED: Duration = Duration::from_secs(10);
/// How often a session is looked at although nothing was heard of it.
const GLANCE: Duration = Duration::from_secs(5);

/// After so many failures in a row people are told.
const TELL_AFTER: u32 = 4;

/// The waits between tries.
pub(super) fn waits() -> Waits {
    Waits::new(FIRST_WAIT, LONGEST_WAIT)
}

/// Where the session stands.
#[derive(Debug, Clone)]
enum State {
    Up(Arc<Session>),
    Down {
        /// Whether the broker is there and said no.
        refused: bool,
        why: String,
    },
    Closed,
}

/// A handle on the session there is now. Cheap to clone; the supervisor ends with the last one.
#[derive(Debug, Clone)]
pub(super) struct Link {
    state: watch::Receiver<State>,
    signals: Arc<Signals>,
    pub(super) address: Arc<Address>,
    pub(super) identity: Arc<Identity>,
    patience: Patience,
}

#[derive(Debug, Default)]
struct Signals {
    /// Somebody has reason to think that the session is gone.
    look: Notify,
    close: Notify,
}

impl Link {
    /// Opens the first session and sets a supervisor over it.
    pub(super) async fn connect(
        address: Address,
        identity: Identity,
        patience: Patience,
    ) -> Result<Self, BrokerError> {
        let (address, identity) = (Arc::new(address), Arc::new(identity));
        let first = first_session(&address, &identity, patience).await?;
        let (sender, state) = watch::channel(State::Up(Arc::new(first)));
        let signals = Arc::new(Signals::default());
        let supervisor = Supervisor {
            address: Arc::clone(&address),
            identity: Arc::clone(&identity),
            signals: Arc::clone(&signals),
        };
        tokio::spawn(supervisor.run(sender));
        Ok(Self { state, signals, address, identity, patience })
    }

    /// The session there is now, if it stands.
    pub(super) fn current(&self) -> Option<Arc<Session>> {
        match &*self.state.borrow() {
            State::Up(session) => Some(Arc::clone(session)),
            State::Down { .. } | State::Closed => None,
        }
    }

    /// Waits for the end of the session with this number.
    pub(super) async fn ended(&self, generation: u64) {
        let mut state = self.state.clone();
        let other = |state: &State| !matches!(state, State::Up(session) if session.generation == generation);
        // An error means that the supervisor is gone, and every session with it.
        state.wait_for(other).await.ok();
    }

    /// Does `call` on the session there is, and again on the next one when it is lost under it,
    /// as long as patience lasts.
    pub(super) async fn attempt<T, F, R>(&self, call: F) -> Result<T, BrokerError>
    where
        F: Fn(Arc<Session>) -> R,
        R: Future<Output = Result<T, Trouble>>,
    {
        self.attempt_counting(&AtomicUsize::new(0), call).await
    }

    /// As [`Link::attempt`], for a call that may take longer than patience as long as it counts up.
    pub(super) async fn attempt_counting<T, F, R>(
        &self,
        count: &AtomicUsize,
        call: F,
    ) -> Result<T, BrokerError>
    where
        F: Fn(Arc<Session>) -> R,
        R: Future<Output = Result<T, Trouble>>,
    {
        let mut waits = waits();
        let mut deadline = None;
        let mut failures = 0;
        loop {
            let before = count.load(Ordering::Relaxed);
            let session = self.session(&mut deadline).await?;
            let generation = session.generation;
            let answer = tokio::select! {
                answer = self.answered(count, &session, call(Arc::clone(&session))) => answer,
                // What was asked in a session that is gone may never be answered.
                () = self.ended(generation) => Err(Trouble::Lost("its session ended".to_owned())),
            };
            let why = match answer {
                Ok(value) => return Ok(value),
                Err(Trouble::Final(error)) => return Err(error),
                Err(Trouble::Lost(why)) => why,
            };
            self.signals.look.notify_one();
            if count.load(Ordering::Relaxed) > before {
                deadline = None;
                failures = 0;
                waits.reset();
            }
            failures += 1;
            // The end of a session is told by its supervisor. This is for a broker that is there
            // and does not do what it is asked.
            if failures == TELL_AFTER {
                tracing::warn!(%why, "the broker does not do what it is asked; trying on");
            } else {
                tracing::debug!(%why, "a call is tried again");
            }
            let until = self.deadline(&mut deadline);
            if until.is_some_and(|until| Instant::now() >= until) {
                return Err(self.address.unreachable(why));
            }
            // Either the session ends, and the next try waits for another, or it was the channel
            // alone.
            timeout(waits.next_wait(), self.ended(generation)).await.ok();
        }
    }

    /// Waits for a call, as long as patience lasts or it counts up.
    async fn answered<T>(
        &self,
        count: &AtomicUsize,
        session: &Arc<Session>,
        call: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T, Trouble> {
        let most = match self.patience {
            Patience::Forever => STUCK,
            Patience::For(most) => most,
        };
        let mut call = pin!(call);
        let mut seen = count.load(Ordering::Relaxed);
        loop {
            if let Ok(result) = timeout(most, &mut call).await {
                return result;
            }
            let now = count.load(Ordering::Relaxed);
            if now == seen {
                if matches!(self.patience, Patience::For(_)) {
                    return Err(Trouble::Final(self.address.unreachable(format!(
                        "it did not answer within {most:?}; it may have raised a resource alarm \
                         (rabbitmq-diagnostics alarms) or lost the majority of its nodes"
                    ))));
                }
                if !session.publishing.status().blocked() {
                    return Err(self.given_up(session));
                }
            }
            seen = now;
        }
    }

    /// Ends a session that answers no more; the supervisor builds the next.
    fn given_up(&self, session: &Arc<Session>) -> Trouble {
        let why = format!("it did not answer within {STUCK:?}");
        tracing::warn!(url = %self.address.shown, why, "the session is given up");
        let session = Arc::clone(session);
        tokio::spawn(async move { session.close().await });
        Trouble::Lost(why)
    }

    /// Waits for a call that concerns the session with this number alone; `None` when that ends
    /// first, or never answers.
    pub(super) async fn within<T>(
        &self,
        session: &Arc<Session>,
        call: impl Future<Output = T>,
    ) -> Option<T> {
        tokio::select! {
            answer = timeout(STUCK, call) => match answer {
                Ok(answer) => Some(answer),
                Err(_) => {
                    self.given_up(session);
                    None
                }
            },
            () = self.ended(session.generation) => None,
        }
    }

    /// When patience ends, from the first time that something had to be waited for.
    fn deadline(&self, deadline: &mut Option<Instant>) -> Option<Instant> {
        match self.patience {
            Patience::Forever => None,
            Patience::For(most) => Some(*deadline.get_or_insert_with(|| Instant::now() + most)),
        }
    }

    /// Waits for a session that stands.
    async fn session(&self, deadline: &mut Option<Instant>) -> Result<Arc<Session>, BrokerError> {
        let mut state = self.state.clone();
        loop {
            let now = state.borrow_and_update().clone();
            match &now {
                State::Up(session) if session.alive() => return Ok(Arc::clone(session)),
                State::Up(_) => self.signals.look.notify_one(),
                State::Closed => return Err(self.address.unreachable("the session was closed")),
                State::Down { .. } => {}
            }
            let changed = match self.deadline(deadline) {
                None => state.changed().await,
                Some(until) => match timeout_at(until, state.changed()).await {
                    Ok(changed) => changed,
                    Err(_) => {
                        return Err(match now {
                            State::Down { refused: true, why } => self.address.refused(why),
                            State::Down { refused: false, why } => self.address.unreachable(why),
                            _ => self.address.unreachable("the connection was lost"),
                        });
                    }
                },
            };
            if changed.is_err() {
                return Err(self.address.unreachable("the session was closed"));
            }
        }
    }

    /// Ends the session in good order.
    pub(super) async fn close(&self) {
        self.signals.close.notify_one();
        let mut state = self.state.clone();
        state.wait_for(|state| matches!(state, State::Closed)).await.ok();
    }
}

/// Opens the first session: the one that may be refused at once.
async fn first_session(
    address: &Arc<Address>,
    identity: &Identity,
    patience: Patience,
) -> Result<Session, BrokerError> {
    let until = match patience {
        Patience::Forever => None,
        Patience::For(most) => Some(Instant::now() + most),
    };
    let is_over = |at: Instant| until.is_some_and(|until| at >= until);
    let mut waits = waits();
    let mut why: Option<BrokerError> = None;
    loop {
        let error = match Session::open(address, identity, 1, until).await {
            Ok(session) => {
                if why.is_some() {
                    tracing::info!(url = %address.shown, "the broker is there");
                }
                return Ok(session);
            }
            Err(error @ BrokerError::Unreachable { .. }) => error,
            Err(error) => return Err(error),
        };
        if is_over(Instant::now()) {
            // The last try may have had no time left to find out anything.
            return Err(why.unwrap_or(error));
        }
        let wait = waits.next_wait();
        if is_over(Instant::now() + wait) {
            return Err(error);
        }
        if why.is_none() {
            tracing::warn!(%error, "waiting for the broker");
        }
        why = Some(error);
        sleep(wait).await;
    }
}

/// A broker that comes back may have lost what it had.
async fn tell_what_is_missing(session: Arc<Session>) {
    let url = session.address.shown.as_str();
    match Topology::on(&session).check().await {
        Ok(report) if report.is_sound() => {}
        Ok(report) => {
            let conflicting = report.conflicting.into_iter().map(|(name, _)| name);
            let names: Vec<String> = report.missing.into_iter().chain(conflicting).collect();
            tracing::warn!(
                url,
                names = names.join(" "),
                "the broker came back without these queues and exchanges, or with different ones: \
                 the aggregator declares them again, or `producer topology apply` does"
            );
        }
        // The session is gone again, or the next call meets the same refusal and tells its caller.
        Err(error) => tracing::debug!(%error, "the topology could not be checked"),
    }
}

struct Supervisor {
    address: Arc<Address>,
    identity: Arc<Identity>,
    signals: Arc<Signals>,
}

impl Supervisor {
    async fn run(self, state: watch::Sender<State>) {
        tokio::select! {
            biased;
            () = self.signals.close.notified() => {}
            () = state.closed() => {}
            () = self.keep_up(&state) => {}
        }
        if let State::Up(session) = state.send_replace(State::Closed) {
            session.close().await;
        }
        // Whoever waits in `close` is woken by this, when the session is closed indeed.
        state.send_replace(State::Closed);
    }

    /// Watches the session and builds the next when it is lost, without end.
    async fn keep_up(&self, state: &watch::Sender<State>) {
        let mut waits = waits();
        loop {
            let since = Instant::now();
            let session = match &*state.borrow() {
                State::Up(session) => Arc::clone(session),
                State::Down { .. } | State::Closed => return,
            };
            let generation = session.generation;
            let why = self.watch(&session).await;
            let down = self.address.unreachable(why.as_str());
            tracing::warn!(error = %down, "the session is lost; waiting for the broker");
            state.send_replace(State::Down { refused: false, why });
            // The other connection may still stand; what it holds must come back. Not waited for:
            // it may hang as the first did.
            tokio::spawn(async move { session.close().await });
            if since.elapsed() < SHORT_LIVED {
                // One that dies as soon as it stands must not turn into a storm.
                sleep(waits.next_wait()).await;
            } else {
                waits.reset();
            }
            let next = self.reopen(generation + 1, state).await;
            tracing::info!(url = %self.address.shown, session = next.generation, "the broker is back");
            let next = Arc::new(next);
            // Beside the work, which may need nothing of what is missing.
            tokio::spawn(tell_what_is_missing(Arc::clone(&next)));
            state.send_replace(State::Up(next));
        }
    }

    /// Waits until the session is lost; says why.
    async fn watch(&self, session: &Session) -> String {
        let events = select(session.taking.events_listener(), session.publishing.events_listener());
        let mut events = pin!(events);
        let mut why = "the connection was lost".to_owned();
        while session.alive() {
            self.notice(&mut events, &mut why).await;
        }
        why
    }

    async fn notice(&self, events: &mut (impl Stream<Item = Event> + Unpin), why: &mut String) {
        tokio::select! {
            event = events.next() => match event {
                Some(Event::ConnectionBlocked(reason)) => tracing::warn!(
                    url = %self.address.shown, %reason,
                    "the broker has raised a resource alarm; publishes wait"
                ),
                Some(Event::ConnectionUnblocked) => {
                    tracing::info!(url = %self.address.shown, "the broker takes publishes again");
                }
                Some(Event::Error(error)) => *why = error.to_string(),
                Some(_) => {}
                None => sleep(GLANCE).await,
            },
            () = self.signals.look.notified() => {}
            () = sleep(GLANCE) => {}
        }
    }

    async fn reopen(&self, generation: u64, state: &watch::Sender<State>) -> Session {
        let mut waits = waits();
        let mut refusal_told = false;
        loop {
            match Session::open(&self.address, &self.identity, generation, None).await {
                Ok(session) => return session,
                Err(error) => {
                    let refused = matches!(error, BrokerError::Refused { .. });
                    if refused && !refusal_told {
                        tracing::warn!(%error, "the broker refuses; trying on");
                        refusal_told = true;
                    }
                    let why = match error {
                        BrokerError::Refused { why, .. } | BrokerError::Unreachable { why, .. } => {
                            why
                        }
                        other => other.to_string(),
                    };
                    state.send_replace(State::Down { refused, why });
                }
            }
            sleep(waits.next_wait()).await;
        }
    }
}
