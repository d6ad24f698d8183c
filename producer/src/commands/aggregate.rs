//! `producer aggregate`: the aggregator service.

use std::path::PathBuf;

use shared::{
    broker::{Owner, Patience, claim_ledger, owns_ledger},
    service_manager::Up,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;
use tracing::info;

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
    let stop = CancellationToken::new();
    stop_on_signals(&stop)?;
    aggregate_until(context, args, &stop, None).await
}

/// Takes results into the ledger until `stop` is cancelled, and outputs as they arrive.
pub(super) async fn aggregate_until(
    context: &Context,
    args: AggregateArgs,
    stop: &CancellationToken,
    arrivals: Option<mpsc::Receiver<String>>,
) -> Result<(), Failure> {
    if let Some(name) = &args.until_complete {
        check_run_name(name)?;
    }
    // First the ledger: whoever waits for a run may look into it at once.
    let (ledger, _lock) = Ledger::own(&context.home)?;
    info!(ledger = %Ledger::path(&context.home).display(), "aggregating");
    let up = Up::tell("connecting to the broker");
    let reached = async {
        own_the_broker(context, &ledger).await?;
        context.broker("aggregator", Patience::Forever).await
    };
    let broker = tokio::select! {
        broker = reached => broker?,
        () = stop.cancelled() => return Ok(()),
    };
    up.status("aggregating");
    let at = (context.settings.clone(), context.home.clone());
    let mut aggregator = Aggregator::new(broker.clone(), ledger, at, args.output_dir);
    if let Some(arrivals) = arrivals {
        aggregator = aggregator.with_arrivals(arrivals);
    }
    let worked = aggregator.work(args.until_complete.as_deref(), stop).await;
    broker.close().await;
    Ok(worked?)
}

/// Refuses a broker that is not this ledger's: two ledgers would each queue again what the other's
/// workers have done. A fresh embedded broker becomes this ledger's own.
async fn own_the_broker(context: &Context, ledger: &Ledger) -> Result<(), Failure> {
    let (settings, home) = (&context.settings.broker, &context.home);
    let uuid = ledger.uuid()?;
    if settings.url.starts_with("embedded:") {
        claim_ledger(settings, home, &uuid, false, Patience::Forever).await?;
        return Ok(());
    }
    match owns_ledger(settings, home, &uuid, Patience::Forever).await? {
        Owner::This => Ok(()),
        Owner::Nobody => Err(Failure::unreachable(
            "the broker belongs to no ledger yet: run `producer topology apply` once, with this \
             RIGQUEUE_HOME",
        )),
        // Says which one, and what to do.
        Owner::Other(_) => {
            claim_ledger(settings, home, &uuid, false, Patience::Forever).await?;
            Ok(())
        }
    }
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
