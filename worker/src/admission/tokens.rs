//! The node's limits, shared by all its workers: numbered files in the runtime folder, of which a
//! job holds one by an `flock` for as long as it runs. They are free again when their holder ends,
//! however it does.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

/// What a running job holds of the node's limits.
#[derive(Debug, Default)]
#[must_use]
pub struct Permit {
    /// One of `max_jobs`, unless it is for an endpoint.
    pub job: Option<Token>,
    /// One of `max_concurrent_script_jobs`, for what came from a queue of scripts.
    pub script: Option<Token>,
    /// One of its step's `concurrency`, from its start on, if its step has one.
    pub step: Option<Token>,
}

impl Permit {
    /// This one, with what `more` holds beyond it.
    pub fn with(self, more: Self) -> Self {
        Self {
            job: self.job.or(more.job),
            script: self.script.or(more.script),
            step: self.step.or(more.step),
        }
    }
}

/// The limits of a node.
#[derive(Debug)]
pub struct Limits {
    jobs: Tokens,
    scripts: Tokens,
    steps: HashMap<String, Tokens>,
    folder: PathBuf,
    node: String,
}

impl Limits {
    /// `max_jobs` and `max_scripts` of a node, in the runtime folder.
    ///
    /// # Errors
    /// What the system says when the runtime folder can't be used.
    pub fn open(folder: &Path, node: &str, max_jobs: u32, max_scripts: u32) -> io::Result<Self> {
        Ok(Self {
            jobs: Tokens::open(folder, &format!("{node}.jobs"), max_jobs)?,
            scripts: Tokens::open(folder, &format!("{node}.scripts"), max_scripts)?,
            steps: HashMap::new(),
            folder: folder.to_owned(),
            node: node.to_owned(),
        })
    }

    /// A token for one more job on the node; `None` when its limit is reached.
    pub fn job(&mut self) -> Option<Token> {
        self.jobs.take()
    }

    /// A token for one more script; `None` when its limit is reached.
    pub fn script(&mut self) -> Option<Token> {
        self.scripts.take()
    }

    /// A token for one more script of a step that runs at most `most` at once on the node.
    ///
    /// # Errors
    /// One line for people, when so many run.
    pub fn step(&mut self, step: &str, most: u32) -> Result<Token, String> {
        // What the node runs of all steps together bounds each.
        let most = (most.max(1) as usize).min(self.scripts.places.len().max(1));
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
        let name: String = step.chars().map(plain).collect();
        let tokens = self.steps.entry(step.to_owned()).or_default();
        while tokens.places.len() < most {
            let number = tokens.places.len();
            let place = Place::open(&self.folder, &format!("{}.step-{name}", self.node), number);
            tokens.places.push(place.map_err(|error| {
                format!("concurrency: the tokens of step {step} can't be used: {error}")
            })?);
        }
        // Jobs of one step that name different numbers share the first places.
        let full = || format!("concurrency: step {step} runs {most} at once on this node");
        tokens.take_of(most).ok_or_else(full)
    }
}

#[derive(Debug)]
struct Place {
    file: File,
    /// Whether this worker holds it: a lock does not keep out the process that has it.
    held: AtomicBool,
}

impl Place {
    fn open(folder: &Path, name: &str, number: usize) -> io::Result<Arc<Self>> {
        // Never removed: whoever removed one could not know who holds it.
        let path = folder.join(format!("{name}-{number}.token"));
        let file =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
        Ok(Arc::new(Self { file, held: AtomicBool::new(false) }))
    }
}

/// A number of tokens, whoever holds them.
#[derive(Debug, Default)]
pub struct Tokens {
    places: Vec<Arc<Place>>,
    /// Where the last one was found: its neighbours are likely free too.
    next: usize,
}

impl Tokens {
    /// So many tokens of a name.
    ///
    /// # Errors
    /// What the system says when the folder can't be used.
    pub fn open(folder: &Path, name: &str, count: u32) -> io::Result<Self> {
        let open = |number| Place::open(folder, name, number);
        Ok(Self { places: (0..count as usize).map(open).collect::<io::Result<_>>()?, next: 0 })
    }

    /// One that nobody holds.
    pub fn take(&mut self) -> Option<Token> {
        self.take_of(self.places.len())
    }

    /// One of the first `count` that nobody holds.
    fn take_of(&mut self, count: usize) -> Option<Token> {
        let from = self.next;
        (0..count).map(|step| (from + step) % count).find_map(|at| {
            let token = Token::of(&self.places[at])?;
            self.next = at;
            Some(token)
        })
    }
}

/// One token, held until it is dropped.
#[derive(Debug)]
pub struct Token(Arc<Place>);

impl Token {
    fn of(place: &Arc<Place>) -> Option<Self> {
        if place.held.load(Ordering::Relaxed) {
            return None;
        }
        match flock(&place.file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                place.held.store(true, Ordering::Relaxed);
                Some(Self(Arc::clone(place)))
            }
            Err(Errno::WOULDBLOCK) => None,
            Err(error) => {
                tracing::warn!(%error, "a limit of the node can't be asked");
                None
            }
        }
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        if let Err(error) = flock(&self.0.file, FlockOperation::Unlock) {
            tracing::warn!(%error, "a limit of the node can't be given back before the worker ends");
        }
        self.0.held.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_limit_of_nothing_gives_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Tokens::open(folder.path(), "n.scripts", 0).unwrap().take().is_none());
    }

    #[test]
    fn a_step_runs_so_many_at_once_whichever_worker_asks() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Limits::open(folder.path(), "n", 9, 3).unwrap();
        let (mut one, mut other) = (open(), open());
        let first = one.step("2.5", 2).unwrap();
        let second = other.step("2.5", 2).unwrap();
        for limits in [&mut one, &mut other] {
            let why = limits.step("2.5", 2).unwrap_err();
            assert_eq!(why, "concurrency: step 2.5 runs 2 at once on this node");
        }
        let elsewhere = one.step("3", 1).unwrap();
        // A newer job of the step may say that more run.
        let third = other.step("2.5", 3).unwrap();
        drop(first);
        assert!(other.step("2.5", 1).is_ok(), "the first place is free again");
        drop((second, third, elsewhere));
        // A number beyond what the node runs at all makes no file of its own.
        let all: Vec<Token> = std::iter::from_fn(|| one.step("4", 1_000_000).ok()).collect();
        assert_eq!(all.len(), 3);
    }

    proptest! {
        /// Three workers that take and give back in any order never hold more than there are, and
        /// get one whenever fewer are held.
        #[test]
        fn workers_of_a_node_share_its_tokens(
            count in 1u32..5,
            steps in prop::collection::vec((0usize..3, any::<bool>()), 1..60),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let open = |_| Tokens::open(folder.path(), "n.jobs", count).unwrap();
            let mut workers: Vec<Tokens> = (0..3).map(open).collect();
            let mut held: Vec<Vec<Token>> = vec![Vec::new(), Vec::new(), Vec::new()];
            for (who, gives_back) in steps {
                let all: usize = held.iter().map(Vec::len).sum();
                if gives_back {
                    held[who].pop();
                } else {
                    let token = workers[who].take();
                    prop_assert_eq!(token.is_some(), all < count as usize);
                    held[who].extend(token);
                }
            }
            // A worker that ends gives back all.
            workers.remove(0);
            held.remove(0);
            let left: usize = held.iter().map(Vec::len).sum();
            let rest = std::iter::from_fn(|| workers[0].take()).collect::<Vec<_>>();
            prop_assert_eq!(rest.len() + left, count as usize);
        }
    }
}
