//! The sieve options of the command line, as they are written.
//!
//! Parsers here refuse what is no number or no name; whether the numbers make sense together is
//! for [`crate::request`] to say.

use std::{path::PathBuf, str::FromStr};

use clap::Args;
use shared::{
    families::Family,
    job::{Arch, DEFAULT_ATTEMPTS, Engine, UnknownName, Urgency},
    messages::MaxDead,
    sieve::{Direction, Mode, Skips},
};

use crate::statistics_args::StatisticsArgs;

/// What a run is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// Every seed of a range.
    #[default]
    Sieve,
    /// Listed candidates.
    ReverseSieve,
    /// Autocorrelations of single seeds.
    Correlation,
    /// Uniformity, correlations and runs of single seeds.
    Analysis,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Sieve, Self::ReverseSieve, Self::Correlation, Self::Analysis];

    /// Its name on the command line and in manifests.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sieve => "sieve",
            Self::ReverseSieve => "reverse_sieve",
            Self::Correlation => "correlation",
            Self::Analysis => "analysis",
        }
    }
}

/// A choice that can be left to the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Auto<T> {
    /// `auto`.
    #[default]
    Auto,
    /// What was asked for.
    Asked(T),
}

impl<T> Auto<T> {
    /// What was asked for, if anything was.
    pub fn asked(self) -> Option<T> {
        match self {
            Self::Auto => None,
            Self::Asked(value) => Some(value),
        }
    }
}

/// The options of `--step 2`.
#[derive(Debug, Clone, PartialEq, Args)]
pub struct SieveArgs {
    /// Draws file: a JSON array of integers or of objects with a `draw`, a CSV with a `draw`
    /// column, or one integer per line
    #[arg(long, value_name = "FILE", help_heading = "Draws")]
    pub draws: Option<PathBuf>,
    /// Take only the draws of these sessions, separated by commas
    #[arg(long, value_name = "NAMES", help_heading = "Draws")]
    pub sessions: Option<String>,
    /// How many consecutive draws are compared
    #[arg(long, value_name = "N", default_value = "30", value_parser = count,
        allow_negative_numbers = true, help_heading = "Draws")]
    pub window: u128,
    /// Where the window starts in the draws, and how many outputs the generator has passed by then
    #[arg(long, value_name = "N", default_value = "0", value_parser = count,
        allow_negative_numbers = true, help_heading = "Draws")]
    pub offset: u128,
    /// Where the window starts in the draws, apart from --advance [default: --offset]
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true,
        help_heading = "Draws")]
    pub window_offset: Option<u128>,
    /// How many outputs the generator has passed, apart from --window-offset [default: --offset]
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true,
        help_heading = "Draws")]
    pub advance: Option<u128>,
    /// Outputs and draws are compared modulo this
    #[arg(long, value_name = "N", default_value = "1000", value_parser = count,
        allow_negative_numbers = true, help_heading = "Draws")]
    pub modulus: u128,

    /// The generator with its seeding (`producer families` lists all)
    #[arg(long, value_name = "NAME", value_parser = family, help_heading = "Search")]
    pub family: Option<Family>,
    /// What is searched: a range of seeds (sieve) or listed candidates (reverse_sieve); or what is
    /// computed of each seed without draws (correlation, analysis)
    #[arg(long, value_name = "KIND", default_value = "sieve", value_parser = kind,
        help_heading = "Search")]
    pub kind: Kind,
    /// Candidates of a reverse_sieve: a JSON array of integers or of survivors with a `seed`, a
    /// CSV with a `seed` column, or one integer per line
    #[arg(long, value_name = "FILE", help_heading = "Search")]
    pub candidates: Option<PathBuf>,
    /// The first seed [default: 0]
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true,
        help_heading = "Search")]
    pub seed_start: Option<u128>,
    /// The seed after the last one, also written as 2^48 [default: 2^32]
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true,
        help_heading = "Search")]
    pub seed_end: Option<u128>,
    /// The skips to try, both ends included; also a single number [default: 0..=20]
    #[arg(long, value_name = "LO..=HI", value_parser = skips, allow_hyphen_values = true,
        help_heading = "Search")]
    pub skip: Option<Skips>,
    /// Compare the draws in the file's order, in reverse order, or both
    #[arg(long, value_name = "forward|reverse|both", default_value = "forward",
        value_parser = direction, help_heading = "Search")]
    pub direction: Direction,
    /// How skips are hypothesised: one for the whole window, or one for each draw, near the last
    #[arg(long, value_name = "fixed|variable", default_value = "fixed", value_parser = mode,
        help_heading = "Search")]
    pub mode: Mode,

    /// The share of the window that must match, above 0 and at most 1 [default: 0.5]
    #[arg(
        long,
        value_name = "SHARE",
        allow_negative_numbers = true,
        conflicts_with = "min_matches",
        help_heading = "Matches"
    )]
    pub threshold: Option<f64>,
    /// How many draws must match, instead of --threshold
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true,
        help_heading = "Matches")]
    pub min_matches: Option<u128>,
    /// The share that must match in reverse order [default: --threshold or --min-matches]
    #[arg(
        long,
        value_name = "SHARE",
        allow_negative_numbers = true,
        conflicts_with = "reverse_min_matches",
        help_heading = "Matches"
    )]
    pub reverse_threshold: Option<f64>,
    /// How many draws must match in reverse order, instead of --reverse-threshold
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true,
        help_heading = "Matches")]
    pub reverse_min_matches: Option<u128>,
    /// Refuse a search that expects more survivors than this by chance alone
    #[arg(long, value_name = "N", default_value = "10000000", value_parser = count,
        allow_negative_numbers = true, help_heading = "Matches")]
    pub max_survivors: u128,

    /// Which implementation computes; all give the same survivors
    #[arg(long, value_name = "auto|reference|scan|structural", default_value = "auto",
        value_parser = parsed::<Engine>, help_heading = "Jobs")]
    pub engine: Engine,
    /// Which hardware it is planned for; auto shares it among all there is
    #[arg(long, value_name = "auto|cuda|rocm|cpu", default_value = "auto", value_parser = arch,
        help_heading = "Jobs")]
    pub arch: Auto<Arch>,
    /// Seeds (or candidates) a piece; auto lets the planner choose
    #[arg(long, value_name = "auto|N", default_value = "auto", value_parser = chunk,
        allow_negative_numbers = true, help_heading = "Jobs")]
    pub chunk: Auto<u128>,
    /// How many dead jobs the run survives: a number, or a share of its jobs (at least 10 jobs;
    /// 100% never gives up)
    #[arg(long, value_name = "N|P%", default_value = "1%", value_parser = max_dead,
        allow_negative_numbers = true, help_heading = "Jobs")]
    pub max_dead: MaxDead,
    /// How soon its jobs run
    #[arg(long, value_name = "high|normal|low", default_value = "normal",
        value_parser = parsed::<Urgency>, help_heading = "Jobs")]
    pub urgency: Urgency,
    /// How often a job is tried
    #[arg(long, value_name = "N", default_value_t = u128::from(DEFAULT_ATTEMPTS),
        value_parser = count, allow_negative_numbers = true, help_heading = "Jobs")]
    pub max_attempts: u128,

    /// The options of the statistics.
    #[command(flatten)]
    pub statistics: StatisticsArgs,
}

/// A count as people write it: `16777216`, `16_777_216`, `2^24`, `0x1000000`.
///
/// # Errors
/// A text that says what was expected.
pub fn count(text: &str) -> Result<u128, String> {
    let plain = text.trim().replace('_', "");
    if plain.starts_with('-') {
        return Err(format!("{text} is negative; it must be 0 or more"));
    }
    let wrong = || format!("'{text}' is no whole number: write it as 16777216, 2^24 or 0x1000000");
    let too_large = || format!("{text} is too large: nothing here goes past 2^64");
    let digits = |part: &str, radix| {
        if part.is_empty() || !part.chars().all(|c| c.is_digit(radix)) {
            return Err(wrong());
        }
        u128::from_str_radix(part, radix).map_err(|_| too_large())
    };
    let value = if let Some((base, power)) = plain.split_once('^') {
        let power = u32::try_from(digits(power, 10)?).map_err(|_| too_large())?;
        digits(base, 10)?.checked_pow(power).ok_or_else(too_large)?
    } else if let Some(hex) = plain.strip_prefix("0x").or_else(|| plain.strip_prefix("0X")) {
        digits(hex, 16)?
    } else {
        digits(&plain, 10)?
    };
    if value > 1 << 64 { Err(too_large()) } else { Ok(value) }
}

/// A family by its name.
pub(crate) fn family(text: &str) -> Result<Family, String> {
    text.parse::<Family>().map_err(|unknown| unknown.to_string())
}

fn parsed<T: FromStr<Err = UnknownName>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|unknown: UnknownName| unknown.to_string())
}

fn kind(text: &str) -> Result<Kind, String> {
    let found = Kind::ALL.into_iter().find(|kind| kind.name() == text);
    found.ok_or_else(|| {
        format!("'{text}' is no kind; it is sieve, reverse_sieve, correlation or analysis")
    })
}

fn direction(text: &str) -> Result<Direction, String> {
    match text {
        "forward" => Ok(Direction::Forward),
        "reverse" => Ok(Direction::Reverse),
        "both" => Ok(Direction::Both),
        _ => Err(format!("'{text}' is no direction; it is forward, reverse or both")),
    }
}

fn mode(text: &str) -> Result<Mode, String> {
    Mode::named(text).ok_or_else(|| format!("'{text}' is no mode; it is fixed or variable"))
}

fn arch(text: &str) -> Result<Auto<Arch>, String> {
    match text {
        "auto" => Ok(Auto::Auto),
        _ => text
            .parse()
            .map(Auto::Asked)
            .map_err(|_| format!("'{text}' is no architecture; it is auto, cuda, rocm or cpu")),
    }
}

fn chunk(text: &str) -> Result<Auto<u128>, String> {
    if text == "auto" { Ok(Auto::Auto) } else { count(text).map(Auto::Asked) }
}

/// `LO..=HI`, or one number for both. That the ends make sense is checked with the rest.
pub(crate) fn skips(text: &str) -> Result<Skips, String> {
    let (lo, hi) = text.split_once("..=").unwrap_or((text, text));
    if let Some((lo, hi)) = text.split_once("..").filter(|(_, hi)| !hi.starts_with('=')) {
        return Err(format!("'{text}' has no '=': both ends are included, write {lo}..={hi}"));
    }
    let end = |part: &str| {
        let value = count(part).map_err(|why| format!("{why} (skips are written LO..=HI)"))?;
        // Anything past u32 is past the limit all the same; the check of the whole names it.
        Ok::<u32, String>(u32::try_from(value).unwrap_or(u32::MAX))
    };
    Ok(Skips { lo: end(lo)?, hi: end(hi)? })
}

fn max_dead(text: &str) -> Result<MaxDead, String> {
    let Some(percent) = text.strip_suffix('%') else {
        let jobs = count(text)?;
        return Ok(MaxDead::Jobs(u64::try_from(jobs).unwrap_or(u64::MAX)));
    };
    match percent.trim().parse::<f64>() {
        Ok(share) if (0.0..=100.0).contains(&share) => Ok(MaxDead::Percent(share)),
        _ => Err(format!("'{text}' is no share: it must be 0% to 100%")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        sieve: SieveArgs,
    }

    fn parse(line: &str) -> Result<SieveArgs, String> {
        let words = ["test", "--draws", "d.json", "--family", "mt19937"].map(str::to_owned);
        let more = line.split_whitespace().map(str::to_owned);
        Line::try_parse_from(words.into_iter().chain(more))
            .map(|line| line.sieve)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_those_of_the_design() {
        let args = parse("").unwrap();
        assert_eq!((args.window, args.offset, args.modulus), (30, 0, 1000));
        assert_eq!((args.skip, args.mode), (None, Mode::Fixed));
        assert_eq!((args.kind, args.direction), (Kind::Sieve, Direction::Forward));
        assert_eq!((args.engine, args.arch, args.chunk), (Engine::Auto, Auto::Auto, Auto::Auto));
        assert_eq!(args.max_survivors, 10_000_000);
        assert_eq!(args.max_dead, MaxDead::Percent(1.0));
        assert_eq!((args.urgency, args.max_attempts), (Urgency::Normal, 3));
    }

    #[test]
    fn counts_are_written_in_several_ways() {
        for (text, value) in
            [("2^32", 1 << 32), ("1_000_000", 1_000_000), ("0xFF", 255), ("2^64", 1 << 64)]
        {
            assert_eq!(count(text), Ok(value));
        }
        for text in ["", "x", "2^", "^2", "1.5", "-1", "2^65", "2^999999999999", "0x", "1e6", "+1"]
        {
            assert!(count(text).is_err(), "{text}");
        }
    }

    #[test]
    fn words_are_parsed_or_refused_with_what_there_is() {
        let args = parse("--skip 5 --chunk 2^20 --arch rocm --max-dead 3 --kind reverse_sieve");
        let args = args.unwrap();
        assert_eq!(args.skip, Some(Skips { lo: 5, hi: 5 }));
        assert_eq!(args.chunk, Auto::Asked(1 << 20));
        assert_eq!(args.arch, Auto::Asked(Arch::Rocm));
        assert_eq!(args.max_dead, MaxDead::Jobs(3));
        assert_eq!(args.kind, Kind::ReverseSieve);
        for (line, part) in [
            ("--skip 0..5", "write 0..=5"),
            ("--skip -1..=5", "negative"),
            ("--skip a", "no whole number"),
            ("--window -5", "-5 is negative"),
            ("--window 2.5", "no whole number"),
            ("--threshold half", "invalid"),
            ("--threshold 0.5 --min-matches 3", "cannot be used with"),
            ("--reverse-threshold 0.5 --reverse-min-matches 3", "cannot be used with"),
            ("--max-dead 101%", "0% to 100%"),
            ("--mode hybrid", "it is fixed or variable"),
            ("--engine quantum", "auto, reference, scan, structural"),
            ("--arch tpu", "auto, cuda, rocm or cpu"),
            ("--direction up", "forward, reverse or both"),
            ("--kind guess", "sieve, reverse_sieve, correlation or analysis"),
            ("--urgency now", "high, normal, low"),
            ("--seed-end -1", "negative"),
        ] {
            let message = parse(line).unwrap_err();
            assert!(message.contains(part), "{line}: {message}");
        }
        let words = ["test", "--draws", "d", "--family", "mt19973"];
        let message = Line::try_parse_from(words).unwrap_err().to_string();
        assert!(message.contains("did you mean 'mt19937'"), "{message}");
    }
}
