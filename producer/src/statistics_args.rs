//! The options of `--kind correlation` and `--kind analysis`, and what they come to.

use std::collections::HashSet;

use clap::Args;
use shared::{
    families::Family,
    job::{Arch, Engine},
    spans::Span,
    statistics::{DEFAULT_SEED, Mapping, Prng, Source, Statistics},
};

use crate::{
    request::{Asked, Question, Request, RequestError, to_u32, within},
    sieve_args::{Kind, SieveArgs, count},
};

/// How many samples of a seed unless `--samples` says otherwise: of a correlation and of an
/// analysis.
const SAMPLES: (u32, u32) = (1000, 10_000);
/// How many lags of a correlation unless `--lags` says otherwise.
const LAGS: u32 = 8;
/// The range of an analysis unless `--range` says otherwise.
const RANGE: u32 = 1000;

/// The options of the statistics.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub struct StatisticsArgs {
    /// The generator of a correlation [default: mt], or of an analysis of hashed sequences
    /// [default: xorshift]
    #[arg(long, value_name = "xorshift|lcg|mt", value_parser = prng, help_heading = "Statistics")]
    pub prng: Option<Prng>,
    /// These seeds, separated by commas, instead of a range [default: 12345]
    #[arg(long, value_name = "N,N", help_heading = "Statistics")]
    pub seeds: Option<String>,
    /// How many outputs of each seed are looked at [default: 1000, of an analysis 10000]
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true,
        help_heading = "Statistics")]
    pub samples: Option<u128>,
    /// How many lags of a correlation, at most a quarter of the samples [default: 8]
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true,
        help_heading = "Statistics")]
    pub lags: Option<u128>,
    /// What an analysis looks at: the stream of --family, or a hashed counter as the existing
    /// tool has it [default: stream]
    #[arg(long, value_name = "stream|hashed", value_parser = ["stream", "hashed"],
        help_heading = "Statistics")]
    pub sequence: Option<String>,
    /// How outputs become values of an analysis: the remainder, or the share of the range
    /// [default: mod]
    #[arg(long, value_name = "mod|scale", value_parser = mapping, help_heading = "Statistics")]
    pub mapping: Option<Mapping>,
    /// Values of an analysis are below this [default: 1000]
    #[arg(long, value_name = "N", value_parser = count, allow_negative_numbers = true,
        help_heading = "Statistics")]
    pub range: Option<u128>,
}

fn prng(text: &str) -> Result<Prng, String> {
    text.parse::<Prng>().map_err(|unknown| unknown.to_string())
}

fn mapping(text: &str) -> Result<Mapping, String> {
    match text {
        "mod" => Ok(Mapping::Mod),
        "scale" => Ok(Mapping::Scale),
        _ => Err(format!("'{text}' is no mapping; it is mod or scale")),
    }
}

impl StatisticsArgs {
    /// The first option that was given.
    pub(crate) fn first_given(&self) -> Option<&'static str> {
        let Self { prng, seeds, samples, lags, sequence, mapping, range } = self;
        [
            ("--prng", prng.is_some()),
            ("--seeds", seeds.is_some()),
            ("--samples", samples.is_some()),
            ("--lags", lags.is_some()),
            ("--sequence", sequence.is_some()),
            ("--mapping", mapping.is_some()),
            ("--range", range.is_some()),
        ]
        .into_iter()
        .find_map(|(flag, given)| given.then_some(flag))
    }

    fn samples(&self, default: u32) -> Result<u32, RequestError> {
        u32_of("--samples", self.samples, default)
    }
}

fn u32_of(flag: &'static str, value: Option<u128>, default: u32) -> Result<u32, RequestError> {
    let value = value.unwrap_or_else(|| default.into());
    within(flag, value, 0, u32::MAX.into()).map(to_u32)
}

fn wrong<T>(flag: &'static str, problem: &'static str) -> Result<T, RequestError> {
    Err(RequestError::Kind { flag, problem })
}

impl SieveArgs {
    /// Checks everything of a correlation or an analysis.
    pub(crate) fn resolve_statistics(&self) -> Result<Request, RequestError> {
        self.refuse_a_sieves_options()?;
        let statistics = match self.kind {
            Kind::Correlation => self.correlation()?,
            _ => self.analysis()?,
        };
        statistics.validate()?;
        let mut notes = Vec::new();
        let asked = self.seeds_of(&statistics, &mut notes)?;
        Ok(Request {
            kind: self.kind,
            question: Question::Statistics(statistics),
            asked,
            engine: Engine::Auto,
            // They are the processor's: a GPU's worker that takes one computes it there too.
            arch: Some(Arch::Cpu),
            chunk: self.chunk_asked()?,
            max_survivors: self.most_survivors()?,
            max_dead: self.max_dead,
            urgency: self.urgency,
            max_attempts: self.attempts()?,
            sample: None,
            notes,
        })
    }

    fn refuse_a_sieves_options(&self) -> Result<(), RequestError> {
        let given = [
            ("--draws", self.draws.is_some()),
            ("--sessions", self.sessions.is_some()),
            ("--candidates", self.candidates.is_some()),
            ("--window-offset", self.window_offset.is_some()),
            ("--advance", self.advance.is_some()),
            ("--threshold", self.threshold.is_some()),
            ("--min-matches", self.min_matches.is_some()),
            ("--reverse-threshold", self.reverse_threshold.is_some()),
            ("--reverse-min-matches", self.reverse_min_matches.is_some()),
            ("--engine", self.engine != Engine::Auto),
        ];
        if let Some((flag, _)) = given.into_iter().find(|(_, given)| *given) {
            return wrong(
                flag,
                "belongs to sieves and has no meaning with --kind correlation or analysis: leave \
                 it out",
            );
        }
        match self.arch.asked() {
            None | Some(Arch::Cpu) => Ok(()),
            Some(_) => wrong(
                "--arch",
                "must be auto or cpu with --kind correlation or analysis: they are computed on \
                 processors alone",
            ),
        }
    }

    fn correlation(&self) -> Result<Statistics, RequestError> {
        let args = &self.statistics;
        if self.family.is_some() {
            return wrong(
                "--family",
                "is for sieves and analyses; a correlation has --prng xorshift, lcg or mt",
            );
        }
        for (flag, given) in [
            ("--sequence", args.sequence.is_some()),
            ("--mapping", args.mapping.is_some()),
            ("--range", args.range.is_some()),
        ] {
            if given {
                return wrong(flag, "belongs to --kind analysis: use that, or leave it out");
            }
        }
        Ok(Statistics::Correlation {
            prng: args.prng.unwrap_or(Prng::Mt),
            samples: args.samples(SAMPLES.0)?,
            lags: u32_of("--lags", args.lags, LAGS)?,
        })
    }

    fn analysis(&self) -> Result<Statistics, RequestError> {
        let args = &self.statistics;
        if args.lags.is_some() {
            return wrong("--lags", "belongs to --kind correlation: an analysis has its own lags");
        }
        let source = match (args.sequence.as_deref(), self.family, args.prng) {
            (Some("hashed"), Some(_), _) => {
                return wrong("--family", "has no hashed sequence: use --prng xorshift or lcg");
            }
            (Some("hashed"), None, prng) => Source::Hashed(prng.unwrap_or(Prng::Xorshift)),
            (_, _, Some(_)) => {
                return wrong(
                    "--prng",
                    "is for correlations and --sequence hashed: name the stream's generator by \
                     --family, or add --sequence hashed",
                );
            }
            // The existing tool's default, as a real stream.
            (_, family, None) => Source::Stream(family.unwrap_or(Family::Xorshift32)),
        };
        Ok(Statistics::Analysis {
            source,
            samples: args.samples(SAMPLES.1)?,
            mapping: args.mapping.unwrap_or_default(),
            range: u32_of("--range", args.range, RANGE)?,
        })
    }

    fn seeds_of(
        &self,
        statistics: &Statistics,
        notes: &mut Vec<String>,
    ) -> Result<Asked, RequestError> {
        let most = 1_u128 << statistics.seed_bits();
        let fits = |flag, value: u128, most: u128| {
            let (generator, bits) = (statistics.generator(), statistics.seed_bits());
            if value < most {
                return Ok(());
            }
            Err(RequestError::StatisticsWidth { flag, value, generator, bits })
        };
        let range = self.seed_start.or(self.seed_end).is_some();
        if let Some(list) = &self.statistics.seeds {
            if range {
                return wrong("--seeds", "and a range exclude each other: leave one out");
            }
            let mut seen = HashSet::new();
            let mut seeds = Vec::new();
            for text in list.split(',') {
                let seed = count(text).map_err(RequestError::Seeds)?;
                fits("--seeds", seed, most)?;
                let seed = u64::try_from(seed).unwrap_or(u64::MAX);
                if seen.insert(seed) {
                    seeds.push(seed);
                }
            }
            return Ok(Asked::Candidates(seeds));
        }
        if !range {
            notes.push(format!("no seeds were named: it is {DEFAULT_SEED}, as it always was"));
            let span = Span::half_open(DEFAULT_SEED, u128::from(DEFAULT_SEED) + 1);
            return span.map(Asked::Range).ok_or(RequestError::EmptyRange { start: 0, end: 0 });
        }
        let start = self.seed_start.unwrap_or(0);
        let Some(end) = self.seed_end else {
            return wrong("--seed-start", "needs --seed-end: name the seed after the last one");
        };
        fits("--seed-end", end, most + 1)?;
        fits("--seed-start", start, most)?;
        let limit = self.most_survivors()?;
        if end.saturating_sub(start) > u128::from(limit) {
            return Err(RequestError::ManyReports { seeds: end - start, limit });
        }
        u64::try_from(start)
            .ok()
            .and_then(|first| Span::half_open(first, end))
            .map(Asked::Range)
            .ok_or(RequestError::EmptyRange { start, end })
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

    fn resolve(line: &str) -> Result<Request, String> {
        let words = ["test"].into_iter().chain(line.split_whitespace());
        let parsed = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        parsed.sieve.resolve().map_err(|error| error.to_string())
    }

    fn question(line: &str) -> Statistics {
        match resolve(line).unwrap().question {
            Question::Statistics(statistics) => statistics,
            Question::Sieve(sieve) => panic!("{sieve:?}"),
        }
    }

    #[test]
    fn the_defaults_are_the_existing_tools() {
        assert_eq!(
            question("--kind correlation"),
            Statistics::Correlation { prng: Prng::Mt, samples: 1000, lags: 8 }
        );
        let analysis = |source| Statistics::Analysis {
            source,
            samples: 10_000,
            mapping: Mapping::Mod,
            range: 1000,
        };
        assert_eq!(question("--kind analysis"), analysis(Source::Stream(Family::Xorshift32)));
        assert_eq!(
            question("--kind analysis --sequence hashed"),
            analysis(Source::Hashed(Prng::Xorshift))
        );
        let request = resolve("--kind analysis").unwrap();
        assert_eq!(request.asked, Asked::Range(Span::new(12_345, 12_345).unwrap()));
        assert_eq!(request.arch, Some(Arch::Cpu));
        assert!(request.notes[0].contains("12345"), "{:?}", request.notes);
    }

    #[test]
    fn seeds_are_a_list_or_a_range_and_none_is_left_out() {
        let listed = resolve("--kind analysis --seeds 9,0x10,9,2^20,5,6,7").unwrap().asked;
        assert_eq!(listed, Asked::Candidates(vec![9, 16, 1 << 20, 5, 6, 7]));
        let range = resolve("--kind correlation --seed-start 5 --seed-end 2^20").unwrap().asked;
        assert_eq!(range, Asked::Range(Span::half_open(5, 1 << 20).unwrap()));
        let wide = resolve("--kind correlation --seeds 18446744073709551615").unwrap().asked;
        assert_eq!(wide, Asked::Candidates(vec![u64::MAX]));
    }

    #[test]
    fn nonsense_is_refused_in_one_line() {
        for (line, part) in [
            ("--kind correlation --arch cuda", "computed on processors alone"),
            ("--kind analysis --arch rocm", "computed on processors alone"),
            ("--kind correlation --family mt19937", "--prng xorshift, lcg or mt"),
            ("--kind correlation --range 9", "belongs to --kind analysis"),
            ("--kind analysis --lags 9", "belongs to --kind correlation"),
            ("--kind analysis --prng mt", "name the stream's generator by --family"),
            ("--kind analysis --prng mt --sequence hashed", "no hashed sequence of mt"),
            ("--kind analysis --family pcg32 --sequence hashed", "has no hashed sequence"),
            ("--kind analysis --range 1", "the range 1 is out of range"),
            ("--kind analysis --samples 7", "7 samples are asked for"),
            ("--kind analysis --samples 2^40", "--samples is 1099511627776"),
            ("--kind correlation --lags 0", "0 lags"),
            ("--kind correlation --draws f", "--draws belongs to sieves"),
            ("--kind correlation --threshold 0.5", "--threshold belongs to sieves"),
            ("--kind correlation --engine scan", "--engine belongs to sieves"),
            ("--kind correlation --seeds 1,,2", "no whole number"),
            ("--kind correlation --seeds 1 --seed-end 9", "exclude each other"),
            ("--kind correlation --prng lcg --seeds 4294967296", "lcg takes 32-bit seeds"),
            ("--kind correlation --prng lcg --seed-start 1 --seed-end 2^33", "32-bit seeds"),
            ("--kind correlation --seed-start 1", "needs --seed-end"),
            ("--kind correlation --seed-start 5 --seed-end 5", "must be above"),
            ("--kind correlation --seed-end 2^32", "a report of each of 4294967296 seeds"),
            ("--family pcg32 --draws f --samples 9", "--samples belongs to --kind correlation"),
            ("--draws f", "--family"),
            ("--family pcg32", "--draws"),
        ] {
            let message = resolve(line).unwrap_err();
            assert!(message.contains(part) && !message.contains('\n'), "{line}: {message}");
        }
        let unknown = resolve("--kind correlation --prng pcg").unwrap_err();
        assert!(unknown.contains("xorshift, lcg, mt"), "{unknown}");
    }
}
