//! Checking a certificate against a file of survivors, without the ledger.

use shared::{job::Engine, outcome::Survivor, settings::host_name, spans::Span};

use super::{
    claims::ListedClaims,
    findings::{Findings, Kind, Said, Verification, Who, about, about_spans},
    retest::Runners,
    sample::{Random, Share, blocks},
    verifier::{Sample, Tested, Verifier, VerifyError},
};
use crate::{
    certificate::{Certificate, Hashed, hash_candidates, hash_survivors},
    cost::Cost,
};

/// How long one block takes, in seconds: short, so that even a small share is spread widely.
const BLOCK_SECONDS: f64 = 0.5;

/// The most blocks: beyond that they are longer.
const MOST_BLOCKS: u128 = 100_000;

/// A certificate with what it certifies.
#[derive(Debug)]
pub struct Certified {
    certificate: Certificate,
    survivors: Vec<Survivor>,
    requested: Span,
    tested: Tested,
}

/// Which blocks of a request are tested again.
#[derive(Debug)]
pub struct Blocks {
    samples: Vec<Sample>,
    piece: u128,
    /// How many seeds they hold.
    pub seeds: u128,
    /// How long they and the survivors should take on all cores.
    pub seconds: f64,
}

impl From<Hashed> for Said {
    fn from(Hashed { count, blake3 }: Hashed) -> Self {
        Self::Survivors { count, blake3 }
    }
}

impl Certified {
    /// A certificate with its survivors, ascending by seed, and its candidates if it has any.
    ///
    /// # Errors
    /// [`VerifyError::Refused`] when the candidates are not those of the certificate.
    pub fn new(
        certificate: Certificate,
        survivors: Vec<Survivor>,
        candidates: Option<Vec<u64>>,
    ) -> Result<Self, VerifyError> {
        let refused = |why: &str| Err(VerifyError::Refused(why.to_owned()));
        let requested = certificate.requested().map_err(VerifyError::Refused)?;
        let covered = certificate.covered().map_err(VerifyError::Refused)?;
        let tested = match (&certificate.request.candidates, candidates) {
            (None, None) => Tested::Seeds(covered),
            (None, Some(_)) => {
                return refused("the certificate is of a range of seeds: leave --candidates out");
            }
            (Some(_), None) => {
                return refused(
                    "the certificate is of a reverse_sieve: give its candidates by --candidates",
                );
            }
            (Some(hashed), Some(list)) if hash_candidates(&list) == *hashed => {
                Tested::candidates(list)
            }
            (Some(_), Some(_)) => {
                return refused(
                    "the candidates are not those that the certificate was written for: their \
                     BLAKE3 hash differs",
                );
            }
        };
        Ok(Self { certificate, survivors, requested, tested })
    }

    /// Chooses blocks of the request: the share, but not more than take `most_seconds`.
    #[must_use]
    pub fn blocks(
        &self,
        share: Share,
        most_seconds: f64,
        operations_per_second: f64,
        random: &mut Random,
    ) -> Blocks {
        let sieve = &self.certificate.request.sieve;
        #[expect(clippy::cast_precision_loss, reason = "a prediction")]
        let all = self.requested.len() as f64;
        let cost = Cost::of_chosen(sieve, all);
        let most = seeds(cost.seeds_for(operations_per_second * most_seconds));
        let wanted = share.of(self.requested.len()).min(most);
        let block = seeds(cost.seeds_for(operations_per_second * BLOCK_SECONDS));
        let piece = block.max(wanted.div_ceil(MOST_BLOCKS)).max(1);
        let spans = blocks(self.requested, piece, share, most, random);
        let slow = operations_per_second / Cost::of(sieve, Engine::Reference).each;
        let count: u128 = spans.iter().map(|span| span.len()).sum();
        #[expect(clippy::cast_precision_loss, reason = "a prediction")]
        let seconds =
            cost.seeds(count as f64) / operations_per_second + self.survivors.len() as f64 / slow;
        let sample = |span| Sample { spans: vec![span], who: None, near_misses: None };
        Blocks { samples: spans.into_iter().map(sample).collect(), piece, seeds: count, seconds }
    }

    /// Checks everything: the hash, the coverage, every survivor, the chosen blocks.
    ///
    /// # Errors
    /// [`VerifyError`] when a runner fails.
    pub async fn verify(
        &self,
        chosen: &Blocks,
        random_seed: u64,
        runners: &Runners,
        progress: &dyn Fn(u64),
    ) -> Result<Verification, VerifyError> {
        let Self { certificate, requested, .. } = self;
        let mut findings = Findings::default();
        let hashed = hash_survivors(self.survivors.iter().copied());
        if hashed != certificate.survivors {
            let certified = Some(certificate.survivors.clone());
            findings.add(about(Kind::SurvivorsHash, certified, Some(hashed), None));
        }
        let covered = certificate.covered().map_err(VerifyError::Refused)?;
        for hole in covered.holes(*requested) {
            let nothing = None::<Said>;
            findings.add(about_spans(Kind::Coverage, &[hole], nothing.clone(), nothing, None));
        }
        let claims = ListedClaims::new(self.survivors.clone(), self.only_device());
        let sieve = &certificate.request.sieve;
        let tested = &self.tested;
        let verifier = Verifier { claims: &claims, sieve, tested, runners, piece: chosen.piece };
        let survivors_tested = verifier.survivors(progress, &mut findings).await?;
        let compared = verifier.samples(&chosen.samples, progress, &mut findings).await?;
        let samples = chosen.samples.len() as u64;
        let own = host_name();
        let was_here = certificate.devices.iter().any(|device| device.node == own);
        let (disagreements, disagreement_count) = findings.into_sorted();
        Ok(Verification {
            run: certificate.run.clone(),
            survivors_tested,
            samples,
            seeds_tested: chosen.seeds,
            near_misses_compared: compared,
            // A certificate does not say which device tested which block.
            elsewhere: if was_here { 0 } else { samples },
            covered: covered.within(*requested).count(),
            requested: requested.len(),
            random_seed,
            verify_run: None,
            agrees: disagreement_count == 0,
            disagreements,
            disagreement_count,
        })
    }

    /// The one device that did everything, if it was one.
    fn only_device(&self) -> Option<Who> {
        let mut devices = self.certificate.devices.iter();
        let first = devices.next()?;
        let same =
            devices.all(|other| (&other.node, &other.device) == (&first.node, &first.device));
        same.then(|| Who {
            node: first.node.clone(),
            device: first.device.clone(),
            model: first.model.clone(),
            at: self.certificate.ended_at,
        })
    }
}

/// The whole part; what is too large saturates.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
pub(super) const fn seeds(count: f64) -> u128 {
    count as u128
}
