//! Which queue to look at next.
//!
//! A look is one `take` of one queue. A question costs the broker something even when the answer
//! is "nothing there", so a queue that was found empty is not asked again until a bell names it
//! or the memory is wiped (every 10 s): a busy worker asks about once a job. Nothing in here
//! knows time or brokers, so that the rules can be tested as they stand.

use std::ops::Range;

use shared::{
    job::{Arch, Urgency},
    topology,
};

/// Every so many jobs, `low` is looked at first, so that it is never starved.
pub const LOW_EVERY: u64 = 16;

/// One look in flight. Hand it back with [`Looks::found`], [`Looks::empty`] or
/// [`Looks::missing`].
#[derive(Debug)]
#[must_use]
pub struct Look {
    queue: usize,
    /// How often the queue's bell had rung when the look began.
    rings: u64,
    /// The queue's name.
    pub name: String,
    /// The architecture whose queue it is.
    pub arch: Arch,
    /// Whether it is a queue of scripts.
    pub is_script: bool,
}

/// What a queue holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Pieces of seed ranges.
    Piece,
    /// Scripts of an architecture, or those that run anywhere.
    Script(Option<Arch>),
}

#[derive(Debug)]
struct Queue {
    name: String,
    arch: Arch,
    kind: Kind,
    rings: u64,
    known_empty: bool,
    reported_missing: bool,
    in_flight: usize,
    /// How many looks may be in flight: one more after each find, so that an idle worker with
    /// many slots does not ask a quiet queue once for each.
    width: usize,
}

/// The queues of one architecture's slots, in the order they are looked at, and what is known of
/// them.
#[derive(Debug)]
pub struct Looks {
    queues: Vec<Queue>,
    /// The places of the own `low` queues.
    low: Range<usize>,
    /// Jobs found, and looks that may yet find one.
    counted: u64,
}

impl Looks {
    /// For slots of `arch`: of each urgency its own pieces, its own scripts, those of the
    /// architectures that its endpoints are `away`, and the scripts that run anywhere (if it runs
    /// any), then (stealing) the others' pieces.
    #[must_use]
    pub fn new(arch: Arch, scripts: bool, away: &[Arch]) -> Self {
        let away = Arch::ALL.into_iter().filter(|other| *other != arch && away.contains(other));
        let of: Vec<Option<Arch>> =
            [arch].into_iter().chain(away).map(Some).chain([None]).filter(|_| scripts).collect();
        let low_count = 1 + of.len();
        let own = Urgency::ALL.into_iter().flat_map(|urgency| {
            let scripts = of.iter().map(move |&of| {
                (of.unwrap_or(arch), Kind::Script(of), topology::script_queue(of, urgency))
            });
            let pieces = [(arch, Kind::Piece, topology::seed_queue(arch, urgency))];
            pieces.into_iter().chain(scripts)
        });
        let others = Urgency::ALL.into_iter().flat_map(|urgency| {
            let others = Arch::ALL.into_iter().filter(|&other| other != arch);
            others.map(move |other| (other, Kind::Piece, topology::seed_queue(other, urgency)))
        });
        let queues: Vec<Queue> = own
            .chain(others)
            .map(|(arch, kind, name)| Queue {
                kind,
                name,
                arch,
                rings: 0,
                known_empty: false,
                reported_missing: false,
                in_flight: 0,
                width: 1,
            })
            .collect();
        let low = topology::seed_queue(arch, Urgency::Low);
        let low = queues.iter().position(|queue| queue.name == low).unwrap_or_default();
        Self { queues, low: low..low + low_count, counted: 0 }
    }

    /// The next look, if any is worth its cost: the first queue in order that is not known to be
    /// empty. While that one already has as many looks in flight as it may, there is none: a
    /// queue further down must not go before it. Queues are passed over unless `may` says that one
    /// more job of their kind may run.
    pub fn begin(&mut self, mut may: impl FnMut(Kind) -> bool) -> Option<Look> {
        let low_first = self.counted % LOW_EVERY == LOW_EVERY - 1;
        let first = self.low.clone().filter(|_| low_first);
        let index = first.chain(0..self.queues.len()).find(|&i| {
            let queue = &self.queues[i];
            !queue.known_empty && may(queue.kind)
        })?;
        let queue = &mut self.queues[index];
        if queue.in_flight >= queue.width {
            return None;
        }
        queue.in_flight += 1;
        self.counted += 1;
        let (rings, name, arch) = (queue.rings, queue.name.clone(), queue.arch);
        Some(Look { queue: index, rings, name, arch, is_script: queue.kind != Kind::Piece })
    }

    /// The look was never made.
    pub fn give_up(&mut self, look: &Look) {
        self.counted -= 1;
        self.queues[look.queue].in_flight -= 1;
    }

    /// The look found a job.
    pub fn found(&mut self, look: &Look) {
        let queue = &mut self.queues[look.queue];
        queue.in_flight -= 1;
        queue.width += 1;
        queue.reported_missing = false;
    }

    /// The look found nothing. If a bell rang while it was under way, that proves nothing.
    pub fn empty(&mut self, look: &Look) {
        self.counted -= 1;
        let queue = &mut self.queues[look.queue];
        queue.in_flight -= 1;
        queue.width = 1;
        queue.known_empty = queue.rings == look.rings;
    }

    /// There is no such queue, or it can't be looked at: treated as empty. Returns whether this
    /// is news.
    pub fn missing(&mut self, look: &Look) -> bool {
        self.empty(look);
        let queue = &mut self.queues[look.queue];
        !std::mem::replace(&mut queue.reported_missing, true)
    }

    /// A bell rang for these queues. Returns whether any is ours.
    pub fn ring<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) -> bool {
        let mut ours = false;
        for name in names {
            for queue in self.queues.iter_mut().filter(|queue| queue.name == name) {
                queue.rings += 1;
                queue.known_empty = false;
                ours = true;
            }
        }
        ours
    }

    /// Forgets which queues were empty: bells may be lost.
    pub fn forget(&mut self) {
        for queue in &mut self.queues {
            queue.known_empty = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, VecDeque};

    use proptest::prelude::*;

    use super::*;

    /// A broker's queues, as numbers of waiting jobs by name.
    type Waiting = BTreeMap<String, u64>;

    fn answer(looks: &mut Looks, look: &Look, waiting: &mut Waiting) -> bool {
        let count = waiting.entry(look.name.clone()).or_default();
        if *count == 0 {
            looks.empty(look);
            return false;
        }
        *count -= 1;
        looks.found(look);
        true
    }

    fn filled(pairs: &[(&str, u64)]) -> Waiting {
        pairs.iter().map(|&(name, count)| (name.to_owned(), count)).collect()
    }

    #[test]
    fn looks_at_high_then_normal_then_low_then_elsewhere() {
        let mut looks = Looks::new(Arch::Cpu, true, &[]);
        let names: Vec<String> = std::iter::from_fn(|| {
            let look = looks.begin(|_| true)?;
            looks.empty(&look);
            Some(look.name)
        })
        .collect();
        let expected = [
            "jobs.seed.cpu.high",
            "jobs.script.cpu.high",
            "jobs.script.any.high",
            "jobs.seed.cpu",
            "jobs.script.cpu",
            "jobs.script.any",
            "jobs.seed.cpu.low",
            "jobs.script.cpu.low",
            "jobs.script.any.low",
            "jobs.seed.cuda.high",
            "jobs.seed.rocm.high",
            "jobs.seed.cuda",
            "jobs.seed.rocm",
            "jobs.seed.cuda.low",
            "jobs.seed.rocm.low",
        ];
        assert_eq!(names, expected);
        assert!(looks.begin(|_| true).is_none(), "an idle worker asks nothing more");
        let mut pieces = Looks::new(Arch::Cpu, false, &[]);
        let asked = std::iter::from_fn(|| {
            let look = pieces.begin(|_| true)?;
            pieces.empty(&look);
            Some(look.name)
        });
        let none_of_scripts = expected.into_iter().filter(|name| !name.contains("script"));
        assert!(asked.eq(none_of_scripts), "a worker that runs no scripts looks for none");
        looks.forget();
        assert_eq!(looks.begin(|_| true).map(|look| look.name).as_deref(), Some(expected[0]));
    }

    #[test]
    fn endpoints_of_another_architecture_have_their_queues_looked_at() {
        let mut looks = Looks::new(Arch::Cpu, true, &[Arch::Cuda, Arch::Cpu]);
        let away = |kind| matches!(kind, Kind::Script(None | Some(Arch::Cuda)));
        let names: Vec<String> = std::iter::from_fn(|| {
            let look = looks.begin(away)?;
            looks.empty(&look);
            Some(look.name)
        })
        .collect();
        let each =
            |urgency| [format!("jobs.script.cuda{urgency}"), format!("jobs.script.any{urgency}")];
        assert_eq!(names, [each(".high"), each(""), each(".low")].concat());
        assert!(looks.begin(|_| true).is_some(), "those of others are not known to be empty");
        assert_eq!(looks.low.len(), 4);
    }

    #[test]
    fn a_bell_during_a_look_is_not_lost() {
        let mut looks = Looks::new(Arch::Cpu, true, &[]);
        let high = looks.begin(|_| true).unwrap();
        looks.empty(&high);
        for _ in 0..2 {
            let scripts = looks.begin(|_| true).unwrap();
            looks.empty(&scripts);
        }
        let normal = looks.begin(|_| true).unwrap();
        // The broker has answered "empty"; then a job comes and rings; then we read the answer.
        assert!(looks.ring(["jobs.seed.cpu"]));
        looks.empty(&normal);
        assert_eq!(looks.begin(|_| true).map(|look| look.name).as_deref(), Some("jobs.seed.cpu"));
        assert!(looks.ring(["jobs.script.any"]));
        assert!(!looks.ring(["jobs.script.cuda"]), "not one of ours");
    }

    #[test]
    fn a_busy_worker_asks_once_a_job() {
        let mut looks = Looks::new(Arch::Cpu, true, &[]);
        let mut waiting = filled(&[("jobs.seed.cpu", 1000)]);
        let mut asked = 0;
        for _ in 0..1000 {
            // One slot frees: look until a job is found.
            loop {
                let look = looks.begin(|_| true).unwrap();
                asked += 1;
                if answer(&mut looks, &look, &mut waiting) {
                    break;
                }
            }
        }
        assert!(asked <= 1006, "{asked} questions for 1000 jobs");
    }

    #[test]
    fn low_is_looked_at_first_every_16th_time() {
        let mut looks = Looks::new(Arch::Cpu, true, &[]);
        let mut waiting = filled(&[("jobs.seed.cpu", 1000), ("jobs.seed.cpu.low", 1000)]);
        let mut low = 0;
        let mut found = 0;
        while found < 160 {
            let look = looks.begin(|_| true).unwrap();
            let is_low = look.name.ends_with("low");
            if answer(&mut looks, &look, &mut waiting) {
                found += 1;
                low += u64::from(is_low);
            }
        }
        assert_eq!(low, 10);
    }

    #[test]
    fn many_free_slots_do_not_ask_a_quiet_queue_many_times() {
        let mut looks = Looks::new(Arch::Cpu, true, &[]);
        let first = looks.begin(|_| true).unwrap();
        assert!(looks.begin(|_| true).is_none(), "its answer may spare the second question");
        looks.found(&first);
        let pair = [looks.begin(|_| true).unwrap(), looks.begin(|_| true).unwrap()];
        assert!(looks.begin(|_| true).is_none());
        for look in &pair {
            looks.found(look);
        }
        assert_eq!(std::iter::from_fn(|| looks.begin(|_| true)).count(), 4);
    }

    #[test]
    fn queues_of_scripts_wait_for_a_script_to_end() {
        let mut looks = Looks::new(Arch::Cpu, true, &[]);
        let high = looks.begin(|kind| kind == Kind::Piece).unwrap();
        looks.empty(&high);
        let seed = looks.begin(|kind| kind == Kind::Piece).unwrap();
        assert_eq!((seed.name.as_str(), seed.is_script), ("jobs.seed.cpu", false));
        // It was not made, and leaves no trace.
        looks.give_up(&seed);
        let again = looks.begin(|kind| kind == Kind::Piece).unwrap();
        assert_eq!(again.name, seed.name);
        let script = looks.begin(|_| true).unwrap();
        assert_eq!((script.name.as_str(), script.is_script), ("jobs.script.cpu.high", true));
        assert!(looks.begin(|_| true).is_none(), "its answer may spare the second question");
        looks.empty(&again);
        assert!(!looks.begin(|kind| kind == Kind::Piece).unwrap().is_script);
    }

    #[test]
    fn a_missing_queue_is_news_once() {
        let mut looks = Looks::new(Arch::Cpu, true, &[]);
        let look = looks.begin(|_| true).unwrap();
        assert!(looks.missing(&look));
        looks.forget();
        let look = looks.begin(|_| true).unwrap();
        assert!(!looks.missing(&look));
        looks.forget();
        let look = looks.begin(|_| true).unwrap();
        looks.found(&look);
        looks.forget();
        let look = looks.begin(|_| true).unwrap();
        assert!(looks.missing(&look), "it was there, and is gone again");
    }

    #[derive(Debug, Clone)]
    enum Step {
        Publish(usize),
        Begin,
        /// The broker answers the oldest unanswered look.
        Serve,
        /// The worker reads the oldest answer.
        Read,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0usize..15).prop_map(Step::Publish),
            Just(Step::Begin),
            Just(Step::Serve),
            Just(Step::Read),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        /// Whatever the order of publications, bells, answers and reading them: a worker that
        /// has nothing more to ask has left no job waiting.
        #[test]
        fn no_job_that_rang_is_left_waiting(steps in steps()) {
            let mut looks = Looks::new(Arch::Cpu, true, &[]);
            let names: Vec<String> = looks.queues.iter().map(|queue| queue.name.clone()).collect();
            let mut waiting = Waiting::new();
            let mut asked: VecDeque<Look> = VecDeque::new();
            let mut answered: VecDeque<(Look, bool)> = VecDeque::new();
            let serve = |asked: &mut VecDeque<Look>, answered: &mut VecDeque<(Look, bool)>, waiting: &mut Waiting| {
                if let Some(look) = asked.pop_front() {
                    let count = waiting.entry(look.name.clone()).or_default();
                    let found = *count > 0;
                    *count -= u64::from(found);
                    answered.push_back((look, found));
                }
            };
            let read = |looks: &mut Looks, answered: &mut VecDeque<(Look, bool)>| {
                if let Some((look, found)) = answered.pop_front() {
                    if found { looks.found(&look) } else { looks.empty(&look) }
                }
            };
            for step in steps {
                match step {
                    Step::Publish(queue) => {
                        *waiting.entry(names[queue].clone()).or_default() += 1;
                        looks.ring([names[queue].as_str()]);
                    }
                    Step::Begin => asked.extend(looks.begin(|_| true)),
                    Step::Serve => serve(&mut asked, &mut answered, &mut waiting),
                    Step::Read => read(&mut looks, &mut answered),
                }
            }
            // Slots without end: go on until nothing is asked any more.
            loop {
                asked.extend(looks.begin(|_| true));
                if asked.is_empty() && answered.is_empty() {
                    break;
                }
                serve(&mut asked, &mut answered, &mut waiting);
                read(&mut looks, &mut answered);
            }
            prop_assert!(waiting.values().all(|&count| count == 0), "{waiting:?}");
        }
    }
}
