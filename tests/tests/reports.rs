//! What commands print when all is well: help, catalogue, settings, exports.

use std::{collections::BTreeMap, fs, process::Command};

use serde_json::Value;
use tests::{
    planted::{Generator, assert_whole, lines, listed},
    rig::Rig,
};

#[test]
fn every_command_has_help() {
    let rig = Rig::embedded();
    for command in [
        "",
        "run",
        "enqueue",
        "aggregate",
        "status",
        "runs",
        "export",
        "verify",
        "families",
        "topology",
        "topology apply",
        "topology check",
        "config",
        "config show",
    ] {
        let words: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let answer = rig.producer(&words).ok();
        assert!(answer.stdout.contains("Usage: producer"), "{answer}");
        assert_eq!(answer.stderr, "", "{answer}");
        // Every option that is listed says what it does.
        let is_option = |line: &&str| {
            let text = line.trim_start();
            text.starts_with("--") && line.len() - text.len() <= 6
        };
        for option in answer.stdout.lines().filter(is_option) {
            let words = option.split_whitespace().filter(|word| !word.starts_with(['-', '<', '[']));
            let next = answer.stdout.split(option).nth(1).and_then(|rest| rest.lines().nth(1));
            let below = next.is_some_and(|line| line.starts_with("          "));
            assert!(words.count() > 0 || below, "'{option}' says nothing: {answer}");
        }
    }
    let answer = rig.run("worker", &["--help"]).ok();
    assert!(answer.stdout.contains("Usage: worker") && answer.stdout.contains("SIGTERM"));
    for program in ["producer", "worker"] {
        let version = rig.run(program, &["--version"]).ok().stdout;
        assert_eq!(version.trim(), format!("{program} {}", env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn the_catalogue_has_every_family() {
    let rig = Rig::embedded();
    let families = rig.producer(&["families", "--json"]).ok().json();
    let families = families.as_array().unwrap();
    assert_eq!(families.len(), 22);
    let bits: BTreeMap<&str, u64> = families
        .iter()
        .map(|row| (row["family"].as_str().unwrap(), row["seed_bits"].as_u64().unwrap()))
        .collect();
    assert_eq!((bits["mt19937"], bits["java_lcg"], bits["pcg32"]), (32, 48, 64));
    let text = rig.producer(&["families"]).ok().stdout;
    assert!(bits.keys().all(|name| text.contains(name)), "{text}");
}

#[test]
fn settings_are_shown_with_their_origin_and_without_passwords() {
    let rig = Rig::embedded();
    let output = rig
        .command("producer", ["config", "show", "--json"])
        .env("RIGQUEUE_BROKER", "amqp://rig:Pflaumenmus-42@hub:5671/fleet")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains("Pflaumenmus"), "{text}");
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
    let row = |key: &str| rows.iter().find(|row| row["key"] == key).unwrap();
    let url = row("broker.url");
    assert!(url["value"].as_str().unwrap().contains("hub:5671/fleet"), "{url}");
    assert!(url["origin"].as_str().unwrap().contains("RIGQUEUE_BROKER"), "{url}");
    let target = row("planner.target_seconds");
    assert_eq!(target["value"], 1.0);
    assert!(target["origin"].as_str().unwrap().contains("settings.toml"), "{target}");
    assert_eq!(row("worker.max_jobs")["value"], 26);
}

/// Reads NumPy's archives with nothing of ours, and nothing of NumPy's either.
const READ_NPZ: &str = r#"
import ast, json, struct, sys, zipfile
found = {}
archive = zipfile.ZipFile(sys.argv[1])
assert archive.testzip() is None
for name in archive.namelist():
    data = archive.read(name)
    assert data[:6] == b"\x93NUMPY" and data[6] == 1, name
    length = struct.unpack("<H", data[8:10])[0]
    header = ast.literal_eval(data[10:10 + length].decode("ascii"))
    assert (10 + length) % 64 == 0 and not header["fortran_order"]
    count, = header["shape"]
    kind = {"<u8": "Q", "<u4": "I", "<f8": "d"}[header["descr"]]
    values = struct.unpack(f"<{count}{kind}", data[10 + length:])
    found[name] = {"descr": header["descr"], "values": values}
print(json.dumps(found))
"#;

#[test]
fn exports_hold_every_survivor_in_every_format() {
    let rig = Rig::embedded();
    // Seeds past 2^53, which readers of floating-point numbers would spoil.
    let first = (1u64 << 63) + 12_345;
    let draws = rig.file("draws.txt", &lines(&Generator::Minstd.draws(5, 0, 0, 8)));
    let line = format!(
        "run --run r --json --family xorshift64star --seed-start {first} --seed-end {} --window 8 \
         --min-matches 1 --skip 0..=3 --limit 1000000 --output-dir out --draws {draws}",
        first + 20_000
    );
    let status = rig.producer(&line.split_whitespace().collect::<Vec<_>>()).ok().json();
    assert_whole(&status, first, first + 20_000);
    let expected = listed(&status);
    assert!(expected.len() > 100 && expected.keys().all(|&seed| seed >= first));

    let json = rig.producer(&["export", "r", "--format", "json"]).ok().json();
    let records = json.as_array().unwrap();
    let number = |record: &Value, key: &str| record[key].as_u64().unwrap();
    let found: Vec<_> = records
        .iter()
        .map(|r| (number(r, "seed"), (number(r, "matches"), number(r, "best_skip"))))
        .collect();
    assert_eq!(found, expected.iter().map(|(s, m)| (*s, *m)).collect::<Vec<_>>(), "in order");
    assert!(records.iter().all(|r| r["match_rate"] == r["rate"] && r["total"] == 8));

    let csv = rig.producer(&["export", "r", "--format", "csv"]).ok().stdout;
    let mut rows = csv.lines();
    let header: Vec<&str> = rows.next().unwrap().split(',').collect();
    let at = |name: &str| header.iter().position(|column| *column == name).unwrap();
    let found: BTreeMap<u64, (u64, u64)> = rows
        .map(|row| {
            let cells: Vec<&str> = row.split(',').collect();
            assert_eq!(cells.len(), header.len(), "{row}");
            let number = |name: &str| cells[at(name)].parse::<u64>().unwrap();
            (number("seed"), (number("matches"), number("skip")))
        })
        .collect();
    assert_eq!(found, expected);

    let npz = rig.path("r.npz").display().to_string();
    let answer = rig.producer(&["export", "r", "--format", "npz", "--output", &npz]).ok();
    assert_eq!(answer.stdout, "");
    if let Ok(read) = Command::new("python3").args(["-c", READ_NPZ, &npz]).output() {
        let error = String::from_utf8_lossy(&read.stderr);
        assert!(read.status.success(), "{error}");
        let arrays: Value = serde_json::from_slice(&read.stdout).unwrap();
        assert_eq!(arrays["seeds.npy"]["descr"], "<u8");
        let column = |name: &str| arrays[name]["values"].as_array().unwrap().clone();
        let seeds: Vec<u64> = column("seeds.npy").iter().filter_map(Value::as_u64).collect();
        assert_eq!(seeds, expected.keys().copied().collect::<Vec<_>>());
        let matches: Vec<u64> = column("matches.npy").iter().filter_map(Value::as_u64).collect();
        assert_eq!(matches, expected.values().map(|m| m.0).collect::<Vec<_>>());
        let skips: Vec<u64> = column("skips.npy").iter().filter_map(Value::as_u64).collect();
        assert_eq!(skips, expected.values().map(|m| m.1).collect::<Vec<_>>());
    } else {
        println!("skipped: there is no python3 to read NPZ files with");
    }

    // The outputs that the run wrote by itself are the export's.
    let written: Vec<_> = fs::read_dir(rig.path("out").join("r")).unwrap().collect();
    assert!(!written.is_empty());
    for entry in written.into_iter().map(|entry| entry.unwrap().path()) {
        if entry.extension().is_some_and(|ending| ending == "json") {
            let own: Value = serde_json::from_slice(&fs::read(&entry).unwrap()).unwrap();
            if own.is_array() {
                assert_eq!(own, json, "{}", entry.display());
            }
        }
    }
}

#[test]
fn people_get_a_table_and_the_number_that_chance_leaves() {
    let rig = Rig::embedded();
    let draws = rig.file("draws.txt", &lines(&Generator::Xorshift32.draws(4_711, 0, 1, 12)));
    let line = format!(
        "run --run r --family xorshift32 --seed-end 2^17 --window 12 --threshold 1 --draws {draws}"
    );
    let answer = rig.producer(&line.split_whitespace().collect::<Vec<_>>()).ok();
    let status = rig.producer(&["status", "r"]).ok();
    for text in [&answer.stdout, &status.stdout] {
        for part in ["run r: complete", "131072 of 131072", "4711", "0x1267", "12/12", "chance"] {
            assert!(text.contains(part), "'{part}' is not in: {text}");
        }
    }
    assert!(answer.stderr.contains("chance"), "{answer}");
    assert!(rig.producer(&["runs"]).ok().stdout.contains("complete"));
}
