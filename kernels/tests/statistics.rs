//! `correlation` and `analysis` against the existing tool's figures, and through the real runner.
#![expect(clippy::unwrap_used, reason = "a test stops where something is wrong")]
#![expect(clippy::print_stderr, reason = "a skipped test says so")]

mod support;

use std::{fs, path::Path};

use kernels::statistics::{compute, outputs, values};
use serde::Deserialize;
use serde_json::Value;
use shared::{
    families::Family,
    job::{Job, Task},
    runner::{EXIT_REJECTED, Frame},
    sieve::Seeds,
    spans::Span,
    statistics::{Analysis, Mapping, Prng, Report, Source, Statistics},
};
use support::{end, job, range, run, sieve, start};

#[derive(Deserialize)]
struct Golden {
    analysis: Vec<Analysed>,
    correlation: Vec<Correlated>,
}

#[derive(Deserialize)]
struct Analysed {
    prng_type: String,
    mapping_type: Mapping,
    seed: u64,
    samples: u32,
    target_range: u32,
    seq_first8: Vec<u32>,
    mean: f64,
    std: f64,
    min: f64,
    max: f64,
    hist100: Vec<u32>,
    chi2_stat: f64,
    lag_correlations: serde_json::Map<String, Value>,
    runs: u32,
    runs_p: f64,
}

#[derive(Deserialize)]
struct Correlated {
    prng_type: String,
    seed: u64,
    initial_state: u32,
    samples: u32,
    lmax: u32,
    u_first6: Vec<u32>,
    autocorrelations: Vec<f64>,
}

/// What the existing tool computes, from the reading room beside the checkout.
fn golden() -> Option<Golden> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let path = root.join("../shared/data/golden/analysis_correlation.json");
    match fs::read(&path) {
        Ok(text) => Some(serde_json::from_slice(&text).unwrap()),
        Err(error) => {
            eprintln!("skipped: {}: {error}", path.display());
            None
        }
    }
}

fn assert_near(ours: f64, theirs: f64, within: f64, what: &str) {
    assert!((ours - theirs).abs() <= within, "{what}: {ours} is not {theirs}");
}

#[test]
fn correlations_are_the_existing_tools() {
    let Some(golden) = golden() else { return };
    assert!(!golden.correlation.is_empty());
    for case in golden.correlation {
        let prng: Prng = case.prng_type.parse().unwrap();
        let (_, first) = outputs(prng, case.seed, 6);
        assert_eq!(first, case.u_first6);
        let question = Statistics::Correlation { prng, samples: case.samples, lags: case.lmax };
        let Report::Correlation(found) = compute(&question, case.seed) else { panic!("a report") };
        assert_eq!((found.seed, found.initial_state), (case.seed, case.initial_state));
        assert_eq!(found.autocorrelations.len(), case.autocorrelations.len());
        assert!(!found.constant);
        for (ours, theirs) in found.autocorrelations.iter().zip(&case.autocorrelations) {
            assert_near(*ours, *theirs, 1e-5, &case.prng_type);
        }
    }
}

fn analysis_of(question: &Statistics, seed: u64) -> Analysis {
    let Report::Analysis(found) = compute(question, seed) else { panic!("a report") };
    *found
}

#[test]
fn hashed_analyses_are_the_existing_tools() {
    let Some(golden) = golden() else { return };
    assert!(!golden.analysis.is_empty());
    for case in golden.analysis {
        let source = Source::Hashed(case.prng_type.parse().unwrap());
        let (samples, mapping, range) = (case.samples, case.mapping_type, case.target_range);
        assert_eq!(values(source, 8, mapping, range, case.seed), case.seq_first8);
        let question = Statistics::Analysis { source, samples, mapping, range };
        let found = analysis_of(&question, case.seed);
        let what = format!("{} {mapping:?} {} {samples}", case.prng_type, case.seed);
        assert_near(found.mean, case.mean, 1e-9, &what);
        assert_near(found.std, case.std, 1e-9, &what);
        assert_eq!((f64::from(found.min), f64::from(found.max)), (case.min, case.max), "{what}");
        assert_eq!(found.histogram, case.hist100, "{what}");
        assert_near(found.chi2, case.chi2_stat, 1e-9, &what);
        assert_near(found.runs_p.unwrap(), case.runs_p, 1e-9, &what);
        assert_eq!(found.runs, case.runs, "{what}");
        // Lag 11 is the one that was missing.
        let names: Vec<String> = found.lags.iter().map(|lag| format!("lag_{}", lag.lag)).collect();
        let missing: Vec<&String> =
            names.iter().filter(|name| !case.lag_correlations.contains_key(*name)).collect();
        assert_eq!(missing, ["lag_11"], "{what}");
        assert_eq!(names.len(), case.lag_correlations.len() + 1);
        for lag in &found.lags {
            if let Some(theirs) = case.lag_correlations.get(&format!("lag_{}", lag.lag)) {
                assert_near(lag.r, theirs.as_f64().unwrap(), 1e-9, &what);
            }
        }
        let strongest = found.lags.iter().map(|lag| lag.r.abs()).fold(0.0, f64::max);
        let top = found.lags.iter().find(|lag| lag.lag == found.top_lags[0]).unwrap();
        assert_eq!(top.r.abs(), strongest, "{what}");
    }
}

fn statistics(statistics: Statistics, seeds: Seeds) -> Job {
    let like = job(sieve(Family::Mt19937, 3), range(0, 0));
    Job { task: Task::Statistics { statistics, seeds }, ..like }
}

fn analysis(family: Family, samples: u32) -> Statistics {
    let source = Source::Stream(family);
    Statistics::Analysis { source, samples, mapping: Mapping::Mod, range: 1000 }
}

#[test]
fn every_seed_of_a_job_is_reported_in_order() {
    for threads in ["1", "3"] {
        let question = analysis(Family::Xorshift64, 1000);
        let first = u64::MAX - 40;
        let ended = run(&statistics(question, range(first, u64::MAX)), &["--threads", threads]);
        let result = ended.result();
        assert_eq!(result.tested, [Span::new(first, u64::MAX).unwrap()]);
        let expected: Vec<Report> =
            (first..=u64::MAX).map(|seed| compute(&question, seed)).collect();
        assert_eq!(result.reports, expected);
        assert!(result.survivors.is_empty());
    }
}

#[test]
fn listed_seeds_are_covered_by_index() {
    let seeds = vec![9, 12_345, 4_294_967_296, 1];
    let question = Statistics::Correlation { prng: Prng::Mt, samples: 100, lags: 8 };
    let job = statistics(question, Seeds::Candidates { first_index: 7, seeds: seeds.clone() });
    let ended = run(&job, &[]);
    assert_eq!(ended.result().tested, [Span::new(7, 10).unwrap()]);
    let found: Vec<u64> = ended.result().reports.iter().map(Report::seed).collect();
    assert_eq!(found, seeds);
}

#[test]
fn reports_that_fill_an_outcome_cut_the_job_there() {
    let question = analysis(Family::Pcg32, 1000);
    let ended = run(&statistics(question, range(5, 2_000_000)), &["--threads", "2"]);
    let result = ended.result();
    let [tested] = result.tested[..] else { panic!("{:?}", result.tested) };
    assert_eq!((tested.first(), tested.len()), (5, result.reports.len() as u128));
    assert!((100..5000).contains(&result.reports.len()), "{}", result.reports.len());
    let bytes = rmp_serde::to_vec_named(result).unwrap().len();
    assert!(bytes < 512 * 1024, "{bytes}");
    // The planner's guess of a report is not too low.
    assert!(question.report_bytes() * result.reports.len() + 4096 > bytes, "{bytes}");
}

#[test]
fn soft_seconds_end_a_job_after_a_seed_at_least() {
    let job = statistics(analysis(Family::Mt19937, 1 << 20), range(0, 1 << 30));
    let ended = run(&job, &["--soft-seconds", "0"]);
    assert_eq!(ended.result().tested, [Span::new(0, 0).unwrap()]);
}

#[test]
fn questions_that_make_no_sense_are_rejected() {
    let hashed = |range| {
        let source = Source::Hashed(Prng::Lcg);
        Statistics::Analysis { source, samples: 100, mapping: Mapping::Mod, range }
    };
    for (question, last, part) in [
        (analysis(Family::JavaRandom, 1000), 1 << 48, "java_random takes 48-bit seeds"),
        (analysis(Family::JavaRandom, 7), 1, "7 samples"),
        (hashed(1000), 1 << 32, "lcg takes 32-bit seeds"),
        (hashed(1), 3, "the range 1 is out of range"),
    ] {
        let bytes = rmp_serde::to_vec_named(&statistics(question, range(0, last))).unwrap();
        let ended = end(start(&bytes, &[]));
        assert_eq!(ended.code, Some(EXIT_REJECTED), "{ended:?}");
        let [Frame::Rejected(reason)] = &ended.frames[..] else { panic!("{:?}", ended.frames) };
        assert!(reason.contains(part), "{reason}");
    }
}
