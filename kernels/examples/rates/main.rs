//! The kernels' part of `make bench`: million seeds a second of processor time of the scan on one
//! thread, by family and standard plan (`shared::plans`), for each wide instruction set that this
//! processor has; beside it what the same question takes elsewhere, measured in turns on the same
//! core. Medians of the turns, and of their ratios.
//!
//! `cargo run --release -p kernels --example rates -- [--family F] [--plan NAME] [--seconds S]
//! [--turns N] [--instructions avx2|avx512]`. With `RIGQUEUE_BENCH_PROTOTYPES` (a folder with
//! scan.cpp, scan3.cpp and jlattice.cpp) the prototypes are built into target/prototypes and run;
//! with `RIGQUEUE_BENCH_PHP_MT_SEED` (a binary of php_mt_seed) plan D is compared with that.

mod ours;
mod php;
mod prototypes;
mod table;

use std::{
    env,
    error::Error,
    io::{Write, stdout},
    path::{Path, PathBuf},
    process::Command,
};

use kernels::engine::{Instructions, Prepared};
use prototypes::{Printed, Prototypes};
use shared::{families::Family, job::Engine, plans::Plan};
use table::{Against, Cell};

/// Whatever went wrong: a measuring program has nobody to tell errors apart.
type Failed = Box<dyn Error>;

/// Where the prototypes' sources are.
const ENV_PROTOTYPES: &str = "RIGQUEUE_BENCH_PROTOTYPES";
/// Where a binary of php_mt_seed is.
const ENV_PHP: &str = "RIGQUEUE_BENCH_PHP_MT_SEED";

/// What is measured, and beside what.
struct Options {
    family: Option<Family>,
    plan: Option<Plan>,
    seconds: f64,
    turns: usize,
    instructions: Vec<Instructions>,
    prototypes: Option<PathBuf>,
    php: Option<String>,
}

impl Options {
    fn read() -> Result<Self, Failed> {
        let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
        let mut options = Self {
            family: None,
            plan: None,
            seconds: 0.3,
            turns: 3,
            // The baseline is for processors that nobody rigs.
            instructions: Instructions::supported().into_iter().skip(1).rev().collect(),
            prototypes: set(ENV_PROTOTYPES).map(PathBuf::from),
            php: set(ENV_PHP),
        };
        let mut args = env::args().skip(1);
        while let Some(option) = args.next() {
            let value = args.next().ok_or_else(|| format!("{option} needs a value"))?;
            match option.as_str() {
                "--family" => options.family = Some(value.parse()?),
                "--plan" => {
                    let plan = Plan::named(&value);
                    options.plan = Some(plan.ok_or_else(|| format!("'{value}' is no plan"))?);
                }
                "--seconds" => options.seconds = value.parse()?,
                "--turns" => options.turns = value.parse::<usize>()?.max(1),
                "--instructions" => {
                    options.instructions.retain(|i| format!("{i:?}").eq_ignore_ascii_case(&value));
                    if options.instructions.is_empty() {
                        return Err(format!("this processor has no '{value}'").into());
                    }
                }
                _ => return Err(format!("'{option}' is no option of this program").into()),
            }
        }
        Ok(options)
    }

    fn wants(&self, plan: &Plan, family: Family) -> bool {
        plan.engine == Engine::Scan
            && plan.suits(family)
            && self.family.is_none_or(|only| only == family)
            && self.plan.is_none_or(|only| only == *plan)
    }
}

fn main() -> Result<(), Failed> {
    let options = Options::read()?;
    let into = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/prototypes");
    for &instructions in &options.instructions {
        let prototypes = options.prototypes.as_deref();
        let prototypes = prototypes.map(|from| Prototypes::build(from, &into, instructions));
        let prototypes = prototypes.transpose()?.flatten();
        let cells = measure(&options, instructions, prototypes.as_ref())?;
        table::print(instructions, &cells)?;
    }
    let mut out = stdout().lock();
    writeln!(out, "p: times the prototype's rate; x: times the reference engine's")?;
    if options.prototypes.is_none() {
        writeln!(out, "left out: the prototypes ({ENV_PROTOTYPES} names no folder)")?;
    }
    if options.family.is_none_or(|only| only == Family::Mt19937) {
        php_mt_seed(&options, &mut out)?;
    }
    if options.family.is_none_or(|only| only == Family::JavaLcg) {
        writeln!(out, "E: all 2^48 seeds of java_lcg by structure, seconds of one thread")?;
        out.flush()?;
        structural(options.prototypes.as_deref(), &into, options.turns)?;
    }
    Ok(())
}

/// Every cell in turns: ours and what it is compared with, one right after the other.
fn measure(
    options: &Options,
    instructions: Instructions,
    prototypes: Option<&Prototypes>,
) -> Result<Vec<Cell>, Failed> {
    let mut cells: Vec<Cell> = Vec::new();
    for &family in Family::ALL {
        let plans = Plan::ALL.into_iter().filter(|plan| options.wants(plan, family));
        cells.extend(plans.map(|plan| Cell::new(family, plan)));
    }
    for _ in 0..options.turns {
        let printed = prototypes.map_or_else(|| Ok(Vec::new()), Prototypes::scan3)?;
        for cell in &mut cells {
            turn(options, instructions, prototypes, &printed, cell)?;
        }
    }
    Ok(cells)
}

fn turn(
    options: &Options,
    instructions: Instructions,
    prototypes: Option<&Prototypes>,
    printed: &[Printed],
    cell: &mut Cell,
) -> Result<(), Failed> {
    let (family, plan, seconds) = (cell.family, cell.plan, options.seconds);
    let (sieve, witness) = (plan.sieve(family), plan.witness());
    let ours = ours::rate(&Prepared::scan(&sieve, witness, instructions), seconds)?;
    let is = |row: &&Printed| row.0 == family.name() && row.1 == plan.name;
    let theirs = match (prototypes, printed.iter().find(is)) {
        (None, _) => None,
        (Some(_), Some(row)) => Some(row.2),
        (Some(prototypes), None) => prototypes.scan(&plan, family, ours * seconds)?,
    };
    match theirs {
        Some(theirs) => cell.turn(ours, theirs, Against::Prototype),
        None => {
            let reference = Prepared::new(Engine::Reference, &sieve, witness);
            cell.turn(ours, ours::rate(&reference, seconds / 4.0)?, Against::Reference);
        }
    }
    Ok(())
}

/// Plan D beside php_mt_seed, which is built for the widest vectors of its machine.
fn php_mt_seed(options: &Options, out: &mut impl Write) -> Result<(), Failed> {
    let Some(path) = &options.php else {
        writeln!(out, "left out: php_mt_seed ({ENV_PHP} names no binary)")?;
        return Ok(());
    };
    let plan = Plan::named("D").ok_or("there is no plan D")?;
    let sieve = plan.sieve(Family::Mt19937);
    let mut cell = Cell::new(Family::Mt19937, plan);
    let engine = Prepared::scan(&sieve, plan.witness(), Instructions::widest());
    for theirs in php::rates(path, &plan, options.turns)? {
        cell.turn(ours::rate(&engine, options.seconds)?, theirs, Against::Other);
    }
    let (ours, theirs, ratio) = cell.medians();
    let (ours, theirs) = (ours / 1e6, theirs / 1e6);
    writeln!(out, "D: mt19937 {ours:.1} M/s, php_mt_seed {theirs:.1} M/s: {ratio:.2}")?;
    Ok(())
}

/// Lets the program beside this one measure plan E, with its prototype where there is one.
fn structural(sources: Option<&Path>, into: &Path, turns: usize) -> Result<(), Failed> {
    let own = env::current_exe()?.with_file_name("structural");
    if !own.is_file() {
        return Err(format!("there is no {}: build it beside", own.display()).into());
    }
    let mut program = Command::new(own);
    if let Some(sources) = sources {
        program.arg(prototypes::lattice(sources, into)?).arg(turns.to_string());
    }
    let status = program.status()?;
    if status.success() { Ok(()) } else { Err(format!("plan E ended by {status}").into()) }
}
