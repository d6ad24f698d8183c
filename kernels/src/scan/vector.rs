//! The same code built for several instruction sets, and the choice between them at run time.

use shared::{families::Family, outcome::Best};

use super::{group::Group, window::Window};
use crate::{
    generators::{Generator, Visit, visit},
    lanes::U64x,
    residue::Modulus,
};

/// A group with its number of lanes and its instruction set hidden.
pub(super) trait Lanes: Send {
    /// How many seeds it takes.
    fn lanes(&self) -> usize;

    /// Counts every skip's matches for one seed a lane, and returns a bit for each lane in which
    /// some skip has `window.least`. `seeds` has as many as there are lanes.
    fn count(&mut self, window: &Window, seeds: &[u64]) -> u64;

    /// The best skip of one lane as last counted with this window.
    fn best(&self, window: &Window, lane: usize) -> Best;
}

/// The largest number of lanes of any group.
pub(super) const MAX_LANES: usize = 32;

/// The widest group that this processor runs.
pub(super) fn widest(family: Family, modulus: Modulus) -> Box<dyn Lanes> {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
        {
            return visit(family, avx512::Build(modulus));
        }
        if is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
        {
            return visit(family, avx2::Build(modulus));
        }
    }
    visit(family, baseline::Build(modulus))
}

/// A module with groups of so many lanes, built with these attributes. `Build` may be used only
/// where the processor has the features that they enable.
macro_rules! built_for {
    ($name:ident, $lanes:literal $(, #[$attribute:meta])*) => {
        mod $name {
            use super::*;

            pub(super) struct Build(pub(super) Modulus);

            impl Visit<$lanes> for Build {
                type Output = Box<dyn Lanes>;

                fn visit<G: Generator<$lanes> + Send + 'static>(self) -> Box<dyn Lanes> {
                    Box::new(Built(Group::<G, $lanes>::new(self.0)))
                }
            }

            struct Built<G>(Group<G, $lanes>);

            impl<G: Generator<$lanes> + Send> Lanes for Built<G> {
                fn lanes(&self) -> usize {
                    $lanes
                }

                #[expect(unsafe_code, reason = "code for an instruction set found at run time")]
                fn count(&mut self, window: &Window, seeds: &[u64]) -> u64 {
                    let mut lanes = U64x::splat(0);
                    lanes.0.copy_from_slice(seeds);
                    // SAFETY: whoever made the `Build` saw that the processor has the features.
                    unsafe { count(&mut self.0, window, &lanes) }
                }

                fn best(&self, window: &Window, lane: usize) -> Best {
                    self.0.best(window, lane)
                }
            }

            /// # Safety
            /// The processor must have the features named in this module's attributes.
            $(#[$attribute])*
            #[expect(unsafe_code, reason = "code for an instruction set found at run time")]
            unsafe fn count<G: Generator<$lanes>>(
                group: &mut Group<G, $lanes>,
                window: &Window,
                seeds: &U64x<$lanes>,
            ) -> u64 {
                group.count(window, *seeds)
            }
        }
    };
}

built_for!(baseline, 8);
#[cfg(target_arch = "x86_64")]
built_for!(avx2, 16, #[target_feature(enable = "avx2,bmi1,bmi2")]);
#[cfg(target_arch = "x86_64")]
built_for!(avx512, 32, #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,bmi2")]);
