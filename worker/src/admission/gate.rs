//! The gate: whether a job fits the host's memory now, not now, or never.

use std::time::{Duration, Instant};

use shared::{
    job::{Arch, Job},
    messages::MemoryState,
};

use super::{Crowd, Kind, Learned, Memory, MemorySource, Origin, Want};

/// For so long a reading stands: a thousand jobs a second must not read `/proc` a thousand times.
const FRESH: Duration = Duration::from_millis(250);
/// A job that was just started uses what it wants only after a while. So long it counts as using
/// none of it yet, a little less with every moment, since `MemAvailable` shows the rest.
const UNSEEN: Duration = Duration::from_secs(30);

/// What the node allows its jobs.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Where memory is read.
    pub source: MemorySource,
    /// What jobs must leave free, in bytes. On a host with less than twice that: half of all.
    pub reserve: u64,
    /// How long a job that fits, but not now, is kept.
    pub wait: Duration,
}

/// Whether a job may start. The words are for the log, the heartbeat and the outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Now.
    Fits,
    /// Later, perhaps.
    NotNow(String),
    /// Not on this node.
    Never(String),
}

/// A job that was started and has not ended.
#[derive(Debug)]
struct Started {
    number: u64,
    kind: Kind,
    want: u64,
    at: Instant,
}

/// Decides which jobs may start, by memory.
#[derive(Debug)]
pub struct Gate {
    rules: Rules,
    arch: Arch,
    seen: Option<(Instant, Option<Memory>)>,
    learned: Learned,
    crowd: Crowd,
    started: Vec<Started>,
}

impl Gate {
    /// For that many slots of an architecture.
    #[must_use]
    pub fn new(rules: Rules, arch: Arch, slots: usize) -> Self {
        let (learned, crowd) = (Learned::default(), Crowd::new(slots));
        Self { rules, arch, seen: None, learned, crowd, started: Vec::new() }
    }

    /// How long a job that fits, but not now, is kept.
    #[must_use]
    pub const fn wait(&self) -> Duration {
        self.rules.wait
    }

    /// How many jobs may run side by side for now.
    #[must_use]
    pub fn allowed(&self) -> usize {
        self.crowd.allowed()
    }

    /// The host's memory, read anew when the last reading is too old. Where it can't be read, jobs
    /// are admitted without it, which is said once.
    fn memory(&mut self, now: Instant) -> Option<Memory> {
        if let Some((at, memory)) = self.seen
            && now.saturating_duration_since(at) < FRESH
        {
            return memory;
        }
        let memory = match self.rules.source.read() {
            Ok(memory) => Some(memory),
            Err(error) => {
                if !matches!(self.seen, Some((_, None))) {
                    tracing::warn!(%error, "memory can't be read; jobs are admitted without it");
                }
                None
            }
        };
        self.seen = Some((now, memory));
        memory
    }

    /// Whether a job may start now.
    pub fn ask(&mut self, job: &Job, now: Instant) -> Answer {
        let Some(memory) = self.memory(now) else { return Answer::Fits };
        if self.crowd.is_lowered() && self.started.len() >= self.allowed() {
            let free = gib(memory.available);
            let allowed = self.allowed();
            return Answer::NotNow(format!(
                "memory: {free} GiB free, under pressure; {allowed} jobs at a time until it is over"
            ));
        }
        let want = self.learned.want(job, self.arch);
        let room = Room {
            memory,
            reserve: self.rules.reserve.min(memory.total / 2),
            promised: self.started.iter().map(|started| started.want).sum(),
            unseen: self.started.iter().map(|started| unseen(started, now)).sum(),
            alone: self.started.is_empty(),
        };
        let advised = want.origin == Origin::Declared || matches!(Kind::of(job), Kind::Script(_));
        room.judge(want, advised)
    }

    /// A job has started.
    pub fn begin(&mut self, number: u64, job: &Job, now: Instant) {
        let want = self.learned.want(job, self.arch).bytes;
        self.started.push(Started { number, kind: Kind::of(job), want, at: now });
    }

    /// A job has ended. `peak`: the most that its processes used, in bytes, where it was measured.
    pub fn end(&mut self, number: u64, peak: Option<u64>) {
        let Some(at) = self.started.iter().position(|started| started.number == number) else {
            return;
        };
        let ended = self.started.swap_remove(at);
        if let Some(peak) = peak {
            self.learned.learn(ended.kind, peak);
        }
    }

    /// Looks after the pressure while anything runs, and until all may run again. Returns what is
    /// worth a line in the log.
    pub fn tend(&mut self, now: Instant) -> Option<String> {
        if self.started.is_empty() && !self.crowd.is_lowered() {
            return None;
        }
        let memory = self.memory(now)?;
        let reserve = self.rules.reserve.min(memory.total / 2);
        let allowed = self.crowd.hear(&memory, reserve, self.started.len(), now)?;
        let free = gib(memory.available);
        let share = memory.pressure.unwrap_or(0.0);
        Some(format!(
            "memory: {free} GiB free, {share:.1} % of the time waited for; {allowed} jobs at a time"
        ))
    }

    /// What others should know of the memory; `None` where it can't be read.
    pub fn state(&mut self, now: Instant) -> Option<MemoryState> {
        let memory = self.memory(now)?;
        Some(MemoryState {
            total_bytes: memory.total,
            available_bytes: memory.available,
            pressure: memory.pressure,
            jobs_allowed: u32::try_from(self.allowed()).unwrap_or(u32::MAX),
        })
    }
}

/// What a started job will use and `MemAvailable` does not show yet.
fn unseen(started: &Started, now: Instant) -> u64 {
    let age = now.saturating_duration_since(started.at).as_millis();
    let left = UNSEEN.as_millis().saturating_sub(age);
    let part = u128::from(started.want) * left / UNSEEN.as_millis();
    u64::try_from(part).unwrap_or(u64::MAX)
}

/// What there is for one more job, in bytes.
#[derive(Debug, Clone, Copy)]
struct Room {
    memory: Memory,
    /// What must stay free.
    reserve: u64,
    /// What the running jobs want together.
    promised: u64,
    /// What of it is not in use yet.
    unseen: u64,
    /// Whether no job of this worker runs.
    alone: bool,
}

impl Room {
    fn judge(self, want: Want, advised: bool) -> Answer {
        let bytes = want.bytes;
        let most = self.memory.total.saturating_sub(self.reserve);
        let free = self.memory.available.saturating_sub(self.unseen);
        let declared = want.origin == Origin::Declared;
        let advice = if advised { "; lower sample_size rather than GPU count" } else { "" };
        let (wants, reserve) = (gib(bytes), gib(self.reserve));
        if declared && bytes > most {
            let (total, most) = (gib(self.memory.total), gib(most));
            return Answer::Never(format!(
                "memory: {most} GiB of {total} are for jobs, job wants {wants}{advice}"
            ));
        }
        // What nobody declared is an estimate: it does not keep a job from an idle node for ever.
        if self.alone && !declared && free >= bytes.min(self.memory.total / 4) {
            return Answer::Fits;
        }
        if free.saturating_sub(self.reserve) < bytes {
            let free = gib(free);
            return Answer::NotNow(format!(
                "memory: {free} GiB free, of which {reserve} stay so, job wants {wants}{advice}"
            ));
        }
        if !self.alone && self.promised.saturating_add(bytes) > most {
            let (promised, most) = (gib(self.promised), gib(most));
            return Answer::NotNow(format!(
                "memory: {promised} GiB of {most} promised to running jobs, job wants {wants}{advice}"
            ));
        }
        Answer::Fits
    }
}

/// Bytes in GiB, for people.
fn gib(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let gib = bytes as f64 / f64::from(1 << 30);
    // Of very little it should not be said that it is nothing.
    if gib < 0.095 { format!("{gib:.2}") } else { format!("{gib:.1}") }
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;

    use super::*;
    use crate::health::known_job;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    /// A job that declares so much memory.
    pub(in crate::admission) fn job(memory_mb: u64) -> Job {
        Job { memory_mb, ..known_job(Arch::Cpu) }
    }

    /// A host of made files.
    struct Host(tempfile::TempDir);

    impl Host {
        fn new(total_mib: u64, available_mib: u64) -> Self {
            let host = Self(tempfile::tempdir().unwrap());
            fs::create_dir(host.0.path().join("proc")).unwrap();
            host.set(total_mib, available_mib);
            host
        }

        fn set(&self, total_mib: u64, available_mib: u64) {
            let (total, available) = (total_mib * 1024, available_mib * 1024);
            let text = format!("MemTotal: {total} kB\nMemAvailable: {available} kB\n");
            fs::write(self.0.path().join("proc/meminfo"), text).unwrap();
        }

        fn gate(&self, slots: usize) -> Gate {
            let rules = Rules {
                source: MemorySource::below(self.0.path()),
                reserve: 1024 * MIB,
                wait: Duration::from_secs(600),
            };
            Gate::new(rules, Arch::Cpu, slots)
        }
    }

    #[test]
    fn a_job_fits_or_waits_or_never_fits_with_the_figures_that_say_so() {
        let host = Host::new(8192, 3277);
        let mut gate = host.gate(4);
        let start = Instant::now();
        assert_eq!(gate.ask(&job(2048), start), Answer::Fits);
        assert_eq!(
            gate.ask(&job(2560), start),
            Answer::NotNow(
                "memory: 3.2 GiB free, of which 1.0 stay so, job wants 2.5; \
                 lower sample_size rather than GPU count"
                    .to_owned()
            )
        );
        assert_eq!(
            gate.ask(&job(7680), start),
            Answer::Never(
                "memory: 7.0 GiB of 8.0 are for jobs, job wants 7.5; \
                 lower sample_size rather than GPU count"
                    .to_owned()
            )
        );
        // Started and not yet seen in MemAvailable, it leaves no room for its like.
        gate.begin(1, &job(2048), start);
        assert!(matches!(gate.ask(&job(2048), start), Answer::NotNow(_)));
        // Its memory is in MemAvailable by now, and more has come free.
        let later = start + UNSEEN;
        host.set(8192, 4096);
        assert_eq!(gate.ask(&job(2048), later), Answer::Fits);
        // There is room now, but the running jobs were promised it.
        gate.begin(2, &job(4096), later);
        host.set(8192, 8000);
        let latest = later + UNSEEN;
        assert_eq!(
            gate.ask(&job(2048), latest),
            Answer::NotNow(
                "memory: 6.0 GiB of 7.0 promised to running jobs, job wants 2.0; \
                 lower sample_size rather than GPU count"
                    .to_owned()
            )
        );
        gate.end(1, None);
        assert_eq!(gate.ask(&job(2048), latest), Answer::Fits);
    }

    #[test]
    fn an_estimate_does_not_keep_an_idle_node_idle() {
        let host = Host::new(8192, 7000);
        let mut gate = host.gate(4);
        let start = Instant::now();
        let plain = job(0);
        gate.begin(1, &plain, start);
        gate.end(1, Some(20_000 * MIB));
        assert_eq!(gate.ask(&plain, start), Answer::Fits, "nothing else runs");
        gate.begin(2, &job(1), start);
        assert!(matches!(gate.ask(&plain, start), Answer::NotNow(_)));
        gate.end(2, None);
        host.set(8192, 1000);
        assert!(matches!(gate.ask(&plain, start + FRESH), Answer::NotNow(_)), "not with so little");
    }

    #[test]
    fn memory_is_read_four_times_a_second_at_most() {
        let host = Host::new(8192, 7000);
        let mut gate = host.gate(4);
        let start = Instant::now();
        assert_eq!(gate.ask(&job(2048), start), Answer::Fits);
        host.set(8192, 100);
        let almost = start + FRESH.saturating_sub(Duration::from_millis(1));
        assert_eq!(gate.ask(&job(2048), almost), Answer::Fits);
        assert!(matches!(gate.ask(&job(2048), start + FRESH), Answer::NotNow(_)));
    }

    #[test]
    fn a_host_that_tells_nothing_admits_everything() {
        let host = Host::new(8192, 7000);
        fs::remove_file(host.0.path().join("proc/meminfo")).unwrap();
        let mut gate = host.gate(4);
        assert_eq!(gate.ask(&job(1 << 30), Instant::now()), Answer::Fits);
        assert_eq!(gate.tend(Instant::now()), None);
    }

    #[test]
    fn under_pressure_fewer_run_but_one_does() {
        let host = Host::new(8192, 7000);
        let mut gate = host.gate(4);
        let start = Instant::now();
        for number in 0..4 {
            assert_eq!(gate.ask(&job(0), start), Answer::Fits);
            gate.begin(number, &job(0), start);
        }
        assert_eq!(gate.tend(start), None);
        host.set(8192, 900);
        let said = gate.tend(start + Duration::from_secs(1)).unwrap();
        assert!(said.contains("0.9 GiB free") && said.ends_with("2 jobs at a time"), "{said}");
        host.set(8192, 7000);
        let later = start + Duration::from_secs(2);
        assert!(
            matches!(gate.ask(&job(0), later), Answer::NotNow(why) if why.contains("pressure"))
        );
        for number in 0..3 {
            gate.end(number, None);
        }
        assert_eq!(gate.ask(&job(0), later), Answer::Fits);
    }

    proptest! {
        /// What a job is admitted to was there: whatever the figures, with what was promised and
        /// is not in use yet, the reserve is left, unless an estimate was all that stood against
        /// an idle node. More memory never refuses what less admits.
        #[test]
        fn nothing_is_promised_twice(
            total in 0u64..64, available in 0u64..64, reserve in 0u64..8, promised in 0u64..64,
            unseen in 0u64..64, bytes in 0u64..64, alone: bool, declared: bool,
        ) {
            let available = available.min(total);
            let memory = |available| Memory { total, available, pressure: None };
            let origin = if declared { Origin::Declared } else { Origin::Assumed };
            let room = Room { memory: memory(available), reserve, promised, unseen, alone };
            let want = Want { bytes, origin };
            match room.judge(want, false) {
                Answer::Fits => {
                    prop_assert!(
                        available >= unseen + reserve + bytes || (alone && !declared) || bytes == 0
                    );
                    prop_assert!(alone || promised + bytes + reserve <= total || bytes == 0);
                    let richer = Room { memory: memory(total), ..room };
                    prop_assert_eq!(richer.judge(want, false), Answer::Fits);
                }
                // It fits once all others have ended and their memory is back.
                Answer::NotNow(_) => {
                    let idle = Room {
                        memory: memory(total), promised: 0, unseen: 0, alone: true, ..room
                    };
                    prop_assert_eq!(idle.judge(want, false), Answer::Fits);
                }
                Answer::Never(_) => prop_assert!(declared && bytes + reserve > total),
            }
        }
    }
}
