//! Python and the scripts: whether what the presets name is there.

use std::{collections::BTreeMap, fs, path::PathBuf, process::Command, time::Duration};

use shared::settings::{ScriptsSettings, StepPreset};

use super::findings::Findings;
use crate::answer::{Answer, answer};

/// Prints the version, then each module that is nowhere to be found. Nothing is imported: that
/// takes seconds and may touch a GPU.
const PROBE: &str = "\
import importlib.util, sys
print('%d.%d.%d' % sys.version_info[:3])
for name in sys.argv[1:]:
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        found = None
    if found is None:
        print(name)
";
/// How long Python may take to say so.
const PATIENCE: Duration = Duration::from_secs(20);
/// The oldest Python that the shipped scripts run on.
const OLDEST: (u32, u32) = (3, 10);

/// Looks at the interpreter, the script folders, and each step's preset.
pub(super) fn look(
    scripts: &ScriptsSettings,
    steps: &BTreeMap<String, StepPreset>,
    findings: &mut Findings,
) {
    let folders: Vec<PathBuf> = scripts.folders.iter().map(PathBuf::from).collect();
    if folders.is_empty() && steps.is_empty() {
        findings.ok("scripts", "no script folders: this node runs sieves alone");
        return;
    }
    for folder in &folders {
        if let Err(error) = fs::read_dir(folder) {
            findings.fail(
                "scripts",
                format!("the script folder {} can't be read: {error}", folder.display()),
                "correct scripts.folders in the settings",
            );
        }
    }
    let mut modules: Vec<&str> = steps
        .values()
        .flat_map(|step| step.imports.iter().chain(&step.preload))
        .map(String::as_str)
        .collect();
    modules.sort_unstable();
    modules.dedup();
    let missing = python(&scripts.python, &modules, findings);
    for (step, preset) in steps {
        preset_of(step, preset, &folders, &missing, findings);
    }
}

fn preset_of(
    step: &str,
    preset: &StepPreset,
    folders: &[PathBuf],
    missing: &[String],
    findings: &mut Findings,
) {
    let script = &preset.script;
    let found = folders.iter().map(|folder| folder.join(script)).find(|path| path.is_file());
    let Some(path) = found else {
        findings.fail(
            "scripts",
            format!("step {step}: {script} is in none of the script folders"),
            "install it there, or correct steps.*.script or scripts.folders",
        );
        return;
    };
    let wanted = preset.imports.iter().chain(&preset.preload);
    let lacks: Vec<&str> =
        wanted.filter(|name| missing.contains(name)).map(String::as_str).collect();
    if lacks.is_empty() {
        findings.ok("scripts", format!("step {step}: {}", path.display()));
    } else {
        let lacks = lacks.join(" ");
        findings.fail(
            "scripts",
            format!("step {step}: Python has no {lacks}"),
            format!("install it for the interpreter in scripts.python: pip install {lacks}"),
        );
    }
}

/// Looks at the interpreter; returns the modules that it has not.
fn python(interpreter: &str, modules: &[&str], findings: &mut Findings) -> Vec<String> {
    let advice = "install Python 3.10 or later, or set scripts.python to one";
    let said = match ask(interpreter, modules) {
        Ok(said) => said,
        Err(why) => {
            findings.fail("python", format!("{interpreter}: {why}"), advice);
            return Vec::new();
        }
    };
    let mut lines = said.lines().map(str::to_owned);
    let version = lines.next().unwrap_or_default();
    let mut numbers = version.split('.').map_while(|number| number.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) >= OLDEST => {
            findings.ok("python", format!("{interpreter}, {version}"));
        }
        _ => findings.warn("python", format!("{interpreter} is version {version}"), advice),
    }
    lines.collect()
}

fn ask(interpreter: &str, modules: &[&str]) -> Result<String, String> {
    let mut command = Command::new(interpreter);
    command.args(["-c", PROBE]).args(modules);
    let Answer { said, status } =
        answer(&mut command, PATIENCE).map_err(|error| error.to_string())?;
    match status {
        Some(status) if status.success() => Ok(String::from_utf8_lossy(&said).into_owned()),
        Some(status) => Err(format!("it ended by {status}")),
        None => Err("it does not end".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preset(script: &str, imports: &[&str]) -> StepPreset {
        toml::from_str(&format!("script = {script:?}\nimports = {imports:?}")).unwrap()
    }

    #[test]
    fn says_which_script_and_which_module_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("there.py"), "").unwrap();
        let settings = ScriptsSettings {
            folders: vec![folder.path().display().to_string()],
            python: "python3".to_owned(),
        };
        let steps = [
            ("3", preset("there.py", &["json"])),
            ("4", preset("away.py", &[])),
            ("5", preset("there.py", &["json", "no_such_module", "no.such"])),
        ];
        let steps = steps.map(|(step, preset)| (step.to_owned(), preset)).into();
        let mut findings = Findings::default();
        look(&settings, &steps, &mut findings);
        let text = findings.text();
        for line in [
            "ok          python ",
            "step 3: ",
            "step 4: away.py is in none of the script folders",
            "step 5: Python has no no_such_module no.such",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        assert_eq!(findings.exit_code(), 2);
    }

    #[test]
    fn no_python_is_a_failure() {
        let settings =
            ScriptsSettings { folders: vec!["/nowhere".into()], python: "/no/python".into() };
        let mut findings = Findings::default();
        look(&settings, &BTreeMap::new(), &mut findings);
        let text = findings.text();
        assert!(text.contains("FAILED      python       /no/python: "), "{text}");
        assert!(text.contains("the script folder /nowhere can't be read"), "{text}");
    }
}
