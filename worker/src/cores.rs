//! The processor: how many cores this process may use, and what it is called.

use std::{fs, num::NonZeroUsize, thread};

/// How many cores this process may use: its affinity mask, and the cgroup's CPU quota (v1 and
/// v2) where that is smaller; at least 1.
#[must_use]
pub fn usable() -> u32 {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    u32::try_from(cores).unwrap_or(u32::MAX)
}

/// The processor's model, as in `AMD Ryzen 9 5950X 16-Core Processor`.
#[must_use]
pub fn model() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    model_in(&text).unwrap_or_else(|| {
        let uname = rustix::system::uname();
        format!("{} processor", uname.machine().to_string_lossy())
    })
}

fn model_in(cpuinfo: &str) -> Option<String> {
    cpuinfo.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        let value = value.trim();
        (key.trim() == "model name" && !value.is_empty()).then(|| value.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_found_where_the_kernel_writes_it() {
        let text = "processor\t: 0\nmodel\t\t: 85\nmodel name\t: Intel(R) Xeon(R) CPU\nflags : x\n";
        assert_eq!(model_in(text).as_deref(), Some("Intel(R) Xeon(R) CPU"));
        assert_eq!(model_in("processor : 0\nmodel name :\n"), None);
        assert!(!model().is_empty());
        assert!(usable() >= 1);
    }
}
