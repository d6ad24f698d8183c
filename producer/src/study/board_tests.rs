use std::collections::BTreeMap;

use serde_json::Map;

use super::*;
use crate::study::trial::About;

fn models() -> Vec<String> {
    ["a", "b", "c"].map(str::to_owned).to_vec()
}

fn trial(number: u64, model: &str, replaces: Option<u64>) -> Trial {
    let about = About {
        model: model.to_owned(),
        seed: 0,
        run: "r".to_owned(),
        place: number,
        job: format!("trial-{number}"),
        replaces,
    };
    Trial { number, about, params: Map::new(), stage: Stage::Asked }
}

fn good() -> Outcome {
    Outcome { value: Some(1.0), ..Outcome::default() }
}

fn bad() -> Outcome {
    Outcome { failure: Some("ExitCode(1): no".to_owned()), ..Outcome::default() }
}

/// Runs a study with so many trials at a time, the last asked for ending first; what was asked for,
/// and how many were told then. `b` always fails.
fn run(parallel: usize, wanted: u64, interrupt: bool) -> BTreeMap<u64, (String, u64)> {
    let mut board = Board::new(models(), 8, wanted, Vec::new());
    let mut asked = BTreeMap::new();
    for step in 0.. {
        assert!(step < 10_000, "it does not end");
        match board.next() {
            Next::Ask { number, model, replaces } => {
                asked.insert(number, (model.clone(), board.told()));
                board.add(trial(number, &model, replaces));
            }
            Next::Tell(number) => {
                board.told_of(number);
            }
            Next::Nothing if board.is_done() => break,
            Next::Nothing => {
                while board.running() < parallel {
                    let Some(number) = board.waiting().map(|trial| trial.number) else { break };
                    board.published(number);
                }
                let last = board.trials().iter().rfind(|trial| trial.stage == Stage::Published);
                let (number, fails) =
                    last.map(|trial| (trial.number, trial.about.model == "b")).unwrap();
                board.known(number, if fails { bad() } else { good() });
                if interrupt {
                    // Whoever comes next knows what is in the storage and in the ledger.
                    let trials = board.trials().to_vec();
                    board = Board::new(models(), 8, wanted, trials);
                }
            }
        }
    }
    assert_eq!(board.asked(), wanted);
    assert_eq!(board.set_aside().into_iter().collect::<Vec<_>>(), ["b"]);
    asked
}

#[test]
fn what_is_asked_when_depends_on_no_parallelism_and_no_interruption() {
    let one = run(1, 40, false);
    for (parallel, interrupt) in [(2, false), (4, false), (8, false), (100, true), (3, true)] {
        assert_eq!(run(parallel, 40, interrupt), one, "{parallel}");
    }
    let of = |name: &str| one.values().filter(|(model, _)| model == name).count();
    assert!(of("b") <= 7, "{one:?}");
    assert!(of("a").abs_diff(of("c")) <= 1 && of("a") + of("b") + of("c") == 40, "{one:?}");
}

#[test]
fn a_model_that_had_good_trials_is_set_aside_later() {
    let told = |how: &[bool]| {
        let outcomes = how.iter().map(|&well| if well { good() } else { bad() });
        let trials = outcomes.zip(0u64..).map(|(outcome, number)| Trial {
            stage: Stage::Told(outcome),
            ..trial(number, "a", None)
        });
        let board = Board::new(models(), 8, 100, trials.collect());
        board.set_aside().contains("a")
    };
    assert!(told(&[false; 3]) && !told(&[false; 2]));
    assert!(!told(&[true, false, false, false, false]));
    assert!(told(&[true, false, false, false, false, false, true]), "it stays there");
}

#[test]
fn a_lost_trial_is_asked_for_once_more() {
    let mut board = Board::new(models(), 8, 2, Vec::new());
    board.add(trial(0, "a", None));
    board.add(trial(1, "b", None));
    board.known(0, Outcome::lost("cancelled"));
    assert_eq!(board.next(), Next::Ask { number: 2, model: "a".to_owned(), replaces: Some(0) });
    board.add(trial(2, "a", Some(0)));
    assert_eq!(board.next(), Next::Tell(0));
    board.told_of(0);
    board.known(1, good());
    board.told_of(1);
    board.known(2, Outcome::lost("cancelled again"));
    board.told_of(2);
    assert!(board.is_done() && board.end() == 3, "it is not replaced twice");
}

#[test]
fn fewer_trials_than_there_are_ask_for_none() {
    let mut board = Board::new(models(), 8, 1, vec![trial(0, "a", None), trial(1, "b", None)]);
    assert_eq!(board.next(), Next::Nothing);
    assert!(!board.is_done(), "those that were asked for are run");
    for number in 0..2 {
        board.known(number, good());
        assert_eq!(board.next(), Next::Tell(number));
        board.told_of(number);
    }
    assert!(board.is_done());
    assert_eq!(board.best(None).unwrap().number, 0);
    assert_eq!(board.best(Some("b")).unwrap().number, 1);
}
