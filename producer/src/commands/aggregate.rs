//! `producer aggregate`: the aggregator service.

use std::path::PathBuf;

use shared::{
    broker::{Broker, Patience, apply_topology},
    topology::RESULTS_SEED,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    aggregate::Aggregator,
    context::{Context, check_run_name},
    failure::Failure,
    ledger::Ledger,
};

/// What to do beside aggregating.
#[derive(Debug, clap::Args)]
pub(crate) struct AggregateArgs {
    /// Write the outputs of each complete run to DIR/RUN
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    /// End when this run has ended
    #[arg(long, value_name = "RUN")]
    until_complete: Option<String>,
}

/// Takes results into the ledger until it is told to stop.
pub(crate) async fn aggregate(context: &Context, args: AggregateArgs) -> Result<(), Failure> {
    if let Some(name) = &args.until_complete {
        check_run_name(name)?;
    }
    // First the ledger: whoever waits for a run may look into it at once.
    let (ledger, _lock) = Ledger::own(&context.home)?;
    info!(ledger = %Ledger::path(&context.home).display(), "aggregating");
    let stop = CancellationToken::new();
    stop_on_signals(&stop)?;
    let broker = tokio::select! {
        broker = context.broker("aggregator", Patience::Forever) => broker?,
        () = stop.cancelled() => return Ok(()),
    };
    declare_what_is_missing(context, broker.as_ref()).await?;
    let mut aggregator = Aggregator::new(broker.clone(), ledger, args.output_dir);
    let worked = aggregator.work(args.until_complete.as_deref(), &stop).await;
    broker.close().await;
    Ok(worked?)
}

/// A broker without our results queue has lost its topology, or never had it.
async fn declare_what_is_missing(context: &Context, broker: &dyn Broker) -> Result<(), Failure> {
    if broker.depth(RESULTS_SEED).await?.is_none() {
        warn!(queue = RESULTS_SEED, "a queue is missing: declaring the topology again");
        apply_topology(&context.settings.broker, Patience::COMMAND).await?;
    }
    Ok(())
}

/// Cancels `stop` at SIGTERM or SIGINT.
pub(super) fn stop_on_signals(stop: &CancellationToken) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::internal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::internal)?;
    let stop = stop.clone();
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
        stop.cancel();
    });
    Ok(())
}
