//! The same code built for several instruction sets, and the choice between them at run time.

use shared::{families::Family, outcome::Best, variable::Strategy};

use super::{
    group::{Counter, Group},
    matching,
    run::Run,
    streams::Streams,
    walk::{Step, Walk},
    window::Window,
};
use crate::{
    generators::{Generator, Visit, visit, visit_wide},
    lanes::U64x,
    residue::{Modulus, Target},
};

/// A group with its number of lanes and its instruction set hidden.
pub(super) trait Lanes: Send {
    /// How many seeds it takes.
    fn lanes(&self) -> usize;

    /// Counts every skip's matches for one seed a lane, and returns a bit for each lane in which
    /// some skip has `window.least`. `seeds` has as many as there are lanes.
    fn count(&mut self, window: &Window, seeds: &[u64]) -> u64;

    /// Gets ready for runs of consecutive seeds in this window.
    fn expect_runs(&mut self, family: Family, window: &Window);

    /// [`Lanes::count`] for the seeds from `first` on, a multiple of their number, in the window
    /// that runs are expected in; `None` where the family has no simpler way to them.
    fn count_run(&mut self, window: &Window, first: u64) -> Option<u64>;

    /// The best skip of one lane as last counted with this window.
    fn best(&self, window: &Window, lane: usize) -> Best;

    /// Begins the streams of one seed a lane, `advance` outputs passed over.
    fn start(&mut self, advance: u32, seeds: &[u64]);

    /// Lays out some more of the streams that were begun.
    fn more(&mut self, streams: &mut Streams);

    /// Goes on with one strategy along one stream.
    fn walk(
        &self,
        walk: &mut Walk,
        strategy: Strategy,
        targets: &[Target],
        least: u32,
        keys: &[u32],
    ) -> Step;
}

/// The largest number of lanes of any group.
pub(super) const MAX_LANES: usize = 32;

/// An instruction set that the scan is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instructions {
    /// What every processor of the architecture has.
    Baseline,
    /// 256-bit vectors of integers.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 512-bit vectors.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Instructions {
    /// Those that this processor has, the widest last.
    #[must_use]
    pub fn supported() -> Vec<Self> {
        let mut supported = vec![Self::Baseline];
        #[cfg(target_arch = "x86_64")]
        {
            let bits = is_x86_feature_detected!("bmi1") && is_x86_feature_detected!("bmi2");
            let avx2 = bits && is_x86_feature_detected!("avx2");
            if avx2 {
                supported.push(Self::Avx2);
            }
            if avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
            {
                supported.push(Self::Avx512);
            }
        }
        supported
    }

    /// The widest that this processor has.
    #[must_use]
    pub fn widest() -> Self {
        Self::supported().last().copied().unwrap_or(Self::Baseline)
    }

    /// These, or where this processor lacks them the widest that it has.
    pub(crate) fn or_widest(self) -> Self {
        if Self::supported().contains(&self) { self } else { Self::widest() }
    }

    /// A group built for these instructions, which this processor must have. With 256 bits, states
    /// of several 64-bit words take half the lanes.
    pub(super) fn group(self, family: Family, modulus: Modulus) -> Box<dyn Lanes> {
        match self {
            Self::Baseline => visit(family, baseline::Build(modulus)),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => visit_wide(family, avx2_narrow::Build(modulus))
                .unwrap_or_else(|| visit(family, avx2::Build(modulus))),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => visit(family, avx512::Build(modulus)),
        }
    }
}

/// A module with groups of so many lanes, built with these attributes. `Build` may be used only
/// where the processor has the features that they enable.
macro_rules! built_for {
    ($name:ident, $lanes:literal, $Matching:ty $(, #[$attribute:meta])*) => {
        mod $name {
            use super::*;

            pub(super) struct Build(pub(super) Modulus);

            impl Visit<$lanes> for Build {
                type Output = Box<dyn Lanes>;

                fn visit<G: Generator<$lanes> + Send + 'static>(self) -> Box<dyn Lanes> {
                    Box::new(Built {
                        group: Group::<G, $lanes>::new(self.0),
                        run: None,
                        modulus: self.0,
                    })
                }
            }

            struct Built<G> {
                group: Group<G, $lanes>,
                run: Option<Run<$lanes>>,
                modulus: Modulus,
            }

            impl<G: Generator<$lanes> + Send> Lanes for Built<G> {
                fn lanes(&self) -> usize {
                    $lanes
                }

                #[expect(unsafe_code, reason = "code for an instruction set found at run time")]
                fn count(&mut self, window: &Window, seeds: &[u64]) -> u64 {
                    let mut lanes = U64x::splat(0);
                    lanes.0.copy_from_slice(seeds);
                    // SAFETY: groups are made for supported instructions only, which `Scan::new` sees to.
                    unsafe { count(&mut self.group, window, &lanes) }
                }

                fn expect_runs(&mut self, family: Family, window: &Window) {
                    self.run = Run::new(family, self.modulus, window);
                }

                #[expect(unsafe_code, reason = "code for an instruction set found at run time")]
                fn count_run(&mut self, window: &Window, first: u64) -> Option<u64> {
                    let run = self.run.as_mut()?;
                    // SAFETY: as for `count`.
                    unsafe { count_run(self.group.counter(), window, run, first) }
                }

                fn best(&self, window: &Window, lane: usize) -> Best {
                    self.group.best(window, lane)
                }

                fn start(&mut self, advance: u32, seeds: &[u64]) {
                    let mut lanes = U64x::splat(0);
                    lanes.0.copy_from_slice(seeds);
                    self.group.start(advance, lanes);
                }

                #[expect(unsafe_code, reason = "code for an instruction set found at run time")]
                fn more(&mut self, streams: &mut Streams) {
                    // SAFETY: groups are made for supported instructions only, which `Walks::new` sees to.
                    unsafe { more(&mut self.group, streams) }
                }

                #[expect(unsafe_code, reason = "code for an instruction set found at run time")]
                fn walk(
                    &self,
                    walk: &mut Walk,
                    strategy: Strategy,
                    targets: &[Target],
                    least: u32,
                    keys: &[u32],
                ) -> Step {
                    // SAFETY: groups are made for supported instructions only, which `Walks::new` sees to.
                    unsafe { go(walk, strategy, self.group.modulus(), targets, least, keys) }
                }
            }

            /// # Safety
            /// The processor must have the features named in this module's attributes.
            $(#[$attribute])*
            #[expect(unsafe_code, reason = "code for an instruction set found at run time")]
            unsafe fn more<G: Generator<$lanes>>(
                group: &mut Group<G, $lanes>,
                streams: &mut Streams,
            ) {
                group.more(streams);
            }

            /// # Safety
            /// The processor must have the features named in this module's attributes.
            $(#[$attribute])*
            #[expect(unsafe_code, reason = "code for an instruction set found at run time")]
            unsafe fn go(
                walk: &mut Walk,
                strategy: Strategy,
                modulus: &Modulus,
                targets: &[Target],
                least: u32,
                keys: &[u32],
            ) -> Step {
                walk.go(strategy, modulus, targets, least, keys)
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
                // SAFETY: these are the instructions.
                unsafe { group.count::<$Matching>(window, *seeds) }
            }

            /// # Safety
            /// As for `count`.
            $(#[$attribute])*
            #[expect(unsafe_code, reason = "code for an instruction set found at run time")]
            unsafe fn count_run(
                counter: &mut Counter<$lanes>,
                window: &Window,
                run: &mut Run<$lanes>,
                first: u64,
            ) -> Option<u64> {
                // SAFETY: these are the instructions.
                run.go_to(first).then(|| unsafe { counter.compare::<$Matching>(window, run) })
            }
        }
    };
}

built_for!(baseline, 8, matching::Baseline);
#[cfg(target_arch = "x86_64")]
built_for!(avx2, 16, matching::Avx2<2>, #[target_feature(enable = "avx2,bmi1,bmi2")]);
#[cfg(target_arch = "x86_64")]
built_for!(avx2_narrow, 8, matching::Avx2<1>, #[target_feature(enable = "avx2,bmi1,bmi2")]);
#[cfg(target_arch = "x86_64")]
built_for!(avx512, 32, matching::Avx512<2>, #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,bmi2")]);
