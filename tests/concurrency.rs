//! Threads that race on the same pages, with collection, snapshots and eviction at work: every change that
//! was said to be done is there once, in one order for each page; what was refused is not there; and the
//! counters are exact.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use common::{Bytes, Dice, Sum, open, read, tiny};
use pagelog::{Cas, MemoryStorage, PageCache, PageId, Version};

const THREADS: u64 = 4;

/// What one thread did.
#[derive(Default)]
struct Done {
    sum: i64,
    links: u64,
    replacements: u64,
    lost: u64,
    /// The page and the version of each change, in the order in which they were done.
    versions: Vec<(PageId, Version)>,
}

fn race(cache: &PageCache<Sum>, pages: &[PageId], seed: u64, rounds: u64) -> Done {
    let mut dice = Dice::new(seed);
    let mut done = Done::default();
    while done.links + done.replacements < rounds {
        let page_id = pages[dice.below(pages.len() as u64) as usize];
        let amount = dice.below(100) as i64 - 30;
        let outcome = if dice.below(4) > 0 {
            let version = cache.version(page_id).unwrap().unwrap();
            cache.link(page_id, version, Sum(amount)).unwrap()
        } else {
            let guard = cache.pin();
            let page = guard.get(page_id).unwrap().unwrap();
            let sum = page.merged().0 + amount;
            if dice.below(2) == 0 {
                thread::yield_now();
            }
            cache.replace(page_id, page.version(), Sum(sum)).unwrap()
        };
        match outcome {
            Cas::Done { version, .. } => {
                done.sum += amount;
                done.versions.push((page_id, version));
                done.links += 1;
            }
            Cas::Changed { .. } => done.lost += 1,
            Cas::Gone { .. } => panic!("nobody frees a page"),
        }
    }
    done
}

#[test]
fn racing_links_and_replaces_add_up_and_every_version_is_given_once() {
    race_and_add_up(false);
}

#[test]
fn they_add_up_also_while_a_thread_of_the_stores_own_collects_and_takes_snapshots() {
    race_and_add_up(true);
}

fn race_and_add_up(background: bool) {
    const ROUNDS: u64 = 1500;
    let storage = Arc::new(MemoryStorage::new());
    let cache: PageCache<Sum> = tiny(&storage).background(background).open().unwrap();
    let pages: Vec<PageId> = (0..8).map(|_| cache.allocate(Sum(0)).unwrap().page_id).collect();
    let all: Vec<Done> = thread::scope(|scope| {
        let (cache, pages) = (&cache, &pages);
        let threads: Vec<_> =
            (0..THREADS).map(|seed| scope.spawn(move || race(cache, pages, seed + 1, ROUNDS))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let total = |cache: &PageCache<Sum>| -> i64 {
        let guard = cache.pin();
        pages.iter().map(|page_id| guard.get(*page_id).unwrap().unwrap().merged().0).sum()
    };
    let expected: i64 = all.iter().map(|done| done.sum).sum();
    assert_eq!(total(&cache), expected);
    // One order for each page: the versions are 2, 3, 4 … without a gap, each given once, rising for each
    // thread.
    let mut given: BTreeMap<PageId, BTreeSet<Version>> = BTreeMap::new();
    for done in &all {
        let mut last: BTreeMap<PageId, Version> = BTreeMap::new();
        for (page_id, version) in &done.versions {
            assert!(given.entry(*page_id).or_default().insert(*version), "a version was given twice");
            assert!(last.insert(*page_id, *version).is_none_or(|before| before < *version));
        }
    }
    for (page_id, versions) in &given {
        let expected: BTreeSet<Version> = (2..).map(Version::new).take(versions.len()).collect();
        assert_eq!(*versions, expected);
        assert_eq!(cache.version(*page_id).unwrap(), versions.last().copied());
    }
    let counts = cache.stats().counts;
    assert_eq!(counts.links + counts.consolidations + counts.replacements, THREADS * ROUNDS);
    let lost: u64 = all.iter().map(|done| done.lost).sum();
    println!("{lost} races were lost; {counts:?}");
    assert!(counts.segments_reused > 0 && counts.snapshots > 0);
    cache.close().unwrap();
    assert_eq!(total(&tiny(&storage).open().unwrap()), expected);
}

#[test]
fn readers_see_each_page_move_only_forward_while_it_is_evicted_and_moved() {
    let storage = Arc::new(MemoryStorage::new());
    let config = tiny(&storage).cache_capacity(256).max_chain_length(10);
    let cache: PageCache<Sum> = config.open().unwrap();
    let pages: Vec<PageId> = (0..40).map(|_| cache.allocate(Sum(0)).unwrap().page_id).collect();
    let stop = AtomicBool::new(false);
    let reads = AtomicU64::new(0);
    thread::scope(|scope| {
        for seed in 0..2 {
            let (cache, pages, stop, reads) = (&cache, &pages, &stop, &reads);
            scope.spawn(move || {
                let mut seen: BTreeMap<PageId, (Version, i64)> = BTreeMap::new();
                let mut dice = Dice::new(seed + 50);
                while !stop.load(Ordering::Relaxed) {
                    let page_id = pages[dice.below(pages.len() as u64) as usize];
                    let guard = cache.pin();
                    let page = guard.get(page_id).unwrap().unwrap();
                    // Each change adds one, so the version says what the sum must be.
                    let (version, sum) = (page.version(), page.merged().0);
                    assert_eq!(sum, version.get() as i64 - 1);
                    let parts: i64 = page.fragments().map(|part| part.0).sum();
                    assert_eq!(parts, sum);
                    let before = seen.insert(page_id, (version, sum));
                    assert!(before.is_none_or(|(before, _)| before <= version));
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let writers: Vec<_> = (0..2)
            .map(|seed| {
                let (cache, pages) = (&cache, &pages);
                scope.spawn(move || {
                    let mut dice = Dice::new(seed + 90);
                    for _ in 0..1200 {
                        let page_id = pages[dice.below(pages.len() as u64) as usize];
                        let version = cache.version(page_id).unwrap().unwrap();
                        let _ = cache.link(page_id, version, Sum(1)).unwrap();
                        if dice.below(16) == 0 {
                            cache.attempt_gc().unwrap();
                        }
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        stop.store(true, Ordering::Relaxed);
    });
    let counts = cache.stats().counts;
    println!("{} reads; {counts:?}", reads.into_inner());
    assert!(counts.evictions > 0 && counts.misses > 0 && counts.relocated_records > 0);
}

#[test]
fn allocates_and_frees_that_race_give_every_id_to_one_owner_at_a_time() {
    const ROUNDS: u64 = 4000;
    let storage = Arc::new(MemoryStorage::new());
    let cache = open(tiny(&storage));
    let owners: Vec<AtomicU64> = (0..2000).map(|_| AtomicU64::new(0)).collect();
    let kept: Vec<Vec<(PageId, Version, Vec<u8>)>> = thread::scope(|scope| {
        let threads: Vec<_> = (1..=THREADS)
            .map(|thread| {
                let (cache, owners) = (&cache, &owners);
                scope.spawn(move || {
                    let mut dice = Dice::new(thread);
                    let mut mine: Vec<(PageId, Version, Vec<u8>)> = Vec::new();
                    for round in 0..ROUNDS {
                        if mine.len() < 20 || (mine.len() < 60 && dice.below(2) == 0) {
                            let bytes = [thread.to_le_bytes(), round.to_le_bytes()].concat();
                            let page = cache.allocate(Bytes(bytes.clone())).unwrap();
                            let owner = &owners[page.page_id.get() as usize];
                            assert_eq!(owner.swap(thread, Ordering::SeqCst), 0, "one id for two pages");
                            mine.push((page.page_id, page.version, bytes));
                        } else {
                            let (page_id, version, bytes) =
                                mine.swap_remove(dice.below(mine.len() as u64) as usize);
                            assert_eq!(read(cache, page_id).unwrap(), bytes);
                            owners[page_id.get() as usize].store(0, Ordering::SeqCst);
                            assert!(cache.free(page_id, version).unwrap().is_done());
                            // Its id may be somebody's already; the old token is of no use there.
                            assert!(matches!(cache.free(page_id, version).unwrap(), Cas::Gone { .. }));
                        }
                    }
                    mine
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let stats = cache.stats();
    let kept: Vec<_> = kept.into_iter().flatten().collect();
    assert_eq!(stats.counts.allocations - stats.counts.frees, kept.len() as u64);
    assert_eq!(stats.page_ids - stats.free_page_ids, kept.len() as u64);
    assert!(stats.page_ids <= 60 * THREADS, "ids are not used again: {stats:?}");
    cache.close().unwrap();
    let cache = open(tiny(&storage));
    for (page_id, version, bytes) in &kept {
        assert_eq!(read(&cache, *page_id).as_ref(), Some(bytes));
        assert_eq!(cache.version(*page_id).unwrap(), Some(*version));
    }
    let stats = cache.stats();
    assert_eq!(stats.page_ids - stats.free_page_ids, kept.len() as u64);
}

#[test]
fn racing_frees_and_links_on_one_page_have_one_winner() {
    let cache = open(tiny(&Arc::new(MemoryStorage::new())));
    for _ in 0..400 {
        let page = cache.allocate(Bytes(vec![0])).unwrap();
        let won = AtomicU64::new(0);
        thread::scope(|scope| {
            for thread in 0..3u8 {
                let (cache, won) = (&cache, &won);
                scope.spawn(move || {
                    let done = match thread {
                        0 => cache.link(page.page_id, page.version, Bytes(vec![1])).unwrap().is_done(),
                        1 => cache.replace(page.page_id, page.version, Bytes(vec![2])).unwrap().is_done(),
                        _ => cache.free(page.page_id, page.version).unwrap().is_done(),
                    };
                    won.fetch_add(done.into(), Ordering::SeqCst);
                });
            }
        });
        assert_eq!(won.into_inner(), 1);
        match cache.version(page.page_id).unwrap() {
            Some(version) => assert!(cache.free(page.page_id, version).unwrap().is_done()),
            None => assert_eq!(read(&cache, page.page_id), None),
        }
    }
    let stats = cache.stats();
    assert_eq!((stats.counts.allocations, stats.counts.frees, stats.page_ids), (400, 400, 1));
}

#[test]
fn flushes_of_many_threads_share_syncs_and_each_finds_its_own_work_stable() {
    let storage = Arc::new(MemoryStorage::new());
    let cache = open(tiny(&storage));
    thread::scope(|scope| {
        for thread in 0..8u8 {
            let cache = &cache;
            scope.spawn(move || {
                for n in 0..200u8 {
                    let page = cache.allocate(Bytes(vec![thread, n])).unwrap();
                    if n % 2 == 0 {
                        cache.flush().unwrap();
                    } else {
                        cache.make_stable(page.lsn).unwrap();
                    }
                    assert!(cache.stable_lsn() > page.lsn);
                }
            });
        }
    });
    let counts = cache.stats().counts;
    println!("{} syncs for 1600 commits", counts.syncs);
    assert!(counts.syncs <= 1700);
}

/// A reader found nothing in memory, looked the page up again, and found that it had been replaced meanwhile:
/// in memory, with a record that was still being written. It must not read that.
#[test]
fn a_page_that_is_replaced_between_two_looks_of_a_reader_is_found_in_memory() {
    const LENGTH: usize = 40;
    let storage = Arc::new(MemoryStorage::new());
    let cache: PageCache<Bytes> = tiny(&storage).cache_capacity(0).open().unwrap();
    let pages: Vec<PageId> =
        (0..4).map(|_| cache.allocate(Bytes(vec![0; LENGTH])).unwrap().page_id).collect();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let (cache, pages, stop) = (&cache, &pages, &stop);
        for _ in 0..2 {
            scope.spawn(move || {
                for round in (0..pages.len()).cycle().take_while(|_| !stop.load(Ordering::Relaxed)) {
                    let bytes = read(cache, pages[round]).unwrap();
                    assert!(bytes.len() == LENGTH && bytes.iter().all(|byte| *byte == bytes[0]));
                }
            });
        }
        let write = |first: usize| {
            for round in 0..3000 {
                let page_id = pages[(round + first) % pages.len()];
                let version = cache.version(page_id).unwrap().unwrap();
                let _ = cache.replace(page_id, version, Bytes(vec![round as u8; LENGTH])).unwrap();
            }
        };
        let other = scope.spawn(move || write(1));
        write(0);
        other.join().unwrap();
        stop.store(true, Ordering::Relaxed);
    });
}
