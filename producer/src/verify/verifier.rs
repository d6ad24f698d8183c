//! Testing claims again: every survivor by the reference engine, samples in full.

use shared::{
    job::{Engine, Job, MAX_CANDIDATES},
    outcome::SieveResult,
    sieve::{Seeds, Sieve},
    spans::{Span, Spans},
    witness::{NearMisses, Witness},
};

use super::{
    claims::Claims,
    findings::{self, Findings, Kind, Who, differences},
    listed::ListedError,
    retest::{RetestError, Runners, job},
};
use crate::{
    certificate::CertificateError,
    failure::Failure,
    ledger::{LedgerError, Reported},
};

/// A verification that could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A runner.
    #[error(transparent)]
    Retest(#[from] RetestError),
    /// The certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The file of survivors.
    #[error(transparent)]
    Survivors(#[from] ListedError),
    /// Something that can't be verified as asked.
    #[error("{0}")]
    Refused(String),
}

impl From<VerifyError> for Failure {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Ledger(error) => error.into(),
            VerifyError::Retest(RetestError::Absent(error)) => error.into(),
            VerifyError::Retest(error) => Self::internal(error),
            VerifyError::Certificate(CertificateError::Ledger(error)) => error.into(),
            VerifyError::Certificate(_) | VerifyError::Survivors(_) | VerifyError::Refused(_) => {
                Self::usage(error)
            }
        }
    }
}

/// What a run tests.
#[derive(Debug, Clone)]
pub enum Tested {
    /// The seeds that were covered.
    Seeds(Spans),
    /// A list of candidates; intervals are of their indices.
    Candidates {
        /// In the list's order.
        list: Vec<u64>,
        /// The same, ascending.
        sorted: Vec<u64>,
    },
}

impl Tested {
    /// A list of candidates.
    #[must_use]
    pub fn candidates(list: Vec<u64>) -> Self {
        let mut sorted = list.clone();
        sorted.sort_unstable();
        Self::Candidates { list, sorted }
    }

    /// Whether a seed is among what was tested.
    fn holds(&self, seed: u64) -> bool {
        match self {
            Self::Seeds(covered) => covered.contains(seed),
            Self::Candidates { sorted, .. } => sorted.binary_search(&seed).is_ok(),
        }
    }

    /// The seeds of an interval; `None` past the list's end.
    #[must_use]
    pub fn seeds(&self, span: Span) -> Option<Seeds> {
        match self {
            Self::Seeds(_) => Some(Seeds::Range(span)),
            Self::Candidates { list, .. } => {
                let (first, last) =
                    (usize::try_from(span.first()).ok()?, usize::try_from(span.last()).ok()?);
                let seeds = list.get(first..=last)?.to_vec();
                Some(Seeds::Candidates { first_index: span.first(), seeds })
            }
        }
    }

    /// What is claimed of an interval's seeds.
    pub(super) fn claimed(
        &self,
        claims: &impl Claims,
        span: Span,
    ) -> Result<Vec<Reported>, VerifyError> {
        match self.seeds(span) {
            None => Err(past_the_list(span)),
            Some(Seeds::Range(span)) => Ok(claims.within(span)?),
            Some(Seeds::Candidates { seeds, .. }) => {
                let claimed = seeds.into_iter().map(|seed| claims.of(seed));
                Ok(claimed.filter_map(Result::transpose).collect::<Result<_, _>>()?)
            }
        }
    }
}

fn past_the_list(span: Span) -> VerifyError {
    VerifyError::Refused(format!("the candidates {span} are not all in the run's list"))
}

/// An interval, or several of one report, to be tested again.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Where.
    pub spans: Vec<Span>,
    /// Who reported it first.
    pub who: Option<Who>,
    /// The near misses that were reported, and the witnesses they may have been counted with, the
    /// likeliest first; `None` when they are not compared.
    pub near_misses: Option<(NearMisses, Vec<Witness>)>,
}

/// Tests claims again with the runners of this machine.
#[derive(Debug)]
pub struct Verifier<'a, C> {
    /// What is claimed.
    pub claims: &'a C,
    /// The question.
    pub sieve: &'a Sieve,
    /// What it was put to.
    pub tested: &'a Tested,
    /// Who tests.
    pub runners: &'a Runners,
    /// How many seeds are worth a runner of their own.
    pub piece: u128,
}

impl<C: Claims> Verifier<'_, C> {
    /// Tests every claimed survivor again, by the reference engine; how many there were.
    ///
    /// # Errors
    /// [`VerifyError`] when the claims can't be read or a runner fails.
    pub async fn survivors(
        &self,
        progress: &dyn Fn(u64),
        findings: &mut Findings,
    ) -> Result<u64, VerifyError> {
        let Self { claims, sieve, tested, .. } = *self;
        let plain = Witness::new(sieve.window(), sieve.need, 1);
        // What is no seed of the family is no survivor either, and no runner takes it.
        let last = u64::try_from(sieve.family.seed_end() - 1).unwrap_or(u64::MAX);
        let mut after = None;
        let mut batch = || -> Result<Option<(Vec<Reported>, Job)>, VerifyError> {
            let mut batch = claims.after(after, MAX_CANDIDATES)?;
            batch.retain(|claim| claim.survivor.seed <= last);
            let Some(end) = batch.last() else { return Ok(None) };
            after = Some(end.survivor.seed);
            let seeds = batch.iter().map(|claim| claim.survivor.seed).collect();
            let seeds = Seeds::Candidates { first_index: 0, seeds };
            let asked = job(sieve, Engine::Reference, plain, seeds);
            Ok(Some((batch, asked)))
        };
        let mut count = 0;
        let mut compare = |batch: Vec<Reported>, result: SieveResult| -> Result<(), VerifyError> {
            count += batch.len() as u64;
            for claim in batch.iter().filter(|claim| !tested.holds(claim.survivor.seed)) {
                let who = claims.who(claim.outcome)?;
                let seed = (claim.survivor.seed, sieve.mode);
                let claimed = Some(claim.survivor);
                findings.add(findings::about_seed(Kind::Outside, seed, claimed, None, who));
            }
            self.compare(&batch, &result, None, findings)
        };
        let batches = std::iter::from_fn(|| batch().transpose());
        self.runners.test(batches, progress, &mut compare).await?;
        compare(claims.after(Some(last), usize::MAX)?, SieveResult::default())?;
        Ok(count)
    }

    /// Compares what was claimed with what a re-test of the same seeds found.
    fn compare(
        &self,
        claimed: &[Reported],
        result: &SieveResult,
        silent: Option<&Who>,
        findings: &mut Findings,
    ) -> Result<(), VerifyError> {
        for (seed, claim, found) in differences(claimed, result.survivors.iter()) {
            let kind = match (claim, found) {
                (Some(_), Some(_)) => Kind::Differs,
                (Some(_), None) => Kind::NotASurvivor,
                (None, _) => Kind::MissingSurvivor,
            };
            let who = match claim {
                Some(claim) => self.claims.who(claim.outcome)?,
                None => silent.cloned(),
            };
            let claimed = claim.map(|claim| claim.survivor);
            let seed = (seed, self.sieve.mode);
            findings.add(findings::about_seed(kind, seed, claimed, found, who));
        }
        Ok(())
    }

    /// Tests samples again in full and compares survivors and near misses; for how many samples
    /// near misses were compared.
    ///
    /// # Errors
    /// [`VerifyError`] when the claims can't be read or a runner fails.
    pub async fn samples(
        &self,
        samples: &[Sample],
        progress: &dyn Fn(u64),
        findings: &mut Findings,
    ) -> Result<u64, VerifyError> {
        let plain = Witness::new(self.sieve.window(), self.sieve.need, 1);
        let witness = |at: usize, turn: usize| match &samples[at].near_misses {
            Some((_, witnesses)) => witnesses.get(turn).copied(),
            None => (turn == 0).then_some(plain),
        };
        let reported = |at: usize| samples[at].near_misses.as_ref().map(|(reported, _)| *reported);
        let mut first = Vec::new();
        // Those whose near misses no witness has explained yet.
        let mut open: Vec<usize> = (0..samples.len()).collect();
        for turn in 0.. {
            let asked: Vec<(usize, Witness)> =
                open.iter().filter_map(|&at| Some((at, witness(at, turn)?))).collect();
            if asked.is_empty() {
                break;
            }
            let mut found = vec![NearMisses::default(); samples.len()];
            let jobs = asked.iter().flat_map(|&(at, witness)| {
                let pieces = samples[at].spans.iter().flat_map(|span| self.cut(*span));
                pieces.map(move |piece| Ok(((at, piece), self.job(piece, witness)?)))
            });
            let take = |(at, piece): (usize, Span), result: SieveResult| {
                found[at].merge(result.near_misses);
                // With another witness the survivors are the same.
                if turn > 0 {
                    return Ok(());
                }
                let claimed = self.tested.claimed(self.claims, piece)?;
                self.compare(&claimed, &result, samples[at].who.as_ref(), findings)
            };
            // Time is predicted for the first turn; others are rare and not shown.
            let progress = if turn == 0 { progress } else { &|_| {} };
            self.runners.test(jobs, progress, take).await?;
            open.retain(|&at| {
                let was_asked = witness(at, turn).is_some();
                reported(at).is_some_and(|reported| !was_asked || reported != found[at])
            });
            if turn == 0 {
                first = found;
            }
        }
        for at in open {
            let (kind, who) = (Kind::NearMisses, samples[at].who.clone());
            let (reported, found) = (reported(at), Some(first[at]));
            findings.add(findings::about_spans(kind, &samples[at].spans, reported, found, who));
        }
        Ok(samples.iter().filter(|sample| sample.near_misses.is_some()).count() as u64)
    }

    /// An interval as pieces, each worth a runner of its own.
    fn cut(&self, span: Span) -> impl Iterator<Item = Span> + use<C> {
        let most = match self.tested {
            Tested::Seeds(_) => self.piece,
            Tested::Candidates { .. } => self.piece.min(MAX_CANDIDATES as u128),
        };
        cut(span, most)
    }

    fn job(&self, span: Span, witness: Witness) -> Result<Job, VerifyError> {
        let seeds = self.tested.seeds(span).ok_or_else(|| past_the_list(span))?;
        Ok(job(self.sieve, Engine::Auto, witness, seeds))
    }
}

/// An interval as pieces of `most` values, the last one shorter.
pub(super) fn cut(span: Span, most: u128) -> impl Iterator<Item = Span> {
    let mut rest = Some(span);
    std::iter::from_fn(move || {
        let (piece, after) = rest?.split_at(most);
        rest = after;
        Some(piece)
    })
}
