//! What stays in memory and what goes: the policy of eviction as users see it, through misses, and the budget
//! that it keeps.

mod common;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{Bytes, Dice, alone, open, read, replace};
use pagelog::{Config, MemoryStorage, PageCache, PageId, Stats};

/// The payload of most pages.
const LENGTH: usize = 500;
/// What a page of that length takes of the budget: the payload, what a record has around it, and the fragment
/// itself. Not its node.
const WEIGHT: u64 = 570;

/// A store with pages of these lengths, opened with an empty cache, which has no write buffers as long as
/// nothing is written. Its budget has the stated capacity for contents, beside the nodes of all its pages,
/// which are there from the beginning.
struct Store {
    cache: PageCache<Bytes>,
    pages: Vec<PageId>,
}

impl Store {
    fn new(lengths: impl Iterator<Item = usize>, capacity: u64) -> Self {
        let storage = Arc::new(MemoryStorage::new());
        let config = || Config::with_storage(Arc::clone(&storage) as Arc<_>).io_buffer_size(1024);
        let cache = open(config());
        let pages = lengths.map(|length| cache.allocate(Bytes(vec![7; length])).unwrap().page_id).collect();
        let nodes = cache.stats().node_bytes;
        cache.close().unwrap();
        let store = Self { cache: open(config().cache_capacity(capacity + nodes)), pages };
        store.make_nodes();
        assert_eq!(store.cache.stats().node_bytes, nodes);
        store
    }

    fn make_nodes(&self) {
        for page_id in &self.pages {
            assert!(self.cache.version(*page_id).unwrap().is_some());
        }
    }

    /// Reads pages, and says how many were not in memory.
    fn misses(&self, pages: Range<usize>) -> u64 {
        let before = self.cache.stats().counts.misses;
        for page_id in &self.pages[pages] {
            assert!(read(&self.cache, *page_id).is_some());
        }
        self.cache.stats().counts.misses - before
    }

    /// Reads pages that are not in memory often enough to be in use.
    fn use_pages(&self, pages: Range<usize>) {
        assert_eq!(self.misses(pages.clone()), pages.len() as u64);
        (0..2).for_each(|_| assert_eq!(self.misses(pages.clone()), 0));
    }
}

#[test]
fn pages_in_use_survive_a_scan_of_many_others() {
    let _turn = alone();
    let store = Store::new((0..3000).map(|_| LENGTH), 100 * WEIGHT);
    store.use_pages(0..50);
    assert_eq!(store.misses(100..3000), 2900);
    assert_eq!(store.misses(0..50), 0);
    assert!(store.cache.stats().resident_bytes <= 101 * WEIGHT);
}

#[test]
fn a_page_that_returns_soon_after_its_eviction_stays() {
    let _turn = alone();
    let store = Store::new((0..3000).map(|_| LENGTH), 100 * WEIGHT);
    // These are read again after they have left the small queue, but not the memory of the ghosts.
    store.misses(0..200);
    assert_eq!(store.misses(60..80), 20);
    assert_eq!(store.misses(300..2000), 1700);
    assert_eq!(store.misses(60..80), 0);
    // These return too late to be known.
    assert_eq!(store.misses(500..520), 20);
    store.misses(2000..2500);
    assert_eq!(store.misses(500..520), 20);
}

#[test]
fn one_large_page_does_not_push_out_the_many_small_ones_in_use() {
    let _turn = alone();
    let large = 40 * LENGTH;
    let store = Store::new((0..300).map(|n| if n < 200 { LENGTH } else { large }), 100 * WEIGHT);
    store.use_pages(0..50);
    assert_eq!(store.misses(200..300), 100);
    assert_eq!(store.misses(0..50), 0);
    assert!(store.cache.stats().resident_bytes <= 101 * WEIGHT);
}

#[test]
fn a_page_in_use_stays_in_use_when_it_is_replaced() {
    let _turn = alone();
    let store = Store::new((0..2000).map(|_| LENGTH), 100 * WEIGHT);
    store.use_pages(0..30);
    for page_id in &store.pages[..30] {
        let version = store.cache.version(*page_id).unwrap().unwrap();
        replace(&store.cache, *page_id, version, &[8; LENGTH]);
    }
    assert_eq!(store.misses(100..2000), 1900);
    assert_eq!(store.misses(0..30), 0);
}

#[test]
fn pages_that_are_only_written_leave_those_in_use_alone() {
    let _turn = alone();
    // The new pages need nodes, too.
    let store = Store::new((0..100).map(|_| LENGTH), 100 * WEIGHT + 2000 * 48);
    store.use_pages(0..50);
    for _ in 0..2000 {
        store.cache.allocate(Bytes(vec![9; LENGTH])).unwrap();
    }
    assert_eq!(store.misses(0..50), 0);
    let stats = store.cache.stats();
    let covered = stats.resident_bytes + stats.node_bytes + stats.buffer_bytes;
    assert!(covered <= stats.cache_capacity + 2 * WEIGHT, "{stats:?}");
}

#[test]
fn other_pages_become_hot_and_take_over_the_cache() {
    let _turn = alone();
    let store = Store::new((0..2000).map(|_| LENGTH), 100 * WEIGHT);
    let mut dice = Dice::new(1);
    let mut look_at = |from: u64| {
        let page = (from + dice.below(80)) as usize;
        store.misses(page..page + 1)
    };
    (0..2000).for_each(|_| _ = look_at(0));
    let missed: u64 = (0..2000).map(|_| look_at(1000)).sum();
    assert!(missed < 400, "{missed} misses while 80 pages became hot");
    let missed: u64 = (0..1000).map(|_| look_at(1000)).sum();
    assert!(missed < 20, "{missed} misses with 80 hot pages in a cache for 100");
}

#[test]
fn memory_that_a_reader_gave_up_is_freed_before_its_next_guards() {
    let _turn = alone();
    let store = Store::new((0..300).map(|_| LENGTH), 100 * WEIGHT);
    let dead = || store.cache.stats().dead_bytes;
    let guard = store.cache.pin();
    for page_id in &store.pages {
        assert_eq!(guard.get(*page_id).unwrap().unwrap().merged().0.len(), LENGTH);
    }
    // What was seen through the guard stays as long as it lives.
    assert!(dead() > 150 * WEIGHT, "{} bytes", dead());
    drop(guard);
    // Each time a good piece, lest a pin take long.
    (0..4).for_each(|_| drop(store.cache.pin()));
    assert!(dead() <= 100 * WEIGHT / 16, "{} bytes", dead());
}

#[test]
fn contents_keep_their_floor_when_nodes_take_all_of_the_budget_and_nobody_evicts_in_vain() {
    let _turn = alone();
    let store = Store::new((0..4500).map(|_| LENGTH), 0);
    let nodes = store.cache.stats().node_bytes;
    assert_eq!(store.cache.stats().cache_capacity, nodes);
    // A sixteenth.
    let floor = nodes / 16;
    let fit = (floor / WEIGHT) as usize;
    assert!(fit > 10, "{fit}");
    assert_eq!(store.misses(0..fit), fit as u64);
    let before = store.cache.stats().counts;
    for _ in 0..20 {
        assert_eq!(store.misses(0..fit), 0);
    }
    assert_eq!(store.cache.stats().counts.evictions, before.evictions);
    assert!(before.over_budget > 0, "what can't be kept is counted");
    for page in 100..3000 {
        assert_eq!(store.misses(page..page + 1), 1);
        let stats = store.cache.stats();
        assert!(stats.resident_bytes <= floor, "{stats:?}");
    }
}

/// Links to pages in turn, and says how much the budget covered at most, how many nodes there were in the
/// end, and the figures.
fn link_in_turn(capacity: u64, pages: usize) -> (u64, Stats) {
    let config = Config::with_storage(Arc::new(MemoryStorage::new())).cache_capacity(capacity);
    let cache = open(config.io_buffer_size(4096));
    let allocate = |_| cache.allocate(Bytes(vec![0; LENGTH])).unwrap();
    let mut versions: Vec<_> = (0..pages).map(allocate).map(|page| (page.page_id, page.version)).collect();
    let mut most = 0;
    for _ in 0..20 {
        for (page_id, version) in &mut versions {
            *version = cache.link(*page_id, *version, Bytes(vec![1; 20])).unwrap().done().unwrap();
            let stats = cache.stats();
            let covered = stats.resident_bytes + stats.node_bytes + stats.buffer_bytes + stats.dead_bytes;
            most = most.max(covered);
        }
    }
    for (page_id, _) in &versions {
        assert_eq!(read(&cache, *page_id).unwrap().len(), LENGTH + 20 * 20);
    }
    (most, cache.stats())
}

#[test]
fn many_small_links_keep_to_the_budget_by_shorter_chains() {
    const PAGES: usize = 1000;
    const AMPLE: u64 = 64 << 20;
    let _turn = alone();
    let (_, ample) = link_in_turn(AMPLE, PAGES);
    assert_eq!(ample.counts.consolidations, 0);
    assert!(ample.node_bytes > 1000 * PAGES as u64, "{ample:?}");
    // Half as much as the nodes alone would take.
    let capacity = ample.node_bytes / 2;
    let (most, stats) = link_in_turn(capacity, PAGES);
    assert!(most <= capacity + capacity / 10, "{most} of {capacity}: {stats:?}");
    assert!(stats.node_bytes <= capacity / 2, "{stats:?}");
    // Links get room while there is some, and few have to rewrite a page even so.
    assert!((1000..5000).contains(&stats.counts.consolidations), "{stats:?}");
}

/// How often this thread has slept or waited so far, where the system tells.
fn times_slept() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/thread-self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?.trim().parse().ok()
}

/// On a busy machine a reader can wait for a processor while it holds a guard, and for long. Writers beside
/// it once had ten times the budget waiting to be freed (the long soak at a load of ten).
#[test]
fn writers_beside_a_reader_that_stays_keep_to_the_budget_and_go_on() {
    const CAPACITY: u64 = 4 << 20;
    const WRITES: u32 = 100;
    /// Somewhat less than each waits.
    const WAIT: Duration = Duration::from_micros(1600);
    let _turn = alone();
    let storage = Arc::new(MemoryStorage::new());
    let cache = open(Config::with_storage(storage).cache_capacity(CAPACITY).io_buffer_size(64 << 10));
    let guard = cache.pin();
    let dead = || cache.stats().dead_bytes;
    let (took, slept) = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let page = cache.allocate(Bytes(vec![1; 1000])).unwrap();
            let mut version = page.version;
            let mut write = || version = replace(&cache, page.page_id, version, &[2; 1000]);
            // There is next to nothing else in the budget.
            while dead() <= CAPACITY {
                write();
            }
            let (began, slept) = (Instant::now(), times_slept());
            (0..WRITES).for_each(|_| write());
            (began.elapsed(), slept.and_then(|before| Some(times_slept()? - before)))
        });
        writer.join().unwrap()
    });
    let dead = dead();
    drop(guard);
    assert!(took >= WRITES * WAIT, "{WRITES} writes took {took:?}");
    // On a busy machine they may have taken long without a wait of their own, and now and then have to wait
    // no more.
    assert!(
        slept.is_none_or(|slept| slept >= u64::from(WRITES / 2)),
        "it slept {slept:?} times in {WRITES} writes"
    );
    // It goes on, and not for nothing.
    assert!(dead < CAPACITY * 5 / 4, "{dead} bytes wait for the reader");
}

/// One change or read of one of the pages, or a new page.
fn step(cache: &PageCache<Bytes>, pages: &[PageId], dice: &mut Dice) {
    let page_id = pages[dice.below(pages.len() as u64) as usize];
    let bytes = Bytes(vec![1; 100 + dice.below(1500) as usize]);
    let version = || cache.version(page_id).unwrap().unwrap();
    match dice.below(8) {
        0 => _ = cache.allocate(bytes).unwrap(),
        1..4 => _ = read(cache, page_id).unwrap(),
        // Another thread may have been quicker.
        4 | 5 => _ = cache.replace(page_id, version(), bytes).unwrap(),
        _ => _ = cache.link(page_id, version(), Bytes(vec![2; 50])).unwrap(),
    }
}

#[test]
fn eight_threads_that_read_and_write_keep_to_the_budget() {
    const CAPACITY: u64 = 8 << 20;
    const PAGES: usize = 16_000;
    const THREADS: u64 = 8;
    const ROUNDS: u64 = 4000;
    /// For what the threads have in hand, each an operation's worth or two.
    const IN_HAND: u64 = 256 << 10;
    let _turn = alone();
    let storage = Arc::new(MemoryStorage::new());
    let cache = open(Config::with_storage(storage).cache_capacity(CAPACITY).io_buffer_size(64 << 10));
    let allocate = |n| cache.allocate(Bytes(vec![0; 100 + n % 1500])).unwrap().page_id;
    // Nearly twice as much as there is room for.
    let pages: Vec<PageId> = (0..PAGES).map(allocate).collect();
    let most = AtomicU64::new(0);
    thread::scope(|scope| {
        for seed in 1..=THREADS {
            let (cache, pages, most) = (&cache, &pages, &most);
            scope.spawn(move || {
                let mut dice = Dice::new(seed);
                for round in 0..ROUNDS {
                    step(cache, pages, &mut dice);
                    if round % 8 == 0 {
                        let stats = cache.stats();
                        let covered = stats.resident_bytes + stats.node_bytes + stats.buffer_bytes;
                        most.fetch_max(covered, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let (stats, most) = (cache.stats(), most.into_inner());
    println!("at most {:.3} of the capacity; {:?}", most as f64 / CAPACITY as f64, stats.counts);
    assert!(stats.counts.evictions > 8000 && stats.counts.misses > 2000, "{stats:?}");
    assert!(most > CAPACITY * 9 / 10, "the budget was not used: {most}");
    assert!(most <= CAPACITY + CAPACITY / 10 + IN_HAND, "{most} of {CAPACITY}");
}
