//! The ceilings of SIEVES.md section 4: models of what hardware could do at most, in seeds a
//! second.

use shared::{families::Family, job::Arch};

use super::cells::Cell;

/// The hardware of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hardware {
    /// One core with 256-bit vectors at 3 GHz.
    Avx2Core,
    /// An NVIDIA GeForce RTX 3080 Ti.
    Rtx3080Ti,
    /// An AMD Radeon RX 6600.
    Rx6600,
    /// An NVIDIA H200.
    H200,
}

impl Hardware {
    /// The column for a device of this model; of two for CUDA.
    pub(super) fn of(arch: Arch, model: &str) -> Self {
        match arch {
            Arch::Cpu => Self::Avx2Core,
            Arch::Rocm => Self::Rx6600,
            Arch::Cuda if model.contains("H200") => Self::H200,
            Arch::Cuda => Self::Rtx3080Ti,
        }
    }

    /// What it is, for people.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Avx2Core => "one core with AVX2 at 3 GHz",
            Self::Rtx3080Ti => "RTX 3080 Ti",
            Self::Rx6600 => "RX 6600",
            Self::H200 => "H200",
        }
    }

    /// The most seeds a second that a device could test; `None` where section 4 has no figure.
    pub(super) fn ceiling(self, cell: Cell, threads: u32) -> Option<f64> {
        let column = self as usize;
        let row = |&&(plan, family, _): &&Row| (plan, family) == (cell.plan.name, cell.family);
        let (_, _, millions) = ROWS.iter().find(row)?;
        let cores = if self == Self::Avx2Core { threads } else { 1 };
        Some(millions[column] * 1e6 * f64::from(cores))
    }
}

/// Plan, family, and million seeds a second in the order of [`Hardware`].
type Row = (&'static str, Family, [f64; 4]);

const ROWS: &[Row] = &[
    ("A.25", Family::JavaLcg, [20.0, 5300.0, 1400.0, 9800.0]),
    ("A.25", Family::Lcg32, [20.0, 5000.0, 1350.0, 9200.0]),
    ("A.25", Family::Minstd, [20.0, 5000.0, 1350.0, 9200.0]),
    ("A.25", Family::Xorshift32, [23.0, 5800.0, 1550.0, 10_800.0]),
    ("A.25", Family::Xorshift128, [23.0, 5800.0, 1550.0, 10_800.0]),
    ("A.25", Family::Pcg32, [12.0, 3700.0, 1040.0, 6800.0]),
    ("A.25", Family::Xorshift64, [2.7, 1100.0, 240.0, 2000.0]),
    ("A.25", Family::Xoshiro256pp, [3.6, 1300.0, 360.0, 2400.0]),
    ("A.25", Family::Sfc64, [3.6, 1200.0, 340.0, 2200.0]),
    ("A.25", Family::Philox4x32, [2.5, 930.0, 170.0, 1700.0]),
    ("A.25", Family::Mt19937, [5.0, 1250.0, 350.0, 2300.0]),
    ("A.5", Family::JavaLcg, [27.0, 7300.0, 1900.0, 13_500.0]),
    ("A.5", Family::Xorshift32, [31.0, 8000.0, 2100.0, 14_800.0]),
    ("A.5", Family::Pcg32, [16.0, 5100.0, 1400.0, 9300.0]),
    ("A.5", Family::Mt19937, [6.3, 1600.0, 430.0, 3000.0]),
    ("A.5", Family::Philox4x32, [3.4, 1300.0, 230.0, 2300.0]),
    ("A1", Family::JavaLcg, [144.0, 45_000.0, 11_000.0, 82_000.0]),
    ("A1", Family::Xorshift32, [168.0, 50_000.0, 12_500.0, 92_000.0]),
    ("A1", Family::Pcg32, [83.0, 29_000.0, 7900.0, 53_000.0]),
    ("A1", Family::Mt19937, [20.0, 5700.0, 1200.0, 10_500.0]),
    ("A1", Family::Philox4x32, [17.0, 6500.0, 1200.0, 12_000.0]),
    ("B", Family::JavaLcg, [61.0, 17_600.0, 4600.0, 32_000.0]),
    ("C", Family::Lcg32, [0.9, 229.0, 61.0, 423.0]),
];

#[cfg(test)]
mod tests {
    use shared::plans::Plan;

    use super::*;

    #[test]
    fn a_ceiling_is_found_by_plan_family_and_hardware() {
        let cell = |family, plan| Cell { family, plan: Plan::named(plan).unwrap() };
        let java = cell(Family::JavaLcg, "A.25");
        assert_eq!(Hardware::Avx2Core.ceiling(java, 2), Some(40e6));
        assert_eq!(Hardware::of(Arch::Cuda, "NVIDIA H200"), Hardware::H200);
        assert_eq!(Hardware::H200.ceiling(java, 1), Some(9.8e9));
        assert_eq!(Hardware::Rx6600.ceiling(cell(Family::Lcg32, "C"), 1), Some(61e6));
        assert_eq!(Hardware::Rtx3080Ti.ceiling(cell(Family::JavaLcg, "E"), 1), None);
        assert!(ROWS.iter().all(|(plan, ..)| Plan::named(plan).is_some()));
    }
}
