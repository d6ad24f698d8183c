//! The runner's arguments: `--threads N`, `--soft-seconds S`.

use std::{num::NonZeroUsize, time::Duration};

/// What a runner is told beside its job.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Args {
    /// How many threads may sieve.
    pub threads: NonZeroUsize,
    /// When to finish short, instead of the job's own `soft_seconds`.
    pub soft: Option<Duration>,
}

/// Arguments that make no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgsError {
    /// A value that can't be read.
    #[error("{option} {value:?} is out of range: it must be {wanted}")]
    Value {
        /// The option.
        option: &'static str,
        /// What was given; `None` when nothing was.
        value: Option<String>,
        /// What it takes.
        wanted: &'static str,
    },
    /// An option that does not exist.
    #[error("'{0}' is no option of a runner; they are --threads N and --soft-seconds S")]
    Unknown(String),
}

impl Args {
    /// Reads the arguments that follow the program's name.
    ///
    /// # Errors
    /// [`ArgsError`] names the first argument that is wrong.
    pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Self, ArgsError> {
        let mut parsed = Self { threads: NonZeroUsize::MIN, soft: None };
        let mut args = args.into_iter();
        while let Some(option) = args.next() {
            match option.as_str() {
                "--threads" => {
                    let value = args.next();
                    let threads = value.as_ref().and_then(|text| text.parse().ok());
                    parsed.threads = threads.ok_or(ArgsError::Value {
                        option: "--threads",
                        value,
                        wanted: "a whole number from 1",
                    })?;
                }
                "--soft-seconds" => {
                    let value = args.next();
                    let seconds = value.as_ref().and_then(|text| text.parse().ok());
                    let soft = seconds.and_then(|s| Duration::try_from_secs_f64(s).ok());
                    parsed.soft = Some(soft.ok_or(ArgsError::Value {
                        option: "--soft-seconds",
                        value,
                        wanted: "a number of seconds, not negative",
                    })?);
                }
                _ => return Err(ArgsError::Unknown(option)),
            }
        }
        Ok(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Args, ArgsError> {
        Args::parse(args.iter().map(|&arg| arg.to_owned()))
    }

    #[test]
    fn both_options_are_read() {
        let args = parse(&["--threads", "4", "--soft-seconds", "2.5"]).unwrap();
        assert_eq!(args.threads.get(), 4);
        assert_eq!(args.soft, Some(Duration::from_millis(2500)));
        assert_eq!(parse(&[]).unwrap().threads.get(), 1);
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for (args, named) in [
            (&["--threads", "0"][..], "--threads"),
            (&["--threads"], "--threads"),
            (&["--soft-seconds", "-1"], "--soft-seconds"),
            (&["--soft-seconds", "inf"], "--soft-seconds"),
            (&["--fast"], "--fast"),
        ] {
            assert!(parse(args).unwrap_err().to_string().contains(named));
        }
    }
}
