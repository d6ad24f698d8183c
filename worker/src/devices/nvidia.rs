//! NVIDIA's cards, from the worker's side: a subprocess asks the library, within a time.

use std::{io, os::unix::process::CommandExt as _, process::Command, time::Duration};

use shared::{
    health::{Condition, Health},
    parent::ENV_PARENT,
};

use super::{ENV_ROOT, Found, Gpu, LeftOut, System, nvml::Answer};
use crate::answer::answer;

/// How long the first question may take: it may load the driver, card by card.
const PATIENCE_FIRST: Duration = Duration::from_secs(60);
/// How long a later one may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The cards that the driver describes.
///
/// # Errors
/// One line, when there is a driver and it does not answer.
pub(super) fn found(system: &System) -> Result<Found, String> {
    let answer = ask(system, PATIENCE_FIRST)?;
    let failed = answer.failed.into_iter().map(|why| LeftOut {
        pci: String::new(),
        name: "an NVIDIA card".to_owned(),
        why,
    });
    Ok(Found {
        gpus: answer.gpus.into_iter().map(|seen| seen.gpu).collect(),
        left_out: failed.collect(),
    })
}

/// The health of some cards, in their order.
pub(super) fn health(gpus: &[Gpu], system: &System) -> Vec<Health> {
    let answer = ask(system, PATIENCE);
    let of = |gpu: &Gpu| match &answer {
        Err(why) => Health::without_readings(Condition::Unreadable, why.clone()),
        Ok(answer) => {
            let seen = answer.gpus.iter().find(|seen| seen.gpu.uuid == gpu.uuid);
            seen.map(|seen| seen.health.clone()).unwrap_or_else(|| {
                let said = answer.failed.join("; ");
                let why = format!("NVIDIA's driver does not show it any more; {said}");
                let why = why.trim_end_matches("; ");
                Health::without_readings(Condition::Lost, why)
            })
        }
    };
    gpus.iter().map(of).collect()
}

fn ask(system: &System, patience: Duration) -> Result<Answer, String> {
    let bytes = said(system, patience)
        .map_err(|error| format!("the subprocess that asks its library failed: {error}"))?;
    let answer: Answer = serde_json::from_slice(&bytes)
        .map_err(|error| format!("the subprocess that asks its library told nonsense: {error}"))?;
    match answer.broken {
        Some(why) => Err(why),
        None => Ok(answer),
    }
}

/// What the subprocess writes. It ends with the thread that asks (`ENV_PARENT`), which waits here.
fn said(system: &System, patience: Duration) -> io::Result<Vec<u8>> {
    let mut command = Command::new(system.worker());
    command
        .arg0("worker")
        .arg("__nvml")
        .env(ENV_ROOT, if system.is_real() { "".as_ref() } else { system.root().as_os_str() })
        .env(ENV_PARENT, std::process::id().to_string());
    Ok(answer(&mut command, patience)?.said)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    /// A subprocess that does this instead.
    fn asked(script: &str, patience: Duration) -> Result<Answer, String> {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("worker");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        ask(&System::recorded(folder.path(), program), patience)
    }

    #[test]
    fn a_library_that_hangs_is_not_waited_for() {
        let why = asked("echo '{'; exec sleep 600", Duration::from_millis(50)).unwrap_err();
        assert!(why.contains("did not answer in time"), "{why}");
        let long = asked("exec yes", Duration::from_secs(60)).unwrap_err();
        assert!(long.contains("more than"), "{long}");
    }

    #[test]
    fn the_subprocess_is_told_whose_it_is_and_what_to_do() {
        let script = format!(
            "[ \"$1 ${ENV_PARENT}\" = \"__nvml {}\" ] && echo '{{\"driver\":\"1\"}}'",
            std::process::id()
        );
        let answer = asked(&script, Duration::from_secs(60)).unwrap();
        assert_eq!(answer.driver.as_deref(), Some("1"));
        let gone = asked("exit 1", Duration::from_secs(60)).unwrap_err();
        assert!(gone.contains("nonsense"), "{gone}");
    }
}
