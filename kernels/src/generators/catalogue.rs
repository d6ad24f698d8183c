//! Which generator is which family's.

use shared::families::Family;

use super::{
    generator::Generator,
    glibc::GlibcRandom,
    java::{JavaLcg, JavaRandom},
    lcg::{AnsiC, Lcg32, Minstd, MinstdRand0, MsvcRand},
    mersenne::{Mt19937, PhpMtRand, PythonRandom},
    pcg::{Pcg32, Pcg32Srandom},
    philox::{Philox4x32, Philox4x32Full},
    wide::{Sfc64, Xoshiro256pp, Xoshiro256ppSplitmix},
    xorshift::{Xorshift32, Xorshift64, Xorshift64star, Xorshift128},
};

/// Something that can be done with any family's generator.
pub trait Visit<const L: usize> {
    /// What comes of it.
    type Output;

    /// Does it.
    fn visit<G: Generator<L> + Send + 'static>(self) -> Self::Output;
}

/// Does something with a family's generator.
pub fn visit<const L: usize, V: Visit<L>>(family: Family, visitor: V) -> V::Output {
    match family {
        Family::Xorshift32 => visitor.visit::<Xorshift32<L>>(),
        Family::Lcg32 => visitor.visit::<Lcg32<L>>(),
        Family::JavaLcg => visitor.visit::<JavaLcg<L>>(),
        Family::Minstd => visitor.visit::<Minstd<L>>(),
        Family::Xorshift64 => visitor.visit::<Xorshift64<L>>(),
        Family::Xorshift128 => visitor.visit::<Xorshift128<L>>(),
        Family::Pcg32 => visitor.visit::<Pcg32<L>>(),
        Family::Xoshiro256pp => visitor.visit::<Xoshiro256pp<L>>(),
        Family::Sfc64 => visitor.visit::<Sfc64<L>>(),
        Family::Philox4x32 => visitor.visit::<Philox4x32<L>>(),
        Family::Mt19937 => visitor.visit::<Mt19937<L>>(),
        Family::JavaRandom => visitor.visit::<JavaRandom<L>>(),
        Family::MinstdRand0 => visitor.visit::<MinstdRand0<L>>(),
        Family::AnsiC => visitor.visit::<AnsiC<L>>(),
        Family::MsvcRand => visitor.visit::<MsvcRand<L>>(),
        Family::GlibcRandom => visitor.visit::<GlibcRandom<L>>(),
        Family::PhpMtRand => visitor.visit::<PhpMtRand<L>>(),
        Family::PythonRandom => visitor.visit::<PythonRandom<L>>(),
        Family::Xorshift64star => visitor.visit::<Xorshift64star<L>>(),
        Family::Pcg32Srandom => visitor.visit::<Pcg32Srandom<L>>(),
        Family::Xoshiro256ppSplitmix => visitor.visit::<Xoshiro256ppSplitmix<L>>(),
        Family::Philox4x32Full => visitor.visit::<Philox4x32Full<L>>(),
    }
}

/// [`visit`] for the families whose states are several words of 64 bits, or are computed with as
/// such; `None` for the others.
pub fn visit_wide<const L: usize, V: Visit<L>>(family: Family, visitor: V) -> Option<V::Output> {
    Some(match family {
        Family::Xoshiro256pp => visitor.visit::<Xoshiro256pp<L>>(),
        Family::Sfc64 => visitor.visit::<Sfc64<L>>(),
        Family::Philox4x32 => visitor.visit::<Philox4x32<L>>(),
        Family::Xoshiro256ppSplitmix => visitor.visit::<Xoshiro256ppSplitmix<L>>(),
        Family::Philox4x32Full => visitor.visit::<Philox4x32Full<L>>(),
        _ => return None,
    })
}

/// The first `count` raw outputs of a seed: the definition of the family's stream.
#[must_use]
pub fn stream(family: Family, modulus: u32, seed: u64, count: usize) -> Vec<u64> {
    visit(family, First { modulus, seed, count })
}

struct First {
    modulus: u32,
    seed: u64,
    count: usize,
}

impl Visit<1> for First {
    type Output = Vec<u64>;

    fn visit<G: Generator<1>>(self) -> Vec<u64> {
        use super::generator::Output;
        let mut generator = G::blank(&crate::residue::Modulus::new(self.modulus));
        generator.seed(crate::lanes::U64x([self.seed]));
        (0..self.count).map(|_| generator.next().raw(0)).collect()
    }
}
