//! Links and replacements, on pages that are all in memory.
//!
//! In the steady state each page was cut back five times. An engine that does not get there in the time for it is measured as far as it
//! got, and a note says so: its segments were used before then, but its garbage is young.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{Store, create};
use crate::child::{Role, note, say};
use crate::engine::{BASE, FRAGMENT, LIMIT, grow, link_or_cut, rate};
use crate::settings::Settings;

const CUTS: usize = 5;
const HOT: usize = 8;
/// What the threads of a check link each. All of them together must fit on a page.
const CHECKED: usize = 20;

pub fn measure(role: &Role, settings: &Settings) {
    let store = create(&role.engine, &role.place, settings.pages, BASE);
    let (store, pages, time) = (&*store, settings.pages, settings.time);
    let lengths = grow(store, pages);
    warm_up(store, &lengths, settings.warm_up);
    for (cell, threads) in [("link_1", 1), ("link_2", 2)] {
        say(cell, rate(threads, time, |_, random| _ = link_or_cut(store, &lengths, random)) / 1e3);
    }
    let chains = rate(1, time, |_, random| {
        let page = random.below(pages);
        let added = (HOT * FRAGMENT) as u32;
        if lengths[page].fetch_add(added, Ordering::Relaxed) + added > LIMIT {
            lengths[page].store(BASE as u32 + added, Ordering::Relaxed);
            store.replace(page, vec![page as u8; BASE]);
        }
        store.chain(page, [page as u8; FRAGMENT], HOT);
    });
    say("chain_8", chains * HOT as f64 / 1e3);
    say("hot_2", rate(2, time, |_, random| _ = link_or_cut(store, &lengths[..HOT], random)) / 1e3);
    for (cell, threads) in [("replace_1", 1), ("replace_2", 2)] {
        let replace = |_, random: &mut crate::engine::Random| {
            let page = random.below(pages);
            lengths[page].store(BASE as u32, Ordering::Relaxed);
            store.replace(page, vec![page as u8; BASE]);
        };
        say(cell, rate(threads, time, replace) / 1e3);
    }
    check(store, pages);
    note(&store.report());
}

fn warm_up(store: &dyn Store, lengths: &[AtomicU32], patience: Duration) {
    let (start, cuts) = (Instant::now(), AtomicU64::new(0));
    let goal = (CUTS * lengths.len()) as u64;
    while cuts.load(Ordering::Relaxed) < goal && start.elapsed() < patience {
        rate(2, Duration::from_millis(500), |_, random| {
            cuts.fetch_add(u64::from(link_or_cut(store, lengths, random)), Ordering::Relaxed);
        });
    }
    let each = cuts.into_inner() as f64 / lengths.len() as f64;
    if each < CUTS as f64 {
        note(&format!("links: each page was cut back {each:.1} times before, not {CUTS}"));
    }
}

/// Nothing was lost and nothing was mixed up: all bytes are the page's, and of links that two threads race for, all are there.
fn check(store: &dyn Store, pages: usize) {
    for page in 0..pages {
        let content = store.whole(page);
        assert!(content.len() >= BASE && (content.len() - BASE).is_multiple_of(FRAGMENT));
        assert!(content.iter().all(|byte| *byte == page as u8), "page {page}");
    }
    for page in 0..HOT {
        store.replace(page, vec![page as u8; BASE]);
        std::thread::scope(|scope| {
            let link = || (0..CHECKED).for_each(|_| store.link(page, [page as u8; FRAGMENT]));
            let threads = [scope.spawn(link), scope.spawn(link)];
            threads.into_iter().for_each(|thread| thread.join().expect("a thread"));
        });
        store.chain(page, [page as u8; FRAGMENT], 3);
        assert_eq!(store.whole(page).len(), BASE + (2 * CHECKED + 3) * FRAGMENT, "page {page}");
    }
}
