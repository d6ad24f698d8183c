//! A FAKE runner for the worker's tests. It sieves nothing: it does what `FAKE_RUNNER` names, so
//! that the worker can be seen to cope with it. Never installed.

use std::{
    env, fs,
    io::{self, Read, Write},
    process::{Command, ExitCode},
    time::Duration,
};

use rustix::process::{Signal, getpid, kill_process, set_parent_process_death_signal};
use shared::{
    exit_codes,
    job::Job,
    outcome::{Best, Failure, SieveResult, Survivor, Survivors},
    runner::{EXIT_REJECTED, Frame, Progress, write_frame},
    spans::Span,
    wire::{self, Message, Wire},
};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let behaviour = env::var("FAKE_RUNNER").expect("a fake runner is told how to behave");
    // As a real runner: it does not outlive the thread that started it.
    set_parent_process_death_signal(Some(Signal::KILL)).expect("prctl");
    if let Ok(folder) = env::var("FAKE_PIDS") {
        fs::write(format!("{folder}/{}", getpid().as_raw_nonzero()), &behaviour).expect("pid file");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(behave(&behaviour))
}

fn read_job() -> Job {
    let mut body = Vec::new();
    io::stdin().read_to_end(&mut body).expect("the job's bytes");
    let headers = [(wire::SCHEMA.to_owned(), Job::SCHEMA.to_string())].into();
    wire::decode(&Message { kind: Job::TYPE.to_owned(), headers, body }).expect("a job")
}

fn say(frame: &Frame) {
    write_frame(io::stdout().lock(), frame).expect("stdout");
}

fn done(tested: Span, survivors: Survivors) -> ExitCode {
    let result = SieveResult { tested: vec![tested], survivors, ..SieveResult::default() };
    say(&Frame::Done(result));
    ExitCode::SUCCESS
}

async fn for_ever() -> ExitCode {
    std::future::pending().await
}

async fn behave(behaviour: &str) -> ExitCode {
    let job = read_job();
    let span = job.span().expect("a span");
    match behaviour {
        "whole" => done(span, Survivors::default()),
        "counts" => {
            // How many runners live now, this one among them, written down where tests look.
            let folder = env::var("FAKE_PIDS").expect("a folder for ids");
            let entries = fs::read_dir(&folder).expect("ids").flatten();
            let lives = |name: &str| {
                let stat = fs::read_to_string(format!("/proc/{name}/stat")).unwrap_or_default();
                let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start().to_owned());
                state.is_some_and(|state| !state.starts_with(['Z', 'X']))
            };
            let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
            let count = names.filter(|name| lives(name)).count();
            let own = format!("{folder}/{}", getpid().as_raw_nonzero());
            fs::write(own, format!("counted {count}")).expect("pid file");
            // As long as it takes others to come.
            tokio::time::sleep(Duration::from_millis(30)).await;
            done(span, Survivors::default())
        }
        "alone" => {
            // A mark that only one process at a time can make for the device it was shown.
            let folder = env::var("FAKE_PIDS").expect("a folder for marks");
            let device = env::var("ROCR_VISIBLE_DEVICES").expect("a device");
            let mark = format!("{folder}/on-{device}");
            let made = fs::File::create_new(&mark);
            if made.is_err() {
                let collisions = format!("{folder}/collisions");
                let file = fs::OpenOptions::new().append(true).create(true).open(collisions);
                writeln!(file.expect("a file"), "{device}").expect("a line");
            }
            fs::write(format!("{folder}/used-{device}"), "").expect("a mark");
            tokio::time::sleep(Duration::from_millis(span.first() % 4)).await;
            if made.is_ok() {
                fs::remove_file(&mark).expect("the mark");
            }
            done(span, Survivors::default())
        }
        "two seconds" => {
            let tested = vec![span];
            let result = SieveResult { tested, busy_seconds: 2.0, ..SieveResult::default() };
            say(&Frame::Done(SieveResult { engine: job.engine, ..result }));
            ExitCode::SUCCESS
        }
        "full" => {
            // The longest result there is.
            let first = span.first();
            let row =
                |seed| Survivor { seed, best: Best { matches: 1, skip: 70_000 }, reverse: None };
            let mut survivors = Survivors::default();
            survivors.extend((first..first + 20_000).map(row));
            done(span, survivors)
        }
        "arguments" => {
            let words: Vec<String> = env::args().skip(1).collect();
            say(&Frame::Rejected(words.join(" ")));
            ExitCode::from(u8::try_from(EXIT_REJECTED).expect("a code"))
        }
        "environment" => {
            let shown = |name: &&str| name.contains("DEVICE") || name.starts_with("HSA_");
            let all: Vec<(String, String)> = env::vars().collect();
            let mut lines: Vec<String> = all
                .iter()
                .filter(|(name, _)| shown(&name.as_str()))
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            lines.sort_unstable();
            say(&Frame::Rejected(lines.join(" ")));
            ExitCode::from(u8::try_from(EXIT_REJECTED).expect("a code"))
        }
        "bad memory" => {
            let detail = "the device and the processor disagree".to_owned();
            say(&Frame::Failed { failure: Failure::WitnessMissed, detail });
            ExitCode::from(exit_codes::DEVICE)
        }
        "short" => {
            // Tested half of its span when TERM came.
            let mut term = signal(SignalKind::terminate()).expect("a handler");
            say(&Frame::Progress(Progress { tested: 7, survivors: 1 }));
            term.recv().await;
            let half = Span::new(span.first(), span.first() + (span.last() - span.first()) / 2);
            done(half.expect("half"), Survivors::default())
        }
        "deaf" | "deaf with a child" => {
            let term = signal(SignalKind::terminate()).expect("a handler");
            if behaviour != "deaf" {
                grandchild();
            }
            say(&Frame::Progress(Progress { tested: 7, survivors: 1 }));
            let code = for_ever().await;
            drop(term);
            code
        }
        "leaves a child" => {
            grandchild();
            done(span, Survivors::default())
        }
        "silent" => for_ever().await,
        "chatty" => loop {
            say(&Frame::Progress(Progress::default()));
            tokio::time::sleep(Duration::from_millis(10)).await;
        },
        "garbage" => {
            io::stdout()
                .write_all(b"Hello, world\n")
                .and_then(|()| io::stdout().flush())
                .expect("stdout");
            for_ever().await
        }
        "nothing" => ExitCode::SUCCESS,
        "cut" => {
            io::stdout()
                .write_all(&[200, 0, 0, 0, 1, 2])
                .and_then(|()| io::stdout().flush())
                .expect("stdout");
            ExitCode::SUCCESS
        }
        "outside" => {
            let beyond = Span::new(span.last(), span.last() + 1);
            done(beyond.expect("a span"), Survivors::default())
        }
        "exit 3" => {
            writeln!(io::stderr(), "first words\nlast words").expect("stderr");
            ExitCode::from(3)
        }
        "flood" => {
            let line = [b'x'; 1023];
            for _ in 0..4096 {
                io::stderr()
                    .write_all(&line)
                    .and_then(|()| writeln!(io::stderr()))
                    .expect("stderr");
            }
            writeln!(io::stderr(), "the very end").expect("stderr");
            ExitCode::from(1)
        }
        "segfault" => loop {
            // The first one only makes Rust's own handler step aside.
            kill_process(getpid(), Signal::SEGV).expect("a signal");
        },
        other => panic!("a fake runner can't do '{other}'"),
    }
}

#[expect(clippy::zombie_processes, reason = "that is what the worker must cope with")]
/// Starts something that would live for ever, in the same process group.
fn grandchild() {
    let script = "trap '' TERM; echo grandchild > \"$FAKE_PIDS/$$\"; while :; do sleep 1000; done";
    Command::new("sh").args(["-c", script]).spawn().expect("a shell");
    // It is there once it has written its file.
    let folder = env::var("FAKE_PIDS").expect("a folder for ids");
    while !fs::read_dir(&folder)
        .expect("ids")
        .flatten()
        .any(|entry| fs::read_to_string(entry.path()).is_ok_and(|text| text == "grandchild\n"))
    {
        std::thread::yield_now();
    }
}
