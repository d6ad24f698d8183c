//! `producer cancel|pause|resume|forget RUN`.

use crate::{
    ask::{Ask, RunChange},
    context::{Context, check_run_name},
    failure::Failure,
    output,
};

/// Which run is meant.
#[derive(Debug, clap::Args)]
pub(crate) struct RunName {
    /// The run
    run: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Tells the ledger; the aggregator tells the workers.
pub(crate) fn order_run(
    context: &Context,
    args: RunName,
    order: impl FnOnce(String) -> Ask,
) -> Result<(), Failure> {
    check_run_name(&args.run)?;
    let change: RunChange = context.ask(&order(args.run))?;
    if args.json {
        return output::json(&change);
    }
    output::text(format!("run {}: {}", change.run, change.state))
}
