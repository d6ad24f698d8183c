//! The host's memory: whether the jobs that may run side by side fit into it.

use shared::settings::Settings;

use super::findings::Findings;
use crate::{
    admission::{Memory, MemorySource},
    memory::in_words,
};

const MIB: u64 = 1 << 20;

/// Looks at the memory that jobs may share.
pub(super) fn look(settings: &Settings, source: &MemorySource, findings: &mut Findings) {
    const CHECK: &str = "memory";
    let memory = match source.read() {
        Ok(memory) => memory,
        Err(error) => {
            let advice = "jobs are admitted without regard to it: mount /proc";
            return findings.unverified(CHECK, format!("it can't be read: {error}"), advice);
        }
    };
    let Memory { total, available, pressure } = memory;
    // On a small host half of it at most is kept free.
    let reserve = settings.worker.reserve_memory_mb.saturating_mul(MIB).min(total / 2);
    let (all, free, kept) = (in_words(total), in_words(available), in_words(reserve));
    let found = format!("{all}, {free} available, of which {kept} stay free");
    if available < reserve {
        findings.warn(CHECK, found, "no job starts but one at a time: see what uses it");
    } else {
        findings.ok(CHECK, found);
    }
    if pressure.is_none() {
        findings.warn(
            "pressure",
            "the kernel does not tell what waits for memory (/proc/pressure/memory)",
            "boot with psi=1: a worker then runs fewer jobs before the host stands still",
        );
    }
    let scripts = u64::from(settings.worker.max_concurrent_script_jobs);
    for (step, preset) in &settings.steps {
        let Some(wanted) = preset.memory_mb.filter(|&wanted| wanted > 0) else { continue };
        let fit = (total - reserve) / wanted.saturating_mul(MIB);
        let found = format!("step {step} wants {wanted} MiB a job: {fit} fit at once");
        if fit == 0 {
            let advice =
                "this node refuses them: a smaller sample_size or chunk_size, less reserve";
            findings.fail(CHECK, found, advice);
        } else if fit < scripts {
            let advice =
                format!("of {scripts} the others wait: lower sample_size, or let them wait");
            findings.warn(CHECK, found, advice);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use shared::settings::Layers;

    use super::*;

    #[test]
    fn says_how_many_of_a_step_fit() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("proc")).unwrap();
        let text = "MemTotal: 8388608 kB\nMemAvailable: 7340032 kB\n";
        fs::write(folder.path().join("proc/meminfo"), text).unwrap();
        let config = folder.path().join("settings.toml");
        let step =
            |name: &str, mb| format!("[steps.{name:?}]\nscript = 'a.py'\nmemory_mb = {mb}\n");
        fs::write(&config, [step("3", 900), step("4", 2000), step("5", 8000)].concat()).unwrap();
        let settings = Layers::load(Some(&config)).unwrap().settings().unwrap();
        let mut findings = Findings::default();
        look(&settings, &MemorySource::below(folder.path()), &mut findings);
        let text = findings.text();
        for line in [
            "ok          memory       8.0 GiB, 7.0 GiB available, of which 1.0 GiB stay free\n",
            "warning     pressure ",
            "warning     memory       step 3 wants 900 MiB a job: 7 fit at once\n",
            "warning     memory       step 4 wants 2000 MiB a job: 3 fit at once\n",
            "FAILED      memory       step 5 wants 8000 MiB a job: 0 fit at once\n",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }
}
