//! Where a step's survivors come from: files, or a run that has ended.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use shared::script::OutputFile;

use crate::{
    ask::Ask,
    chunks::{Chunk, ChunkError, Cutter},
    context::{Context, check_run_name},
    export::each_record,
    failure::Failure,
    ledger::{Ledger, LedgerError, RunRow},
    outputs::folder_of,
    summary::RunSummary,
};

/// Where survivors come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SurvivorSource {
    /// Files, each a JSON list of records.
    Files(Vec<PathBuf>),
    /// A search, or a run of scripts whose outputs are lists of records.
    Run(String),
}

impl SurvivorSource {
    /// All survivors in chunks of `chunk_size`, in their order.
    ///
    /// # Errors
    /// [`Failure`] when there are none, when they can't be read, or when the run has not ended.
    pub fn cut(&self, context: &Context, chunk_size: u64) -> Result<Vec<Chunk>, Failure> {
        let mut cutter = Cutter::new(chunk_size);
        let from = match self {
            Self::Files(files) => {
                files.iter().try_for_each(|file| cutter.push_file(file))?;
                let names: Vec<String> =
                    files.iter().map(|file| format!("'{}'", file.display())).collect();
                names.join(", ")
            }
            Self::Run(run) => {
                check_run_name(run)?;
                push_run(&mut cutter, context, run)?;
                format!("the run {run}")
            }
        };
        Ok(cutter.end(&from)?)
    }
}

fn push_run(cutter: &mut Cutter, context: &Context, name: &str) -> Result<(), Failure> {
    let Some(server) = &context.server else {
        let (ledger, run) = context.find_run(name)?;
        refuse_unfinished(name, run.state.name())?;
        return if run.manifest.as_ref().is_some_and(|manifest| manifest.scripts.is_some()) {
            push_outputs(cutter, &context.home, &ledger, &run)
        } else {
            each_record(&ledger, &run, |record| cutter.push(&record).map_err(Cut::Chunk))
                .map_err(Into::into)
        };
    };
    let about: RunSummary = context.ask(&Ask::Status { run: name.to_owned(), limit: 0 })?;
    refuse_unfinished(name, &about.state)?;
    if about.results.is_some() {
        return Err(Failure::usage(format!(
            "the outputs of the scripts of {name} are on the machine with the ledger: run this \
             there, or copy them here and give them as --survivors"
        )));
    }
    Ok(cutter.push_list(server.survivors(name, "json")?, &format!("the run {name}"))?)
}

/// A later step works on all of an earlier one.
fn refuse_unfinished(run: &str, state: &str) -> Result<(), Failure> {
    if state == "complete" {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "the run {run} is {state}, and --from-run wants all of it: wait for its end (`producer \
         status {run} --watch`), or export what there is and give that as --survivors"
    )))
}

/// Takes the records in a run's output files, in the order of its jobs.
fn push_outputs(
    cutter: &mut Cutter,
    home: &Path,
    ledger: &Ledger,
    run: &RunRow,
) -> Result<(), Failure> {
    let folder = folder_of(run.manifest.as_ref(), &run.name, &home.join("outputs"));
    for script in ledger.scripts(run, u64::MAX)? {
        // A sidecar lies behind the file that it is about.
        let files = script.success.map(|(_, files)| files).unwrap_or_default();
        let Some(OutputFile { name, .. }) = files.first() else { continue };
        let path = folder.join(name);
        let file = File::open(&path).map_err(|error| {
            Failure::usage(format!(
                "the output {} of {} can't be read: {error}; if the outputs were written or moved \
                 elsewhere, give them as --survivors",
                path.display(),
                run.name
            ))
        })?;
        cutter.push_list(file, &format!("'{}'", path.display()))?;
    }
    Ok(())
}

/// What can go wrong with a record on its way out of the ledger.
enum Cut {
    Chunk(ChunkError),
    Ledger(LedgerError),
}

impl From<LedgerError> for Cut {
    fn from(error: LedgerError) -> Self {
        Self::Ledger(error)
    }
}

impl From<Cut> for Failure {
    fn from(cut: Cut) -> Self {
        match cut {
            Cut::Chunk(error) => error.into(),
            Cut::Ledger(error) => error.into(),
        }
    }
}

impl From<ChunkError> for Failure {
    fn from(error: ChunkError) -> Self {
        Self::usage(error)
    }
}
