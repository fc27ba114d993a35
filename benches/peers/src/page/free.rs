//! Frees, with a short and a long free list. The version is obtained first, as part of it.

use std::time::Instant;

use super::open;
use crate::child::{Role, say};

/// How many are timed at once; then as many are allocated again.
const FREED: usize = 500;
const REPETITIONS: usize = 9;

pub fn measure(role: &Role) {
    for (cell, listed) in [("free_2k", 2_000), ("free_20k", 20_000)] {
        let mut store = open(&role.engine, &role.place.join(cell), 0, super::AMPLE);
        let mut end = listed + FREED;
        store.fill(end, 128);
        (0..listed).for_each(|page| store.free(page));
        store.flush();
        store.settle();
        let mut times = Vec::new();
        for _ in 0..REPETITIONS {
            let start = Instant::now();
            (end - FREED..end).for_each(|page| store.free(page));
            store.settle();
            times.push(start.elapsed().as_nanos() as f64 / FREED as f64);
            store.flush();
            store.fill(FREED, 128);
            end += FREED;
        }
        times.sort_by(f64::total_cmp);
        say(cell, times[REPETITIONS / 2]);
    }
}
