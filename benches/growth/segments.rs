//! The number of segments: tiny ones, so that there are as many as a large store has.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use pagelog::{Config, MemoryStorage, PageCache, PageId};

use crate::common::{Bytes, Random, allocate, replace};
use crate::observed::{Observed, Observer};

/// The smallest that there are.
const SEGMENT: u32 = 512;
const PAGE: usize = 64;
/// Records in a segment, about.
const RECORDS: usize = 5;
/// How many steps of garbage collection are timed.
const STEPS: usize = 2000;
/// Steps between two flushes, which make what was emptied free.
const FLUSHED: usize = 16;

/// Counts what is read of which file.
#[derive(Debug, Default)]
struct ReadBytes(AtomicU64);

impl Observer for ReadBytes {
    fn before_read(&self, length: usize, _: u64) -> io::Result<()> {
        self.0.fetch_add(length as u64, Ordering::Relaxed);
        Ok(())
    }
}

/// What a number of segments comes to.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    pub segments: u32,
    /// Microseconds of a step of garbage collection, on average, and of the longest one.
    pub step: f64,
    pub longest: f64,
    /// Milliseconds of opening.
    pub open: f64,
    /// Bytes of the log that opening reads.
    pub log_read: u64,
}

/// Garbage collection only when it is asked for, and snapshots as well.
fn config(storage: &Arc<Observed<MemoryStorage, ReadBytes>>) -> Config {
    let config = Config::with_storage(Arc::clone(storage) as Arc<_>).garbage_collection(false);
    config.segment_size(SEGMENT).io_buffer_size(SEGMENT).cache_capacity(4 << 30).snapshots(false)
}

pub fn measure(segments: usize) -> Measured {
    let storage = Arc::new(Observed::new(MemoryStorage::new(), ReadBytes::default()));
    let cache: PageCache<Bytes> = config(&storage).open().expect("a store");
    let pages = segments * RECORDS;
    let mut all: Vec<_> = (0..pages).map(|_| allocate(&cache, vec![1; PAGE])).collect();
    let mut random = Random::new(7);
    let mut overwrite = |times: usize| {
        for _ in 0..times {
            let at = random.below(pages);
            replace(&cache, &mut all[at], vec![2; PAGE]);
        }
    };
    // A third of what there is dies, all over the file.
    overwrite(pages / 3);
    cache.flush().expect("a flush");
    let (mut taken, mut longest) = (0.0, 0.0);
    for step in 0..STEPS {
        if step % FLUSHED == 0 {
            cache.flush().expect("a flush");
        }
        let start = Instant::now();
        assert!(cache.attempt_gc().expect("a step"), "there is something to clean");
        let time = start.elapsed().as_nanos() as f64 / 1e3;
        taken += time;
        longest = f64::max(longest, time);
        // A write, as there would be between two steps.
        overwrite(1);
    }
    let there = cache.stats().segments;
    cache.snapshot().expect("a snapshot");
    overwrite(1000);
    let page = all[0].0;
    cache.close().expect("it closes");
    drop(cache);
    let read = storage.observer.0.load(Ordering::Relaxed);
    let start = Instant::now();
    let cache: PageCache<Bytes> = config(&storage).open().expect("it opens");
    let open = start.elapsed().as_nanos() as f64 / 1e6;
    let log_read = storage.observer.0.load(Ordering::Relaxed) - read;
    assert!(cache.pin().get(page).expect("a read").is_some() && page != PageId::new(0));
    Measured { segments: there, step: taken / STEPS as f64, longest, open, log_read }
}
