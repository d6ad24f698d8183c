//! `producer stream`: what a generator puts out, where a sieve would compare it with draws.

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use shared::{
    exit_codes,
    families::Family,
    npy,
    stream::{Question, Row},
};
use tokio::io::AsyncReadExt as _;

use crate::{
    failure::Failure,
    runner::{RUNNER, beside, command, feed},
    sieve_args::{count, family},
};

/// Whose outputs, and how many.
#[derive(Debug, clap::Args)]
pub(crate) struct StreamArgs {
    /// The generator (see `producer families`); survivors of --from may name their own
    #[arg(long, value_name = "NAME", value_parser = family, required_unless_present = "from")]
    family: Option<Family>,
    /// The seed: 12345, 2^24 or 0x1000
    #[arg(long, value_name = "N", value_parser = count, required_unless_present = "from",
        conflicts_with = "from", allow_negative_numbers = true)]
    seed: Option<u128>,
    /// Outputs passed over before each that counts; of survivors: where they name none
    #[arg(long, value_name = "N", default_value = "0", value_parser = count,
        allow_negative_numbers = true)]
    skip: u128,
    /// Outputs passed over before anything else (a sieve's --advance); of survivors: where they
    /// name none
    #[arg(long, value_name = "N", default_value = "0", value_parser = count,
        allow_negative_numbers = true)]
    offset: u128,
    /// How many outputs
    #[arg(long, value_name = "N", default_value = "30", value_parser = count,
        allow_negative_numbers = true)]
    count: u128,
    /// Reduce outputs modulo this, as a sieve does; raw ones otherwise
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true)]
    modulus: Option<u128>,
    /// text (a line a seed), json or npy (NumPy's array: a line a seed)
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = ["text", "json", "npy"])]
    format: String,
    /// Survivors as `producer export --format json` writes them: a line for each
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
}

/// What is read of a survivor.
#[derive(Debug, Deserialize)]
struct Survivor {
    seed: u64,
    #[serde(default)]
    family: Option<Family>,
    #[serde(default)]
    skip: Option<u32>,
    #[serde(default, alias = "advance")]
    offset: Option<u32>,
    #[serde(default)]
    skips: Option<Vec<u16>>,
}

/// A seed's outputs.
#[derive(Debug, Serialize)]
struct Streamed<'a> {
    family: Family,
    seed: u64,
    skip: u32,
    offset: u32,
    modulus: Option<u32>,
    values: &'a [u64],
}

/// Prints the outputs that are asked for.
pub(crate) async fn stream(args: StreamArgs) -> Result<(), Failure> {
    if args.format == "npy" && io::stdout().is_terminal() {
        return Err(Failure::usage("npy is not for a terminal: write it to a file with >"));
    }
    let (question, rows) = args.question()?;
    question.validate(&rows).map_err(Failure::usage)?;
    let values = tokio::select! {
        values = ask(question, &rows) => values?,
        _ = tokio::signal::ctrl_c() => {
            return Err(Failure { code: exit_codes::INTERRUPTED, message: "interrupted".to_owned() });
        }
    };
    args.print(question, &rows, &values)
}

impl StreamArgs {
    fn question(&self) -> Result<(Question, Vec<Row>), Failure> {
        let small = |name: &str, value: u128| {
            u32::try_from(value)
                .map_err(|_| Failure::usage(format!("--{name} is {value}; it is too large")))
        };
        let (skip, advance) = (small("skip", self.skip)?, small("offset", self.offset)?);
        let (family, rows) = match &self.from {
            None => {
                let seed = u64::try_from(self.seed.unwrap_or_default());
                let seed = seed.map_err(|_| Failure::usage("--seed is 2^64; it must be less"))?;
                (self.family, vec![Row { seed, skip, advance }])
            }
            Some(path) => {
                let survivors = read(path)?;
                let mut family = self.family;
                for found in survivors.iter().filter_map(|survivor| survivor.family) {
                    if *family.get_or_insert(found) != found {
                        return Err(Failure::usage(format!(
                            "{} holds survivors of {found} and others: one family at a time",
                            path.display()
                        )));
                    }
                }
                let row = |survivor: &Survivor| Row {
                    seed: survivor.seed,
                    skip: survivor.skip.unwrap_or(skip),
                    advance: survivor.offset.unwrap_or(advance),
                };
                (family, survivors.iter().map(row).collect())
            }
        };
        let question = Question {
            family: family.ok_or_else(|| Failure::usage("give the survivors' --family"))?,
            modulus: self.modulus.map(|modulus| small("modulus", modulus)).transpose()?,
            count: small("count", self.count)?,
        };
        Ok((question, rows))
    }

    fn print(&self, question: Question, rows: &[Row], values: &[u64]) -> Result<(), Failure> {
        let lines = values.chunks(question.count as usize);
        let mut out = io::BufWriter::new(io::stdout().lock());
        match self.format.as_str() {
            "text" if self.from.is_none() => {
                values.iter().try_for_each(|value| writeln!(out, "{value}"))?;
            }
            "text" => {
                for line in lines {
                    let words: Vec<String> = line.iter().map(ToString::to_string).collect();
                    writeln!(out, "{}", words.join(" "))?;
                }
            }
            "json" => {
                let Question { family, modulus, .. } = question;
                let streamed = |(row, values)| {
                    let Row { seed, skip, advance } = row;
                    Streamed { family, seed, skip, offset: advance, modulus, values }
                };
                let mut all = rows.iter().copied().zip(lines).map(streamed);
                match (&self.from, all.next()) {
                    (None, Some(first)) => serde_json::to_writer(&mut out, &first)?,
                    (_, first) => {
                        let all: Vec<_> = first.into_iter().chain(all).collect();
                        serde_json::to_writer(&mut out, &all)?;
                    }
                }
                writeln!(out)?;
            }
            _ => {
                let count = question.count as usize;
                let shape = [rows.len(), count];
                let shape = if self.from.is_none() { &shape[1..] } else { &shape };
                let narrow = question.modulus.is_some();
                out.write_all(&npy::header(if narrow { "<u4" } else { "<u8" }, shape))?;
                let width = if narrow { 4 } else { 8 };
                values.iter().try_for_each(|value| out.write_all(&value.to_le_bytes()[..width]))?;
            }
        }
        Ok(out.flush()?)
    }
}

fn read(path: &Path) -> Result<Vec<Survivor>, Failure> {
    let wrong = |why: &dyn std::fmt::Display| {
        Failure::usage(format!("the survivors file {} can't be used: {why}", path.display()))
    };
    let bytes = std::fs::read(path).map_err(|error| wrong(&error))?;
    let survivors: Vec<Survivor> = serde_json::from_slice(&bytes).map_err(|error| wrong(&error))?;
    if survivors.iter().any(|survivor| survivor.skips.is_some()) {
        return Err(wrong(
            &"its survivors have variable skips: ask for their seeds with --skip 0, and pick the \
              outputs by their skips (docs/steps.md)",
        ));
    }
    Ok(survivors)
}

/// Asks a runner beside this program; the values of all rows, row by row.
async fn ask(question: Question, rows: &[Row]) -> Result<Vec<u64>, Failure> {
    let Question { family, modulus, count } = question;
    let program = beside(RUNNER)?;
    let mut command = command(&program);
    command.args(["stream", "--family", family.name(), "--count", &count.to_string()]);
    if let Some(modulus) = modulus {
        command.args(["--modulus", &modulus.to_string()]);
    }
    let mut child = command.spawn().map_err(Failure::internal)?;
    let (Some(stdin), Some(mut stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(Failure::internal("a child without pipes"));
    };
    let body: Vec<u8> = rows.iter().flat_map(|row| row.to_bytes()).collect();
    let mut answer = Vec::new();
    let ((), read) = tokio::join!(feed(stdin, &body), stdout.read_to_end(&mut answer));
    read.map_err(Failure::internal)?;
    let status = child.wait().await.map_err(Failure::internal)?;
    let width = if modulus.is_some() { 4 } else { 8 };
    let expected = rows.len() * count as usize * width;
    // The header's length is its own affair: the elements are the end of the answer.
    let elements = answer.len().checked_sub(expected).map(|begin| &answer[begin..]);
    let Some(elements) = elements.filter(|_| status.success()) else {
        return Err(Failure::internal(format!("{RUNNER} ended without an answer ({status})")));
    };
    let value = |bytes: &[u8]| {
        bytes.iter().rev().fold(0_u64, |value, byte| (value << 8) | u64::from(*byte))
    };
    Ok(elements.chunks(width).map(value).collect())
}
