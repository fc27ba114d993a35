//! What is timed, and that times are for users only.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;
#[path = "support/observed.rs"]
mod observed;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use common::{Bytes, alone, link, open, read, tiny};
use observed::{Observed, Observer};
use pagelog::{Config, Counts, Histogram, Latencies, Log, MemoryStorage, PageCache, Stats};

/// How long a slow disk takes. A sleep is never shorter than asked for, however busy the machine.
const SLOW: Duration = Duration::from_millis(3);

/// A disk that is slow, or fails to write, from when it is told to.
#[derive(Debug, Default)]
struct Moody {
    slow: AtomicBool,
    /// Takes some time for some calls, as by chance.
    jittery: AtomicBool,
    calls: AtomicU64,
    broken: AtomicBool,
    /// Writes to the log wait for as long.
    held: AtomicBool,
    /// One does.
    waits: AtomicBool,
}

impl Moody {
    fn linger(&self) {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        if self.slow.load(Ordering::Relaxed) {
            thread::sleep(SLOW);
        }
        if self.jittery.load(Ordering::Relaxed) && call.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 60 == 0 {
            thread::sleep(Duration::from_micros(700));
        }
    }
}

impl Observer for Moody {
    fn before_read(&self, _length: usize, _offset: u64) -> io::Result<()> {
        self.linger();
        Ok(())
    }

    fn before_write(&self, name: &str, _bytes: &[u8], _offset: u64) -> io::Result<()> {
        self.linger();
        while name == "log" && self.held.load(Ordering::Relaxed) {
            self.waits.store(true, Ordering::Relaxed);
            thread::yield_now();
        }
        let fails = name == "log" && self.broken.load(Ordering::Relaxed);
        if fails { Err(io::Error::other("broken")) } else { Ok(()) }
    }

    fn before_sync(&self, _name: &str) {
        self.linger();
    }
}

fn moody() -> (Arc<Observed<MemoryStorage, Moody>>, Arc<Moody>) {
    let storage = Observed::new(MemoryStorage::new(), Moody::default());
    let observer = Arc::clone(&storage.observer);
    (Arc::new(storage), observer)
}

fn all(latencies: &Latencies) -> [&Histogram; 10] {
    let Latencies { writes, syncs, commit_waits, buffer_waits, page_reads, .. } = latencies;
    let Latencies { large_value_writes, manifest_writes, cleaning_stretches, .. } = latencies;
    let Latencies { housekeeping_steps, snapshots, .. } = latencies;
    [
        writes,
        syncs,
        commit_waits,
        buffer_waits,
        page_reads,
        large_value_writes,
        manifest_writes,
        cleaning_stretches,
        housekeeping_steps,
        snapshots,
    ]
}

/// Writes, reads and commits until a tiny store has collected garbage, evicted, and taken snapshots.
fn work(cache: &PageCache<Bytes>) {
    let mut pages: Vec<_> = (0..40u8).map(|page| cache.allocate(Bytes(vec![page; 60])).unwrap()).collect();
    for round in 0..40u8 {
        for page in &mut pages {
            page.version = link(cache, page.page_id, page.version, &[round; 8]);
        }
        if round % 4 == 0 {
            cache.flush().unwrap();
        }
        pages.iter().step_by(5).for_each(|page| assert!(read(cache, page.page_id).is_some()));
    }
    cache.allocate(Bytes(vec![1; 3000])).unwrap();
    cache.flush().unwrap();
}

#[test]
fn what_is_counted_and_timed_is_timed_each_time() {
    let _alone = alone();
    let cache = open(tiny(&Arc::new(MemoryStorage::new())));
    work(&cache);
    let Stats { counts, latencies, .. } = cache.stats();
    assert_eq!(latencies.syncs.count(), counts.syncs);
    assert_eq!(latencies.writes.count(), counts.writes);
    assert_eq!(latencies.buffer_waits.count(), counts.back_pressure_waits);
    assert_eq!(latencies.snapshots.count(), counts.snapshots);
    assert_eq!(latencies.large_value_writes.count(), counts.large_values_written);
    assert!(latencies.page_reads.count() >= counts.misses);
    assert!(latencies.cleaning_stretches.count() >= counts.victims);
    // Nobody else writes.
    assert!(latencies.buffer_waits.is_empty());
    let others = all(&latencies).into_iter().filter(|durations| **durations != latencies.buffer_waits);
    for durations in others {
        assert!(!durations.is_empty(), "{latencies:#?}");
        assert!(durations.max() > Duration::ZERO && durations.sum() >= durations.max());
        assert_eq!(durations.quantile(1.0), Some(durations.max()));
    }
}

#[test]
fn a_slow_disk_shows() {
    let _alone = alone();
    let (storage, moody) = moody();
    let cache = open(Config::with_storage(storage).cache_capacity(1 << 16));
    let page = cache.allocate(Bytes(vec![1; 100])).unwrap();
    // The page does not stay in memory.
    (0..200).for_each(|_| _ = cache.allocate(Bytes(vec![2; 1000])).unwrap());
    cache.flush().unwrap();
    let before = cache.stats();
    moody.slow.store(true, Ordering::Relaxed);
    assert!(read(&cache, page.page_id).is_some());
    cache.allocate(Bytes(vec![3; 100])).unwrap();
    cache.flush().unwrap();
    // Stable already: nothing is waited for.
    cache.flush().unwrap();
    let after = cache.stats();
    assert_eq!(after.counts.misses, before.counts.misses + 1);
    let between = after.latencies.since(&before.latencies);
    for (durations, least) in [
        (&between.page_reads, SLOW),
        (&between.writes, SLOW),
        (&between.syncs, SLOW),
        // A sync at least: the write may have been done before, to make room in memory.
        (&between.commit_waits, SLOW),
    ] {
        assert_eq!(durations.count(), 1, "{between:#?}");
        assert!(durations.quantile(0.0).unwrap() >= least && durations.sum() >= least, "{between:#?}");
    }
}

#[test]
fn waits_for_buffers_are_timed_each_time() {
    let _alone = alone();
    let (storage, moody) = moody();
    let log = Log::open(tiny(&storage)).unwrap();
    log.append(b"entry").unwrap();
    moody.held.store(true, Ordering::Relaxed);
    thread::scope(|scope| {
        let flush = scope.spawn(|| log.flush());
        // Who writes is the flush: were it the other thread, that would fill no more buffers, and this test
        // would wait for ever.
        while !moody.waits.load(Ordering::Relaxed) {
            thread::yield_now();
        }
        // Fills all buffers while none can be written.
        let writer = scope.spawn(|| (0..100).try_for_each(|_| log.append(&[1; 100]).map(drop)));
        while log.counts().back_pressure_waits == 0 {
            thread::yield_now();
        }
        thread::sleep(SLOW);
        moody.held.store(false, Ordering::Relaxed);
        flush.join().unwrap().unwrap();
        writer.join().unwrap().unwrap();
    });
    let stats = log.stats();
    assert_eq!(stats.latencies.buffer_waits.count(), stats.counts.back_pressure_waits);
    assert!(stats.latencies.buffer_waits.max() >= SLOW);
}

#[test]
fn what_fails_is_timed_too() {
    let _alone = alone();
    let (storage, moody) = moody();
    let log = Log::open(Config::with_storage(storage)).unwrap();
    log.append(b"entry").unwrap();
    moody.broken.store(true, Ordering::Relaxed);
    assert!(log.flush().is_err());
    let stats = log.stats();
    assert_eq!((stats.counts.writes, stats.latencies.writes.count()), (0, 1));
    assert_eq!((stats.counts.syncs, stats.latencies.commit_waits.count()), (0, 1));
}

/// Between two steps of the housekeeping, links and reads that find their page in memory look at no clock.
#[test]
fn what_is_quick_is_not_timed() {
    let _alone = alone();
    let cache = open(Config::with_storage(Arc::new(MemoryStorage::new())));
    let mut page = cache.allocate(Bytes(vec![1; 100])).unwrap();
    let before = cache.stats();
    for step in 0..100u8 {
        // Not so many links that the page is due to be written as a whole.
        if step % 10 == 0 {
            page.version = link(&cache, page.page_id, page.version, &[step; 4]);
        }
        assert!(read(&cache, page.page_id).is_some());
    }
    let after = cache.stats();
    assert_eq!((after.counts.links, after.counts.hits), (10, 100));
    assert!(all(&after.latencies.since(&before.latencies)).into_iter().all(Histogram::is_empty));
}

/// What a run does does not depend on how long anything took: one on a disk of many moods does the same as
/// one on a steady one.
#[test]
fn times_change_nothing() {
    let _alone = alone();
    let run = |is_jittery: bool| -> (Counts, Vec<u64>) {
        let (storage, moody) = moody();
        moody.jittery.store(is_jittery, Ordering::Relaxed);
        // All in memory: when readers have moved on, which evictions wait for, is up to the collector.
        let cache = open(tiny(&storage).cache_capacity(1 << 20));
        work(&cache);
        let stats = cache.stats();
        (stats.counts, all(&stats.latencies).map(Histogram::count).to_vec())
    };
    // Each on a thread of its own: what a thread has given up before is part of its state.
    let run = |is_jittery| thread::scope(|scope| scope.spawn(move || run(is_jittery)).join().unwrap());
    assert_eq!(run(false), run(true));
}
