//! What the tests share: two kinds of fragments, tiny stores, and a look at the bytes of a directory.

#![allow(dead_code, unused_imports, reason = "each test uses a part of it")]

#[path = "../support/alone.rs"]
mod alone;
#[path = "../support/bytes.rs"]
mod bytes;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

pub use alone::{all_sleep, alone};
pub use bytes::{Bytes, Raw};
use pagelog::{Codec, CodecError, Config, Fragment, PageCache, PageId, Storage, Version};

/// A page that is the sum of its fragments.
#[derive(Debug, PartialEq, Eq)]
pub struct Sum(pub i64);

impl Codec<Sum> for Raw {
    fn encode(fragment: &Sum, into: &mut Vec<u8>) -> Result<(), CodecError> {
        into.extend_from_slice(&fragment.0.to_le_bytes());
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Sum, CodecError> {
        let bytes = bytes.try_into().map_err(|_| CodecError::from("not eight bytes"))?;
        Ok(Sum(i64::from_le_bytes(bytes)))
    }
}

impl Fragment for Sum {
    type Codec = Raw;

    fn merge(oldest_to_newest: &[&Self]) -> Self {
        Self(oldest_to_newest.iter().map(|sum| sum.0).sum())
    }
}

/// A store so small that buffers and segments are used up all the time.
pub fn tiny<S: Storage>(storage: &Arc<S>) -> Config {
    let config = Config::with_storage(Arc::clone(storage) as Arc<dyn Storage>);
    config.segment_size(1000).io_buffer_size(512).io_buffers(2).cache_capacity(4096).snapshot_interval(4096)
}

/// Opens a page cache of bytes.
pub fn open(config: Config) -> PageCache<Bytes> {
    config.open().expect("it opens")
}

/// The merged page.
pub fn read(cache: &PageCache<Bytes>, page_id: PageId) -> Option<Vec<u8>> {
    cache.pin().get(page_id).expect("it can be read").map(|page| page.merged().0.clone())
}

/// Links where no other thread writes.
pub fn link(cache: &PageCache<Bytes>, page_id: PageId, version: Version, bytes: &[u8]) -> Version {
    cache.link(page_id, version, Bytes(bytes.to_vec())).expect("it links").done().expect("there is no race")
}

/// Replaces where no other thread writes.
pub fn replace(cache: &PageCache<Bytes>, page_id: PageId, version: Version, bytes: &[u8]) -> Version {
    cache
        .replace(page_id, version, Bytes(bytes.to_vec()))
        .expect("it replaces")
        .done()
        .expect("there is no race")
}

/// Everything below a directory, by path: `None` for directories.
pub fn contents(directory: &Path) -> BTreeMap<String, Option<Vec<u8>>> {
    fn collect(root: &Path, directory: &Path, into: &mut BTreeMap<String, Option<Vec<u8>>>) {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            let name = path.strip_prefix(root).expect("below the root").display().to_string();
            if path.is_dir() {
                into.insert(name, None);
                collect(root, &path, into);
            } else {
                into.insert(name, Some(fs::read(&path).expect("a file")));
            }
        }
    }
    let mut all = BTreeMap::new();
    collect(directory, directory, &mut all);
    all
}

/// A generator of numbers that look random and are the same in every run.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for index in (1..items.len()).rev() {
            items.swap(index, self.below(index as u64 + 1) as usize);
        }
    }
}
