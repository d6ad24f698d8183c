//! `producer serve`: the aggregator, and the ledger for commands on other machines.

use tokio_util::sync::CancellationToken;
use tracing::info;

use super::aggregate::{AggregateArgs, aggregate_until, stop_on_signals};
use crate::{context::Context, failure::Failure, serve::listen};

/// Where to listen, and what to do beside aggregating.
#[derive(Debug, clap::Args)]
pub(crate) struct ServeArgs {
    /// The address to listen on [default: serve.listen]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<String>,
    #[command(flatten)]
    aggregate: AggregateArgs,
}

/// Aggregates and answers until it is told to stop.
pub(crate) async fn serve(context: &Context, args: ServeArgs) -> Result<(), Failure> {
    let mut settings = context.settings.serve.clone();
    settings.listen = args.listen.unwrap_or(settings.listen);
    let (listening, arrivals) = listen(context.home.clone(), &settings).await?;
    info!(address = %listening.address, "serving");
    let stop = CancellationToken::new();
    stop_on_signals(&stop)?;
    let answering = tokio::spawn(listening.answer(stop.clone()));
    let aggregated = aggregate_until(context, args.aggregate, &stop, Some(arrivals)).await;
    stop.cancel();
    answering.await.map_err(Failure::internal)??;
    aggregated
}
