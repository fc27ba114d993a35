//! What threads do to a store while its memory is looked at.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pagelog::{Cas, PageCache, PageId};

use crate::PAGE;
use crate::common::{Bytes, Random, allocate, memory_of, setting};

const LINK: usize = 64;

/// Three times what the budget holds.
pub fn pages(capacity: u64) -> usize {
    capacity as usize * 3 / PAGE
}

/// Fills a store.
pub fn create(cache: &PageCache<Bytes>, capacity: u64) {
    (0..pages(capacity)).for_each(|_| _ = allocate(cache, vec![7; PAGE]));
    cache.close().expect("it closes");
}

/// One operation on a random page, of which there are `pages` with ids in order.
fn step(cache: &PageCache<Bytes>, load: &str, pages: usize, random: &mut Random) {
    let page_id = PageId::new(random.below(pages) as u64 + 1);
    let version = || cache.version(page_id).expect("a version");
    match load {
        "get" => {
            let guard = cache.pin();
            let page = guard.get(page_id).expect("a read").expect("a page");
            assert_eq!(page.merged().0[0], 7);
        }
        "replace" => {
            let Some(version) = version() else { return };
            let _: Cas<_> = cache.replace(page_id, version, Bytes(vec![7; PAGE])).expect("a write");
        }
        "link" => {
            let Some(version) = version() else { return };
            let _: Cas<_> = cache.link(page_id, version, Bytes(vec![7; LINK])).expect("a write");
        }
        "allocate" => {
            let page = cache.allocate(Bytes(vec![7; PAGE])).expect("a page");
            // Every other one stays for a while: so many that the store grows by a tenth at most.
            if random.below(2) == 0 || page.page_id.get() > (pages + pages / 10) as u64 {
                let _: Cas<_> = cache.free(page.page_id, page.version).expect("a write");
            }
        }
        other => panic!("no such load: {other}"),
    }
}

/// Prints: most and last memory beyond what there was at first, the most that the budget knew of, the nodes
/// at the end, operations per second, how often the budget could not be kept, and bytes written for each byte
/// handed in.
pub fn run(cache: &PageCache<Bytes>, capacity: u64) {
    let (load, threads): (String, usize) = (setting("LOADS", String::new()), setting("THREADS", 1));
    let (pages, time) = (pages(capacity), Duration::from_secs_f64(setting("SECONDS", 3.0)));
    let before = memory_of("self", "VmRSS");
    let first = cache.stats();
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let start = Instant::now();
    let mut known = 0;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (load, stop, done) = (&load, &stop, &done);
            scope.spawn(move || {
                let mut random = Random::new(thread as u64 + 1);
                while !stop.load(Ordering::Relaxed) {
                    (0..16).for_each(|_| step(cache, load, pages, &mut random));
                    done.fetch_add(16, Ordering::Relaxed);
                }
            });
        }
        while start.elapsed() < time {
            std::thread::sleep(Duration::from_millis(5));
            let stats = cache.stats();
            known =
                known.max(stats.resident_bytes + stats.node_bytes + stats.dead_bytes + stats.buffer_bytes);
        }
        stop.store(true, Ordering::Relaxed);
    });
    let rate = done.into_inner() as f64 / start.elapsed().as_secs_f64();
    let (end, most) = (memory_of("self", "VmRSS"), memory_of("self", "VmHWM"));
    let last = cache.stats();
    println!(
        "{} {} {known} {} {rate} {} {}",
        most.saturating_sub(before),
        end.saturating_sub(before),
        last.node_bytes,
        last.counts.over_budget - first.counts.over_budget,
        last.write_amplification(),
    );
}
