//! A sieve prepared for the structural search.

use shared::{
    sieve::Sieve,
    spans::Span,
    structure::{Lcg, Unsuited, suits},
    witness::splitmix64,
};

use super::{judge::Judge, power::Power, prime::Prime};
use crate::{
    engine::{Found, Tally},
    scan::Instructions,
    sequence::Sequence,
};

/// A sieve that can be searched by its structure; threads share it.
#[derive(Debug)]
pub(crate) struct Structure {
    sieve: Sieve,
    way: Way,
    judge: Judge,
}

#[derive(Debug)]
enum Way {
    Power(Box<Power>),
    Prime(Box<Prime>),
}

impl Structure {
    /// Prepares a validated sieve.
    ///
    /// # Errors
    /// [`Unsuited`] when it has no such structure.
    pub(crate) fn new(sieve: &Sieve, instructions: Instructions) -> Result<Self, Unsuited> {
        let lcg = suits(sieve)?;
        let (way, rejects) = match lcg {
            Lcg::Power(lcg) => {
                (Way::Power(Box::new(Power::new(sieve, lcg, instructions))), lcg.rejects)
            }
            Lcg::Prime(lcg) => (Way::Prime(Box::new(Prime::new(sieve, lcg, instructions))), false),
        };
        Ok(Self { way, judge: Judge::new(sieve, rejects, instructions), sieve: sieve.clone() })
    }

    /// Tests a range of seeds on so many threads. All of it is tested, however many survive. A
    /// seed drawn by `random` is planted and must be found on the way.
    pub(crate) fn test(&self, seeds: Span, threads: usize, random: u64) -> Tally {
        let (sieve, judge, asked) = (&self.sieve, &self.judge, (seeds, threads));
        let (mut survivors, planted) = match &self.way {
            Way::Power(power) => power.survivors(sieve, judge, asked, random),
            Way::Prime(prime) => prime.survivors(sieve, judge, asked, random),
        };
        survivors.sort_unstable_by_key(|survivor| survivor.seed);
        survivors.dedup_by_key(|survivor| survivor.seed);
        let found = survivors
            .into_iter()
            .map(|survivor| Found { index: survivor.seed - seeds.first(), survivor })
            .collect();
        Tally { found, planted: Some(planted), ..Tally::default() }
    }

    /// The sieve.
    pub(crate) const fn sieve(&self) -> &Sieve {
        &self.sieve
    }

    /// Tests any seeds on one thread: of a list each by itself.
    pub(crate) fn test_any(&self, seeds: &Sequence<'_>, random: u64) -> Tally {
        let listed = match *seeds {
            Sequence::Range(span) => return self.test(span, 1, random),
            Sequence::List(seeds) => seeds,
        };
        let mut tally = Tally::default();
        for (index, &seed) in (0..).zip(listed) {
            let Ok(one) = Span::new(seed, seed) else { continue };
            let found = self.test(one, 1, splitmix64(random ^ seed)).found;
            tally.found.extend(found.iter().map(|found| Found { index, ..*found }));
        }
        tally
    }
}
