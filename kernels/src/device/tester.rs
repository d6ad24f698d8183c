//! A device as a tester: blocks become launches, what it lists is counted again exactly.

use std::env;

use shared::{
    job::Engine,
    sieve::Sieve,
    witness::{NearMisses, Witness},
};

use super::{
    driver::{Driver, Fault, Launch, Loaded, Report},
    plan::{Form, Plan},
    source::{FOUND_LENGTH, QUEUE_LENGTH},
    witness::Opinion,
};
use crate::{
    engine::{Found, Tally, entropy},
    reference,
    runner::Tester,
    sequence::Sequence,
};

/// Environment variable that makes a device compute wrongly, for tests: `tables`.
const ENV_FAULT: &str = "RIGQUEUE_DEVICE_FAULT";
/// The most seeds of one launch: places in it are 32-bit numbers.
const MAX_LAUNCH: f64 = (1_u64 << 31) as f64;
/// Operations that no device takes long for.
const SMALL: f64 = 64e6;

/// A device with one sieve on it.
pub struct Device {
    name: String,
    loaded: Box<dyn Loaded>,
    sieve: Sieve,
    witness: Witness,
    opinion: Opinion,
    first_block: u64,
    /// The most seeds of one launch: those that pass the first stage must fit its queue.
    most: u64,
}

impl Device {
    /// Puts a plan of this sieve on a device.
    ///
    /// # Errors
    /// [`Fault`] when the program can't be compiled, or the device fails.
    pub fn new(
        driver: &mut dyn Driver,
        plan: &Plan,
        sieve: &Sieve,
        witness: Witness,
    ) -> Result<Self, Fault> {
        let mut loaded = driver.load(plan)?;
        if env::var(ENV_FAULT).is_ok_and(|fault| fault == "tables") {
            loaded.overwrite_tables(&wrong_tables(plan, sieve, witness))?;
        }
        let most = QUEUE_LENGTH as f64 / 2.0 / plan.passing().max(1e-9);
        Ok(Self {
            name: driver.describe(),
            loaded,
            opinion: Opinion::new(sieve, witness, plan.near(), entropy()),
            sieve: sieve.clone(),
            witness,
            first_block: (SMALL / plan.work()).clamp(1024.0, 1_048_576.0) as u64,
            most: most.clamp(1024.0, MAX_LAUNCH) as u64,
        })
    }

    /// Tests what fits a launch. `None` when more passed the first stage, or survived, than there
    /// is room for.
    fn launch(&mut self, seeds: &Sequence<'_>) -> Result<Option<Tally>, Fault> {
        let count = u32::try_from(seeds.len()).unwrap_or(u32::MAX);
        let probe = self.opinion.choose(count);
        let launch = match *seeds {
            Sequence::Range(span) => Launch { first: span.first(), count, list: &[], probe },
            Sequence::List(list) => Launch { first: 0, count, list, probe },
        };
        let report = self.loaded.launch(launch)?;
        if report.queued as usize > QUEUE_LENGTH || report.found as usize > FOUND_LENGTH {
            return if count > 1 {
                Ok(None)
            } else {
                Err(self.nonsense("two results of one seed"))
            };
        }
        let found = self.recount(seeds, &report)?;
        let misses = |at: usize| {
            let rows = report.sums.chunks_exact(4);
            rows.fold(NearMisses::default(), |mut all, row| {
                all.merge(NearMisses { count: row[at], sum: row[at + 1] });
                all
            })
        };
        self.opinion.note(seeds, probe, misses(2), &found);
        Ok(Some(Tally { found, near_misses: misses(0), planted: None }))
    }

    /// What the device listed, by the definition of a sieve.
    fn recount(&self, seeds: &Sequence<'_>, report: &Report) -> Result<Vec<Found>, Fault> {
        let mut places = report.places.clone();
        places.sort_unstable();
        let mut found = Vec::with_capacity(places.len());
        for place in places {
            let index = u64::from(place);
            if u128::from(index) >= seeds.len() {
                return Err(self.nonsense("a place outside of what it was given"));
            }
            let seed = seeds.get(index);
            let Some(survivor) = reference::test(&self.sieve, self.witness, seed).survivor else {
                return Err(self.nonsense(&format!("the seed {seed}, which does not survive")));
            };
            found.push(Found { index, survivor });
        }
        Ok(found)
    }

    fn nonsense(&self, what: &str) -> Fault {
        Fault::witness(format!("the device '{}' reports {what}", self.name))
    }
}

/// The tables as a card would have them that lost a data line: a bit of every draw is wrong.
fn wrong_tables(plan: &Plan, sieve: &Sieve, witness: Witness) -> Vec<u32> {
    let mut wrong = sieve.clone();
    for draw in &mut wrong.draws {
        *draw ^= 1;
    }
    let form = if plan.is_straight() { Form::Shortest } else { Form::Table };
    Plan::new(&wrong, witness, plan.is_listed(), form)
        .map_or_else(|_| plan.tables().to_vec(), |wrong| wrong.tables().to_vec())
}

impl Tester for Device {
    fn engine(&self) -> Engine {
        Engine::Scan
    }

    fn first_block(&self) -> u64 {
        self.first_block
    }

    fn test(&mut self, block: &Sequence<'_>, room: usize) -> Result<Tally, Fault> {
        let mut whole = Tally::default();
        let mut tested = 0;
        let mut most = self.most;
        let mut rest = Some(*block);
        while let Some(seeds) = rest.filter(|_| whole.found.len() <= room) {
            let (head, after) = seeds.split_at(most);
            match self.launch(&head)? {
                Some(mut tally) => {
                    for found in &mut tally.found {
                        found.index += tested;
                    }
                    whole.found.append(&mut tally.found);
                    whole.near_misses.merge(tally.near_misses);
                    tested += head.len() as u64;
                    rest = after;
                }
                None => most = (head.len() as u64).div_ceil(4),
            }
        }
        Ok(whole)
    }

    fn conclude(&mut self) -> Result<(), Fault> {
        self.opinion.ask(&self.name)
    }
}
