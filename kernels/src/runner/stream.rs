//! `runner-cpu stream`: the outputs of many seeds (see [`shared::stream`]).

use std::io::{self, BufWriter, Read as _, Write};

use rustix::process::Signal;
use shared::{
    families::Family,
    npy,
    parent::end_with_parent,
    runner::FrameError,
    stream::{MAX_ROWS, Question, ROW, Row},
};

use super::{process::TieError, run::RunError};
use crate::{
    generators::{Generator, Output as _, Visit, visit},
    lanes::U64x,
    residue::Modulus,
};

/// Answers the rows on stdin, with the arguments that follow `stream`.
///
/// # Errors
/// [`RunError`], with the exit code that it stands for.
pub fn run_stream(args: impl IntoIterator<Item = String>) -> Result<(), RunError> {
    // A script that asks ends with its group, and this with it: it stays in that group.
    end_with_parent(Signal::KILL).map_err(TieError::from)?;
    let question = parse(args).map_err(RunError::Rejected)?;
    let mut bytes = Vec::new();
    let limit = (MAX_ROWS as u64 + 1) * ROW as u64;
    io::stdin().lock().take(limit).read_to_end(&mut bytes).map_err(RunError::Input)?;
    let (rows, rest) = bytes.as_chunks::<ROW>();
    if !rest.is_empty() {
        let why = format!("the rows end with {} bytes of one; each has {ROW}", rest.len());
        return Err(RunError::Rejected(why));
    }
    let rows: Vec<Row> = rows.iter().map(|row| Row::from_bytes(*row)).collect();
    question.validate(&rows).map_err(|why| RunError::Rejected(why.to_string()))?;
    let out = BufWriter::with_capacity(1 << 18, io::stdout().lock());
    write(question, &rows, out).map_err(|error| FrameError::Pipe(error).into())
}

fn parse(args: impl IntoIterator<Item = String>) -> Result<Question, String> {
    let (mut family, mut count, mut modulus) = (None, None, None);
    let mut args = args.into_iter();
    while let Some(option) = args.next() {
        let value = args.next().ok_or_else(|| format!("{option} has no value"))?;
        let number = || value.parse().map_err(|_| format!("{option} {value:?} is no number"));
        match option.as_str() {
            "--family" => {
                family = Some(value.parse::<Family>().map_err(|unknown| unknown.to_string())?);
            }
            "--count" => count = Some(number()?),
            "--modulus" => modulus = Some(number()?),
            _ => {
                return Err(format!(
                    "'{option}' is no option; they are --family, --count, --modulus"
                ));
            }
        }
    }
    let missing = |option| format!("{option} is missing");
    Ok(Question {
        family: family.ok_or_else(|| missing("--family"))?,
        count: count.ok_or_else(|| missing("--count"))?,
        modulus,
    })
}

/// Writes the outputs of validated rows as an array.
///
/// # Errors
/// What the stream that is written to says.
fn write(question: Question, rows: &[Row], mut out: impl Write) -> io::Result<()> {
    let kind = if question.modulus.is_some() { "<u4" } else { "<u8" };
    out.write_all(&npy::header(kind, &[rows.len(), question.count as usize]))?;
    visit(question.family, Lines { question, rows, out: &mut out })?;
    out.flush()
}

struct Lines<'a, W> {
    question: Question,
    rows: &'a [Row],
    out: W,
}

impl<W: Write> Visit<1> for Lines<'_, W> {
    type Output = io::Result<()>;

    fn visit<G: Generator<1>>(mut self) -> io::Result<()> {
        // Without a modulus no output depends on it: the one family of which they do is refused.
        let mut generator = G::blank(&Modulus::new(self.question.modulus.unwrap_or(1000)));
        for row in self.rows {
            generator.seed(U64x([row.seed]));
            (0..row.advance).for_each(|_| generator.pass());
            for _ in 0..self.question.count {
                (0..row.skip).for_each(|_| generator.pass());
                let output = generator.next().raw(0);
                match self.question.modulus {
                    None => self.out.write_all(&output.to_le_bytes())?,
                    Some(modulus) => {
                        let residue = (output % u64::from(modulus)) as u32;
                        self.out.write_all(&residue.to_le_bytes())?;
                    }
                }
            }
        }
        Ok(())
    }
}
