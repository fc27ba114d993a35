//! Durable commits of one link each, beside a raw loop of one thread: a write of 4 KiB over blocks that were
//! written before, and a sync. What a sync takes changes with the machine's moods, so the loop runs before
//! and after each turn.

use super::{Store, create};
use crate::child::{Role, say_with_raw};
use crate::engine::{BASE, FRAGMENT, Random, rate};
use crate::settings::Settings;
use crate::subject::RawLoop;

const PAGES: usize = 1000;

pub fn measure(role: &Role, settings: &Settings) {
    let store = create(&role.engine, &role.place, PAGES, BASE);
    let store: &dyn Store = &*store;
    let file = role.place.with_extension("raw");
    let raw = RawLoop::create(&file).expect("a file");
    let raw_rate = || rate(1, settings.time / 2, |_, _| raw.step());
    let commit = |_, random: &mut Random| {
        let page = random.below(PAGES);
        store.commit(page, [page as u8; FRAGMENT]);
    };
    let mut before = raw_rate();
    for (cell, threads) in [("commit_1", 1), ("commit_2", 2), ("commit_8", 8)] {
        let ours = rate(threads, settings.time, commit);
        let after = raw_rate();
        say_with_raw(cell, ours, f64::midpoint(before, after));
        before = after;
    }
    let _ = std::fs::remove_file(file);
    for page in 0..PAGES {
        assert!(store.whole(page).iter().all(|byte| *byte == page as u8), "page {page}");
    }
}
