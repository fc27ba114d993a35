//! What the hot paths take from the allocator: a hit nothing, a link its share of a chunk and nothing for
//! accounting.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use pagelog::{Cas, Codec, CodecError, Config, Fragment, MemoryStorage, PageCache, PageId, Version};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
}

// SAFETY: all is left to the system's allocator; counting touches a cell that needs no allocation and no
// destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's contract.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What this thread allocates in `work`.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

/// A fragment without heap memory, whose encoded form is there already.
#[derive(Debug)]
struct Tiny([u8; 8]);

struct AsIs;

impl Codec<Tiny> for AsIs {
    fn encode(fragment: &Tiny, into: &mut Vec<u8>) -> Result<(), CodecError> {
        into.extend_from_slice(&fragment.0);
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Tiny, CodecError> {
        bytes.try_into().map(Tiny).map_err(|_| CodecError::from("not eight bytes"))
    }
}

impl Fragment for Tiny {
    type Codec = AsIs;

    fn merge(oldest_to_newest: &[&Self]) -> Self {
        Self(oldest_to_newest.last().map_or([0; 8], |tiny| tiny.0))
    }
}

fn open() -> PageCache<Tiny> {
    let config = Config::with_storage(Arc::new(MemoryStorage::new()));
    config.max_chain_length(10_000).max_chain_ratio(1000.0).open().unwrap()
}

fn link(cache: &PageCache<Tiny>, page_id: PageId, version: Version) -> Version {
    match cache.link(page_id, version, Tiny([7; 8])) {
        Ok(Cas::Done { version, .. }) => version,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_hit_allocates_nothing() {
    let cache = open();
    let pages: Vec<PageId> = (0..100).map(|_| cache.allocate(Tiny([1; 8])).unwrap().page_id).collect();
    // Some were linked to, and merged by a first reader.
    for page_id in pages.iter().step_by(3) {
        let version = cache.version(*page_id).unwrap().unwrap();
        link(&cache, *page_id, version);
    }
    let read_all = || {
        for page_id in &pages {
            let guard = cache.pin();
            let page = guard.get(*page_id).unwrap().unwrap();
            assert!(page.merged().0[0] > 0);
            assert!(page.fragments().next().is_some());
            assert!(page.version() >= Version::new(1) && page.size_on_disk() > 0);
        }
    };
    read_all();
    let before = cache.stats().counts;
    let made = allocations(|| (0..200).for_each(|_| read_all()));
    println!("{made} allocations in 20000 hits");
    assert_eq!(made, 0);
    assert_eq!(cache.stats().counts.hits - before.hits, 20_000);
}

#[test]
fn a_read_of_links_that_nobody_has_merged_allocates_nothing() {
    let cache = open();
    let page = cache.allocate(Tiny([1; 8])).unwrap();
    let version = (0..20).fold(page.version, |version, _| link(&cache, page.page_id, version));
    let made = allocations(|| {
        for _ in 0..1000 {
            let guard = cache.pin();
            let page = guard.get(page.page_id).unwrap().unwrap();
            assert_eq!((page.version(), page.fragments().len()), (version, 21));
            let sum: u64 = page.fragments().map(|tiny| u64::from(tiny.0[0])).sum();
            assert_eq!(sum, 20 * 7 + 1);
        }
    });
    println!("{made} allocations in 1000 reads");
    assert_eq!(made, 0);
}

#[test]
fn a_link_allocates_its_share_of_a_chunk_and_nothing_for_accounting() {
    const LINKS: u64 = 3000;
    let cache = open();
    let page = cache.allocate(Tiny([1; 8])).unwrap();
    // The first links make buffers, scratch memory and the thread's place in the collector.
    let mut version = (0..100).fold(page.version, |version, _| link(&cache, page.page_id, version));
    let before = cache.stats().counts;
    let made = allocations(|| (0..LINKS).for_each(|_| version = link(&cache, page.page_id, version)));
    let after = cache.stats().counts;
    assert_eq!((after.links - before.links, after.consolidations), (LINKS, 0));
    println!("{made} allocations in {LINKS} links: one in {:.1}", LINKS as f64 / made as f64);
    // A chunk has room for fourteen.
    assert!(made <= LINKS.div_ceil(14), "{made}");
}

#[test]
fn a_replace_allocates_its_page_and_its_node() {
    const TIMES: u64 = 2000;
    let cache = open();
    let page = cache.allocate(Tiny([1; 8])).unwrap();
    let mut version = page.version;
    let mut replace = || match cache.replace(page.page_id, version, Tiny([2; 8])) {
        Ok(Cas::Done { version: next, .. }) => version = next,
        other => panic!("{other:?}"),
    };
    (0..500).for_each(|_| replace());
    let made = allocations(|| (0..TIMES).for_each(|_| replace()));
    println!("{made} allocations in {TIMES} replaces");
    // The contents, the node, and now and then a bag of what waits for readers.
    assert!(made <= 2 * TIMES + TIMES / 16, "{made}");
}

#[test]
fn looking_at_versions_and_losing_races_for_an_old_version_allocates_nothing() {
    let cache = open();
    let page = cache.allocate(Tiny([1; 8])).unwrap();
    let version = link(&cache, page.page_id, page.version);
    let made = allocations(|| {
        for _ in 0..1000 {
            assert_eq!(cache.version(page.page_id).unwrap(), Some(version));
            assert!(matches!(cache.link(page.page_id, page.version, Tiny([0; 8])), Ok(Cas::Changed { .. })));
            assert!(matches!(cache.free(page.page_id, page.version), Ok(Cas::Changed { .. })));
        }
    });
    assert_eq!(made, 0);
}
