//! marble, a heap of objects on disk, without a cache.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use marble::{Config, Marble};

use super::Store;
use crate::engine::{Engine, FRAGMENT};

/// Each batch is a file, so it wants large ones.
const BATCH: usize = 1024;
/// How many batches come between two calls for maintenance.
const BETWEEN_MAINTENANCE: usize = 16;

/// A heap with its objects.
pub struct Objects {
    /// A handle is for one thread; nothing here takes more, so the lock is free whenever it is taken.
    heap: Mutex<Marble>,
    pages: usize,
    batches: AtomicUsize,
}

impl Objects {
    pub fn open(directory: &Path, pages: usize) -> Self {
        let heap = Config { path: directory.into(), ..Config::default() }.open().expect("it opens");
        Self { heap: Mutex::new(heap), pages, batches: AtomicUsize::new(0) }
    }

    fn heap(&self) -> MutexGuard<'_, Marble> {
        self.heap.lock().expect("a lock")
    }

    fn read(&self, page: usize) -> Box<[u8]> {
        self.heap().read(page as u64).expect("a read").expect("an object")
    }

    fn write(&self, pages: impl Iterator<Item = usize>, length: usize) {
        // An object can be in a batch once.
        let batch: BTreeMap<u64, _> =
            pages.map(|page| (page as u64, Some(vec![page as u8; length]))).collect();
        self.heap().write_batch(batch).expect("a batch");
    }
}

impl Engine for Objects {
    fn link(&self, _: usize, _: [u8; FRAGMENT]) {
        unimplemented!("marble has no links");
    }

    fn chain(&self, _: usize, _: [u8; FRAGMENT], _: usize) {
        unimplemented!("marble has no links");
    }

    fn replace(&self, page: usize, content: Vec<u8>) {
        self.heap().write_batch([(page as u64, Some(content))]).expect("a batch");
    }

    fn get(&self, page: usize) -> u8 {
        self.read(page)[17]
    }

    fn commit(&self, _: usize, _: [u8; FRAGMENT]) {
        unimplemented!("marble has no links");
    }

    fn whole(&self, page: usize) -> Vec<u8> {
        self.read(page).into_vec()
    }

    fn flush(&self) {
        self.heap().sync_all().expect("a sync");
    }
}

impl Store for Objects {
    fn fill(&mut self, pages: usize, length: usize) {
        let end = self.pages + pages;
        while self.pages < end {
            let next = end.min(self.pages + BATCH);
            self.write(self.pages..next, length);
            self.pages = next;
        }
        self.heap().maintenance().expect("maintenance");
    }

    fn free(&self, _: usize) {
        unimplemented!("marble has no free list");
    }

    fn overwrite(&self, pages: &[usize], length: usize) {
        for batch in pages.chunks(BATCH) {
            self.write(batch.iter().copied(), length);
            let batches = self.batches.fetch_add(1, Ordering::Relaxed) + 1;
            if batches.is_multiple_of(BETWEEN_MAINTENANCE) {
                self.heap().maintenance().expect("maintenance");
            }
        }
    }

    fn miss_share(&self) -> f64 {
        1.0
    }

    fn close(self: Box<Self>) {
        self.flush();
    }
}
