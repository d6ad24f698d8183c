//! Outcomes: what a worker reports of one delivery of one job.

use serde::{Deserialize, Serialize};

use crate::{
    job::{Arch, Engine},
    script::ScriptResult,
    spans::Span,
    statistics::Report,
    witness::NearMisses,
};

/// The most survivors in one outcome; a runner stops at the block that reaches it.
pub const MAX_SURVIVORS: usize = 20_000;
/// The most of a child's stderr that is kept, in bytes, from its end.
pub const MAX_STDERR_TAIL: usize = 8 * 1024;

/// What became of one delivery of one job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The run it belongs to.
    pub run: String,
    /// The epoch the job carried.
    pub epoch: u32,
    /// The job's id.
    pub job: String,
    /// The job's sequence number; (`run`, `job`, `seq`) is the ledger's key.
    pub seq: u32,
    /// Which try it was.
    pub attempt: u32,
    /// The architecture whose queue the job came from.
    pub arch: Arch,
    /// The node that ran it.
    pub node: String,
    /// The worker on that node.
    pub instance: String,
    /// What it ran on.
    pub device: Device,
    /// What happened.
    pub verdict: Verdict,
    /// The job's own bytes, echoed whenever something must follow (a rest, a retry, a dead
    /// letter), so that the ledger needs nothing else to write it.
    #[serde(with = "serde_bytes", default, skip_serializing_if = "Option::is_none")]
    pub echo: Option<Vec<u8>>,
    /// When the worker took the job, in Unix seconds.
    pub taken_at: f64,
    /// Seconds from the child's start to its end; 0 when none was started.
    pub seconds: f64,
}

/// What a job ran on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Its name on the node: `cpu0`, `gpu3`.
    pub name: String,
    /// Its model, as in `AMD Radeon RX 6600`; rates are learned per model.
    pub model: String,
    /// The threads the job was given (1 for a GPU).
    pub threads: u32,
}

/// How a delivery ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It did what it reports, whole or short.
    Done(SieveResult),
    /// Its script succeeded.
    Finished(ScriptResult),
    /// It failed; whose fault is in the kind.
    Failed {
        /// What kind of failure.
        failure: Failure,
        /// One line for people.
        detail: String,
        /// The end of the child's stderr, at most [`MAX_STDERR_TAIL`] bytes.
        stderr_tail: String,
    },
    /// It was not run here; the attempt count stands.
    Returned {
        /// Why.
        reason: Return,
        /// One line for people.
        detail: String,
    },
}

/// What a runner found in the intervals that it tested.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SieveResult {
    /// The engine that computed.
    pub engine: Engine,
    /// What was tested: seeds, or candidate indices. Never empty.
    pub tested: Vec<Span>,
    /// Who survived.
    pub survivors: Survivors,
    /// The witness's count.
    pub near_misses: NearMisses,
    /// Whether the engine sees no near misses and was proved by seeds that were planted instead.
    #[serde(default)]
    pub planted: bool,
    /// What was computed of each tested seed, in order, by `correlation` and `analysis`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reports: Vec<Report>,
    /// Seconds of computing, without process start and end.
    pub busy_seconds: f64,
}

/// Survivors as columns of equal length, ascending by seed (for candidates: in the list's order).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survivors {
    /// The seeds.
    pub seeds: Vec<u64>,
    /// How many draws each matched.
    pub matches: Vec<u32>,
    /// The smallest skip that attains it; with variable skips the id of the strategy.
    pub skips: Vec<u32>,
    /// `both`: matches in reverse order; otherwise empty.
    #[serde(default)]
    pub reverse_matches: Vec<u32>,
    /// `both`: the smallest skip that attains those; otherwise empty.
    #[serde(default)]
    pub reverse_skips: Vec<u32>,
    /// With variable skips: those of the strategy, draw by draw up to where it ended; otherwise
    /// empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sequences: Vec<Vec<u16>>,
    /// With variable skips and `both`: the same in reverse order; otherwise empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reverse_sequences: Vec<Vec<u16>>,
}

/// A survivor's skips, draw by draw up to where its strategy ended; empty with a fixed skip.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sequences {
    /// In file order, or for `reverse` in reverse order.
    pub leading: Vec<u16>,
    /// `both`: in reverse order.
    pub reverse: Vec<u16>,
}

/// One survivor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survivor {
    /// The seed.
    pub seed: u64,
    /// Its best skip's matches and that skip: in file order, or for `reverse` in reverse order.
    pub best: Best,
    /// `both`: the same in reverse order.
    pub reverse: Option<Best>,
}

/// A seed's result in one direction. With variable skips `skip` is the id of the best strategy:
/// the first that attains the matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Best {
    /// How many draws matched.
    pub matches: u32,
    /// The smallest skip that attains it.
    pub skip: u32,
}

impl Survivors {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seeds.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seeds.is_empty()
    }

    /// Appends one. All of a set either have a reverse result or have none.
    pub fn push(&mut self, survivor: Survivor) {
        self.seeds.push(survivor.seed);
        self.matches.push(survivor.best.matches);
        self.skips.push(survivor.best.skip);
        if let Some(reverse) = survivor.reverse {
            self.reverse_matches.push(reverse.matches);
            self.reverse_skips.push(reverse.skip);
        }
    }

    /// Appends one that was found with variable skips.
    pub fn push_variable(&mut self, survivor: Survivor, sequences: Sequences) {
        self.push(survivor);
        self.sequences.push(sequences.leading);
        if survivor.reverse.is_some() {
            self.reverse_sequences.push(sequences.reverse);
        }
    }

    /// A row's skips, if they were reported.
    #[must_use]
    pub fn sequences(&self, row: usize) -> Option<Sequences> {
        let leading = self.sequences.get(row)?.clone();
        let reverse = self.reverse_sequences.get(row).cloned().unwrap_or_default();
        Some(Sequences { leading, reverse })
    }

    /// The survivors as rows, in order. Columns that disagree in length yield the shortest's
    /// rows: [`Survivors::is_whole`] tells.
    pub fn iter(&self) -> impl Iterator<Item = Survivor> {
        let best = |matches: &[u32], skips: &[u32], row: usize| {
            Some(Best { matches: *matches.get(row)?, skip: *skips.get(row)? })
        };
        self.seeds.iter().enumerate().map_while(move |(row, &seed)| {
            Some(Survivor {
                seed,
                best: best(&self.matches, &self.skips, row)?,
                reverse: best(&self.reverse_matches, &self.reverse_skips, row),
            })
        })
    }

    /// Whether the columns agree in length.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let n = self.seeds.len();
        let reverse = self.reverse_matches.len();
        self.matches.len() == n
            && self.skips.len() == n
            && (reverse == 0 || reverse == n)
            && self.reverse_skips.len() == reverse
            && [0, n].contains(&self.sequences.len())
            && [0, reverse].contains(&self.reverse_sequences.len())
    }
}

impl Extend<Survivor> for Survivors {
    fn extend<T: IntoIterator<Item = Survivor>>(&mut self, survivors: T) {
        survivors.into_iter().for_each(|survivor| self.push(survivor));
    }
}

/// What kind of failure, and so whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Failure {
    /// The job's: its child exited with this code.
    ExitCode(i32),
    /// The job's: its script said so itself.
    Reported,
    /// The job's: the output it declared is not there.
    MissingOutput,
    /// The job's: the output it declared is empty.
    EmptyOutput,
    /// The job's: the child ended well but without a readable result.
    InvalidOutput,
    /// The job's: it wanted more memory than its own limit.
    OutOfMemory,
    /// The job's: a script past its time limit.
    Timeout,
    /// The job's, dead at once: a runner or worker found it makes no sense, or every node refused
    /// it.
    Rejected,
    /// The job's, dead at once: its message could not be decoded.
    Undecodable,
    /// The job's, dead at once: the broker delivered it so often that it gave up.
    DeliveryLimit,
    /// The device's: it is gone from under the job.
    DeviceLost,
    /// The device's: it computed wrongly, as its own witness shows.
    WitnessMissed,
    /// The device's: no progress, or a runner past its time limit.
    Stalled,
    /// The node's: a file that the job needs could not be had.
    InputMissing,
    /// The node's: the child could not be started.
    SpawnFailed,
    /// The node's: the host ran out of memory.
    HostOutOfMemory,
    /// Undecided: the child died of this signal.
    Crashed(i32),
}

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The job's: it uses up an attempt.
    Job,
    /// The device's: a strike against it, and no attempt.
    Device,
    /// The node's: no attempt.
    Node,
    /// Not known until the job has run elsewhere: it uses up an attempt, and becomes a strike
    /// when the same job succeeds on another device.
    Undecided,
}

impl Failure {
    /// Whose it is.
    #[must_use]
    pub const fn blame(self) -> Blame {
        match self {
            Self::ExitCode(_)
            | Self::Reported
            | Self::MissingOutput
            | Self::EmptyOutput
            | Self::InvalidOutput
            | Self::OutOfMemory
            | Self::Timeout
            | Self::Rejected
            | Self::Undecodable
            | Self::DeliveryLimit => Blame::Job,
            Self::DeviceLost | Self::WitnessMissed | Self::Stalled => Blame::Device,
            Self::InputMissing | Self::SpawnFailed | Self::HostOutOfMemory => Blame::Node,
            Self::Crashed(_) => Blame::Undecided,
        }
    }

    /// Whether another try can't help.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Rejected | Self::Undecodable | Self::DeliveryLimit)
    }

    /// Whether it uses up one of the job's attempts.
    #[must_use]
    pub const fn costs_attempt(self) -> bool {
        matches!(self.blame(), Blame::Job | Blame::Undecided)
    }

    /// Whether a child ran.
    #[must_use]
    pub const fn started(self) -> bool {
        !(self.is_final() || matches!(self, Self::InputMissing | Self::SpawnFailed))
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ExitCode(code) => write!(f, "ExitCode({code})"),
            Self::Crashed(signal) => write!(f, "Crashed({signal})"),
            // A kind without a value is called as it is written here.
            plain => write!(f, "{plain:?}"),
        }
    }
}

/// Why a job came back unrun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Return {
    /// The worker, or its node, is draining.
    Drain,
    /// This node can never run it.
    NeverFits,
    /// This node can't run it now: memory.
    NoMemoryNow,
    /// This node can't run it now: other processes hold its devices, or its turn to start has not
    /// come.
    Busy,
    /// Its run is paused.
    Paused,
    /// Its run was cancelled.
    Cancelled,
    /// This node has no runner for it.
    NotHere,
}
