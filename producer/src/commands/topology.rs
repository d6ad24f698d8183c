//! `producer topology apply|check`: the broker's exchanges and queues.

use serde::Serialize;
use shared::broker::{Patience, TopologyReport, apply_topology, check_topology};

use crate::{context::Context, failure::Failure, output};

/// What to do with the topology.
#[derive(Debug, Clone, Copy, clap::Subcommand)]
pub(crate) enum TopologyAction {
    /// Declare every exchange and queue; doing it again changes nothing
    Apply {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Say what is missing, changing nothing; exit code 3 when something is
    Check {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Default, Serialize)]
struct Report {
    present: Vec<String>,
    created: Vec<String>,
    missing: Vec<String>,
    conflicting: Vec<Conflict>,
}

#[derive(Debug, Serialize)]
struct Conflict {
    name: String,
    why: String,
}

/// Applies or checks.
pub(crate) async fn topology(context: &Context, action: TopologyAction) -> Result<(), Failure> {
    let url = &context.settings.broker.url;
    let (TopologyAction::Apply { json } | TopologyAction::Check { json }) = action;
    if url.starts_with("embedded:") {
        // Opening it checks that its folder can be used.
        context.broker("producer", Patience::COMMAND).await?.close().await;
        output::say("the embedded broker makes its queues on first use: nothing to apply or check");
        return if json { output::json(&Report::default()) } else { Ok(()) };
    }
    let found = match action {
        TopologyAction::Apply { .. } => apply_topology(url, Patience::COMMAND).await?,
        TopologyAction::Check { .. } => check_topology(url, Patience::COMMAND).await?,
    };
    let TopologyReport { present, created, missing, conflicting } = found;
    let conflicting = conflicting.into_iter().map(|(name, why)| Conflict { name, why }).collect();
    let report = Report { present, created, missing, conflicting };
    if json {
        output::json(&report)?;
    } else {
        output::text(describe(&report))?;
    }
    let faults = report.missing.len() + report.conflicting.len();
    if faults == 0 {
        return Ok(());
    }
    Err(Failure::unreachable(format!(
        "{faults} exchanges or queues are missing or different: `producer topology apply` makes \
         what is missing; delete what is different while it is empty, then apply again"
    )))
}

fn describe(report: &Report) -> String {
    let mut text = format!(
        "{} exchanges and queues were there, {} were made\n",
        report.present.len(),
        report.created.len()
    );
    for name in &report.missing {
        text += &format!("missing: {name}\n");
    }
    for Conflict { name, why } in &report.conflicting {
        text += &format!("different: {name}: {why}\n");
    }
    text
}
