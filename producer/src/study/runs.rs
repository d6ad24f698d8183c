//! The runs of a study: each a list of places that fills while the study goes on.

use std::{collections::BTreeSet, path::Path};

use shared::{
    broker::Broker,
    input::Input,
    job::{Engine, Job, Task},
    messages::{KIND_STUDY, MaxDead, RunOpened, RunPart, ScriptOutputs},
    script::Script,
    settings::Settings,
    spans::Span,
    topology, wire,
};

use super::{
    request::{Kind, StudyRequest},
    trial::Trial,
};
use crate::{
    aggregate::now,
    commands::{
        publish::{publish_run, ring},
        run::absolute,
    },
    failure::Failure,
    jobs_file::MAX_TIMEOUT,
    script_request::{DEFAULT_TIMEOUT, Folders, check_consumer_timeout},
};

/// What survivors and draws are called in a trial's arguments.
pub(super) const SURVIVORS: &str = "survivors.json";
pub(super) const DRAWS: &str = "draws.json";

/// The name of a study's first run.
pub(super) fn first_run(study: &str) -> String {
    format!("study-{study}")
}

/// The manifest of a study's next run, of `places` trials.
pub(super) fn manifest(
    request: &StudyRequest,
    known: &[RunOpened],
    places: u64,
) -> Result<RunOpened, Failure> {
    let first = first_run(&request.name);
    let run = if known.is_empty() { first } else { format!("{first}.{}", known.len() + 1) };
    let dir = request.output_dir.as_deref().map(absolute).transpose()?;
    let requested = Span::half_open(0, places.into())
        .ok_or_else(|| Failure::internal("a run of a study without a trial"))?;
    Ok(RunOpened {
        run,
        epoch: 1,
        step: request.kind.step().to_owned(),
        kind: KIND_STUDY.to_owned(),
        sieve: None,
        statistics: None,
        scripts: Some(ScriptOutputs { dir, preserve_paths: false }),
        requested,
        samples: Vec::new(),
        parts: u32::try_from(places).unwrap_or(u32::MAX),
        jobs: places,
        expected_by_chance: 0.0,
        expected_error: None,
        expected_method: "none".to_owned(),
        engine: Engine::Auto,
        arch: request.arch,
        chunk: None,
        urgency: request.urgency,
        max_attempts: request.max_attempts,
        target_seconds: 0.0,
        // A trial that fails is a trial.
        max_dead: MaxDead::Percent(100.0),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        opened_at: now(),
    })
}

/// Publishes a run's manifest.
pub(super) async fn open(broker: &dyn Broker, manifest: RunOpened) -> Result<(), Failure> {
    let queues: BTreeSet<String> = topology::script_queues(manifest.urgency).into_iter().collect();
    let first = (topology::RESULTS_SCRIPT, manifest, Vec::new());
    publish_run(broker, first, std::iter::empty(), queues).await
}

/// What trials are made of, beside their parameters.
#[derive(Debug)]
pub(super) struct Jobs<'a> {
    request: &'a StudyRequest,
    settings: &'a Settings,
    inputs: Vec<Input>,
}

impl<'a> Jobs<'a> {
    /// Trials over these inputs.
    ///
    /// # Errors
    /// [`Failure`] when their script can be seen to be missing, or may take longer than the broker
    /// allows.
    pub(super) fn new(
        request: &'a StudyRequest,
        settings: &'a Settings,
        inputs: Vec<Input>,
    ) -> Result<Self, Failure> {
        let jobs = Self { request, settings, inputs };
        let folders = Folders::of(settings);
        folders.check("of a trial", jobs.script()).map_err(Failure::usage)?;
        Ok(jobs)
    }

    fn script(&self) -> &str {
        let preset = self.settings.steps.get(self.request.kind.step());
        let named = preset.map(|preset| preset.script.as_str()).filter(|name| !name.is_empty());
        named.unwrap_or_else(|| self.request.kind.script())
    }

    /// A trial's job.
    ///
    /// # Errors
    /// [`Failure`] when it makes no sense.
    pub(super) fn of(&self, trial: &Trial, epoch: u32) -> Result<Job, Failure> {
        self.job(trial, epoch, self.request.save_all_models)
    }

    /// The same with its model saved.
    ///
    /// # Errors
    /// As [`Self::of`].
    pub(super) fn saving(&self, trial: &Trial, epoch: u32) -> Result<Job, Failure> {
        self.job(trial, epoch, true)
    }

    fn job(&self, trial: &Trial, epoch: u32, saves: bool) -> Result<Job, Failure> {
        let preset = self.settings.steps.get(self.request.kind.step());
        let about = &trial.about;
        let mut args = vec![
            "--survivors".to_owned(),
            shared::input::placeholder(SURVIVORS),
            "--draws".to_owned(),
            shared::input::placeholder(DRAWS),
        ];
        let mut add = |name: &str, value: String| args.extend([name.to_owned(), value]);
        if self.request.kind == Kind::Compare {
            add("--model", about.model.clone());
        }
        add("--params", serde_json::to_string(&trial.params)?);
        add("--seed", about.seed.to_string());
        if let Some(size) = preset.and_then(|preset| preset.sample_size) {
            add("--sample-size", size.to_string());
        }
        args.extend(self.request.script_args.iter().cloned());
        if saves {
            args.extend(["--save".to_owned(), shared::script::OUTPUT.to_owned()]);
        }
        let script = Script {
            index: about.place,
            name: self.script().to_owned(),
            args,
            output: saves.then(|| format!("{}.model", about.job)),
            declared: None,
            anywhere: self.request.arch.is_none(),
            gpu: None,
            step: self.request.kind.step().to_owned(),
            concurrency: preset.and_then(|preset| preset.concurrency),
            inputs: self.inputs.clone(),
            staged: None,
        };
        let timeout = preset.and_then(|preset| preset.timeout).map(|timeout| timeout.0);
        let timeout = timeout.filter(|&seconds| seconds > 0.0).unwrap_or(DEFAULT_TIMEOUT);
        let job = Job {
            run: about.run.clone(),
            epoch,
            id: about.job.clone(),
            seq: 1,
            task: Task::Script(script),
            arch: self.request.arch.unwrap_or(shared::job::Arch::Cpu),
            urgency: self.request.urgency,
            engine: Engine::Auto,
            attempt: 1,
            max_attempts: self.request.max_attempts,
            starts: 0,
            refused_by: Vec::new(),
            failed_on: Vec::new(),
            time_limit_seconds: timeout.min(MAX_TIMEOUT),
            soft_seconds: timeout.min(MAX_TIMEOUT),
            memory_mb: preset.and_then(|preset| preset.memory_mb).unwrap_or(0),
        };
        job.validate().map_err(Failure::usage)?;
        check_consumer_timeout(self.settings, &job).map_err(Failure::usage)?;
        Ok(job)
    }
}

/// Publishes one trial: its place in the run's list first, so that whatever is done is known.
pub(super) async fn publish(broker: &dyn Broker, job: Job, place: u64) -> Result<(), Failure> {
    let part = RunPart {
        run: job.run.clone(),
        part: u32::try_from(place).unwrap_or(u32::MAX),
        first_index: place,
        seeds: Vec::new(),
        jobs: vec![job.clone()],
    };
    let queue = job.queue();
    let messages = vec![
        (topology::RESULTS_SCRIPT.to_owned(), wire::encode(&part)?),
        (queue.clone(), wire::encode(&job)?),
    ];
    broker.publish_all(messages).await?;
    Ok(ring(broker, BTreeSet::from([queue])).await?)
}

/// The storage of a study: `studies.db` in the data folder unless it is said.
pub(super) fn storage_of(request: &StudyRequest, home: &Path) -> String {
    request.storage.clone().unwrap_or_else(|| {
        let file = std::path::absolute(home.join("studies.db")).unwrap_or_else(|_| home.to_owned());
        format!("sqlite:///{}", file.display())
    })
}
