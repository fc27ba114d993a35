//! How large to make things.
//!
//! Bucket pages should hold a few kilobytes: small enough that merging one is quick, large enough that a
//! page's overhead does not matter. Text becomes postings of about half its size, so a bucket for every 4 KiB
//! of text is about right.
//!
//! A page must fit in a segment, and the bucket with the commonest word holds a share of all text: a byte for
//! every line that has the word, 1 % or so in prose. So segments grow with the text as well: a 32nd of it.
//!
//! A real index would get a cache as large as memory allows. This one gets a sixth of the text, a fraction of
//! what the index takes in memory, to show what the cache does when it is too small.

use std::path::Path;

use pagelog::Config;

use crate::options::Options;
use crate::sources::Sources;

const TEXT_PER_BUCKET: u64 = 4 << 10;
const FILES_PER_SHELF: u64 = 16;

#[derive(Clone, Debug)]
pub struct Plan {
    pub buckets: usize,
    pub shelves: usize,
    pub cache: u64,
    /// `None` for a store that is there: it keeps its own.
    pub segment: Option<u32>,
}

impl Plan {
    pub fn new(options: &Options, sources: &Sources, store_is_new: bool) -> Self {
        let text = sources.text_bytes();
        let segment = (text / 32).next_power_of_two().clamp(16 << 10, 64 << 20) as u32;
        Self {
            buckets: (text / TEXT_PER_BUCKET).clamp(16, 1 << 16) as usize,
            shelves: (sources.files().len() as u64 / FILES_PER_SHELF).clamp(1, 1 << 12) as usize,
            cache: options.cache.unwrap_or((text / 6).max(64 << 10)),
            segment: options.segment.or(store_is_new.then_some(segment)),
        }
    }

    pub fn config(&self, store: &Path) -> Config {
        // Write buffers are part of the cache's memory: four of them take an eighth of it.
        let buffer = (self.cache / 32).clamp(4 << 10, 256 << 10) as u32;
        let config = Config::new(store).cache_capacity(self.cache).io_buffer_size(buffer);
        // Buckets are read as often as they are written, so chains are kept short.
        let config = config.max_chain_ratio(2.0);
        match self.segment {
            Some(bytes) => config.segment_size(bytes),
            None => config,
        }
    }
}
