//! What went wrong in earlier systems of this kind, each as the behaviour that is wanted here. Those that
//! have a file of their own (kills, batches, system calls, allocations, read-only, options) are not repeated.

mod common;

use std::sync::Arc;
use std::thread;

use common::{Bytes, alone, contents, link, open, read, replace, tiny};
use pagelog::sim::{CallKind, Fault, SimStorage, When};
use pagelog::{Access, Cas, Config, Error, Log, MemoryStorage, PageCache, PageId, RootCas, Storage, Version};

#[test]
fn a_torn_temporary_snapshot_is_ignored_and_removed() {
    let _turn = alone();
    let storage = Arc::new(MemoryStorage::new());
    let cache = open(tiny(&storage));
    let page = cache.allocate(Bytes(vec![1; 50])).unwrap();
    cache.close().unwrap();
    let name = storage.list().unwrap().into_iter().find(|name| name.starts_with("snapshot-")).unwrap();
    let torn = |name: &str, length: usize| {
        storage.create(name).unwrap().write_at(&vec![0xAB; length], 0).unwrap();
    };
    torn("snapshot-00000000000000ff.new", 700);
    torn(&format!("{name}.new"), 0);
    torn("MANIFEST.new", 513);
    let cache = open(tiny(&storage));
    assert_eq!(read(&cache, page.page_id).unwrap(), [1; 50]);
    let names = storage.list().unwrap();
    // What keeps space for the next manifest stays.
    let left = |name: &&String| name.ends_with(".new") && *name != "MANIFEST.new";
    assert_eq!(names.iter().find(left), None, "{names:?}");
    cache.close().unwrap();
    // A published one that is torn or garbage is not used, and replaced.
    for garbage in [0, 1, 4000] {
        torn("snapshot-00000000000000ff", garbage);
        let cache = open(tiny(&storage));
        assert_eq!(read(&cache, page.page_id).unwrap(), [1; 50]);
        cache.allocate(Bytes(vec![2])).unwrap();
        cache.close().unwrap();
        let names = storage.list().unwrap();
        assert_eq!(names.iter().filter(|name| name.starts_with("snapshot-")).count(), 1, "{names:?}");
        assert!(names.contains(&"snapshot-0000000000000100".to_owned()) || garbage > 0, "{names:?}");
    }
    // None at all.
    for name in storage.list().unwrap().iter().filter(|name| name.starts_with("snapshot-")) {
        storage.remove(name).unwrap();
    }
    assert_eq!(read(&open(tiny(&storage)), page.page_id).unwrap(), [1; 50]);
}

#[test]
fn every_path_counts_for_the_cache_limit() {
    let _turn = alone();
    const CAPACITY: u64 = 300_000;
    let storage = Arc::new(MemoryStorage::new());
    let config = || {
        let config = Config::with_storage(storage.clone()).segment_size(16 << 10).io_buffer_size(2048);
        config.io_buffers(2).cache_capacity(CAPACITY)
    };
    let cache = open(config());
    let mut largest = 0;
    let mut look = |cache: &PageCache<Bytes>| {
        let stats = cache.stats();
        largest = largest.max(stats.resident_bytes + stats.dead_bytes + stats.buffer_bytes);
        // Who reads holds a guard, so what it pushes out goes a few reads later.
        assert!(largest < CAPACITY * 11 / 10 + (16 << 10), "{stats:?}");
    };
    let mut pages = Vec::new();
    for n in 0..600u64 {
        let page = cache.allocate(Bytes(vec![n as u8; 900])).unwrap();
        pages.push((page.page_id, page.version));
        look(&cache);
    }
    for (page_id, version) in &mut pages {
        *version = replace(&cache, *page_id, *version, &[2; 1100]);
        look(&cache);
    }
    for _ in 0..4 {
        for (page_id, version) in &mut pages {
            *version = link(&cache, *page_id, *version, &[3; 300]);
            look(&cache);
        }
    }
    for (page_id, _) in &pages {
        assert_eq!(read(&cache, *page_id).unwrap().len(), 2300);
        look(&cache);
    }
    cache.close().unwrap();
    drop(cache);
    let cache = open(config());
    for (page_id, _) in &pages {
        assert_eq!(read(&cache, *page_id).unwrap().len(), 2300);
        look(&cache);
    }
    println!("at most {largest} of {CAPACITY} bytes");
    assert!(largest > CAPACITY / 2);
}

#[test]
fn an_idle_store_writes_nothing_however_often_it_is_opened() {
    let _turn = alone();
    let storage = Arc::new(SimStorage::new(1));
    let cache = open(tiny(&storage));
    let pages: Vec<_> = (0..200u8).map(|n| cache.allocate(Bytes(vec![n; 60])).unwrap()).collect();
    cache.close().unwrap();
    drop(cache);
    // The manifest and the file that keeps space for the next one take turns.
    (0..2).for_each(|_| drop(open(tiny(&storage))));
    let (log, used) = (storage.contents()["log"].clone(), storage.used_bytes());
    for _ in 0..5 {
        let cache = open(tiny(&storage));
        let opened = storage.operations();
        for page in &pages {
            assert!(read(&cache, page.page_id).is_some());
        }
        cache.flush().unwrap();
        cache.make_stable(pages[7].lsn).unwrap();
        assert_eq!(storage.operations(), opened, "reading and flushing wrote something");
        let counts = cache.stats().counts;
        assert_eq!((counts.writes, counts.syncs, counts.relocated_bytes, counts.victims), (0, 0, 0, 0));
        cache.close().unwrap();
        drop(cache);
        assert_eq!(storage.contents()["log"], log);
        assert_eq!(storage.used_bytes(), used);
    }
}

#[test]
fn opening_zeroes_no_free_segments() {
    let _turn = alone();
    let storage = Arc::new(SimStorage::new(2));
    let cache = open(tiny(&storage));
    let mut version = cache.allocate(Bytes(vec![0; 300])).unwrap();
    for n in 0..200u8 {
        version.version = replace(&cache, version.page_id, version.version, &[n; 300]);
    }
    cache.close().unwrap();
    drop(cache);
    let before = storage.contents();
    storage.log_calls();
    drop(open(tiny(&storage)));
    let calls = storage.take_calls();
    let written = calls.iter().filter(|call| call.kind == CallKind::Write && call.file == "log").count();
    assert_eq!(written, 0, "{calls:?}");
    assert_eq!(storage.contents()["log"], before["log"]);
}

#[test]
fn the_lock_is_free_when_drop_or_close_returns() {
    let _turn = alone();
    let place = tempfile::tempdir().unwrap();
    let config = || Config::new(place.path()).segment_size(4096);
    for n in 0..20u8 {
        let cache = open(config());
        cache.allocate(Bytes(vec![n])).unwrap();
        let clone = cache.clone();
        drop(cache);
        assert!(matches!(config().open::<Bytes>(), Err(Error::Locked { .. })));
        if n % 2 == 0 {
            clone.close().unwrap();
            // The closed handle lives on, and hinders nobody.
            assert!(matches!(clone.allocate(Bytes(vec![])), Err(Error::Closed)));
            assert!(matches!(clone.pin().get(PageId::new(1)), Err(Error::Closed)));
            clone.close().unwrap();
            drop(open(config()));
        }
        drop(clone);
    }
    assert_eq!(open(config()).stats().page_ids, 20);
}

#[test]
fn ten_threads_with_tiny_stacks_each_keep_their_pages_over_restarts() {
    let _turn = alone();
    const THREADS: u8 = 10;
    let storage = Arc::new(MemoryStorage::new());
    let mut owned: Vec<Vec<(PageId, Version, Vec<u8>)>> = vec![Vec::new(); THREADS.into()];
    for round in 0..4u8 {
        let cache = open(tiny(&storage));
        let work = |thread: u8, mut pages: Vec<(PageId, Version, Vec<u8>)>| {
            for (page_id, version, bytes) in &pages {
                assert_eq!(read(&cache, *page_id).as_ref(), Some(bytes), "thread {thread}, round {round}");
                assert_eq!(cache.version(*page_id).unwrap(), Some(*version));
            }
            for n in 0..40 {
                let page = cache.allocate(Bytes(vec![thread, round, n])).unwrap();
                pages.push((page.page_id, page.version, vec![thread, round, n]));
                let at = usize::from(n) * 7 % pages.len();
                let (page_id, version, bytes) = &mut pages[at];
                *version = link(&cache, *page_id, *version, &[thread, n]);
                bytes.extend([thread, n]);
                if n % 4 == 3 {
                    let (page_id, version, _) = pages.swap_remove(usize::from(n) * 5 % pages.len());
                    assert!(cache.free(page_id, version).unwrap().is_done());
                }
            }
            pages
        };
        owned = thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .zip(owned)
                .map(|(number, pages)| {
                    let builder = thread::Builder::new().stack_size(64 << 10);
                    builder.spawn_scoped(scope, move || work(number, pages)).unwrap()
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        if round % 2 == 0 {
            cache.close().unwrap();
        }
    }
    let mut ids: Vec<PageId> = owned.iter().flatten().map(|(page_id, ..)| *page_id).collect();
    ids.sort_unstable();
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "one id for two pages");
}

#[test]
fn a_page_freed_twice_is_gone_and_its_id_is_there_once() {
    let _turn = alone();
    let cache = open(tiny(&Arc::new(MemoryStorage::new())));
    let pages: Vec<_> = (0..10).map(|_| cache.allocate(Bytes(vec![1])).unwrap()).collect();
    for page in [&pages[7], &pages[3], &pages[5]] {
        let freed = cache.free(page.page_id, page.version).unwrap().done().unwrap();
        for version in [page.version, freed, Version::new(freed.get() + 1)] {
            assert!(matches!(cache.free(page.page_id, version).unwrap(), Cas::Gone { .. }));
            assert!(matches!(cache.replace(page.page_id, version, Bytes(vec![])).unwrap(), Cas::Gone { .. }));
        }
        assert!(cache.pin().get(page.page_id).unwrap().is_none());
    }
    assert_eq!(cache.stats().free_page_ids, 3);
    // The lowest first, each once.
    let again: Vec<u64> = (0..4).map(|_| cache.allocate(Bytes(vec![])).unwrap().page_id.get()).collect();
    assert_eq!(again, [4, 6, 8, 11]);
}

#[test]
fn forty_thousand_frees_and_sixty_thousand_links_are_not_quadratic() {
    let _turn = alone();
    // Nothing is timed: with a scan of the free list for each free, or a walk of the chain for each link,
    // this test would take minutes.
    let storage = Arc::new(MemoryStorage::new());
    let config = Config::with_storage(storage).max_chain_length(10_000).max_chain_ratio(1000.0);
    let cache = open(config);
    let pages: Vec<_> = (0..40_000).map(|_| cache.allocate(Bytes(vec![1])).unwrap()).collect();
    for page in pages.iter().rev() {
        assert!(cache.free(page.page_id, page.version).unwrap().is_done());
    }
    assert_eq!(cache.stats().free_page_ids, 40_000);
    let page = cache.allocate(Bytes(vec![])).unwrap();
    assert_eq!(page.page_id, PageId::new(1));
    (0..60_000u32).fold(page.version, |version, n| link(&cache, page.page_id, version, &[n as u8]));
    assert_eq!(read(&cache, page.page_id).unwrap().len(), 60_000);
}

#[test]
fn reading_what_was_not_flushed_syncs_nothing() {
    let _turn = alone();
    let storage = Arc::new(SimStorage::new(3));
    let cache = open(tiny(&storage).garbage_collection(false).snapshots(false).segment_size(64 << 10));
    let pages: Vec<_> = (0..300u16).map(|n| cache.allocate(Bytes(vec![n as u8; 100])).unwrap()).collect();
    for page in &pages {
        assert_eq!(read(&cache, page.page_id).unwrap().len(), 100);
    }
    let counts = cache.stats().counts;
    assert!(counts.evictions > 100 && counts.misses > 100, "{counts:?}");
    assert_eq!(counts.syncs, 0);
}

#[test]
fn holes_in_the_page_ids_are_normal() {
    let _turn = alone();
    // Ids reach the log in another order than they were handed out, so a crash leaves holes.
    let storage = Arc::new(SimStorage::new(4));
    let cache = open(tiny(&storage));
    for round in 0..30u64 {
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..25).for_each(|n| _ = cache.allocate(Bytes(vec![n; 30])).unwrap()));
            }
            let again = open(tiny(&Arc::new(storage.after_kill())));
            let found =
                (1..=again.stats().page_ids).filter(|id| read(&again, PageId::new(*id)).is_some()).count();
            assert_eq!(found as u64, again.stats().page_ids - again.stats().free_page_ids);
            assert!(found as u64 <= 100 * (round + 1));
        });
    }
}

#[test]
fn a_write_or_sync_that_fails_reaches_everybody_and_nothing_later_is_acknowledged() {
    let _turn = alone();
    for fault in [Fault::Error, Fault::NoSpace, Fault::ShortWrite, Fault::SyncDropsPages] {
        let storage = Arc::new(SimStorage::new(5));
        let cache = open(tiny(&storage).segment_size(64 << 10));
        let kept = cache.allocate(Bytes(b"kept".to_vec())).unwrap();
        cache.flush().unwrap();
        let lost = cache.allocate(Bytes(b"lost".to_vec())).unwrap();
        storage.fail_from(When::Operation(storage.operations() + 1), fault);
        // Several wait; all are told.
        thread::scope(|scope| {
            let waiters: Vec<_> = (0..4).map(|_| scope.spawn(|| cache.flush())).collect();
            for waiter in waiters {
                let error = waiter.join().unwrap().unwrap_err();
                assert!(matches!(error, Error::Poisoned { .. }), "{fault:?}: {error:?}");
            }
        });
        storage.clear_faults();
        assert!(matches!(cache.flush(), Err(Error::Poisoned { .. })));
        assert!(matches!(cache.allocate(Bytes(vec![])), Err(Error::Poisoned { .. })));
        assert!(matches!(cache.pin_log(), Err(Error::Poisoned { .. })));
        assert!(cache.stable_lsn() <= lost.lsn);
        // Reading goes on, also of what was never written.
        assert_eq!(read(&cache, kept.page_id).unwrap(), b"kept");
        assert_eq!(read(&cache, lost.page_id).unwrap(), b"lost");
        assert!(cache.close().is_err());
        drop(cache);
        let cache = open(tiny(&storage).segment_size(64 << 10));
        assert_eq!(read(&cache, kept.page_id).unwrap(), b"kept");
        cache.allocate(Bytes(vec![1])).unwrap();
        cache.flush().unwrap();
    }
}

#[test]
fn generated_ids_and_roots_survive_kills_and_power_cuts() {
    let _turn = alone();
    let mut storage = Arc::new(SimStorage::new(6));
    let mut highest = None;
    let mut root = None;
    for round in 0..20u64 {
        let cache = open(tiny(&storage));
        assert_eq!(cache.meta_pid_for_name(b"root").unwrap(), root, "round {round}");
        for _ in 0..10 {
            let id = cache.generate_id().unwrap();
            assert!(highest.is_none_or(|highest| id > highest), "{id} after {highest:?}");
            highest = Some(id);
        }
        let new = Some(cache.allocate(Bytes(vec![1])).unwrap().page_id);
        assert!(matches!(cache.cas_root_in_meta(b"root", root, new).unwrap(), RootCas::Done { .. }));
        let refused = cache.cas_root_in_meta(b"root", Some(PageId::new(999)), None).unwrap();
        assert_eq!(refused, RootCas::Changed { current: new });
        cache.flush().unwrap();
        root = new;
        let image = if round % 2 == 0 { storage.after_kill() } else { storage.after_power_cut(round) };
        storage = Arc::new(image);
    }
}

#[test]
fn a_store_on_real_files_takes_little_room_and_leaves_only_its_own_files() {
    let _turn = alone();
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("store");
    let cache = open(Config::new(&path).segment_size(64 << 10));
    cache.allocate(Bytes(vec![1; 100])).unwrap();
    cache.close().unwrap();
    let files = contents(&path);
    let names: Vec<&str> = files.keys().map(|name| name.split('-').next().unwrap()).collect();
    assert_eq!(names, ["LOCK", "MANIFEST", "MANIFEST.new", "log", "snapshot"]);
    let bytes: usize = files.values().flatten().map(Vec::len).sum();
    assert!(bytes < 1 << 20, "{bytes} bytes");
}

#[test]
fn a_missing_log_file_is_corruption_and_not_an_empty_store() {
    let _turn = alone();
    let storage = Arc::new(MemoryStorage::new());
    let _ = open(tiny(&storage)).allocate(Bytes(vec![1])).unwrap();
    storage.remove("log").unwrap();
    assert!(matches!(tiny(&storage).open::<Bytes>(), Err(Error::Corruption(_))));
    assert!(storage.open("log", Access::Read).is_err(), "it was created anew");

    let storage = Arc::new(MemoryStorage::new());
    let _ = Log::open(tiny(&storage)).unwrap().append(b"x").unwrap();
    storage.remove("log").unwrap();
    assert!(matches!(Log::open(tiny(&storage)), Err(Error::Corruption(_))));
}
