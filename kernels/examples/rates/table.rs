//! The table: a line for each family, a column for each plan.

use std::io::{self, Write, stdout};

use kernels::engine::Instructions;
use shared::{families::Family, job::Engine, plans::Plan};

/// What our rate is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Against {
    /// The prototype of the same question.
    Prototype,
    /// The reference engine.
    Reference,
    /// Another program.
    Other,
}

/// A family under a plan, with its turns.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) family: Family,
    pub(crate) plan: Plan,
    against: Against,
    /// Ours and theirs of each turn, in seeds a second.
    turns: Vec<(f64, f64)>,
}

impl Cell {
    pub(crate) fn new(family: Family, plan: Plan) -> Self {
        Self { family, plan, against: Against::Reference, turns: Vec::new() }
    }

    pub(crate) fn turn(&mut self, ours: f64, theirs: f64, against: Against) {
        self.against = against;
        self.turns.push((ours, theirs));
    }

    /// Of our rate, of theirs, and of their ratio in each turn.
    pub(crate) fn medians(&self) -> (f64, f64, f64) {
        let of = |value: fn(&(f64, f64)) -> f64| median(self.turns.iter().map(value).collect());
        (of(|turn| turn.0), of(|turn| turn.1), of(|turn| turn.0 / turn.1))
    }

    fn text(&self) -> String {
        let (ours, _, ratio) = self.medians();
        let ratio = match self.against {
            Against::Prototype => format!("{ratio:.2}p"),
            Against::Reference | Against::Other => format!("{ratio:.0}x"),
        };
        format!("{:.2} {ratio:>6}", ours / 1e6)
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = values.get(middle).copied().unwrap_or(f64::NAN);
    if values.len() % 2 == 1 { upper } else { (upper + values[middle - 1]) / 2.0 }
}

/// Prints what was measured on one instruction set.
pub(crate) fn print(instructions: Instructions, cells: &[Cell]) -> io::Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "one thread, {instructions:?}: million seeds a second, and times what")?;
    let plans = || Plan::ALL.into_iter().filter(|plan| plan.engine == Engine::Scan);
    write!(out, "{:22}", "family")?;
    for plan in plans() {
        write!(out, "{:>16}", plan.name)?;
    }
    writeln!(out)?;
    for family in Family::ALL {
        let of = |plan: Plan| cells.iter().find(|c| (c.family, c.plan) == (*family, plan));
        if plans().all(|plan| of(plan).is_none()) {
            continue;
        }
        write!(out, "{family:22}")?;
        for plan in plans() {
            write!(out, "{:>16}", of(plan).map(Cell::text).unwrap_or_default())?;
        }
        writeln!(out)?;
    }
    writeln!(out)
}
