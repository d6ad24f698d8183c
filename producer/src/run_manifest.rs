//! A run of scripts written down beside its outputs: versions, arguments, nodes, attempts,
//! outcomes.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use serde::Serialize;
use shared::{job::Task, script::OutputFile};

use crate::{
    export::{ExportError, whole_file},
    ledger::{Attempt, Ledger, RunRow, ScriptRow},
    outputs::folder_of,
    script_summary::ScriptRecord,
};

/// `run.json`.
#[derive(Debug, Serialize)]
struct RunManifest<'a> {
    run: &'a str,
    step: Option<&'a str>,
    state: &'a str,
    /// The versions of RigQueue that asked for it and that wrote this.
    versions: Versions<'a>,
    opened_at: f64,
    ended_at: Option<f64>,
    nodes: BTreeSet<String>,
    jobs: Vec<JobRecord>,
}

#[derive(Debug, Serialize)]
struct Versions<'a> {
    producer: Option<&'a str>,
    aggregator: &'static str,
}

/// One job: what was asked, what came of it, and every try.
#[derive(Debug, Serialize)]
struct JobRecord {
    #[serde(flatten)]
    record: ScriptRecord,
    script: String,
    args: Vec<String>,
    expected_output: Option<String>,
    timeout: f64,
    memory_mb: u64,
    files: Vec<OutputFile>,
    tries: Vec<Attempt>,
}

/// Writes the manifest of a run of scripts into its output folder; `default` is the aggregator's.
///
/// # Errors
/// [`ExportError`] when the ledger can't be read or the file can't be written.
pub(crate) fn write(ledger: &Ledger, name: &str, default: &Path) -> Result<(), ExportError> {
    let Some(run) = ledger.run(name)? else { return Ok(()) };
    let path = path_of(&run, default);
    if let Some(folder) = path.parent() {
        let failed = |source| ExportError::File { path: folder.to_owned(), source };
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let manifest = run.manifest.as_ref();
    let mut jobs = Vec::new();
    for row in ledger.scripts(&run, u64::MAX)? {
        let tries = ledger.attempts(&run, &row.job.id)?;
        jobs.push(JobRecord::new(row, tries));
    }
    let tries = jobs.iter().flat_map(|job| &job.tries);
    let written = RunManifest {
        run: &run.name,
        step: manifest.map(|manifest| manifest.step.as_str()),
        state: run.state.name(),
        versions: Versions {
            producer: manifest.map(|manifest| manifest.version.as_str()),
            aggregator: env!("CARGO_PKG_VERSION"),
        },
        opened_at: run.opened_at,
        ended_at: run.ended_at,
        nodes: tries.map(|attempt| attempt.node.clone()).collect(),
        jobs,
    };
    whole_file(&path, |mut file| {
        serde_json::to_writer_pretty(&mut file, &written).map_err(io::Error::from)?;
        Ok(writeln!(file)?)
    })
}

/// `run.json` in the run's own folder; where runs share a folder, with the run's name before it.
fn path_of(run: &RunRow, default: &Path) -> PathBuf {
    let folder = folder_of(run.manifest.as_ref(), &run.name, default);
    let scripts = run.manifest.as_ref().and_then(|manifest| manifest.scripts.as_ref());
    if scripts.is_some_and(|scripts| scripts.preserve_paths) {
        folder.join(format!("{}.run.json", run.name))
    } else {
        folder.join("run.json")
    }
}

impl JobRecord {
    fn new(row: ScriptRow, tries: Vec<Attempt>) -> Self {
        let files = row.success.as_ref().map(|(_, files)| files.clone()).unwrap_or_default();
        let (script, args, expected_output) = match &row.job.task {
            Task::Script(script) => {
                (script.name.clone(), script.args.clone(), script.output.clone())
            }
            _ => Default::default(),
        };
        let (timeout, memory_mb) = (row.job.time_limit_seconds, row.job.memory_mb);
        let record = ScriptRecord::new(row, false);
        Self { record, script, args, expected_output, timeout, memory_mb, files, tries }
    }
}
