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
        Self::report(self)
    }

    fn close(self: Box<Self>) {
        Engine::flush(&*self);
        self.cache.close().expect("it closes");
    }
}
