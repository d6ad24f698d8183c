//! What must hold for every plan.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use shared::{
    families::Family,
    job::{Engine, Task, Urgency},
    messages::MaxDead,
    sieve::{Mode, Seeds, Sieve, Skips},
    spans::Spans,
    statistics::Statistics,
    wire,
};

use super::*;
use crate::{dry_run::DryRun, sieve_args::Kind};

fn fleet(arch: Arch, slots: u32, rate: f64) -> Fleet {
    Fleet { arch, slots, operations_per_second: rate }
}

/// Rates are seeds a second here: a seed costs one operation.
fn input(length: u128, fleet: Vec<Fleet>) -> PlanInput {
    PlanInput {
        requested: Span::half_open(0, length).unwrap(),
        candidates: false,
        engine: Engine::Auto,
        cost: Cost { fixed: 0.0, each: 1.0 },
        chance: Chance { per_seed: 1e-30, ..Chance::NONE },
        max_survivors: 10_000_000,
        remedy: "--min-matches 9 would fit".to_owned(),
        fleet,
        target_seconds: 30.0,
        min_seconds: 2.0,
        chunk: None,
        reported: None,
    }
}

fn request(asked: Asked, draws: usize, need: u32) -> Request {
    Request {
        kind: Kind::Sieve,
        question: Question::Sieve(Sieve {
            family: Family::Xorshift64,
            direction: Direction::Forward,
            mode: Mode::Fixed,
            modulus: u32::MAX,
            draws: vec![u32::MAX - 1; draws],
            advance: 0,
            skips: Skips { lo: 0, hi: 20 },
            need,
            reverse_need: need,
        }),
        asked,
        engine: Engine::Auto,
        arch: None,
        chunk: None,
        max_survivors: 10_000_000,
        max_dead: MaxDead::Percent(1.0),
        urgency: Urgency::Normal,
        max_attempts: 3,
        sample: None,
        notes: Vec::new(),
    }
}

fn sieve(request: &mut Request) -> &mut Sieve {
    match &mut request.question {
        Question::Sieve(sieve) => sieve,
        Question::Statistics(statistics) => panic!("{statistics}"),
    }
}

fn by_arch(plan: &Plan) -> BTreeMap<Arch, Vec<&Piece>> {
    let mut queues: BTreeMap<Arch, Vec<&Piece>> = BTreeMap::new();
    for piece in &plan.pieces {
        queues.entry(piece.arch).or_default().push(piece);
    }
    queues
}

fn check(input: &PlanInput, plan: &Plan) {
    // Exactly what was requested, each value once.
    let total: u128 = plan.pieces.iter().map(|piece| piece.span.len()).sum();
    assert_eq!(total, input.requested.len());
    let covered: Spans = plan.pieces.iter().map(|piece| piece.span).collect();
    assert_eq!(covered.as_slice(), [input.requested]);
    assert!(plan.pieces.len() <= MAX_PIECES);

    let length = to_f64(input.requested.len());
    let power: f64 = input.fleet.iter().map(|f| f.operations_per_second * f64::from(f.slots)).sum();
    let queues = by_arch(plan);
    assert_eq!(queues.len(), plan.queues.len());
    for fleet in &input.fleet {
        let ideal = length * fleet.operations_per_second * f64::from(fleet.slots) / power;
        let Some(pieces) = queues.get(&fleet.arch) else {
            // Nothing: less than one small piece, or than one seed.
            let small = fleet.operations_per_second * input.min_seconds;
            assert!(ideal <= small.max(1.0), "{fleet:?} has none of {ideal}");
            continue;
        };
        // In order, contiguous, never growing.
        for pair in pieces.windows(2) {
            assert_eq!(pair[0].span.end(), u128::from(pair[1].span.first()));
            assert!(pair[1].span.len() <= pair[0].span.len());
        }
        for piece in pieces {
            assert!(
                piece.predicted_seconds <= plan.target_seconds.max(input.min_seconds) * 1.01
                    || piece.span.len() == 1
            );
            let expected = chance::expected(piece.span.len(), input.chance.per_seed);
            assert!(expected <= MAX_PIECE_SURVIVORS * 1.000_001);
            assert!(!input.candidates || piece.span.len() <= MAX_CANDIDATES as u128);
        }
        // A share follows the rate, but for what those without a share leave to it.
        let share = to_f64(pieces.iter().map(|piece| piece.span.len()).sum());
        let left: f64 = input
            .fleet
            .iter()
            .filter(|other| !queues.contains_key(&other.arch))
            .map(|other| length * other.operations_per_second * f64::from(other.slots) / power)
            .sum();
        assert!(share >= ideal * (1.0 - 1e-12) - 1.0, "{fleet:?}: {share} of {ideal}");
        // The strongest also takes the fraction of a seed that each other's rounding leaves.
        let rounded = to_f64(input.fleet.len() as u128);
        assert!(share <= (ideal + left) * (1.0 + 1e-12) + rounded, "{fleet:?}: {share} of {ideal}");
    }
    assert!(plan.soft_seconds <= plan.time_limit_seconds && plan.time_limit_seconds <= 4800.0);
}

fn any_fleet() -> impl Strategy<Value = Vec<Fleet>> {
    let one = |arch| {
        (1u32..40, 0.0f64..14.0)
            .prop_map(move |(slots, magnitude)| fleet(arch, slots, 10f64.powf(magnitude)))
    };
    (one(Arch::Cuda), one(Arch::Rocm), one(Arch::Cpu), 1usize..8).prop_map(|(a, b, c, which)| {
        let all = [a, b, c];
        (0..3).filter(|bit| which >> bit & 1 == 1).map(|bit| all[bit]).collect()
    })
}

/// Lengths from 1 to 2^64, as likely small as large.
fn any_length() -> impl Strategy<Value = u128> {
    prop_oneof![
        Just(1u128 << 64),
        (0u32..64, any::<u64>())
            .prop_map(|(bits, more)| { (1u128 << bits) + u128::from(more) % (1u128 << bits) })
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_plan_keeps_its_promises(
        length in any_length(),
        top in any::<bool>(),
        fleet in any_fleet(),
        candidates in any::<bool>(),
        chance in prop_oneof![Just(0.0), (-30.0f64..0.0).prop_map(|e| 10f64.powf(e))],
        min_seconds in 0.01f64..10.0,
        longer in 1.0f64..60.0,
    ) {
        let mut input = input(length, fleet);
        if top {
            let first = u64::try_from((1u128 << 64) - length).unwrap();
            input.requested = Span::half_open(first, 1 << 64).unwrap();
        }
        input.candidates = candidates;
        input.chance.per_seed = chance;
        input.min_seconds = min_seconds;
        input.target_seconds = min_seconds * longer;
        match plan(&input) {
            Ok(plan) => check(&input, &plan),
            Err(PlanError::TooManySurvivors { expected, .. }) => prop_assert!(expected > 1e7),
            Err(PlanError::TooLong { seconds, .. }) => {
                let slots: f64 = input.fleet.iter().map(|f| f64::from(f.slots)).sum();
                // Rounding a piece to whole seeds may cost up to half of it, not more.
                prop_assert!(
                    seconds * slots > 0.2 * MAX_PIECE_SECONDS * to_f64(MAX_PIECES as u128),
                    "{seconds}"
                );
            }
            Err(PlanError::TooManyPieces { count, .. }) => prop_assert!(count > 100_000),
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    #[test]
    fn chunks_are_what_was_asked_for(
        length in any_length(),
        fleet in any_fleet(),
        chunk in 1u64..1_000_000_000,
    ) {
        let mut input = input(length, fleet);
        input.chunk = Some(chunk);
        match plan(&input) {
            Ok(plan) => {
                check(&input, &plan);
                for pieces in by_arch(&plan).values() {
                    for piece in &pieces[..pieces.len() - 1] {
                        prop_assert_eq!(piece.span.len(), u128::from(chunk));
                    }
                }
            }
            Err(PlanError::TooManyPieces { count, why, .. }) => {
                prop_assert!(count > 100_000);
                prop_assert!(why.contains("--chunk"), "{}", why);
            }
            Err(PlanError::Chunk { most, .. }) => prop_assert!(u128::from(chunk) > most),
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    #[test]
    fn jobs_are_valid_and_fit_a_message(
        length in any_length(),
        fleet in any_fleet(),
        draws in 1usize..40,
        share in 0.01f64..1.0,
    ) {
        let span = Span::half_open(0, length).unwrap();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let request = request(Asked::Range(span), draws, (draws as f64 * share).ceil() as u32);
        let mut input = input(length, fleet);
        input.requested = span;
        let Ok(plan) = plan(&input) else { return Ok(()) };
        let mut ids = BTreeSet::new();
        let mut pieces = plan.pieces.iter();
        for job in jobs(&request, &plan, "run-1") {
            prop_assert_eq!(job.span(), pieces.next().map(|piece| piece.span));
            if plan.pieces.len() < 500 {
                job.validate().unwrap();
                wire::encode(&job).unwrap();
            }
            ids.insert(job.id);
        }
        prop_assert_eq!(ids.len(), plan.pieces.len());
    }
}

#[test]
fn the_longest_window_and_candidate_list_fit_a_message() {
    let seeds: Vec<u64> = (0..120_001).map(|index| u64::MAX - index).collect();
    let request = request(Asked::Candidates(seeds.clone()), 65_536, 60_000);
    let mut input = input(seeds.len() as u128, vec![fleet(Arch::Cpu, 2, 1e9)]);
    input.candidates = true;
    let plan = plan(&input).unwrap();
    check(&input, &plan);
    let mut listed = Vec::new();
    for job in jobs(&request, &plan, "a-run-with-a-long-name-for-once") {
        job.validate().unwrap();
        wire::encode(&job).unwrap();
        let Task::Sieve { seeds: Seeds::Candidates { first_index, seeds }, .. } = job.task else {
            panic!("no candidates");
        };
        assert_eq!(first_index, listed.len() as u64);
        listed.extend(seeds);
    }
    assert_eq!(listed, seeds);
}

#[test]
fn a_queue_ends_in_small_pieces_and_small_work_reaches_every_slot() {
    let two = || vec![fleet(Arch::Cpu, 2, 1e6)];
    // Ten minutes of two slots: 30 s pieces, at the end 2 s.
    let plan_long = plan(&input(1_200_000_000, two())).unwrap();
    let seconds = |piece: &Piece| to_f64(piece.span.len()) / 1e6;
    assert!((25.0..=30.0).contains(&seconds(&plan_long.pieces[0])));
    let last = plan_long.pieces.last().unwrap();
    assert!((1.0..=2.0).contains(&seconds(last)), "{}", seconds(last));
    assert!(plan_long.pieces.len() < 70, "{}", plan_long.pieces.len());
    assert!((plan_long.predicted_seconds - 600.0).abs() < 1.0);
    // One second of one slot is shared by both; a millisecond is not.
    assert_eq!(plan(&input(1_000_000, two())).unwrap().pieces.len(), 2);
    assert_eq!(plan(&input(1_000, two())).unwrap().pieces.len(), 1);
    assert_eq!(plan(&input(1, two())).unwrap().pieces.len(), 1);
}

#[test]
fn small_work_is_left_to_the_strongest() {
    let all =
        vec![fleet(Arch::Cuda, 2, 5e9), fleet(Arch::Rocm, 24, 1.4e9), fleet(Arch::Cpu, 2, 1e7)];
    let small = plan(&input(1 << 32, all.clone())).unwrap();
    assert_eq!(by_arch(&small).keys().collect::<Vec<_>>(), [&Arch::Rocm]);
    let large = plan(&input(1 << 44, all)).unwrap();
    assert_eq!(large.queues.len(), 3);
    // They take turns from the first piece on.
    let first: BTreeSet<Arch> = large.pieces[..3].iter().map(|piece| piece.arch).collect();
    assert_eq!(first.len(), 3);
}

#[test]
fn refusals_name_their_figures() {
    let cpu = || vec![fleet(Arch::Cpu, 2, 1e6)];
    let refusal = |input: &PlanInput| {
        let message = plan(input).unwrap_err().to_string();
        assert!(!message.contains('\n') && !message.contains("  "), "{message}");
        message
    };
    let long = refusal(&input(1 << 64, cpu()));
    assert!(long.contains("years") && long.contains("2.000e6 seeds/s"), "{long}");
    let mut many = input(1 << 40, cpu());
    many.chunk = Some(1000);
    let message = refusal(&many);
    assert!(message.contains("1099511628 pieces"), "{message}");
    assert!(message.contains("--chunk 10995227 or more"), "{message}");
    many.chunk = Some(1 << 36);
    assert!(refusal(&many).contains("use at most 600000000"), "{}", refusal(&many));
    let mut drowned = input(1 << 32, cpu());
    drowned.chance.per_seed = 0.1;
    let message = refusal(&drowned);
    assert!(message.contains("4.295e8 survivors"), "{message}");
    assert!(message.contains("--min-matches 9"), "{message}");
    drowned.max_survivors = u64::MAX;
    drowned.requested = Span::half_open(0, 1 << 34).unwrap();
    let message = refusal(&drowned);
    assert!(message.contains("171799 pieces of at most 100000"), "{message}");
    assert!(refusal(&input(5, vec![])).contains("no slot"));
    assert!(refusal(&input(5, vec![fleet(Arch::Cpu, 1, f64::NAN)])).contains("no slot"));
    let mut backwards = input(5, cpu());
    backwards.min_seconds = 31.0;
    assert!(refusal(&backwards).contains("min_seconds is 31"));
}

#[test]
fn a_request_with_too_many_survivors_is_told_the_need_that_fits() {
    let mut loose = request(Asked::Range(Span::half_open(0, 1 << 40).unwrap()), 8, 2);
    sieve(&mut loose).modulus = 1000;
    sieve(&mut loose).draws.fill(7);
    let settings = PlannerSettings { target_seconds: 30.0, min_seconds: 2.0 };
    let fleet = || vec![fleet(Arch::Cpu, 2, 3e10), fleet(Arch::Cuda, 2, 1e13)];
    let message = plan(&PlanInput::of(&loose, fleet(), &settings)).unwrap_err().to_string();
    assert!(message.contains("--min-matches 3 would fit"), "{message}");
    sieve(&mut loose).need = 3;
    loose.arch = Some(Arch::Cpu);
    let error = plan(&PlanInput::of(&loose, fleet(), &settings));
    assert!(error.is_ok() || matches!(error, Err(PlanError::TooLong { .. })), "{error:?}");
    sieve(&mut loose).direction = Direction::Both;
    (sieve(&mut loose).need, sieve(&mut loose).reverse_need) = (1, 1);
    let message = plan(&PlanInput::of(&loose, fleet(), &settings)).unwrap_err().to_string();
    assert!(message.contains("--min-matches 2 --reverse-min-matches 2"), "{message}");
    loose.max_survivors = 0;
    let message = plan(&PlanInput::of(&loose, fleet(), &settings)).unwrap_err().to_string();
    assert!(message.contains("longer --window"), "{message}");
}

/// The demo: 2^32 seeds of `java_random`, 12 draws that must all match, skips 0 to 2.
#[test]
fn the_demo_is_planned_for_two_slots() {
    let mut demo = request(Asked::Range(Span::half_open(0, 1 << 32).unwrap()), 12, 12);
    sieve(&mut demo).family = Family::JavaRandom;
    sieve(&mut demo).modulus = 1000;
    sieve(&mut demo).draws.fill(7);
    sieve(&mut demo).skips = Skips { lo: 0, hi: 2 };
    let settings = PlannerSettings { target_seconds: 30.0, min_seconds: 2.0 };
    let rate = cost::default_operations_per_second(Arch::Cpu);
    // Left to itself it is a structural search: one job, since a half costs as much as the whole.
    let input = PlanInput::of(&demo, vec![fleet(Arch::Cpu, 2, rate)], &settings);
    let searched = plan(&input).unwrap();
    assert_eq!((searched.engine, searched.pieces.len()), (Engine::Structural, 1));
    assert!(jobs(&demo, &searched, "demo").all(|job| job.engine == Engine::Structural));
    demo.engine = Engine::Scan;
    let input = PlanInput::of(&demo, vec![fleet(Arch::Cpu, 2, rate)], &settings);
    let plan = plan(&input).unwrap();
    check(&input, &plan);
    assert!((2.0..60.0).contains(&plan.predicted_seconds), "{}", plan.predicted_seconds);
    assert!(plan.pieces.len() >= 4);
    for job in jobs(&demo, &plan, "demo") {
        job.validate().unwrap();
    }
    let text = DryRun::of(&demo, &plan).to_string();
    for part in ["sieve of java_random", "4294967296 seeds", "12 of 12", "cpu", "by chance alone"] {
        assert!(text.contains(part), "{text}");
    }
}

/// A search that a few processors do sooner than they scan is left to devices where these scan
/// sooner still; what was asked for by name is done so.
#[test]
fn a_range_is_left_to_the_engine_that_ends_sooner_on_the_whole_fleet() {
    for (family, bits, device, sooner) in [
        (Family::Lcg32, 32, 1.2e12, Engine::Structural),
        (Family::Lcg32, 32, 2.4e14, Engine::Auto),
        (Family::Minstd, 32, 1.2e12, Engine::Structural),
        (Family::Minstd, 32, 2.4e14, Engine::Auto),
        // No number of devices scans these in a second.
        (Family::JavaLcg, 48, 2.4e14, Engine::Structural),
    ] {
        let mut asked = request(Asked::Range(Span::half_open(0, 1 << bits).unwrap()), 30, 8);
        sieve(&mut asked).family = family;
        sieve(&mut asked).modulus = 1000;
        sieve(&mut asked).draws.fill(7);
        let settings = PlannerSettings { target_seconds: 30.0, min_seconds: 2.0 };
        let processors = fleet(Arch::Cpu, 2, cost::default_operations_per_second(Arch::Cpu));
        let both = || vec![processors, fleet(Arch::Cuda, 1, device)];
        let input = PlanInput::of(&asked, both(), &settings);
        assert_eq!(input.engine, sooner, "{family} {device:e}");
        let on_devices = input.fleet.iter().any(|slots| slots.arch == Arch::Cuda);
        assert_eq!(on_devices, sooner == Engine::Auto, "{family} {device:e}");
        let alone = PlanInput::of(&asked, vec![processors], &settings);
        assert_eq!(alone.engine, Engine::Structural, "{family}");
        asked.engine = Engine::Structural;
        assert_eq!(PlanInput::of(&asked, both(), &settings).engine, Engine::Structural);
    }
}

/// Statistics are the processor's, and a piece is no longer than what one outcome has room for.
#[test]
fn statistics_are_planned_in_slices_that_an_outcome_has_room_for() {
    let statistics = Statistics::Analysis {
        source: shared::statistics::Source::Stream(Family::Pcg32),
        samples: 1000,
        mapping: shared::statistics::Mapping::Mod,
        range: 1000,
    };
    let range = Span::half_open(7, 100_007).unwrap();
    let mut asked = request(Asked::Range(range), 1, 1);
    asked.kind = Kind::Analysis;
    asked.question = Question::Statistics(statistics);
    let fleet = vec![fleet(Arch::Cpu, 2, 3e10), fleet(Arch::Cuda, 2, 1e13)];
    let settings = PlannerSettings { target_seconds: 30.0, min_seconds: 2.0 };
    let plan = plan(&PlanInput::of(&asked, fleet, &settings)).unwrap();
    let covered: Spans = plan.pieces.iter().map(|piece| piece.span).collect();
    assert_eq!(covered.as_slice(), [range]);
    for job in jobs(&asked, &plan, "r") {
        job.validate().unwrap();
        assert_eq!((job.arch, job.engine), (Arch::Cpu, Engine::Auto));
        let most = shared::statistics::MAX_REPORT_BYTES / statistics.report_bytes();
        assert!(job.span().unwrap().len() <= most as u128);
    }
    let text = DryRun::of(&asked, &plan).to_string();
    assert!(text.starts_with("analysis of pcg32: 100000 seeds"), "{text}");
    assert!(text.contains("1000 samples of each") && !text.contains("chance"), "{text}");
}
