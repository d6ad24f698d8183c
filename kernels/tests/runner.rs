//! The real runner, as a worker starts it.
#![expect(clippy::unwrap_used, reason = "a test stops where something is wrong")]

mod support;

use shared::{
    families::Family,
    job::{Engine, Job, Task},
    outcome::{Failure, MAX_SURVIVORS, SieveResult},
    runner::{EXIT_REJECTED, Frame},
    sieve::{Direction, Seeds},
    spans::Span,
    witness::NearMisses,
};
use support::{end, job, range, run, sieve, start};

/// What the reference engine says of the part of a job that a result claims.
fn reference_of(whole: &Job, tested: Span) -> SieveResult {
    let mut part = whole.for_part(tested).unwrap();
    part.engine = Engine::Reference;
    run(&part, &[]).result().clone()
}

/// The result's claims stand, and its survivors and near misses are those of what it tested.
fn assert_true_of(whole: &Job, result: &SieveResult) {
    let [tested] = result.tested[..] else { panic!("tested {:?}", result.tested) };
    assert_eq!(tested.first(), whole.span().unwrap().first());
    let expected = reference_of(whole, tested);
    assert_eq!(expected.tested, [tested]);
    assert_eq!(result.survivors, expected.survivors);
    assert_eq!(result.near_misses, expected.near_misses);
    assert!(result.survivors.is_whole());
}

#[test]
fn a_small_job_is_tested_whole() {
    for threads in ["1", "3"] {
        let whole = job(sieve(Family::JavaRandom, 2), range(1000, 200_000));
        let ended = run(&whole, &["--threads", threads]);
        assert_eq!(ended.result().engine, Engine::Scan);
        assert_eq!(ended.result().tested, [Span::new(1000, 200_000).unwrap()]);
        assert!(!ended.result().survivors.is_empty());
        assert_true_of(&whole, ended.result());
    }
}

#[test]
fn one_seed_is_a_job() {
    for seed in [0, u64::MAX] {
        let ended = run(&job(sieve(Family::Sfc64, 1), range(seed, seed)), &[]);
        assert_eq!(ended.result().tested, [Span::new(seed, seed).unwrap()]);
    }
}

#[test]
fn candidates_are_covered_by_index_and_reported_in_the_lists_order() {
    let mut sieve = sieve(Family::Minstd, 1);
    sieve.direction = Direction::Both;
    let seeds = (0..5000_u64).map(|n| n * 2_654_435_761 % (1 << 32)).collect();
    let whole = job(sieve, Seeds::Candidates { first_index: 70, seeds });
    let ended = run(&whole, &["--threads", "2"]);
    assert_eq!(ended.result().tested, [Span::new(70, 5069).unwrap()]);
    assert!(!ended.result().survivors.reverse_skips.is_empty());
    assert_true_of(&whole, ended.result());
}

#[test]
fn near_misses_of_two_parts_add_up() {
    let whole = job(sieve(Family::Xorshift32, 12), range(5, 100_004));
    let mut sum = NearMisses::default();
    for part in [Span::new(5, 33_333).unwrap(), Span::new(33_334, 100_004).unwrap()] {
        sum.merge(run(&whole.for_part(part).unwrap(), &[]).result().near_misses);
    }
    assert!(sum.count > 0);
    assert_eq!(sum, run(&whole, &["--threads", "2"]).result().near_misses);
}

#[test]
fn too_many_survivors_cut_the_block_after_the_last_that_fits() {
    for threads in ["1", "2"] {
        let mut sieve = sieve(Family::Pcg32, 8);
        sieve.modulus = 2;
        sieve.draws = vec![0, 1, 1, 0, 1, 0, 0, 1, 1, 1, 0, 1];
        let whole = job(sieve, range(u64::MAX - 5_000_000, u64::MAX));
        let ended = run(&whole, &["--threads", threads]);
        let result = ended.result();
        assert_eq!(result.survivors.len(), MAX_SURVIVORS);
        assert_eq!(result.tested[0].last(), result.survivors.seeds[MAX_SURVIVORS - 1]);
        assert_true_of(&whole, result);
    }
}

#[test]
fn soft_seconds_finish_short_after_one_block_at_least() {
    let mut whole = job(sieve(Family::Mt19937, 12), range(0, u64::from(u32::MAX)));
    for (soft, args) in [(1e-9, &["--threads", "2"][..]), (600.0, &["--soft-seconds", "0"])] {
        whole.soft_seconds = soft;
        let ended = run(&whole, args);
        assert!(ended.result().tested[0].len() < 1 << 20);
        assert_true_of(&whole, ended.result());
    }
}

#[test]
fn term_finishes_short_at_a_block_boundary() {
    let mut whole = job(sieve(Family::Mt19937, 3), range(0, u64::from(u32::MAX)));
    let Task::Sieve { sieve, witness, .. } = &mut whole.task else { panic!("a sieve") };
    sieve.skips.hi = 20;
    witness.first = 10;
    let bytes = rmp_serde::to_vec_named(&whole).unwrap();
    let mut child = start(&bytes, &["--threads", "2"]);
    // The first progress says that it is in the midst of things.
    let first = shared::runner::read_frame(child.stdout.as_mut().unwrap()).unwrap();
    assert!(matches!(first, Some(Frame::Progress(progress)) if progress.tested > 0));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let ended = end(child);
    let tested = ended.result().tested[0];
    assert!(tested.len() < 1 << 32);
    // A part that the slow reference engine does not take long for.
    let head = tested.split_at(30_000).0;
    let short = run(&whole.for_part(head).unwrap(), &[]);
    assert_true_of(&whole, short.result());
    assert!(ended.result().survivors.seeds.starts_with(&short.result().survivors.seeds));
    let again = run(&whole.for_part(tested).unwrap(), &["--threads", "2"]);
    assert_eq!(again.result().survivors, ended.result().survivors);
    assert_eq!(again.result().near_misses, ended.result().near_misses);
}

/// Exit code, last frame and stderr of a rejection.
fn assert_rejected(input: &[u8], because: &str) {
    let ended = end(start(input, &[]));
    assert_eq!(ended.code, Some(EXIT_REJECTED), "{ended:?}");
    let [Frame::Rejected(reason)] = &ended.frames[..] else { panic!("{:?}", ended.frames) };
    assert!(reason.contains(because), "{reason}");
    assert!(ended.stderr.contains(because), "{}", ended.stderr);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
}

#[test]
fn garbage_is_rejected() {
    assert_rejected(b"", "0 bytes");
    assert_rejected(b"\xc1\xff\x00 no MessagePack", "can't be decoded");
    assert_rejected(&vec![0xC0; shared::wire::MAX_MESSAGE + 1], "longer than");
    let bytes = rmp_serde::to_vec_named(&job(sieve(Family::Lcg32, 3), range(0, 9))).unwrap();
    for length in [1, bytes.len() / 2, bytes.len() - 1] {
        assert_rejected(&bytes[..length], "can't be decoded");
    }
}

#[test]
fn a_job_that_makes_no_sense_is_rejected() {
    let wide = job(sieve(Family::Mt19937, 3), range(0, 1 << 32));
    assert_rejected(&rmp_serde::to_vec_named(&wide).unwrap(), "32-bit seeds");
    let mut draws = job(sieve(Family::Mt19937, 3), range(0, 9));
    let Task::Sieve { sieve, .. } = &mut draws.task else { panic!("a sieve") };
    sieve.draws[0] = 1000;
    assert_rejected(&rmp_serde::to_vec_named(&draws).unwrap(), "the draw 1000");
}

#[test]
fn a_runner_whose_parent_is_gone_does_nothing() {
    let child = std::process::Command::new(env!("CARGO_BIN_EXE_runner-cpu"))
        .env("RIGQUEUE_PARENT", "1")
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let ended = end(child);
    assert_eq!(ended.code, Some(1));
    assert!(ended.frames.is_empty());
    assert!(ended.stderr.contains("parent"), "{}", ended.stderr);
}

#[test]
fn a_closed_stdout_ends_a_runner_quietly() {
    let whole = job(sieve(Family::Xorshift32, 12), range(0, u64::from(u32::MAX)));
    let mut child = start(&rmp_serde::to_vec_named(&whole).unwrap(), &[]);
    drop(child.stdout.take());
    let ended = end(child);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ended.stderr, "");
}

#[test]
fn wrong_arguments_are_named() {
    let ended = end(start(b"", &["--threads", "none"]));
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("--threads"), "{}", ended.stderr);
}

#[test]
fn a_structural_job_searches_the_whole_space_and_proves_itself() {
    let mut asked = sieve(Family::JavaLcg, 12);
    asked.draws[3] = 17;
    let mut whole = job(asked, range(0, (1 << 48) - 1));
    for engine in [Engine::Structural, Engine::Auto] {
        whole.engine = engine;
        let ended = run(&whole, &["--threads", "2"]);
        let result = ended.result();
        assert_eq!((result.engine, result.planted), (Engine::Structural, true));
        assert_eq!(result.tested, [Span::new(0, (1 << 48) - 1).unwrap()]);
        assert_eq!(result.near_misses, NearMisses::default());
    }
    // A few seeds are not worth the low sieve, and have near misses.
    whole = job(sieve(Family::JavaLcg, 3), range(0, 999));
    let ended = run(&whole, &[]);
    assert_eq!((ended.result().engine, ended.result().planted), (Engine::Scan, false));
    whole.engine = Engine::Structural;
    let searched = run(&whole, &[]);
    assert!(searched.result().planted);
    assert_eq!(searched.result().survivors, ended.result().survivors);
}

#[test]
fn a_structural_job_without_structure_is_rejected() {
    let mut other = job(sieve(Family::Mt19937, 3), range(0, 9));
    other.engine = Engine::Structural;
    assert_rejected(&rmp_serde::to_vec_named(&other).unwrap(), "no search for mt19937");
    let seeds = Seeds::Candidates { first_index: 0, seeds: vec![1, 2] };
    let mut listed = job(sieve(Family::JavaLcg, 3), seeds);
    listed.engine = Engine::Structural;
    assert_rejected(&rmp_serde::to_vec_named(&listed).unwrap(), "not lists of candidates");
}

/// An engine that overlooks what is planted for it.
struct Blind;

impl kernels::runner::Tester for Blind {
    fn engine(&self) -> Engine {
        Engine::Structural
    }

    fn first_block(&self) -> u64 {
        10
    }

    fn test(
        &mut self,
        _: &kernels::sequence::Sequence<'_>,
        _: usize,
    ) -> Result<kernels::engine::Tally, kernels::device::Fault> {
        let planted = kernels::engine::Planted { seed: 77, skip: 2, found: false };
        Ok(kernels::engine::Tally { planted: Some(planted), ..Default::default() })
    }
}

#[test]
fn a_plant_that_is_missed_is_a_failure() {
    let whole = job(sieve(Family::JavaLcg, 3), range(0, 99));
    let Task::Sieve { sieve, seeds, witness } = &whole.task else { panic!("a sieve") };
    let question = kernels::runner::Question { sieve, seeds, witness: *witness };
    let (now, soft) = (std::time::Instant::now(), std::time::Duration::from_secs(60));
    let driven =
        kernels::runner::drive(&mut Blind, question, now, soft, || false, |_| Ok::<(), ()>(()));
    let missed = driven.unwrap_err();
    let kernels::runner::BlocksError::Fault(fault) = missed else { panic!("{missed:?}") };
    assert_eq!(fault.failure, Failure::WitnessMissed);
    assert!(fault.detail.contains("seed 77, planted under skip 2"), "{fault}");
}
