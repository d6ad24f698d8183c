//! A sample of random seeds, sieved by a runner of this machine: how many chance alone lets
//! survive, where that can't be counted (variable skips).

use shared::{
    job::{Engine, MAX_CANDIDATES},
    outcome::SieveResult,
    sieve::{Mode, Seeds, Sieve},
    witness::{Witness, splitmix64},
};

use crate::{
    chance::Sample,
    cost::Cost,
    failure::Failure,
    request::Request,
    runner::BesideError,
    verify::{RetestError, Runners, job},
};

/// How many seeds.
const SEEDS: u32 = 1 << 16;
/// Model operations that a sample may take: about ten seconds.
const MOST_OPERATIONS: f64 = 3e11;

/// A request with a sample, if its chance survivors can't be counted. Without a runner here there
/// is none, and the model is asked instead.
///
/// # Errors
/// A runner that fails.
pub(crate) async fn sampled(mut request: Request) -> Result<Request, Failure> {
    let Some(sieve) = request.question.sieve() else { return Ok(request) };
    if sieve.mode != Mode::Variable {
        return Ok(request);
    }
    match take(sieve, request.engine).await {
        Ok(sample) => request.sample = Some(sample),
        Err(RetestError::Absent(BesideError::Absent { .. })) => {}
        Err(error) => return Err(Failure::internal(error)),
    }
    Ok(request)
}

async fn take(sieve: &Sieve, engine: Engine) -> Result<Sample, RetestError> {
    let each = Cost::of(sieve, engine).each;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 2^16")]
    let seeds = (MOST_OPERATIONS / each).clamp(1.0, f64::from(SEEDS)) as u32;
    let runners = Runners::beside_this_program()?;
    // All seeds of the family are as random as those asked for, and the seed that made the draws
    // is not likely among them. The same in each sample, so that its figures come again.
    let last = u64::try_from(sieve.family.seed_end() - 1).unwrap_or(u64::MAX);
    let random: Vec<u64> =
        (0..u64::from(seeds)).map(|number| splitmix64(splitmix64(number)) & last).collect();
    let witness = Witness::new(sieve.window(), sieve.need, 1);
    let most = MAX_CANDIDATES.min(random.len().div_ceil(runners.side_by_side));
    let jobs = random.chunks(most).map(|seeds| {
        let seeds = Seeds::Candidates { first_index: 0, seeds: seeds.to_vec() };
        Ok(((), job(sieve, Engine::Auto, witness, seeds)))
    });
    let mut survivors = 0;
    let count = |(), result: SieveResult| -> Result<(), RetestError> {
        survivors += u32::try_from(result.survivors.len()).unwrap_or(u32::MAX);
        Ok(())
    };
    runners.test(jobs, &|_| {}, count).await?;
    Ok(Sample { seeds, survivors })
}
