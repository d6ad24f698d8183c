//! `producer node list|pause|drain|resume`.

use shared::messages::NodeOrder;

use crate::{
    ask::{Ask, NodeChange, NodeLine},
    context::Context,
    failure::Failure,
    output,
};

/// What to do with nodes.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum NodeAction {
    /// List the workers that were heard in the last 7 days
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Have a node take no new jobs; what runs goes on
    Pause(NodeName),
    /// Have a node take no new jobs and finish short what runs: then it can be switched off
    Drain(NodeName),
    /// Have a node work again
    Resume(NodeName),
}

/// Which node is meant.
#[derive(Debug, clap::Args)]
pub(crate) struct NodeName {
    /// The node, as `producer node list` calls it
    node: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Lists nodes or tells one what to do.
pub(crate) fn node(context: &Context, action: NodeAction) -> Result<(), Failure> {
    let (name, order) = match action {
        NodeAction::List { json } => return list(context, json),
        NodeAction::Pause(name) => (name, Some(NodeOrder::Pause)),
        NodeAction::Drain(name) => (name, Some(NodeOrder::Drain)),
        NodeAction::Resume(name) => (name, None),
    };
    let change: NodeChange = context.ask(&Ask::Order { node: name.node, order })?;
    if name.json {
        return output::json(&change);
    }
    let told = change.order.map_or("work", order_name);
    output::text(format!("node {}: told to {told}", change.node))
}

fn list(context: &Context, json: bool) -> Result<(), Failure> {
    let lines: Vec<NodeLine> = context.ask(&Ask::Nodes { all: true })?;
    if json { output::json(&lines) } else { output::text(table(lines)) }
}

const fn order_name(order: NodeOrder) -> &'static str {
    match order {
        NodeOrder::Pause => "pause",
        NodeOrder::Drain => "drain",
    }
}

/// Workers as a table for people.
pub(super) fn table(lines: Vec<NodeLine>) -> String {
    let rows: Vec<[String; 6]> = lines
        .into_iter()
        .map(|line| {
            let mut state = line.order.map_or("", order_name).to_owned();
            if state.is_empty() && line.draining {
                "draining".clone_into(&mut state);
            }
            if !line.quarantined.is_empty() {
                state += &format!(" quarantined: {}", line.quarantined.join(", "));
            }
            if !line.unfit.is_empty() {
                state += &format!(" unfit: {}", line.unfit.join(", "));
            }
            if !line.kept.is_empty() {
                state += &format!(" keeps {}", line.kept.join(", "));
            }
            [
                line.node,
                line.instance,
                line.slots.to_string(),
                line.running.to_string(),
                format!("{:.0} s ago", line.heard_seconds_ago),
                state.trim_start().to_owned(),
            ]
        })
        .collect();
    output::table(["node", "worker", "slots", "running", "heard", "told"], &rows)
}
