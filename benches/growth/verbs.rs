//! The length of chains, the free list, and the number of threads.

use std::path::Path;
use std::time::{Duration, Instant};

use pagelog::{Cas, Config, PageCache, PageId, Version};

use crate::common::rate::rate;
use crate::common::{Bytes, Random, allocate, link};

const PAGE: usize = 64;
const LINK: usize = 16;
const CHAINS: usize = 2000;
/// Links to each page before links are measured.
const WARM_UP: usize = 40;

fn open(directory: &Path) -> PageCache<Bytes> {
    Config::new(directory).cache_capacity(4 << 30).temporary(true).open().expect("a store")
}

fn nanoseconds(operations: usize, work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_nanos() as f64 / operations as f64
}

/// Nanoseconds of a link to a chain of so many, of the first `get` behind it, which merges, and of the next
/// one.
pub struct Chain {
    pub link: f64,
    pub merge: f64,
    pub get: f64,
}

fn read_all(cache: &PageCache<Bytes>, pages: &[(PageId, Version)], length: usize) {
    for (page_id, _) in pages {
        let guard = cache.pin();
        let page = guard.get(*page_id).expect("a read").expect("a page");
        assert_eq!(page.merged().0.len(), length);
    }
}

pub fn chain(directory: &Path, links: usize) -> Chain {
    let config = Config::new(directory).cache_capacity(4 << 30).temporary(true);
    // No page is written as a whole meanwhile.
    let config = config.max_chain_length(10_000).max_chain_ratio(1000.0);
    let cache: PageCache<Bytes> = config.open().expect("a store");
    let mut pages: Vec<_> = (0..CHAINS).map(|_| allocate(&cache, vec![1; PAGE])).collect();
    let mut add = || pages.iter_mut().for_each(|page| link(&cache, page, vec![1; LINK]));
    (1..links).for_each(|_| add());
    let linked = nanoseconds(CHAINS, add);
    let length = PAGE + links * LINK;
    let merge = nanoseconds(CHAINS, || read_all(&cache, &pages, length));
    let get = nanoseconds(CHAINS, || read_all(&cache, &pages, length));
    Chain { link: linked, merge, get }
}

/// Nanoseconds of `allocate` and of `free` with so many ids on the free list.
pub fn free_list(directory: &Path, ids: usize) -> (f64, f64) {
    const AT_ONCE: usize = 1000;
    // So many that a snapshot or two fall into each row: a single one would be a large part of a shorter row,
    // and of some only.
    const ROUNDS: usize = 200;
    let cache = open(directory);
    let free = |(page_id, version): (PageId, Version)| {
        assert!(cache.free(page_id, version).expect("a write").is_done());
    };
    let filling: Vec<_> = (0..ids + AT_ONCE).map(|_| allocate(&cache, vec![1; PAGE])).collect();
    filling.into_iter().for_each(free);
    let (mut allocating, mut freeing) = (0.0, 0.0);
    for _ in 0..ROUNDS {
        let mut pages = Vec::with_capacity(AT_ONCE);
        allocating +=
            nanoseconds(AT_ONCE, || pages.extend((0..AT_ONCE).map(|_| allocate(&cache, vec![1; PAGE]))));
        freeing += nanoseconds(AT_ONCE, || pages.into_iter().for_each(free));
    }
    (allocating / ROUNDS as f64, freeing / ROUNDS as f64)
}

/// Millions of links per second by so many threads together.
pub fn threads(cache: &PageCache<Bytes>, pages: &[PageId], threads: usize, time: Duration) -> f64 {
    rate(threads, time, |_, random| link_any(cache, pages[random.below(pages.len())])) / 1e6
}

/// The store of [`threads`], linked to until its pages are written as a whole again and again and its
/// segments are used again.
pub fn store(directory: &Path, pages: usize) -> (PageCache<Bytes>, Vec<PageId>) {
    let cache = open(directory);
    let pages: Vec<_> = (0..pages).map(|_| allocate(&cache, vec![1; PAGE]).0).collect();
    let mut random = Random::of(0);
    (0..WARM_UP * pages.len()).for_each(|_| link_any(&cache, pages[random.below(pages.len())]));
    (cache, pages)
}

fn link_any(cache: &PageCache<Bytes>, page_id: PageId) {
    let mut version = cache.version(page_id).expect("a version").expect("a page");
    let mut fragment = Bytes(vec![1; LINK]);
    loop {
        match cache.link(page_id, version, fragment).expect("a write") {
            Cas::Done { .. } => return,
            Cas::Changed { current, fragment: back } => (version, fragment) = (current, back),
            Cas::Gone { .. } => unreachable!("nobody frees pages"),
        }
    }
}
