//! The prototypes behind SIEVES.md, which are not in this repository: built by g++ from a folder
//! and run beside our engines. They count processor time themselves.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use kernels::engine::Instructions;
use shared::{families::Family, plans::Plan};

use crate::Failed;

/// The prototypes, built for one instruction set.
#[derive(Debug)]
pub(crate) struct Prototypes {
    scan: PathBuf,
    scan3: PathBuf,
}

/// How `scan.cpp` numbers the families of which it has the best prototype.
const NUMBERED: [(Family, &str); 4] = [
    (Family::Xorshift32, "5"),
    (Family::JavaLcg, "1"),
    (Family::Minstd, "2"),
    (Family::Lcg32, "4"),
];

/// A rate that `scan3` printed: family, plan, seeds a second.
pub(crate) type Printed = (String, &'static str, f64);

impl Prototypes {
    /// Builds them, unless they are newer than their sources; `None` for an instruction set that
    /// they are not written for.
    pub(crate) fn build(
        sources: &Path,
        into: &Path,
        instructions: Instructions,
    ) -> Result<Option<Self>, Failed> {
        let (vector, machine) = match instructions {
            Instructions::Avx512 => ("-DV=16", "-march=native"),
            Instructions::Avx2 => ("-DV=8", "-march=haswell"),
            Instructions::Baseline => return Ok(None),
        };
        let build = |name| compile(sources, into, name, &[vector, machine]);
        Ok(Some(Self { scan: build("scan")?, scan3: build("scan3")? }))
    }

    /// Seeds a second of `scan` on a plan, over about so many seeds; `None` where it has none.
    pub(crate) fn scan(
        &self,
        plan: &Plan,
        family: Family,
        seeds: f64,
    ) -> Result<Option<f64>, Failed> {
        let Some((_, number)) = NUMBERED.iter().find(|(known, _)| *known == family) else {
            return Ok(None);
        };
        // Whole blocks of its largest, with which Gray codes go.
        let seeds = ((seeds / 1024.0) as u64 + 1) * 1024;
        let threshold = f64::from(plan.need) / f64::from(plan.window);
        let arguments = [
            (*number).to_owned(),
            // Just below, so that the need is rounded up to ours.
            (threshold - 1e-6).to_string(),
            seeds.to_string(),
            plan.window.to_string(),
            plan.last_skip.to_string(),
            plan.advance.to_string(),
        ];
        let text = run(&self.scan, &arguments)?;
        Ok(Some(number_before(&text, " M seeds/s").ok_or(text)? * 1e6))
    }

    /// Everything that `scan3` measures by itself: plans A.25, A1 and B of the other families.
    pub(crate) fn scan3(&self) -> Result<Vec<Printed>, Failed> {
        let text = run(&self.scan3, &[])?;
        let line = |line: &str| {
            let rate = number_before(line, " M seeds/s")? * 1e6;
            let plan = match (line.contains("K=8 "), line.contains("thr 1.00")) {
                (true, _) => "B",
                (false, true) => "A1",
                (false, false) => "A.25",
            };
            Some((line.split(' ').next()?.to_owned(), plan, rate))
        };
        Ok(text.lines().filter_map(line).collect())
    }
}

/// Builds the structural prototype, which is written for AVX-512 alone.
pub(crate) fn lattice(sources: &Path, into: &Path) -> Result<PathBuf, Failed> {
    compile(sources, into, "jlattice", &["-march=native"])
}

fn compile(sources: &Path, into: &Path, name: &str, flags: &[&str]) -> Result<PathBuf, Failed> {
    let source = sources.join(name).with_extension("cpp");
    let program = into.join(format!("{name}{}", flags.concat()));
    let made = |path: &Path| path.metadata().and_then(|about| about.modified());
    let changed = made(&source).map_err(|error| format!("{}: {error}", source.display()))?;
    if made(&program).is_ok_and(|made| made > changed) {
        return Ok(program);
    }
    std::fs::create_dir_all(into)?;
    let mut compiler = Command::new("g++");
    compiler.args(["-O3", "-w"]).args(flags).arg("-o").arg(&program).arg(&source);
    let output = compiler.output().map_err(|error| format!("g++: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let first = said.lines().find(|line| line.contains("error")).unwrap_or_default();
        return Err(format!("g++ can't build {}: {first}", source.display()).into());
    }
    Ok(program)
}

fn run(program: &Path, arguments: &[String]) -> Result<String, Failed> {
    let output = Command::new(program).args(arguments).output()?;
    if !output.status.success() {
        return Err(format!("{} ended by {}", program.display(), output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// The number that stands before some words.
pub(crate) fn number_before(text: &str, words: &str) -> Option<f64> {
    text.split(words).next()?.split_whitespace().last()?.parse().ok()
}
