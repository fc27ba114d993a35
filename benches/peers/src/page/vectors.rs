//! pagelog with pages that are never linked to. The fragment of the other cells has place for a link in
//! itself, 64 bytes that save an allocation for each link and that a page does not use; where memory is
//! measured, a page is a vector, as with the other engines.

use std::path::Path;

use pagelog::{PageCache, PageId};

use super::Store;
use super::pagelog::config;
use crate::bytes::Bytes;
use crate::engine::{Engine, FRAGMENT};

pub struct Vectors {
    cache: PageCache<Bytes>,
    pages: usize,
}

/// Ids are handed out in order.
fn page_id(page: usize) -> PageId {
    PageId::new(page as u64 + 1)
}

impl Vectors {
    pub fn open(directory: &Path, pages: usize, capacity: u64) -> Self {
        let cache = config(directory, capacity).open().expect("it opens");
        Self { cache, pages }
    }
}

impl Engine for Vectors {
    fn link(&self, _: usize, _: [u8; FRAGMENT]) {
        unimplemented!("its pages are not linked to");
    }

    fn chain(&self, _: usize, _: [u8; FRAGMENT], _: usize) {
        unimplemented!("its pages are not linked to");
    }

    fn replace(&self, _: usize, _: Vec<u8>) {
        unimplemented!("its pages are only read");
    }

    fn get(&self, page: usize) -> u8 {
        let guard = self.cache.pin();
        guard.get(page_id(page)).expect("a read").expect("a page").merged().0[17]
    }

    fn commit(&self, _: usize, _: [u8; FRAGMENT]) {
        unimplemented!("its pages are not linked to");
    }

    fn whole(&self, page: usize) -> Vec<u8> {
        let guard = self.cache.pin();
        guard.get(page_id(page)).expect("a read").expect("a page").merged().0.clone()
    }

    fn flush(&self) {
        self.cache.flush().expect("a flush");
    }
}

impl Store for Vectors {
    fn fill(&mut self, pages: usize, length: usize) {
        for page in self.pages..self.pages + pages {
            let allocated = self.cache.allocate(Bytes(vec![page as u8; length])).expect("a page");
            assert_eq!(allocated.page_id, page_id(page));
        }
        self.pages += pages;
    }

    fn free(&self, _: usize) {
        unimplemented!("its pages are only read");
    }

    fn close(self: Box<Self>) {
        self.flush();
        self.cache.close().expect("it closes");
    }
}
