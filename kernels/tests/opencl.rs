//! The device code on whatever OpenCL device is here (PoCL makes one of the processor) equals the
//! reference engine in everything that it reports.
#![expect(clippy::print_stdout, reason = "a test that is skipped says so")]
#![expect(clippy::unwrap_used, reason = "a test stops where something is wrong")]

#[path = "../src/bin/runner_opencl/driver.rs"]
mod driver;
mod support;

use std::{
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
};

use kernels::{
    device::{Cache, Device, Form, Plan},
    engine::Prepared,
    generators::stream,
    runner::Tester,
    sequence::Sequence,
};
use shared::{
    families::Family,
    job::{Engine, Job},
    outcome::Failure,
    runner::Frame,
    sieve::{Direction, Mode, Seeds, Sieve, Skips},
    spans::Span,
    witness::{Witness, splitmix64},
};
use support::{end, job, range, sieve};

/// PoCL 3.1 crashes when two threads compile at the same time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The device, or `None` with a message where there is none.
fn device() -> Option<driver::OpenCl> {
    let folder = std::env::temp_dir().join(format!("rigqueue-opencl-{}", std::process::id()));
    let found = driver::OpenCl::open(Cache::at(folder));
    if let Err(fault) = &found {
        println!("skipped: {fault}");
    }
    found.ok()
}

/// Random numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 += 1;
        splitmix64(self.0) % end
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }
}

/// A question, the seeds that it is put to, and how the device is to look.
#[derive(Debug)]
struct Asked {
    sieve: Sieve,
    witness: Witness,
    seeds: Seeds,
    form: Form,
}

/// Any modulus, direction and window; ranges of one seed, unaligned ones, ones at the end of the
/// seed width, lists; one of the seeds made most of the draws.
fn ask(family: Family, random: &mut Random) -> Asked {
    let modulus = match random.below(4) {
        0 | 1 => 1000,
        2 => random.of(&[2, 3, 10, 64, 1 << 20, 32_768, 32_769, i32::MAX as u32]),
        _ => 2 + random.below(70_000) as u32,
    };
    let lo = random.of(&[0, 0, 1, 7]);
    let skips = Skips { lo, hi: lo + random.below(9) as u32 };
    let k = 1 + random.below(20) as u32;
    let direction = random.of(&[Direction::Forward, Direction::Reverse, Direction::Both]);
    let need = 1 + random.below(u64::from(k)) as u32;
    let both = 1 + random.below(u64::from(k)) as u32;
    let count = random.of(&[1, 2, 15, 16, 17, 500, 2049]);
    let last = u64::try_from(family.seed_end() - 1).unwrap();
    let first = match random.below(3) {
        0 => last - (count - 1),
        1 => 0,
        _ => splitmix64(random.0) & last,
    }
    .min(last - (count - 1));
    let seeds = if random.below(4) == 0 {
        let seeds = (0..count).map(|n| splitmix64(first ^ n) & last).collect();
        Seeds::Candidates { first_index: 9, seeds }
    } else {
        Seeds::Range(Span::new(first, first + (count - 1)).unwrap())
    };
    let mut sieve = Sieve {
        family,
        direction,
        mode: Mode::Fixed,
        modulus,
        draws: (0..k).map(|_| random.below(u64::from(modulus)) as u32).collect(),
        advance: random.of(&[0, 0, 3, 700]),
        skips,
        need,
        reverse_need: if direction == Direction::Both { both } else { need },
    };
    let planted = Sequence::new(&seeds).get(random.below(count));
    let skip = skips.lo + random.below(u64::from(skips.count())) as u32;
    let outputs = stream(family, modulus, planted, sieve.last_position() as usize + 1);
    for index in (0..k).filter(|_| random.below(4) > 0).collect::<Vec<_>>() {
        let output = outputs[sieve.position(index, skip) as usize];
        let place = if direction == Direction::Reverse { k - 1 - index } else { index };
        sieve.draws[place as usize] = (output % u64::from(modulus)) as u32;
    }
    let witness = Witness::new(k, need, 1 + random.below(u64::from(need)) as u32);
    sieve.validate().unwrap();
    sieve.validate_witness(witness).unwrap();
    Asked { sieve, witness, seeds, form: random.of(&[Form::Shortest, Form::Table]) }
}

/// The same question with variable skips: one of the seeds made the draws, with gaps that wander.
fn ask_variable(family: Family, random: &mut Random) -> Asked {
    let mut asked = ask(family, random);
    let Asked { sieve, seeds, .. } = &mut asked;
    (sieve.mode, sieve.skips) = (Mode::Variable, Skips { lo: 0, hi: 0 });
    let seeds = Sequence::new(seeds);
    let planted = seeds.get(random.below(seeds.len() as u64));
    let (mut cursor, mut gap) = (sieve.advance as usize, 5);
    let k = sieve.draws.len();
    let outputs = stream(family, sieve.modulus, planted, cursor + 40 * k);
    for index in 0..k {
        gap = (gap + random.below(9) as usize).saturating_sub(4);
        let place = if sieve.direction == Direction::Reverse { k - 1 - index } else { index };
        // Some are missed.
        if random.below(8) > 0 {
            let output = outputs[cursor + gap.min(38)];
            sieve.draws[place] = (output % u64::from(sieve.modulus)) as u32;
        }
        cursor += gap.min(38) + 1;
    }
    sieve.validate().unwrap();
    asked
}

/// How many survived, the same on the device as by the definition.
fn assert_agreement(device: &mut driver::OpenCl, asked: &Asked) -> usize {
    let Asked { sieve, witness, seeds, form } = asked;
    let listed = matches!(seeds, Seeds::Candidates { .. });
    let plan = Plan::new(sieve, *witness, listed, *form).unwrap();
    let mut tester = Device::new(device, &plan, sieve, *witness).unwrap();
    let seeds = Sequence::new(seeds);
    let expected = Prepared::new(Engine::Reference, sieve, *witness).test(&seeds, usize::MAX);
    assert_eq!(tester.test(&seeds, usize::MAX).unwrap(), expected, "{asked:?}");
    tester.conclude().unwrap();
    expected.found.len()
}

fn assert_random_plans_agree(
    families: &[Family],
    ask: fn(Family, &mut Random) -> Asked,
    mut random: Random,
) {
    let _alone = alone();
    let Some(mut device) = device() else { return };
    let mut survivors = 0;
    for &family in families {
        survivors += assert_agreement(&mut device, &ask(family, &mut random));
    }
    assert!(survivors > 100, "{survivors}");
}

#[test]
fn random_plans_of_the_first_families_agree_with_the_reference() {
    assert_random_plans_agree(&Family::ALL[..11], ask, Random(4));
}

#[test]
fn random_plans_of_the_other_families_agree_with_the_reference() {
    assert_random_plans_agree(&Family::ALL[11..], ask, Random(5));
}

#[test]
fn variable_skips_of_the_first_families_agree_with_the_reference() {
    assert_random_plans_agree(&Family::ALL[..11], ask_variable, Random(6));
}

#[test]
fn variable_skips_of_the_other_families_agree_with_the_reference() {
    assert_random_plans_agree(&Family::ALL[11..], ask_variable, Random(7));
}

#[test]
fn a_whole_job_with_variable_skips_is_what_the_processor_makes_of_it() {
    let _alone = alone();
    if device().is_none() {
        return;
    }
    for direction in [Direction::Forward, Direction::Both] {
        let mut sieve = sieve(Family::JavaLcg, 3);
        (sieve.mode, sieve.skips) = (Mode::Variable, Skips { lo: 0, hi: 0 });
        (sieve.direction, sieve.reverse_need) = (direction, 3);
        let whole = job(sieve, range(1 << 40, (1 << 40) + 40_000));
        let ended = run_opencl(&whole, "");
        let expected = support::run(&whole, &[]);
        assert_eq!(ended.result().tested, expected.result().tested);
        assert_eq!(ended.result().survivors, expected.result().survivors);
        assert_eq!(ended.result().near_misses, expected.result().near_misses);
        assert_eq!(ended.stderr, "");
        let survivors = &expected.result().survivors;
        assert!(!survivors.is_empty() && survivors.sequences.len() == survivors.len());
    }
    let mut sieve = sieve(Family::JavaLcg, 12);
    (sieve.mode, sieve.skips) = (Mode::Variable, Skips { lo: 0, hi: 0 });
    let ended = run_opencl(&job(sieve, range(5, 40_004)), "tables");
    let Some(Frame::Failed { failure, .. }) = ended.frames.last() else { panic!("{ended:?}") };
    assert_eq!(*failure, Failure::WitnessMissed);
}

/// A first stage that is written out as far as the 620th output: the twister's words without its
/// state, in all three of their forms.
#[test]
fn long_plans_that_are_written_out_agree_with_the_reference() {
    let _alone = alone();
    let Some(mut device) = device() else { return };
    for (family, lo, hi) in [(Family::Mt19937, 30, 30), (Family::JavaLcg, 0, 20)] {
        let mut sieve = sieve(family, 3);
        sieve.modulus = 10;
        sieve.draws = (0..20).map(|draw| draw * 7 % 10).collect();
        (sieve.skips, sieve.need, sieve.reverse_need) = (Skips { lo, hi }, 7, 7);
        let plan = Plan::new(&sieve, Witness::new(20, 7, 5), false, Form::Shortest).unwrap();
        assert!(plan.is_straight());
        let seeds = range(1_000_000, 1_030_000);
        let witness = Witness::new(20, 7, 5);
        let asked = Asked { sieve, witness, seeds, form: Form::Shortest };
        assert!(assert_agreement(&mut device, &asked) > 10);
    }
}

fn run_opencl(job: &Job, fault: &str) -> support::Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runner-opencl"));
    command.args(["--threads", "1"]).env("RIGQUEUE_DEVICE_FAULT", fault);
    end(support::start_as(&mut command, &rmp_serde::to_vec_named(job).unwrap()))
}

#[test]
fn a_whole_job_is_what_the_processor_makes_of_it() {
    let _alone = alone();
    if device().is_none() {
        return;
    }
    let whole = job(sieve(Family::Pcg32, 3), range(u64::MAX - 3_000_000, u64::MAX));
    let ended = run_opencl(&whole, "");
    let expected = support::run(&whole, &[]);
    assert_eq!(ended.result().tested, expected.result().tested);
    assert_eq!(ended.result().survivors, expected.result().survivors);
    assert_eq!(ended.result().near_misses, expected.result().near_misses);
    assert!(!expected.result().survivors.is_empty());
}

/// No device here is a GPU, so whatever card a runner was given, it is not there.
#[test]
fn a_given_card_that_is_not_shown_is_no_card() {
    let _alone = alone();
    if device().is_none() {
        return;
    }
    let asked = job(sieve(Family::Pcg32, 3), range(0, 999));
    let mut command = Command::new(env!("CARGO_BIN_EXE_runner-opencl"));
    command.args(["--threads", "1"]).env("RIGQUEUE_DEVICE", "0000:fe:00.0");
    let ended = end(support::start_as(&mut command, &rmp_serde::to_vec_named(&asked).unwrap()));
    assert_eq!(ended.code, Some(6), "{}", ended.stderr);
    let Some(Frame::Failed { failure, detail }) = ended.frames.last() else {
        panic!("{:?}", ended.frames)
    };
    assert!(detail.contains("0000:fe:00.0"), "{detail}");
    // A node without AMD's compute driver, or a user who may not use it, is not the card's fault.
    let usable = std::fs::File::options().read(true).write(true).open("/dev/kfd").is_ok();
    let expected = if usable { Failure::DeviceLost } else { Failure::SpawnFailed };
    assert_eq!(*failure, expected, "{detail}");
}

#[test]
fn memory_that_goes_bad_is_found_by_the_witness() {
    let _alone = alone();
    if device().is_none() {
        return;
    }
    let whole = job(sieve(Family::Pcg32, 12), range(5, 1_000_004));
    let ended = run_opencl(&whole, "tables");
    let Some(Frame::Failed { failure, detail }) = ended.frames.last() else { panic!("{ended:?}") };
    assert_eq!(*failure, Failure::WitnessMissed);
    assert!(detail.contains("near misses"), "{detail}");
    assert_eq!(ended.code, Some(6));
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
}

#[test]
fn what_the_device_cannot_take_is_left_to_the_processor() {
    let _alone = alone();
    if device().is_none() {
        return;
    }
    let mut wide = sieve(Family::Xorshift32, 3);
    wide.skips = Skips { lo: 0, hi: 600 };
    let whole = job(wide, range(0, 50_000));
    let ended = run_opencl(&whole, "");
    assert_eq!(ended.result().survivors, support::run(&whole, &[]).result().survivors);
    assert!(ended.stderr.contains("601 skips"), "{}", ended.stderr);
}
