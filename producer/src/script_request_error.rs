//! Why a request for scripts is refused: the first job that is wrong, and what to do.

use shared::script::InvalidScript;

use crate::{chunks::CHUNK, script_request::SAMPLE_SIZE};

/// A request for scripts that is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScriptRequestError {
    /// Nothing to do.
    #[error("there are no jobs in it")]
    NoJobs,
    /// A job without a script.
    #[error("job '{job}' names no script, and [steps.\"{step}\"] in the settings has none either")]
    NoScript {
        /// The job.
        job: String,
        /// The step.
        step: String,
    },
    /// A script that is not there.
    #[error(
        "job '{job}': none of the script folders here ({folders}) has '{script}'; [scripts] folders \
         in the settings lists them"
    )]
    Missing {
        /// The job.
        job: String,
        /// The script.
        script: String,
        /// The folders.
        folders: String,
    },
    /// A script that no worker would start.
    #[error("job '{job}': {source}")]
    Script {
        /// The job.
        job: String,
        /// Why.
        source: InvalidScript,
    },
    /// A script or an output that would leave its folder.
    #[error("job '{job}': {why}")]
    Path {
        /// The job.
        job: String,
        /// Why.
        why: String,
    },
    /// An input that can't be read, or two of one name.
    #[error("job '{job}': {why}")]
    Input {
        /// The job.
        job: String,
        /// Why.
        why: String,
    },
    /// Two jobs with one output.
    #[error("job '{job}' declares the output '{output}' of job '{other}' too")]
    SameOutput {
        /// The job.
        job: String,
        /// The job before it.
        other: String,
        /// The output.
        output: String,
    },
    /// Too long for the broker.
    #[error(
        "job '{job}' may take {most:.0} s (its timeout, admission_wait, grace and 2 min), but \
         broker.consumer_timeout is {allowed} s: raise that, here and in the broker, or lower its \
         timeout"
    )]
    TooLong {
        /// The job.
        job: String,
        /// What it may take.
        most: f64,
        /// What the broker allows.
        allowed: f64,
    },
    /// Arguments that ask for a chunk where there is none.
    #[error(
        "job '{job}': its arguments name {CHUNK}, a chunk of survivors: give those by --survivors or \
         --from-run in place of the jobs file, or the arguments in the jobs file"
    )]
    NoChunk {
        /// The job.
        job: String,
    },
    /// Survivors for a step that does not say what to do with them.
    #[error(
        "survivors are for a step whose preset takes them: [steps.\"{step}\"] in the settings \
         {lacks}; `producer config show` prints what is in force"
    )]
    Preset {
        /// The step.
        step: String,
        /// What is missing.
        lacks: &'static str,
    },
    /// Arguments that ask for a sample size where the preset has none.
    #[error(
        "job '{job}': its arguments name {SAMPLE_SIZE}, and [steps.\"{step}\"] in the settings has \
         no sample_size"
    )]
    NoSampleSize {
        /// The job.
        job: String,
        /// The step.
        step: String,
    },
}
