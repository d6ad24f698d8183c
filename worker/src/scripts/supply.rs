//! Where a worker gets the files from that scripts read: its own data folder, its cache, the server.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use shared::{
    blobs::{BlobError, Blobs},
    input::Input,
    server::{Server, ServerError},
    settings::ENV_SERVER,
};

/// How often a file is fetched whose every copy turns out to be another's or is deleted at once.
const TRIES: u32 = 3;

/// A file that this node can't have.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SupplyError {
    /// Nobody is known who could have it.
    #[error(
        "it is not on this node: set {ENV_SERVER} here to the `producer serve` that the run was \
         enqueued with, or, with all on one machine, use one RIGQUEUE_HOME"
    )]
    NotHere,
    /// The server does not have it, or can't be reached.
    #[error("{source}{}", advice(source))]
    Server {
        /// What it says.
        #[from]
        source: ServerError,
    },
    /// What came is not what was asked for.
    #[error("what {url} sends of it can't be used: {source}")]
    Wrong {
        /// The server.
        url: String,
        /// What came.
        source: BlobError,
    },
    /// It was fetched, and others' files took its place in the cache each time.
    #[error("it was dropped from the cache before it was used: raise worker.cache_mb")]
    Dropped,
    /// The disk.
    #[error(transparent)]
    Disk(BlobError),
}

const fn advice(error: &ServerError) -> &'static str {
    match error {
        ServerError::NoFile { .. } => ": enqueue it again, or stage its set again",
        _ => "",
    }
}

/// The files of one worker.
#[derive(Debug)]
pub struct Supply {
    own: Blobs,
    cache: Blobs,
    /// The most bytes in the cache.
    most: u64,
    server: Option<Server>,
    /// Who fetches what just now: the others wait for it.
    fetching: Mutex<BTreeMap<String, Arc<Mutex<()>>>>,
}

impl Supply {
    /// The files of the data folder `home`, with at most `cache_mb` MiB from the server in its
    /// cache.
    #[must_use]
    pub fn of(home: &Path, cache_mb: u64, server: Option<Server>) -> Self {
        Self {
            own: Blobs::of(home),
            cache: Blobs::at(home.join("cache")),
            most: cache_mb.saturating_mul(1 << 20),
            server,
            fetching: Mutex::default(),
        }
    }

    /// Puts a file at `target`, which does not exist. It was verified then. What the cache drops
    /// later stays there: it is a second name of the same file.
    pub(crate) fn put(&self, input: &Input, target: &Path) -> Result<(), SupplyError> {
        if put(&self.own, input, target)? {
            return Ok(());
        }
        let mut wrong = None;
        for _ in 0..TRIES {
            if put(&self.cache, input, target)? {
                return Ok(());
            }
            match self.fetch(input) {
                Ok(()) => {}
                Err(sent @ SupplyError::Wrong { .. }) => wrong = Some(sent),
                Err(other) => return Err(other),
            }
        }
        if put(&self.cache, input, target)? {
            return Ok(());
        }
        Err(wrong.unwrap_or(SupplyError::Dropped))
    }

    /// Fetches a file into the cache, unless another attempt has just done so.
    fn fetch(&self, input: &Input) -> Result<(), SupplyError> {
        let server = self.server.as_ref().ok_or(SupplyError::NotHere)?;
        let turn = {
            let mut fetching = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(fetching.entry(input.blake3.clone()).or_default())
        };
        let fetched = {
            let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
            if self.cache.has(input) { Ok(()) } else { self.fetch_now(server, input) }
        };
        let mut fetching = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        // Two are this one and the map's: nobody waits.
        if Arc::strong_count(&turn) == 2 {
            fetching.remove(&input.blake3);
        }
        fetched
    }

    fn fetch_now(&self, server: &Server, input: &Input) -> Result<(), SupplyError> {
        // Room is made first, so that it is not the new one that goes.
        self.cache.trim(self.most.saturating_sub(input.size)).map_err(SupplyError::Disk)?;
        let content = server.fetch(input)?;
        match self.cache.take(input, content) {
            Ok(()) => {
                tracing::debug!(name = input.name, size = input.size, "an input was fetched");
                Ok(())
            }
            Err(source @ (BlobError::Another { .. } | BlobError::Unreadable(_))) => {
                Err(SupplyError::Wrong { url: server.url().to_owned(), source })
            }
            Err(other) => Err(SupplyError::Disk(other)),
        }
    }
}

/// Puts a file there if it is in that folder, and whole: a spoilt one is deleted.
fn put(blobs: &Blobs, input: &Input, target: &Path) -> Result<bool, SupplyError> {
    match blobs.put(input, target) {
        Ok(()) => Ok(true),
        Err(BlobError::Missing { .. }) => Ok(false),
        Err(spoilt @ BlobError::Spoilt { .. }) => {
            tracing::warn!("{spoilt}: it is deleted");
            Ok(false)
        }
        Err(other) => Err(SupplyError::Disk(other)),
    }
}
