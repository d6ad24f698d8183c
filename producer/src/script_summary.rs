//! What `status` says of a run's script jobs.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::messages::KIND_STUDY;

use crate::{
    ledger::{Ledger, LedgerError, RunRow, ScriptRow},
    output,
    summary::RunSummary,
};

/// What is shown of a result or a failure in a table, in characters.
const SHOWN: usize = 60;

/// One script job as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScriptRecord {
    /// Its id.
    pub job: String,
    /// `waiting`, `running`, `done` or `dead`.
    pub state: String,
    /// How often it was started, as far as the ledger has heard.
    pub attempts: u32,
    /// Where it came to its last outcome.
    pub node: Option<String>,
    /// Seconds that its last child ran.
    pub seconds: Option<f64>,
    /// What it printed or wrote, if that was one small JSON value.
    pub result: Option<Value>,
    /// The files that it wrote, by their paths in the output folder.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<String>,
    /// Why those are not in the output folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// What it died of, or failed of last.
    pub failure: Option<FailureRecord>,
}

/// Why a job failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureRecord {
    /// What kind of failure, with the exit code or signal.
    pub kind: String,
    /// One line for people.
    pub detail: String,
}

impl ScriptRecord {
    /// The record of a job that runs somewhere now, or does not.
    #[must_use]
    pub fn new(row: ScriptRow, is_running: bool) -> Self {
        let state = match (&row.success, row.is_dead, is_running) {
            (Some(_), ..) => "done",
            (None, true, _) => "dead",
            (None, false, true) => "running",
            (None, false, false) => "waiting",
        };
        let (value, files) = row.success.unwrap_or_default();
        Self {
            job: row.job.id,
            state: state.to_owned(),
            attempts: row.attempts,
            node: row.node,
            seconds: row.seconds,
            result: value.and_then(|text| serde_json::from_str(&text).ok()),
            outputs: files.into_iter().map(|file| file.name).collect(),
            trouble: row.trouble,
            failure: row.failure.map(|(kind, detail)| FailureRecord { kind, detail }),
        }
    }
}

/// The first `limit` script jobs of a run; `None` for a run of anything else. `runs` says whether a
/// job is held by a worker now.
pub(crate) fn records(
    ledger: &Ledger,
    run: &RunRow,
    limit: u64,
    runs: impl Fn(&str) -> bool,
) -> Result<Option<Vec<ScriptRecord>>, LedgerError> {
    if run.manifest.as_ref().is_none_or(|manifest| manifest.scripts.is_none()) {
        return Ok(None);
    }
    let rows = ledger.scripts(run, limit)?.into_iter();
    Ok(Some(
        rows.map(|row| {
            let is_running = runs(&row.job.id);
            ScriptRecord::new(row, is_running)
        })
        .collect(),
    ))
}

/// A run of scripts in a few lines, with a table of its jobs: what is dead first, then what is not
/// done.
pub(crate) fn describe(summary: &RunSummary, records: &[ScriptRecord]) -> String {
    let jobs = &summary.jobs;
    let mut text = format!(
        "run {}: {}\nstep {}, {} of {} scripts done in {:.1} s\n\
         jobs: {} published, {} done, {} failures, {} retried, {} queued again, {} dead\n",
        summary.run,
        summary.state,
        summary.step.as_deref().unwrap_or("unknown"),
        jobs.done,
        jobs.published,
        summary.seconds,
        jobs.published,
        jobs.done,
        jobs.failed.unwrap_or_default(),
        jobs.retried,
        jobs.requeued,
        jobs.dead
    );
    if let Some(note) = &summary.note {
        text += &format!("{note}\n");
    }
    let mut sorted: Vec<&ScriptRecord> = records.iter().collect();
    sorted.sort_by_key(|record| match record.state.as_str() {
        "dead" => 0,
        "done" => 2,
        _ => 1,
    });
    let rows: Vec<[String; 6]> = sorted
        .into_iter()
        .map(|record| {
            let said = match (&record.failure, &record.result) {
                (Some(failure), _) => format!("{}: {}", failure.kind, failure.detail),
                (None, Some(result)) => result.to_string(),
                (None, None) => record.outputs.join(" "),
            };
            [
                cut(&record.job),
                record.state.clone(),
                record.attempts.to_string(),
                record.node.clone().unwrap_or_default(),
                record.seconds.map_or_else(String::new, |seconds| format!("{seconds:.1}")),
                cut(&said),
            ]
        })
        .collect();
    if !rows.is_empty() {
        text += &output::table(["job", "state", "tries", "node", "seconds", ""], &rows);
    }
    let grows = summary.kind.as_deref() == Some(KIND_STUDY);
    let more = jobs.published.saturating_sub(rows.len() as u64);
    if more > 0 && grows && !summary.is_ended() {
        text += &format!("and {more} more, or not asked for yet: --limit shows more\n");
    } else if more > 0 && !rows.is_empty() {
        text += &format!("and {more} more: --limit shows more\n");
    }
    text
}

fn cut(text: &str) -> String {
    let mut short: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN).is_some() {
        short.push('…');
    }
    short.replace("\\\"", "\"").replace("\\'", "'")
}
