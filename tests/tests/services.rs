//! The services as a service manager sees them: units without a fault, and words on its socket.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::{
    fs,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tests::rig::{Part, Rig};

fn units() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/systemd")
}

#[test]
fn systemd_finds_nothing_to_say_of_the_units() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        println!("skipped: systemd-analyze is not installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("systemd-analyze");
    command.args(["verify", "--man=no"]);
    for entry in fs::read_dir(units()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "service") {
            // The programs are not installed here; any that can be run will do.
            let text = fs::read_to_string(&path).unwrap();
            let [worker, producer] =
                ["worker", "producer"].map(|name| format!("/opt/rigqueue/bin/{name}"));
            assert!(text.contains(&worker) || text.contains(&producer), "{text}");
            let text = text.replace(&worker, "/bin/true").replace(&producer, "/bin/true");
            let name = path.file_name().unwrap().to_str().unwrap().replace("@.", "@rocm.");
            let copy = folder.path().join(name);
            fs::write(&copy, text).unwrap();
            command.arg(copy);
        }
    }
    assert_eq!(command.get_args().len(), 4);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

/// A service manager's socket.
struct Ear(UnixDatagram);

impl Ear {
    fn start(rig: &Rig, extra: &[(&str, &str)], start: impl FnOnce(&Rig) -> Part) -> (Self, Part) {
        let path = rig.path("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut env = vec![("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "300000")];
        env.extend(extra);
        let part = rig.with_env(&env, start);
        (Self(socket), part)
    }

    fn until(&self, word: &str) {
        let mut bytes = [0; 4096];
        loop {
            let length = self.0.recv(&mut bytes).unwrap_or_else(|error| panic!("{word}: {error}"));
            if String::from_utf8_lossy(&bytes[..length]).lines().any(|line| line == word) {
                return;
            }
        }
    }
}

#[test]
fn a_service_says_that_it_is_up_and_alive() {
    for start in [|rig: &Rig| rig.spawn_worker(1), Rig::spawn_aggregator] {
        let rig = Rig::embedded();
        let (ear, part) = Ear::start(&rig, &[], start);
        ear.until("READY=1");
        for _ in 0..5 {
            ear.until("WATCHDOG=1");
        }
        assert!(rig.terminate(part).success());
    }
}

#[test]
fn a_service_is_up_while_its_broker_is_away() {
    let rig = Rig::embedded();
    let away = [("RIGQUEUE_BROKER", "amqp://127.0.0.1:1/v")];
    let (ear, part) = Ear::start(&rig, &away, |rig| rig.spawn_worker(1));
    ear.until("READY=1");
    ear.until("WATCHDOG=1");
    assert!(rig.terminate(part).success());
}
