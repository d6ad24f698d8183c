//! Jobs files: script jobs as `{"jobs": [...]}` or a bare list.
//!
//! Everything is refused before anything is published, in one line that names the job.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};
use shared::{
    input::Input,
    job::{Arch, UnknownName},
    script::MAX_NAME,
    wire::one_line,
};

/// The largest jobs file, in bytes.
const MAX_BYTES: u64 = 64 << 20;
/// The most jobs in one file.
pub const MAX_JOBS: usize = 100_000;
/// The longest time limit, in seconds: a week.
pub const MAX_TIMEOUT: f64 = 7.0 * 24.0 * 3600.0;
/// The fields that a job may have.
const FIELDS: [&str; 9] = [
    "job_id",
    "script",
    "args",
    "inputs",
    "gpu_id",
    "expected_output",
    "timeout",
    "memory_mb",
    "arch",
];

/// A job as a jobs file has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its id, unique in the file.
    pub id: String,
    /// The script; `None` for the preset's.
    pub script: Option<String>,
    /// Its arguments; `None` for the preset's.
    pub args: Option<Vec<String>>,
    /// The files that it reads; a relative path is relative to the jobs file.
    pub inputs: Vec<PathBuf>,
    /// The GPU that it would like.
    pub gpu: Option<u32>,
    /// The file that it must write, as its arguments name it.
    pub output: Option<String>,
    /// Seconds after which it is ended.
    pub timeout: Option<f64>,
    /// Host memory that it needs, in MiB.
    pub memory_mb: Option<u64>,
    /// The only architecture that it runs on.
    pub arch: Option<Arch>,
    /// The chunk of survivors that it works on; a jobs file has none.
    pub chunk: Option<Input>,
}

/// A jobs file that is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobsFileError {
    /// It can't be read.
    #[error("the jobs file {} can't be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is too large.
    #[error("the jobs file is larger than {} MiB: cut it into several runs", MAX_BYTES >> 20)]
    TooLarge,
    /// It is no JSON.
    #[error("the jobs file is no JSON: {}", one_line(.0))]
    Syntax(#[from] serde_json::Error),
    /// It is something else than a list of jobs.
    #[error("the jobs file must be a list of jobs, or {{\"jobs\": [...]}}; it is {0}")]
    Shape(String),
    /// Too few or too many jobs.
    #[error("the jobs file has {0} jobs; it must be 1 to {MAX_JOBS}")]
    Count(usize),
    /// A job that is wrong.
    #[error("{job}: {why}")]
    Job {
        /// Which: its id, or its place.
        job: String,
        /// What is wrong.
        why: String,
    },
}

/// Reads a jobs file.
///
/// # Errors
/// [`JobsFileError`] for whatever is wrong first.
pub fn read(path: &Path) -> Result<Vec<Entry>, JobsFileError> {
    let unreadable = |source| JobsFileError::Unreadable { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(JobsFileError::TooLarge);
    }
    let mut entries = parse(&bytes)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    for input in entries.iter_mut().flat_map(|entry| &mut entry.inputs) {
        *input = folder.join(&*input);
    }
    Ok(entries)
}

/// Reads the text of a jobs file.
///
/// # Errors
/// [`JobsFileError`] for whatever is wrong first.
pub fn parse(bytes: &[u8]) -> Result<Vec<Entry>, JobsFileError> {
    let listed = match serde_json::from_slice(bytes)? {
        Value::Array(jobs) => jobs,
        Value::Object(mut file) => {
            let jobs = file.remove("jobs");
            if let Some(key) = file.keys().next() {
                let why = format!("an object with the key {}", shown(key));
                return Err(JobsFileError::Shape(why));
            }
            match jobs {
                Some(Value::Array(jobs)) => jobs,
                Some(other) => {
                    return Err(JobsFileError::Shape(format!("\"jobs\": {}", kind(&other))));
                }
                None => return Err(JobsFileError::Shape("an empty object".to_owned())),
            }
        }
        other => return Err(JobsFileError::Shape(kind(&other).to_owned())),
    };
    if listed.is_empty() || listed.len() > MAX_JOBS {
        return Err(JobsFileError::Count(listed.len()));
    }
    let mut entries = Vec::with_capacity(listed.len());
    let mut ids = BTreeSet::new();
    for (place, job) in listed.into_iter().enumerate() {
        let entry = entry(place, job)?;
        if !ids.insert(entry.id.clone()) {
            let why = "this job_id is there twice; each must be unique".to_owned();
            return Err(JobsFileError::Job { job: format!("job {}", shown(&entry.id)), why });
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn entry(place: usize, job: Value) -> Result<Entry, JobsFileError> {
    let numbered = format!("job number {}", place + 1);
    let Value::Object(fields) = job else {
        let why = format!("it must be an object; it is {}", kind(&job));
        return Err(JobsFileError::Job { job: numbered, why });
    };
    let id = match fields.get("job_id") {
        Some(Value::String(id)) => Some(id.clone()),
        // Some write plain numbers.
        Some(Value::Number(id)) => Some(id.to_string()),
        _ => None,
    };
    let named = id.as_ref().map_or(numbered, |id| format!("job {}", shown(id)));
    let wrong = |why: String| JobsFileError::Job { job: named.clone(), why };
    Fields(fields).entry(id).map_err(wrong)
}

/// The fields of one job.
struct Fields(Map<String, Value>);

impl Fields {
    fn entry(self, id: Option<String>) -> Result<Entry, String> {
        if let Some(unknown) = self.0.keys().find(|key| !FIELDS.contains(&key.as_str())) {
            return Err(unknown_field(unknown));
        }
        let id = id.ok_or("it needs a job_id: a text that is unique in the file")?;
        if id.is_empty() || id.len() > MAX_NAME || id.chars().any(char::is_control) {
            return Err(format!(
                "its job_id must be 1 to {MAX_NAME} bytes without control characters"
            ));
        }
        let arch = match self.text("arch")?.as_deref() {
            None | Some("any" | "auto") => None,
            Some(name) => Some(name.parse().map_err(|unknown: UnknownName| one_line(unknown))?),
        };
        let gpu = self.whole("gpu_id")?.map(u32::try_from).transpose();
        let timeout = match self.get("timeout") {
            None => None,
            Some(value) => match value.as_f64() {
                Some(seconds) if seconds > 0.0 && seconds <= MAX_TIMEOUT => Some(seconds),
                _ => {
                    return Err(format!(
                        "its timeout is {}; it must be a number of seconds above 0 and at most \
                         {MAX_TIMEOUT}",
                        briefly(value)
                    ));
                }
            },
        };
        Ok(Entry {
            id,
            script: self.text("script")?,
            args: self.args()?,
            inputs: self.inputs()?,
            gpu: gpu.map_err(|_| "its gpu_id is no number of a GPU".to_owned())?,
            output: self.text("expected_output")?,
            timeout,
            memory_mb: self.whole("memory_mb")?,
            arch,
            chunk: None,
        })
    }

    /// A field, unless it is null.
    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn text(&self, name: &str) -> Result<Option<String>, String> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(format!("its {name} is {}; it must be a text", briefly(other))),
        }
    }

    fn whole(&self, name: &str) -> Result<Option<u64>, String> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let wrong = || format!("its {name} is {}; it must be a whole number", briefly(value));
        value.as_u64().map(Some).ok_or_else(wrong)
    }

    fn inputs(&self) -> Result<Vec<PathBuf>, String> {
        let list = match self.get("inputs") {
            None => return Ok(Vec::new()),
            Some(Value::Array(list)) => list,
            Some(other) => {
                return Err(format!("its inputs are {}; they must be a list", briefly(other)));
            }
        };
        let paths = list.iter().enumerate().map(|(at, path)| match path {
            Value::String(path) => Ok(PathBuf::from(path)),
            other => Err(format!("its input {at} is {}; it must be a path", briefly(other))),
        });
        paths.collect()
    }

    fn args(&self) -> Result<Option<Vec<String>>, String> {
        let list = match self.get("args") {
            None => return Ok(None),
            Some(Value::Array(list)) => list,
            Some(other) => {
                return Err(format!("its args are {}; they must be a list", briefly(other)));
            }
        };
        let args = list.iter().enumerate().map(|(at, arg)| match arg {
            Value::String(text) => Ok(text.clone()),
            Value::Number(number) => Ok(number.to_string()),
            other => Err(format!(
                "its argument {at} is {}; it must be a text or a number",
                briefly(other)
            )),
        });
        args.collect::<Result<_, _>>().map(Some)
    }
}

fn unknown_field(unknown: &str) -> String {
    let near = FIELDS
        .into_iter()
        .map(|known| (strsim::damerau_levenshtein(known, unknown), known))
        .filter(|(distance, known)| *distance <= known.len() / 3 + 1)
        .min();
    let hint = match near {
        Some((_, known)) => format!("did you mean '{known}'?"),
        None => format!("it may have {}", FIELDS.join(", ")),
    };
    format!("it has an unknown field {}; {hint}", shown(unknown))
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn briefly(value: &Value) -> String {
    match value {
        Value::Array(_) | Value::Object(_) => kind(value).to_owned(),
        plain => shown(&plain.to_string()),
    }
}

/// A text from the file, for a message.
fn shown(text: &str) -> String {
    let cut: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    format!("'{cut}'")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_list_and_an_object_with_one_are_the_same() {
        let list = r#"[{"job_id": "a", "script": "s.py", "args": ["--n", 3, 0.5], "gpu_id": 2,
            "expected_output": "a.json", "inputs": ["d/x", "y"], "timeout": 1.5, "memory_mb": 900, "arch": "rocm"},
            {"job_id": 7, "script": null, "arch": "any"}]"#;
        let entries = parse(list.as_bytes()).unwrap();
        assert_eq!(parse(format!("{{\"jobs\": {list}}}").as_bytes()).unwrap(), entries);
        let first = &entries[0];
        assert_eq!(first.args.as_deref().unwrap(), ["--n", "3", "0.5"]);
        assert_eq!((first.gpu, first.timeout, first.memory_mb), (Some(2), Some(1.5), Some(900)));
        assert_eq!((first.arch, first.output.as_deref()), (Some(Arch::Rocm), Some("a.json")));
        assert_eq!(first.inputs, [Path::new("d/x"), Path::new("y")]);
        assert_eq!((entries[1].id.as_str(), entries[1].arch, &entries[1].args), ("7", None, &None));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            ("", "no JSON"),
            ("[", "no JSON"),
            ("[] x", "no JSON"),
            ("3", "it is a number"),
            ("{}", "an empty object"),
            (r#"{"jobs": 3}"#, "a number"),
            (r#"{"jobs": [], "job": []}"#, "the key 'job'"),
            ("[]", "has 0 jobs"),
            ("[3]", "job number 1: it must be an object"),
            (r#"[{"script": "s"}]"#, "job number 1: it needs a job_id"),
            (r#"[{"job_id": ""}]"#, "its job_id must be"),
            (r#"[{"job_id": "a"}, {"job_id": "a"}]"#, "job 'a': this job_id is there twice"),
            (r#"[{"job_id": "1"}, {"job_id": 1}]"#, "twice"),
            (r#"[{"job_id": "a", "timeuot": 3}]"#, "'timeuot'; did you mean 'timeout'?"),
            (r#"[{"job_id": "a", "output": "x"}]"#, "it may have job_id, script"),
            (r#"[{"job_id": "a", "args": "--x"}]"#, "its args are '\\\"--x\\\"'; they must"),
            (r#"[{"job_id": "a", "args": [["x"]]}]"#, "its argument 0 is a list"),
            (r#"[{"job_id": "a", "inputs": "x"}]"#, "its inputs are '\\\"x\\\"'; they must"),
            (r#"[{"job_id": "a", "inputs": [3]}]"#, "its input 0 is '3'"),
            (r#"[{"job_id": "a", "script": 3}]"#, "its script is '3'"),
            (r#"[{"job_id": "a", "gpu_id": -1}]"#, "its gpu_id is '-1'"),
            (r#"[{"job_id": "a", "gpu_id": 5000000000}]"#, "no number of a GPU"),
            (r#"[{"job_id": "a", "timeout": 0}]"#, "its timeout is '0'"),
            (r#"[{"job_id": "a", "timeout": "2h"}]"#, "number of seconds"),
            (r#"[{"job_id": "a", "memory_mb": 1.5}]"#, "its memory_mb is '1.5'"),
            (r#"[{"job_id": "a", "arch": "cude"}]"#, "'cude' is no architecture"),
        ] {
            let error = parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains('\n'), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn anything_is_read_or_refused_in_one_line(text in "[\\[\\]{}\":,a-z0-9_ \n\u{1b}]{0,60}") {
            if let Err(error) = parse(text.as_bytes()) {
                prop_assert!(!error.to_string().contains(char::is_control));
            }
        }
    }
}
