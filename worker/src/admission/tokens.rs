//! The node's limits, shared by all its workers: numbered files in the runtime folder, of which a
//! job holds one by an `flock` for as long as it runs. They are free again when their holder ends,
//! however it does.

use std::{
    fs::{File, OpenOptions},
    io,
    path::Path,
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
#[derive(Debug)]
#[must_use]
pub struct Permit {
    /// One of `max_jobs`.
    pub job: Token,
    /// One of `max_concurrent_script_jobs`, for what came from a queue of scripts.
    pub script: Option<Token>,
}

/// Both limits of a node.
#[derive(Debug)]
pub struct Limits {
    jobs: Tokens,
    scripts: Tokens,
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
}

#[derive(Debug)]
struct Place {
    file: File,
    /// Whether this worker holds it: a lock does not keep out the process that has it.
    held: AtomicBool,
}

/// A number of tokens, whoever holds them.
#[derive(Debug)]
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
        let open = |number| {
            // Never removed: whoever removed one could not know who holds it.
            let path = folder.join(format!("{name}-{number}.token"));
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .open(path)?;
            Ok(Arc::new(Place { file, held: AtomicBool::new(false) }))
        };
        Ok(Self { places: (0..count).map(open).collect::<io::Result<_>>()?, next: 0 })
    }

    /// One that nobody holds.
    pub fn take(&mut self) -> Option<Token> {
        let count = self.places.len();
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
