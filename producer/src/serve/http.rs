//! The ledger, for commands on other machines.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{get, post, put},
};
use futures_util::stream;
use shared::{
    handover::{Fate, FinishedAttempt, HANDOVER_PATH, MAX_ATTEMPTS_ASKED},
    server::{Refusal, Shelf},
    settings::ServeSettings,
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::files;
use crate::{
    ask::{self, Ask},
    context::check_run_name,
    export::{self, Format},
    failure::Failure,
    ledger::Ledger,
};

/// Pieces that wait for the network, or for the disk.
pub(super) const PIECES: usize = 16;

/// Arrivals that wait for the aggregator. One that finds no room is seen a minute later.
const ARRIVALS: usize = 4096;

#[derive(Debug)]
pub(super) struct Desk {
    pub(super) home: PathBuf,
    token: String,
    /// Where the hashes of outputs go that were sent.
    pub(super) arrivals: mpsc::Sender<String>,
}

/// A server that listens, and does not answer yet.
#[derive(Debug)]
pub(crate) struct Listening {
    listener: TcpListener,
    desk: Desk,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

/// Listens at the address of the settings, and says what outputs arrive. Only loopback is let in
/// without a token.
pub(crate) async fn listen(
    home: PathBuf,
    settings: &ServeSettings,
) -> Result<(Listening, mpsc::Receiver<String>), Failure> {
    let wrong =
        |why: String| Failure::usage(format!("serve.listen is '{}': {why}", settings.listen));
    let address: SocketAddr = settings.listen.parse().map_err(|_| {
        wrong("it must be an address and a port, as in 127.0.0.1:8720 or [::]:8720".to_owned())
    })?;
    if !address.ip().is_loopback() && settings.token.is_empty() {
        return Err(wrong(
            "that is open to the network: set a [serve] token first, here and on the machines that ask".to_owned(),
        ));
    }
    let bound = TcpListener::bind(address).await.and_then(|l| l.local_addr().map(|at| (l, at)));
    let (listener, address) = bound.map_err(|error| {
        Failure::unreachable(format!("serve.listen is '{}': {error}", settings.listen))
    })?;
    let (arrivals, arrived) = mpsc::channel(ARRIVALS);
    let desk = Desk { home, token: settings.token.clone(), arrivals };
    Ok((Listening { listener, desk, address }, arrived))
}

impl Listening {
    /// Answers until `stop` is cancelled.
    pub(crate) async fn answer(self, stop: CancellationToken) -> Result<(), Failure> {
        let desk = Arc::new(self.desk);
        let app = Router::new()
            .route("/v1/ask", post(answer))
            .route("/v1/runs/{run}/survivors/{format}", get(survivors))
            .route(&file(Shelf::Inputs), get(files::get).head(files::head).put(files::put))
            .route(&file(Shelf::Outputs), put(files::put_output).head(files::head_output))
            .route(HANDOVER_PATH, post(handover))
            .route_layer(middleware::from_fn_with_state(Arc::clone(&desk), let_in))
            .route("/health", get(|| async { "ok\n" }))
            .with_state(desk);
        let served = axum::serve(self.listener, app)
            .with_graceful_shutdown(async move { stop.cancelled().await });
        served.await.map_err(Failure::internal)
    }
}

/// Lets in who brings the token.
async fn let_in(State(desk): State<Arc<Desk>>, request: Request, next: Next) -> Response {
    if !is_known(&desk.token, request.headers()) {
        let refusal = Failure::usage("the bearer token is missing or wrong");
        return refused(StatusCode::UNAUTHORIZED, refusal);
    }
    next.run(request).await
}

async fn answer(State(desk): State<Arc<Desk>>, body: Bytes) -> Response {
    let ask: Ask = match serde_json::from_slice(&body) {
        Ok(ask) => ask,
        Err(error) => {
            let why = format!("a question that this server does not know: {error}");
            return refused(StatusCode::BAD_REQUEST, Failure::usage(why));
        }
    };
    // SQLite blocks.
    let answered = tokio::task::spawn_blocking(move || ask::answer(&desk.home, &ask)).await;
    match answered.unwrap_or_else(|panic| Err(Failure::internal(panic))) {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(failure) => refused(StatusCode::UNPROCESSABLE_ENTITY, failure),
    }
}

/// What workers are to do with the files of attempts.
async fn handover(State(desk): State<Arc<Desk>>, body: Bytes) -> Response {
    let attempts: Vec<FinishedAttempt> = match serde_json::from_slice(&body) {
        Ok(attempts) => attempts,
        Err(error) => {
            let why = format!("a question that this server does not know: {error}");
            return refused(StatusCode::BAD_REQUEST, Failure::usage(why));
        }
    };
    if attempts.len() > MAX_ATTEMPTS_ASKED {
        let why = format!("more than {MAX_ATTEMPTS_ASKED} attempts at a time");
        return refused(StatusCode::BAD_REQUEST, Failure::usage(why));
    }
    let fates = move || -> Result<Vec<Fate>, Failure> {
        let Some(ledger) = Ledger::read(&desk.home)? else {
            return Ok(vec![Fate::Unknown; attempts.len()]);
        };
        attempts.iter().map(|attempt| Ok(ledger.fate(attempt)?)).collect()
    };
    let fates = tokio::task::spawn_blocking(fates).await;
    match fates.unwrap_or_else(|panic| Err(Failure::internal(panic))) {
        Ok(fates) => axum::Json(fates).into_response(),
        Err(failure) => refused(StatusCode::UNPROCESSABLE_ENTITY, failure),
    }
}

/// All survivors of a run, as they are read from the ledger.
async fn survivors(
    State(desk): State<Arc<Desk>>,
    Path((run, format)): Path<(String, String)>,
) -> Response {
    let found = check_run_name(&run).and_then(|()| ask::find_run(&desk.home, &run));
    let format: Result<Format, Failure> = format.parse().map_err(Failure::usage);
    let ((ledger, run), format) = match found.and_then(|found| Ok((found, format?))) {
        Ok(both) => both,
        Err(failure) => return refused(StatusCode::UNPROCESSABLE_ENTITY, failure),
    };
    let (pieces, received) = mpsc::channel(PIECES);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = export::write(&ledger, &run, format, Pieces(&pieces)) {
            warn!("an export was cut off: {error}");
            // An answer that ends with an error is not taken for a whole one. A reader that has
            // gone does not mind.
            pieces.blocking_send(Err(io::Error::other(error.to_string()))).ok();
        }
    });
    streamed(received).into_response()
}

/// Pieces as they come, as the body of an answer.
pub(super) fn streamed(received: mpsc::Receiver<io::Result<Bytes>>) -> Body {
    let next = |mut received: mpsc::Receiver<_>| async { Some((received.recv().await?, received)) };
    Body::from_stream(stream::unfold(received, next))
}

fn file(shelf: Shelf) -> String {
    format!("{}/{{hash}}", shelf.path())
}

/// Writes into an answer, piece by piece.
struct Pieces<'a>(&'a mpsc::Sender<io::Result<Bytes>>);

impl io::Write for Pieces<'_> {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(piece)));
        sent.map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn refused(status: StatusCode, failure: Failure) -> Response {
    let refusal = Refusal { code: failure.code, error: failure.message };
    (status, axum::Json(refusal)).into_response()
}

/// Whether the question brings the token, compared in a time that does not depend on where they
/// differ.
fn is_known(token: &str, headers: &HeaderMap) -> bool {
    if token.is_empty() {
        return true;
    }
    let given = headers.get(header::AUTHORIZATION).map_or(&[][..], |value| value.as_bytes());
    let wanted = format!("Bearer {token}");
    given.len() == wanted.len()
        && given.iter().zip(wanted.as_bytes()).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}
