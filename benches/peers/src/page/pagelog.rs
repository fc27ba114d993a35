//! pagelog.

use std::path::Path;

use pagelog::Config;

use super::Store;
use crate::engine::Engine;
use crate::settings::space_target;
use crate::subject::Subject;

/// The defaults, but for the size of the cache, and the space target if the environment has one.
pub fn config(directory: &Path, cache: u64) -> Config {
    let config = Config::new(directory).cache_capacity(cache);
    match space_target() {
        Some(target) => config.space_target(target),
        None => config,
    }
}

pub fn open(directory: &Path, pages: usize, cache: u64) -> Subject {
    Subject::open(config(directory, cache), pages)
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
