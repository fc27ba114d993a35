//! What happens in the middle of a call: at a moment when the store turns to its storage, the storage does
//! something to the store, on the same thread. So an interleaving that threads meet once in a million times
//! is met in every run.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;
#[path = "support/observed.rs"]
mod observed;

use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use common::{Bytes, link, open, read, replace, tiny};
use observed::{Observed, Observer};
use pagelog::sim::SimStorage;
use pagelog::{Cas, Log, Lsn, MemoryStorage, PageCache, PageId, Storage, Version};

/// A moment at which something can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    BeforeLock,
    /// Of the log.
    BeforeWrite,
    /// Of the log, when it has succeeded.
    AfterSync,
}

type Deed = Box<dyn FnOnce() + Send>;

/// What is to happen, once.
#[derive(Clone, Default)]
struct Plan(Arc<Mutex<Option<(Moment, Deed)>>>);

impl fmt::Debug for Plan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Plan")
    }
}

impl Plan {
    fn set(&self, moment: Moment, deed: impl FnOnce() + Send + 'static) {
        *self.0.lock().unwrap() = Some((moment, Box::new(deed)));
    }

    fn is_done(&self) -> bool {
        self.0.lock().unwrap().is_none()
    }

    fn reach(&self, moment: Moment) {
        let due = self.0.lock().unwrap_or_else(PoisonError::into_inner).take_if(|(when, _)| *when == moment);
        if let Some((_, deed)) = due {
            deed();
        }
    }
}

impl Observer for Plan {
    fn before_write(&self, name: &str, bytes: &[u8], _offset: u64) -> io::Result<()> {
        // Not when space is claimed, which is under a lock.
        if name == "log" && bytes.iter().any(|byte| *byte != 0) {
            self.reach(Moment::BeforeWrite);
        }
        Ok(())
    }
    fn after_sync(&self, name: &str) {
        if name == "log" {
            self.reach(Moment::AfterSync);
        }
    }
    fn before_lock(&self) {
        self.reach(Moment::BeforeLock);
    }
}

/// The bytes of pages' records are all that the accountant may know of, in a store without freed pages and
/// roots.
fn every_byte_is_accounted_for(cache: &PageCache<Bytes>, pages: &[PageId]) {
    cache.flush().unwrap();
    let guard = cache.pin();
    let records = pages.iter().map(|page_id| guard.get(*page_id).unwrap().unwrap().size_on_disk());
    assert_eq!(cache.stats().live_bytes, records.sum::<u64>());
}

#[test]
fn a_store_that_was_made_before_the_lock_was_taken_is_not_written_over() {
    let disk = SimStorage::new(2);
    let storage = Arc::new(Observed::new(disk.clone(), Plan::default()));
    storage.observer.set(Moment::BeforeLock, move || {
        let quicker = open(tiny(&Arc::new(disk)));
        quicker.allocate(Bytes(b"first".to_vec())).unwrap();
        quicker.close().unwrap();
    });
    let cache = open(tiny(&storage));
    assert!(storage.observer.is_done() && cache.was_recovered());
    assert_eq!(read(&cache, PageId::new(1)).unwrap(), b"first");
}

#[test]
fn what_is_written_during_a_sync_is_not_called_stable_by_it() {
    let disk = SimStorage::new(1);
    let storage = Arc::new(Observed::new(disk.clone(), Plan::default()));
    let log = Arc::new(Log::open(tiny(&storage).io_buffers(8)).unwrap());
    let lsns = Arc::new(Mutex::new(vec![log.append(&[0; 60]).unwrap()]));
    let (appender, appended) = (Arc::clone(&log), Arc::clone(&lsns));
    storage.observer.set(Moment::AfterSync, move || {
        let lsn = |n| appender.append(&[n; 60]).unwrap();
        appended.lock().unwrap().extend((1..60).map(lsn));
        appender.iter_from(Lsn::new(0)).unwrap().for_each(|entry| _ = entry.unwrap());
    });
    log.flush().unwrap();
    assert!(storage.observer.is_done());
    let stable = lsns.lock().unwrap().iter().filter(|lsn| **lsn < log.stable_lsn()).count();
    assert!(stable >= 1);
    for seed in 0..30 {
        let image = Arc::new(disk.after_power_cut(seed));
        let found = Log::open(tiny(&image)).unwrap();
        let entries = found.iter_from(found.first_lsn()).unwrap().map(Result::unwrap).count();
        assert!(entries >= stable, "seed {seed}: {entries} entries, but {stable} were stable");
    }
    disk.cut_power();
}

#[test]
fn a_copy_whose_record_is_superseded_before_the_move_is_not_live() {
    let storage = Arc::new(Observed::new(MemoryStorage::new(), Plan::default()));
    let cache = open(tiny(&storage).io_buffers(8).garbage_collection(false).snapshots(false));
    let mut pages: Vec<(PageId, Version)> = Vec::new();
    for n in 0..40 {
        let page = cache.allocate(Bytes(vec![n; 60])).unwrap();
        pages.push((page.page_id, page.version));
    }
    // Every other one, so that there are segments worth cleaning.
    for (page_id, version) in pages.iter_mut().step_by(2) {
        *version = replace(&cache, *page_id, *version, &[1; 60]);
    }
    cache.flush().unwrap();
    let (other, others_pages) = (cache.clone(), pages.clone());
    storage.observer.set(Moment::BeforeWrite, move || {
        for (page_id, version) in others_pages {
            replace(&other, page_id, version, &[2; 20]);
        }
    });
    while cache.attempt_gc().unwrap() {
        cache.flush().unwrap();
    }
    assert!(storage.observer.is_done());
    let ids: Vec<PageId> = pages.iter().map(|(page_id, _)| *page_id).collect();
    every_byte_is_accounted_for(&cache, &ids);
    assert!(cache.verify().unwrap().is_sound());
}

#[test]
fn a_record_whose_writer_loses_its_race_is_not_live() {
    let storage = Arc::new(Observed::new(MemoryStorage::new(), Plan::default()));
    let cache = open(tiny(&storage).io_buffers(8).garbage_collection(false).snapshots(false));
    let page = cache.allocate(Bytes(vec![0; 60])).unwrap();
    let (page_id, mut version) = (page.page_id, page.version);
    let lost = (0..100).any(|n| {
        let other = cache.clone();
        storage.observer.set(Moment::BeforeWrite, move || {
            link(&other, page_id, version, b"the other was quicker");
        });
        match cache.link(page_id, version, Bytes(vec![n; 60])).unwrap() {
            Cas::Done { version: next, .. } => version = next,
            Cas::Changed { current, .. } => {
                assert_eq!(current.get(), version.get() + 1);
                return true;
            }
            gone @ Cas::Gone { .. } => panic!("{gone:?}"),
        }
        false
    });
    assert!(lost && storage.observer.is_done());
    every_byte_is_accounted_for(&cache, &[page_id]);
}

/// A backup's cut is what was stable when its sync ended. What others have written by then lies behind the
/// cut, in the same segments.
#[test]
fn what_is_written_behind_the_cut_of_a_backup_is_not_in_it() {
    let storage = Arc::new(Observed::new(MemoryStorage::new(), Plan::default()));
    let cache = open(tiny(&storage).io_buffers(8).garbage_collection(false).snapshots(false));
    let pages: Vec<_> = (0..6).map(|n| cache.allocate(Bytes(vec![n; 60])).unwrap()).collect();
    let ids: Vec<PageId> = pages.iter().map(|page| page.page_id).collect();
    let other = cache.clone();
    storage.observer.set(Moment::AfterSync, move || {
        let mut versions: Vec<Version> = pages.iter().map(|page| page.version).collect();
        for round in 100..110 {
            for (page, version) in pages.iter().zip(&mut versions) {
                *version = replace(&other, page.page_id, *version, &[round; 60]);
            }
        }
    });
    let target = Arc::new(MemoryStorage::new());
    cache.backup_to_storage(Arc::clone(&target) as Arc<dyn Storage>, |_| ControlFlow::Continue(())).unwrap();
    assert!(storage.observer.is_done());
    let copy = open(tiny(&target));
    for (n, page_id) in (0..).zip(&ids) {
        assert_eq!(read(&cache, *page_id).unwrap(), [109; 60]);
        assert_eq!(read(&copy, *page_id).unwrap(), [n; 60]);
    }
}

/// A page's id is handed out before its record is in the log, so a later id can come first there; and then
/// the power goes.
#[test]
fn an_id_whose_record_was_lost_behind_a_later_ones_is_used_again() {
    let disk = SimStorage::new(3);
    let storage = Arc::new(Observed::new(disk.clone(), Plan::default()));
    let cache = open(tiny(&storage).io_buffers(8).garbage_collection(false).snapshots(false));
    let overtaken = (0..100).any(|_| {
        let (other, later) = (cache.clone(), Arc::new(Mutex::new(None)));
        let overtaking = Arc::clone(&later);
        storage.observer.set(Moment::BeforeWrite, move || {
            *overtaking.lock().unwrap() = Some(other.allocate(Bytes(vec![1; 60])).unwrap());
        });
        // So long that it ends in another sector than it begins.
        let page = cache.allocate(Bytes(vec![2; 400])).unwrap();
        let later = later.lock().unwrap().take();
        later.is_some_and(|later| later.page_id > page.page_id && later.lsn < page.lsn)
    });
    assert!(overtaken);
    // Enough for the record to be written, and not synced.
    (0..10).for_each(|_| _ = cache.allocate(Bytes(vec![3; 400])).unwrap());
    let mut holes = 0;
    for seed in 0..200 {
        let found = open(tiny(&Arc::new(disk.after_power_cut(seed))));
        let bound = found.stats().page_ids;
        let missing = (1..=bound).map(PageId::new).find(|page_id| found.version(*page_id).unwrap().is_none());
        let page = found.allocate(Bytes(vec![3; 60])).unwrap();
        assert_eq!(page.page_id, missing.unwrap_or(PageId::new(bound + 1)), "seed {seed}");
        holes += u64::from(missing.is_some());
    }
    assert!(holes > 0);
    disk.cut_power();
}
