//! One session of a study: from opening its storage to its last trial, or to an interruption.

use std::{collections::BTreeMap, path::PathBuf};

use shared::{exit_codes, messages::RunOpened};
use tokio::signal::unix::{SignalKind, signal};

use super::{
    best,
    board::{Board, Next},
    driver::Driver,
    ground::{Ground, is_local},
    lock::{self, StudyLock},
    pace::Pace,
    progress::Progress,
    report::Report,
    request::{Kind, Settings, StudyRequest},
    runs::{self, Jobs},
    seed::{Purpose, seed_of},
    trial::{About, Outcome, Stage, Trial},
};
use crate::{
    aggregate::now,
    ask::Ask,
    context::{Context, check_run_name},
    failure::Failure,
    job_inputs::JobInputs,
    script_summary::ScriptRecord,
    summary::RunSummary,
};

/// The longest name of a study: its runs' names are a little longer.
const MAX_NAME: usize = 48;

/// Runs a study to its end, or until it is interrupted; what became of it, and how the command is
/// to end.
pub(crate) async fn study(
    context: &Context,
    request: &StudyRequest,
) -> Result<(Report, Result<(), Failure>), Failure> {
    check_run_name(&request.name)?;
    if request.name.len() > MAX_NAME {
        return Err(Failure::usage(format!(
            "'{}' is too long for a study's name: at most {MAX_NAME} characters",
            request.name
        )));
    }
    let storage = runs::storage_of(request, &context.home);
    let lock = lock::path_of(&storage, &request.name, &context.home);
    let _lock = StudyLock::take(&lock, &request.name)?;
    // The inputs are kept where the jobs will look for them; what they are is known before that.
    let (survivors, draws) = (hash(&request.survivors)?, hash(&request.draws)?);
    let fresh = request.settings(survivors, draws);
    let python = &context.settings.scripts.python;
    let folder = context.home.join("studies");
    let (mut driver, mut opened) =
        Driver::open(python, &folder, (&storage, &request.name), &fresh).await?;
    if let Some(why) = request.disagreement(&opened.settings, &fresh) {
        return Err(Failure::usage(format!(
            "there is a study called '{}' in {storage} already, and {why}: choose another \
             --study-name, or ask as you did for that one",
            request.name
        )));
    }
    let trials = opened.trials()?;
    let first = runs::first_run(&request.name);
    if opened.runs.is_empty() {
        let known = context.ask::<RunSummary>(&Ask::Status { run: first.clone(), limit: 0 });
        if known.is_ok() || context.local(&first).exists() {
            return Err(Failure::usage(format!(
                "there is a run called '{first}' already, of another study: choose another \
                 --study-name, or `producer forget {first}`"
            )));
        }
        // From now on it is this study's, whatever comes between.
        opened.runs.push(runs::manifest(request, &[], request.trials)?);
        driver.note_runs(&opened.runs).await?;
    }
    let mut ground = if is_local(context) {
        Ground::local(context, &context.local(&first), request).await?
    } else {
        Ground::fleet(context).await?
    };
    let board =
        Board::new(opened.settings.models.clone(), opened.settings.window, request.trials, trials);
    let mut session = Session {
        request,
        settings: &opened.settings,
        driver,
        board,
        runs: opened.runs,
        epochs: BTreeMap::new(),
        aside: Vec::new(),
        pace: Pace::new(request.parallel),
        progress: Progress::new(),
        saved: None,
    };
    let ended = session.until_interrupted(context, &mut ground).await;
    session.progress.finish();
    let closed = ground.end().await;
    let is_whole = ended?;
    closed?;
    let names = session.runs.iter().map(|run| run.run.clone()).collect();
    let (name, models) = (request.name.as_str(), &session.settings.models);
    let mut report = Report::of((name, &storage), models, &session.board, names, is_whole);
    report.saved = session.saved.take();
    let end = end_of(&report, &request.name);
    Ok((report, end))
}

fn hash(path: &std::path::Path) -> Result<String, Failure> {
    let failed = |error: std::io::Error| {
        Failure::usage(format!("the file '{}' can't be read: {error}", path.display()))
    };
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(std::fs::File::open(path).map_err(failed)?).map_err(failed)?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// How the command ends: well when there is a best trial and every other is accounted for.
fn end_of(report: &Report, name: &str) -> Result<(), Failure> {
    match report.state.as_str() {
        "complete" => Ok(()),
        "interrupted" => Err(Failure {
            code: exit_codes::INTERRUPTED,
            message: format!(
                "interrupted; nothing is lost: the same command with --study-name {name} goes on"
            ),
        }),
        _ => Err(Failure {
            code: exit_codes::RUN_FAILED,
            message: format!(
                "the study {name} found nothing that works; its last failure: {}",
                report.last_failure().unwrap_or("none")
            ),
        }),
    }
}

struct Session<'a> {
    request: &'a StudyRequest,
    settings: &'a Settings,
    driver: Driver,
    board: Board,
    runs: Vec<RunOpened>,
    /// What the ledger said last of each run's epoch; 0 while nothing may be published of it.
    epochs: BTreeMap<String, u32>,
    /// The models that people were told of.
    aside: Vec<String>,
    pace: Pace,
    progress: Progress,
    /// The best model's path in the output folder.
    saved: Option<String>,
}

impl Session<'_> {
    /// Works until the study has ended (true) or a signal came.
    async fn until_interrupted(
        &mut self,
        context: &Context,
        ground: &mut Ground,
    ) -> Result<bool, Failure> {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::internal)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(Failure::internal)?;
        tokio::select! {
            ended = self.work(context, ground) => ended.map(|()| true),
            _ = interrupt.recv() => Ok(false),
            _ = terminate.recv() => Ok(false),
        }
    }

    async fn work(&mut self, context: &Context, ground: &mut Ground) -> Result<(), Failure> {
        let inputs = keep_inputs(&ground.inputs, self.request)?;
        let jobs = Jobs::new(self.request, &context.settings, inputs)?;
        self.repair(ground).await?;
        loop {
            while self.ask_or_tell(ground).await? {}
            if self.board.is_done() {
                break;
            }
            self.publish(&jobs, ground).await?;
            self.progress.show(&self.board);
            ground.changed().await?;
            self.look(ground)?;
        }
        self.save_best(&jobs, ground).await?;
        self.close(ground).await
    }

    /// Sees to it that the best trial's model is there.
    async fn save_best(&mut self, jobs: &Jobs<'_>, ground: &mut Ground) -> Result<(), Failure> {
        let (Some(best), Some(like)) = (self.board.best(None).cloned(), self.runs.first().cloned())
        else {
            return Ok(());
        };
        if self.request.kind != Kind::Compare {
            return Ok(());
        }
        if self.request.save_all_models {
            self.saved = Some(format!("{}/{}.model", best.about.run, best.about.job));
            return Ok(());
        }
        match best::save(ground, jobs, &best, &like).await? {
            Ok(path) => self.saved = Some(path),
            Err(why) => self.progress.say(&format!("the best model is not saved: {why}")),
        }
        Ok(())
    }

    /// Finds out where the trials are that an earlier session left running.
    async fn repair(&mut self, ground: &mut Ground) -> Result<(), Failure> {
        let unfinished: Vec<String> = self
            .runs
            .iter()
            .map(|run| run.run.clone())
            .filter(|run| {
                let open = |t: &&Trial| t.about.run == *run && !matches!(t.stage, Stage::Told(_));
                self.board.trials().iter().any(|trial| open(&trial))
            })
            .collect();
        if !unfinished.is_empty() {
            ground.caught_up().await?;
        }
        for run in unfinished {
            if ground.status(&run)?.is_none_or(|summary| summary.requested.is_none()) {
                // It never got there, or was forgotten: then it is opened anew.
                if let Some(manifest) = self.runs.iter_mut().find(|known| known.run == run) {
                    manifest.opened_at = now();
                    let manifest = manifest.clone();
                    self.driver.note_runs(&self.runs).await?;
                    runs::open(ground.broker.as_ref(), manifest).await?;
                }
                ground.known(&run).await?;
            }
        }
        let going_on =
            self.board.trials().iter().filter(|t| !matches!(t.stage, Stage::Told(_))).count();
        if self.board.asked() > 0 {
            self.progress.say(&format!(
                "study {}: going on after {} trials, {going_on} of them not told yet",
                self.request.name,
                self.board.asked()
            ));
        }
        self.look(ground)
    }

    /// Takes what the ledger says of the trials that are not known yet.
    fn look(&mut self, ground: &Ground) -> Result<(), Failure> {
        let mut open: BTreeMap<String, Vec<(u64, String)>> = BTreeMap::new();
        for trial in self.board.trials() {
            if matches!(trial.stage, Stage::Asked | Stage::Published) {
                let wanted = (trial.number, trial.about.job.clone());
                open.entry(trial.about.run.clone()).or_default().push(wanted);
            }
        }
        for (run, trials) in open {
            let Some(summary) = ground.status(&run)? else { continue };
            self.epochs.insert(run, if summary.state == "open" { summary.epoch } else { 0 });
            let records: BTreeMap<&str, &ScriptRecord> =
                summary.results.iter().flatten().map(|r| (r.job.as_str(), r)).collect();
            for (number, job) in trials {
                self.take(number, records.get(job.as_str()).copied(), &summary);
            }
        }
        Ok(())
    }

    fn take(&mut self, number: u64, record: Option<&ScriptRecord>, summary: &RunSummary) {
        let outcome = match record.and_then(Outcome::of) {
            Some(outcome) => outcome,
            None if summary.is_ended() => {
                Outcome::lost(&format!("the run {} is {}", summary.run, summary.state))
            }
            None => {
                if record.is_some() {
                    self.board.published(number);
                }
                return;
            }
        };
        // What was lost says nothing of how trials do.
        let line = (!outcome.is_lost()).then(|| self.pace.ended(outcome.value.is_some())).flatten();
        self.board.known(number, outcome);
        if let Some(trial) = self.board.trial(number) {
            self.progress.ended(trial);
        }
        if let Some(line) = line {
            self.progress.say(&line);
        }
    }

    /// Does what is next with Optuna, if anything is.
    async fn ask_or_tell(&mut self, ground: &mut Ground) -> Result<bool, Failure> {
        match self.board.next() {
            Next::Nothing => return Ok(false),
            Next::Tell(number) => {
                if let Some(outcome) = self.board.trial(number).and_then(Trial::outcome) {
                    self.driver.tell(number, outcome).await?;
                }
                self.board.told_of(number);
                self.say_who_is_set_aside();
            }
            Next::Ask { number, model, replaces } => {
                let (run, place) = self.place(ground).await?;
                let origin = replaces.and_then(|lost| self.board.trial(lost)).cloned();
                let of = origin.as_ref().map_or(number, |lost| lost.number);
                let about = About {
                    model,
                    seed: seed_of(self.settings.seed, of, Purpose::Trial),
                    run,
                    place,
                    job: format!("trial-{number}"),
                    replaces,
                };
                let sampler = seed_of(self.settings.seed, number, Purpose::Sampler);
                let params = origin.map(|lost| lost.params);
                let params = self.driver.ask(number, &about, sampler, params.as_ref()).await?;
                self.board.add(Trial { number, about, params, stage: Stage::Asked });
            }
        }
        Ok(true)
    }

    /// A free place in a run's list, in a new run if need be.
    async fn place(&mut self, ground: &mut Ground) -> Result<(String, u64), Failure> {
        if let Some(run) = self.runs.last() {
            let used = self.board.trials().iter().filter(|trial| trial.about.run == run.run);
            let used = used.map(|trial| trial.about.place + 1).max().unwrap_or(0);
            let name = run.run.clone();
            if u128::from(used) < run.requested.len() {
                if !self.epochs.contains_key(&name) {
                    let summary = match ground.status(&name)? {
                        Some(summary) if summary.requested.is_some() => summary,
                        _ => {
                            runs::open(ground.broker.as_ref(), run.clone()).await?;
                            ground.known(&name).await?
                        }
                    };
                    let epoch = if summary.is_ended() { 0 } else { summary.epoch };
                    self.epochs.insert(name.clone(), epoch);
                }
                let ended = ground.status(&name)?.is_some_and(|summary| summary.is_ended());
                if !ended {
                    return Ok((name, used));
                }
            }
        }
        let places = self.board.end() - self.board.asked();
        let manifest = runs::manifest(self.request, &self.runs, places)?;
        self.runs.push(manifest.clone());
        self.driver.note_runs(&self.runs).await?;
        let name = manifest.run.clone();
        runs::open(ground.broker.as_ref(), manifest).await?;
        let summary = ground.known(&name).await?;
        self.epochs.insert(name.clone(), summary.epoch);
        Ok((name, 0))
    }

    /// Publishes what may run now.
    async fn publish(&mut self, jobs: &Jobs<'_>, ground: &Ground) -> Result<(), Failure> {
        while self.board.running() < self.pace.limit() {
            let Some(trial) = self.board.waiting() else { break };
            let epoch = self.epochs.get(&trial.about.run).copied().unwrap_or(0);
            if epoch == 0 {
                break;
            }
            let (number, place) = (trial.number, trial.about.place);
            let job = jobs.of(trial, epoch)?;
            runs::publish(ground.broker.as_ref(), job, place).await?;
            self.board.published(number);
        }
        Ok(())
    }

    fn say_who_is_set_aside(&mut self) {
        let aside: Vec<String> = self.board.set_aside().into_iter().map(str::to_owned).collect();
        for model in aside {
            if self.aside.contains(&model) {
                continue;
            }
            let last = self.board.trials().iter().rev().filter(|trial| trial.about.model == model);
            let why = last.filter_map(|t| t.outcome()?.failure.clone()).next().unwrap_or_default();
            self.progress.say(&format!(
                "{model} is set aside, its trials keep failing ({why}); the others get its share"
            ));
            self.aside.push(model);
        }
    }

    /// Ends the runs whose places are not all needed, and waits for the others to end.
    async fn close(&mut self, ground: &mut Ground) -> Result<(), Failure> {
        let names: Vec<String> = self.runs.iter().map(|run| run.run.clone()).collect();
        for run in names {
            let own = self.board.trials().iter().filter(|trial| trial.about.run == run).count();
            while let Some(summary) = ground.status(&run)?.filter(|summary| !summary.is_ended()) {
                let wanted = summary.requested.map_or(0, |r| r.end - u128::from(r.start));
                if (own as u128) < wanted {
                    ground.cancel(&run)?;
                    break;
                }
                ground.changed().await?;
            }
        }
        Ok(())
    }
}

/// Keeps survivors and draws where workers look for them.
fn keep_inputs(
    inputs: &JobInputs,
    request: &StudyRequest,
) -> Result<Vec<shared::input::Input>, Failure> {
    let files: [(&str, &PathBuf); 2] =
        [(runs::SURVIVORS, &request.survivors), (runs::DRAWS, &request.draws)];
    files.into_iter().map(|(name, path)| inputs.file(name, path)).collect()
}
