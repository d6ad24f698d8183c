//! Script jobs: a Python script with its arguments, and what comes of it.

use std::path::{Component, Path};

use serde::{Deserialize, Serialize};

use crate::input::{INPUT, Input, InvalidSet, MAX_INPUTS, STAGED, StagedSet};

/// The longest job id, script name or output path, in bytes.
pub const MAX_NAME: usize = 255;
/// The longest path of an output as arguments name it, in bytes: what Linux takes.
pub const MAX_DECLARED: usize = 4096;
/// The most arguments of a script.
pub const MAX_ARGS: usize = 1024;
/// The most bytes of a script's arguments together: well below what the kernel takes.
pub const MAX_ARG_BYTES: usize = 64 * 1024;
/// The largest result in an outcome, in bytes of JSON; anything larger belongs into a file.
pub const MAX_RESULT: usize = 64 * 1024;
/// The most output files of one job.
pub const MAX_OUTPUTS: usize = 16;
/// What a script finds in its arguments in place of this: where its output belongs.
pub const OUTPUT: &str = "{output}";
/// The file that marks an attempt's folder as finished: run, job and seq, a line each. Nothing is
/// taken out of a folder without it, whatever an outcome says.
pub const ATTEMPT_MARK: &str = ".rigqueue-attempt";
/// What the name of an output's sidecar ends in, after the whole name of the output: JSON about it
/// that the script may write beside it.
pub const SIDECAR: &str = ".meta.json";

/// The name of the file about an output that its script may write beside it.
#[must_use]
pub fn sidecar(output: &str) -> String {
    format!("{output}{SIDECAR}")
}

/// What a script job asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// Its place in the run's list, from 0: what the run counts as covered when it is done.
    pub index: u64,
    /// The script, by its path inside one of the workers' script folders.
    pub name: String,
    /// Its arguments, as they are passed on (never through a shell). [`OUTPUT`] and `declared`
    /// are replaced by the attempt's own path.
    pub args: Vec<String>,
    /// The file that it must write, by its path inside the attempt's folder (its working folder)
    /// and later inside the run's output folder. `None`: the last line on stdout is the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// How the arguments name that file, where that is not `output`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declared: Option<String>,
    /// Whether it may run on any architecture: then its queue is `jobs.script.any`.
    #[serde(default)]
    pub anywhere: bool,
    /// The GPU that it would like; the lease decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<u32>,
    /// The step that it belongs to, as in `2.5`; empty in jobs of older producers.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub step: String,
    /// How many of its step run at once on a node; `None` for as many as the node takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// The files of its own that it reads, by their content. Where arguments say `{input:NAME}`,
    /// the attempt's path of that one stands when it starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Input>,
    /// The files that its node must have on the ramdisk; [`STAGED`] stands for their folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged: Option<StagedSet>,
}

/// A script job that no worker should start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidScript {
    /// A path that could leave its folder.
    #[error(transparent)]
    Path(#[from] InvalidPath),
    /// Too many arguments, or too long ones.
    #[error(
        "it has {count} arguments of {bytes} bytes; at most {MAX_ARGS} of {MAX_ARG_BYTES} bytes \
         together are passed on"
    )]
    Args {
        /// How many.
        count: usize,
        /// How long together.
        bytes: usize,
    },
    /// An argument that no process could be started with.
    #[error("its argument {0} holds a NUL byte")]
    Nul(usize),
    /// An argument that asks for a path that there is none of.
    #[error("its arguments name {OUTPUT}, but it declares no output")]
    NoOutput,
    /// An argument that asks for an input that it does not have.
    #[error("its argument '{0}' names an input that it does not have")]
    NoInput(String),
    /// An argument that asks for staged files, of which it needs none.
    #[error("its arguments name {STAGED}, but nothing is staged for its step: `producer stage`")]
    NotStaged,
    /// Staged files that can't be put into a folder.
    #[error("its staged set: {0}")]
    Set(#[from] InvalidSet),
    /// Too many inputs.
    #[error("it has {0} inputs; at most {MAX_INPUTS} are passed on")]
    Inputs(usize),
}

/// A path that could leave the folder that it is looked up in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "its {what} is '{}'; it must be a path inside its folder, of at most {MAX_NAME} bytes, \
     without '..' and control characters",
    shown(path)
)]
pub struct InvalidPath {
    /// What the path is for.
    pub what: &'static str,
    /// The path.
    pub path: String,
}

fn shown(path: &str) -> String {
    path.chars().take(80).flat_map(char::escape_debug).collect()
}

/// Checks that a path stays inside whatever folder it is joined to.
///
/// # Errors
/// [`InvalidPath`] for an empty, absolute or long one, and one with `..`, `.` or control
/// characters.
pub fn check_path(what: &'static str, path: &str) -> Result<(), InvalidPath> {
    let mut parts = Path::new(path).components();
    let inside = parts.all(|part| matches!(part, Component::Normal(_)));
    let plain = !path.is_empty()
        && path.len() <= MAX_NAME
        && !path.ends_with('/')
        && !path.chars().any(char::is_control);
    if inside && plain { Ok(()) } else { Err(InvalidPath { what, path: path.to_owned() }) }
}

impl Script {
    /// Checks everything that a worker relies on.
    ///
    /// # Errors
    /// [`InvalidScript`] says what is wrong.
    pub fn validate(&self) -> Result<(), InvalidScript> {
        check_path("script", &self.name)?;
        if !self.step.is_empty() {
            check_path("step", &self.step)?;
        }
        if let Some(output) = &self.output {
            check_path("output", output)?;
        } else if self.args.iter().any(|arg| arg.contains(OUTPUT)) {
            return Err(InvalidScript::NoOutput);
        }
        if let Some(declared) = self.declared.as_ref().filter(|path| path.len() > MAX_DECLARED) {
            return Err(InvalidPath { what: "output", path: declared.clone() }.into());
        }
        self.check_inputs()?;
        let (count, bytes) = (self.args.len(), self.args.iter().map(String::len).sum());
        if count > MAX_ARGS || bytes > MAX_ARG_BYTES {
            return Err(InvalidScript::Args { count, bytes });
        }
        match self.args.iter().position(|arg| arg.contains('\0')) {
            Some(at) => Err(InvalidScript::Nul(at)),
            None => Ok(()),
        }
    }

    fn check_inputs(&self) -> Result<(), InvalidScript> {
        let count = self.inputs.len();
        if count > MAX_INPUTS {
            return Err(InvalidScript::Inputs(count));
        }
        self.inputs.iter().try_for_each(Input::validate)?;
        self.staged.as_ref().map_or(Ok(()), StagedSet::validate)?;
        let known: Vec<String> = self.inputs.iter().map(Input::placeholder).collect();
        for arg in &self.args {
            let rest = known.iter().fold(arg.clone(), |arg, known| arg.replace(known, ""));
            if rest.contains(INPUT) {
                return Err(InvalidScript::NoInput(shown(arg)));
            }
            if arg.contains(STAGED) && self.staged.is_none() {
                return Err(InvalidScript::NotStaged);
            }
        }
        Ok(())
    }
}

/// What came of a script that succeeded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScriptResult {
    /// [`Script::index`] of its job.
    pub index: u64,
    /// The result as one JSON text of at most [`MAX_RESULT`] bytes, if it printed one or wrote a
    /// small one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The files that it wrote, still in the attempt's own folder.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<OutputFile>,
}

/// A file in an attempt's folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputFile {
    /// Its path inside the run's output folder.
    pub name: String,
    /// The attempt's folder on the node, where it lies under `name`.
    pub folder: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its BLAKE3 hash, in hexadecimal digits.
    pub blake3: String,
}

impl ScriptResult {
    /// Checks what the ledger relies on.
    ///
    /// # Errors
    /// One line that says what makes no sense.
    pub fn validate(&self) -> Result<(), String> {
        let size = self.value.as_ref().map_or(0, String::len);
        if size > MAX_RESULT {
            return Err(format!("has a result of {size} bytes; the limit is {MAX_RESULT}"));
        }
        if self.value.as_ref().is_some_and(|text| !is_json(text)) {
            return Err("has a result that is no JSON".to_owned());
        }
        if self.files.len() > MAX_OUTPUTS {
            let count = self.files.len();
            return Err(format!("has {count} output files; the limit is {MAX_OUTPUTS}"));
        }
        let mut paths = self.files.iter().map(|file| check_path("output", &file.name));
        paths.try_for_each(|path| path.map_err(|invalid| invalid.to_string()))
    }
}

/// Whether a text is one JSON value.
#[must_use]
pub fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_their_folders() {
        for good in ["a.py", "trials/a.py", "..a", "ä b.json"] {
            check_path("script", good).unwrap();
        }
        let long = "x".repeat(MAX_NAME + 1);
        for bad in
            ["", "/a", "../a", "a/../b", "a/..", "./a", ".", "a/", "a\nb", "a\0b", "a\u{1b}", &long]
        {
            let error = check_path("script", bad).unwrap_err().to_string();
            assert!(!error.contains(char::is_control) && error.len() < 600, "{error}");
        }
    }

    #[test]
    fn arguments_are_bounded_and_plain() {
        let script = |args: &[&str], output: Option<&str>| Script {
            index: 0,
            name: "a.py".to_owned(),
            args: args.iter().map(ToString::to_string).collect(),
            output: output.map(str::to_owned),
            anywhere: true,
            ..Script::default()
        };
        script(&["--out", "{output}", "$(rm -rf /)"], Some("o.json")).validate().unwrap();
        let nothing = script(&["{output}"], None).validate();
        assert_eq!(nothing, Err(InvalidScript::NoOutput));
        assert_eq!(script(&["a", "b\0"], None).validate(), Err(InvalidScript::Nul(1)));
        assert!(script(&[&"x".repeat(MAX_ARG_BYTES + 1)], None).validate().is_err());
        assert!(script(&vec!["x"; MAX_ARGS + 1], None).validate().is_err());
    }
}
