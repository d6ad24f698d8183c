//! `producer enqueue` and `producer run` of the script steps.

use std::{collections::BTreeSet, net::IpAddr};

use serde::Serialize;
use shared::{
    broker::{Broker, Patience},
    topology,
};

use super::{
    enqueue::{EnqueueArgs, follow_to_the_end, refuse_a_known_name, watch},
    publish::{fresh_run_id, publish_run},
};
use crate::{
    context::{Context, check_run_name},
    failure::Failure,
    job_inputs::JobInputs,
    ledger::Ledger,
    output,
    script_request::ScriptRun,
    summary::{HalfOpen, RunSummary},
};

#[derive(Debug, Serialize)]
struct Enqueued<'a> {
    run: &'a str,
    jobs: u64,
    requested: HalfOpen,
    /// Nothing here is left by chance; the key is every run's.
    expected_by_chance: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<RunSummary>,
}

#[derive(Debug, Serialize)]
struct Distribution<'a> {
    step: &'a str,
    jobs: usize,
    queues: Vec<Share>,
}

#[derive(Debug, Serialize)]
struct Share {
    queue: String,
    script: String,
    jobs: u64,
}

/// Publishes a run of scripts, and with `--wait` follows it.
pub(super) async fn enqueue(
    context: &Context,
    args: EnqueueArgs,
    scripts: ScriptRun,
) -> Result<(), Failure> {
    for note in &scripts.notes {
        output::say(format!("note: {note}"));
    }
    let run = args.run.unwrap_or_else(fresh_run_id);
    check_run_name(&run)?;
    check_outputs_can_come(context, &scripts)?;
    if args.dry_run {
        refuse_a_known_name(context, &run)?;
        return show(&scripts, args.json);
    }
    let watch = if args.wait { Some(watch(context, &run).await?) } else { None };
    refuse_a_known_name(context, &run)?;
    let broker = context.broker("producer", Patience::COMMAND).await?;
    let published = publish(&scripts, &run, broker.as_ref(), &JobInputs::of_context(context)).await;
    broker.close().await;
    published?;
    let manifest = scripts.manifest(&run, 0);
    let enqueued = |status| Enqueued {
        run: &run,
        jobs: manifest.jobs,
        requested: manifest.requested.into(),
        expected_by_chance: 0.0,
        status,
    };
    match watch {
        None if args.json => output::json(&enqueued(None)),
        None => output::text(&run),
        Some(watch) => {
            let show_json = |summary: &RunSummary| output::json(&enqueued(Some(summary.clone())));
            follow_to_the_end(watch, &run, args.limit, args.json.then_some(&show_json)).await
        }
    }
}

/// Publishes a run of scripts, after everything that its jobs read was put where workers find it.
pub(super) async fn publish(
    scripts: &ScriptRun,
    run: &str,
    broker: &dyn Broker,
    inputs: &JobInputs,
) -> Result<(), Failure> {
    scripts.files.keep(inputs)?;
    for chunk in &scripts.chunks {
        inputs.bytes(&chunk.input.name, &chunk.bytes)?;
    }
    let parts = scripts.parts(run);
    let manifest = scripts.manifest(run, parts.len());
    let queues: BTreeSet<String> = scripts.jobs(run).map(|job| job.queue()).collect();
    let first = (topology::RESULTS_SCRIPT, manifest, parts);
    publish_run(broker, first, scripts.jobs(run), queues).await
}

/// Output files come from this machine's own workers, or through a `producer serve`.
fn check_outputs_can_come(context: &Context, scripts: &ScriptRun) -> Result<(), Failure> {
    let url = &context.settings.broker.url;
    if !scripts.has_outputs()
        || context.server.is_some()
        || url.starts_with("embedded:")
        || is_loopback(url)
    {
        return Ok(());
    }
    if Ledger::path(&context.home).exists() {
        output::say(
            "note: outputs come from other machines where RIGQUEUE_SERVER is set on the worker and \
             `producer serve`, not `aggregate`, runs here",
        );
        return Ok(());
    }
    Err(Failure::usage(
        "the jobs declare output files, the broker is on another machine, and no `producer serve` is \
         known that could take them: set RIGQUEUE_SERVER to it, here and on the workers; or have \
         the scripts print their result as one last line of JSON (at most 64 KiB) and leave \
         expected_output out",
    ))
}

/// Whether a broker's URL names this machine.
fn is_loopback(url: &str) -> bool {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = host.split(['/', '?']).next().unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    let host = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

fn show(scripts: &ScriptRun, json: bool) -> Result<(), Failure> {
    let queues: Vec<Share> = scripts
        .distribution()
        .into_iter()
        .map(|((queue, script), jobs)| Share { queue, script, jobs })
        .collect();
    if json {
        let step = &scripts.options.step;
        return output::json(&Distribution { step, jobs: scripts.jobs.len(), queues });
    }
    let rows: Vec<[String; 3]> = queues
        .into_iter()
        .map(|share| [share.jobs.to_string(), share.script, share.queue])
        .collect();
    output::text(output::table(["jobs", "script", "queue"], &rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_on_this_machine_is_known_by_its_url() {
        for url in [
            "amqp://u:p@localhost/v",
            "amqp://127.0.0.1:5672",
            "amqps://u@[::1]:5671/v?x=y",
            "amqp://127.9.0.1/",
        ] {
            assert!(is_loopback(url), "{url}");
        }
        for url in ["amqp://rig/v", "amqp://u:p@10.0.0.1/localhost", "amqp://localhost@rig/"] {
            assert!(!is_loopback(url), "{url}");
        }
    }
}
