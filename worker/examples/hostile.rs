//! A FAKE runner for the worker's tests, of the kind that a rig must survive: it escapes, hoards,
//! floods and multiplies as `FAKE_RUNNER` names. Never installed.

use std::{
    env, fs,
    io::{self, Read, Write},
    process::{Command, ExitCode},
    thread,
    time::Duration,
};

use rustix::process::{Signal, getpid, set_parent_process_death_signal};
use shared::{
    job::Job,
    outcome::SieveResult,
    runner::{EXIT_REJECTED, Frame, Progress, write_frame},
    wire::{self, Message, Wire},
};
use tokio::signal::unix::{SignalKind, signal};

/// What an escapee does: it ignores TERM, writes itself down in the folder $1, and stays.
const STAY: &str = r#"trap '' TERM; echo escapee > "$1/$$"; exec sleep 1000"#;
/// More than any test lets it have.
const HOARD: usize = 3 << 30;

fn main() -> ExitCode {
    let behaviour = env::var("FAKE_RUNNER").expect("a fake runner is told how to behave");
    set_parent_process_death_signal(Some(Signal::KILL)).expect("prctl");
    let folder = env::var("FAKE_PIDS").expect("a folder for ids");
    fs::write(format!("{folder}/{}", getpid().as_raw_nonzero()), "leader\n").expect("pid file");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let context = runtime.enter();
    // Caught and never looked at: deaf.
    let deaf = signal(SignalKind::terminate()).expect("a handler");
    let code = behave(&behaviour, &folder);
    drop((deaf, context));
    code
}

fn behave(behaviour: &str, folder: &str) -> ExitCode {
    let mut body = Vec::new();
    io::stdin().read_to_end(&mut body).expect("the job's bytes");
    let headers = [(wire::SCHEMA.to_owned(), Job::SCHEMA.to_string())].into();
    let job = wire::decode::<Job>(&Message { kind: Job::TYPE.to_owned(), headers, body });
    let job = job.expect("a job");
    let tested = vec![job.span().expect("a span")];
    match behaviour {
        "hoards if it is bounded, else escapes and stays" => {
            if job.memory_mb == 0 {
                escape(folder, &["setsid", "sh"]);
                stay();
            }
            hoard();
        }
        "escapes" => escape(folder, &["setsid", "sh"]),
        "escapes and stays" => {
            escape(folder, &["setsid", "sh"]);
            stay();
        }
        // Nothing in its environment says whose it is.
        "escapes unmarked" => escape(folder, &["env", "-i", "setsid", "sh"]),
        "multiplies" => {
            let script = r#"i=0; while [ $i -lt 500 ]; do sleep 1000 & setsid sleep 1000 & i=$((i+1)); done"#;
            Command::new("sh").args(["-c", script]).status().expect("a shell");
        }
        "hoards" => hoard(),
        "floods" => {
            let piece = vec![b'x'; 1 << 20];
            while io::stdout().write_all(&piece).is_ok() {}
        }
        "floods with progress" => {
            let mut piece = Vec::new();
            for tested in 0..10_000 {
                let progress = Progress { tested, survivors: 0 };
                write_frame(&mut piece, &Frame::Progress(progress)).expect("a frame");
            }
            while io::stdout().write_all(&piece).is_ok() {}
        }
        "tells its limits" => {
            let limits = fs::read_to_string("/proc/self/limits").expect("limits");
            say(&Frame::Rejected(limits));
            return ExitCode::from(u8::try_from(EXIT_REJECTED).expect("a code"));
        }
        other => panic!("a hostile runner can't do '{other}'"),
    }
    say(&Frame::Done(SieveResult { tested, ..SieveResult::default() }));
    ExitCode::SUCCESS
}

fn say(frame: &Frame) {
    write_frame(io::stdout().lock(), frame).expect("stdout");
}

/// Takes more and more, and then keeps it.
fn hoard() {
    let mut hoard = Vec::new();
    while hoard.len() * (16 << 20) < HOARD {
        // Written, so that it is there.
        hoard.push(vec![1_u8; 16 << 20]);
        say(&Frame::Progress(Progress::default()));
        thread::sleep(Duration::from_millis(20));
    }
    stay();
}

fn stay() {
    say(&Frame::Progress(Progress { tested: 7, survivors: 1 }));
    loop {
        thread::park();
    }
}

/// Starts something that leaves the session and loses its parent, and waits until it is there.
fn escape(folder: &str, words: &[&str]) {
    let own = format!("{folder}/of-{}", getpid().as_raw_nonzero());
    fs::create_dir(&own).expect("a folder");
    let script = format!("{} -c '{}' sh \"$1\" &", words.join(" "), STAY.replace('\'', r"'\''"));
    let ended = Command::new("sh").args(["-c", &script, "sh", &own]).status();
    assert!(ended.expect("a shell").success());
    let there = || fs::read_dir(&own).expect("ids").flatten().next();
    let pid = loop {
        match there() {
            Some(entry) => break entry,
            None => thread::yield_now(),
        }
    };
    // Known to the test only now that it is on its way and deaf.
    fs::rename(pid.path(), format!("{folder}/{}", pid.file_name().display())).expect("a name");
    fs::remove_dir(&own).expect("an empty folder");
}
