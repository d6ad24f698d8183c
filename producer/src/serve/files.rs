//! Files by their content, for workers and commands on other machines: streamed, verified, bounded.

use std::{
    fs::File,
    io::{self, Read},
    sync::Arc,
};

use axum::{
    body::{Body, Bytes},
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use futures_util::StreamExt as _;
use shared::{
    blobs::{BlobError, Blobs},
    exit_codes,
    input::{Input, MAX_FILE_BYTES, is_hash},
};
use tokio::{sync::mpsc, task::spawn_blocking};
use tracing::{debug, warn};

use super::http::{Desk, PIECES, refused, streamed};
use crate::{failure::Failure, outputs};

/// The bytes of a file that are sent at a time.
const PIECE: usize = 64 << 10;

/// Whether a file that jobs read is here.
pub(super) async fn head(State(desk): State<Arc<Desk>>, Path(hash): Path<String>) -> Response {
    is_here(Blobs::of(&desk.home), hash).await
}

/// Whether an output has arrived, and was not put in place yet.
pub(super) async fn head_output(
    State(desk): State<Arc<Desk>>,
    Path(hash): Path<String>,
) -> Response {
    is_here(outputs::arrived(&desk.home), hash).await
}

async fn is_here(blobs: Blobs, hash: String) -> Response {
    match open(blobs, hash).await {
        Ok((_, size)) => ([(header::CONTENT_LENGTH, size)], ()).into_response(),
        Err(refusal) => refusal,
    }
}

/// A file, as it is read. Whoever gets one that was spoilt on disk sees it by its hash; it is deleted
/// here, and the next who asks hears that it is missing.
pub(super) async fn get(State(desk): State<Arc<Desk>>, Path(hash): Path<String>) -> Response {
    let (file, size) = match open(Blobs::of(&desk.home), hash.clone()).await {
        Ok(found) => found,
        Err(refusal) => return refusal,
    };
    let (pieces, received) = mpsc::channel(PIECES);
    spawn_blocking(move || {
        let found = match read(file, &pieces) {
            Ok(Some(found)) if found != hash => found,
            Ok(_) => return,
            Err(error) => {
                // A reader that has gone does not mind.
                pieces.blocking_send(Err(error)).ok();
                return;
            }
        };
        warn!(hash, found, "a file was spoilt on disk, and is deleted");
        if let Err(error) = Blobs::of(&desk.home).remove(&hash) {
            warn!("it can't be: {error}");
        }
    });
    ([(header::CONTENT_LENGTH, size)], streamed(received)).into_response()
}

async fn open(blobs: Blobs, hash: String) -> Result<(File, u64), Response> {
    if !is_hash(&hash) {
        return Err(no_hash());
    }
    let shown = hash.clone();
    let opened = spawn_blocking(move || blobs.open(&hash)).await;
    match opened.map_err(Failure::internal).and_then(|opened| Ok(opened?)) {
        Ok(Some(found)) => Ok(found),
        Ok(None) => {
            let why = Failure::not_found(format!("there is no file of hash {shown}"));
            Err(refused(StatusCode::NOT_FOUND, why))
        }
        Err(failure) => Err(refused(StatusCode::INTERNAL_SERVER_ERROR, failure)),
    }
}

/// Reads a file into an answer; its hash, unless nobody reads any more.
fn read(mut file: File, pieces: &mpsc::Sender<io::Result<Bytes>>) -> io::Result<Option<String>> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; PIECE];
    loop {
        let read = file.read(&mut buffer)?;
        let piece = buffer.get(..read).unwrap_or_default();
        hasher.update(piece);
        if read == 0 {
            return Ok(Some(hasher.finalize().to_hex().to_string()));
        }
        if pieces.blocking_send(Ok(Bytes::copy_from_slice(piece))).is_err() {
            return Ok(None);
        }
    }
}

/// Takes a file that jobs read.
pub(super) async fn put(
    State(desk): State<Arc<Desk>>,
    Path(hash): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    take(Blobs::of(&desk.home), hash, &headers, body).await
}

/// Takes an output; the aggregator puts it in place.
pub(super) async fn put_output(
    State(desk): State<Arc<Desk>>,
    Path(hash): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let answer = take(outputs::arrived(&desk.home), hash.clone(), &headers, body).await;
    if answer.status().is_success() && desk.arrivals.try_send(hash).is_err() {
        debug!("an arrival is seen a minute later");
    }
    answer
}

/// Takes a file if it is what its address says, and nothing of it otherwise.
async fn take(blobs: Blobs, hash: String, headers: &HeaderMap, body: Body) -> Response {
    if !is_hash(&hash) {
        return no_hash();
    }
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let Some(size) = length.and_then(|text| text.parse::<u64>().ok()) else {
        let why = Failure::usage("a file must come with its Content-Length");
        return refused(StatusCode::LENGTH_REQUIRED, why);
    };
    if size > MAX_FILE_BYTES {
        let why = format!("a file of {size} bytes; at most {MAX_FILE_BYTES} are taken");
        return refused(StatusCode::PAYLOAD_TOO_LARGE, Failure::usage(why));
    }
    let (pieces, received) = mpsc::channel(PIECES);
    let input = Input { name: String::new(), blake3: hash, size };
    let keeping =
        spawn_blocking(move || blobs.take(&input, Pieces { received, piece: Bytes::new() }));
    let mut body = body.into_data_stream();
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(io::Error::other);
        let is_last = piece.is_err();
        // One who reads no further has found what is wrong with it.
        if pieces.send(piece).await.is_err() || is_last {
            break;
        }
    }
    drop(pieces);
    match keeping.await.map_err(Failure::internal).and_then(|kept| Ok(kept?)) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(failure) if failure.code == exit_codes::USAGE => {
            refused(StatusCode::UNPROCESSABLE_ENTITY, failure)
        }
        Err(failure) => refused(StatusCode::INTERNAL_SERVER_ERROR, failure),
    }
}

fn no_hash() -> Response {
    let why = "files are called by their BLAKE3 hash: 64 hexadecimal digits";
    refused(StatusCode::BAD_REQUEST, Failure::usage(why))
}

/// Pieces as they come from the network, for one who reads.
struct Pieces {
    received: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.received.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.piece.len());
        let piece = self.piece.split_to(count);
        buffer.iter_mut().zip(piece).for_each(|(to, byte)| *to = byte);
        Ok(count)
    }
}

impl From<BlobError> for Failure {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::Another { .. } | BlobError::Unreadable(_) => Self::usage(error),
            other => Self::unreachable(other),
        }
    }
}
