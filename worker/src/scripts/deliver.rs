//! Brings the files of finished attempts to the aggregator, where that is on another machine.
//!
//! What an attempt left stays in its marked folder until the ledger needs it no more. The server is
//! asked again and again what becomes of each: so a worker, a server or a network that is gone at
//! any moment costs nothing but time. Attempts of workers that are gone are looked after too.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::fs::{FlockOperation, flock};
use shared::{
    handover::{Fate, FinishedAttempt, HANDOVER_PATH, MAX_ATTEMPTS_ASKED},
    retry::Waits,
    script::{ATTEMPT_MARK, OutputFile, check_path},
    server::{Server, ServerError, Shelf},
};
use tokio::{
    sync::Notify,
    task::spawn_blocking,
    time::{sleep, timeout},
};

use super::attempt::discard;

/// The first and the longest wait while something is left.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// How often attempts of other workers are looked for when nothing is left.
const IDLE: Duration = Duration::from_secs(60);
/// The longest answer, in bytes.
const MAX_ANSWER: u64 = 64 << 20;

/// What could not be brought.
#[derive(Debug, thiserror::Error)]
enum DeliveryError {
    /// The server.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The data folder.
    #[error("the attempts' folder can't be used: {0}")]
    Folder(#[from] io::Error),
    /// An answer that is none.
    #[error("the server's answer can't be read: {0}")]
    Answer(String),
}

/// Brings the files of a data folder's attempts.
#[derive(Debug, Clone)]
pub struct Deliveries {
    all: PathBuf,
    server: Server,
    finished: Arc<Notify>,
}

/// One look at what there is.
#[derive(Debug, Default, PartialEq, Eq)]
struct Pass {
    /// Attempts whose files may still be wanted.
    left: usize,
    /// Files sent and folders deleted.
    moved: usize,
}

impl Deliveries {
    /// Those of the data folder `home`; `finished` is told when an attempt has finished.
    #[must_use]
    pub fn new(home: &Path, server: Server, finished: Arc<Notify>) -> Self {
        Self { all: home.join("attempts"), server, finished }
    }

    /// Brings what there is, for as long as the worker lives.
    pub async fn bring(self) {
        let mut waits = Waits::new(FIRST_WAIT, LONGEST_WAIT);
        let mut trouble = String::new();
        loop {
            let wait = match self.pass(None).await {
                Ok(pass) => {
                    if !trouble.is_empty() {
                        tracing::info!("outputs are brought to the server again");
                        trouble.clear();
                    }
                    if pass.moved > 0 {
                        waits.reset();
                    }
                    if pass.left > 0 { waits.next_wait() } else { IDLE }
                }
                Err(error) => {
                    let said = error.to_string();
                    if said != trouble {
                        tracing::warn!("outputs stay here for now: {said}");
                        trouble = said;
                    }
                    waits.next_wait()
                }
            };
            tokio::select! {
                () = sleep(wait) => {}
                () = self.finished.notified() => {
                    waits.reset();
                    // Its outcome is on the way to the ledger.
                    sleep(FIRST_WAIT).await;
                }
            }
        }
    }

    /// Brings what a worker that ends has left, for so long at most. The next worker of this data
    /// folder brings the rest.
    pub async fn finish(&self, instance: &str, patience: Duration) {
        let mut waits = Waits::new(FIRST_WAIT, LONGEST_WAIT);
        let all = async {
            while !matches!(self.pass(Some(instance)).await, Ok(Pass { left: 0, .. })) {
                sleep(waits.next_wait()).await;
            }
        };
        if timeout(patience, all).await.is_err() {
            tracing::info!(
                "outputs are left here: the next worker with this data folder brings them"
            );
        }
    }

    async fn pass(&self, instance: Option<&str>) -> Result<Pass, DeliveryError> {
        let (this, instance) = (self.clone(), instance.map(str::to_owned));
        let pass = spawn_blocking(move || this.pass_now(instance.as_deref())).await;
        pass.map_err(io::Error::other)?
    }

    fn pass_now(&self, instance: Option<&str>) -> Result<Pass, DeliveryError> {
        // One worker of a data folder does it for all.
        let lock = File::create(self.all.join("deliver.lock"))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(Pass { left: 1, moved: 0 });
        }
        let found = finished(&self.all, instance)?;
        let mut pass = Pass::default();
        for some in found.chunks(MAX_ATTEMPTS_ASKED) {
            let attempts: Vec<&FinishedAttempt> = some.iter().map(|(attempt, _)| attempt).collect();
            let asked = serde_json::to_string(&attempts).map_err(io::Error::other)?;
            let answer = self.server.post(HANDOVER_PATH, asked, MAX_ANSWER)?;
            let fates: Vec<Fate> = serde_json::from_str(&answer)
                .map_err(|error| DeliveryError::Answer(error.to_string()))?;
            if fates.len() != some.len() {
                return Err(DeliveryError::Answer(format!("{} fates", fates.len())));
            }
            for ((attempt, folder), fate) in some.iter().zip(fates) {
                match fate {
                    Fate::Settled => {
                        discard(folder);
                        pass.moved += 1;
                    }
                    Fate::Unknown => pass.left += 1,
                    Fate::Wanted(files) => {
                        pass.left += 1;
                        pass.moved += self.send(attempt, folder, &files)?;
                    }
                }
            }
        }
        Ok(pass)
    }

    /// Sends the files of an accepted attempt; how many the server did not have.
    fn send(
        &self,
        attempt: &FinishedAttempt,
        folder: &Path,
        files: &[OutputFile],
    ) -> Result<usize, DeliveryError> {
        let mut sent = 0;
        for OutputFile { name, blake3, .. } in files {
            let (run, job) = (&attempt.run, &attempt.job);
            if check_path("output", name).is_err() {
                continue;
            }
            let file = match File::open(folder.join(name)) {
                Ok(file) => file,
                // The aggregator may be on this machine and have taken it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error.into()),
            };
            if self.server.has(Shelf::Outputs, blake3)? {
                continue;
            }
            match self.server.send(Shelf::Outputs, blake3, &file) {
                Ok(()) => {
                    tracing::debug!(run, job, name, "an output was brought to the server");
                    sent += 1;
                }
                Err(refused @ (ServerError::Refused(_) | ServerError::TooLarge(_))) => {
                    tracing::warn!(run, job, name, "an output is not taken: {refused}");
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(sent)
    }
}

/// The attempts that have finished with files, of one worker or of all, and their folders.
fn finished(all: &Path, instance: Option<&str>) -> io::Result<Vec<(FinishedAttempt, PathBuf)>> {
    let mut found = Vec::new();
    for worker in fs::read_dir(all)? {
        let worker = worker?.path();
        let name = worker.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if !worker.is_dir() || instance.is_some_and(|instance| instance != name) {
            continue;
        }
        // One that another worker deletes just now has none.
        for attempt in fs::read_dir(&worker).into_iter().flatten() {
            let folder = attempt?.path();
            let number = folder.file_name().and_then(|number| number.to_str()).unwrap_or_default();
            let Ok(mark) = fs::read_to_string(folder.join(ATTEMPT_MARK)) else { continue };
            let place = format!("{name}/{number}");
            found.extend(marked(&mark, place).map(|attempt| (attempt, folder.clone())));
        }
    }
    Ok(found)
}

/// What a mark says; `None` for one that is not whole.
fn marked(mark: &str, place: String) -> Option<FinishedAttempt> {
    let mut lines = mark.strip_suffix('\n')?.split('\n');
    let (run, job, seq) = (lines.next()?, lines.next()?, lines.next()?);
    let (run, job) = (run.to_owned(), job.to_owned());
    Some(FinishedAttempt { run, job, seq: seq.parse().ok()?, place })
}

#[cfg(test)]
mod tests {
    use super::super::attempt::{Attempts, mark};
    use super::*;

    #[test]
    fn finished_attempts_are_found_whoever_they_were_of() {
        let home = tempfile::tempdir().unwrap();
        let (one, other) = ("one", "other");
        let of_one = Attempts::new(home.path(), one).unwrap();
        let of_other = Attempts::new(home.path(), other).unwrap();
        of_one.begin(None).unwrap();
        mark(&of_one.begin(None).unwrap(), "r", "j 1", 3).unwrap();
        mark(&of_other.begin(None).unwrap(), "r", "j 2", 1).unwrap();
        fs::write(home.path().join("attempts/deliver.lock"), "").unwrap();
        let all = home.path().join("attempts");
        let mut found = finished(&all, None).unwrap();
        found.sort_by_key(|(attempt, _)| attempt.job.clone());
        let [first, second] = &found[..] else { panic!("{found:?}") };
        assert_eq!(
            (first.0.job.as_str(), first.0.seq, first.0.place.as_str()),
            ("j 1", 3, "one/1")
        );
        assert_eq!((second.0.place.as_str(), &second.1), ("other/0", &all.join("other/0")));
        assert!(first.0.is_at(&first.1.display().to_string()));
        assert_eq!(finished(&all, Some("other")).unwrap().len(), 1);
        assert_eq!(marked("r\nj\n", String::new()), None);
        assert_eq!(marked("r\nj\n1", String::new()), None);
    }
}
