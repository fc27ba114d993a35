//! pagelog.

use std::path::Path;

use pagelog::Config;

use super::Store;
use crate::engine::Engine;
use crate::subject::Subject;

/// With the defaults, but for the size of the cache.
pub fn open(directory: &Path, pages: usize, cache: u64) -> Subject {
    Subject::open(Config::new(directory).cache_capacity(cache), pages)
}

impl Store for Subject {
    fn fill(&mut self, pages: usize, length: usize) {
        Self::fill(self, pages, length);
    }

    fn free(&self, page: usize) {
        Self::free(self, page);
    }

    fn miss_share(&self) -> f64 {
        let counts = self.cache.stats().counts;
        counts.misses as f64 / (counts.misses + counts.hits) as f64
    }

    fn report(&self) -> String {
        let stats = self.cache.stats();
        format!(
            "{} consolidations, {} bytes relocated, {} syncs, {} snapshots, {} evictions, space {:.2}",
            stats.counts.consolidations,
            stats.counts.relocated_bytes,
            stats.counts.syncs,
            stats.counts.snapshots,
            stats.counts.evictions,
            stats.space_amplification()
        )
    }

    fn close(self: Box<Self>) {
        Engine::flush(&*self);
        self.cache.close().expect("it closes");
    }
}
