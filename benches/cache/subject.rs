//! pagelog itself: a store in memory, opened anew for each measurement.

use std::sync::Arc;

use pagelog::{Config, MemoryStorage, PageCache, PageId, Storage};

use crate::bytes::Bytes;
use crate::traces::Trace;

/// What a page of that length takes of the cache's budget.
pub fn weight(length: usize) -> u64 {
    (size_of::<Bytes>() + length) as u64
}

/// What was measured.
pub struct Measured {
    pub hit_ratio: f64,
    /// The most bytes of contents seen, relative to the capacity. Looked at now and then.
    pub fullest: f64,
    pub nanoseconds: f64,
}

/// A store with the pages of a trace.
pub struct Subject {
    storage: Arc<MemoryStorage>,
    pages: Vec<PageId>,
    /// Bytes of the nodes of all pages.
    nodes: u64,
}

impl Subject {
    pub fn create(trace: &Trace) -> Self {
        let storage = Arc::new(MemoryStorage::new());
        let config = Config::with_storage(Arc::clone(&storage) as Arc<dyn Storage>);
        let cache: PageCache<Bytes> = config.open().expect("a new store");
        let allocate = |(page, length): (usize, &usize)| {
            cache.allocate(Bytes(vec![page as u8; *length])).expect("a page").page_id
        };
        let pages = trace.lengths.iter().enumerate().map(allocate).collect();
        let nodes = cache.stats().node_bytes;
        cache.close().expect("it closes");
        Self { storage, pages, nodes }
    }

    /// Reads the trace with a cache that is empty at first. The store is read-only, so there are no write
    /// buffers; and the nodes of all pages, which take the same at any time, come on top. So all of the
    /// capacity is for contents.
    pub fn measure(&self, trace: &Trace, capacity: u64) -> Measured {
        let config = Config::with_storage(Arc::clone(&self.storage) as Arc<dyn Storage>);
        let config = config.read_only(true).cache_capacity(capacity + self.nodes);
        let cache: PageCache<Bytes> = config.open().expect("the store");
        assert_eq!(cache.stats().buffer_bytes, 0);
        for page_id in &self.pages {
            assert!(cache.version(*page_id).expect("a version").is_some());
        }
        assert_eq!(cache.stats().node_bytes, self.nodes);
        let (start, mut fullest) = (std::time::Instant::now(), 0);
        for (count, page) in trace.reads.iter().enumerate() {
            let guard = cache.pin();
            let found = guard.get(self.pages[*page as usize]).expect("it can be read").expect("it is there");
            assert_eq!(found.merged().0.first(), Some(&(*page as u8)));
            if count % 1024 == 0 {
                fullest = fullest.max(cache.stats().resident_bytes);
            }
        }
        let nanoseconds = start.elapsed().as_nanos() as f64 / trace.reads.len() as f64;
        let counts = cache.stats().counts;
        let reads = trace.reads.len() as u64;
        assert_eq!(counts.hits + counts.misses, reads);
        Measured {
            hit_ratio: 100.0 * (reads - counts.misses) as f64 / reads as f64,
            fullest: fullest as f64 / capacity as f64,
            nanoseconds,
        }
    }
}
