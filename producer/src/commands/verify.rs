//! `producer verify`: a run, or a certificate with its survivors, tested again.

use std::{
    cell::Cell,
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use shared::{
    broker::{Broker, Patience},
    exit_codes,
    job::{Arch, UnknownName},
    messages::Bell,
    settings::host_name,
    topology,
    wire::{self, Message},
};

use super::{
    enqueue::run_failed,
    follow::{Bar, Step, Watch, progress_bar},
};
use crate::{
    candidates,
    certificate::Certificate,
    context::Context,
    cost,
    duration::Duration,
    failure::Failure,
    ledger::{Ledger, Report},
    output,
    verify::{
        Certified, Findings, FleetPlan, Random, Retested, RunCheck, Runners, Share, Verification,
        read_survivors,
    },
};

/// The share of a certificate's request that is tested again unless `--sample` says otherwise,
/// and of a run.
const DEFAULT_SAMPLE: &str = "1%";
/// Unless `--sample` asks for more, a certificate's check takes at most so many seconds.
const SENSIBLE_SECONDS: f64 = 600.0;
/// Jobs published at a time.
const BATCH: usize = 2000;

/// What to verify and how much of it.
#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    /// The run
    #[arg(required_unless_present = "certificate", conflicts_with = "certificate")]
    run: Option<String>,
    /// Check this certificate instead of a run, without the ledger
    #[arg(long, value_name = "FILE", requires = "survivors", conflicts_with = "arch")]
    certificate: Option<PathBuf>,
    /// The certificate's survivors: the JSON or CSV that export writes
    #[arg(long, value_name = "FILE", requires = "certificate")]
    survivors: Option<PathBuf>,
    /// The certificate's candidates, for a reverse_sieve
    #[arg(long, value_name = "FILE", requires = "certificate")]
    candidates: Option<PathBuf>,
    /// The share of the tested seeds to test again, at least one outcome or block [default: 1%]
    #[arg(long, value_name = "PERCENT")]
    sample: Option<Share>,
    /// Choose the same samples as the verification that said this seed
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Have the fleet's cuda, rocm or cpu slots test the samples, instead of this machine
    #[arg(long, value_name = "ARCH", value_parser = arch)]
    arch: Option<Arch>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn arch(text: &str) -> Result<Arch, UnknownName> {
    text.parse()
}

impl VerifyArgs {
    fn share(&self) -> Result<Share, Failure> {
        self.sample.map_or_else(|| DEFAULT_SAMPLE.parse().map_err(Failure::internal), Ok)
    }
}

/// Verifies, shows, exits: with code 4 when something disagrees.
pub(crate) async fn verify(context: &Context, args: VerifyArgs) -> Result<(), Failure> {
    let seed = args.seed.unwrap_or_else(Random::fresh_seed);
    let verified = match (&args.run, &args.certificate, &args.survivors) {
        (Some(run), ..) => verify_run(context, &args, run, seed).await?,
        (None, Some(certificate), Some(survivors)) => {
            verify_certificate(&args, certificate, survivors, seed).await?
        }
        _ => return Err(Failure::usage("say what to verify: a run, or --certificate")),
    };
    if args.json {
        output::json(&verified)?;
    } else {
        output::text(verified.to_string())?;
    }
    match verified.disagreement_count {
        0 => Ok(()),
        count => Err(Failure {
            code: exit_codes::RUN_FAILED,
            message: format!(
                "{count} {} with what run {} reported",
                if count == 1 { "disagreement" } else { "disagreements" },
                verified.run
            ),
        }),
    }
}

/// A bar that shows seeds as they are tested again.
struct Meter {
    bar: Bar,
    tested: Cell<u128>,
    requested: u128,
}

impl Meter {
    fn new(requested: u128) -> Self {
        Self { bar: progress_bar(), tested: Cell::new(0), requested }
    }

    fn hear(&self, tested: u64) {
        self.tested.set(self.tested.get() + u128::from(tested));
        let (requested, tested) = (self.requested, self.tested.get());
        self.bar.show(Step { requested, tested, survivors: 0, expected: 0.0, scripts: None });
    }
}

/// Does `work` unless somebody interrupts it, which ends its runners.
async fn unless_interrupted<T>(
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        done = work => done,
        _ = tokio::signal::ctrl_c() => {
            Err(Failure { code: exit_codes::INTERRUPTED, message: "interrupted".to_owned() })
        }
    }
}

fn announce(what: &str, seconds: f64, runners: &Runners, seed: u64) {
    #[expect(clippy::cast_precision_loss, reason = "a number of cores")]
    let seconds = Duration(seconds / runners.side_by_side as f64);
    let cores = runners.side_by_side;
    output::say(format!(
        "testing again {what}: about {seconds} on {cores} cores (random seed {seed})"
    ));
}

async fn verify_run(
    context: &Context,
    args: &VerifyArgs,
    name: &str,
    seed: u64,
) -> Result<Verification, Failure> {
    if context.server.is_some() {
        return Err(Failure::usage(
            "verify reads the whole ledger: run it on the machine that has it, without \
             RIGQUEUE_SERVER, or verify the run's certificate and survivors",
        ));
    }
    let (ledger, run) = context.find_run(name)?;
    let runners = Runners::beside_this_program().map_err(crate::verify::VerifyError::from)?;
    let check = RunCheck::new(&ledger, &run)?;
    let own = own_node(context);
    let chosen = check.choose(args.share()?, &own, &mut Random::new(seed));
    let seeds: u128 = chosen.iter().map(|report| report.seeds()).sum();
    let (samples, outcomes) = (chosen.len(), check.reports.len());
    let mut findings = Findings::default();
    check.coverage(&mut findings);
    let here = if args.arch.is_some() { Vec::new() } else { chosen.clone() };
    announce(
        &format!(
            "{} survivors, and {samples} of {outcomes} outcomes with {seeds} seeds",
            run.counts.survivors
        ),
        check.predicted_seconds(&here)?,
        &runners,
        seed,
    );
    let here: u128 = here.iter().map(|report| report.seeds()).sum();
    let meter = Meter::new(here + u128::from(run.counts.survivors));
    let hear = |tested| meter.hear(tested);
    let tested_here = unless_interrupted(async {
        let claims = check.claims();
        let verifier = check.verifier(&claims, &runners)?;
        let survivors = verifier.survivors(&hear, &mut findings).await?;
        let retested = match args.arch {
            Some(_) => None,
            None => Some(check.samples_here(&chosen, &own, &runners, &hear, &mut findings).await?),
        };
        Ok((survivors, retested))
    })
    .await;
    meter.bar.finish();
    let (survivors, retested) = tested_here?;
    let retested = match (retested, args.arch) {
        (Some(retested), _) => retested,
        (None, Some(arch)) => by_fleet(context, &check, &chosen, arch, &mut findings).await?,
        (None, None) => Retested::default(),
    };
    Ok(check.verification(survivors, &chosen, seed, retested, findings))
}

/// What workers of this host call their node, unless they are told otherwise.
fn own_node(context: &Context) -> String {
    let named = &context.settings.worker.node;
    if named.is_empty() { host_name() } else { named.clone() }
}

/// Has the fleet test the samples, as a run of its own.
async fn by_fleet(
    context: &Context,
    check: &RunCheck<'_>,
    chosen: &[&Report],
    arch: Arch,
    findings: &mut Findings,
) -> Result<Retested, Failure> {
    let ledger = Ledger::read(&context.home)?.ok_or_else(|| {
        Failure::usage(format!(
            "--arch needs the fleet's ledger, and there is none in {}: use its data folder, or \
             leave --arch out",
            context.home.display()
        ))
    })?;
    let name = fresh_name(&ledger, &check.run.name)?;
    let target = context.settings.planner.target_seconds;
    let plan = FleetPlan::new(check, chosen, &name, arch, target)?;
    let broker = context.broker("producer", Patience::COMMAND).await?;
    let published = publish(broker.as_ref(), &plan, arch).await;
    broker.close().await;
    published?;
    output::say(format!("run {name}: {} jobs for {arch}", plan.jobs.len()));
    let mut watch = Watch::new(ledger, name.clone());
    let bar = progress_bar();
    let ended = unless_interrupted(watch.until_ended(0, |step| bar.show(step))).await;
    bar.finish();
    if !ended?.is_complete() {
        return Err(run_failed(&name));
    }
    let (ledger, ended) = context.find_run(&name)?;
    Ok(plan.compare(check, chosen, (&ledger, &ended), findings)?)
}

/// The first of `RUN.verify-1`, `RUN.verify-2` … that the ledger does not know.
fn fresh_name(ledger: &Ledger, run: &str) -> Result<String, Failure> {
    for number in 1u32.. {
        let name = format!("{run}.verify-{number}");
        if ledger.run(&name)?.is_none() {
            return Ok(name);
        }
    }
    Err(Failure::usage("there are no names left for another verification"))
}

/// Publishes manifest and candidates, then the jobs, then rings.
async fn publish(broker: &dyn Broker, plan: &FleetPlan, arch: Arch) -> Result<(), Failure> {
    let queue = topology::seed_queue(arch, plan.manifest.urgency);
    let results = topology::RESULTS_SEED;
    for queue in [queue.as_str(), results] {
        if broker.depth(queue).await?.is_none() {
            return Err(Failure::unreachable(format!(
                "the broker has no queue '{queue}': run `producer topology apply` once"
            )));
        }
    }
    let mut first = vec![(results.to_owned(), wire::encode(&plan.manifest)?)];
    for part in &plan.parts {
        first.push((results.to_owned(), wire::encode(part)?));
    }
    broker.publish_all(first).await?;
    for jobs in plan.jobs.chunks(BATCH) {
        let messages: Result<Vec<(String, Message)>, Failure> =
            jobs.iter().map(|job| Ok((queue.clone(), wire::encode(job)?))).collect();
        broker.publish_all(messages?).await?;
    }
    let bell = Bell { queues: BTreeSet::from([queue]).into_iter().collect() };
    Ok(broker.broadcast(wire::encode(&bell)?).await?)
}

async fn verify_certificate(
    args: &VerifyArgs,
    certificate: &Path,
    survivors: &Path,
    seed: u64,
) -> Result<Verification, Failure> {
    let read = Certificate::read(certificate).map_err(crate::verify::VerifyError::from)?;
    let listed = read_survivors(survivors).map_err(crate::verify::VerifyError::from)?;
    let family = read.request.sieve.family;
    let candidates = args.candidates.as_deref().map(|path| candidates::read(path, family));
    let candidates = candidates.transpose().map_err(Failure::usage)?.map(|read| read.seeds);
    let runners = Runners::beside_this_program().map_err(crate::verify::VerifyError::from)?;
    let count = listed.len();
    let certified = Certified::new(read, listed, candidates)?;
    #[expect(clippy::cast_precision_loss, reason = "a number of cores")]
    let most = match args.sample {
        Some(_) => f64::INFINITY,
        None => SENSIBLE_SECONDS * runners.side_by_side as f64,
    };
    let rate = cost::default_operations_per_second(Arch::Cpu);
    let blocks = certified.blocks(args.share()?, most, rate, &mut Random::new(seed));
    let what = format!("{count} survivors, and random blocks with {} seeds", blocks.seeds);
    announce(&what, blocks.seconds, &runners, seed);
    let meter = Meter::new(blocks.seeds + count as u128);
    let verified = unless_interrupted(async {
        let hear = |tested| meter.hear(tested);
        Ok(certified.verify(&blocks, seed, &runners, &hear).await?)
    })
    .await;
    meter.bar.finish();
    verified
}
