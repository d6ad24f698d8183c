//! From options to a request: everything read, resolved and checked before anything is planned.

use shared::{
    families::Family,
    job::{Arch, Engine, Urgency},
    messages::MaxDead,
    sieve::{Direction, MAX_POSITION, MAX_SKIP, MAX_WINDOW, Mode, Sieve, Skips},
    spans::Span,
    statistics::Statistics,
    structure::{Unsuited, suits},
};

use crate::{
    candidates,
    chance::Sample,
    draws,
    sieve_args::{Kind, SieveArgs},
};

pub use crate::request_error::RequestError;

/// The most attempts that a job can be given: 8 outcomes of started children end it anyway.
pub const MAX_ATTEMPTS: u32 = 8;
/// The largest skip to try unless `--skip` says otherwise.
const DEFAULT_SKIP: u32 = 20;

/// What is searched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Every seed of a range.
    Range(Span),
    /// These seeds, each once; never empty.
    Candidates(Vec<u64>),
}

impl Asked {
    /// What is to be covered: seeds, or the indices of the candidate list.
    ///
    /// # Panics
    /// Never for a resolved request, whose list is not empty.
    #[must_use]
    pub fn requested(&self) -> Span {
        match self {
            Self::Range(span) => *span,
            Self::Candidates(seeds) => {
                Span::half_open(0, seeds.len() as u128).expect("a request lists a candidate")
            }
        }
    }
}

/// The question put to every seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Whether it reproduces draws.
    Sieve(Sieve),
    /// What its outputs look like.
    Statistics(Statistics),
}

impl Question {
    /// The generator's name.
    #[must_use]
    pub const fn generator(&self) -> &'static str {
        match self {
            Self::Sieve(sieve) => sieve.family.name(),
            Self::Statistics(statistics) => statistics.generator(),
        }
    }

    /// The sieve, if it is one.
    #[must_use]
    pub const fn sieve(&self) -> Option<&Sieve> {
        match self {
            Self::Sieve(sieve) => Some(sieve),
            Self::Statistics(_) => None,
        }
    }
}

/// A request that makes sense.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// What kind of search it is.
    pub kind: Kind,
    /// The question put to every seed.
    pub question: Question,
    /// The seeds.
    pub asked: Asked,
    /// Which engine is asked for.
    pub engine: Engine,
    /// Which hardware is asked for; `None` for all there is.
    pub arch: Option<Arch>,
    /// Seeds (or candidates) a piece; `None` leaves it to the planner.
    pub chunk: Option<u64>,
    /// The most survivors that may be expected by chance.
    pub max_survivors: u64,
    /// How many dead jobs the run survives.
    pub max_dead: MaxDead,
    /// How soon its jobs run.
    pub urgency: Urgency,
    /// How often a job is tried.
    pub max_attempts: u32,
    /// With variable skips: what a sample of random seeds showed, where one was taken.
    pub sample: Option<Sample>,
    /// What was resolved otherwise than a user might think, a sentence each.
    pub notes: Vec<String>,
}

impl SieveArgs {
    /// Reads the files and checks everything.
    ///
    /// # Errors
    /// [`RequestError`]: one line that says what is wrong, with the value, and what to do.
    pub fn resolve(&self) -> Result<Request, RequestError> {
        if matches!(self.kind, Kind::Correlation | Kind::Analysis) {
            return self.resolve_statistics();
        }
        if let Some(flag) = self.statistics.first_given() {
            let problem = "belongs to --kind correlation or analysis: add that, or leave it out";
            return Err(RequestError::Kind { flag, problem });
        }
        let family = self.family.ok_or(RequestError::Missing {
            flag: "--family",
            problem: "name the generator (`producer families` lists all)",
        })?;
        let mut notes = Vec::new();
        let window = within("--window", self.window, 1, MAX_WINDOW as u64)?;
        let modulus = within("--modulus", self.modulus, 2, modulus_limit(family))?;
        let advance = match self.advance {
            Some(advance) => within("--advance", advance, 0, MAX_POSITION)?,
            None => within("--offset", self.offset, 0, MAX_POSITION)?,
        };
        let (need, reverse_need) = self.needs(window)?;
        let skips = self.skips()?;
        let asked = self.asked(family, &mut notes)?;
        let draws = self.window_draws(to_usize(window), modulus, &mut notes)?;
        let sieve = Sieve {
            family,
            direction: self.direction,
            mode: self.mode,
            modulus: to_u32(modulus),
            draws,
            advance: to_u32(advance),
            skips,
            need,
            reverse_need,
        };
        sieve.validate()?;
        if self.engine == Engine::Structural {
            suits(&sieve)?;
            if matches!(asked, Asked::Candidates(_)) {
                return Err(Unsuited::Candidates.into());
            }
        }
        Ok(Request {
            kind: self.kind,
            question: Question::Sieve(sieve),
            asked,
            engine: self.engine,
            arch: self.arch.asked(),
            chunk: self.chunk_asked()?,
            max_survivors: self.most_survivors()?,
            max_dead: self.max_dead,
            urgency: self.urgency,
            max_attempts: self.attempts()?,
            sample: None,
            notes,
        })
    }

    /// Seeds (or candidates) a piece, if they were asked for.
    pub(crate) fn chunk_asked(&self) -> Result<Option<u64>, RequestError> {
        self.chunk.asked().map(|chunk| within("--chunk", chunk, 1, u64::MAX)).transpose()
    }

    /// The most survivors that may be expected.
    pub(crate) fn most_survivors(&self) -> Result<u64, RequestError> {
        within("--max-survivors", self.max_survivors, 0, u64::MAX)
    }

    /// How often a job is tried.
    pub(crate) fn attempts(&self) -> Result<u32, RequestError> {
        within("--max-attempts", self.max_attempts, 1, u64::from(MAX_ATTEMPTS)).map(to_u32)
    }

    /// How many draws must match: in the direction asked for, and in reverse.
    fn needs(&self, window: u64) -> Result<(u32, u32), RequestError> {
        let forward =
            need_of(("--threshold", self.threshold), ("--min-matches", self.min_matches), window)?
                .unwrap_or_else(|| share(0.5, window));
        let reverse = need_of(
            ("--reverse-threshold", self.reverse_threshold),
            ("--reverse-min-matches", self.reverse_min_matches),
            window,
        )?;
        Ok(match (self.direction, reverse) {
            (Direction::Both, reverse) => (forward, reverse.unwrap_or(forward)),
            (Direction::Reverse, reverse) => {
                let need = reverse.unwrap_or(forward);
                (need, need)
            }
            (Direction::Forward, None) => (forward, forward),
            (Direction::Forward, Some(_)) => {
                return Err(RequestError::Kind {
                    flag: if self.reverse_threshold.is_some() {
                        "--reverse-threshold"
                    } else {
                        "--reverse-min-matches"
                    },
                    problem: "has no meaning with --direction forward: use --direction reverse \
                              or both, or leave it out",
                });
            }
        })
    }

    fn skips(&self) -> Result<Skips, RequestError> {
        let Some(Skips { lo, hi }) = self.skip else {
            let hi = if self.mode == Mode::Variable { 0 } else { DEFAULT_SKIP };
            return Ok(Skips { lo: 0, hi });
        };
        if self.mode == Mode::Variable {
            return Err(RequestError::Kind {
                flag: "--skip",
                problem: "has no meaning with --mode variable, whose strategies find the skips: \
                          leave one of them out",
            });
        }
        if lo.max(hi) > MAX_SKIP {
            return Err(RequestError::SkipTooLarge { hi: lo.max(hi) });
        }
        if lo > hi {
            return Err(RequestError::SkipsBackwards { lo, hi });
        }
        Ok(Skips { lo, hi })
    }

    fn asked(&self, family: Family, notes: &mut Vec<String>) -> Result<Asked, RequestError> {
        let wrong = |flag, problem| Err(RequestError::Kind { flag, problem });
        match (self.kind, &self.candidates) {
            (Kind::ReverseSieve, None) => {
                wrong("--kind reverse_sieve", "tests listed seeds: name their file by --candidates")
            }
            (Kind::ReverseSieve, Some(_)) if self.seed_start.or(self.seed_end).is_some() => wrong(
                "--seed-start or --seed-end",
                "has no meaning with --candidates: leave it out, or leave the candidates out",
            ),
            (Kind::ReverseSieve, Some(file)) => {
                let listed = candidates::read(file, family)?;
                if listed.repeated > 0 {
                    notes.push(format!(
                        "{} of the listed candidates are repetitions and were left out",
                        listed.repeated
                    ));
                }
                Ok(Asked::Candidates(listed.seeds))
            }
            (_, None) => self.range(family).map(Asked::Range),
            (_, Some(_)) => {
                wrong("--candidates", "belongs to --kind reverse_sieve: add that, or leave it out")
            }
        }
    }

    fn range(&self, family: Family) -> Result<Span, RequestError> {
        let most = family.seed_end();
        let start = self.seed_start.unwrap_or(0);
        let end = self.seed_end.unwrap_or_else(|| most.min(1 << 32));
        let bits = family.about().seed_bits;
        if end > most {
            return Err(RequestError::SeedWidth {
                flag: "--seed-end",
                value: end,
                family,
                bits,
                most,
            });
        }
        if start >= most {
            let (flag, most) = ("--seed-start", most - 1);
            return Err(RequestError::SeedWidth { flag, value: start, family, bits, most });
        }
        u64::try_from(start)
            .ok()
            .and_then(|first| Span::half_open(first, end))
            .ok_or(RequestError::EmptyRange { start, end })
    }

    /// The window's draws, reduced.
    fn window_draws(
        &self,
        window: usize,
        modulus: u64,
        notes: &mut Vec<String>,
    ) -> Result<Vec<u32>, RequestError> {
        let file = self.draws.as_deref().ok_or(RequestError::Missing {
            flag: "--draws",
            problem: "name the file of the draws",
        })?;
        let draws = draws::read(file, self.sessions.as_deref())?;
        let there = draws.len();
        let Some(last_start) = there.checked_sub(window) else {
            return Err(RequestError::FewDraws { window, there });
        };
        let asked = self.window_offset.unwrap_or(self.offset);
        let start = usize::try_from(asked).unwrap_or(usize::MAX).min(last_start);
        if asked != start as u128 {
            notes.push(format!(
                "the window starts at draw {start}, not {asked}: there are {there} draws"
            ));
        }
        let chosen = &draws[start..start + window];
        let reduced = chosen.iter().filter(|&&draw| draw >= modulus).count();
        if reduced > 0 {
            notes.push(format!("{reduced} draws of the window were reduced modulo {modulus}"));
        }
        Ok(chosen.iter().map(|&draw| to_u32(draw % modulus)).collect())
    }
}

/// `nextInt` takes a positive int; every other family is reduced after the fact.
fn modulus_limit(family: Family) -> u64 {
    if family == Family::JavaRandom { i32::MAX as u64 } else { u64::from(u32::MAX) }
}

/// A number inside its limits.
pub(crate) fn within(
    flag: &'static str,
    value: u128,
    low: u64,
    high: u64,
) -> Result<u64, RequestError> {
    let inside = u64::try_from(value).ok().filter(|value| (low..=high).contains(value));
    inside.ok_or(RequestError::OutOfRange { flag, value, low, high })
}

/// A number that the limits above keep within `u32`.
pub(crate) fn to_u32(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// A number that the limits above keep small.
fn to_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// The need that a share or a number asks for; `None` when neither is given.
fn need_of(
    (share_flag, threshold): (&'static str, Option<f64>),
    (count_flag, count): (&'static str, Option<u128>),
    window: u64,
) -> Result<Option<u32>, RequestError> {
    if let Some(count) = count {
        return within(count_flag, count, 1, window).map(|need| Some(to_u32(need)));
    }
    let Some(threshold) = threshold else { return Ok(None) };
    if !(threshold > 0.0 && threshold <= 1.0) {
        return Err(RequestError::Threshold { flag: share_flag, value: threshold });
    }
    Ok(Some(share(threshold, window)))
}

/// `ceil(threshold * window - 1e-9)`, at least 1 (SIEVES.md section 1).
fn share(threshold: f64, window: u64) -> u32 {
    #[expect(clippy::cast_precision_loss, reason = "a window is at most 65,536")]
    let need = (threshold * window as f64 - 1e-9).ceil().max(1.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 65,536")]
    let need = need as u32;
    need
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        sieve: SieveArgs,
    }

    fn resolve_with(draws: &str, candidates: &str, line: &str) -> Result<Request, String> {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| -> PathBuf {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let draws = write("draws", draws).display().to_string();
        let candidates = write("candidates", candidates).display().to_string();
        let mut words = vec!["test".to_owned(), "--draws".to_owned(), draws];
        words.extend(line.split_whitespace().map(|word| word.replace("FILE", &candidates)));
        let parsed = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        let request = parsed.sieve.resolve().map_err(|error| error.to_string());
        request.inspect_err(|message| assert!(!message.contains('\n'), "{message}"))
    }

    /// 40 draws: 0, 101, 202, …
    fn resolve(line: &str) -> Result<Request, String> {
        let draws: String = (0..40).map(|i| format!("{}\n", i * 101)).collect();
        resolve_with(&draws, "5\n6\n5\n", line)
    }

    fn request(line: &str) -> Request {
        resolve(&format!("--family mt19937 {line}")).unwrap()
    }

    fn of(request: &Request) -> &Sieve {
        match &request.question {
            Question::Sieve(sieve) => sieve,
            Question::Statistics(statistics) => panic!("{statistics}"),
        }
    }

    fn sieve(line: &str) -> Sieve {
        of(&request(line)).clone()
    }

    fn refusal(line: &str) -> String {
        resolve(&format!("--family mt19937 {line}")).unwrap_err()
    }

    #[test]
    fn the_defaults_make_a_request() {
        let request = request("");
        assert_eq!(request.asked, Asked::Range(Span::half_open(0, 1 << 32).unwrap()));
        assert_eq!(of(&request).draws[..3], [0, 101, 202]);
        assert_eq!(of(&request).draws[29], 2929 % 1000);
        assert_eq!((of(&request).need, of(&request).reverse_need), (15, 15));
        assert_eq!(of(&request).skips, Skips { lo: 0, hi: 20 });
        assert_eq!((request.arch, request.chunk, request.max_attempts), (None, None, 3));
        of(&request).validate().unwrap();
    }

    #[test]
    fn offset_moves_window_and_advance_unless_they_are_set_apart() {
        let both = sieve("--offset 4");
        assert_eq!((both.advance, both.draws[0]), (4, 404));
        let apart = sieve("--offset 4 --window-offset 1 --advance 9");
        assert_eq!((apart.advance, apart.draws[0]), (9, 101));
        let clamped = request("--offset 43");
        assert_eq!((of(&clamped).advance, of(&clamped).draws[0]), (43, 10));
        assert!(clamped.notes.iter().any(|note| note.contains("starts at draw 10")));
    }

    #[test]
    fn need_is_the_rounded_up_share() {
        for (line, need) in [
            ("--threshold 0.25", 8),
            ("--threshold 0.5", 15),
            ("--threshold 1", 30),
            ("--threshold 1e-9", 1),
            ("--window 10 --threshold 0.3", 3),
            ("--window 3 --threshold 0.6666666666666666", 2),
            ("--min-matches 7", 7),
            ("--window 1", 1),
        ] {
            assert_eq!(sieve(line).need, need, "{line}");
        }
        let both = sieve("--direction both --min-matches 9 --reverse-threshold 0.1");
        assert_eq!((both.need, both.reverse_need), (9, 3));
        let both = sieve("--direction both --min-matches 9");
        assert_eq!((both.need, both.reverse_need), (9, 9));
        let reverse = sieve("--direction reverse --threshold 0.5 --reverse-min-matches 4");
        assert_eq!((reverse.need, reverse.reverse_need), (4, 4));
        assert_eq!(sieve("--direction reverse --threshold 0.5").need, 15);
    }

    #[test]
    fn variable_skips_are_not_asked_for() {
        let sieve = sieve("--mode variable");
        assert_eq!((sieve.mode, sieve.skips), (Mode::Variable, Skips { lo: 0, hi: 0 }));
    }

    #[test]
    fn ranges_reach_to_the_seed_width() {
        let all = resolve("--family xorshift64 --seed-end 2^64").unwrap();
        assert_eq!(all.asked.requested().len(), 1 << 64);
        let one = resolve("--family java_random --seed-start 2^48-1").unwrap_err();
        assert!(one.contains("no whole number"), "{one}");
        let top = resolve("--family java_random --seed-start 0xFFFFFFFFFFFF --seed-end 2^48");
        assert_eq!(top.unwrap().asked.requested().len(), 1);
    }

    #[test]
    fn candidates_are_a_reverse_sieve() {
        let request = request("--kind reverse_sieve --candidates FILE");
        assert_eq!(request.asked, Asked::Candidates(vec![5, 6]));
        assert_eq!(of(&request).direction, Direction::Forward);
        assert!(request.notes[0].contains("1 of the listed"), "{:?}", request.notes);
    }

    #[test]
    fn nonsense_is_refused_in_one_line() {
        for (line, part) in [
            ("--window 41", "needs 41 draws but there are 40"),
            ("--window 0", "--window is 0; it must be 1 to 65536"),
            ("--window 65537", "--window is 65537"),
            ("--threshold 7", "--threshold is 7; it must be above 0 and at most 1"),
            ("--threshold 0", "--threshold is 0;"),
            ("--threshold -0.5", "--threshold is -0.5;"),
            ("--threshold NaN", "--threshold is NaN;"),
            ("--threshold inf", "--threshold is inf;"),
            ("--direction both --reverse-threshold 2", "--reverse-threshold is 2;"),
            ("--reverse-threshold 0.5", "has no meaning with --direction forward"),
            ("--min-matches 0", "--min-matches is 0; it must be 1 to 30"),
            ("--min-matches 31", "--min-matches is 31; it must be 1 to 30"),
            ("--skip 9..=3", "write the smaller number first, 3..=9"),
            ("--skip 0..=65536", "the largest skip is 65535"),
            ("--skip 2^40", "the largest skip is 65535"),
            ("--skip 65535 --advance 16000000", "past the limit of 16777216"),
            ("--advance 2^25", "--advance is 33554432"),
            ("--offset 2^25", "--offset is 33554432"),
            ("--modulus 1", "--modulus is 1; it must be 2 to 4294967295"),
            ("--modulus 2^32", "--modulus is 4294967296"),
            ("--seed-start 5 --seed-end 5", "--seed-end (5) must be above --seed-start (5)"),
            ("--seed-start 9 --seed-end 5", "must be above"),
            ("--seed-end 2^33", "mt19937 takes 32-bit seeds: it must be at most 4294967296 (2^32)"),
            ("--seed-start 2^32", "it must be at most 4294967295 (2^32-1)"),
            ("--chunk 0", "--chunk is 0"),
            ("--max-attempts 0", "--max-attempts is 0; it must be 1 to 8"),
            ("--candidates FILE", "belongs to --kind reverse_sieve"),
            ("--kind reverse_sieve", "name their file by --candidates"),
            ("--kind reverse_sieve --candidates FILE --seed-end 9", "no meaning with --candidates"),
            ("--sessions noon", "have no session"),
            ("--mode variable --skip 3", "has no meaning with --mode variable"),
            ("--mode variable --engine structural", "no search for mt19937"),
            ("--mode variable --advance 16770000", "past the limit of 16777216"),
        ] {
            let message = refusal(line);
            assert!(message.contains(part), "{line}: {message}");
        }
        let message = resolve("--family java_random --modulus 2^31").unwrap_err();
        assert!(message.contains("it must be 2 to 2147483647"), "{message}");
        let message = resolve("--family xorshift64 --seed-start 2^64 --seed-end 2^64").unwrap_err();
        assert!(message.contains("--seed-start is 18446744073709551616"), "{message}");
    }
}
