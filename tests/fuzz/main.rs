//! One program for all targets: `FUZZ_TARGET=wire fuzz CORPUS… [libFuzzer's flags]`.

#![no_main]

mod properties;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::OnceLock,
};

use properties::{Property, TARGETS};

/// More at once than anything small should ever make a reader ask for.
const HUGE: usize = 256 << 20;

/// The system's allocator, which refuses what is huge: a reader that believes a length from
/// outside is found out by the abort that follows.
struct Wary;

// SAFETY: everything is passed on to the system's allocator unchanged, or refused with null.
unsafe impl GlobalAlloc for Wary {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() > HUGE {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if size > HUGE {
            return std::ptr::null_mut();
        }
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Wary = Wary;

fn chosen() -> Property {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let known = TARGETS.iter().find(|(target, _)| *target == name);
    known.unwrap_or_else(|| panic!("FUZZ_TARGET is '{name}'; it is one of {TARGETS:?}")).1
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    static CHOSEN: OnceLock<Property> = OnceLock::new();
    CHOSEN.get_or_init(chosen)(bytes);
});
