//! Batches: what was logged between `pin_log` and `seal_batch` is there after a crash as a whole or not at
//! all, and only those who ask for durability wait for a batch.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use common::{Bytes, Dice, Sum, link, open, read, replace, tiny};
use pagelog::sim::{CallKind, Fault, SimStorage, When};
use pagelog::{Cas, Error, Log, Lsn, MemoryStorage, PageCache};

fn payloads(log: &Log) -> Vec<Vec<u8>> {
    log.iter_from(log.first_lsn()).unwrap().map(|entry| entry.unwrap().payload).collect()
}

/// What opening finds if the process is killed now.
fn killed(storage: &SimStorage) -> Arc<SimStorage> {
    Arc::new(storage.after_kill())
}

fn is_poisoned_by_a_batch<T: std::fmt::Debug>(result: Result<T, Error>) -> bool {
    match result {
        Err(Error::Poisoned { cause }) => matches!(*cause, Error::UnsealedBatch),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_batch_larger_than_all_buffers_is_there_as_a_whole_or_not_at_all() {
    let storage = Arc::new(SimStorage::new(1));
    let log = Log::open(tiny(&storage)).unwrap();
    log.append(b"before").unwrap();
    log.flush().unwrap();
    let batch = log.pin_log().unwrap();
    let mut expected = vec![b"before".to_vec()];
    // 60 KB through buffers of 1 KB and segments of 1000 bytes.
    for n in 0..600u32 {
        expected.push(n.to_le_bytes().repeat(25));
        log.append(expected.last().unwrap()).unwrap();
        if n % 60 == 0 {
            assert_eq!(payloads(&Log::open(tiny(&killed(&storage))).unwrap()), [b"before".to_vec()]);
        }
    }
    let end = batch.seal_batch().unwrap();
    log.append(b"after").unwrap();
    log.make_stable(end).unwrap();
    assert!(log.stable_lsn() > end);
    assert_eq!(payloads(&Log::open(tiny(&killed(&storage))).unwrap())[..601], expected);
    expected.push(b"after".to_vec());
    log.close().unwrap();
    drop(log);
    assert_eq!(payloads(&Log::open(tiny(&storage)).unwrap()), expected);
}

#[test]
fn a_flush_of_another_thread_waits_until_the_batch_is_sealed() {
    let storage = Arc::new(MemoryStorage::new());
    let cache = open(tiny(&storage));
    let page = cache.allocate(Bytes(vec![1])).unwrap();
    let mut version = page.version;
    for round in 0..60u8 {
        let batch = cache.pin_log().unwrap();
        version = replace(&cache, page.page_id, version, &[round; 90]);
        let (sealed, begun) = (AtomicBool::new(false), Barrier::new(2));
        thread::scope(|scope| {
            scope.spawn(|| {
                begun.wait();
                match round % 3 {
                    0 => cache.flush().unwrap(),
                    1 => cache.make_stable(Lsn::new(u64::MAX)).unwrap(),
                    _ => cache.snapshot().unwrap(),
                }
                assert!(sealed.load(Ordering::SeqCst), "stable inside an open batch");
            });
            begun.wait();
            (0..50).for_each(|_| thread::yield_now());
            sealed.store(true, Ordering::SeqCst);
            batch.seal_batch().unwrap();
        });
    }
    assert_eq!(cache.stats().counts.batches, 60);
}

#[test]
fn what_would_wait_for_the_own_batch_is_an_error_and_no_hang() {
    let storage = Arc::new(MemoryStorage::new());
    let cache = open(tiny(&storage));
    let before = cache.allocate(Bytes(vec![1])).unwrap();
    let batch = cache.pin_log().unwrap();
    let inside = cache.allocate(Bytes(vec![2])).unwrap();
    assert!(matches!(cache.flush(), Err(Error::BatchOpen)));
    assert!(matches!(cache.make_stable(inside.lsn), Err(Error::BatchOpen)));
    assert!(matches!(cache.snapshot(), Err(Error::BatchOpen)));
    assert!(matches!(cache.pin_log(), Err(Error::BatchOpen)));
    cache.make_stable(before.lsn).unwrap();
    assert!(cache.stable_lsn() > before.lsn && cache.stable_lsn() <= inside.lsn);
    batch.seal_batch().unwrap();
    cache.flush().unwrap();
    assert!(cache.stable_lsn() > inside.lsn);

    let batch = cache.pin_log().unwrap();
    assert!(cache.allocate(Bytes(vec![3])).is_ok());
    assert!(matches!(cache.close(), Err(Error::BatchOpen)));
    // Nothing has happened.
    batch.seal_batch().unwrap();
    cache.close().unwrap();
    assert!(matches!(cache.flush(), Err(Error::Closed)));
    drop(open(tiny(&storage)));
}

/// A close beside one's own batch used to close the store all the same, so that the batch could not be sealed
/// any more; what was logged before it was lost with it, and a second close said that all was well.
#[test]
fn what_was_logged_before_a_batch_that_never_ends_survives() {
    let disk = Arc::new(SimStorage::new(3));
    let (cache, log_disk) = (open(tiny(&disk)), Arc::new(SimStorage::new(4)));
    let log = Log::open(tiny(&log_disk)).unwrap();
    let before = cache.allocate(Bytes(b"before".to_vec())).unwrap();
    log.append(b"before").unwrap();
    std::mem::forget((cache.pin_log().unwrap(), log.pin_log().unwrap()));
    cache.allocate(Bytes(b"inside".to_vec())).unwrap();
    log.append(b"inside").unwrap();
    assert!(matches!(cache.close(), Err(Error::BatchOpen)));
    assert!(matches!(log.close(), Err(Error::BatchOpen)));
    // By a thread that can't be asked to seal it any more.
    drop((cache, log));
    let cache = open(tiny(&Arc::new(disk.after_power_cut(1))));
    assert_eq!(read(&cache, before.page_id).unwrap(), b"before");
    let log = Log::open(tiny(&Arc::new(log_disk.after_power_cut(1)))).unwrap();
    assert_eq!(payloads(&log), [b"before"]);
}

#[test]
fn a_close_waits_for_the_batch_of_another_thread_which_can_only_seal_it() {
    let disk = Arc::new(SimStorage::new(3));
    let cache = open(tiny(&disk));
    let begun = Barrier::new(2);
    let inside = thread::scope(|scope| {
        let other = scope.spawn(|| {
            let batch = cache.pin_log().unwrap();
            let inside = cache.allocate(Bytes(b"inside".to_vec())).unwrap();
            begun.wait();
            while cache.allocate(Bytes(vec![])).is_ok() {
                thread::yield_now();
            }
            assert!(matches!(cache.allocate(Bytes(vec![])), Err(Error::Closed)));
            batch.seal_batch().unwrap();
            inside
        });
        begun.wait();
        cache.close().unwrap();
        other.join().unwrap()
    });
    let cache = open(tiny(&Arc::new(disk.after_power_cut(1))));
    assert_eq!(read(&cache, inside.page_id).unwrap(), b"inside");
}

/// An error that has stopped writing is told by each close.
#[test]
fn a_close_that_failed_does_not_succeed_when_it_is_tried_again() {
    let disk = Arc::new(SimStorage::new(5));
    let (cache, log) = (open(tiny(&disk)), Log::open(tiny(&Arc::new(SimStorage::new(6)))).unwrap());
    cache.allocate(Bytes(vec![1])).unwrap();
    disk.fail_from(When::Kind(CallKind::Sync, disk.count(CallKind::Sync) + 1), Fault::Error);
    assert!(matches!(cache.close(), Err(Error::Poisoned { .. })));
    assert!(matches!(cache.close(), Err(Error::Poisoned { .. })));
    log.append(b"entry").unwrap();
    log.close().unwrap();
    log.close().unwrap();
}

#[test]
fn a_second_batch_is_not_begun_before_the_first_has_ended() {
    for _ in 0..50 {
        let log = Arc::new(Log::open(tiny(&Arc::new(MemoryStorage::new()))).unwrap());
        let batch = log.pin_log().unwrap();
        let (begun, got) = (Arc::new(Barrier::new(2)), Arc::new(AtomicBool::new(false)));
        let (other, others_begun, others_got) = (Arc::clone(&log), Arc::clone(&begun), Arc::clone(&got));
        let second = thread::spawn(move || {
            others_begun.wait();
            let batch = other.pin_log().unwrap();
            others_got.store(true, Ordering::SeqCst);
            batch.seal_batch().unwrap();
        });
        begun.wait();
        (0..50).for_each(|_| thread::yield_now());
        if got.load(Ordering::SeqCst) {
            // Neither is dropped nor waited for: there is no telling what would end.
            std::mem::forget((batch, Arc::clone(&log)));
            panic!("two batches are open");
        }
        batch.seal_batch().unwrap();
        second.join().unwrap();
        assert!(got.load(Ordering::SeqCst));
    }
}

#[test]
fn a_second_batch_waits_for_the_first() {
    let storage = Arc::new(MemoryStorage::new());
    let log = Log::open(tiny(&storage)).unwrap();
    const THREADS: u32 = 4;
    const BATCHES: u32 = 50;
    let inside = AtomicU64::new(0);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (log, inside) = (&log, &inside);
            scope.spawn(move || {
                for round in 0..BATCHES {
                    let batch = log.pin_log().unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two batches are open");
                    let name = [thread.to_le_bytes(), round.to_le_bytes()].concat();
                    (0..5).for_each(|_| _ = log.append(&name).unwrap());
                    if round % 8 == 0 {
                        thread::yield_now();
                    }
                    inside.fetch_sub(1, Ordering::SeqCst);
                    batch.seal_batch().unwrap();
                }
            });
        }
    });
    log.flush().unwrap();
    let all = payloads(&log);
    assert_eq!(all.len(), (THREADS * BATCHES * 5) as usize);
    // Only the batches' own threads wrote, so each batch is five equal entries in a row.
    assert!(all.chunks(5).all(|batch| batch.iter().all(|entry| *entry == batch[0])));
}

#[test]
fn a_batch_dropped_unsealed_after_a_write_poisons_and_opening_again_finds_the_state_before_it() {
    let storage = Arc::new(MemoryStorage::new());
    let cache = open(tiny(&storage));
    let page = cache.allocate(Bytes(b"old".to_vec())).unwrap();
    cache.flush().unwrap();
    let batch = cache.pin_log().unwrap();
    let version = replace(&cache, page.page_id, page.version, b"new");
    let (begun, cache_ref) = (Barrier::new(3), &cache);
    thread::scope(|scope| {
        let flusher = scope.spawn(|| {
            begun.wait();
            cache_ref.flush()
        });
        let pinner = scope.spawn(|| {
            begun.wait();
            cache_ref.pin_log().map(drop)
        });
        begun.wait();
        (0..50).for_each(|_| thread::yield_now());
        drop(batch);
        // Who waits is told.
        assert!(is_poisoned_by_a_batch(flusher.join().unwrap()));
        assert!(is_poisoned_by_a_batch(pinner.join().unwrap()));
    });
    assert!(is_poisoned_by_a_batch(cache.link(page.page_id, version, Bytes(vec![]))));
    assert!(is_poisoned_by_a_batch(cache.allocate(Bytes(vec![]))));
    assert!(is_poisoned_by_a_batch(cache.flush()));
    // Reading goes on.
    assert_eq!(read(&cache, page.page_id).unwrap(), b"new");
    assert!(is_poisoned_by_a_batch(cache.close()));
    let cache = open(tiny(&storage));
    assert_eq!(read(&cache, page.page_id).unwrap(), b"old");
}

#[test]
fn a_panic_inside_a_batch_poisons() {
    let storage = Arc::new(MemoryStorage::new());
    let cache = open(tiny(&storage));
    let page = cache.allocate(Bytes(b"old".to_vec())).unwrap();
    cache.flush().unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _batch = cache.pin_log().unwrap();
        replace(&cache, page.page_id, page.version, b"half");
        std::panic::resume_unwind(Box::new("in the middle of a split"));
    }));
    assert!(panicked.is_err());
    if cache.allocate(Bytes(vec![])).is_ok() {
        // It is not dropped, for closing would wait for the end of the batch.
        std::mem::forget(cache.clone());
        panic!("writing goes on");
    }
    assert!(is_poisoned_by_a_batch(cache.flush()));
    drop(cache);
    assert_eq!(read(&open(tiny(&storage)), page.page_id).unwrap(), b"old");
}

#[test]
fn a_batch_dropped_unsealed_without_a_write_does_no_harm() {
    let storage = Arc::new(MemoryStorage::new());
    let cache = open(tiny(&storage).max_value_size(4000));
    let page = cache.allocate(Bytes(b"a".to_vec())).unwrap();
    drop(cache.pin_log().unwrap());
    // What fails, or loses its race, or is somebody else's, is no write of this thread.
    let batch = cache.pin_log().unwrap();
    assert!(matches!(cache.allocate(Bytes(vec![0; 5000])), Err(Error::ValueTooLarge { .. })));
    let stale = pagelog::Version::new(page.version.get() + 9);
    assert!(matches!(cache.replace(page.page_id, stale, Bytes(vec![])).unwrap(), Cas::Changed { .. }));
    thread::scope(|scope| {
        scope.spawn(|| cache.allocate(Bytes(vec![7])).unwrap());
    });
    drop(batch);
    cache.flush().unwrap();
    drop(cache.pin_log().unwrap());
    link(&cache, page.page_id, page.version, b"b");
    cache.close().unwrap();
    assert_eq!(read(&open(tiny(&storage)), page.page_id).unwrap(), b"ab");

    let log = Log::open(tiny(&Arc::new(MemoryStorage::new()))).unwrap();
    let batch = log.pin_log().unwrap();
    log.reserve(b"aborted").unwrap().abort();
    drop(batch);
    log.append(b"x").unwrap();
    log.flush().unwrap();
}

#[test]
fn other_writers_go_on_while_a_batch_is_open() {
    let storage = Arc::new(MemoryStorage::new());
    let cache = open(tiny(&storage));
    let pages: Vec<_> = (0..4).map(|_| cache.allocate(Bytes(vec![])).unwrap()).collect();
    let before = cache.stats().counts.segments_opened;
    let batch = cache.pin_log().unwrap();
    cache.allocate(Bytes(b"in the batch".to_vec())).unwrap();
    // They are done before the batch is sealed: this thread waits for them.
    thread::scope(|scope| {
        for page in &pages {
            let cache = &cache;
            scope.spawn(move || {
                let mut version = page.version;
                for n in 0..1000u32 {
                    version = replace(cache, page.page_id, version, &n.to_le_bytes().repeat(10));
                    if n % 10 == 0 {
                        let other = cache.allocate(Bytes(vec![0; 50])).unwrap();
                        assert!(cache.free(other.page_id, other.version).unwrap().is_done());
                        assert_eq!(read(cache, page.page_id).unwrap(), n.to_le_bytes().repeat(10));
                    }
                }
            });
        }
    });
    assert!(cache.stats().counts.segments_opened > before + 100);
    batch.seal_batch().unwrap();
    cache.close().unwrap();
    let cache = open(tiny(&storage));
    for page in pages {
        assert_eq!(read(&cache, page.page_id).unwrap(), 999u32.to_le_bytes().repeat(10));
    }
}

#[test]
fn what_lies_before_an_open_batch_can_be_made_stable_again_and_again() {
    let storage = Arc::new(MemoryStorage::new());
    let log = Log::open(tiny(&storage)).unwrap();
    for round in 0..30u32 {
        let before: Vec<Lsn> = (0..20).map(|n| log.append(&[n; 40]).unwrap()).collect();
        let batch = log.pin_log().unwrap();
        let inside = log.append(&round.to_le_bytes()).unwrap();
        // By another thread and by the batch's own.
        thread::scope(|scope| {
            scope.spawn(|| before.iter().for_each(|lsn| log.make_stable(*lsn).unwrap()));
        });
        log.make_stable(before[19]).unwrap();
        assert!(log.stable_lsn() > before[19] && log.stable_lsn() <= inside);
        batch.seal_batch().unwrap();
    }
}

#[test]
fn a_torn_batch_hides_itself_and_what_follows() {
    let storage = Arc::new(SimStorage::new(2));
    let cache = open(tiny(&storage));
    let before = cache.allocate(Bytes(b"before".to_vec())).unwrap();
    cache.flush().unwrap();
    let batch = cache.pin_log().unwrap();
    let inside = cache.allocate(Bytes(b"inside".to_vec())).unwrap();
    let follower = thread::scope(|scope| {
        let other = scope.spawn(|| {
            let follower = cache.allocate(Bytes(b"behind".to_vec())).unwrap();
            // So much that most of it is written.
            (0..100).for_each(|n| _ = cache.allocate(Bytes(vec![n; 100])).unwrap());
            follower
        });
        other.join().unwrap()
    });
    // What comes after the kill goes on from there, kill after kill.
    let mut image = killed(&storage);
    for round in 0..3u8 {
        let again = open(tiny(&image));
        assert_eq!(read(&again, before.page_id).unwrap(), b"before");
        let new = again.allocate(Bytes(vec![round])).unwrap();
        assert_eq!(new.page_id.get(), inside.page_id.get() + u64::from(round), "ids of lost pages are free");
        let rest = [inside.page_id, follower.page_id].map(|page_id| read(&again, page_id));
        assert!(rest.iter().flatten().all(|bytes| bytes.len() == 1), "{rest:?}");
        again.flush().unwrap();
        image = killed(&image);
    }
    batch.seal_batch().unwrap();
    cache.flush().unwrap();
    let again = open(tiny(&killed(&storage)));
    assert_eq!(read(&again, inside.page_id).unwrap(), b"inside");
    assert_eq!(read(&again, follower.page_id).unwrap(), b"behind");
}

#[test]
fn transfers_in_batches_never_show_half_of_one_after_a_kill() {
    const PAGES: i64 = 6;
    let storage = Arc::new(SimStorage::new(3));
    let config = || tiny(&storage);
    let cache: PageCache<Sum> = config().open().unwrap();
    let ids: Vec<_> = (0..PAGES).map(|_| cache.allocate(Sum(100)).unwrap().page_id).collect();
    cache.flush().unwrap();
    let add = |page_id, amount| {
        let mut version = cache.version(page_id).unwrap().unwrap();
        while let Cas::Changed { current, .. } = cache.link(page_id, version, Sum(amount)).unwrap() {
            version = current;
        }
    };
    let stop = AtomicBool::new(false);
    let images = thread::scope(|scope| {
        for thread in 0..3 {
            let (cache, ids, add, stop) = (&cache, &ids, &add, &stop);
            scope.spawn(move || {
                let mut dice = Dice::new(thread + 1);
                while !stop.load(Ordering::Relaxed) {
                    let batch = cache.pin_log().unwrap();
                    let (from, to) = (dice.below(PAGES as u64), dice.below(PAGES as u64));
                    add(ids[from as usize], -1);
                    add(ids[to as usize], 1);
                    batch.seal_batch().unwrap();
                    if dice.below(20) == 0 {
                        cache.flush().unwrap();
                    }
                }
            });
        }
        let mut images = 0;
        while images < 60 {
            let again: PageCache<Sum> = tiny(&killed(&storage)).open().unwrap();
            let guard = again.pin();
            let sum: i64 = ids.iter().map(|id| guard.get(*id).unwrap().unwrap().merged().0).sum();
            assert_eq!(sum, 100 * PAGES);
            images += 1;
        }
        stop.store(true, Ordering::Relaxed);
        images
    });
    println!("{images} images, {} batches", cache.stats().counts.batches);
}

#[test]
fn a_segment_that_holds_nothing_but_the_begin_of_an_open_batch_is_not_used_again() {
    let storage = Arc::new(SimStorage::new(9));
    let log = Log::open(tiny(&storage)).unwrap();
    (0..3).for_each(|_| _ = log.append(&[0; 400]).unwrap());
    log.flush().unwrap();
    let before = payloads(&log);
    // To the next segment, with nothing that anybody needs.
    let pass_to_next = || {
        let opened = log.counts().segments_opened;
        while log.counts().segments_opened == opened {
            log.reserve(&[0; 400]).unwrap().abort();
        }
    };
    pass_to_next();
    let batch = log.pin_log().unwrap();
    pass_to_next();
    // Many segments, so that every slot that may be used again is.
    (0..30u8).for_each(|n| _ = log.append(&[n; 400]).unwrap());
    let found = Log::open(tiny(&killed(&storage))).unwrap();
    assert_eq!(payloads(&found), before, "a part of a batch that was never sealed");
    batch.seal_batch().unwrap();
}

#[test]
fn a_snapshot_that_is_finished_inside_a_batch_is_not_in_force_before_the_batch_is() {
    let storage = Arc::new(SimStorage::new(10));
    let cache = open(tiny(&storage));
    let new = |_| cache.allocate(Bytes(vec![0; 60])).map(|page| (page.page_id, page.version)).unwrap();
    let mut pages: Vec<_> = (0..5).map(new).collect();
    let mut replace_next = |count: usize, byte: u8| {
        let (page_id, version) = &mut pages[count % 5];
        *version = replace(&cache, *page_id, *version, &[byte; 60]);
    };
    for round in 1..30u8 {
        // Other stretches each time, so that walks begin here and end there.
        (0..usize::from(round % 16)).for_each(|count| replace_next(count, 0));
        let batch = cache.pin_log().unwrap();
        for count in 0..40 {
            replace_next(count, round);
            if count % 8 == 7 {
                let found = open(tiny(&killed(&storage)));
                let inside = (1..=5)
                    .any(|id| read(&found, pagelog::PageId::new(id)).is_some_and(|page| page[0] == round));
                assert!(!inside, "round {round}: a part of a batch that is open");
            }
        }
        batch.seal_batch().unwrap();
    }
    assert!(cache.stats().counts.snapshots > 4, "{:?}", cache.stats().counts);
}
