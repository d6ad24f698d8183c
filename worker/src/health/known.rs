//! A short job with a known answer: a device that gives it computes.

use std::sync::Arc;

use shared::{
    families::Family,
    job::{Arch, Engine, Job, Task, Urgency},
    outcome::{SieveResult, Verdict},
    sieve::{Direction, Mode, Seeds, Sieve, Skips},
    spans::Span,
    wire::{self, WireError},
    witness::{NearMisses, Witness},
};

use crate::{
    child::Orders,
    job::{self, Bench, Taken},
    lease::Lease,
    slots::Slot,
};

/// The seeds that are sieved: the first so many.
const SEEDS: u64 = 1 << 20;
const SPAN: Span = match Span::new(0, SEEDS - 1) {
    Ok(span) => span,
    Err(_) => panic!("there are seeds"),
};
/// The one that survives, at skip 0.
const SURVIVOR: u64 = 777_777;
/// How many draws are compared.
const DRAWS: u32 = 12;
/// What draws are reduced by.
const MODULUS: u32 = 1000;
/// The seeds of which one of the first four outputs is the first draw, as a program of its own
/// counted them.
const NEAR_MISSES: NearMisses = NearMisses { count: 4173, sum: 11_023_212_298_843_233_264 };
/// A runner may have to be compiled for its device first.
const SECONDS: f64 = 300.0;

/// What a probe has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The device computes.
    Sound,
    /// It does not, and why.
    Faulty(String),
    /// The probe could not be made.
    NotMade(String),
}

/// The job: about a million seeds of a generator, of which one reproduces the draws.
#[must_use]
pub fn known_job(arch: Arch) -> Job {
    let sieve = Sieve {
        family: Family::JavaLcg,
        direction: Direction::Forward,
        mode: Mode::Fixed,
        modulus: MODULUS,
        draws: draws(),
        advance: 0,
        skips: Skips { lo: 0, hi: 3 },
        need: DRAWS,
        reverse_need: DRAWS,
    };
    Job {
        run: "probe".to_owned(),
        epoch: 1,
        id: "known-answer".to_owned(),
        seq: 1,
        task: Task::Sieve {
            sieve,
            seeds: Seeds::Range(SPAN),
            witness: Witness::new(DRAWS, DRAWS, 1),
        },
        arch,
        urgency: Urgency::Normal,
        engine: Engine::Scan,
        attempt: 1,
        max_attempts: 1,
        starts: 0,
        refused_by: Vec::new(),
        failed_on: Vec::new(),
        time_limit_seconds: SECONDS,
        soft_seconds: SECONDS,
        memory_mb: 0,
    }
}

/// The first draws of [`SURVIVOR`]: java.util.Random's recurrence without its scramble, bits 16
/// to 47.
fn draws() -> Vec<u32> {
    let mut state = SURVIVOR;
    (0..DRAWS)
        .map(|_| {
            state = (u128::from(state) * 0x5_DEEC_E66D + 11) as u64 & ((1 << 48) - 1);
            (state >> 16) as u32 % MODULUS
        })
        .collect()
}

/// Has a slot's runner do the job on its device.
pub async fn probe(bench: &Bench, slot: &Slot, lease: Option<Lease>, orders: Orders) -> Finding {
    let job = known_job(slot.arch);
    let bytes = match encoded(&job) {
        Ok(bytes) => bytes,
        Err(error) => return Finding::NotMade(format!("the job can't be written: {error}")),
    };
    let taken = Taken { job, bytes, at: job::now() };
    let ended = job::run(bench, slot, &taken, lease, orders, |_| ()).await;
    match ended.outcome.verdict {
        Verdict::Done(result) => judge(&result),
        Verdict::Failed { failure, detail, .. } if failure.started() => {
            Finding::Faulty(format!("{failure}: {detail}"))
        }
        Verdict::Failed { detail, .. } | Verdict::Returned { detail, .. } => {
            Finding::NotMade(detail)
        }
        // The known job is a sieve.
        Verdict::Finished(_) => Finding::NotMade("a script answered the probe".to_owned()),
    }
}

fn encoded(job: &Job) -> Result<Arc<Vec<u8>>, WireError> {
    Ok(Arc::new(wire::encode(job)?.body))
}

fn judge(result: &SieveResult) -> Finding {
    let whole = result.tested == [SPAN];
    let survivors = &result.survivors;
    let right = survivors.seeds == [SURVIVOR]
        && survivors.matches == [DRAWS]
        && survivors.skips == [0]
        && result.near_misses == NEAR_MISSES;
    match (whole, right) {
        (true, true) => Finding::Sound,
        (true, false) => {
            let misses = result.near_misses.count;
            let found = survivors.len();
            Finding::Faulty(format!(
                "it computes wrongly: {found} survivors and {misses} near misses of a known job"
            ))
        }
        (false, _) => Finding::NotMade("it stopped short of a known job's end".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_job_is_one_that_runners_take_and_a_wrong_answer_is_seen() {
        known_job(Arch::Rocm).validate().unwrap();
        let mut right = SieveResult { tested: vec![SPAN], ..SieveResult::default() };
        right.near_misses = NEAR_MISSES;
        right.survivors.seeds.push(SURVIVOR);
        right.survivors.matches.push(DRAWS);
        right.survivors.skips.push(0);
        assert_eq!(judge(&right), Finding::Sound);
        let blind = SieveResult { near_misses: NearMisses::default(), ..right.clone() };
        assert!(matches!(judge(&blind), Finding::Faulty(why) if why.contains("0 near misses")));
        let none = SieveResult { survivors: Default::default(), ..right.clone() };
        assert!(matches!(judge(&none), Finding::Faulty(_)));
        let short = Span::new(0, SEEDS / 2).unwrap();
        let short = SieveResult { tested: vec![short], ..right };
        assert!(matches!(judge(&short), Finding::NotMade(_)));
    }
}
