//! Learned rates: model operations per second, per device model, threads, engine, family and mode.

use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use shared::{
    families::Family,
    job::{Arch, Engine},
    outcome::Device,
    plans::Plan,
    rates::MeasuredRate,
    sieve::Mode,
};

use super::open::{Ledger, LedgerError};
use crate::cost::Cost;

/// The weight of the newest measurement in the moving average.
const WEIGHT: f64 = 0.3;

/// What a rate is learned for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateKey {
    /// The device's model.
    pub model: String,
    /// The threads that a job had.
    pub threads: u32,
    /// The engine that computed.
    pub engine: Engine,
    /// The generator.
    pub family: Family,
    /// How skips were hypothesised: the scan of variable ones is another loop.
    pub mode: Mode,
    /// The architecture of the slot.
    pub arch: Arch,
}

/// A learned rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LearnedRate {
    /// What it is for.
    pub key: RateKey,
    /// Model operations per second.
    pub operations_per_second: f64,
    /// How many measurements are in it.
    pub samples: u64,
}

impl LearnedRate {
    /// What `worker bench` measured on such a slot; `None` of names that this build does not know,
    /// and of figures that are none.
    #[must_use]
    pub fn measured(arch: Arch, device: &Device, rate: &MeasuredRate) -> Option<Self> {
        let plan = Plan::named(&rate.plan)?;
        let (engine, family) = (rate.engine.parse().ok()?, rate.family.parse().ok()?);
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits")]
        let operations = Cost::of(&plan.sieve(family), engine).seeds(rate.seeds as f64);
        let operations_per_second = operations / rate.seconds;
        let (model, threads) = (device.model.clone(), device.threads);
        // The standard plans are of fixed skips.
        let key = RateKey { model, threads, engine, family, mode: Mode::Fixed, arch };
        (operations_per_second.is_finite() && operations_per_second > 0.0).then_some(Self {
            key,
            operations_per_second,
            samples: 1,
        })
    }
}

/// Takes a benchmark's rate where nothing is known yet: what jobs taught counts for more.
pub(super) fn assume(db: &Connection, rate: &LearnedRate, now: f64) -> Result<(), LedgerError> {
    insert(db, &rate.key, rate.operations_per_second, now, "NOTHING")
}

/// Takes one measurement into the moving average.
pub(super) fn learn(
    db: &Connection,
    key: &RateKey,
    rate: f64,
    now: f64,
) -> Result<(), LedgerError> {
    let average = format!(
        "UPDATE SET operations_per_second =
         operations_per_second + {WEIGHT} * (excluded.operations_per_second - operations_per_second),
         samples = samples + 1, at = excluded.at"
    );
    insert(db, key, rate, now, &average)
}

/// Writes a first measurement; where there is one, `otherwise` says what to do.
fn insert(
    db: &Connection,
    key: &RateKey,
    rate: f64,
    now: f64,
    otherwise: &str,
) -> Result<(), LedgerError> {
    db.prepare_cached(&format!(
        "INSERT INTO rates
         (model, threads, engine, family, mode, arch, operations_per_second, samples, at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1, ?8)
         ON CONFLICT (model, threads, engine, family, mode) DO {otherwise}"
    ))?
    .execute(params![
        key.model,
        key.threads,
        key.engine.name(),
        key.family.name(),
        key.mode.name(),
        key.arch.name(),
        rate,
        now
    ])?;
    Ok(())
}

impl Ledger {
    /// Every learned rate.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be read. Rows of names that this build does not know
    /// are passed over.
    pub fn rates(&self) -> Result<Vec<LearnedRate>, LedgerError> {
        let mut rows = self.db.prepare(
            "SELECT model, threads, engine, family, mode, arch, operations_per_second, samples
             FROM rates",
        )?;
        let rows = rows.query_map([], |row| {
            let name = |column| row.get::<_, String>(column);
            let (engine, family) = (name(2)?.parse().ok(), name(3)?.parse().ok());
            let (mode, arch) = (Mode::named(&name(4)?), name(5)?.parse().ok());
            let (Some(engine), Some(family), Some(mode), Some(arch)) = (engine, family, mode, arch)
            else {
                return Ok(None);
            };
            let (model, threads) = (row.get(0)?, row.get(1)?);
            let samples: i64 = row.get(7)?;
            Ok(Some(LearnedRate {
                key: RateKey { model, threads, engine, family, mode, arch },
                operations_per_second: row.get(6)?,
                samples: samples.unsigned_abs(),
            }))
        })?;
        Ok(rows.filter_map(Result::transpose).collect::<Result<_, _>>()?)
    }

    /// Takes the rates that another ledger learned into this one's averages.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be written.
    pub fn merge_rates(&mut self, rates: &[LearnedRate], now: f64) -> Result<(), LedgerError> {
        let tx = self.db.transaction()?;
        for rate in rates {
            learn(&tx, &rate.key, rate.operations_per_second, now)?;
        }
        Ok(tx.commit()?)
    }
}
