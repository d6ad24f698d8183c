//! The standard plans: the questions that engines are measured with (`worker bench`,
//! `make bench`, SIEVES.md sections 3.2 and 4), stated once so that figures can be compared.

use crate::{
    families::Family,
    job::Engine,
    sieve::{Direction, Mode, Sieve, Skips},
    spans::Span,
    witness::{Witness, splitmix64},
};

/// The seeds that a witness is chosen for: a piece of half a minute of a fast device.
const PIECE: f64 = 4e8;
/// How many near misses a piece should expect, as the producer's planner has it.
const NEAR_MISSES: f64 = 1000.0;
/// What draws are reduced by.
const MODULUS: u32 = 1000;

/// A standard plan. Skips begin at 0, the modulus is 1000, the direction forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Its name, unique: a letter, and the threshold where the letter has several.
    pub name: &'static str,
    /// How many draws the window has.
    pub window: u32,
    /// How many outputs are passed over first.
    pub advance: u32,
    /// The largest skip, included.
    pub last_skip: u32,
    /// How many draws must match.
    pub need: u32,
    /// The one family it is for; `None` for all.
    pub only: Option<Family>,
    /// The engine it measures.
    pub engine: Engine,
}

const fn scan(name: &'static str, window: u32, last_skip: u32, need: u32) -> Plan {
    Plan { name, window, advance: 0, last_skip, need, only: None, engine: Engine::Scan }
}

impl Plan {
    /// Every standard plan, the one that stands for a family's speed first.
    pub const ALL: [Self; 7] = [
        scan("A.25", 30, 20, 8),
        scan("A.5", 30, 20, 15),
        scan("A1", 30, 20, 30),
        Self { advance: 43, ..scan("B", 8, 16, 2) },
        Self { only: Some(Family::Lcg32), ..scan("C", 512, 20, 6) },
        Self { only: Some(Family::Mt19937), ..scan("D", 3, 0, 3) },
        Self { only: Some(Family::JavaLcg), engine: Engine::Structural, ..scan("E", 30, 20, 8) },
    ];

    /// The plan of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|plan| plan.name == name)
    }

    /// Its letter.
    #[must_use]
    pub fn letter(&self) -> &'static str {
        &self.name[..1]
    }

    /// Whether it is a question for a family.
    #[must_use]
    pub fn suits(&self, family: Family) -> bool {
        self.only.is_none_or(|only| only == family)
    }

    /// The question, with draws that are as good as random and always the same.
    #[must_use]
    pub fn sieve(&self, family: Family) -> Sieve {
        let draw = |number: u32| {
            #[expect(clippy::cast_possible_truncation, reason = "below the modulus")]
            let draw = (splitmix64(u64::from(number)) % u64::from(MODULUS)) as u32;
            draw
        };
        Sieve {
            family,
            direction: Direction::Forward,
            mode: Mode::Fixed,
            modulus: MODULUS,
            draws: (0..self.window).map(draw).collect(),
            advance: self.advance,
            skips: Skips { lo: 0, hi: self.last_skip },
            need: self.need,
            reverse_need: self.need,
        }
    }

    /// What it asks about: every seed of a family.
    ///
    /// # Panics
    /// Never: every family has seeds.
    #[must_use]
    pub fn seeds(family: Family) -> Span {
        Span::half_open(0, family.seed_end()).expect("every family has seeds")
    }

    /// How many seeds survive by chance, of one seed; rather too many than too few.
    #[must_use]
    pub fn survivors_a_seed(&self) -> f64 {
        self.hits(Witness::new(self.window, self.need, self.need))
    }

    /// The witness with the largest n that expects 1,000 near misses in a piece.
    #[must_use]
    pub fn witness(&self) -> Witness {
        let witness = |least| Witness::new(self.window, self.need, least);
        let common = |witness: &Witness| PIECE * self.hits(*witness) >= NEAR_MISSES;
        let most = (1..=self.need).map(witness).take_while(common).last();
        most.unwrap_or_else(|| witness(1))
    }

    /// How many tests a seed takes at least in an engine that goes seed by seed: under each skip
    /// the first k - need + 1 draws, after which it is hopeless if none matched.
    #[must_use]
    pub fn tests_a_seed(&self) -> u64 {
        u64::from(self.last_skip + 1) * u64::from(self.window - self.need + 1)
    }

    /// The chance that some skip of a random seed has `least` matches among the `first` draws, by
    /// the union of all ways to have them.
    fn hits(&self, Witness { first, least }: Witness) -> f64 {
        let ways = |hit: u32| f64::from(first - hit) / f64::from(hit + 1) / f64::from(MODULUS);
        f64::from(self.last_skip + 1) * (0..least).map(ways).product::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plan_is_a_valid_question() {
        for plan in Plan::ALL {
            for &family in Family::ALL.iter().filter(|&&family| plan.suits(family)) {
                let sieve = plan.sieve(family);
                sieve.validate().unwrap();
                sieve.validate_witness(plan.witness()).unwrap();
                assert_eq!(Plan::seeds(family).len(), family.seed_end());
            }
            assert_eq!(Plan::named(plan.name), Some(plan));
        }
        let names: Vec<_> = Plan::ALL.iter().map(Plan::letter).collect();
        assert_eq!(names, ["A", "A", "A", "B", "C", "D", "E"]);
    }

    /// SIEVES.md section 7: 2.8e-5 a skip at k = 8 and .25, 1.6e-5 at k = 512 and .01; section
    /// 3.2: 23, 16 and 1 draws before a skip of plan A is hopeless.
    #[test]
    fn chances_and_tests_are_those_of_the_tables() {
        let plan = |name| Plan::named(name).unwrap();
        for (name, expected) in [("B", 17.0 * 2.8e-5), ("C", 21.0 * 1.6e-5)] {
            let ratio = plan(name).survivors_a_seed() / expected;
            assert!((1.0..1.7).contains(&ratio), "{name}: {ratio}");
        }
        let tests = ["A.25", "A.5", "A1", "D"].map(|name| plan(name).tests_a_seed());
        assert_eq!(tests, [21 * 23, 21 * 16, 21, 1]);
    }
}
