//! What fuzzing starts from, and what it broke once, holds every property (`make fuzz` looks for
//! more).

#![expect(clippy::unwrap_used, reason = "these are tests")]

#[path = "../fuzz/properties.rs"]
mod properties;

use std::{fs, path::Path};

/// Calls a property with every file of its corpus.
fn replay(corpus: &str) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(corpus);
    let mut files = 0;
    for (target, property) in properties::TARGETS {
        // What never broke has no folder.
        let Ok(entries) = fs::read_dir(folder.join(target)) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            let bytes = fs::read(&path).unwrap();
            let held = std::panic::catch_unwind(|| property(&bytes));
            assert!(held.is_ok(), "{} breaks its property", path.display());
            files += 1;
        }
    }
    files
}

#[test]
fn seeds_hold_every_property() {
    assert!(replay("seeds") >= 2 * properties::TARGETS.len());
}

#[test]
fn what_was_broken_once_holds_now() {
    replay("broken");
}
