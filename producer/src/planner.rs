//! The planner: a pure function from a request, rates and slots to pieces.
//!
//! The range is shared between architectures in proportion to what they do in a second. Within
//! one, pieces start near the target time and shrink towards the end of its queue (guided
//! self-scheduling, Polychronopoulos and Kuck, IEEE TC 36(12), 1987), so that a queue that is
//! taken in order ends in small pieces and no slot is waited for. Wrong rates are harmless: a
//! piece that takes too long finishes short and its rest is queued again.

use shared::{
    job::{Arch, Engine, MAX_CANDIDATES},
    settings::PlannerSettings,
    sieve::{Direction, Sieve},
    spans::Span,
};

use crate::{
    chance::{self, Chance},
    cost::{self, Cost},
    duration::Duration,
    request::{Asked, Question, Request},
};

pub use crate::planned_jobs::jobs;

/// The most pieces of one plan.
pub const MAX_PIECES: usize = 100_000;
/// The longest that a piece may be planned for, in seconds.
pub const MAX_PIECE_SECONDS: f64 = 600.0;
/// The most survivors that a piece may expect by chance.
pub const MAX_PIECE_SURVIVORS: f64 = 10_000.0;
/// Work worth this many seconds is worth a process of its own: a small request gives every slot
/// a piece down to here, though it is less than `min_seconds`.
const WORTH_A_PROCESS: f64 = 0.1;

/// The slots of one architecture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fleet {
    /// The architecture.
    pub arch: Arch,
    /// How many jobs run side by side.
    pub slots: u32,
    /// Model operations a second of one slot.
    pub operations_per_second: f64,
}

/// Everything that a plan depends on.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanInput {
    /// What is to be covered: seeds, or the indices of a candidate list.
    pub requested: Span,
    /// Whether it is a candidate list, whose pieces carry their candidates.
    pub candidates: bool,
    /// The engine that pieces are left to.
    pub engine: Engine,
    /// Model operations of a piece.
    pub cost: Cost,
    /// What chance alone makes of a seed.
    pub chance: Chance,
    /// The most survivors that may be expected by chance.
    pub max_survivors: u64,
    /// What to ask for instead when more are expected.
    pub remedy: String,
    /// The slots there are, an architecture once.
    pub fleet: Vec<Fleet>,
    /// How long a piece should take.
    pub target_seconds: f64,
    /// How long the last pieces of a queue should take.
    pub min_seconds: f64,
    /// Seeds a piece, if they were asked for.
    pub chunk: Option<u64>,
    /// How many seeds an outcome has room for, where each of them is reported.
    pub reported: Option<u64>,
}

impl PlanInput {
    /// The input for a request on a fleet. Of the fleet only the architecture that was asked for
    /// counts.
    #[must_use]
    pub fn of(request: &Request, fleet: Vec<Fleet>, settings: &PlannerSettings) -> Self {
        match &request.question {
            Question::Sieve(sieve) => Self::of_sieve(request, sieve, fleet, settings),
            Question::Statistics(statistics) => {
                Self::of_statistics(request, statistics, fleet, settings)
            }
        }
    }

    fn of_sieve(
        request: &Request,
        sieve: &Sieve,
        fleet: Vec<Fleet>,
        settings: &PlannerSettings,
    ) -> Self {
        let requested = request.asked.requested();
        let chance = chance::of(sieve, request.sample);
        let wanted = |arch| request.arch.is_none_or(|asked| asked == arch);
        let mut fleet: Vec<Fleet> = fleet.into_iter().filter(|slots| wanted(slots.arch)).collect();
        let on_processor = fleet.iter().any(|slots| slots.arch == Arch::Cpu && slots.slots > 0);
        let candidates = matches!(request.asked, Asked::Candidates(_));
        let engine = if on_processor && !candidates {
            let chosen = cost::chosen(sieve, request.engine, to_f64(requested.len()));
            // What one processor does sooner, many devices may do sooner still.
            let sooner = seconds(&fleet, sieve, request.engine, requested)
                < seconds(&fleet, sieve, chosen, requested);
            if request.engine == Engine::Auto && sooner { request.engine } else { chosen }
        } else {
            request.engine
        };
        if engine == Engine::Structural && on_processor {
            // It is the processor's alone; a device's runner would leave it to the processor.
            fleet.retain(|slots| slots.arch == Arch::Cpu);
        }
        let mut input = Self {
            requested,
            candidates,
            engine,
            cost: Cost::of(sieve, engine),
            chance,
            max_survivors: request.max_survivors,
            remedy: String::new(),
            fleet,
            target_seconds: settings.target_seconds,
            min_seconds: settings.min_seconds,
            chunk: request.chunk,
            reported: None,
        };
        if input.too_many_expected() {
            input.remedy = remedy(request, sieve);
        }
        input
    }

    fn expected_by_chance(&self) -> f64 {
        chance::expected(self.requested.len(), self.chance.per_seed)
    }

    fn too_many_expected(&self) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "a limit on an expectation")]
        let most = self.max_survivors as f64;
        self.expected_by_chance() > most
    }
}

/// How long a fleet takes for a range under an engine: the structural one on its processors alone,
/// each of which has the fixed cost; any other on all of it.
fn seconds(fleet: &[Fleet], sieve: &Sieve, engine: Engine, requested: Span) -> f64 {
    let structural = engine == Engine::Structural;
    let takes_part = |slots: &&Fleet| !structural || slots.arch == Arch::Cpu;
    let taking_part = fleet.iter().filter(takes_part);
    let (mut slots, mut rate) = (0.0, 0.0);
    for some in taking_part {
        slots += f64::from(some.slots);
        rate += f64::from(some.slots) * some.operations_per_second;
    }
    let cost = Cost::of(sieve, engine);
    (cost.fixed * slots + cost.each * to_f64(requested.len())) / rate
}

/// What to ask for instead of a search that expects too many survivors.
fn remedy(request: &Request, sieve: &Sieve) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a limit on an expectation")]
    let limit = request.max_survivors as f64;
    let seeds = request.asked.requested().len();
    let Some(need) = chance::need_that_fits(sieve, seeds, limit) else {
        return "no --min-matches of this window would fit: use a longer --window, a smaller range \
                or fewer skips, or raise --max-survivors"
            .to_owned();
    };
    let reverse = sieve.reverse_need.max(need);
    let flags = match sieve.direction {
        Direction::Forward => format!("--min-matches {need}"),
        Direction::Reverse => {
            format!("--min-matches {need} (or --reverse-min-matches {need}, if that is in use)")
        }
        Direction::Both => format!("--min-matches {need} --reverse-min-matches {reverse}"),
    };
    format!("{flags} would fit, or raise --max-survivors")
}

/// A part of what was requested, for one architecture's queue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Piece {
    /// The seeds, or the indices of candidates.
    pub span: Span,
    /// Whose queue it is for.
    pub arch: Arch,
    /// How long it should take.
    pub predicted_seconds: f64,
}

/// What one architecture is to do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Queue {
    /// The architecture.
    pub arch: Arch,
    /// Its slots.
    pub slots: u32,
    /// Seeds a second of one slot, as planned with.
    pub seeds_per_second: f64,
    /// How long its pieces should take on all its slots.
    pub predicted_seconds: f64,
}

/// How a request is cut.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The pieces in the order in which they are published: architectures in turn, each one's
    /// from the largest to the smallest.
    pub pieces: Vec<Piece>,
    /// The architectures that have a share.
    pub queues: Vec<Queue>,
    /// The engine that the pieces are left to.
    pub engine: Engine,
    /// How long all of it should take.
    pub predicted_seconds: f64,
    /// Survivors that chance alone would leave.
    pub expected_by_chance: f64,
    /// The standard error of that, if it was sampled.
    pub expected_error: Option<f64>,
    /// How that was computed.
    pub expected_method: &'static str,
    /// What pieces were planned for: the setting, or more where that would make too many.
    pub target_seconds: f64,
    /// When a runner finishes short: twice the target.
    pub soft_seconds: f64,
    /// When a worker ends a job: four times that, and at least ten minutes.
    pub time_limit_seconds: f64,
}

/// A request that can't be planned, with the figures and what to change.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// Chance alone would drown the result.
    #[error(
        "about {expected:.3e} survivors are expected by chance alone, more than --max-survivors \
         {limit}: {remedy}"
    )]
    TooManySurvivors {
        /// How many are expected.
        expected: f64,
        /// The limit.
        limit: u64,
        /// What to ask for instead.
        remedy: String,
    },
    /// It would take too long.
    #[error(
        "this would take about {} on the slots that are known ({seeds_per_second:.3e} seeds/s in \
         all), more than {MAX_PIECES} pieces of 10 minutes: ask for a smaller range",
        Duration(*seconds)
    )]
    TooLong {
        /// The estimated duration, in seconds.
        seconds: f64,
        /// What all slots do together.
        seeds_per_second: f64,
    },
    /// Pieces must be so small that there are too many.
    #[error(
        "this makes {count} pieces of at most {most} seeds, more than {MAX_PIECES} (about {} in \
         all): {why}", Duration(*seconds)
    )]
    TooManyPieces {
        /// How many pieces.
        count: u128,
        /// Seeds in one.
        most: u128,
        /// The estimated duration, in seconds.
        seconds: f64,
        /// What makes them so small, and what to change.
        why: String,
    },
    /// A chunk that no piece may have.
    #[error("--chunk {chunk} is too large: {why}; use at most {most}, or auto")]
    Chunk {
        /// What was asked for.
        chunk: u64,
        /// The largest that would do.
        most: u128,
        /// Which limit it passes.
        why: String,
    },
    /// Nobody to plan for.
    #[error(
        "there is no slot to plan for: start a worker, or set worker.slots, or ask for another \
         --arch"
    )]
    NoSlots,
    /// Settings that make no sense.
    #[error(
        "planner.target_seconds is {target} and planner.min_seconds is {min}: they must be above \
         0, the target at least the minimum and at most 600"
    )]
    Seconds {
        /// The target.
        target: f64,
        /// The minimum.
        min: f64,
    },
}

/// One architecture's contiguous part of the request.
#[derive(Debug, Clone, Copy)]
struct Share {
    arch: Arch,
    slots: u32,
    /// Seeds a second of one slot.
    rate: f64,
    /// What any piece takes beyond that, in seconds.
    fixed: f64,
    span: Span,
}

impl Share {
    /// The time that all its seeds take on one slot, in one piece.
    fn slot_seconds(&self) -> f64 {
        self.seconds(self.span.len())
    }

    /// The time of a piece.
    fn seconds(&self, length: u128) -> f64 {
        self.fixed + to_f64(length) / self.rate
    }
}

/// How long pieces may be.
#[derive(Debug, Clone, Copy)]
struct Lengths {
    target_seconds: f64,
    min_seconds: f64,
    /// The most seeds, whatever the time.
    most: u128,
}

/// Cuts a request into pieces.
///
/// # Errors
/// [`PlanError`] when a limit is passed, with the figure.
pub fn plan(input: &PlanInput) -> Result<Plan, PlanError> {
    let PlanInput { target_seconds, min_seconds, .. } = *input;
    if !(min_seconds > 0.0 && min_seconds <= target_seconds && target_seconds <= MAX_PIECE_SECONDS)
    {
        return Err(PlanError::Seconds { target: target_seconds, min: min_seconds });
    }
    let Chance { error, method, .. } = input.chance;
    let expected_by_chance = input.expected_by_chance();
    if input.too_many_expected() {
        let (limit, remedy) = (input.max_survivors, input.remedy.clone());
        return Err(PlanError::TooManySurvivors { expected: expected_by_chance, limit, remedy });
    }
    let shares = shares(input)?;
    let (lengths, target_seconds) = match input.chunk {
        Some(chunk) => by_chunk(input, &shares, chunk)?,
        None => by_time(input, &shares)?,
    };
    let queues: Vec<Queue> = shares.iter().zip(&lengths).map(|(s, l)| queue(s, l)).collect();
    let predicted_seconds = queues.iter().map(|queue| queue.predicted_seconds).fold(0.0, f64::max);
    let soft_seconds = 2.0 * target_seconds;
    Ok(Plan {
        pieces: in_turn(&shares, &lengths),
        queues,
        engine: input.engine,
        predicted_seconds,
        expected_by_chance,
        expected_error: error.map(|error| chance::expected(input.requested.len(), error)),
        expected_method: method,
        target_seconds,
        soft_seconds,
        time_limit_seconds: (4.0 * soft_seconds).max(MAX_PIECE_SECONDS),
    })
}

/// Shares the request in proportion to rate times slots, exactly. An architecture whose share
/// would not fill one small piece has none: a process there would cost more than it saves.
fn shares(input: &PlanInput) -> Result<Vec<Share>, PlanError> {
    let usable = |fleet: &Fleet| {
        fleet.slots > 0 && is_positive(fleet.operations_per_second / input.cost.each)
    };
    let mut fleet: Vec<Fleet> = input.fleet.iter().copied().filter(usable).collect();
    let rate = |fleet: &Fleet| fleet.operations_per_second / input.cost.each;
    let power = |fleet: &Fleet| rate(fleet) * f64::from(fleet.slots);
    let length = input.requested.len();
    let total = loop {
        let total: f64 = fleet.iter().map(power).sum();
        let weakest =
            (0..fleet.len()).min_by(|&a, &b| power(&fleet[a]).total_cmp(&power(&fleet[b])));
        let Some(weakest) = weakest else { return Err(PlanError::NoSlots) };
        // With shares in proportion every architecture ends after the same time.
        let seconds = to_f64(length) / total;
        if fleet.len() == 1 || seconds * f64::from(fleet[weakest].slots) >= input.min_seconds {
            break total;
        }
        fleet.remove(weakest);
    };
    // Each share is rounded by itself and the strongest takes what is left, so that even the
    // weakest share of 2^64 seeds is right to the last digits of its own rate.
    let strongest = (0..fleet.len()).max_by(|&a, &b| power(&fleet[a]).total_cmp(&power(&fleet[b])));
    let ideal = |slots: &Fleet| to_u128(to_f64(length) * (power(slots) / total));
    let mut counts: Vec<u128> = fleet.iter().map(ideal).collect();
    if let Some(strongest) = strongest {
        counts[strongest] = 0;
        counts[strongest] = length.saturating_sub(counts.iter().sum());
    }
    let mut shares = Vec::new();
    let mut rest = Some(input.requested);
    for (slots, &count) in fleet.iter().zip(&counts).filter(|(_, count)| **count > 0) {
        let Some(left) = rest else { break };
        let (span, after) = left.split_at(count);
        let fixed = input.cost.fixed / slots.operations_per_second;
        let (arch, slots, rate) = (slots.arch, slots.slots, rate(slots));
        shares.push(Share { arch, slots, rate, fixed, span });
        rest = after;
    }
    Ok(shares)
}

/// The lengths of every share's pieces, and what they were planned for: the target, or as much
/// more as keeps their number within its limit.
fn by_time(input: &PlanInput, shares: &[Share]) -> Result<(Vec<Vec<u128>>, f64), PlanError> {
    let work: f64 = shares.iter().map(Share::slot_seconds).sum();
    let (most, why) = longest(input);
    let mut target = input.target_seconds.max(work / to_f64(MAX_PIECES as u128));
    while target <= MAX_PIECE_SECONDS {
        let lengths = Lengths { target_seconds: target, min_seconds: input.min_seconds, most };
        if let Some(cut) = ramps(shares, lengths) {
            return Ok((cut, target));
        }
        if target >= MAX_PIECE_SECONDS {
            break;
        }
        target = (target * 1.25).min(MAX_PIECE_SECONDS);
    }
    let seconds = wall_seconds(shares);
    let count = input.requested.len().div_ceil(most);
    if count > MAX_PIECES as u128 {
        return Err(PlanError::TooManyPieces { count, most, seconds, why: why.to_owned() });
    }
    let seeds_per_second = to_f64(input.requested.len()) / seconds;
    Err(PlanError::TooLong { seconds, seeds_per_second })
}

/// The most seeds in one piece, whatever the time they take, and why.
fn longest(input: &PlanInput) -> (u128, &'static str) {
    if let Some(most) = input.reported {
        let listed = if input.candidates { MAX_CANDIDATES as u128 } else { u128::MAX };
        return (listed.min(most.max(1).into()), "an outcome has no room for more reports");
    }
    let by_chance = to_u128(MAX_PIECE_SURVIVORS / input.chance.per_seed).max(1);
    if input.candidates && by_chance >= MAX_CANDIDATES as u128 {
        return (MAX_CANDIDATES as u128, "a piece carries at most 50000 candidates: list fewer");
    }
    (by_chance, "a piece may expect at most 10000 survivors by chance: ask for more matches")
}

/// Every share's pieces, or `None` when there are too many of them.
fn ramps(shares: &[Share], lengths: Lengths) -> Option<Vec<Vec<u128>>> {
    let mut room = MAX_PIECES;
    shares
        .iter()
        .map(|share| {
            let cut = ramp(share, lengths, room)?;
            room -= cut.len();
            Some(cut)
        })
        .collect()
}

/// Guided self-scheduling: each piece takes half of what each slot would still have to do, within
/// the limits; `None` past `room` pieces.
fn ramp(share: &Share, lengths: Lengths, room: usize) -> Option<Vec<u128>> {
    let slots = f64::from(share.slots);
    // A share that is smaller than that for every slot is spread over the slots all the same.
    let each = (share.slot_seconds() / slots).max(WORTH_A_PROCESS);
    // A piece whose fixed part is the larger one is not worth having been cut.
    let least = lengths.min_seconds.min(each).max(share.fixed);
    let mut left = share.span.len();
    let mut longest = lengths.most;
    let mut cut = Vec::new();
    while left > 0 {
        if cut.len() == room {
            return None;
        }
        let seconds = to_f64(left) / share.rate / (2.0 * slots);
        let seconds = seconds.min(lengths.target_seconds - share.fixed).max(least);
        let want = to_u128(seconds * share.rate).clamp(1, longest);
        // What is left, cut as evenly as that allows: no crumb at the end.
        let length = left.div_ceil(left.div_ceil(want));
        cut.push(length);
        left -= length;
        longest = length;
    }
    Some(cut)
}

/// Pieces of a size that was asked for.
fn by_chunk(
    input: &PlanInput,
    shares: &[Share],
    chunk: u64,
) -> Result<(Vec<Vec<u128>>, f64), PlanError> {
    let (most, why) = longest(input);
    let size = u128::from(chunk);
    let too_large = |most, why: String| Err(PlanError::Chunk { chunk, most, why });
    if size > most && input.requested.len() > most {
        let why = why.split(':').next().unwrap_or(why).to_owned();
        return too_large(most, why);
    }
    let slowest = shares.iter().map(|share| share.rate).fold(f64::INFINITY, f64::min);
    let longest = size.min(input.requested.len());
    let seconds = shares.iter().map(|share| share.seconds(longest)).fold(0.0, f64::max);
    if seconds > MAX_PIECE_SECONDS {
        let most = to_u128(MAX_PIECE_SECONDS * slowest).max(1);
        let why = format!("such a piece takes about {}, more than 10 minutes", Duration(seconds));
        return too_large(most, why);
    }
    let count: u128 = shares.iter().map(|share| share.span.len().div_ceil(size)).sum();
    if count > MAX_PIECES as u128 {
        let least = input.requested.len().div_ceil(MAX_PIECES as u128 - shares.len() as u128);
        let why = format!("use --chunk {least} or more, or auto");
        return Err(PlanError::TooManyPieces {
            count,
            most: size,
            seconds: wall_seconds(shares),
            why,
        });
    }
    let cut = |share: &Share| {
        let mut left = share.span.len();
        let mut pieces = Vec::new();
        while left > 0 {
            let length = size.min(left);
            pieces.push(length);
            left -= length;
        }
        pieces
    };
    // A piece that was asked for is not to finish short for being longer than the target.
    Ok((shares.iter().map(cut).collect(), input.target_seconds.max(seconds)))
}

/// How long everything takes when no slot idles.
fn wall_seconds(shares: &[Share]) -> f64 {
    shares.iter().map(|share| share.slot_seconds() / f64::from(share.slots)).fold(0.0, f64::max)
}

fn queue(share: &Share, lengths: &[u128]) -> Queue {
    let longest = lengths.first().map_or(0.0, |&length| share.seconds(length));
    let again = share.fixed * to_f64(lengths.len().saturating_sub(1) as u128);
    let even = (share.slot_seconds() + again) / f64::from(share.slots);
    Queue {
        arch: share.arch,
        slots: share.slots,
        seeds_per_second: share.rate,
        predicted_seconds: even.max(longest),
    }
}

/// All pieces, one of each architecture in turn, so that no queue stays empty while another's
/// thousands are published.
fn in_turn(shares: &[Share], lengths: &[Vec<u128>]) -> Vec<Piece> {
    let mut rests: Vec<Option<Span>> = shares.iter().map(|share| Some(share.span)).collect();
    let mut pieces = Vec::with_capacity(lengths.iter().map(Vec::len).sum());
    for turn in 0..lengths.iter().map(Vec::len).max().unwrap_or(0) {
        for ((share, lengths), rest) in shares.iter().zip(lengths).zip(&mut rests) {
            if let (Some(&length), Some(left)) = (lengths.get(turn), *rest) {
                let (span, after) = left.split_at(length);
                let predicted_seconds = share.seconds(span.len());
                pieces.push(Piece { span, arch: share.arch, predicted_seconds });
                *rest = after;
            }
        }
    }
    pieces
}

fn is_positive(rate: f64) -> bool {
    rate.is_finite() && rate > 0.0
}

#[expect(clippy::cast_precision_loss, reason = "shares and times need no more than 53 bits")]
fn to_f64(count: u128) -> f64 {
    count as f64
}

/// The whole part; what is too large, or the quotient of a zero, saturates.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
fn to_u128(value: f64) -> u128 {
    value as u128
}

#[cfg(test)]
#[path = "planner_tests.rs"]
mod tests;
