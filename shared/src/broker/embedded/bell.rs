//! Waking up: a byte in the session's FIFO, and a slow poll behind it.

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::unix::pipe,
    sync::{mpsc::WeakUnboundedSender, watch},
    time::{MissedTickBehavior, interval},
};

use super::request::Request;

/// A queue has new messages.
pub(super) const MESSAGES: u8 = b'm';
/// There are new events.
pub(super) const EVENTS: u8 = b'e';
/// How often everyone looks without a ring.
const SLOW_POLL: Duration = Duration::from_secs(1);
/// After how many slow polls the gone sessions are looked for.
const SWEEP_POLLS: u32 = 5;

/// What this session's waiting tasks wait on.
#[derive(Debug, Clone)]
pub(super) struct Bells {
    messages: watch::Sender<()>,
    events: watch::Sender<()>,
    closed: Arc<AtomicBool>,
}

impl Bells {
    pub(super) fn new() -> Self {
        let (messages, events) = (watch::Sender::new(()), watch::Sender::new(()));
        Self { messages, events, closed: Arc::new(AtomicBool::new(false)) }
    }

    /// Changes when a queue may have new messages.
    pub(super) fn messages(&self) -> watch::Receiver<()> {
        self.messages.subscribe()
    }

    /// Changes when there may be new events.
    pub(super) fn events(&self) -> watch::Receiver<()> {
        self.events.subscribe()
    }

    /// Wakes this session's tasks for what the bytes of a ring say.
    pub(super) fn ring(&self, ring: &[u8]) {
        if ring.contains(&MESSAGES) {
            self.messages.send_replace(());
        }
        if ring.contains(&EVENTS) {
            self.events.send_replace(());
        }
    }

    /// Wakes all, to find that the session has ended.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.ring(&[MESSAGES, EVENTS]);
    }

    /// Whether the session has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

/// Opens a bell to listen to it; for writing as well, so that it never comes to its end.
pub(super) fn open(path: &Path) -> io::Result<pipe::Receiver> {
    pipe::OpenOptions::new().read_write(true).open_receiver(path)
}

/// Passes on the rings until the session's last sender is dropped.
pub(super) async fn attend(
    bell: pipe::Receiver,
    bells: Bells,
    requests: WeakUnboundedSender<Request>,
) {
    let mut polls = interval(SLOW_POLL);
    polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut since_sweep = 0;
    let mut buffer = [0; 4096];
    loop {
        tokio::select! {
            ready = bell.readable() => match ready.and_then(|()| bell.try_read(&mut buffer)) {
                Ok(length) => bells.ring(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    tracing::warn!(%error, "the bell can't be heard; polling goes on");
                    polls.tick().await;
                    bells.ring(&[MESSAGES, EVENTS]);
                }
            },
            _ = polls.tick() => {
                bells.ring(&[MESSAGES, EVENTS]);
                since_sweep += 1;
                if since_sweep == SWEEP_POLLS {
                    since_sweep = 0;
                    let sent = requests.upgrade().map(|requests| requests.send(Request::Sweep));
                    if !matches!(sent, Some(Ok(()))) {
                        return;
                    }
                }
            }
        }
    }
}
