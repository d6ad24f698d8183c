//! The keeper leaves nothing behind when whoever started it is gone.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

use tests::kept::Keeper;

#[test]
fn the_end_of_its_input_ends_all_it_keeps() {
    let folder = tempfile::tempdir().unwrap().keep();
    // The second is a child of a child, as an Erlang machine is of its script; the third leaves the
    // group, as a daemon does.
    let script = r#"sleep 1000 & two=$!
        setsid sh -c 'echo $$ > three; exec sleep 1000' &
        while ! [ -s three ]; do :; done
        echo "$$ $two $(cat three)" > pids; wait"#;
    let plan = serde_json::json!({
        "program": "/bin/sh",
        "arguments": ["-c", script],
        "environment": { "PATH": "/usr/bin:/bin" },
        "log": folder.join("log"),
    });
    fs::write(folder.join("one.json"), plan.to_string()).unwrap();
    let mut keeper = Command::new(env!("CARGO_BIN_EXE_keeper"))
        .arg(&folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut commands = keeper.stdin.take().unwrap();
    let mut answer = String::new();
    commands.write_all(b"start one\n").unwrap();
    BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut answer).unwrap();
    assert!(answer.starts_with("ok "), "{answer}");
    let pids = loop {
        match fs::read_to_string(folder.join("pids")) {
            Ok(pids) if pids.ends_with('\n') => break pids,
            _ => std::thread::yield_now(),
        }
    };
    drop(commands);
    assert!(keeper.wait().unwrap().success());
    assert_eq!(pids.split_whitespace().count(), 3, "{pids}");
    for pid in pids.split_whitespace() {
        assert!(!Path::new("/proc").join(pid).exists(), "{pid} lives on");
    }
    assert!(!folder.exists());
}

#[test]
fn a_wrong_command_is_answered_and_the_keeper_lives_on() {
    let keeper = Keeper::start("rigqueue-keeper-").unwrap();
    let folder = keeper.folder().to_owned();
    assert!(keeper.command("start nothing").is_err());
    assert!(keeper.command("dance").unwrap_err().to_string().contains("dance"));
    let path = [("PATH".to_owned(), "/usr/bin:/bin".to_owned())];
    keeper.plan("nap", "/bin/sleep", &["1000".to_owned()], &path).unwrap();
    keeper.command("start nap").unwrap();
    keeper.command("stop nap").unwrap();
    assert!(keeper.command("kill nap").is_err(), "it was stopped");
    drop(keeper);
    assert!(!folder.exists());
}
