//! A worker that can't start says why in one line, with the documented exit code.

use std::process::Output;

use crate::harness::{Rig, fake_runner};

async fn refused(prepare: impl FnOnce(&Rig, &mut std::process::Command)) -> (Option<i32>, String) {
    let rig = Rig::new().await;
    let program = rig.install(&fake_runner());
    let mut command = rig.command(&program, "");
    command.env("RIGQUEUE_LOG", "warn").env("RIGQUEUE_SYSTEM_ROOT", rig.folder.path());
    prepare(&rig, &mut command);
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(stdout.is_empty());
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[tokio::test]
async fn each_refusal_is_one_line() {
    let (code, text) = refused(|rig, _| {
        std::fs::remove_file(rig.folder.path().join("bin/runner-cpu")).unwrap();
    })
    .await;
    assert!(code == Some(2) && text.contains("bin/runner-cpu"), "{text}");
    assert!(text.starts_with("error: ") && text.lines().count() == 1, "{text}");

    for (args, names) in [
        (vec!["--slots", "none"], "slots is 'none'"),
        (vec!["--slots", "0"], "slots is '0'"),
        (vec!["--arch", "abacus"], "abacus"),
        (vec!["--arch", "rocm", "--slots", "auto"], "no GPU for it"),
        (vec!["--arch", "rocm", "--slots", "2"], "no GPU for it"),
        (vec!["--node", "a node"], "'a node'"),
        (vec!["--config", "/nowhere.toml"], "/nowhere.toml"),
    ] {
        let (code, text) = refused(|rig, command| {
            if args[0] == "--config" {
                *command = std::process::Command::new(rig.install(&fake_runner()));
            }
            command.args(&args);
        })
        .await;
        assert!(code == Some(2) && text.contains(names), "{args:?}: {text}");
        assert!(text.starts_with("error: ") && text.lines().count() == 1, "{args:?}: {text}");
    }

    let (code, text) = refused(|_, command| {
        command.env("RIGQUEUE_BROKER", "carrier-pigeon:");
    })
    .await;
    assert!(code == Some(2) && text.contains("carrier-pigeon"), "{text}");

    let (code, text) = refused(|_, command| {
        command.env("RIGQUEUE_BROKER", "embedded:/proc/nowhere");
    })
    .await;
    assert!(code == Some(3) && text.contains("/proc/nowhere"), "{text}");

    let (code, text) = refused(|_, command| {
        command.env("RIGQUEUE_LOG", "worker=loud");
    })
    .await;
    assert!(code == Some(2) && text.contains("worker=loud"), "{text}");

    let (code, text) = refused(|_, command| {
        command.env("RIGQUEUE_PARENT", "1");
    })
    .await;
    assert!(code == Some(130) && text.contains("RIGQUEUE_PARENT"), "{text}");
}
