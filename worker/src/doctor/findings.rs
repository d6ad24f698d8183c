//! What was found, how it is told, and what a script learns from the exit code.

use std::{
    fmt::Display,
    io::{self, Write},
};

use serde::Serialize;
use shared::exit_codes;

use crate::WorkerError;

/// How something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// As it should be.
    Ok,
    /// It works, and something is to be known of it.
    Warning,
    /// It could not be looked at from here.
    Unverified,
    /// Jobs will fail, or none will be taken.
    Failed,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What: one word, the same whatever is found.
    pub(super) check: &'static str,
    pub(super) state: State,
    /// What is so, in one line.
    pub(super) found: String,
    /// What to do about it, unless all is well.
    pub(super) advice: Option<String>,
    /// The exit code of a doctor to whom this is the first failure.
    #[serde(skip)]
    code: u8,
}

/// Everything that was found, in the order in which it was looked at.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    /// It is as it should be.
    pub(super) fn ok(&mut self, check: &'static str, found: impl Display) {
        self.add(check, State::Ok, &found, None, exit_codes::DONE);
    }

    /// It works, but.
    pub(super) fn warn(&mut self, check: &'static str, found: impl Display, advice: impl Display) {
        self.add(check, State::Warning, &found, Some(&advice), exit_codes::DONE);
    }

    /// It can't be seen from here.
    pub(super) fn unverified(
        &mut self,
        check: &'static str,
        found: impl Display,
        advice: impl Display,
    ) {
        self.add(check, State::Unverified, &found, Some(&advice), exit_codes::DONE);
    }

    /// It must be mended: in the settings or on this machine.
    pub(super) fn fail(&mut self, check: &'static str, found: impl Display, advice: impl Display) {
        self.fail_with(exit_codes::USAGE, check, found, advice);
    }

    /// It must be mended; a script learns where by the exit code.
    pub(super) fn fail_with(
        &mut self,
        code: u8,
        check: &'static str,
        found: impl Display,
        advice: impl Display,
    ) {
        self.add(check, State::Failed, &found, Some(&advice), code);
    }

    fn add(
        &mut self,
        check: &'static str,
        state: State,
        found: &dyn Display,
        advice: Option<&dyn Display>,
        code: u8,
    ) {
        let advice = advice.map(ToString::to_string);
        self.0.push(Finding { check, state, found: found.to_string(), advice, code });
    }

    /// Tells all of it on stdout.
    ///
    /// # Errors
    /// [`WorkerError::System`] when stdout is closed.
    pub(super) fn tell(&self, json: bool) -> Result<(), WorkerError> {
        let text = if json {
            let text = serde_json::to_string(&self.0);
            text.map_err(|error| WorkerError::Internal(error.to_string()))? + "\n"
        } else {
            self.text()
        };
        io::stdout()
            .write_all(text.as_bytes())
            .map_err(|source| WorkerError::System { what: "writing to stdout", source })
    }

    /// One line for each, its advice below it, and the sum.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for Finding { check, state, found, advice, .. } in &self.0 {
            let word = match state {
                State::Ok => "ok",
                State::Warning => "warning",
                State::Unverified => "unverified",
                State::Failed => "FAILED",
            };
            text += &format!("{word:10}  {check:11}  {found}\n");
            if let Some(advice) = advice {
                text += &format!("{:25}{advice}\n", "");
            }
        }
        let count = |state| self.0.iter().filter(|finding| finding.state == state).count();
        text + &format!(
            "{} ok, {} to know, {} unverified, {} FAILED\n",
            count(State::Ok),
            count(State::Warning),
            count(State::Unverified),
            count(State::Failed)
        )
    }

    /// 0 when nothing failed, else the first failure's code.
    pub(super) fn exit_code(&self) -> u8 {
        let failed = self.0.iter().find(|finding| finding.state == State::Failed);
        failed.map_or(exit_codes::DONE, |finding| finding.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_is_the_exit_code() {
        let mut findings = Findings::default();
        findings.ok("node", "rig1");
        findings.warn("ramdisk", "small", "make it larger");
        findings.unverified("timeout", "unknown", "look there");
        assert_eq!(findings.exit_code(), 0);
        findings.fail_with(exit_codes::UNREACHABLE, "broker", "nobody listens", "start it");
        findings.fail("python", "none", "install it");
        assert_eq!(findings.exit_code(), 3);
        let text = findings.text();
        assert!(text.contains("FAILED      broker       nobody listens\n"), "{text}");
        assert!(text.ends_with("1 ok, 1 to know, 1 unverified, 2 FAILED\n"), "{text}");
    }
}
