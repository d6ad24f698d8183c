//! The options of the script steps, as they are written on the command line.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::{
    context::Context,
    failure::Failure,
    jobs_file,
    script_request::{ScriptOptions, ScriptRequestError, ScriptRun},
    sieve_args::SieveArgs,
    staged,
    survivor_source::SurvivorSource,
};

/// The steps that run scripts.
pub const SCRIPT_STEPS: [&str; 4] = ["2.5", "3", "4", "5"];

/// The options of `--step 2.5`, `3`, `4` and `5`; `--arch`, `--urgency`, `--max-dead` and
/// `--max-attempts` are those of the searches.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct ScriptArgs {
    /// Script jobs, as {"jobs": [{"job_id", "script", "args", "expected_output", …}]} or a bare list
    #[arg(long, value_name = "FILE", help_heading = "Scripts")]
    pub jobs_file: Option<PathBuf>,
    /// Survivors, as `export --format json` writes them: the step's script for each chunk of them
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with = "jobs_file",
        help_heading = "Scripts")]
    pub survivors: Vec<PathBuf>,
    /// The survivors of a complete search, or the records that the scripts of a complete run wrote
    #[arg(long, value_name = "RUN", conflicts_with_all = ["jobs_file", "survivors"],
        help_heading = "Scripts")]
    pub from_run: Option<String>,
    /// Put outputs into --output-dir itself, not into a folder of the run's name inside it
    #[arg(long, requires = "output_dir", help_heading = "Scripts")]
    pub preserve_paths: bool,
}

/// Where a run of scripts takes its jobs from.
enum Jobs {
    File(PathBuf),
    Over(SurvivorSource),
}

impl ScriptArgs {
    /// Where the jobs come from, and the option that says so.
    fn jobs(&self) -> Option<(Jobs, &'static str)> {
        let file = self.jobs_file.clone().map(|path| (Jobs::File(path), "--jobs-file"));
        let run = || {
            let run = SurvivorSource::Run(self.from_run.clone()?);
            Some((Jobs::Over(run), "--from-run"))
        };
        let files = || {
            let files = SurvivorSource::Files(self.survivors.clone());
            (!self.survivors.is_empty()).then_some((Jobs::Over(files), "--survivors"))
        };
        file.or_else(run).or_else(files)
    }
}

/// What a step is asked with: `None` for a search, or the run of scripts.
///
/// # Errors
/// [`Failure`] when options of one are given for the other, or the jobs are refused.
pub fn resolve(
    step: &str,
    scripts: &ScriptArgs,
    sieve: &SieveArgs,
    output_dir: Option<&Path>,
    context: &Context,
) -> Result<Option<ScriptRun>, Failure> {
    let settings = &context.settings;
    let is_script = SCRIPT_STEPS.contains(&step);
    let Some((jobs, option)) = scripts.jobs() else {
        if is_script {
            return Err(Failure::usage(format!(
                "--step {step} needs its jobs: --jobs-file FILE, or survivors to run the step's \
                 script over by --from-run RUN or --survivors FILE"
            )));
        }
        if scripts.preserve_paths {
            return Err(Failure::usage("--preserve-paths is for the outputs of script steps"));
        }
        return Ok(None);
    };
    if !is_script {
        let steps = SCRIPT_STEPS.join(", ");
        return Err(Failure::usage(format!(
            "{option} is for the script steps: --step is {step}; it must be one of {steps}"
        )));
    }
    if sieve.draws.is_some() || sieve.family.is_some() || sieve.candidates.is_some() {
        return Err(Failure::usage(format!(
            "--draws, --family and --candidates are for --step 2; --step {step} takes its jobs from \
             {option}"
        )));
    }
    let output_dir = output_dir.map(std::path::absolute).transpose().map_err(Failure::usage)?;
    if let Some(dir) = output_dir.as_ref().filter(|dir| dir.to_str().is_none()) {
        return Err(Failure::usage(format!("{} is not UTF-8", dir.display())));
    }
    let max_attempts = u32::try_from(sieve.max_attempts).ok().filter(|tries| *tries > 0);
    let options = ScriptOptions {
        step: step.to_owned(),
        arch: sieve.arch.asked(),
        urgency: sieve.urgency,
        max_dead: sieve.max_dead,
        max_attempts: max_attempts.ok_or_else(|| {
            Failure::usage(format!(
                "--max-attempts is {}; it must be at least 1",
                sieve.max_attempts
            ))
        })?,
        output_dir,
        preserve_paths: scripts.preserve_paths,
        staged: staged::for_step(context, step, settings.steps.get(step))?,
    };
    let run = match jobs {
        Jobs::File(path) => {
            let entries = jobs_file::read(&path).map_err(Failure::usage)?;
            ScriptRun::new(entries, options, settings)?
        }
        Jobs::Over(survivors) => {
            ScriptRun::over(options, settings, |size| survivors.cut(context, size))?
        }
    };
    Ok(Some(run))
}

impl From<ScriptRequestError> for Failure {
    fn from(error: ScriptRequestError) -> Self {
        Self::usage(error)
    }
}
