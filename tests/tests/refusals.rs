//! Bad input: one clear line, the documented exit code, nothing half done.

use tests::{
    kept::free_port,
    planted::lines,
    rabbitmq::{PASSWORD, USER},
    rig::{Answer, Rig},
};

/// A search that would be right.
const SEARCH: &str = "--family xorshift32 --seed-end 2^16 --window 12 --threshold 1";

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

/// Checks that a command said no, in one line that holds every one of `parts`.
#[track_caller]
fn refused(answer: &Answer, code: i32, parts: &[&str]) {
    assert_eq!(answer.code, code, "{answer}");
    assert_eq!(answer.stdout, "", "{answer}");
    let (errors, others): (Vec<&str>, Vec<&str>) =
        answer.stderr.lines().partition(|line| line.starts_with("error: "));
    assert_eq!(errors.len(), 1, "one line: {answer}");
    // Besides, whoever waits 15 s for a broker is told at once what is waited for.
    let may_be =
        |line: &&str| line.starts_with("note: ") || line.contains(" waiting for the broker ");
    assert!(others.iter().all(may_be), "{answer}");
    for part in parts {
        assert!(errors[0].contains(part), "'{part}' is not in: {answer}");
    }
    assert!(!answer.stderr.contains(PASSWORD), "the password: {answer}");
    assert!(!answer.stderr.contains("panicked"), "{answer}");
}

/// Checks that no run was begun.
#[track_caller]
fn nothing_begun(rig: &Rig) {
    assert!(!rig.home().join("local").exists(), "a local run's folder is left");
    assert_eq!(rig.producer(&["runs", "--json"]).ok().json(), serde_json::json!([]));
}

/// A rig with good and bad draws, which commands find by name.
fn rig_with_files() -> Rig {
    let rig = Rig::embedded();
    write_files(&rig);
    rig
}

fn write_files(rig: &Rig) {
    for (name, text) in [
        ("good.txt", lines(&(100..140).collect::<Vec<_>>())),
        ("empty.txt", String::new()),
        ("letters.txt", "1\nx2\n3\n".to_owned()),
        ("negative.txt", "1\n-2\n3\n".to_owned()),
        ("fraction.json", "[1, 2.5, 3]".to_owned()),
        ("broken.json", "[1, 2".to_owned()),
        ("short.txt", lines(&[1, 2, 3])),
        ("seeds.txt", "1\n4294967296\n".to_owned()),
        ("typo.toml", "[planner]\ntarget_second = 3\n".to_owned()),
        ("nonsense.toml", "[planner\n".to_owned()),
    ] {
        assert!(rig.file(name, &text).ends_with(name));
    }
}

/// What is wrong with a search, whoever is asked for it: (options, exit code, what the line says).
const BAD_SEARCHES: &[(&str, i32, &[&str])] = &[
    ("--draws nowhere.txt", 2, &["nowhere.txt", "does not exist"]),
    ("--draws .", 2, &["'.'"]),
    ("--draws empty.txt", 2, &["empty.txt", "no draws"]),
    ("--draws letters.txt", 2, &["line 2", "x2", "not a number"]),
    ("--draws negative.txt", 2, &["line 2", "negative", "-2"]),
    ("--draws fraction.json", 2, &["fraction.json", "2.5"]),
    ("--draws broken.json", 2, &["broken.json"]),
    ("--draws short.txt", 2, &["12", "3"]),
    ("--draws good.txt --window-offset 29 --sessions noon", 2, &["--sessions"]),
    ("--draws good.txt --seed-start 70000", 2, &["--seed-end", "65536", "70000"]),
    ("--draws good.txt --seed-start 65536", 2, &["--seed-end", "65536"]),
    ("--draws good.txt --seed-start -1", 2, &["-1", "negative"]),
    ("--draws good.txt --seed-start many", 2, &["many"]),
    ("--draws good.txt --skip 5..=2", 2, &["5..=2", "backwards"]),
    ("--draws good.txt --skip 0..=100000", 2, &["100000", "65535"]),
    ("--draws good.txt --skip 0..=99999999999999999999", 2, &["99999999999999999999 is too large"]),
    ("--draws good.txt --skip 0..5", 2, &["0..=5"]),
    ("--draws good.txt --skip=-3..=5", 2, &["negative"]),
    ("--draws good.txt --direction sideways", 2, &["sideways", "reverse"]),
    ("--draws good.txt --mode sometimes", 2, &["sometimes", "variable", "fixed"]),
    ("--draws good.txt --mode variable --skip 0..=5", 2, &["--skip", "variable"]),
    ("--draws good.txt --samples 9", 2, &["--samples", "correlation"]),
    ("--draws good.txt --modulus 0", 2, &["--modulus"]),
    ("--draws good.txt --chunk 0", 2, &["--chunk"]),
    ("--draws good.txt --engine steam", 2, &["steam", "reference"]),
    ("--draws good.txt --max-dead 200%", 2, &["200%"]),
    ("--draws good.txt --run ../outside", 2, &["../outside", "letters"]),
    ("--draws good.txt --kind reverse_sieve", 2, &["--candidates"]),
    ("--draws good.txt --candidates seeds.txt", 2, &["--candidates"]),
    ("--draws good.txt --nonsense", 2, &["--nonsense"]),
    ("--draws good.txt --config nowhere.toml", 2, &["nowhere.toml"]),
    ("--draws good.txt --config nonsense.toml", 2, &["nonsense.toml"]),
    ("--draws good.txt --config typo.toml", 2, &["typo.toml", "target_second", "planner"]),
];

/// Searches that stand for themselves, since they say what the others leave to [`SEARCH`].
const BAD_WHOLES: &[(&str, i32, &[&str])] = &[
    ("--family mt19973 --draws good.txt", 2, &["'mt19973'", "mt19937"]),
    ("--family enigma --draws good.txt", 2, &["'enigma'", "producer families"]),
    ("--draws good.txt", 2, &["--family"]),
    ("--family xorshift32", 2, &["--draws"]),
    ("--family xorshift32 --draws good.txt --seed-end 2^33", 2, &["32-bit", "4294967296"]),
    ("--family java_lcg --draws good.txt --seed-end 2^49", 2, &["48-bit"]),
    ("--family pcg32 --draws good.txt --seed-end 2^65", 2, &["2^65", "too large"]),
    ("--family xorshift32 --draws good.txt --threshold 7", 2, &["--threshold is 7"]),
    ("--family xorshift32 --draws good.txt --threshold 0", 2, &["--threshold is 0"]),
    ("--family xorshift32 --draws good.txt --threshold -0.5", 2, &["--threshold is -0.5"]),
    ("--family xorshift32 --draws good.txt --threshold NaN", 2, &["--threshold is NaN"]),
    ("--family xorshift32 --draws good.txt --threshold half", 2, &["half"]),
    ("--family xorshift32 --draws good.txt --min-matches 31", 2, &["31", "30"]),
    ("--family xorshift32 --draws good.txt --min-matches 0", 2, &["--min-matches is 0"]),
    ("--family xorshift32 --draws good.txt --window 0", 2, &["--window is 0"]),
    ("--family xorshift32 --draws good.txt --window 41", 2, &["41", "40"]),
    (
        "--family xorshift32 --draws good.txt --min-matches 1",
        2,
        &["--max-survivors", "--min-matches"],
    ),
    ("--family pcg32 --draws good.txt --seed-end 2^64", 2, &["pieces"]),
    (
        "--family xorshift32 --kind reverse_sieve --candidates seeds.txt --draws good.txt",
        2,
        &["seeds.txt", "4294967296", "32-bit"],
    ),
    ("--family ansi_c --draws good.txt --mode variable --engine structural", 2, &["--mode fixed"]),
    ("--kind correlation --prng mtt", 2, &["'mtt'", "xorshift"]),
    ("--kind correlation --prng mt --draws good.txt", 2, &["--draws", "sieves"]),
    ("--kind correlation --prng mt --seeds 1,x", 2, &["'x'"]),
    ("--kind correlation --prng mt --seed-start 5 --seed-end 5", 2, &["--seed-end (5)"]),
    ("--kind correlation --prng mt --lags 0", 2, &["0 lags"]),
    ("--kind correlation --prng mt --arch cuda", 2, &["--arch", "processors"]),
    ("--kind analysis --family mt19937 --samples 1", 2, &["1 samples"]),
    ("--kind analysis --sequence hashed --prng mt", 2, &["mt", "hashed"]),
];

#[test]
fn every_bad_search_is_refused_before_anything_is_begun() {
    let rig = rig_with_files();
    for before in ["run --step 2", "enqueue --step 2", "enqueue --step 2 --dry-run"] {
        for (options, code, parts) in BAD_SEARCHES {
            // The dry run has no `--run`'s folder to fear, but refuses the same.
            refused(&rig.producer(&words(&format!("{before} {SEARCH} {options}"))), *code, parts);
        }
        for (options, code, parts) in BAD_WHOLES {
            refused(&rig.producer(&words(&format!("{before} {options}"))), *code, parts);
        }
    }
    nothing_begun(&rig);
    assert!(!rig.path("broker").exists(), "a queue was made");
}

#[test]
fn commands_that_make_no_sense_are_refused() {
    let rig = rig_with_files();
    let good = format!("--step 2 {SEARCH} --draws good.txt");
    for (line, code, parts) in [
        (String::new(), 2, &["no command"][..]),
        ("dance".to_owned(), 2, &["dance"]),
        (good.replace("--step 2", "run --step 9"), 2, &["'9'"]),
        (good.replace("--step 2", "enqueue --step nine"), 2, &["nine"]),
        (format!("enqueue --wait {good}"), 2, &["--wait", "ledger", "producer aggregate"]),
        ("run --resume nobody".to_owned(), 5, &["'nobody'"]),
        ("run --resume ../nobody".to_owned(), 2, &["../nobody"]),
        ("status nobody".to_owned(), 5, &["'nobody'"]),
        ("status nobody --json".to_owned(), 5, &["'nobody'"]),
        ("status nobody --watch".to_owned(), 5, &["'nobody'"]),
        ("export nobody --format csv".to_owned(), 5, &["'nobody'"]),
        ("export nobody --format xls".to_owned(), 2, &["xls", "npz"]),
        ("config show --config typo.toml".to_owned(), 2, &["target_second"]),
        (format!("enqueue {good} --broker http://here"), 2, &["http", "amqp"]),
        (format!("enqueue {good} --broker embedded:good.txt"), 3, &["good.txt"]),
    ] {
        refused(&rig.producer(&words(&line)), code, parts);
    }
    nothing_begun(&rig);
}

#[test]
fn a_worker_refuses_what_it_cannot_be() {
    let rig = rig_with_files();
    for (line, code, parts) in [
        ("--slots 0", 2, &["'0'", "auto"][..]),
        ("--slots many", 2, &["many"]),
        ("--slotz 3", 2, &["--slotz"]),
        ("--node a/b", 2, &["a/b"]),
        ("--config typo.toml", 2, &["target_second"]),
        ("--config nowhere.toml", 2, &["nowhere.toml"]),
    ] {
        refused(&rig.run("worker", &words(line)), code, parts);
    }
}

#[test]
fn a_data_folder_that_cannot_be_is_refused() {
    let rig = rig_with_files();
    let search = format!("--step 2 {SEARCH} --draws good.txt");
    // Below a file there can be no folder, whoever asks; and /proc takes none.
    let below = rig.path("good.txt").join("home");
    for home in [below.as_path(), "/proc/rigqueue".as_ref()] {
        for line in [format!("run {search}"), "aggregate".to_owned()] {
            let output = rig.command("producer", words(&line)).env("RIGQUEUE_HOME", home).output();
            let output = output.unwrap();
            let answer = Answer {
                asked: line,
                code: output.status.code().unwrap_or(-1),
                stdout: String::from_utf8(output.stdout).unwrap(),
                stderr: String::from_utf8(output.stderr).unwrap(),
            };
            refused(&answer, 3, &[&home.display().to_string()]);
        }
    }
}

#[test]
fn a_second_aggregator_of_one_ledger_is_refused() {
    let rig = Rig::embedded();
    let first = rig.spawn_aggregator();
    rig.until("the first aggregator", || rig.log(first).contains("aggregating").then_some(()));
    refused(&rig.producer(&["aggregate"]), 3, &["ledger"]);
    // The first goes on undisturbed.
    assert!(rig.terminate(first).success());
    let next = rig.spawn_aggregator();
    rig.until("another aggregator", || rig.log(next).contains("aggregating").then_some(()));
    assert!(rig.terminate(next).success());
}

#[test]
fn a_name_that_is_taken_is_refused() {
    let rig = rig_with_files();
    let line = format!("run --run twice --step 2 {SEARCH} --draws good.txt --json");
    assert_eq!(rig.producer(&words(&line)).ok().json()["covered"], 65_536);
    refused(&rig.producer(&words(&line)), 2, &["'twice'", "--resume"]);
    // What the first left is whole.
    assert_eq!(rig.status("twice").unwrap()["state"], "complete");
}

#[test]
fn a_broker_that_refuses_is_told_in_one_line() {
    let Some(rig) = Rig::bare_rabbit() else { return };
    write_files(&rig);
    let (node, vhost) = rig.node().unwrap();
    let search = format!("enqueue --step 2 {SEARCH} --draws good.txt");
    // No topology: nothing is published.
    refused(&rig.producer(&words(&search)), 3, &["topology apply"]);
    let missing = rig.producer(&["topology", "check"]);
    assert_eq!(missing.code, 3, "{missing}");
    assert!(missing.stdout.contains("missing: rigqueue.jobs"), "{missing}");
    let closed = free_port().unwrap();
    for (url, code, parts) in [
        (node.url_as(USER, "wrong", vhost), 3, &["password"][..]),
        (node.url("nowhere"), 3, &["nowhere"]),
        (format!("amqp://{USER}:{PASSWORD}@127.0.0.1:{closed}/x"), 3, &["nothing listens"]),
    ] {
        refused(&rig.producer(&words(&format!("{search} --broker {url}"))), code, parts);
        // A worker waits for a broker that is not there, but not for one that says no.
        if !url.contains(&closed.to_string()) {
            let output =
                rig.command("worker", ["--slots", "1"]).env("RIGQUEUE_BROKER", &url).output();
            let output = output.unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(3), "{said}");
            assert!(said.lines().last().is_some_and(|line| line.starts_with("error: ")), "{said}");
            assert!(!said.contains(PASSWORD), "{said}");
        }
    }
    nothing_begun(&rig);
    // And once it is applied, the same search goes through, and applying again changes nothing.
    assert!(rig.producer(&["topology", "apply"]).ok().stdout.contains("were made"));
    assert!(rig.producer(&["topology", "apply"]).ok().stdout.contains(" 0 were made"));
    assert_eq!(rig.producer(&["topology", "check"]).code, 0);
    assert_eq!(rig.producer(&words(&search)).code, 0);
}
