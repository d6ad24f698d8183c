//! What is said of the figures: a line each, or one JSON object at the end.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;
use shared::{job::Arch, job::Engine, outcome::Device};

use super::{ceilings::Hardware, cells::Cell, measure::Measured};

/// A figure as it is told.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    family: &'static str,
    plan: &'static str,
    engine: &'static str,
    seeds: u64,
    seconds: f64,
    /// Seeds decided a second, whether or not the engine went through them one by one.
    seeds_per_second: f64,
    /// None for the structural engine, which goes through no seed.
    tests_per_second: Option<f64>,
    /// Of the ceiling of this hardware, in percent.
    ceiling_percent: Option<f64>,
}

impl Row {
    pub(super) fn new(cell: Cell, measured: &Measured, hardware: Hardware, threads: u32) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits")]
        let rate = measured.seeds as f64 / measured.seconds.max(1e-9);
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits")]
        let tests = cell.plan.tests_a_seed() as f64;
        let by_seed = measured.engine != Engine::Structural;
        let ceiling = hardware.ceiling(cell, threads);
        Self {
            family: cell.family.name(),
            plan: cell.plan.name,
            engine: measured.engine.name(),
            seeds: measured.seeds,
            seconds: measured.seconds,
            seeds_per_second: rate,
            tests_per_second: by_seed.then_some(rate * tests),
            ceiling_percent: ceiling.map(|ceiling| 100.0 * rate / ceiling),
        }
    }

    fn line(&self) -> String {
        let missing = || "-".to_owned();
        format!(
            "{:22} {:5} {:11} {:>9} {:>9} {:>8}",
            self.family,
            self.plan,
            self.engine,
            short(self.seeds_per_second),
            self.tests_per_second.map_or_else(missing, short),
            self.ceiling_percent.map_or_else(missing, |percent| format!("{percent:.0} %")),
        )
    }
}

/// A number with three digits and a thousand's letter: `16.4 M`.
fn short(value: f64) -> String {
    let mut rest = value;
    let mut letters = ["", "k", "M", "G", "T", "P", "E"].into_iter();
    let mut letter = letters.next().unwrap_or_default();
    for next in letters {
        if rest < 999.5 {
            break;
        }
        (rest, letter) = (rest / 1000.0, next);
    }
    let digits = if rest < 9.995 { 2 } else { usize::from(rest < 99.95) };
    format!("{rest:.digits$} {letter}").trim_end().to_owned()
}

#[derive(Debug, Serialize)]
struct Whole<'a> {
    node: &'a str,
    arch: Arch,
    model: &'a str,
    threads: u32,
    ceilings_of: &'static str,
    rates_file: String,
    rates: Vec<Row>,
}

/// Tells figures as they come: text on stdout, or JSON at the end; progress on a terminal's stderr.
#[derive(Debug)]
pub(super) struct Report {
    json: bool,
    hardware: Hardware,
    rows: Vec<Row>,
}

impl Report {
    /// Begins with the header of the table.
    ///
    /// # Errors
    /// When stdout is closed.
    pub(super) fn begin(
        json: bool,
        hardware: Hardware,
        arch: Arch,
        device: &Device,
    ) -> io::Result<Self> {
        if !json {
            let mut out = io::stdout().lock();
            let Device { name, model, threads } = device;
            writeln!(out, "{name}: {model}, {arch}, threads of a job: {threads}")?;
            writeln!(
                out,
                "{:22} {:5} {:11} {:>9} {:>9} {:>8}",
                "family", "plan", "engine", "seeds/s", "tests/s", "ceiling"
            )?;
        }
        Ok(Self { json, hardware, rows: Vec::new() })
    }

    /// Says which figure is under way, on a terminal.
    pub(super) fn progress(&self, done: usize, all: usize, cell: Cell) {
        if io::stderr().is_terminal() {
            let (family, plan) = (cell.family, cell.plan.name);
            // Nobody is left to tell when stderr is closed.
            write!(io::stderr(), "\r\x1b[K[{}/{all}] {family} {plan}", done + 1).ok();
        }
    }

    /// Clears what [`Report::progress`] wrote.
    pub(super) fn clear(&self) {
        if io::stderr().is_terminal() {
            write!(io::stderr(), "\r\x1b[K").ok();
        }
    }

    /// Tells a figure.
    ///
    /// # Errors
    /// When stdout is closed.
    pub(super) fn row(&mut self, row: Row) -> io::Result<()> {
        if !self.json {
            writeln!(io::stdout(), "{}", row.line())?;
        }
        self.rows.push(row);
        Ok(())
    }

    /// One line for what went wrong.
    pub(super) fn trouble(&self, cell: Cell, why: &str) {
        writeln!(io::stderr(), "error: {} {}: {why}", cell.family, cell.plan.name).ok();
    }

    /// Ends the table, or writes the JSON object.
    ///
    /// # Errors
    /// When stdout is closed.
    pub(super) fn end(
        self,
        node: &str,
        arch: Arch,
        device: &Device,
        path: &std::path::Path,
    ) -> io::Result<()> {
        let mut out = io::stdout().lock();
        let rates_file = path.display().to_string();
        let ceilings_of = self.hardware.name();
        if self.json {
            let Device { model, threads, .. } = device;
            let rates = self.rows;
            let threads = *threads;
            let whole = Whole { node, arch, model, threads, ceilings_of, rates_file, rates };
            serde_json::to_writer_pretty(&mut out, &whole)?;
            return writeln!(out);
        }
        if self.rows.is_empty() {
            return Ok(());
        }
        let per_core = if self.hardware == Hardware::Avx2Core { ", times the threads" } else { "" };
        writeln!(out, "ceiling: the model of SIEVES.md section 4 for {ceilings_of}{per_core}")?;
        writeln!(out, "kept in {rates_file} for the next plans")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let cases = [(0.0, "0.00"), (7.254, "7.25"), (99.96, "100"), (16_432_000.0, "16.4 M")];
        for (value, text) in cases {
            assert_eq!(short(value), text);
        }
        assert_eq!(short(999_600.0), "1.00 M");
        assert_eq!(short(2.3e15), "2.30 P");
        assert_eq!(short(4.5e21), "4500 E");
    }
}
