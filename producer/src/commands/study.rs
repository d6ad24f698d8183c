//! `producer study`: Optuna studies whose trials are script jobs.

use std::path::PathBuf;

use shared::job::{Arch, Urgency};

use super::publish::fresh_run_id;
use crate::{
    context::Context,
    failure::Failure,
    output,
    study::{self, Kind, StudyRequest},
};

/// What to look for.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum StudyAction {
    /// The best of several models, and its parameters (step 5, train_trial.py)
    Compare {
        /// The models, which take turns
        #[arg(
            long,
            value_name = "NAMES",
            value_delimiter = ',',
            default_value = "neural_net,lightgbm,xgboost,catboost"
        )]
        models: Vec<String>,
        /// Keep every trial's model in OUTPUT_DIR/RUN
        #[arg(long)]
        save_all_models: bool,
        #[command(flatten)]
        args: StudyArgs,
    },
    /// The best parameters of the scorer (step 2.5, scorer_trial.py)
    Scorer(StudyArgs),
    /// The best architecture (step 4, adaptive_meta.py)
    Architecture(StudyArgs),
}

/// Over what, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct StudyArgs {
    /// The survivors that trials learn from
    #[arg(long, value_name = "FILE")]
    survivors: PathBuf,
    /// The draws
    #[arg(long, value_name = "FILE")]
    draws: PathBuf,
    /// How many trials there are to be, those of earlier sessions included
    #[arg(long, value_name = "N", default_value_t = 20,
        value_parser = clap::value_parser!(u64).range(1..=100_000))]
    trials: u64,
    /// How many run at a time; the results do not depend on it
    #[arg(long, value_name = "N", default_value_t = 4,
        value_parser = clap::value_parser!(u16).range(1..=1024))]
    parallel: u16,
    /// Optuna's storage, as in sqlite:///studies.db [default: studies.db in the data folder]
    #[arg(long, value_name = "URL")]
    storage: Option<String>,
    /// The study's name: a study of that name goes on; made up unless given
    #[arg(long, value_name = "NAME")]
    study_name: Option<String>,
    /// What every other seed is derived from [default: 42]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How many trials Optuna may be asked for before it is told of the first of them [default: 8,
    /// or twice --parallel]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=4096))]
    window: Option<u64>,
    /// Search spaces in place of the default ones
    #[arg(long, value_name = "FILE")]
    space: Option<PathBuf>,
    /// Put outputs into DIR/RUN; the data folder's own outputs unless given
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    /// How often a trial is tried before it has failed
    #[arg(long, value_name = "N", default_value_t = 2,
        value_parser = clap::value_parser!(u32).range(1..=100))]
    max_attempts: u32,
    /// Only on cuda, rocm or cpu workers
    #[arg(long, value_name = "ARCH")]
    arch: Option<Arch>,
    /// high, normal or low
    #[arg(long, value_name = "URGENCY", default_value = "normal")]
    urgency: Urgency,
    /// What every trial's script gets beside its own arguments, as in `-- --folds 3`
    #[arg(last = true, value_name = "ARGS")]
    script_args: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the study, shows it, exits.
pub(crate) async fn study(context: &Context, action: StudyAction) -> Result<(), Failure> {
    let (kind, models, save_all_models, args) = match action {
        StudyAction::Compare { models, save_all_models, args } => {
            (Kind::Compare, models, save_all_models, args)
        }
        StudyAction::Scorer(args) => (Kind::Scorer, Kind::Scorer.models(), false, args),
        StudyAction::Architecture(args) => {
            (Kind::Architecture, Kind::Architecture.models(), false, args)
        }
    };
    let named = args.study_name.is_some();
    let name = args.study_name.unwrap_or_else(|| format!("{}-{}", kind.name(), fresh_run_id()));
    if !named {
        output::say(format!("study {name}"));
    }
    let request = StudyRequest {
        space: study::space(kind, &models, args.space.as_deref())?,
        kind,
        models,
        survivors: args.survivors,
        draws: args.draws,
        trials: args.trials,
        parallel: args.parallel.into(),
        storage: args.storage,
        name,
        seed: args.seed,
        window: args.window,
        save_all_models,
        output_dir: args.output_dir,
        script_args: args.script_args,
        max_attempts: args.max_attempts,
        arch: args.arch,
        urgency: args.urgency,
    };
    let (report, end) = study::study(context, &request).await?;
    if args.json {
        output::json(&report)?;
    } else {
        output::text(report.describe())?;
    }
    end
}
