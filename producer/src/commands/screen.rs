//! `producer screen`: can these draws come from a family at all, whatever the seed?

use std::path::PathBuf;

use indicatif::ProgressBar;
use serde::Serialize;
use shared::{
    exit_codes,
    families::Family,
    screen::{Finding, MAX_DRAWS, MAX_SKIP, Screen, ScreenFrame, Verdict},
    sieve::Skips,
};
use tokio::io::AsyncRead;

use super::follow::drawn;
use crate::{
    draws,
    failure::Failure,
    output,
    runner::{RUNNER, beside, command, feed, next_frame},
    sieve_args::{count, family, skips},
};

/// What to test.
#[derive(Debug, clap::Args)]
pub(crate) struct ScreenArgs {
    /// Draws file: a JSON array of integers or of objects with a `draw`, a CSV with a `draw`
    /// column, or one integer per line; all of them are looked at
    #[arg(long, value_name = "FILE")]
    draws: PathBuf,
    /// Take only the draws of these sessions, separated by commas
    #[arg(long, value_name = "NAMES")]
    sessions: Option<String>,
    /// Draws are outputs modulo this; an odd one shows no bits, and nothing can be tested
    #[arg(long, value_name = "N", default_value = "1000", value_parser = count,
        allow_negative_numbers = true)]
    modulus: u128,
    /// The constant skips that generators linear in their bits are tested under (each takes the
    /// twisters some seconds); those modulo a power of two are tested under all skips at once
    #[arg(long, value_name = "LO..=HI", default_value = "0..=0", value_parser = skips,
        allow_hyphen_values = true)]
    skip: Skips,
    /// Only these families, separated by commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = family)]
    family: Vec<Family>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Screened {
    draws: usize,
    modulus: u32,
    skips: (u32, u32),
    families: Vec<Finding>,
}

/// Tests every family and shows an answer for each.
pub(crate) async fn screen(args: ScreenArgs) -> Result<(), Failure> {
    let question = args.question()?;
    let bar = drawn(LENGTH.into(), "{bar:30} {percent:>3} %  ETA {eta}  {msg}", |style| style);
    let asked = tokio::select! {
        asked = ask(&question, &bar) => asked,
        _ = tokio::signal::ctrl_c() => {
            Err(Failure { code: exit_codes::INTERRUPTED, message: "interrupted".to_owned() })
        }
    };
    bar.finish_and_clear();
    let (modulus, skips) = (question.modulus, (question.skips.lo, question.skips.hi));
    let screened = Screened { draws: question.draws.len(), modulus, skips, families: asked? };
    if args.json { output::json(&screened) } else { output::text(describe(&screened)) }
}

impl ScreenArgs {
    fn question(&self) -> Result<Screen, Failure> {
        let modulus = u32::try_from(self.modulus).ok().filter(|modulus| *modulus >= 2);
        let modulus = modulus.ok_or_else(|| {
            Failure::usage(format!("--modulus is {}; it must be 2 to {}", self.modulus, u32::MAX))
        })?;
        let Skips { lo, hi } = self.skip;
        if lo > hi || hi > MAX_SKIP {
            return Err(Failure::usage(format!(
                "--skip {lo}..={hi} must be a range within 0..={MAX_SKIP}, the smaller number first"
            )));
        }
        let draws = draws::read(&self.draws, self.sessions.as_deref()).map_err(Failure::usage)?;
        if draws.len() > MAX_DRAWS {
            output::say(format!("note: the first {MAX_DRAWS} of {} draws are taken", draws.len()));
        }
        let reduced = |draw: u64| u32::try_from(draw % u64::from(modulus)).unwrap_or_default();
        let draws = draws.into_iter().take(MAX_DRAWS).map(reduced).collect();
        let families =
            if self.family.is_empty() { Family::ALL.to_vec() } else { self.family.clone() };
        Ok(Screen { modulus, draws, skips: self.skip, families })
    }
}

/// Asks a runner beside this program.
async fn ask(question: &Screen, bar: &ProgressBar) -> Result<Vec<Finding>, Failure> {
    let program = beside(RUNNER)?;
    let body = rmp_serde::to_vec_named(question).map_err(Failure::internal)?;
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut child = command(&program)
        .args(["screen", "--threads", &threads.to_string()])
        .spawn()
        .map_err(Failure::internal)?;
    let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(Failure::internal("a child without pipes"));
    };
    let ((), answered) = tokio::join!(feed(stdin, &body), listen(stdout, bar));
    let status = child.wait().await.map_err(Failure::internal)?;
    match answered? {
        Some(findings) if status.success() => Ok(findings),
        _ => Err(Failure::internal(format!("{RUNNER} ended without an answer ({status})"))),
    }
}

/// Reads frames up to the last one; `None` when the last one did not come.
async fn listen(
    mut stdout: impl AsyncRead + Unpin,
    bar: &ProgressBar,
) -> Result<Option<Vec<Finding>>, Failure> {
    let mut findings = Vec::new();
    loop {
        match next_frame(&mut stdout).await.map_err(Failure::internal)? {
            Some(ScreenFrame::Progress(share)) => show(bar, share),
            Some(ScreenFrame::Found(finding)) => {
                bar.set_message(format!("{} is answered", finding.family));
                findings.push(finding);
            }
            Some(ScreenFrame::Rejected(why)) => return Err(Failure::usage(why)),
            Some(ScreenFrame::Done) => return Ok(Some(findings)),
            None => return Ok(None),
        }
    }
}

/// The length of the bar.
const LENGTH: u32 = 1000;

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to its length")]
fn show(bar: &ProgressBar, share: f64) {
    bar.set_position((f64::from(LENGTH) * share.clamp(0.0, 1.0)) as u64);
}

/// An answer a family, the assumptions where they are first needed.
fn describe(screened: &Screened) -> String {
    let word = |verdict| match verdict {
        Verdict::Consistent => "consistent",
        Verdict::Refuted => "refuted",
        Verdict::TooFewDraws => "too few draws",
        Verdict::Untested => "untested",
    };
    let mut text = format!("{} draws modulo {}\n", screened.draws, screened.modulus);
    for finding in &screened.families {
        let Finding { family, detail, assumptions, seconds, .. } = finding;
        text += &format!("{family:<21} {:<13} {detail}", word(finding.verdict));
        if finding.verdict != Verdict::Untested {
            text += &format!(" ({seconds:.1} s)\n{:35} assuming that {assumptions}", "");
        }
        text.push('\n');
    }
    text
}
