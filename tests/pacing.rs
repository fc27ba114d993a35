//! What a single write has to do for all: no more than its share.
//!
//! Times depend on the machine; so what is asserted is how much a call asks of the storage, and which thread
//! asks.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;
#[path = "support/observed.rs"]
mod observed;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::ThreadId;
#[cfg(target_os = "linux")]
use std::time::{Duration, Instant};

use common::{Bytes, alone, open};
use observed::{Observed, Observer};
use pagelog::{Config, MemoryStorage};

const SEGMENT: u32 = 256 << 10;
/// What comes between two steps of the housekeeping.
const STEP: u64 = 64 << 10;

/// Counts what the thread asks for that it was made on, and what others do.
#[derive(Debug)]
struct Counted {
    writer: ThreadId,
    /// The end of the log file.
    length: AtomicU64,
    syncs: [AtomicU64; 2],
    entries: [AtomicU64; 2],
}

impl Default for Counted {
    fn default() -> Self {
        let (length, syncs, entries) = Default::default();
        Self { writer: std::thread::current().id(), length, syncs, entries }
    }
}

impl Counted {
    fn count(&self, counters: &[AtomicU64; 2]) {
        let is_other = std::thread::current().id() != self.writer;
        counters[usize::from(is_other)].fetch_add(1, Ordering::Relaxed);
    }

    /// Syncs, and entries of the manifest, by the writer and by others.
    #[cfg(target_os = "linux")]
    fn seen(&self) -> [[u64; 2]; 2] {
        [&self.syncs, &self.entries].map(|both| both.each_ref().map(|one| one.load(Ordering::Relaxed)))
    }
}

impl Observer for Counted {
    fn before_write(&self, name: &str, bytes: &[u8], offset: u64) -> io::Result<()> {
        match name {
            "log" => _ = self.length.fetch_max(offset + bytes.len() as u64, Ordering::Relaxed),
            // Also after it was written anew beside the old one.
            "MANIFEST" | "MANIFEST.new" => self.count(&self.entries),
            _ => {}
        }
        Ok(())
    }

    fn before_sync(&self, _name: &str) {
        self.count(&self.syncs);
    }
}

fn store() -> (Config, Arc<Counted>) {
    let storage = Observed::new(MemoryStorage::new(), Counted::default());
    let observer = Arc::clone(&storage.observer);
    let config = Config::with_storage(Arc::new(storage)).segment_size(SEGMENT).io_buffer_size(16 << 10);
    (config, observer)
}

/// A claim used to take up to eight segments, and filled them all with zeros while a writer, and who came
/// next, waited.
#[test]
fn a_file_grows_in_small_steps() {
    let _turn = alone();
    let (config, observer) = store();
    let cache = open(config);
    let mut largest = 0;
    // 600 segments: claims take eight of them at once by now.
    while observer.length.load(Ordering::Relaxed) < 600 * u64::from(SEGMENT) {
        let before = observer.length.load(Ordering::Relaxed);
        cache.allocate(Bytes(vec![7; 4000])).unwrap();
        // The first segments come before there is anything to prepare for.
        if before > 16 * u64::from(SEGMENT) {
            largest = largest.max(observer.length.load(Ordering::Relaxed) - before);
        }
    }
    assert!(largest <= 2 * STEP, "{largest} bytes in one call");
    // Prepared is not used: what a store has that is closed, it needs.
    let live = cache.stats().live_bytes;
    drop(cache);
    assert!(observer.length.load(Ordering::Relaxed) < live + live / 10);
}

/// Whether the store's thread has done all there is to do.
#[cfg(target_os = "linux")]
fn the_thread_sleeps() -> bool {
    common::all_sleep(|_, name| name == "pagelog")
}

#[test]
#[cfg(target_os = "linux")]
fn with_a_thread_for_it_writers_neither_sync_nor_claim_segments() {
    let _turn = alone();
    let (config, observer) = store();
    let cache = open(config.background(true));
    let pages: Vec<_> = (0..200).map(|_| cache.allocate(Bytes(vec![7; 4000])).unwrap().page_id).collect();
    let limit = Instant::now() + Duration::from_secs(60);
    let mut seen = Vec::new();
    for _ in 0..80 {
        for (number, page_id) in pages.iter().enumerate() {
            let version = cache.version(*page_id).unwrap().unwrap();
            cache.replace(*page_id, version, Bytes(vec![8; 4000])).unwrap().done().unwrap();
            // Writers that are far ahead of the thread lend a hand; so let it come after, twice in a segment.
            while number.is_multiple_of(32) && !the_thread_sleeps() {
                assert!(Instant::now() < limit, "the thread finds no end");
                std::thread::yield_now();
            }
        }
        seen.push(observer.seen());
    }
    let ([syncs, entries], [syncs_now, entries_now]) = (seen[1], seen[79]);
    assert_eq!((syncs_now[0], entries_now[0]), (syncs[0], entries[0]), "by the writer");
    assert!(syncs_now[1] > syncs[1] && entries_now[1] >= entries[1] + 150);
}
