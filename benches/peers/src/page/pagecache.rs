//! pagecache, the ancestor.

use std::fmt;
use std::path::Path;

use pagecache::{ConfigBuilder, Materializer, PageCache, pin};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Store;
use crate::engine::{Engine, FRAGMENT};

/// The ids below are the store's own.
const FIRST: u64 = 3;

/// A page of bytes, or bytes to append to one. Encoded as one string of bytes, not as a sequence of numbers,
/// which is slower.
#[derive(Clone, Debug)]
struct Bytes(Vec<u8>);

impl Materializer for Bytes {
    fn merge(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_byte_buf(Taker)
    }
}

struct Taker;

impl Visitor<'_> for Taker {
    type Value = Bytes;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
        Ok(Bytes(bytes.to_vec()))
    }

    fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
        Ok(Bytes(bytes))
    }
}

/// A store with its pages.
pub struct Pages {
    cache: PageCache<Bytes>,
    ids: Vec<u64>,
}

impl Pages {
    pub fn open(directory: &Path, pages: usize, cache: u64) -> Self {
        let config = ConfigBuilder::new().path(directory).cache_capacity(cache).build();
        let cache = PageCache::start(config).expect("it opens");
        Self { cache, ids: (FIRST..FIRST + pages as u64).collect() }
    }

    /// Links, on the pointer that comes with a page, which is what stands for a version here; and then on
    /// those that come back. Returns the log sequence number of the last link.
    fn link_all(&self, page: usize, fragment: [u8; FRAGMENT], links: usize) -> i64 {
        let (guard, id) = (pin(), self.ids[page]);
        let (mut pointer, ..) = self.cache.get(id, &guard).expect("a read").expect("a page");
        let (mut left, mut content) = (links, Bytes(fragment.to_vec()));
        while left > 0 {
            match self.cache.link(id, pointer, content, &guard).expect("a write") {
                Ok(new) => {
                    (pointer, left) = (new, left - 1);
                    content = Bytes(fragment.to_vec());
                }
                Err(Some((current, back))) => (pointer, content) = (current, back),
                Err(None) => unreachable!("nobody frees pages"),
            }
        }
        pointer.last_lsn()
    }
}

impl Engine for Pages {
    fn link(&self, page: usize, fragment: [u8; FRAGMENT]) {
        self.link_all(page, fragment, 1);
    }

    fn chain(&self, page: usize, fragment: [u8; FRAGMENT], links: usize) {
        self.link_all(page, fragment, links);
    }

    fn replace(&self, page: usize, content: Vec<u8>) {
        let (guard, id) = (pin(), self.ids[page]);
        let (mut pointer, ..) = self.cache.get(id, &guard).expect("a read").expect("a page");
        let mut content = Bytes(content);
        loop {
            match self.cache.replace(id, pointer, content, &guard).expect("a write") {
                Ok(_) => return,
                Err(Some((current, back))) => (pointer, content) = (current, back),
                Err(None) => unreachable!("nobody frees pages"),
            }
        }
    }

    fn get(&self, page: usize) -> u8 {
        let guard = pin();
        let (_, bytes, _) = self.cache.get(self.ids[page], &guard).expect("a read").expect("a page");
        bytes.0[17]
    }

    fn commit(&self, page: usize, fragment: [u8; FRAGMENT]) {
        let lsn = self.link_all(page, fragment, 1);
        self.cache.make_stable(lsn).expect("a commit");
    }

    fn whole(&self, page: usize) -> Vec<u8> {
        let guard = pin();
        let (_, bytes, _) = self.cache.get(self.ids[page], &guard).expect("a read").expect("a page");
        bytes.0.clone()
    }

    fn flush(&self) {
        self.cache.flush().expect("a flush");
    }
}

impl Store for Pages {
    fn fill(&mut self, pages: usize, length: usize) {
        for page in self.ids.len()..self.ids.len() + pages {
            let guard = pin();
            let (id, _) = self.cache.allocate(Bytes(vec![page as u8; length]), &guard).expect("a page");
            assert!(self.ids.is_empty() <= (id == FIRST), "the first page is {id}");
            self.ids.push(id);
        }
    }

    fn free(&self, page: usize) {
        let (guard, id) = (pin(), self.ids[page]);
        let (pointer, ..) = self.cache.get(id, &guard).expect("a read").expect("a page");
        assert!(self.cache.free(id, pointer, &guard).expect("a write").is_ok());
    }

    fn settle(&self) {
        // The free list is filled when the epoch has moved on.
        (0..8).for_each(|_| pin().flush());
    }

    fn close(self: Box<Self>) {
        self.flush();
    }
}
