//! One session of `worker bench`: every figure in turn, told and kept as it comes.

use std::{io, path::Path, sync::Arc};

use shared::{
    exit_codes,
    outcome::{Blame, Failure},
    rates::{MeasuredRate, Rates, StoredRate},
};
use tokio::sync::watch;

use super::{
    ceilings::Hardware,
    cells::Cell,
    measure::{Measured, Trouble, measure},
    report::{Report, Row},
};
use crate::{
    WorkerError,
    child::Order,
    job::{self, Bench},
    signals::Signals,
    slots::Slot,
};

/// Where a session runs and what it leaves behind.
#[derive(Debug)]
pub struct Places<'a> {
    /// What the worker's jobs have in common.
    pub bench: &'a Bench,
    /// The slot that is measured.
    pub slot: &'a Arc<Slot>,
    /// The data folder, where the rates are kept.
    pub home: &'a Path,
}

/// Measures the cells for so many seconds of sieving each; returns the exit code. A figure that
/// can't be had is told in one line and passed over, except that a device that fails ends it.
///
/// # Errors
/// [`WorkerError`] when the rates can't be kept.
pub async fn run(
    places: &Places<'_>,
    cells: &[Cell],
    seconds: f64,
    json: bool,
    signals: &mut Signals,
) -> Result<u8, WorkerError> {
    let Places { bench, slot, home } = places;
    let mut rates = Rates::read(home)?;
    let hardware = Hardware::of(slot.arch, &slot.device.model);
    let closed = |error: io::Error| match error.kind() {
        // Who stops reading has seen enough.
        io::ErrorKind::BrokenPipe => Ok(exit_codes::DONE),
        _ => Err(WorkerError::System { what: "writing to stdout", source: error }),
    };
    let mut report = match Report::begin(json, hardware, slot.arch, &slot.device) {
        Ok(report) => report,
        Err(error) => return closed(error),
    };
    let (orders, ordered) = watch::channel(None);
    let mut code = exit_codes::DONE;
    for (done, &cell) in cells.iter().enumerate() {
        report.progress(done, cells.len(), cell);
        let mut figure = std::pin::pin!(measure(bench, slot, cell, seconds, ordered.clone()));
        let measured = tokio::select! {
            measured = figure.as_mut() => measured,
            _ = signals.next() => {
                orders.send_replace(Some(Order::Kill));
                // The runner is gone when this returns.
                figure.await.and(Err(Trouble::Interrupted))
            }
        };
        report.clear();
        match measured {
            Ok(measured) => {
                rates.keep(stored(slot, cell, &measured))?;
                let row = Row::new(cell, &measured, hardware, slot.device.threads);
                if let Err(error) = report.row(row) {
                    return closed(error);
                }
            }
            Err(Trouble::Interrupted) => {
                code = exit_codes::INTERRUPTED;
                break;
            }
            Err(trouble) => {
                report.trouble(cell, &trouble.to_string());
                code = exit_codes::INTERNAL;
                if is_hopeless(&trouble) {
                    code = exit_codes::DEVICE;
                    break;
                }
            }
        }
    }
    match report.end(&bench.node, slot.arch, &slot.device, rates.path()) {
        Ok(()) => Ok(code),
        Err(error) => closed(error),
    }
}

/// Whether other figures would fail for the same reason: the device, or what it needs, is missing.
fn is_hopeless(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Failed { failure, .. }
        if matches!(failure.blame(), Blame::Device | Blame::Node) && *failure != Failure::Stalled)
}

fn stored(slot: &Slot, cell: Cell, measured: &Measured) -> StoredRate {
    StoredRate {
        arch: slot.arch,
        model: slot.device.model.clone(),
        threads: slot.device.threads,
        rate: MeasuredRate {
            plan: cell.plan.name.to_owned(),
            family: cell.family.name().to_owned(),
            engine: measured.engine.name().to_owned(),
            seeds: measured.seeds,
            seconds: measured.seconds,
        },
        at: job::now(),
    }
}
