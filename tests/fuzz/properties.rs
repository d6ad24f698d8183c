//! What must hold for any bytes at all, wherever RigQueue reads bytes from outside: no panic, an
//! error of one line that is safe on a terminal, and what was read is written and read back as
//! the same. The fuzzer tries them on whatever it can think of (`make fuzz`), and a test on what
//! it once broke.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    fmt::Display,
    fs::File,
    io::Write as _,
    os::{fd::AsRawFd as _, unix::fs::FileExt as _},
    path::{Path, PathBuf},
};

use producer::{
    candidates,
    certificate::{Certificate, hash_survivors},
    draws, jobs_file,
    script_request::{ScriptOptions, ScriptRun},
    verify::{Certified, Random, parse_survivors},
};
use rustix::fs::{MemfdFlags, memfd_create};
use shared::{
    families::Family,
    job::{Job, Task, Urgency},
    messages::{Bell, FleetState, Heartbeat, MaxDead, RunOpened, RunPart},
    outcome::{Outcome, Survivor, Verdict},
    runner::{Frame, read_frame},
    settings::Layers,
    wire::{self, Message, SCHEMA, Wire},
};
use worker::output::{Frames, Stdout as _};

/// What must hold for some bytes; panics when it does not.
pub(crate) type Property = fn(&[u8]);

/// Every property, by the name of its fuzz target.
pub(crate) const TARGETS: [(&str, Property); 8] = [
    ("wire", messages),
    ("frames", frames),
    ("draws", draws),
    ("candidates", candidate_lists),
    ("survivors", survivors),
    ("certificate", certificates),
    ("settings", settings),
    ("jobs", jobs_files),
];

/// An error is for people: one line, nothing that moves a terminal's cursor, no flood.
fn check_error(error: impl Display) {
    let text = error.to_string();
    assert!(!text.is_empty() && !text.contains(char::is_control), "an error's text: {text:?}");
    assert!(text.len() < 4096, "an error of {} bytes", text.len());
}

/// Calls `read` with a file that holds `bytes`.
fn with_file<T>(bytes: &[u8], read: impl FnOnce(&Path) -> T) -> T {
    thread_local! {
        static FILE: RefCell<Option<File>> = const { RefCell::new(None) };
    }
    FILE.with_borrow_mut(|file| {
        let file = file.get_or_insert_with(|| {
            File::from(memfd_create("fuzzed", MemfdFlags::CLOEXEC).expect("a file in memory"))
        });
        file.set_len(0).expect("an empty file");
        file.write_all_at(bytes, 0).expect("a file in memory takes anything");
        read(&PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())))
    })
}

/// A message of every type: the first byte says which, the second its version.
fn messages(bytes: &[u8]) {
    let Some((&[which, schema], body)) = bytes.split_first_chunk() else { return };
    match which % 7 {
        0 => {
            if let Some(job) = message::<Job>(schema, body) {
                // A runner, or the ledger that follows up, asks these of any job.
                if let Some(span) = job.span() {
                    let (head, rest) = span.split_at(span.len() / 2);
                    for part in [Some(head), rest].into_iter().flatten() {
                        let part = job.for_part(part).expect("a part of a job");
                        assert!(part.validate().is_ok() || job.validate().is_err());
                    }
                }
                if let Err(error) = job.validate() {
                    check_error(error);
                }
            }
        }
        1 => match message::<Outcome>(schema, body).map(|outcome| outcome.verdict) {
            Some(Verdict::Done(result)) => {
                let count = result.survivors.iter().count();
                assert!(!result.survivors.is_whole() || count == result.survivors.len());
            }
            Some(Verdict::Finished(result)) => {
                if let Err(why) = result.validate() {
                    check_error(why);
                }
            }
            _ => {}
        },
        2 => {
            if let Some(RunOpened { sieve, statistics, .. }) = message(schema, body) {
                if let Some(Err(error)) = sieve.map(|sieve| sieve.validate()) {
                    check_error(error);
                }
                if let Some(Err(error)) = statistics.map(|statistics| statistics.validate()) {
                    check_error(error);
                }
            }
        }
        3 => drop(message::<RunPart>(schema, body)),
        4 => drop(message::<Bell>(schema, body)),
        5 => drop(message::<Heartbeat>(schema, body)),
        _ => drop(message::<FleetState>(schema, body)),
    }
}

/// Decodes a message; what can be decoded comes back from its own bytes.
fn message<T: Wire>(schema: u8, body: &[u8]) -> Option<T> {
    let headers = [(SCHEMA.to_owned(), schema.to_string())].into();
    let message = Message { kind: T::TYPE.to_owned(), headers, body: body.to_vec() };
    let value = match wire::decode::<T>(&message) {
        Ok(value) => value,
        Err(error) => {
            check_error(error);
            return None;
        }
    };
    // Written out with names, a message may be longer than it came.
    if let Ok(again) = wire::encode(&value) {
        assert!(again.headers.values().all(|value| value.len() <= wire::MAX_HEADER));
        let back: T = wire::decode(&again).expect("our own message");
        // Bytes are compared, since a NaN does not equal itself.
        assert_eq!(wire::encode(&back).expect("our own message").body, again.body);
    }
    Some(value)
}

/// A runner's output, as it is and in pieces: the first byte says how long those are.
fn frames(bytes: &[u8]) {
    let Some((&length, stream)) = bytes.split_first() else { return };
    let mut plain = Vec::new();
    let mut rest = stream;
    let ended_well = loop {
        match read_frame(&mut rest) {
            Ok(Some::<Frame>(frame)) => plain.push(frame),
            Ok(None) => break true,
            Err(error) => {
                check_error(error);
                break false;
            }
        }
    };
    let mut in_pieces = Frames::default();
    for piece in stream.chunks(usize::from(length).max(1)) {
        in_pieces.take_in(piece);
    }
    let mut at_once = Frames::default();
    at_once.take_in(stream);
    assert_eq!(in_pieces.is_garbage(), at_once.is_garbage());
    let (in_pieces, at_once) = (in_pieces.into_last(), at_once.into_last());
    assert_eq!(format!("{in_pieces:?}"), format!("{at_once:?}"));
    assert!(ended_well || at_once.is_err());
    if let Err(error) = at_once {
        check_error(error);
    }
}

fn draws(bytes: &[u8]) {
    let read = |bytes: &[u8]| with_file(bytes, |path| draws::read(path, None));
    match read(bytes) {
        Err(error) => check_error(error),
        Ok(draws) => {
            assert!(!draws.is_empty());
            let lines: String = draws.iter().map(|draw| format!("{draw}\n")).collect();
            assert_eq!(read(lines.as_bytes()).expect("our own draws"), draws);
            let json = serde_json::to_vec(&draws).expect("a list of numbers");
            assert_eq!(read(&json).expect("our own draws"), draws);
        }
    }
    if let Err(error) = with_file(bytes, |path| draws::read(path, Some("evening, midday"))) {
        check_error(error);
    }
}

fn candidate_lists(bytes: &[u8]) {
    for family in [Family::Mt19937, Family::Pcg32] {
        let read = |bytes: &[u8]| with_file(bytes, |path| candidates::read(path, family));
        match read(bytes) {
            Err(error) => check_error(error),
            Ok(read_once) => {
                let end = family.seed_end();
                assert!(read_once.seeds.iter().all(|seed| u128::from(*seed) < end));
                let json = serde_json::to_vec(&read_once.seeds).expect("a list of numbers");
                let again = read(&json).expect("our own candidates");
                assert_eq!((again.seeds, again.repeated), (read_once.seeds, 0));
            }
        }
    }
}

fn survivors(bytes: &[u8]) {
    let listed = match parse_survivors(bytes) {
        Err(error) => return check_error(if error.is_empty() { "nothing" } else { &error }),
        Ok(listed) => listed,
    };
    assert!(listed.windows(2).all(|pair| pair[0].seed < pair[1].seed));
    let mut csv = b"seed,matches,skip,reverse_matches,reverse_skip\n".to_vec();
    for Survivor { seed, best, reverse } in &listed {
        write!(csv, "{seed},{},{},", best.matches, best.skip).expect("a buffer");
        match reverse {
            Some(best) => writeln!(csv, "{},{}", best.matches, best.skip).expect("a buffer"),
            None => writeln!(csv, ",").expect("a buffer"),
        }
    }
    let again = parse_survivors(&csv[..]).expect("our own survivors");
    assert_eq!(hash_survivors(again), hash_survivors(listed));
}

fn certificates(bytes: &[u8]) {
    let mut certificate = match Certificate::from_json(bytes) {
        Err(error) => return check_error(error),
        Ok(certificate) => certificate,
    };
    // Times lose their last bits on their way through JSON.
    (certificate.opened_at, certificate.ended_at) = (0.0, None);
    certificate.devices.iter_mut().for_each(|device| device.seconds = 0.0);
    let json = serde_json::to_vec(&certificate).expect("our own certificate");
    assert_eq!(Certificate::from_json(&json).expect("our own certificate"), certificate);
    // What is chosen to be tested again is bounded, whatever is certified.
    if let Ok(certified) = Certified::new(certificate, Vec::new(), None) {
        for percent in ["100%", "0.0001%"] {
            let share = percent.parse().expect("a share");
            let blocks = certified.blocks(share, 60.0, 1e9, &mut Random::new(1));
            assert!(blocks.seeds > 0);
        }
    }
}

fn jobs_files(bytes: &[u8]) {
    let entries = match jobs_file::parse(bytes) {
        Err(error) => return check_error(error),
        Ok(entries) => entries,
    };
    assert!(!entries.is_empty() && entries.len() <= jobs_file::MAX_JOBS);
    let ids: BTreeSet<&str> = entries.iter().map(|entry| entry.id.as_str()).collect();
    assert_eq!(ids.len(), entries.len(), "an id that is there twice");
    let settings = Layers::load(None).and_then(|layers| layers.settings()).expect("the defaults");
    let options = ScriptOptions {
        step: "3".to_owned(),
        arch: None,
        urgency: Urgency::Normal,
        max_dead: MaxDead::Percent(1.0),
        max_attempts: 3,
        output_dir: Some("/out".into()),
        preserve_paths: false,
        staged: None,
    };
    match ScriptRun::new(entries, options, &settings) {
        Err(error) => check_error(error),
        Ok(run) => {
            // Whatever is published, a worker would start, and no output leaves its folder.
            for job in run.jobs("r") {
                job.validate().expect("our own job");
                let Task::Script(script) = &job.task else { panic!("a script") };
                let lands = script.output.iter().map(|output| Path::new("/out/r").join(output));
                for path in lands {
                    assert!(path.starts_with("/out/r") && !path.to_string_lossy().contains("/../"));
                }
                wire::encode(&job).expect("our own job");
            }
            let parts = run.parts("r");
            assert_eq!(
                parts.iter().map(|part| part.jobs.len()).sum::<usize>(),
                run.jobs("r").count()
            );
            for part in &parts {
                wire::encode(part).expect("a part that fits into a message");
            }
        }
    }
}

fn settings(bytes: &[u8]) {
    with_file(bytes, |path| {
        let layers = match Layers::load(Some(path)) {
            Err(error) => return check_error(error),
            Ok(layers) => layers,
        };
        if let Err(error) = layers.settings() {
            return check_error(error);
        }
        assert!(!layers.show().is_empty());
    });
}
