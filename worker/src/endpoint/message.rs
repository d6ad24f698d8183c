//! What is sent to an endpoint and what it answers: `{"input": …}` for the handler
//! (`worker/scripts/endpoint_handler.py`), and the envelope that the service puts around it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use shared::{
    job::Job,
    script::{Script, sidecar},
};

/// The version of both; a handler refuses another.
pub(super) const VERSION: u32 = 1;

/// The body of `/run`.
#[derive(Debug, Serialize)]
pub(super) struct Submission {
    /// What the handler gets.
    pub input: Request,
    /// What the service makes of it, where it knows policies.
    pub policy: Policy,
}

/// How the service is to treat a job, as RunPod has it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Policy {
    /// After how many milliseconds of work it is ended.
    pub execution_timeout: u64,
}

/// What the handler is asked to do.
#[derive(Debug, Serialize)]
pub struct Request {
    /// [`VERSION`].
    pub rigqueue: u32,
    /// The run.
    pub run: String,
    /// The job.
    pub job: String,
    /// Which delivery of it to the fleet.
    pub seq: u32,
    /// Which try.
    pub attempt: u32,
    /// The script, by its path in the handler's own folder.
    pub script: String,
    /// Its arguments, with the places of files still in them.
    pub args: Vec<String>,
    /// The file that it must write, by its path in its working folder.
    pub output: Option<String>,
    /// How arguments name that file, where that is not `output`.
    pub declared: Option<String>,
    /// After how many seconds it is ended.
    pub time_limit_seconds: f64,
    /// The files that it reads.
    pub inputs: Vec<Content>,
}

/// A file in a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Its path.
    pub name: String,
    /// What it holds, as base64.
    pub base64: String,
}

impl Content {
    /// A file's bytes, under a name.
    #[must_use]
    pub fn new(name: &str, bytes: &[u8]) -> Self {
        Self { name: name.to_owned(), base64: STANDARD.encode(bytes) }
    }

    /// What it holds.
    ///
    /// # Errors
    /// One line that says what is wrong with it.
    pub fn bytes(&self) -> Result<Vec<u8>, String> {
        let wrong = |error| format!("its file {:?} is no base64: {error}", self.name);
        STANDARD.decode(&self.base64).map_err(wrong)
    }
}

impl Request {
    /// For a script job, with the contents of its inputs.
    #[must_use]
    pub fn new(job: &Job, script: &Script, inputs: Vec<Content>) -> Self {
        Self {
            rigqueue: VERSION,
            run: job.run.clone(),
            job: job.id.clone(),
            seq: job.seq,
            attempt: job.attempt,
            script: script.name.clone(),
            args: script.args.clone(),
            output: script.output.clone(),
            declared: script.declared.clone(),
            time_limit_seconds: job.time_limit_seconds,
            inputs,
        }
    }
}

/// How large a request's text is about, in bytes, for a script and inputs of so many bytes.
#[must_use]
pub(super) fn size(script: &Script, inputs: u64) -> u64 {
    let args: usize = script.args.iter().map(|arg| 2 * arg.len() + 3).sum();
    inputs.saturating_mul(4) / 3 + args as u64 + 4096
}

/// A job as the service tells of it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Told {
    /// What it is called there.
    pub id: String,
    /// Where it stands.
    pub status: Status,
    /// What the handler answered.
    #[serde(default)]
    pub output: Option<serde_json::Value>,
    /// What went wrong there.
    #[serde(default)]
    pub error: Option<serde_json::Value>,
}

/// Where a job stands at the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// No worker of the service has it yet.
    InQueue,
    /// The handler works.
    InProgress,
    /// The handler has answered.
    Completed,
    /// The handler has not.
    Failed,
    /// Somebody called it off.
    Cancelled,
    /// It was in the service's queue, or at work, for too long.
    TimedOut,
}

/// What the handler answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Answer {
    /// [`VERSION`].
    pub rigqueue: u32,
    /// How it went.
    pub status: Way,
    /// How the script exited: its code, or a signal's number below zero.
    #[serde(default)]
    pub exit_code: i32,
    /// The end of what it printed.
    #[serde(default)]
    pub stdout_tail: String,
    /// The end of what it said on stderr.
    #[serde(default)]
    pub stderr_tail: String,
    /// The declared output, and its sidecar, where the script wrote them.
    #[serde(default)]
    pub files: Vec<Content>,
    /// Why it was refused.
    #[serde(default)]
    pub why: String,
}

/// How a script went, as the handler says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// It ended by itself.
    #[default]
    Exited,
    /// It was ended at its time limit.
    Timeout,
    /// It is nothing that this handler can run: it has no such script, or its files are too large.
    Refused,
}

impl Answer {
    /// Reads what the handler answered to a request for `script`.
    ///
    /// # Errors
    /// One line that says why it makes no sense.
    pub fn read(output: Option<serde_json::Value>, script: &Script) -> Result<Self, String> {
        let output = output.ok_or("its handler's answer is missing")?;
        let answer: Self = serde_json::from_value(output)
            .map_err(|error| format!("its handler's answer makes no sense: {error}"))?;
        if answer.rigqueue != VERSION {
            return Err(format!("its handler speaks version {}, not {VERSION}", answer.rigqueue));
        }
        let known = script.output.iter().flat_map(|name| [name.clone(), sidecar(name)]);
        let known: Vec<String> = known.collect();
        match answer.files.iter().find(|file| !known.contains(&file.name)) {
            Some(file) => Err(format!("its handler sent {:?}, which nobody declared", file.name)),
            None => Ok(answer),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_holds_declared_files_alone() {
        let script = Script { output: Some("t/o.txt".to_owned()), ..Script::default() };
        let answer = |name: &str| {
            let file = json!({"name": name, "base64": "e30="});
            json!({"rigqueue": 1, "status": "exited", "exit_code": 0, "files": [file]})
        };
        for name in ["t/o.txt", "t/o.txt.meta.json"] {
            let read = Answer::read(Some(answer(name)), &script).unwrap();
            assert_eq!(read.files[0].bytes().unwrap(), b"{}");
        }
        for name in ["../o.txt", "o.txt", "/etc/passwd"] {
            assert!(Answer::read(Some(answer(name)), &script).unwrap_err().contains("declared"));
        }
        for bad in [json!({}), json!({"rigqueue": 2, "status": "exited"}), json!([1]), json!(null)]
        {
            assert!(Answer::read(Some(bad), &script).is_err());
        }
        assert!(Answer::read(None, &script).is_err());
        assert!(Content { name: "x".to_owned(), base64: "§".to_owned() }.bytes().is_err());
    }
}
