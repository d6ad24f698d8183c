//! The thread that owns the connection. Whatever queued up while the last transaction committed
//! goes into the next one.

use std::{collections::HashMap, mem, path::PathBuf, sync::Arc};

use tokio::sync::{
    mpsc::{UnboundedReceiver, WeakUnboundedSender},
    oneshot,
};

use super::{
    bell::{Bells, EVENTS, MESSAGES},
    fault::Fault,
    files,
    request::{Numbered, Reply, Request, Unclaimed},
    session::Session,
    store::Store,
    subscription::Window,
};
use crate::broker::Delivery;

/// The most requests in one transaction.
const MOST_REQUESTS: usize = 1024;
/// The most bytes in one transaction, beyond which it takes no further request.
const MOST_BYTES: usize = 8 << 20;

/// Which session the thread serves, and where.
#[derive(Debug)]
pub(super) struct Place {
    /// The folder.
    pub(super) folder: PathBuf,
    /// The session's number in this process.
    pub(super) number: u64,
    /// Where requests come from, to put back what nobody claims.
    pub(super) requests: WeakUnboundedSender<Request>,
}

/// Starts the thread; the answer is the bell's path once the session is open.
pub(super) fn start(
    place: Place,
    bells: Bells,
    inbox: UnboundedReceiver<Request>,
) -> Result<oneshot::Receiver<Result<PathBuf, Fault>>, Fault> {
    let (opened, answer) = oneshot::channel();
    std::thread::Builder::new()
        .name("embedded-broker".to_owned())
        .spawn(move || match Desk::open(place, bells) {
            Ok(desk) => {
                // Whoever asked may have gone; then the inbox is closed too.
                drop(opened.send(Ok(desk.session.bell())));
                desk.serve(inbox);
            }
            Err(fault) => drop(opened.send(Err(fault))),
        })
        .map_err(|error| Fault::Internal(format!("can't start a thread: {error}")))?;
    Ok(answer)
}

/// What a request came to.
enum Answer {
    Done,
    Deliveries(Vec<Delivery>),
    Number(i64),
    Events(Vec<Numbered>),
    Count(u64),
}

struct Desk {
    store: Store,
    session: Session,
    bells: Bells,
    requests: WeakUnboundedSender<Request>,
    /// The subscriptions of what they hold.
    held: HashMap<u64, Arc<Window>>,
    /// What follows from earlier requests.
    pending: Vec<Request>,
}

impl Desk {
    fn open(place: Place, bells: Bells) -> Result<Self, Fault> {
        let database = files::prepare(&place.folder)?;
        let _turn = files::turn_to_open(&place.folder)?;
        let session = Session::open(&place.folder)?;
        let store = Store::open(&database, session.name(), place.number)
            .inspect_err(|_| session.remove_files())?;
        let requests = place.requests;
        let pending = vec![Request::Sweep];
        Ok(Self { store, session, bells, requests, held: HashMap::new(), pending })
    }

    fn serve(mut self, mut inbox: UnboundedReceiver<Request>) {
        let closing = loop {
            let mut batch = mem::take(&mut self.pending);
            let mut next = if batch.is_empty() {
                let Some(request) = inbox.blocking_recv() else { break None };
                Some(request)
            } else {
                inbox.try_recv().ok()
            };
            let (mut bytes, mut closing) = (0, None);
            while let Some(request) = next {
                bytes += request.bytes();
                match request {
                    Request::Close { reply } => {
                        closing = Some(reply);
                        break;
                    }
                    other => batch.push(other),
                }
                let full = batch.len() >= MOST_REQUESTS || bytes >= MOST_BYTES;
                next = if full { None } else { inbox.try_recv().ok() };
            }
            self.process(batch);
            if closing.is_some() {
                break closing;
            }
        };
        self.end(closing);
    }

    /// One commit's worth of requests.
    fn process(&mut self, batch: Vec<Request>) {
        for request in &batch {
            if let Request::Fill { window, .. } = request {
                window.begin_fill();
            }
        }
        match self.commit(&batch) {
            Ok(answers) => {
                let mut ring = Vec::new();
                for (request, answer) in batch.into_iter().zip(answers) {
                    match request {
                        Request::Publish { .. } | Request::PutBack { .. } => ring.push(MESSAGES),
                        Request::Broadcast { .. } => ring.push(EVENTS),
                        _ => {}
                    }
                    self.answer(request, Ok(answer));
                }
                self.ring(ring);
            }
            // One that fails must not fail the others.
            Err(fault) if batch.len() > 1 && !matches!(fault, Fault::Busy(_)) => {
                batch.into_iter().for_each(|request| self.process(vec![request]));
            }
            Err(fault) => {
                for request in batch {
                    self.answer(request, Err(fault.clone()));
                }
            }
        }
    }

    fn commit(&mut self, batch: &[Request]) -> Result<Vec<Answer>, Fault> {
        self.store.still_there()?;
        let (mut writes, mut durable, mut looks_empty) = (false, false, false);
        let mut suspects = Vec::new();
        for request in batch {
            match request {
                Request::Publish { .. } => (writes, durable) = (true, true),
                Request::Ack { .. } | Request::PutBack { .. } | Request::Broadcast { .. } => {
                    writes = true;
                }
                Request::Take { queue, .. } => match self.store.any_waiting(queue)? {
                    true => writes = true,
                    false => looks_empty = true,
                },
                Request::Fill { window, .. } => match self.store.any_waiting(window.queue())? {
                    true => writes = true,
                    false => looks_empty = true,
                },
                Request::Sweep => {
                    self.store.bound_log()?;
                    suspects = self.session.all();
                    looks_empty = true;
                }
                _ => {}
            }
        }
        if looks_empty {
            suspects.extend(self.store.holders()?);
        }
        let gone = self.session.gone(suspects);
        // Looking costs no lock, so idle sessions are in nobody's way.
        if !writes && gone.is_empty() {
            return batch.iter().map(|request| look(&self.store, request)).collect();
        }
        let (answers, came_back) = self.store.transaction(durable, |store| {
            let mut came_back = 0;
            for session in &gone {
                came_back += store.put_back_all(&session.name)?;
            }
            let answers = batch.iter().map(|request| execute(store, request));
            Ok((answers.collect::<Result<_, _>>()?, came_back))
        })?;
        for session in &gone {
            tracing::debug!(session = session.name, "a session is gone");
            session.remove_files();
        }
        if came_back > 0 {
            tracing::info!(messages = came_back, "put back what gone sessions held");
            self.ring(vec![MESSAGES]);
        }
        Ok(answers)
    }

    /// Tells whoever asked; nobody waits for those who stopped waiting.
    fn answer(&mut self, request: Request, answer: Result<Answer, Fault>) {
        match (request, answer) {
            (Request::Take { reply, .. }, Ok(Answer::Deliveries(mut deliveries))) => {
                let delivery = deliveries.pop();
                let taken =
                    delivery.map(|delivery| Unclaimed::new(delivery, self.requests.clone()));
                tell(reply, Ok(taken));
            }
            (Request::Fill { window, .. }, Ok(Answer::Deliveries(deliveries))) => {
                for delivery in &deliveries {
                    self.held.insert(delivery.tag.delivery, Arc::clone(&window));
                }
                window.arrive(Ok(deliveries));
            }
            (Request::Ack { deliveries, reply }, Ok(_)) => {
                for delivery in deliveries {
                    if let Some(window) = self.held.remove(&delivery) {
                        window.release();
                    }
                }
                tell(reply, Ok(()));
            }
            (Request::Unsubscribe { window }, _) => {
                let unseen = window.abandon().into_iter().map(|delivery| delivery.tag.delivery);
                let deliveries: Vec<u64> = unseen.collect();
                if !deliveries.is_empty() {
                    deliveries.iter().for_each(|delivery| drop(self.held.remove(delivery)));
                    self.pending.push(Request::PutBack { deliveries });
                }
            }
            (Request::Newest { reply }, Ok(Answer::Number(number))) => tell(reply, Ok(number)),
            (Request::Events { reply, .. }, Ok(Answer::Events(events))) => tell(reply, Ok(events)),
            (Request::Depth { reply, .. }, Ok(Answer::Count(count))) => tell(reply, Ok(count)),
            (Request::Publish { reply, .. } | Request::Broadcast { reply, .. }, Ok(_)) => {
                tell(reply, Ok(()));
            }
            (request, Err(fault)) => refuse(request, fault),
            // Each request has its kind of answer; a reply that is dropped says so to its task.
            (_, Ok(_)) => {}
        }
    }

    fn ring(&self, mut ring: Vec<u8>) {
        ring.sort_unstable();
        ring.dedup();
        if !ring.is_empty() {
            self.bells.ring(&ring);
            self.session.ring_others(&ring);
        }
    }

    /// Puts back what the session holds and removes its files; whatever fails is left to the next
    /// sweeper.
    fn end(self, closing: Option<Reply<()>>) {
        let Self { mut store, session, bells, .. } = self;
        let holds = store.holders().is_ok_and(|all| all.iter().any(|name| name == session.name()));
        let put_back = if holds {
            store.transaction(false, |store| store.put_back_all(session.name()))
        } else {
            Ok(0)
        };
        match put_back {
            Ok(0) => session.remove_files(),
            Ok(_) => {
                session.remove_files();
                session.ring_others(&[MESSAGES]);
            }
            Err(fault) => tracing::warn!(?fault, "can't put back what the session holds"),
        }
        drop(store);
        drop(session);
        bells.close();
        if let Some(reply) = closing {
            tell(reply, Ok(()));
        }
    }
}

/// Does a request within a transaction.
fn execute(store: &Store, request: &Request) -> Result<Answer, Fault> {
    match request {
        Request::Publish { messages, .. } => {
            messages.iter().try_for_each(|(queue, message)| store.publish(queue, message))?;
        }
        Request::Take { queue, .. } => return store.take(queue, 1).map(Answer::Deliveries),
        Request::Fill { window, most } => {
            let most = window.room().min(*most);
            return store.take(window.queue(), most).map(Answer::Deliveries);
        }
        Request::Ack { deliveries, .. } => {
            deliveries.iter().try_for_each(|delivery| store.ack(*delivery))?;
        }
        Request::PutBack { deliveries } => {
            deliveries.iter().try_for_each(|delivery| store.put_back_unseen(*delivery))?;
        }
        Request::Broadcast { event, .. } => store.broadcast(event)?,
        _ => return look(store, request),
    }
    Ok(Answer::Done)
}

/// Answers a request that changes nothing, or finds nothing to change.
fn look(store: &Store, request: &Request) -> Result<Answer, Fault> {
    Ok(match request {
        Request::Take { .. } | Request::Fill { .. } => Answer::Deliveries(Vec::new()),
        Request::Newest { .. } => Answer::Number(store.newest_event()?),
        Request::Events { after, .. } => Answer::Events(store.events(*after)?),
        Request::Depth { queue, .. } => Answer::Count(store.depth(queue)?),
        _ => Answer::Done,
    })
}

fn refuse(request: Request, fault: Fault) {
    match request {
        Request::Publish { reply, .. }
        | Request::Ack { reply, .. }
        | Request::Broadcast { reply, .. }
        | Request::Close { reply } => tell(reply, Err(fault)),
        Request::Take { reply, .. } => tell(reply, Err(fault)),
        Request::Newest { reply } => tell(reply, Err(fault)),
        Request::Events { reply, .. } => tell(reply, Err(fault)),
        Request::Depth { reply, .. } => tell(reply, Err(fault)),
        Request::Fill { window, .. } => window.arrive(Err(fault)),
        Request::PutBack { .. } | Request::Unsubscribe { .. } | Request::Sweep => {
            tracing::warn!(?fault, "the embedded broker can't tidy up");
        }
    }
}

/// Answers; a task that stopped waiting needs no answer.
fn tell<T>(reply: Reply<T>, answer: Result<T, Fault>) {
    drop(reply.send(answer));
}
