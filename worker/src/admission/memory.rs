//! The host's memory, as the kernel tells it: `/proc/meminfo`, `/proc/pressure/memory`, and the
//! limits of the control groups that this process is in.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Memory at one moment, in bytes: the host's, or the control group's where that has less.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Memory {
    /// All there is.
    pub total: u64,
    /// What could be used without swapping.
    pub available: u64,
    /// The share of the last 10 s in which something waited for memory, in percent; `None` where
    /// the kernel does not measure it.
    pub pressure: Option<f64>,
}

/// Where memory is read.
#[derive(Debug, Clone)]
pub struct MemorySource {
    root: PathBuf,
}

impl MemorySource {
    /// Below a folder that holds `proc` and `sys`.
    #[must_use]
    pub fn below(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Reads it.
    ///
    /// # Errors
    /// What the system says when `proc/meminfo` can't be read, or that it makes no sense. Limits
    /// and pressure that can't be read are taken as not there.
    pub fn read(&self) -> io::Result<Memory> {
        let meminfo = fs::read_to_string(self.root.join("proc/meminfo"))?;
        let field = |name| {
            let why = || format!("{} has no {name}", self.root.join("proc/meminfo").display());
            kib_field(&meminfo, name).ok_or_else(|| io::Error::other(why()))
        };
        let (mut total, mut available) = (field("MemTotal")?, field("MemAvailable")?);
        for group in self.groups() {
            if let Some((limit, free)) = group.room() {
                total = total.min(limit);
                available = available.min(free);
            }
        }
        let pressure = fs::read_to_string(self.root.join("proc/pressure/memory")).ok();
        Ok(Memory { total, available, pressure: pressure.as_deref().and_then(some_avg10) })
    }

    /// The control groups that this process is in and that may limit its memory, with all above
    /// them: a limit holds for everything below it.
    fn groups(&self) -> Vec<Group> {
        let own = fs::read_to_string(self.root.join("proc/self/cgroup")).unwrap_or_default();
        let mount = self.root.join("sys/fs/cgroup");
        own.lines()
            .filter_map(|line| {
                let mut fields = line.splitn(3, ':');
                let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
                let (names, tops) = if controllers.is_empty() {
                    (&V2, vec![mount.join("unified"), mount.clone()])
                } else if controllers.split(',').any(|name| name == "memory") {
                    (&V1, vec![mount.join("memory")])
                } else {
                    return None;
                };
                Some(tops.into_iter().flat_map(move |top| lineage(&top, path, names)))
            })
            .flatten()
            .collect()
    }
}

/// What a version of control groups calls its files.
#[derive(Debug)]
struct Names {
    limit: &'static str,
    usage: &'static str,
    /// In `memory.stat`: file pages that can be dropped.
    inactive: &'static str,
}

const V1: Names = Names {
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    inactive: "total_inactive_file",
};
const V2: Names = Names { limit: "memory.max", usage: "memory.current", inactive: "inactive_file" };

#[derive(Debug)]
struct Group {
    folder: PathBuf,
    names: &'static Names,
}

/// A group and all above it, up to the mount itself. In a container the path may not be there;
/// the mount is then the container's own group.
fn lineage(top: &Path, path: &str, names: &'static Names) -> Vec<Group> {
    let own = top.join(path.trim_start_matches('/'));
    let folders = own.ancestors().take_while(|folder| folder.starts_with(top));
    folders.map(|folder| Group { folder: folder.to_owned(), names }).collect()
}

impl Group {
    /// Its limit and what is left of it; `None` when it has none.
    fn room(&self) -> Option<(u64, u64)> {
        let text = |name| fs::read_to_string(self.folder.join(name)).ok();
        // `max` is no number, and version 1's "no limit" is larger than any host's memory.
        let limit: u64 = text(self.names.limit)?.trim().parse().ok()?;
        let usage: u64 = text(self.names.usage)?.trim().parse().ok()?;
        let droppable = text("memory.stat").and_then(|stat| field(&stat, self.names.inactive));
        Some((limit, limit.saturating_sub(usage.saturating_sub(droppable.unwrap_or(0)))))
    }
}

/// The number behind a name, with or without a colon.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next()?.trim_end_matches(':') == name).then(|| words.next()?.parse().ok())?
    })
}

fn kib_field(text: &str, name: &str) -> Option<u64> {
    field(text, name)?.checked_mul(1024)
}

/// `avg10` of the line `some`.
fn some_avg10(text: &str) -> Option<f64> {
    let some = text.lines().find(|line| line.starts_with("some "))?;
    let value = some.split_ascii_whitespace().find_map(|word| word.strip_prefix("avg10="))?;
    value.parse().ok().filter(|share: &f64| share.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str =
        "MemTotal:       16000000 kB\nMemFree:         1000000 kB\nMemAvailable:   12000000 kB\n";
    const PRESSURE: &str = "some avg10=12.50 avg60=0.12 avg300=0.33 total=2104292\nfull avg10=3.00 avg60=0.10 avg300=0.30 total=1910359\n";

    fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, MemorySource) {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let source = MemorySource::below(folder.path());
        (folder, source)
    }

    #[test]
    fn a_host_without_groups_is_read_as_it_is() {
        let (_folder, source) = tree(&[("proc/meminfo", MEMINFO)]);
        let memory = source.read().unwrap();
        let expected = Memory { total: 16_384_000_000, available: 12_288_000_000, pressure: None };
        assert_eq!(memory, expected);
    }

    #[test]
    fn the_smallest_limit_above_counts() {
        let gib = |count: u64| (count << 30).to_string();
        let (limit, usage, none) = (gib(8), gib(3), "9223372036854771712".to_owned());
        let stat = format!("inactive_file 1\ntotal_inactive_file {}\n", 1u64 << 30);
        let (_folder, source) = tree(&[
            ("proc/meminfo", MEMINFO),
            ("proc/pressure/memory", PRESSURE),
            ("proc/self/cgroup", "4:cpu,memory:/rigs/worker\n3:cpuset:/\n0::/\n"),
            ("sys/fs/cgroup/memory/rigs/worker/memory.limit_in_bytes", &none),
            ("sys/fs/cgroup/memory/rigs/worker/memory.usage_in_bytes", &usage),
            ("sys/fs/cgroup/memory/rigs/memory.limit_in_bytes", &limit),
            ("sys/fs/cgroup/memory/rigs/memory.usage_in_bytes", &usage),
            ("sys/fs/cgroup/memory/rigs/memory.stat", &stat),
        ]);
        let memory = source.read().unwrap();
        assert_eq!((memory.total, memory.available), (8 << 30, 6 << 30));
        assert_eq!(memory.pressure, Some(12.5));
    }

    #[test]
    fn a_container_that_sees_its_own_group_alone_is_read_too() {
        let (_folder, source) = tree(&[
            ("proc/meminfo", MEMINFO),
            ("proc/self/cgroup", "0::/docker/0123\n"),
            ("sys/fs/cgroup/memory.max", "1073741824\n"),
            ("sys/fs/cgroup/memory.current", "1000000000\n"),
        ]);
        let memory = source.read().unwrap();
        assert_eq!((memory.total, memory.available), (1 << 30, 73_741_824));
    }

    #[test]
    fn what_makes_no_sense_is_said_with_the_files_name() {
        let (_folder, source) = tree(&[("proc/meminfo", "MemTotal: much\n")]);
        let error = source.read().unwrap_err().to_string();
        assert!(error.contains("meminfo has no MemTotal"), "{error}");
    }

    #[test]
    fn this_host_has_memory() {
        let memory = MemorySource::below("/").read().unwrap();
        assert!(memory.total > 0 && memory.available <= memory.total, "{memory:?}");
    }
}
