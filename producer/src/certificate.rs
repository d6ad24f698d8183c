//! The certificate of a complete run: what was asked, what was covered, who did how much of it,
//! and a hash over the survivors. `verify --certificate` checks it without the ledger.
//!
//! `survivors.blake3` is the BLAKE3 hash over one record per survivor, ascending by seed, all
//! little-endian: seed `u64`, matches `u32`, skip `u32` (with variable skips the strategy's id);
//! for `both` also the matches and the skip (or strategy) in reverse order, each `u32`.
//! `candidates.blake3` is the one over the listed seeds, each `u64`, in the list's order.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use shared::{
    job::Engine,
    outcome::Survivor,
    sieve::Sieve,
    spans::{Span, Spans},
    wire::one_line,
    witness::NearMisses,
};

use crate::{
    ledger::{Ledger, LedgerError, RunRow},
    sieve_args::Kind,
    summary::HalfOpen,
    verify::KIND_OF_RUN,
};

/// The version that this build writes, and the newest that it reads.
pub const VERSION: u32 = 1;
/// The most bytes that a certificate may have.
const MAX_BYTES: u64 = 64 << 20;
/// The digits of a BLAKE3 hash.
const HASH_DIGITS: usize = 64;

/// The certificate of a complete run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    /// The version of this format.
    pub version: u32,
    /// The run's name.
    pub run: String,
    /// What was asked.
    pub request: Request,
    /// What was tested: half-open, joined, ascending.
    pub coverage: Vec<HalfOpen>,
    /// Who did how much of it, repetitions included.
    pub devices: Vec<DeviceTotal>,
    /// The survivors.
    pub survivors: Hashed,
    /// The version of RigQueue that wrote it.
    pub producer: String,
    /// When the run was opened, in Unix seconds.
    pub opened_at: f64,
    /// When it was complete.
    pub ended_at: Option<f64>,
}

/// What was asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// `sieve` or `reverse_sieve`.
    pub kind: String,
    /// The question, its draws included.
    pub sieve: Sieve,
    /// The seeds, or the indices of the candidate list.
    pub requested: HalfOpen,
    /// The engine that was asked for.
    pub engine: Engine,
    /// The candidates of a `reverse_sieve`, by their hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidates: Option<Hashed>,
}

/// Some records, by their hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hashed {
    /// How many there are.
    pub count: u64,
    /// The BLAKE3 hash over all, in hexadecimal.
    pub blake3: String,
}

/// What one device did with one engine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceTotal {
    /// The node.
    pub node: String,
    /// The device on it.
    pub device: String,
    /// The device's model.
    pub model: String,
    /// The engine's name.
    pub engine: String,
    /// How many outcomes it reported.
    pub outcomes: u64,
    /// How many seeds (or candidates) they tested.
    pub seeds: u128,
    /// What their witnesses saw.
    pub near_misses: NearMisses,
    /// Seconds that they took together.
    pub seconds: f64,
}

/// A certificate that can't be had or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The run has none.
    #[error("run {run} has no certificate: {why}")]
    None {
        /// The run.
        run: String,
        /// Why.
        why: &'static str,
    },
    /// The file can't be read.
    #[error("the certificate '{}' can't be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file holds something else.
    #[error("'{}' is no certificate: {why}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, in one line.
        why: String,
    },
}

/// Hashes records one by one.
#[derive(Debug, Default)]
struct Hasher {
    hasher: blake3::Hasher,
    count: u64,
}

impl Hasher {
    fn add(&mut self, record: &[u8]) {
        self.hasher.update(record);
        self.count += 1;
    }

    fn hashed(&self) -> Hashed {
        Hashed { count: self.count, blake3: self.hasher.finalize().to_hex().to_string() }
    }
}

/// A survivor's 16 bytes, or 24 for `both`.
fn record(survivor: Survivor) -> Vec<u8> {
    let mut bytes = survivor.seed.to_le_bytes().to_vec();
    for best in [Some(survivor.best), survivor.reverse].into_iter().flatten() {
        bytes.extend(best.matches.to_le_bytes());
        bytes.extend(best.skip.to_le_bytes());
    }
    bytes
}

/// The hash over survivors, which ascend by seed.
pub fn hash_survivors(survivors: impl IntoIterator<Item = Survivor>) -> Hashed {
    let mut hasher = Hasher::default();
    survivors.into_iter().for_each(|survivor| hasher.add(&record(survivor)));
    hasher.hashed()
}

/// The hash over a list of candidates.
#[must_use]
pub fn hash_candidates(seeds: &[u64]) -> Hashed {
    let mut hasher = Hasher::default();
    seeds.iter().for_each(|seed| hasher.add(&seed.to_le_bytes()));
    hasher.hashed()
}

impl Certificate {
    /// The certificate of a complete run.
    ///
    /// # Errors
    /// [`CertificateError::None`] unless the whole request is covered.
    pub fn of(ledger: &Ledger, run: &RunRow) -> Result<Self, CertificateError> {
        let none = |why| CertificateError::None { run: run.name.clone(), why };
        let manifest = run.manifest.as_ref().ok_or(none("its manifest has not arrived yet"))?;
        if manifest.kind == KIND_OF_RUN {
            return Err(none("it is the verification of another run"));
        }
        let Some(sieve) = &manifest.sieve else {
            return Err(none("it is no search: there are no survivors to certify"));
        };
        let covered = ledger.covered(run)?.within(manifest.requested);
        if !covered.holes(manifest.requested).is_empty() {
            return Err(none("not all that it asks for is covered"));
        }
        let candidates = match manifest.parts {
            0 => None,
            _ => Some(hash_candidates(&ledger.candidates(run)?)),
        };
        let mut hasher = Hasher::default();
        ledger.each_survivor(run, |kept| {
            hasher.add(&record(kept.survivor));
            Ok::<(), LedgerError>(())
        })?;
        Ok(Self {
            version: VERSION,
            run: run.name.clone(),
            request: Request {
                kind: manifest.kind.clone(),
                sieve: sieve.clone(),
                requested: manifest.requested.into(),
                engine: manifest.engine,
                candidates,
            },
            coverage: covered.as_slice().iter().map(|span| HalfOpen::from(*span)).collect(),
            devices: totals(ledger, run)?,
            survivors: hasher.hashed(),
            producer: env!("CARGO_PKG_VERSION").to_owned(),
            opened_at: run.opened_at,
            ended_at: run.ended_at,
        })
    }

    /// Reads a certificate.
    ///
    /// # Errors
    /// [`CertificateError`] when there is none, or one that makes no sense or is newer than this
    /// build.
    pub fn read(path: &Path) -> Result<Self, CertificateError> {
        let unreadable = |source| CertificateError::Unreadable { path: path.to_owned(), source };
        let malformed = |why| CertificateError::Malformed { path: path.to_owned(), why };
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(unreadable)?;
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(malformed(format!("it is larger than {} MiB", MAX_BYTES >> 20)));
        }
        Self::from_json(&bytes).map_err(malformed)
    }

    /// Reads a certificate from its JSON.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    pub fn from_json(json: &[u8]) -> Result<Self, String> {
        Self::parsed(json).map_err(one_line)
    }

    fn parsed(json: &[u8]) -> Result<Self, String> {
        /// The one key that every version has.
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } =
            serde_json::from_slice(json).map_err(|error| error.to_string())?;
        if version > VERSION {
            return Err(format!(
                "it has version {version}, this build reads up to {VERSION}: upgrade RigQueue"
            ));
        }
        let read: Self = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        read.check()?;
        Ok(read)
    }

    /// What of it makes no sense.
    fn check(&self) -> Result<(), String> {
        let Request { kind, sieve, candidates, .. } = &self.request;
        sieve.validate().map_err(|error| error.to_string())?;
        let requested = self.requested()?;
        if *kind != self.kind().name() {
            return Err(format!(
                "a '{kind}' {} a list of candidates",
                match candidates {
                    Some(_) => "does not have",
                    None => "needs",
                }
            ));
        }
        let end = match candidates {
            Some(candidates) if requested.first() == 0 => u128::from(candidates.count),
            Some(_) => 0,
            None => sieve.family.seed_end(),
        };
        if requested.end() > end || (candidates.is_some() && requested.end() != end) {
            return Err(format!("its request {requested} is not within what can be asked for"));
        }
        self.covered()?;
        if self.coverage.windows(2).any(|pair| u128::from(pair[1].start) <= pair[0].end) {
            return Err("its coverage is not ascending and joined".to_owned());
        }
        for Hashed { blake3, .. } in [&self.survivors].into_iter().chain(candidates) {
            let digit = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
            if blake3.len() != HASH_DIGITS || !blake3.chars().all(digit) {
                return Err(format!("'{blake3}' is no BLAKE3 hash"));
            }
        }
        Ok(())
    }

    /// What kind of search it certifies.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        if self.request.candidates.is_some() { Kind::ReverseSieve } else { Kind::Sieve }
    }

    /// What was asked for.
    ///
    /// # Errors
    /// When it is nothing; not for a certificate that was read.
    pub fn requested(&self) -> Result<Span, String> {
        span(self.request.requested)
    }

    /// What was tested.
    ///
    /// # Errors
    /// When a part of it is nothing; not for a certificate that was read.
    pub fn covered(&self) -> Result<Spans, String> {
        self.coverage.iter().map(|part| span(*part)).collect()
    }
}

fn span(HalfOpen { start, end }: HalfOpen) -> Result<Span, String> {
    Span::half_open(start, end).ok_or_else(|| format!("[{start}, {end}) is no range of seeds"))
}

/// Who did how much of a run.
fn totals(ledger: &Ledger, run: &RunRow) -> Result<Vec<DeviceTotal>, LedgerError> {
    let mut totals: BTreeMap<_, DeviceTotal> = BTreeMap::new();
    for report in ledger.reports(run)? {
        let engine = report.engine.map_or("unknown", Engine::name);
        let key = (report.node.clone(), report.device.clone(), report.model.clone(), engine);
        let seeds = report.seeds();
        let total = totals.entry(key).or_insert_with(|| DeviceTotal {
            node: report.node,
            device: report.device,
            model: report.model,
            engine: engine.to_owned(),
            outcomes: 0,
            seeds: 0,
            near_misses: NearMisses::default(),
            seconds: 0.0,
        });
        total.outcomes += 1;
        total.seeds += seeds;
        total.near_misses.merge(report.near_misses.unwrap_or_default());
        total.seconds += report.seconds;
    }
    Ok(totals.into_values().collect())
}

#[cfg(test)]
#[path = "certificate_tests.rs"]
mod tests;
