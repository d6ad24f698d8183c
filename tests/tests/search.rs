//! Planted seeds are found: by `producer run`, and by separate producer, worker and aggregator
//! processes on both brokers.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "these are tests")]

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde_json::{Value, json};
use tests::{
    planted::{Generator, assert_whole, lines, listed},
    rig::Rig,
};

/// A search with one survivor that is known beforehand.
struct Planted {
    name: &'static str,
    draws: Vec<u64>,
    /// Everything but `--draws`.
    options: String,
    requested: (u64, u64),
    seed: u64,
    matches: u64,
    skip: u64,
    reverse: Option<(u64, u64)>,
}

fn workspace() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Real draws, where they are to be had.
fn real_draws() -> Option<PathBuf> {
    let path = workspace().join("../shared/data/nj_pick3.json");
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {} is not here", path.display());
    None
}

fn xorshift32() -> Planted {
    Planted {
        name: "xorshift32",
        draws: Generator::Xorshift32.draws(1_234_567, 0, 4, 40),
        options: "--family xorshift32 --window 12 --threshold 1 --skip 0..=9 --seed-start 1000003 \
                  --seed-end 2000003 --chunk 100000"
            .to_owned(),
        requested: (1_000_003, 2_000_003),
        seed: 1_234_567,
        matches: 12,
        skip: 4,
        reverse: None,
    }
}

fn minstd_at_an_offset() -> Planted {
    // The window starts at the file's draw 5, and the generator has passed 5 outputs by then.
    let mut draws = vec![1, 2, 3, 4, 5];
    draws.extend(Generator::Minstd.draws(0x00AB_CDEF, 5, 2, 20));
    Planted {
        name: "minstd",
        draws,
        options:
            "--family minstd --window 12 --offset 5 --threshold 1 --skip 0..=5 --seed-end 2^24"
                .to_owned(),
        requested: (0, 1 << 24),
        seed: 0x00AB_CDEF,
        matches: 12,
        skip: 2,
        reverse: None,
    }
}

/// Draws that a JVM made.
fn java() -> Planted {
    let folder = workspace().join("examples/java_random");
    let text = fs::read_to_string(folder.join("draws.txt")).unwrap();
    let program = fs::read_to_string(folder.join("Draws.java")).unwrap();
    let seed = program.split("SEED = ").nth(1).and_then(|rest| rest.split("L;").next()).unwrap();
    let seed: u64 = seed.replace('_', "").parse().unwrap();
    let (start, end) = (seed - (1 << 20), seed + (1 << 20));
    Planted {
        name: "java_random",
        draws: text.lines().filter_map(|line| line.parse().ok()).collect(),
        options: format!(
            "--family java_random --window 12 --threshold 1 --skip 0..=2 --seed-start {start} \
             --seed-end {end}"
        ),
        requested: (start, end),
        seed,
        matches: 12,
        skip: 1,
        reverse: None,
    }
}

/// Real draws, of which a seed explains 18 of a window of 30.
fn among_real_draws() -> Option<Planted> {
    let file: Value = serde_json::from_slice(&fs::read(real_draws()?).unwrap()).unwrap();
    let real = file.as_array().unwrap().iter().map(|draw| draw["draw"].as_u64().unwrap());
    let mut draws: Vec<u64> = real.take(400).collect();
    let stream = Generator::Xorshift32.draws(700_001, 0, 3, 30);
    for i in (0..30).filter(|i| i % 5 < 3) {
        draws[200 + i] = stream[i];
    }
    // Real draws may agree by chance as well.
    let matches = draws[200..230].iter().zip(&stream).filter(|(draw, own)| draw == own).count();
    assert!(matches >= 18);
    Some(Planted {
        name: "real",
        draws,
        options: "--family xorshift32 --window 30 --window-offset 200 --threshold 0.6 \
                  --skip 0..=20 --seed-end 2^20"
            .to_owned(),
        requested: (0, 1 << 20),
        seed: 700_001,
        matches: matches as u64,
        skip: 3,
        reverse: None,
    })
}

fn reversed() -> Planted {
    let mut draws = Generator::Xorshift32.draws(99_999, 0, 1, 14);
    draws.reverse();
    Planted {
        name: "reversed",
        draws,
        options: "--family xorshift32 --window 14 --threshold 1 --skip 0..=3 --seed-end 2^18 \
                  --direction reverse"
            .to_owned(),
        requested: (0, 1 << 18),
        seed: 99_999,
        matches: 14,
        skip: 1,
        reverse: None,
    }
}

fn both_ways() -> Planted {
    // The first half is the stream's at skip 2; read backwards, the second is the same seed's at
    // skip 5.
    let seed = 54_321;
    let mut draws = Generator::Xorshift32.draws(seed, 0, 2, 12);
    let mut back = Generator::Xorshift32.draws(seed, 0, 5, 12);
    back.reverse();
    draws.append(&mut back);
    Planted {
        name: "both",
        draws,
        options: "--family xorshift32 --window 24 --min-matches 12 --skip 0..=6 --seed-end 2^18 \
                  --direction both"
            .to_owned(),
        requested: (0, 1 << 18),
        seed: u64::from(seed),
        matches: 12,
        skip: 2,
        reverse: Some((12, 5)),
    }
}

fn all() -> Vec<Planted> {
    let mut all = vec![xorshift32(), minstd_at_an_offset(), java(), reversed(), both_ways()];
    all.extend(among_real_draws());
    all
}

impl Planted {
    fn arguments(&self, rig: &Rig) -> Vec<String> {
        let draws = rig.file(&format!("{}.txt", self.name), &lines(&self.draws));
        let options = self.options.split_whitespace().map(str::to_owned);
        ["--step", "2", "--json", "--draws", &draws]
            .map(str::to_owned)
            .into_iter()
            .chain(options)
            .collect()
    }

    #[track_caller]
    fn check(&self, status: &Value) {
        println!("{}: {status}", self.name);
        assert_whole(status, self.requested.0, self.requested.1);
        assert_eq!(listed(status), [(self.seed, (self.matches, self.skip))].into());
        assert_eq!(status["step"], "2");
        assert_eq!(status["kind"], "sieve");
        assert_eq!(status["mode"], "fixed");
        assert!(status["expected_by_chance"].as_f64().unwrap() < 0.01);
        let reverse = &status["survivors"][0]["reverse"];
        let (matches, skip) = (reverse["matches"].as_u64(), reverse["skip"].as_u64());
        assert_eq!((matches, skip), (self.reverse.map(|r| r.0), self.reverse.map(|r| r.1)));
        let rate = status["survivors"][0]["rate"].as_f64().unwrap();
        let total = status["survivors"][0]["total"].as_f64().unwrap();
        assert!((rate * total - self.matches as f64).abs() < 1e-9);
    }
}

fn text(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

#[test]
fn producer_run_finds_every_planted_seed() {
    let rig = Rig::embedded();
    for planted in all() {
        let arguments = planted.arguments(&rig);
        let answer = rig.producer(&[&["run"], text(&arguments).as_slice()].concat()).ok();
        planted.check(&answer.json());
    }
    let runs = rig.producer(&["runs", "--json"]).ok().json();
    assert_eq!(runs.as_array().unwrap().len(), all().len());
}

/// Every planted search through separate processes.
fn search_on(rig: &Rig, workers: usize, slots: u32) {
    rig.spawn_aggregator();
    for _ in 0..workers {
        rig.spawn_worker(slots);
    }
    for planted in all() {
        let arguments = planted.arguments(rig);
        let asked = [&["enqueue", "--wait", "--run", planted.name], &text(&arguments)[..]].concat();
        let answer = rig.producer(&asked).ok().json();
        planted.check(&answer["status"]);
        assert_eq!(answer["run"], planted.name);
        let (start, end) = planted.requested;
        assert_eq!(answer["requested"], json!({ "start": start, "end": end }));
        assert_eq!(answer["jobs"], answer["status"]["jobs"]["published"]);
        // Whoever asks later hears the same.
        planted.check(&rig.status(planted.name).unwrap());
    }
}

#[test]
fn separate_processes_find_every_planted_seed_on_the_embedded_broker() {
    search_on(&Rig::embedded(), 1, 2);
}

#[test]
fn four_workers_find_every_planted_seed_on_the_embedded_broker() {
    search_on(&Rig::embedded(), 4, 1);
}

#[test]
fn separate_processes_find_every_planted_seed_through_rabbitmq() {
    if let Some(rig) = Rig::rabbit() {
        search_on(&rig, 1, 2);
    }
}

#[test]
fn four_workers_find_every_planted_seed_through_rabbitmq() {
    if let Some(rig) = Rig::rabbit() {
        search_on(&rig, 4, 1);
    }
}

/// A loose search, whose many survivors an independent sieve counts as well.
#[test]
fn every_survivor_of_a_loose_search_is_the_one_that_counting_finds() {
    let rig = Rig::embedded();
    for (generator, seed) in [(Generator::Xorshift32, 77), (Generator::Minstd, 123_456)] {
        let draws = generator.draws(seed, 0, 3, 8);
        let expected = generator.survivors(&draws, 1 << 19, 6, 2);
        assert!(expected.len() > 50 && expected[&u64::from(seed)] == (8, 3));
        let file = rig.file("loose.txt", &lines(&draws));
        for engine in ["scan", "reference"] {
            let options = format!(
                "run --json --family {} --window 8 --min-matches 2 --skip 0..=6 --seed-end 2^19 \
                 --chunk 50000 --limit 100000 --engine {engine} --draws {file}",
                generator.family()
            );
            let options: Vec<&str> = options.split_whitespace().collect();
            let status = rig.producer(&options).ok().json();
            assert_whole(&status, 0, 1 << 19);
            assert_eq!(status["jobs"]["published"], (1u64 << 19).div_ceil(50_000));
            assert_eq!(listed(&status), expected, "{engine}");
        }
    }
}

#[test]
fn listed_candidates_are_sieved_on_both_brokers() {
    let draws = Generator::Xorshift32.draws(3_000_000_019, 0, 2, 10);
    // Far apart, in no order, the planted one among them, and one listed twice.
    let candidates: Vec<u64> = (0..5_000).map(|i| (i * 2_654_435_761) % (1 << 32)).collect();
    let mut listing = candidates.clone();
    listing.insert(3_333, 3_000_000_019);
    listing.push(candidates[7]);
    let sieve = |rig: &Rig, before: &[&str]| {
        let draws = rig.file("draws.txt", &lines(&draws));
        let seeds = rig.file("seeds.txt", &lines(&listing));
        let options = "--kind reverse_sieve --family xorshift32 --window 10 --threshold 1 \
                       --skip 0..=3 --json --chunk 1000";
        let mut asked = before.to_vec();
        asked.extend(options.split_whitespace());
        asked.extend(["--draws", &draws, "--candidates", &seeds]);
        rig.producer(&asked).ok().json()
    };
    let check = |status: &Value| {
        assert_whole(status, 0, 5_001);
        assert_eq!(status["kind"], "reverse_sieve");
        assert_eq!(status["jobs"]["published"], 6);
        assert_eq!(listed(status), [(3_000_000_019, (10, 2))].into());
    };
    check(&sieve(&Rig::embedded(), &["run"]));
    if let Some(rig) = Rig::rabbit() {
        rig.spawn_aggregator();
        rig.spawn_worker(2);
        check(&sieve(&rig, &["enqueue", "--step", "2", "--wait"])["status"]);
    }
}

#[test]
fn the_main_job_on_real_draws_is_whole_and_the_engines_agree() {
    let Some(draws) = real_draws() else { return };
    let draws = draws.display().to_string();
    let rig = Rig::embedded();
    let run = |end: &str, engine: &str| {
        let options =
            "run --step 2 --family mt19937 --window 30 --skip 0..=20 --threshold 0.25 --json";
        let mut asked: Vec<&str> = options.split_whitespace().collect();
        asked.extend(["--draws", &draws, "--seed-end", end, "--engine", engine]);
        rig.producer(&asked).ok().json()
    };
    let whole = run("2^24", "auto");
    assert_whole(&whole, 0, 16_777_216);
    let part = |status: &Value| {
        assert_whole(status, 0, 1 << 16);
        listed(status)
    };
    let (scan, reference) = (part(&run("2^16", "scan")), part(&run("2^16", "reference")));
    assert_eq!(scan, reference);
    let below: BTreeMap<_, _> = listed(&whole).into_iter().filter(|(s, _)| *s < 1 << 16).collect();
    assert_eq!(scan, below);
}

/// What an operator sees of a job in RabbitMQ's management UI, without decoding anything.
#[test]
fn queued_jobs_are_readable_in_the_management_ui() {
    let Some(rig) = Rig::rabbit() else { return };
    let (node, vhost) = rig.node().unwrap();
    let planted = xorshift32();
    let arguments = planted.arguments(&rig);
    let answer =
        rig.producer(&[&["enqueue", "--run", "shown"], text(&arguments).as_slice()].concat());
    assert_eq!(answer.ok().json()["jobs"], 10);
    let ask = json!({
        "count": 20, "ackmode": "ack_requeue_true", "encoding": "auto", "truncate": 50_000,
    });
    let messages = node.post(&format!("queues/{vhost}/jobs.seed.cpu/get"), ask).unwrap();
    let messages = messages.as_array().unwrap();
    assert_eq!(messages.len(), 10);
    let mut ranges = Vec::new();
    for message in messages {
        let (properties, headers) = (&message["properties"], &message["properties"]["headers"]);
        assert_eq!(properties["content_type"], "application/msgpack", "{message}");
        assert_eq!(properties["type"], "Job");
        assert_eq!(properties["delivery_mode"], 2, "jobs outlive the broker");
        for (header, value) in
            [("run", "shown"), ("kind", "sieve xorshift32"), ("attempt", "1 of 3")]
        {
            assert_eq!(readable(&headers[header]), value, "{headers}");
        }
        assert!(!readable(&headers["schema"]).is_empty(), "{headers}");
        assert!(!readable(&headers["job"]).is_empty(), "{headers}");
        ranges.push(readable(&headers["range"]));
    }
    ranges.sort_unstable();
    ranges.dedup();
    assert_eq!(ranges.len(), 10, "{ranges:?}");
    assert!(ranges.iter().any(|range| range.contains("1000003")), "{ranges:?}");
    let messages = node.post(
        &format!("queues/{vhost}/results.seed/get"),
        json!({ "count": 5, "ackmode": "ack_requeue_true", "encoding": "auto" }),
    );
    let messages = messages.unwrap();
    assert_eq!(messages[0]["properties"]["type"], "RunOpened", "{messages}");
    assert_eq!(messages[0]["properties"]["headers"]["run"], "shown");
    // The run goes on as if nobody had looked.
    rig.spawn_aggregator();
    rig.spawn_worker(2);
    planted.check(&rig.until_status("shown", "its end", |status| status["state"] != "open"));
}

fn readable(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
