//! Work that is cut into turns, shared between threads.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// Gathers what `work` yields for `turns` turns on so many threads; each call of it takes turns
/// until none is left.
pub(super) fn gather<T: Send>(
    threads: usize,
    turns: usize,
    work: impl Fn(&mut dyn Iterator<Item = usize>, &mut Vec<T>) + Sync,
) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let all = Mutex::new(Vec::new());
    let one = || {
        let mut gathered = Vec::new();
        let mut own = std::iter::from_fn(|| {
            let turn = next.fetch_add(1, Ordering::Relaxed);
            (turn < turns).then_some(turn)
        });
        work(&mut own, &mut gathered);
        all.lock().unwrap_or_else(PoisonError::into_inner).append(&mut gathered);
    };
    thread::scope(|scope| {
        for _ in 1..threads.min(turns) {
            scope.spawn(one);
        }
        one();
    });
    all.into_inner().unwrap_or_else(PoisonError::into_inner)
}
