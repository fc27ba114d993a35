//! Links and replacements, on pages that are all in memory.
//!
//! In the steady state each page was cut back five times. An engine that does not get there in the time for
//! it is measured as far as it got, and a note says so: its segments were used before then, but its garbage
//! is young. Replacements have a steady state of their own: pages that links have made long become short, and
//! as long as the files follow them it is that which is measured.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Store, create};
use crate::child::{Role, note, say};
use crate::engine::{BASE, FRAGMENT, LIMIT, Random, grow, link_or_cut, rate, replace_some, warm_up};
use crate::settings::Settings;

const CUTS: usize = 5;
const HOT: usize = 8;
/// What the threads of a check link each. All of them together must fit on a page.
const CHECKED: usize = 20;

pub fn measure(role: &Role, settings: &Settings) {
    let store = create(&role.engine, &role.place, settings.pages, BASE);
    let (store, pages, time) = (&*store, settings.pages, settings.time);
    let lengths = grow(store, pages);
    settle("links", pages, settings.warm_up, |random| link_or_cut(store, &lengths, random));
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
    settle("replacements", pages, settings.warm_up, |random| {
        replace_some(store, pages, random);
        true
    });
    for (cell, threads) in [("replace_1", 1), ("replace_2", 2)] {
        say(cell, rate(threads, time, |_, random| replace_some(store, pages, random)) / 1e3);
    }
    check(store, pages);
    note(&store.report());
}

/// Towards the steady state of what is measured next: each page is cut back some times.
fn settle(what: &str, pages: usize, patience: Duration, work: impl Fn(&mut Random) -> bool + Sync) {
    let each = warm_up(CUTS * pages, patience, work) as f64 / pages as f64;
    if each < CUTS as f64 {
        note(&format!("{what}: each page was cut back {each:.1} times before, not {CUTS}"));
    }
}

/// Nothing was lost and nothing was mixed up: all bytes are the page's, and of links that two threads race
/// for, all are there.
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
