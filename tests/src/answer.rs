//! What a program said, once it has ended.

use serde_json::Value;

/// What a command said.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its arguments.
    pub asked: String,
    /// The exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output, which is data.
    pub stdout: String,
    /// Standard error, which is everything else.
    pub stderr: String,
}

impl Answer {
    /// Itself, when the command was successful.
    ///
    /// # Panics
    /// When it was not.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self}");
        self
    }

    /// The JSON on standard output.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self}"))
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { asked, code, stdout, stderr } = self;
        write!(f, "`{asked}` ended with {code}\nstdout: {stdout}\nstderr: {stderr}")
    }
}
