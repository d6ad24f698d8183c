//! `producer stage`: files on every node's ramdisk.

use std::{path::PathBuf, time::Duration};

use shared::{exit_codes, messages::StageProgress};
use tokio::time::sleep;

use crate::{
    ask::Ask,
    context::Context,
    failure::Failure,
    job_inputs::JobInputs,
    output,
    script_args::SCRIPT_STEPS,
    staged::{self, StageStatus},
};

/// How often `--wait` looks.
const LOOK: Duration = Duration::from_millis(300);

/// What to stage, or to show.
#[derive(Debug, clap::Args)]
pub(crate) struct StageArgs {
    /// The step whose scripts find the files in {staged}
    #[arg(long, value_name = "STEP", value_parser = SCRIPT_STEPS,
        required_unless_present = "status")]
    step: Option<String>,
    /// The files, in place of what was staged for the step before; each keeps its last name
    #[arg(value_name = "FILE", required_unless_present_any = ["status", "clear", "wait"],
        conflicts_with_all = ["status", "clear"])]
    files: Vec<PathBuf>,
    /// Show each set, and how it stands on each live node
    #[arg(long, conflicts_with = "clear")]
    status: bool,
    /// Take the step's files off the ramdisks
    #[arg(long)]
    clear: bool,
    /// Wait until every live node that runs scripts is ready
    #[arg(long, conflicts_with_all = ["status", "clear"])]
    wait: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Tells the ledger; the aggregator tells the workers, which stage by themselves.
pub(crate) async fn stage(context: &Context, args: StageArgs) -> Result<(), Failure> {
    let step = args.step.clone().unwrap_or_default();
    let mut status: StageStatus = if args.clear {
        context.ask(&Ask::Unstage(step.clone()))?
    } else if args.files.is_empty() {
        context.ask(&Ask::Stages)?
    } else {
        let set = staged::keep(&step, &args.files, &JobInputs::of_context(context))?;
        context.ask(&Ask::Stage(set))?
    };
    if args.wait {
        status = wait(context, &step, status).await?;
    }
    if let Some(step) = args.step.filter(|_| args.status) {
        status.sets.retain(|set| set.step == step);
    }
    if args.json {
        return output::json(&status);
    }
    output::text(table(&status))
}

async fn wait(
    context: &Context,
    step: &str,
    mut status: StageStatus,
) -> Result<StageStatus, Failure> {
    let mut said = String::new();
    if !status.sets.iter().any(|set| set.step == step) {
        return Err(Failure::not_found(format!("nothing is staged for step {step}")));
    }
    while !status.is_ready(step) {
        let waiting = waits_for(&status, step);
        if waiting != said {
            output::say(&waiting);
            said = waiting;
        }
        tokio::select! {
            () = sleep(LOOK) => {}
            _ = tokio::signal::ctrl_c() => {
                output::say("nodes go on staging: `producer stage --status`");
                return Err(Failure { code: exit_codes::INTERRUPTED, message: String::new() });
            }
        }
        status = context.ask(&Ask::Stages)?;
    }
    Ok(status)
}

/// What is waited for, in one line.
fn waits_for(status: &StageStatus, step: &str) -> String {
    let Some(set) = status.sets.iter().find(|set| set.step == step) else {
        return "the set was cleared meanwhile".to_owned();
    };
    if status.nodes.is_empty() {
        return "no live worker runs scripts: waiting for one".to_owned();
    }
    let nodes = status.nodes.iter().filter_map(|node| match StageStatus::stand(set, node) {
        (StageProgress::Ready, _) => None,
        (_, Some(trouble)) => Some(format!("{}: {trouble}", node.node)),
        (_, None) => Some(node.node.clone()),
    });
    format!("waiting for {}", nodes.collect::<Vec<_>>().join("; "))
}

fn table(status: &StageStatus) -> String {
    if status.sets.is_empty() {
        return "nothing is staged".to_owned();
    }
    let mut rows = Vec::new();
    for set in &status.sets {
        let names: Vec<&str> = set.files.iter().map(|file| file.name.as_str()).collect();
        let what = format!("{} ({} bytes)", names.join(" "), set.bytes);
        let row = |node: &str, worker: &str, state: String| {
            [set.step.clone(), set.set.clone(), node.to_owned(), worker.to_owned(), state]
        };
        rows.push(row("", "", what));
        for node in &status.nodes {
            let (progress, trouble) = StageStatus::stand(set, node);
            let state = match progress {
                StageProgress::Ready => "ready".to_owned(),
                StageProgress::Staging => "staging".to_owned(),
                StageProgress::Failed => format!("failed: {}", trouble.unwrap_or_default()),
            };
            rows.push(row(&node.node, &node.instance, state));
        }
    }
    output::table(["step", "set", "node", "worker", "state"], &rows)
}
