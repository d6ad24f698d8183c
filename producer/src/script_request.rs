//! From a jobs file, a step's preset and the command line to a run of script jobs.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path, PathBuf},
};

use shared::{
    input::{Input, STAGED, StagedSet},
    job::{Arch, Engine, Job, Task, Urgency},
    messages::{MAX_PART_BYTES, MaxDead, RunOpened, RunPart, ScriptOutputs},
    script::{InvalidPath, OUTPUT, Script, check_path, sidecar},
    settings::{Settings, StepPreset},
    spans::Span,
    wire::Wire as _,
};

use crate::{
    aggregate::now,
    chunks::{CHUNK, Chunk},
    jobs_file::{Entry, MAX_TIMEOUT},
    local_files::LocalFiles,
};

pub use crate::script_request_error::ScriptRequestError;

/// What a step's arguments say in place of its preset's `sample_size`.
pub const SAMPLE_SIZE: &str = "{sample_size}";
/// A script without a time limit of its own or its preset's is ended after so many seconds.
pub(crate) const DEFAULT_TIMEOUT: f64 = 2.0 * 3600.0;

/// What is asked of a run beside its jobs.
#[derive(Debug, Clone)]
pub struct ScriptOptions {
    /// The pipeline step: `2.5`, `3`, `4` or `5`.
    pub step: String,
    /// The only architecture that its jobs run on, unless they say so themselves.
    pub arch: Option<Arch>,
    /// How soon.
    pub urgency: Urgency,
    /// How many dead jobs it survives.
    pub max_dead: MaxDead,
    /// How often a job may be tried.
    pub max_attempts: u32,
    /// Where its outputs belong, absolute.
    pub output_dir: Option<PathBuf>,
    /// Whether they lie in that folder itself.
    pub preserve_paths: bool,
    /// The files that are staged for the step: jobs carry them that name them, or whose preset does.
    pub staged: Option<StagedSet>,
}

/// A run of script jobs, ready to be published.
#[derive(Debug, Clone)]
pub struct ScriptRun {
    /// What was asked.
    pub options: ScriptOptions,
    /// The jobs, in the file's order; their run is named when they are published.
    pub jobs: Vec<Job>,
    /// The chunks that they work on, to be kept where workers find them.
    pub chunks: Vec<Chunk>,
    /// Their places in the file's list.
    requested: Span,
    /// What its jobs read on this machine: to be kept before they are published.
    pub files: LocalFiles,
    /// What people should know before it is published.
    pub notes: Vec<String>,
}

impl ScriptRun {
    /// Resolves and checks everything, so that nothing is published of a run that can't work.
    ///
    /// # Errors
    /// [`ScriptRequestError`] names the first job that is wrong.
    pub fn new(
        entries: Vec<Entry>,
        options: ScriptOptions,
        settings: &Settings,
    ) -> Result<Self, ScriptRequestError> {
        let preset = settings.steps.get(&options.step);
        let folders = Folders::of(settings);
        let mut outputs: BTreeMap<String, String> = BTreeMap::new();
        let mut jobs = Vec::with_capacity(entries.len());
        let mut wishes = BTreeSet::new();
        let mut files = LocalFiles::default();
        for (index, entry) in (0u64..).zip(entries) {
            wishes.extend(entry.gpu);
            let mut inputs = files
                .inputs(&entry.inputs)
                .map_err(|why| ScriptRequestError::Input { job: entry.id.clone(), why })?;
            inputs.extend(entry.chunk.clone());
            let script = script((index, inputs), &entry, &options, preset)?;
            folders.check(&entry.id, &script.name)?;
            // An output's sidecar goes where it goes, and must not be another job's output.
            for output in script.output.iter().flat_map(|name| [name.clone(), sidecar(name)]) {
                if let Some(other) = outputs.insert(output.clone(), entry.id.clone()) {
                    return Err(ScriptRequestError::SameOutput { job: entry.id, other, output });
                }
            }
            let job = job(entry, script, &options, preset);
            check_consumer_timeout(settings, &job)?;
            jobs.push(job);
        }
        let mut notes = Vec::new();
        if folders.0.is_empty() {
            notes.push(
                "[scripts] folders is empty here: whether the scripts are there is for the \
                        workers to say"
                    .to_owned(),
            );
        }
        if preset.is_some_and(|preset| !preset.preload.is_empty()) {
            notes.push("preload has no effect yet: every script starts cold".to_owned());
        }
        if !wishes.is_empty() {
            notes.push(
                "gpu_id is a wish: a job runs on whichever device is free, and sees it as \
                        device 0"
                    .to_owned(),
            );
        }
        let requested = Span::half_open(0, jobs.len() as u128).ok_or(ScriptRequestError::NoJobs)?;
        Ok(Self { options, jobs, chunks: Vec::new(), requested, files, notes })
    }

    /// The run of a step over survivors: its preset's script once for each chunk, which `cut` makes
    /// of the preset's `chunk_size`.
    ///
    /// # Errors
    /// [`ScriptRequestError`], or that of `cut`.
    pub fn over<E: From<ScriptRequestError>>(
        options: ScriptOptions,
        settings: &Settings,
        cut: impl FnOnce(u64) -> Result<Vec<Chunk>, E>,
    ) -> Result<Self, E> {
        let step = options.step.clone();
        let lacks = |lacks| ScriptRequestError::Preset { step: step.clone(), lacks };
        let Some(preset) = settings.steps.get(&options.step) else {
            return Err(lacks("is not there").into());
        };
        let asks = |what: &str| preset.args.iter().any(|arg| arg.contains(what));
        if !asks(CHUNK) {
            return Err(lacks("has no argument {chunk}").into());
        }
        let size = preset.chunk_size.filter(|size| *size > 0);
        let chunks = cut(size.ok_or_else(|| lacks("has no chunk_size"))?)?;
        let writes = asks(OUTPUT);
        let entries = chunks.iter().map(|chunk| Entry::over(chunk, writes)).collect();
        Ok(Self { chunks, ..Self::new(entries, options, settings)? })
    }

    /// The manifest of the run called `run`.
    #[must_use]
    pub fn manifest(&self, run: &str, parts: usize) -> RunOpened {
        let options = &self.options;
        let dir = options.output_dir.as_ref().map(|dir| dir.display().to_string());
        RunOpened {
            run: run.to_owned(),
            epoch: 1,
            step: options.step.clone(),
            kind: "script".to_owned(),
            sieve: None,
            statistics: None,
            scripts: Some(ScriptOutputs { dir, preserve_paths: options.preserve_paths }),
            requested: self.requested,
            samples: Vec::new(),
            parts: u32::try_from(parts).unwrap_or(u32::MAX),
            jobs: self.jobs.len() as u64,
            expected_by_chance: 0.0,
            expected_error: None,
            expected_method: "none".to_owned(),
            engine: Engine::Auto,
            arch: options.arch,
            chunk: None,
            urgency: options.urgency,
            max_attempts: options.max_attempts,
            target_seconds: 0.0,
            max_dead: options.max_dead,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            opened_at: now(),
        }
    }

    /// The jobs of the run called `run`.
    pub fn jobs<'a>(&'a self, run: &'a str) -> impl Iterator<Item = Job> + 'a {
        self.jobs.iter().map(move |job| Job { run: run.to_owned(), ..job.clone() })
    }

    /// The jobs in parts for the ledger, none of them much larger than
    /// [`MAX_PART_BYTES`].
    #[must_use]
    pub fn parts(&self, run: &str) -> Vec<RunPart> {
        let mut parts: Vec<RunPart> = Vec::new();
        let mut room = 0;
        for (first_index, job) in (0u64..).zip(self.jobs(run)) {
            let size = job.to_body().map_or(MAX_PART_BYTES, |body| body.len());
            match parts.last_mut().filter(|_| size <= room) {
                Some(part) => part.jobs.push(job),
                None => {
                    room = MAX_PART_BYTES.max(size);
                    parts.push(RunPart {
                        run: run.to_owned(),
                        part: u32::try_from(parts.len()).unwrap_or(u32::MAX),
                        first_index,
                        seeds: Vec::new(),
                        jobs: vec![job],
                    });
                }
            }
            room -= size;
        }
        parts
    }

    /// How many jobs there are of each queue and script, for a dry run.
    #[must_use]
    pub fn distribution(&self) -> BTreeMap<(String, String), u64> {
        let mut counts = BTreeMap::new();
        for job in &self.jobs {
            let Task::Script(script) = &job.task else { continue };
            *counts.entry((job.queue(), script.name.clone())).or_default() += 1;
        }
        counts
    }

    /// The staged files that its jobs need.
    pub fn staged_files(&self) -> impl Iterator<Item = &Input> {
        let needs =
            |job: &Job| matches!(&job.task, Task::Script(script) if script.staged.is_some());
        let needed = self.options.staged.as_ref().filter(|_| self.jobs.iter().any(needs));
        needed.into_iter().flat_map(|set| &set.files)
    }

    /// Whether any job writes a file.
    #[must_use]
    pub fn has_outputs(&self) -> bool {
        let writes = |job: &Job| matches!(&job.task, Task::Script(s) if s.output.is_some());
        self.jobs.iter().any(writes)
    }
}

/// The script folders of this machine.
pub(crate) struct Folders(Vec<PathBuf>);

impl Folders {
    /// As the settings say.
    pub(crate) fn of(settings: &Settings) -> Self {
        Self(settings.scripts.folders.iter().map(PathBuf::from).collect())
    }

    /// Refuses a script that can be seen to be missing: where a folder is configured and is here.
    pub(crate) fn check(&self, job: &str, script: &str) -> Result<(), ScriptRequestError> {
        let missing = self.0.iter().all(|folder| folder.is_dir() && !folder.join(script).is_file());
        if self.0.is_empty() || !missing {
            return Ok(());
        }
        let folders: Vec<String> = self.0.iter().map(|f| f.display().to_string()).collect();
        Err(ScriptRequestError::Missing {
            job: job.to_owned(),
            script: script.to_owned(),
            folders: folders.join(", "),
        })
    }
}

fn script(
    (index, inputs): (u64, Vec<Input>),
    entry: &Entry,
    options: &ScriptOptions,
    preset: Option<&StepPreset>,
) -> Result<Script, ScriptRequestError> {
    let job = || entry.id.clone();
    let path =
        |invalid: InvalidPath| ScriptRequestError::Path { job: job(), why: invalid.to_string() };
    let of_preset = preset.map(|preset| preset.script.clone()).filter(|name| !name.is_empty());
    let name = entry.script.clone().or(of_preset);
    let name = name
        .ok_or_else(|| ScriptRequestError::NoScript { job: job(), step: options.step.clone() })?;
    check_path("script", &name).map_err(path)?;
    let args = entry.args.clone().or_else(|| preset.map(|preset| preset.args.clone()));
    let args = args.unwrap_or_default();
    let args = filled(args, entry, options, preset)?;
    let output = entry.output.as_deref().map(|declared| inside(entry, declared, options));
    let output = output.transpose()?;
    let declared = entry.output.clone().filter(|declared| Some(declared) != output.as_ref());
    let needs_set = preset.is_some_and(|preset| !preset.inputs.is_empty())
        || args.iter().any(|arg| arg.contains(STAGED));
    let staged = options.staged.clone().filter(|_| needs_set);
    let script = Script {
        index,
        name,
        args,
        output,
        declared,
        anywhere: entry.arch.or(options.arch).is_none(),
        gpu: entry.gpu,
        step: options.step.clone(),
        concurrency: preset.and_then(|preset| preset.concurrency),
        inputs,
        staged,
    };
    let checked = script.validate();
    checked.map_err(|source| ScriptRequestError::Script { job: job(), source })?;
    Ok(script)
}

/// Arguments with everything in place of what stands for it that is known before it runs.
fn filled(
    args: Vec<String>,
    entry: &Entry,
    options: &ScriptOptions,
    preset: Option<&StepPreset>,
) -> Result<Vec<String>, ScriptRequestError> {
    let chunk = entry.chunk.as_ref().map(Input::placeholder);
    let sample_size = preset.and_then(|preset| preset.sample_size).map(|size| size.to_string());
    let fill = |arg: String| {
        let arg = match &chunk {
            Some(chunk) => arg.replace(CHUNK, chunk),
            None if arg.contains(CHUNK) => {
                return Err(ScriptRequestError::NoChunk { job: entry.id.clone() });
            }
            None => arg,
        };
        match &sample_size {
            Some(size) => Ok(arg.replace(SAMPLE_SIZE, size)),
            None if arg.contains(SAMPLE_SIZE) => {
                let (job, step) = (entry.id.clone(), options.step.clone());
                Err(ScriptRequestError::NoSampleSize { job, step })
            }
            None => Ok(arg),
        }
    };
    args.into_iter().map(fill).collect()
}

/// The path of a declared output inside the output folder.
fn inside(
    entry: &Entry,
    declared: &str,
    options: &ScriptOptions,
) -> Result<String, ScriptRequestError> {
    let refuse = |why: String| ScriptRequestError::Path { job: entry.id.clone(), why };
    let path = Path::new(declared);
    let relative = if path.is_absolute() {
        let Some(dir) = &options.output_dir else {
            return Err(refuse(format!(
                "its expected_output '{}' is absolute: give the folder that it lies in as \
                 --output-dir",
                declared.escape_debug()
            )));
        };
        path.strip_prefix(dir).map_err(|_| {
            refuse(format!(
                "its expected_output '{}' lies outside of the output folder {}",
                declared.escape_debug(),
                dir.display()
            ))
        })?
    } else {
        path
    };
    // `./a.json` is `a.json`.
    let plain: PathBuf =
        relative.components().filter(|part| !matches!(part, Component::CurDir)).collect();
    let plain = plain.to_str().unwrap_or_default().to_owned();
    check_path("expected_output", &plain).map_err(|invalid| refuse(invalid.to_string()))?;
    Ok(plain)
}

fn job(entry: Entry, script: Script, options: &ScriptOptions, preset: Option<&StepPreset>) -> Job {
    let timeout = entry.timeout.or_else(|| preset?.timeout.map(|timeout| timeout.0));
    let timeout = timeout.filter(|&seconds| seconds > 0.0).unwrap_or(DEFAULT_TIMEOUT);
    Job {
        run: String::new(),
        epoch: 1,
        id: entry.id,
        seq: 1,
        task: Task::Script(script),
        // Of one that runs anywhere nobody asks.
        arch: entry.arch.or(options.arch).unwrap_or(Arch::Cpu),
        urgency: options.urgency,
        engine: Engine::Auto,
        attempt: 1,
        max_attempts: options.max_attempts,
        starts: 0,
        refused_by: Vec::new(),
        failed_on: Vec::new(),
        time_limit_seconds: timeout.min(MAX_TIMEOUT),
        soft_seconds: timeout.min(MAX_TIMEOUT),
        memory_mb: entry.memory_mb.or_else(|| preset?.memory_mb).unwrap_or(0),
    }
}

/// A job must end before the broker takes its delivery back.
pub(crate) fn check_consumer_timeout(
    settings: &Settings,
    job: &Job,
) -> Result<(), ScriptRequestError> {
    let most = settings.longest_held(job.time_limit_seconds);
    let allowed = settings.broker.consumer_timeout.0;
    if most < allowed {
        return Ok(());
    }
    Err(ScriptRequestError::TooLong { job: job.id.clone(), most, allowed })
}

#[cfg(test)]
#[path = "script_request_tests.rs"]
mod tests;
