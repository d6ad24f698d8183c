//! Rates: what a benchmark tells stands until jobs teach better.

use shared::{
    families::Family,
    job::{Arch, Engine},
    messages::{Heartbeat, SlotState},
    outcome::Device,
    plans::Plan,
    rates::{MeasuredRate, StoredRate},
    sieve::Mode,
};

use super::books::Books;
use crate::{
    cost::Cost,
    fleet::Known,
    ledger::{LearnedRate, RateKey},
};

fn device() -> Device {
    Device { name: "cpu0".to_owned(), model: "m".to_owned(), threads: 1 }
}

fn measured(plan: &str, family: &str, seeds: u64) -> MeasuredRate {
    let (plan, family) = (plan.to_owned(), family.to_owned());
    MeasuredRate { plan, family, engine: "scan".to_owned(), seeds, seconds: 2.0 }
}

fn heartbeat(measured: Vec<MeasuredRate>) -> Heartbeat {
    Heartbeat {
        node: "n".to_owned(),
        instance: "i".to_owned(),
        version: String::new(),
        slots: vec![SlotState {
            arch: Arch::Cpu,
            device: device(),
            job: None,
            health: None,
            unfit: None,
            is_endpoint: false,
        }],
        draining: false,
        paused: false,
        kept: Vec::new(),
        memory: None,
        informed: true,
        staged: None,
        measured,
        at: 0.0,
    }
}

fn operations(family: Family, seeds_per_second: f64) -> f64 {
    let plan = Plan::named("A.25").unwrap();
    Cost::of(&plan.sieve(family), Engine::Scan).each * seeds_per_second
}

#[test]
fn a_new_nodes_benchmark_is_planned_with_until_a_job_teaches() {
    let mut books = Books::new();
    let told = vec![
        measured("A.25", "java_lcg", 1000),
        measured("A.25", "from tomorrow", 1),
        measured("Q", "minstd", 1),
        MeasuredRate { seconds: f64::NAN, ..measured("A.25", "minstd", 1) },
        MeasuredRate { seconds: 0.0, ..measured("A.25", "minstd", 1) },
    ];
    books.ledger.heard([&heartbeat(told)], 1.0).unwrap();
    let rates = books.ledger.rates().unwrap();
    let [rate] = &rates[..] else { panic!("{rates:?}") };
    assert_eq!((rate.key.family, rate.key.engine), (Family::JavaLcg, Engine::Scan));
    let first = operations(Family::JavaLcg, 500.0);
    assert!((rate.operations_per_second / first - 1.0).abs() < 1e-9);

    // Said again, or measured anew: what is known stands.
    books.ledger.heard([&heartbeat(vec![measured("A.25", "java_lcg", 9)])], 2.0).unwrap();
    assert_eq!(books.ledger.rates().unwrap(), rates);
    // Of a job it learns from there, with the average's weight.
    let job = LearnedRate { operations_per_second: 2.0 * first, ..rate.clone() };
    books.ledger.merge_rates(&[job], 3.0).unwrap();
    let now = books.ledger.rates().unwrap()[0].operations_per_second;
    assert!((now / first - 1.3).abs() < 1e-9, "{now}");
}

#[test]
fn a_local_run_is_planned_with_this_machines_benchmark() {
    let stored = |family: &str, seeds| StoredRate {
        arch: Arch::Cpu,
        model: "m".to_owned(),
        threads: 1,
        rate: measured("A.25", family, seeds),
        at: 0.0,
    };
    let learned = LearnedRate::measured(Arch::Cpu, &device(), &measured("A.25", "minstd", 7));
    let known = Known { rates: vec![learned.unwrap()], ..Known::default() };
    let before = known.rates.clone();
    let here = known.here(&[stored("minstd", 1), stored("java_lcg", 1000)]);
    assert_eq!(here.rates[0], before[0], "what jobs taught stands");
    assert_eq!(here.rates.len(), 2);
    let java = operations(Family::JavaLcg, 500.0);
    assert!((here.rates[1].operations_per_second / java - 1.0).abs() < 1e-9);
}

#[test]
fn rates_of_fixed_and_variable_skips_are_learned_apart() {
    let mut books = Books::new();
    books.ledger.heard([&heartbeat(vec![measured("A.25", "java_lcg", 1000)])], 1.0).unwrap();
    let fixed = books.ledger.rates().unwrap().remove(0);
    let variable = LearnedRate {
        key: RateKey { mode: Mode::Variable, ..fixed.key.clone() },
        operations_per_second: 1.0,
        samples: 1,
    };
    books.ledger.merge_rates(std::slice::from_ref(&variable), 2.0).unwrap();
    let rates = books.ledger.rates().unwrap();
    assert!(rates.len() == 2 && rates.contains(&fixed) && rates.contains(&variable), "{rates:?}");
}
