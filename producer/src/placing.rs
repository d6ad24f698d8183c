//! The aggregator and files: outputs go to their folders, what nothing uses any more goes.

use std::{future::pending, path::PathBuf, time::Duration};

use shared::blobs::Blobs;
use tokio::sync::mpsc;
use tracing::{error, info};

use crate::{
    aggregate::{AggregateError, Aggregator, now},
    failure::Failure,
    ledger::{Applied, Outstanding, Stand, Unplaced},
    outputs::{self, PlaceError},
};

/// Successes whose outputs are put in place at a time.
const PLACES: u32 = 500;
/// Arrivals that are looked at at a time.
const ARRIVALS: usize = 256;
/// How long a run waits for outputs from another machine before it ends without them. They are put
/// in place whenever they come.
const AWAITED: Duration = Duration::from_secs(600);
/// How long a file is kept that nothing uses.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// The next outputs that have arrived; never, where none can.
pub(crate) async fn arrivals(arrivals: &mut Option<mpsc::Receiver<String>>) -> Vec<String> {
    let Some(arrivals) = arrivals else { return pending().await };
    let mut hashes = Vec::new();
    if arrivals.recv_many(&mut hashes, ARRIVALS).await == 0 {
        return pending().await;
    }
    hashes
}

impl Aggregator {
    /// Puts the outputs of scripts into their folders, after the ledger has them and before
    /// anybody hears that their run is complete.
    pub(crate) async fn place_outputs(
        &mut self,
        which: Outstanding<'_>,
    ) -> Result<Applied, AggregateError> {
        let mut applied = Applied::default();
        let mut last: Option<Unplaced> = None;
        loop {
            let successes = self.ledger.unplaced(which, last.as_ref(), PLACES, now())?;
            let is_whole = successes.len() == PLACES as usize;
            last = successes.last().cloned();
            let mut tried = Vec::with_capacity(successes.len());
            for success in successes {
                let stand = self.try_to_place(&success)?;
                if stand.trouble.is_some() && stand.trouble != success.stand.trouble {
                    let trouble = stand.trouble.as_deref().unwrap_or_default();
                    let Unplaced { run, job, .. } = &success;
                    error!(run, job, "an output stays behind: {trouble}");
                }
                let is_news = stand == Stand::default() || stand != success.stand;
                tried.extend(is_news.then_some((success, stand)));
            }
            if !tried.is_empty() {
                applied.merge(self.patiently(|ledger| ledger.placed(&tried, now())).await?);
            }
            if !is_whole {
                return Ok(applied);
            }
        }
    }

    /// Puts one success's outputs into their folder, and says how they stand.
    fn try_to_place(&self, success: &Unplaced) -> Result<Stand, AggregateError> {
        let run = self.ledger.run(&success.run)?;
        let manifest = run.as_ref().and_then(|run| run.manifest.as_ref());
        let folder = outputs::folder_of(manifest, &success.run, &self.script_folder());
        let arrived = outputs::arrived(&self.home);
        let placed = tokio::task::block_in_place(|| outputs::place(success, &folder, &arrived));
        Ok(match placed {
            Ok(()) => Stand::default(),
            Err(elsewhere @ PlaceError::Elsewhere { .. }) if self.arrivals.is_some() => {
                let waited = success.awaited_seconds.unwrap_or(0);
                let trouble = (waited >= AWAITED.as_secs()).then(|| elsewhere.to_string());
                let PlaceError::Elsewhere { blake3, .. } = elsewhere else {
                    return Ok(Stand { trouble, awaits: None });
                };
                Stand { trouble, awaits: Some(blake3) }
            }
            Err(trouble) => Stand { trouble: Some(trouble.to_string()), awaits: None },
        })
    }

    /// Where the outputs of scripts belong whose run names no folder.
    pub(crate) fn script_folder(&self) -> PathBuf {
        self.output_dir.clone().unwrap_or_else(|| self.home.join("outputs"))
    }

    /// Tries again what could not be put in place.
    pub(crate) async fn place_again(&mut self) -> Result<(), AggregateError> {
        let applied = self.place_outputs(Outstanding::All).await?;
        if applied.ended.is_empty() {
            return Ok(());
        }
        self.say_what_changed(&applied).await
    }

    /// Puts in place what these files were waited for.
    pub(crate) async fn place_arrived(&mut self, hashes: &[String]) -> Result<(), AggregateError> {
        let mut applied = Applied::default();
        for hash in hashes {
            applied.merge(self.place_outputs(Outstanding::Awaiting(hash)).await?);
        }
        if applied.ended.is_empty() {
            return Ok(());
        }
        self.say_what_changed(&applied).await
    }

    /// Deletes files that nothing has used for a week and that no open run, staged set or output
    /// on its way names.
    pub(crate) fn sweep_files(&self) {
        let sweep = || -> Result<usize, Failure> {
            let needed = self.ledger.needed_files()?;
            let is_needed = |hash: &str| needed.contains(hash);
            Ok(Blobs::of(&self.home).sweep(KEPT, is_needed)?
                + outputs::arrived(&self.home).sweep(KEPT, is_needed)?)
        };
        match tokio::task::block_in_place(sweep) {
            Ok(0) => {}
            Ok(files) => info!(files, "files that nothing has used for a week were deleted"),
            Err(trouble) => error!("old files can't be deleted: {}", trouble.message),
        }
    }
}
