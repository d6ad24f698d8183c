//! Rates that `worker bench` measured on this machine, and the file that keeps them: `rates.json`
//! in the data folder. A worker tells them with its heartbeats, so that the first plan for a new
//! node is right; what jobs teach later counts for more.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{job::Arch, outcome::Device, plans::Plan};

/// A rate of one slot. Its names are text, so that a reader passes over those that it does not
/// know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MeasuredRate {
    /// The standard plan's name.
    pub plan: String,
    /// The family's name.
    pub family: String,
    /// The engine's name.
    pub engine: String,
    /// How many seeds were tested.
    pub seeds: u64,
    /// Seconds of sieving.
    pub seconds: f64,
}

/// A rate with what it was measured on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredRate {
    /// The slot's architecture.
    pub arch: Arch,
    /// The device's model.
    pub model: String,
    /// The threads a job has there.
    pub threads: u32,
    /// The rate.
    #[serde(flatten)]
    pub rate: MeasuredRate,
    /// When, in Unix seconds.
    pub at: f64,
}

impl StoredRate {
    /// Whether a job on such a slot should be as fast.
    #[must_use]
    pub fn is_of(&self, arch: Arch, device: &Device) -> bool {
        (self.arch, &self.model, self.threads) == (arch, &device.model, device.threads)
    }

    fn replaces(&self, other: &Self) -> bool {
        let key = |rate: &Self| {
            let MeasuredRate { plan, family, engine, .. } = rate.rate.clone();
            (rate.arch, rate.model.clone(), rate.threads, plan, family, engine)
        };
        key(self) == key(other)
    }
}

/// A file of rates that can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RatesError {
    /// The system refuses.
    #[error("the rates in {path} can't be read or written: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It holds something else.
    #[error("{path} holds no rates ({source}): delete it, then run `worker bench` again")]
    Content {
        /// The file.
        path: PathBuf,
        /// Where it goes wrong.
        source: serde_json::Error,
    },
}

/// The rates measured on this machine.
#[derive(Debug)]
pub struct Rates {
    path: PathBuf,
    all: Vec<StoredRate>,
}

impl Rates {
    /// Reads those in a data folder: none where there is no file.
    ///
    /// # Errors
    /// [`RatesError`] when the file can't be read, or is none of rates.
    pub fn read(home: &Path) -> Result<Self, RatesError> {
        let path = home.join("rates.json");
        let all = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|source| RatesError::Content { path: path.clone(), source })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(RatesError::File { path, source }),
        };
        Ok(Self { path, all })
    }

    /// Where they are kept.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps one, in place of an older one of the same, on disk when this returns.
    ///
    /// # Errors
    /// [`RatesError::File`] when it can't be written; the file is then as it was.
    pub fn keep(&mut self, rate: StoredRate) -> Result<(), RatesError> {
        self.all.retain(|known| !rate.replaces(known));
        self.all.push(rate);
        self.write().map_err(|source| RatesError::File { path: self.path.clone(), source })
    }

    fn write(&self) -> io::Result<()> {
        fs::create_dir_all(self.path.parent().unwrap_or(Path::new(".")))?;
        // Written beside and renamed: whoever reads finds the old file or the new one, whole.
        let beside = self.path.with_extension(format!("json.{}", std::process::id()));
        let mut file = File::create(&beside)?;
        serde_json::to_writer_pretty(&mut file, &self.all)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)
    }

    /// For each family and engine the rate that stands for it on such a slot: of the first of the
    /// standard plans that was measured.
    #[must_use]
    pub fn of_slot(&self, arch: Arch, device: &Device) -> Vec<MeasuredRate> {
        let mut chosen: Vec<MeasuredRate> = Vec::new();
        for plan in Plan::ALL {
            let here = self.all.iter().filter(|known| known.is_of(arch, device));
            for StoredRate { rate, .. } in here.filter(|known| known.rate.plan == plan.name) {
                let same = |other: &MeasuredRate| {
                    (&other.family, &other.engine) == (&rate.family, &rate.engine)
                };
                if !chosen.iter().any(same) {
                    chosen.push(rate.clone());
                }
            }
        }
        chosen
    }

    /// Every rate, with what it was measured on.
    #[must_use]
    pub fn all(&self) -> &[StoredRate] {
        &self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(plan: &str, family: &str, threads: u32, seeds: u64) -> StoredRate {
        StoredRate {
            arch: Arch::Cpu,
            model: "m".to_owned(),
            threads,
            rate: MeasuredRate {
                plan: plan.to_owned(),
                family: family.to_owned(),
                engine: "scan".to_owned(),
                seeds,
                seconds: 1.0,
            },
            at: 0.0,
        }
    }

    #[test]
    fn a_slot_is_told_the_newest_rates_of_its_own_kind() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("home");
        let mut rates = Rates::read(&home).unwrap();
        for rate in [
            rate("B", "minstd", 1, 1),
            rate("A.25", "minstd", 1, 2),
            rate("A.25", "minstd", 1, 3),
            rate("A.25", "minstd", 2, 4),
            rate("B", "mt19937", 1, 5),
            rate("Z", "unheard", 1, 6),
        ] {
            rates.keep(rate).unwrap();
        }
        let device = Device { name: "cpu0".to_owned(), model: "m".to_owned(), threads: 1 };
        let again = Rates::read(&home).unwrap();
        assert_eq!(again.all().len(), 5, "one was replaced");
        let told = again.of_slot(Arch::Cpu, &device);
        let told: Vec<_> = told.iter().map(|r| (r.family.as_str(), r.seeds)).collect();
        assert_eq!(told, [("minstd", 3), ("mt19937", 5)]);
        assert_eq!(again.of_slot(Arch::Cuda, &device), []);
        let left: Vec<_> = fs::read_dir(&home).unwrap().collect();
        assert_eq!(left.len(), 1, "nothing is left beside the file");
    }

    #[test]
    fn a_file_of_something_else_is_refused_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("rates.json"), "{\"half\":").unwrap();
        let why = Rates::read(folder.path()).unwrap_err().to_string();
        assert!(why.contains("rates.json") && why.contains("delete it"), "{why}");
    }
}
