//! The house rules that a compiler does not check: who depends on whom, how long files are, and
//! what modules are called.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

const OURS: [&str; 5] = ["producer", "worker", "shared", "kernels", "tests"];
/// The longest that a source file may be.
const LONGEST: usize = 600;
/// Names that say nothing about what a module is for.
const EMPTY_NAMES: [&str; 6] = ["utils", "util", "helpers", "common", "misc", "manager"];
/// Parts of crate names that stand for code that drives a GPU.
const GPU: [&str; 8] = ["cuda", "cudarc", "ocl", "opencl", "rocm", "hip-", "wgpu", "vulkan"];

fn workspace() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .args(["--offline", "--locked"])
        .current_dir(workspace())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// Everything that is linked into a crate of ours, with every feature.
fn tree(package: &str) -> BTreeSet<String> {
    let arguments = ["tree", "--package", package, "--edges", "normal,build", "--all-features"];
    let printed = cargo(&[&arguments[..], &["--prefix", "none"]].concat());
    let names = printed.lines().filter_map(|line| line.split_whitespace().next());
    names.map(str::to_owned).collect()
}

#[test]
fn the_rooms_depend_on_each_other_as_the_design_says() {
    let allowed = [
        ("producer", &["shared"][..]),
        ("worker", &["shared"]),
        ("shared", &[]),
        ("kernels", &["shared"]),
    ];
    for (package, allowed) in allowed {
        let tree = tree(package);
        assert!(tree.contains(package) && tree.len() > 5, "{tree:?}");
        for other in OURS.iter().filter(|other| **other != package) {
            let linked = tree.contains(*other);
            assert!(!linked || allowed.contains(other), "{package} depends on {other}");
        }
    }
    // Tests may use more, and so tests of a room must keep to its rules as well.
    let metadata: Value =
        serde_json::from_str(&cargo(&["metadata", "--no-deps", "--format-version", "1"])).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let declared: BTreeMap<&str, Vec<&str>> = packages
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().unwrap().iter();
            let names = dependencies.map(|dependency| dependency["name"].as_str().unwrap());
            let ours = names.filter(|name| OURS.contains(name)).collect();
            (package["name"].as_str().unwrap(), ours)
        })
        .collect();
    assert_eq!(declared.keys().copied().collect::<BTreeSet<_>>(), OURS.into());
    for (package, allowed) in allowed {
        for dependency in &declared[package] {
            assert!(allowed.contains(dependency), "{package} declares {dependency}");
        }
    }
}

#[test]
fn no_gpu_code_can_be_linked_into_a_coordinating_process() {
    for package in ["producer", "worker", "shared"] {
        for name in tree(package) {
            assert!(!GPU.iter().any(|part| name.contains(part)), "{package} links {name}");
        }
    }
}

/// Files that git knows or would add, so that build outputs are left out.
fn files() -> Vec<PathBuf> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(workspace())
        .output();
    // Where there is no git (a source archive), the folders of the house are walked.
    let listed = match output {
        Ok(output) if output.status.success() => String::from_utf8(output.stdout).unwrap(),
        _ => return OURS.iter().flat_map(|room| walk(&workspace().join(room))).collect(),
    };
    let paths = listed.lines().map(|path| workspace().join(path));
    paths.filter(|path| path.is_file()).collect()
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

fn sources() -> Vec<PathBuf> {
    let code = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "rs");
    let sources: Vec<PathBuf> = files().into_iter().filter(code).collect();
    assert!(sources.len() > 50, "{sources:?}");
    sources
}

#[test]
fn no_source_file_is_too_long() {
    let mut offenders = Vec::new();
    for path in sources() {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        if lines > LONGEST {
            offenders.push(format!("{}: {lines} lines", path.display()));
        }
    }
    assert!(offenders.is_empty(), "more than {LONGEST} lines:\n{}", offenders.join("\n"));
}

#[test]
fn modules_are_called_after_what_they_do() {
    let names = sources().into_iter().flat_map(|path| {
        let file = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let folder = path.parent().and_then(Path::file_name);
        [file, folder.map(|name| name.to_string_lossy().into_owned())].into_iter().flatten()
    });
    let empty: Vec<String> = names.filter(|name| EMPTY_NAMES.contains(&name.as_str())).collect();
    assert!(empty.is_empty(), "names that say nothing: {empty:?}");
}
