//! Checking a run of the ledger.

use shared::{
    job::{Arch, Engine},
    messages::RunOpened,
    sieve::Sieve,
    spans::Spans,
};

use super::{
    claims::LedgerClaims,
    findings::{Findings, Kind, Said, Verification, Who, about_spans},
    retest::Runners,
    sample::{Random, Share, outcomes},
    verifier::{Sample, Tested, Verifier, VerifyError},
    witness::Guesses,
};
use crate::{
    cost::{self, Cost},
    ledger::{Ledger, LedgerError, Report, RunRow},
};

/// How long one runner works on a piece of a sample, in seconds: short, so that all cores end
/// together.
const PIECE_SECONDS: f64 = 4.0;

/// A run with what it tested and who reported it.
#[derive(Debug)]
pub struct RunCheck<'a> {
    /// The ledger that holds it.
    pub ledger: &'a Ledger,
    /// The run.
    pub run: &'a RunRow,
    /// What was asked.
    pub manifest: &'a RunOpened,
    /// The question.
    pub sieve: &'a Sieve,
    /// What was tested.
    pub tested: Tested,
    /// What of the request is covered.
    pub covered: Spans,
    /// The outcomes that were the first to cover something.
    pub reports: Vec<Report>,
}

/// The samples that were tested again, and what came of it.
#[derive(Debug, Default)]
pub struct Retested {
    /// For how many near misses were compared.
    pub near_misses_compared: u64,
    /// How many were tested on another node than at first.
    pub elsewhere: u64,
    /// The run that the fleet did for it.
    pub verify_run: Option<String>,
}

impl<'a> RunCheck<'a> {
    /// Reads what is to be checked.
    ///
    /// # Errors
    /// [`VerifyError`] when the ledger can't be read, or nothing of the run is covered yet.
    pub fn new(ledger: &'a Ledger, run: &'a RunRow) -> Result<Self, VerifyError> {
        let refused = |why: &str| VerifyError::Refused(format!("run {}: {why}", run.name));
        let manifest =
            run.manifest.as_ref().ok_or_else(|| refused("its manifest has not arrived yet"))?;
        let sieve = manifest.sieve.as_ref().ok_or_else(|| {
            refused("it is no search and has no survivors to verify: run it again")
        })?;
        let covered = ledger.covered(run)?.within(manifest.requested);
        let reports = ledger.first_reports(run)?;
        if reports.is_empty() || covered.is_empty() {
            return Err(refused("nothing of it was tested yet, so there is nothing to verify"));
        }
        let tested = match manifest.parts {
            0 => Tested::Seeds(covered.clone()),
            _ => Tested::candidates(ledger.candidates(run)?),
        };
        Ok(Self { ledger, run, manifest, sieve, tested, covered, reports })
    }

    /// Notes what is said to be covered though no outcome tested it.
    pub fn coverage(&self, findings: &mut Findings) {
        let tested: Spans =
            self.reports.iter().flat_map(|report| report.tested.iter().copied()).collect();
        for span in self.covered.as_slice() {
            for hole in tested.holes(*span) {
                let nothing = None::<Said>;
                let about = about_spans(Kind::Coverage, &[hole], nothing.clone(), nothing, None);
                findings.add(about);
            }
        }
    }

    /// Chooses outcomes at random, those of other nodes than `own` first.
    #[must_use]
    pub fn choose(&self, share: Share, own: &str, random: &mut Random) -> Vec<&Report> {
        outcomes(&self.reports, share, own, random)
    }

    /// Which witnesses the outcomes may have counted with.
    #[must_use]
    pub fn guesses(&self) -> Guesses<'_> {
        Guesses::new(self.sieve, &self.reports)
    }

    /// How long survivors and samples should take on one core here, in seconds.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be read.
    pub fn predicted_seconds(&self, chosen: &[&Report]) -> Result<f64, LedgerError> {
        let sieve = self.sieve;
        let operations = operations_per_second(self.ledger, sieve, Arch::Cpu)?;
        let seeds: u128 = chosen.iter().map(|report| report.seeds()).sum();
        #[expect(clippy::cast_precision_loss, reason = "a prediction")]
        let (seeds, survivors) = (seeds as f64, self.run.counts.survivors as f64);
        let all = Cost::of_chosen(sieve, seeds).seeds(seeds)
            + Cost::of(sieve, Engine::Reference).seeds(survivors);
        Ok(all / operations)
    }

    /// What tests again here.
    ///
    /// # Errors
    /// [`LedgerError`] when the ledger can't be read.
    pub fn verifier<'v>(
        &'v self,
        claims: &'v LedgerClaims<'a>,
        runners: &'v Runners,
    ) -> Result<Verifier<'v, LedgerClaims<'a>>, LedgerError> {
        let sieve = self.sieve;
        let operations = operations_per_second(self.ledger, sieve, Arch::Cpu)? * PIECE_SECONDS;
        let tested: u128 = self.reports.iter().map(Report::seeds).sum();
        #[expect(clippy::cast_precision_loss, reason = "a prediction")]
        let cost = Cost::of_chosen(sieve, tested as f64);
        let piece = super::certified::seeds(cost.seeds_for(operations)).max(1);
        Ok(Verifier { claims, sieve, tested: &self.tested, runners, piece })
    }

    /// The run's survivors, as claims.
    #[must_use]
    pub const fn claims(&self) -> LedgerClaims<'a> {
        LedgerClaims { ledger: self.ledger, run: self.run }
    }

    /// Tests samples again on this machine, whose node is `own`.
    ///
    /// # Errors
    /// [`VerifyError`] when the ledger can't be read or a runner fails.
    pub async fn samples_here(
        &self,
        chosen: &[&Report],
        own: &str,
        runners: &Runners,
        progress: &dyn Fn(u64),
        findings: &mut Findings,
    ) -> Result<Retested, VerifyError> {
        let mut guesses = self.guesses();
        let samples: Vec<Sample> = chosen
            .iter()
            .map(|report| Sample {
                spans: report.tested.clone(),
                who: Some(Who::from(*report)),
                near_misses: counted(report)
                    .map(|near_misses| (near_misses, guesses.all(report, near_misses.count))),
            })
            .collect();
        let claims = self.claims();
        let verifier = self.verifier(&claims, runners)?;
        let near_misses_compared = verifier.samples(&samples, progress, findings).await?;
        let elsewhere = chosen.iter().filter(|report| report.node != own).count() as u64;
        Ok(Retested { near_misses_compared, elsewhere, verify_run: None })
    }

    /// Everything about the verification.
    #[must_use]
    pub fn verification(
        &self,
        survivors_tested: u64,
        chosen: &[&Report],
        random_seed: u64,
        retested: Retested,
        findings: Findings,
    ) -> Verification {
        let (disagreements, disagreement_count) = findings.into_sorted();
        Verification {
            run: self.run.name.clone(),
            survivors_tested,
            samples: chosen.len() as u64,
            seeds_tested: chosen.iter().map(|report| report.seeds()).sum(),
            near_misses_compared: retested.near_misses_compared,
            elsewhere: retested.elsewhere,
            covered: self.covered.count(),
            requested: self.manifest.requested.len(),
            random_seed,
            verify_run: retested.verify_run,
            agrees: disagreement_count == 0,
            disagreements,
            disagreement_count,
        }
    }
}

/// The near misses of an outcome, if its engine counts them.
pub(super) fn counted(report: &Report) -> Option<shared::witness::NearMisses> {
    // Each engine that there is counts them; one that this build does not know may count others.
    report.engine.and(report.near_misses)
}

/// Model operations a second of one slot (for `Cpu` of one thread), as learned or by default.
///
/// # Errors
/// [`LedgerError`] when the ledger can't be read.
pub fn operations_per_second(
    ledger: &Ledger,
    sieve: &Sieve,
    arch: Arch,
) -> Result<f64, LedgerError> {
    let learned = ledger.rates()?.into_iter().filter(|rate| {
        let key = &rate.key;
        (key.arch, key.family, key.mode) == (arch, sieve.family, sieve.mode)
            && key.engine != Engine::Reference
    });
    let slowest = learned.map(|rate| match arch {
        Arch::Cpu => rate.operations_per_second / f64::from(rate.key.threads.max(1)),
        _ => rate.operations_per_second,
    });
    let slowest = slowest.filter(|rate| rate.is_finite() && *rate > 0.0).reduce(f64::min);
    Ok(slowest.unwrap_or_else(|| cost::default_operations_per_second(arch)))
}
