//! Staged sets, and which files anything still needs.

use std::collections::BTreeSet;

use rusqlite::params;
use shared::{
    input::{Input, StagedSet},
    job::{Job, Task},
    wire::Wire as _,
};

use super::{
    open::{Ledger, LedgerError},
    scripts::files_of,
};

fn inputs(step: &str, bytes: &[u8]) -> Result<Vec<Input>, LedgerError> {
    rmp_serde::from_slice(bytes)
        .map_err(|error| LedgerError::Corrupt(format!("the staged set of step {step}: {error}")))
}

impl Ledger {
    /// The set that every node is to have staged for each step.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be read.
    pub fn staged(&self) -> Result<Vec<StagedSet>, LedgerError> {
        self.db
            .prepare_cached("SELECT step, files FROM staged_sets ORDER BY step")?
            .query_and_then([], |row| {
                let (step, files): (String, Vec<u8>) = (row.get(0)?, row.get(1)?);
                Ok(StagedSet { files: inputs(&step, &files)?, step })
            })?
            .collect()
    }

    /// Writes a step's set in place of the one before.
    ///
    /// # Errors
    /// [`LedgerError`] when the set makes no sense, or the ledger can't be written.
    pub fn stage(&mut self, set: &StagedSet, now: f64) -> Result<(), LedgerError> {
        set.validate().map_err(|why| LedgerError::Refused(why.to_string()))?;
        let files = rmp_serde::to_vec_named(&set.files)
            .map_err(|error| LedgerError::Refused(error.to_string()))?;
        self.db.execute(
            "INSERT INTO staged_sets (step, files, at) VALUES (?1, ?2, ?3)
             ON CONFLICT (step) DO UPDATE SET files = ?2, at = ?3",
            params![set.step, files, now],
        )?;
        Ok(())
    }

    /// Forgets a step's set; whether there was one.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be written.
    pub fn unstage(&mut self, step: &str) -> Result<bool, LedgerError> {
        Ok(self.db.execute("DELETE FROM staged_sets WHERE step = ?1", [step])? > 0)
    }

    /// The hashes of all files that a job of an open run reads, that are staged, or that wait to be
    /// put in place.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be read.
    pub fn needed_files(&self) -> Result<BTreeSet<String>, LedgerError> {
        let mut needed: BTreeSet<String> =
            self.staged()?.into_iter().flat_map(|set| set.files).map(|file| file.blake3).collect();
        let mut jobs = self.db.prepare_cached(
            "SELECT j.body FROM script_jobs j JOIN runs ON runs.id = j.run
             WHERE runs.state IN ('open', 'paused')",
        )?;
        let mut jobs = jobs.query([])?;
        while let Some(row) = jobs.next()? {
            let body: Vec<u8> = row.get(0)?;
            let job = Job::from_body(&body)
                .map_err(|error| LedgerError::Corrupt(format!("a script job: {error}")))?;
            if let Task::Script(script) = job.task {
                let staged = script.staged.into_iter().flat_map(|set| set.files);
                needed.extend(script.inputs.into_iter().chain(staged).map(|file| file.blake3));
            }
        }
        let mut files = self
            .db
            .prepare_cached("SELECT job, files FROM script_results WHERE placed_at IS NULL")?;
        let mut files = files.query([])?;
        while let Some(row) = files.next()? {
            let (job, bytes): (String, Vec<u8>) = (row.get(0)?, row.get(1)?);
            needed.extend(files_of(&job, &bytes)?.into_iter().map(|file| file.blake3));
        }
        Ok(needed)
    }
}
