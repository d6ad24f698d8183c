//! What the end of a script means for its job.

use std::process::ExitStatus;

use serde_json::Value;
use shared::{
    outcome::{Failure, Verdict},
    script::{ScriptResult, is_json},
    wire::one_line,
};

use super::{
    output::{Fault, Found},
    text::LastLine,
};
use crate::{
    child::Ended,
    job::{died, failed, memory, returned, why},
    output::last_line,
};

/// How a script ended, and what it left.
#[derive(Debug)]
pub(crate) struct End {
    /// How it exited.
    pub(crate) status: ExitStatus,
    /// Why it was ended, when it was.
    pub(crate) ended: Option<Ended>,
    /// The last line that it printed.
    pub(crate) line: LastLine,
    /// The end of its stderr.
    pub(crate) stderr: String,
    /// What became of the output that it declared; `None` when it declared none.
    pub(crate) output: Option<Result<Found, Fault>>,
}

/// The verdict on a script at place `index` of its run.
pub(crate) fn judge(index: u64, end: End) -> Verdict {
    let End { status, ended, line, stderr, output } = end;
    if status.code() == Some(0) && !matches!(ended, Some(Ended::TimeLimit(_))) {
        // A result is a result, whoever asked for the end: no work is thrown away.
        match (succeeded(index, &line, output), ended) {
            (Ok(result), _) => return Verdict::Finished(result),
            (Err((failure, detail)), None) => return failed(failure, detail, stderr),
            (Err(_), Some(_)) => {}
        }
    }
    let words = reported(&line).unwrap_or_else(|| last_line(&stderr));
    let said = if words.is_empty() { words } else { format!(": {words}") };
    let (failure, detail) = match (ended, status.code()) {
        (Some(Ended::Asked(reason)), _) => {
            return returned(reason, format!("{}, and the script ended by {status}", why(reason)));
        }
        (Some(Ended::TimeLimit(limit)), _) => {
            let seconds = limit.as_secs_f64();
            (Failure::Timeout, format!("the script was past its time limit of {seconds} s{said}"))
        }
        (Some(Ended::Memory { used, limit }), _) => memory(used, limit),
        // Scripts are not asked for progress, and their stdout is never garbage.
        (Some(Ended::NoProgress(_) | Ended::Garbage), _) | (None, Some(0)) => {
            (Failure::InvalidOutput, format!("the script's output makes no sense{said}"))
        }
        (None, _) => died("script", status, &stderr, &said),
    };
    failed(failure, detail, stderr)
}

/// The result of a script that exited well: its declared output is in order, or it declared none
/// and its last line is JSON. Neither says that it failed.
fn succeeded(
    index: u64,
    line: &LastLine,
    output: Option<Result<Found, Fault>>,
) -> Result<ScriptResult, Fault> {
    if let Some(message) = reported(line) {
        return Err((Failure::Reported, message));
    }
    let printed = match line {
        LastLine::Line(text) if is_json(text) => Some(text.clone()),
        _ => None,
    };
    if let Some(found) = output {
        let Found { files, value } = found?;
        if let Some(message) = value.as_deref().and_then(failure_in) {
            return Err((Failure::Reported, message));
        }
        return Ok(ScriptResult { index, value: printed.or(value), files });
    }
    match (printed, line) {
        (Some(value), _) => Ok(ScriptResult { index, value: Some(value), files: Vec::new() }),
        (None, LastLine::None) => {
            let why = "it declares no output file and printed no result";
            Err((Failure::MissingOutput, why.to_owned()))
        }
        (None, LastLine::TooLong) => {
            let why = "the last line that it printed is too long for a result: write it to a \
                       declared output";
            Err((Failure::InvalidOutput, why.to_owned()))
        }
        (None, LastLine::Line(text)) => {
            let text = last_line(text);
            Err((
                Failure::InvalidOutput,
                format!("the last line that it printed is no JSON: {text}"),
            ))
        }
    }
}

fn reported(line: &LastLine) -> Option<String> {
    let LastLine::Line(text) = line else { return None };
    failure_in(text)
}

/// What a script says of its own failure: `{"status": "error"}` or `{"success": false}`, with the
/// message beside it.
fn failure_in(text: &str) -> Option<String> {
    let Ok(Value::Object(said)) = serde_json::from_str(text) else { return None };
    let is_error = said.get("status").is_some_and(|status| status == "error");
    if !is_error && said.get("success") != Some(&Value::Bool(false)) {
        return None;
    }
    let message =
        ["message", "error", "detail", "reason"].into_iter().find_map(|key| said.get(key));
    Some(match message {
        Some(Value::String(message)) if !message.trim().is_empty() => one_line(message),
        Some(other) if !other.is_null() => one_line(other),
        _ => "it says that it failed, and nothing more".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::ExitStatusExt as _, time::Duration};

    use shared::{outcome::Return, script::OutputFile};

    use super::*;
    use crate::shim::WORDS;

    fn end(raw: i32, line: &str) -> End {
        let line = if line.is_empty() { LastLine::None } else { LastLine::Line(line.to_owned()) };
        let stderr = "Traceback\nValueError: no\n".to_owned();
        End { status: ExitStatus::from_raw(raw), ended: None, line, stderr, output: None }
    }

    fn failure(end: End) -> (Failure, String) {
        match judge(7, end) {
            Verdict::Failed { failure, detail, stderr_tail } => {
                assert!(stderr_tail.starts_with("Traceback") && !detail.contains('\n'));
                (failure, detail)
            }
            other => panic!("{other:?}"),
        }
    }

    fn found(value: Option<&str>) -> Option<Result<Found, Fault>> {
        let file = OutputFile {
            name: "o.json".to_owned(),
            folder: "/f".to_owned(),
            size: 1,
            blake3: String::new(),
        };
        Some(Ok(Found { files: vec![file], value: value.map(str::to_owned) }))
    }

    #[test]
    fn success_is_an_output_in_order_or_a_line_of_json() {
        let Verdict::Finished(result) = judge(7, end(0, r#"{"score": 0.5}"#)) else { panic!() };
        assert_eq!((result.index, result.value.as_deref()), (7, Some(r#"{"score": 0.5}"#)));
        let with = |line, value| judge(7, End { output: found(value), ..end(0, line) });
        let Verdict::Finished(result) = with("all done", Some("[1]")) else { panic!() };
        assert_eq!((result.value.as_deref(), result.files.len()), (Some("[1]"), 1));
        let Verdict::Finished(result) = with("{}", Some("[1]")) else { panic!() };
        assert_eq!(result.value.as_deref(), Some("{}"), "what is printed comes first");
        let Verdict::Finished(result) = with("", None) else { panic!() };
        assert_eq!(result.value, None);
        // It was done before the order to end reached it.
        let asked = Some(Ended::Asked(Return::Drain));
        assert!(matches!(judge(7, End { ended: asked, ..end(0, "1") }), Verdict::Finished(_)));
    }

    #[test]
    fn every_failure_has_its_kind() {
        assert_eq!(failure(end(0, "")).0, Failure::MissingOutput);
        assert_eq!(failure(end(0, "all done")).0, Failure::InvalidOutput);
        let too_long = End { line: LastLine::TooLong, ..end(0, "") };
        assert_eq!(failure(too_long).0, Failure::InvalidOutput);
        for line in [
            r#"{"status": "error", "message": "no draws"}"#,
            r#"{"success": false, "error": "no draws"}"#,
        ] {
            assert_eq!(failure(end(0, line)), (Failure::Reported, "no draws".to_owned()));
            let with = End { output: found(None), ..end(0, line) };
            assert_eq!(failure(with).0, Failure::Reported, "whatever it wrote");
            let wrote = End { output: found(Some(line)), ..end(0, "done") };
            assert_eq!(failure(wrote), (Failure::Reported, "no draws".to_owned()));
            let (kind, detail) = failure(end(0x300, line));
            assert!(kind == Failure::ExitCode(3) && detail.ends_with(": no draws"), "{detail}");
        }
        let (kind, detail) = failure(end(0, r#"{"status": "error"}"#));
        assert!(kind == Failure::Reported && !detail.is_empty());
        let empty = Some(Err((Failure::EmptyOutput, "its output o is empty".to_owned())));
        assert_eq!(failure(End { output: empty, ..end(0, "{}") }).0, Failure::EmptyOutput);
        let (used, limit) = (Some(3 << 30), Some(1 << 30));
        let hoarded = End { ended: Some(Ended::Memory { used, limit }), ..end(9, "{}") };
        assert_eq!(failure(hoarded).0, Failure::OutOfMemory);
        let stderr = format!("{WORDS}/usr/bin/python3 could not be started: no\n");
        match judge(7, End { stderr, ..end(126 << 8, "") }) {
            Verdict::Failed { failure: Failure::SpawnFailed, detail, .. } => {
                assert!(detail.starts_with("/usr/bin/python3"), "{detail}");
            }
            other => panic!("{other:?}"),
        }
        let (kind, detail) = failure(end(0x100, ""));
        assert!(kind == Failure::ExitCode(1) && detail.ends_with("ValueError: no"), "{detail}");
        let (kind, detail) = failure(end(11, "{}"));
        assert!(kind == Failure::Crashed(11) && detail.contains("SIGSEGV"), "{detail}");
        let late = Some(Ended::TimeLimit(Duration::from_secs(2)));
        for raw in [15, 0] {
            let (kind, detail) = failure(End { ended: late, ..end(raw, "{}") });
            assert!(kind == Failure::Timeout && detail.contains("limit of 2 s"), "{detail}");
        }
    }

    #[test]
    fn an_interrupted_script_goes_back() {
        for (reason, words) in [(Return::Drain, "draining"), (Return::Cancelled, "has ended")] {
            for raw in [15, 0x100, 0] {
                let asked = Some(Ended::Asked(reason));
                match judge(7, End { ended: asked, ..end(raw, "") }) {
                    Verdict::Returned { reason: why, detail } => {
                        assert!(why == reason && detail.contains(words), "{detail}");
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }
}
