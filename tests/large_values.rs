//! Values that go to files of their own: they come back, their files go when nobody needs them and not
//! before, and what is missing or damaged is an error.
//!
//! Power cuts at every operation, with large values among others, are in `power_cut.rs` and `model.rs`;
//! failing calls in `faults.rs`.
//!
//! # Bugs that were planted
//!
//! Each was put into the store by hand, one at a time, and made a test here fail:
//!
//! - the sync left out of: a file; the directory
//! - a file removed before its killer is stable; before readers have moved on; not when its writer fails
//! - no sweep; a sweep that forgets links, or does not compare numbers; one by a read-only opening
//! - an opening that does not tell nodes which of them have files; a value whose checksum is not checked; a
//!   missing file as an I/O error
//! - a backup that does not hold files, or leaves them behind
//! - a base, or a link, that counts with its pointer only; a full disk on which removals are not settled
//!
//! And one that only the registry's own tests see, for it takes threads that race: a publisher who does not
//! look whether the killer was there before.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Bytes, alone, link, open, read, replace, tiny};
use pagelog::sim::{CallKind, Fault, SimStorage, When};
use pagelog::{Access, Cas, Config, Error, MemoryStorage, PageCache, PageId, Storage};

const LONG: usize = 3000;

fn files<S: Storage>(storage: &S) -> Vec<String> {
    let names = storage.list().unwrap();
    let mut names: Vec<String> = names.into_iter().filter(|name| name.starts_with("blob-")).collect();
    names.sort();
    names
}

fn value(number: usize, length: usize) -> Vec<u8> {
    // Hard to compress.
    let mut state = number as u64 + 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    (0..length).map(|_| next()).collect()
}

fn allocate(cache: &PageCache<Bytes>, bytes: Vec<u8>) -> (PageId, pagelog::Version) {
    let page = cache.allocate(Bytes(bytes)).unwrap();
    (page.page_id, page.version)
}

/// Something that happens to a file.
type Damage = fn(&SimStorage, &str);

/// A cache that has to read everything back.
fn forgetful<S: Storage>(storage: &Arc<S>) -> Config {
    tiny(storage).cache_capacity(0)
}

#[test]
fn fifty_replaces_of_a_large_page_leave_one_file() {
    let _turn = alone();
    let storage = Arc::new(SimStorage::new(1));
    let cache = open(tiny(&storage));
    let (page_id, mut version) = allocate(&cache, value(0, LONG));
    for round in 1..=50 {
        version = replace(&cache, page_id, version, &value(round, LONG));
        cache.flush().unwrap();
        // All stores of a process share one collector: what the test before left to be freed can come first,
        // and its thread may be on its way out with a guard. Then a later flush finds that nobody needs the
        // file.
        let is_one_left = (0..1000).any(|_| {
            cache.flush().unwrap();
            files(&*storage).len() == 1
        });
        assert!(is_one_left, "round {round}");
    }
    let stats = cache.stats();
    assert_eq!((stats.large_values, stats.dead_large_values), (1, 0));
    assert_eq!(stats.large_value_bytes, LONG as u64 + 64);
    assert_eq!((stats.counts.large_values_written, stats.counts.large_values_removed), (51, 50));
    assert_eq!(stats.size_on_disk(), stats.log_file_bytes + LONG as u64 + 64);
    assert!(cache.pin().get(page_id).unwrap().unwrap().size_on_disk() > LONG as u64);
    assert_eq!(read(&cache, page_id).unwrap(), value(50, LONG));
    cache.close().unwrap();
    assert_eq!(files(&*storage).len(), 1);
}

#[test]
fn every_verb_takes_large_values_and_they_come_back() {
    let _turn = alone();
    for (snapshots, limit) in [(true, None), (false, None), (true, Some(32)), (false, Some(400))] {
        let storage = Arc::new(MemoryStorage::new());
        let config = || {
            let config = forgetful(&storage).snapshots(snapshots);
            limit.into_iter().fold(config, Config::inline_limit)
        };
        let cache = open(config());
        let mut pages = BTreeMap::new();
        for n in 0..20 {
            let (page_id, version) = allocate(&cache, value(n, 10 + n * 150));
            let version = link(&cache, page_id, version, &value(n + 100, 3000 - n * 140));
            let mut expected = [value(n, 10 + n * 150), value(n + 100, 3000 - n * 140)].concat();
            if n % 3 == 0 {
                let version = replace(&cache, page_id, version, &value(n + 200, 2000));
                expected = value(n + 200, 2000);
                if n % 6 == 0 {
                    assert!(cache.free(page_id, version).unwrap().is_done());
                    continue;
                }
            }
            pages.insert(page_id, expected);
        }
        let check = |cache: &PageCache<Bytes>| {
            for (page_id, expected) in &pages {
                assert_eq!(read(cache, *page_id).as_ref(), Some(expected), "page {page_id}, {limit:?}");
            }
            assert_eq!(files(&*storage).len() as u64, cache.stats().large_values);
            let report = cache.verify().unwrap();
            assert!(report.is_sound(), "{:?}", report.faults);
            assert_eq!((report.large_values, report.orphaned_files), (cache.stats().large_values, 0));
            assert_eq!(report.large_value_bytes, cache.stats().large_value_bytes);
        };
        cache.flush().unwrap();
        check(&cache);
        for _ in 0..2 {
            cache.close().unwrap();
            drop(open(config().read_only(true)));
        }
        let cache = open(config());
        check(&cache);
        // What was found is known to be there: it goes when its page goes.
        for page_id in pages.keys() {
            let version = cache.version(*page_id).unwrap().unwrap();
            assert!(cache.free(*page_id, version).unwrap().is_done());
        }
        cache.flush().unwrap();
        assert_eq!(files(&*storage), Vec::<String>::new());
        assert_eq!(cache.stats().large_value_bytes, 0);
    }
}

#[cfg(feature = "compression")]
#[test]
fn values_are_compressed_before_they_are_compared_with_the_limit() {
    let _turn = alone();
    let storage = Arc::new(MemoryStorage::new());
    let cache = open(forgetful(&storage).compression(1));
    let (small, _) = allocate(&cache, vec![7; 100_000]);
    assert_eq!(files(&*storage).len(), 0);
    let half: Vec<u8> = value(1, LONG).into_iter().flat_map(|byte| [byte % 16; 8]).collect();
    let (large, _) = allocate(&cache, half.clone());
    let stored = cache.stats().large_value_bytes;
    assert!(stored > 1000 && stored < half.len() as u64 / 2, "{stored}");
    cache.close().unwrap();
    let cache = open(forgetful(&storage));
    assert_eq!(read(&cache, small).unwrap(), vec![7; 100_000]);
    assert_eq!(read(&cache, large).unwrap(), half);
}

#[test]
fn collection_moves_the_records_and_leaves_the_files_alone() {
    let _turn = alone();
    let storage = Arc::new(MemoryStorage::new());
    let cache = open(forgetful(&storage).space_target(1.05));
    let large: Vec<_> = (0..8)
        .map(|n| {
            let (page_id, version) = allocate(&cache, value(n, LONG));
            // Small ones between, so that there is something to clean.
            let small: Vec<_> = (0..10).map(|_| allocate(&cache, vec![1; 60])).collect();
            for (id, version) in small {
                assert!(cache.free(id, version).unwrap().is_done());
            }
            (page_id, version)
        })
        .collect();
    cache.flush().unwrap();
    let before = files(&*storage);
    let mut churn = allocate(&cache, vec![2; 200]);
    for _ in 0..200 {
        churn.1 = replace(&cache, churn.0, churn.1, &[3; 200]);
        cache.attempt_gc().unwrap();
        cache.flush().unwrap();
    }
    assert!(cache.stats().counts.relocated_records > 8, "{:?}", cache.stats());
    assert_eq!(files(&*storage), before);
    let check = |cache: &PageCache<Bytes>| {
        large
            .iter()
            .enumerate()
            .for_each(|(n, (id, _))| assert_eq!(read(cache, *id).unwrap(), value(n, LONG)));
    };
    check(&cache);
    cache.close().unwrap();
    let cache = open(forgetful(&storage));
    check(&cache);
    // A record that was moved still knows its file.
    for (id, version) in &large {
        assert!(cache.free(*id, *version).unwrap().is_done());
    }
    cache.flush().unwrap();
    assert_eq!(files(&*storage).len(), 0);
}

#[test]
fn a_file_stays_until_its_replacement_is_stable() {
    let _turn = alone();
    let storage = Arc::new(SimStorage::new(3));
    let cache = open(tiny(&storage));
    let (page_id, version) = allocate(&cache, value(1, LONG));
    cache.flush().unwrap();
    replace(&cache, page_id, version, &value(2, LONG));
    for _ in 0..5 {
        allocate(&cache, vec![1; 10]);
    }
    assert_eq!(files(&*storage).len(), 2);
    assert_eq!(cache.stats().dead_large_values, 1);
    // Whatever the power cut leaves: the old value or the new one, and its file only.
    for seed in 0..40 {
        let after = Arc::new(storage.after_power_cut(seed));
        let cache = open(tiny(&after));
        let found = read(&cache, page_id).unwrap();
        assert!(found == value(1, LONG) || found == value(2, LONG), "seed {seed}");
        assert_eq!(files(&*after).len(), 1, "seed {seed}");
        assert!(cache.verify().unwrap().is_sound());
    }
    cache.flush().unwrap();
    assert_eq!(files(&*storage).len(), 1);
}

#[test]
fn a_reader_that_was_pinned_before_can_still_read_the_old_value() {
    let _turn = alone();
    let storage = Arc::new(MemoryStorage::new());
    let cache = open(forgetful(&storage));
    let (page_id, version) = allocate(&cache, value(1, LONG));
    cache.flush().unwrap();
    let guard = cache.pin();
    replace(&cache, page_id, version, &value(2, LONG));
    for _ in 0..5 {
        cache.flush().unwrap();
        cache.attempt_gc().unwrap();
    }
    assert_eq!((files(&*storage).len(), cache.stats().dead_large_values), (2, 1), "a reader may want it");
    drop(guard);
    allocate(&cache, vec![1; 10]);
    cache.flush().unwrap();
    assert_eq!((files(&*storage).len(), cache.stats().dead_large_values), (1, 0));
}

#[test]
fn readers_and_writers_of_large_pages_do_not_disturb_each_other() {
    let _turn = alone();
    let storage = Arc::new(MemoryStorage::new());
    let cache = open(forgetful(&storage).space_target(1.05));
    let pages: Vec<PageId> = (0..4).map(|n| allocate(&cache, value(n, LONG)).0).collect();
    std::thread::scope(|scope| {
        for writer in 0..2 {
            let (cache, pages) = (&cache, &pages);
            scope.spawn(move || {
                for round in 0..150 {
                    let page_id = pages[(round + writer) % pages.len()];
                    let Some(version) = cache.version(page_id).unwrap() else { continue };
                    let outcome = cache.replace(page_id, version, Bytes(value(round, LONG))).unwrap();
                    assert!(matches!(outcome, Cas::Done { .. } | Cas::Changed { .. }), "{outcome:?}");
                    if round % 5 == 0 {
                        cache.flush().unwrap();
                        cache.attempt_gc().unwrap();
                    }
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                for round in 0..400 {
                    let bytes = read(&cache, pages[round % pages.len()]).unwrap();
                    assert_eq!(bytes.len(), LONG);
                }
            });
        }
    });
    // The last files go when the threads' last guards are forgotten.
    let began = Instant::now();
    while files(&*storage).len() > 4 && began.elapsed().as_secs() < 20 {
        cache.flush().unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(files(&*storage).len(), 4);
    assert_eq!(cache.stats().large_values, 4);
    assert!(cache.verify().unwrap().is_sound());
}

#[test]
fn a_missing_or_damaged_file_is_corruption_that_names_it() {
    let _turn = alone();
    let faults: [(&str, Damage); 6] = [
        ("missing", |disk, name| disk.remove(name).unwrap()),
        ("a bit of the value", |disk, name| disk.flip_bit(name, 64 + 1000, 3).unwrap()),
        ("a bit of the header", |disk, name| disk.flip_bit(name, 40, 0).unwrap()),
        ("cut short", |disk, name| disk.open(name, Access::Write).unwrap().set_len(100).unwrap()),
        ("longer", |disk, name| disk.open(name, Access::Write).unwrap().set_len(1 << 40).unwrap()),
        ("empty", |disk, name| drop(disk.create(name).unwrap())),
    ];
    for (what, damage) in faults {
        for reopened in [false, true] {
            let disk = Arc::new(SimStorage::new(5));
            let cache = open(forgetful(&disk));
            let (page_id, version) = allocate(&cache, value(1, LONG));
            let (other, _) = allocate(&cache, vec![1; 50]);
            cache.flush().unwrap();
            let name = files(&*disk).remove(0);
            let cache = if reopened {
                cache.close().unwrap();
                damage(&disk, &name);
                open(forgetful(&disk))
            } else {
                damage(&disk, &name);
                cache
            };
            let error = cache.pin().get(page_id).unwrap_err();
            let Error::Corruption(corruption) = error else { panic!("{what}: {error:?}") };
            assert!(
                corruption.file.ends_with(&name) && corruption.page_id == Some(page_id),
                "{corruption:?}"
            );
            let report = cache.verify().unwrap();
            assert_eq!(report.faults.len(), 1, "{what}: {:?}", report.faults);
            assert!(report.faults[0].file.ends_with(&name));
            assert_eq!(report.orphaned_files, 0);
            assert_eq!(read(&cache, other).unwrap(), [1; 50]);
            // The page can be replaced without being read.
            replace(&cache, page_id, version, b"good");
            cache.close().unwrap();
            let cache = open(forgetful(&disk));
            assert_eq!(read(&cache, page_id).unwrap(), b"good");
            assert_eq!(files(&*disk).len(), 0, "{what}");
        }
    }
}

#[test]
fn opening_sweeps_what_nobody_needs_and_nothing_else() {
    let _turn = alone();
    let disk = Arc::new(SimStorage::new(6));
    let cache = open(tiny(&disk));
    let (page_id, version) = allocate(&cache, value(1, LONG));
    let version = link(&cache, page_id, version, &value(2, LONG));
    cache.close().unwrap();
    let needed = files(&*disk);
    let tail = |version: u64| format!("{:08x}-{version:016x}", page_id.get());
    let orphans = [
        // Of the live record's page and version, but not the number that it names.
        format!("blob-00000000000fffff-{}", tail(version.get())),
        // Of a version that is not there, and of a page that is not.
        format!("blob-00000000000ffffe-{}", tail(77)),
        "blob-00000000000ffffd-00000300-0000000000000001".to_owned(),
    ];
    let foreign = ["blob-mine", "blob-7", "notes.txt", "blob-00000000000fffff.new"];
    for name in orphans.iter().map(String::as_str).chain(foreign) {
        disk.create(name).unwrap().write_at(b"what is this", 0).unwrap();
    }
    let before = disk.contents();
    let cache = open(tiny(&disk).read_only(true));
    assert_eq!(cache.verify().unwrap().orphaned_files, 3);
    assert_eq!(read(&cache, page_id).unwrap().len(), 2 * LONG);
    drop(cache);
    assert_eq!(disk.contents(), before, "a read-only opening sweeps nothing");
    let cache = open(tiny(&disk));
    assert_eq!(cache.verify().unwrap().orphaned_files, 0);
    let left = disk.list().unwrap();
    assert!(orphans.iter().all(|name| !left.contains(name)), "{left:?}");
    assert!(foreign.iter().all(|name| left.contains(&(*name).to_owned())), "{left:?}");
    assert!(needed.iter().all(|name| left.contains(name)), "{left:?}");
    assert_eq!(read(&cache, page_id).unwrap().len(), 2 * LONG);
}

#[test]
fn an_opening_sweeps_the_file_of_a_superseded_value_when_what_superseded_it_is_stable() {
    let _turn = alone();
    let disk = SimStorage::new(10);
    let cache = open(tiny(&Arc::new(disk.clone())));
    let (page_id, version) = allocate(&cache, value(1, LONG));
    cache.flush().unwrap();
    replace(&cache, page_id, version, &value(2, LONG));
    // The system has the new record, and the disk has not.
    allocate(&cache, vec![1; 600]);
    let killed = disk.after_kill();
    killed.record_history();
    let reopened = open(tiny(&Arc::new(killed.clone())));
    assert_eq!(read(&reopened, page_id).unwrap(), value(2, LONG));
    for moment in killed.history().unwrap() {
        for seed in 0..10 {
            let image = killed.image_at(moment, seed).unwrap();
            let cache = open(tiny(&Arc::new(image.clone())));
            let found = read(&cache, page_id).unwrap();
            assert!(found == value(1, LONG) || found == value(2, LONG), "cut at {moment}, seed {seed}");
            image.cut_power();
        }
    }
    killed.cut_power();
    disk.cut_power();
}

/// What a workload with large values in every verb has come to: pages by what they hold, after each
/// acknowledged step.
fn workload(
    cache: &PageCache<Bytes>,
    mut acknowledged: impl FnMut(&BTreeMap<PageId, Vec<u8>>),
) -> pagelog::Result<()> {
    let mut pages = BTreeMap::new();
    let mut done = |cache: &PageCache<Bytes>, pages: &BTreeMap<PageId, Vec<u8>>| {
        cache.flush()?;
        acknowledged(pages);
        pagelog::Result::Ok(())
    };
    let page = cache.allocate(Bytes(value(1, LONG)))?;
    pages.insert(page.page_id, value(1, LONG));
    done(cache, &pages)?;
    let version = cache.link(page.page_id, page.version, Bytes(value(2, LONG)))?.done().unwrap();
    pages.insert(page.page_id, [value(1, LONG), value(2, LONG)].concat());
    done(cache, &pages)?;
    let version = cache.replace(page.page_id, version, Bytes(value(3, 2000)))?.done().unwrap();
    pages.insert(page.page_id, value(3, 2000));
    done(cache, &pages)?;
    let batch = cache.pin_log()?;
    let other = cache.allocate(Bytes(value(4, LONG)))?;
    let version = cache.replace(page.page_id, version, Bytes(value(5, LONG)))?.done().unwrap();
    batch.seal_batch()?;
    pages.insert(other.page_id, value(4, LONG));
    pages.insert(page.page_id, value(5, LONG));
    done(cache, &pages)?;
    assert!(cache.free(page.page_id, version)?.is_done());
    pages.remove(&page.page_id);
    done(cache, &pages)?;
    done(cache, &pages)
}

fn all(cache: &PageCache<Bytes>) -> BTreeMap<PageId, Vec<u8>> {
    (1..9).map(PageId::new).filter_map(|id| Some((id, read(cache, id)?))).collect()
}

/// After a crash there is no file that nobody needs, and what was acknowledged is there.
fn check_after_crash(
    image: SimStorage,
    least: &BTreeMap<PageId, Vec<u8>>,
    states: &[BTreeMap<PageId, Vec<u8>>],
    when: &str,
) {
    let image = Arc::new(image);
    let cache = open(forgetful(&image));
    let found = all(&cache);
    let at = states.iter().position(|state| *state == *least).unwrap();
    let between = found.len() <= 2
        && found.values().all(|bytes| states.iter().any(|state| state.values().any(|other| other == bytes)));
    assert!(states[at..].contains(&found) || between, "{when}: {:?}", found.keys());
    assert_eq!(files(&*image).len() as u64, cache.stats().large_values, "{when}");
    let report = cache.verify().unwrap();
    assert!(report.is_sound() && report.orphaned_files == 0, "{when}: {report:?}");
    image.cut_power();
}

#[test]
fn a_crash_at_any_operation_leaves_no_orphan_and_loses_nothing_acknowledged() {
    let _turn = alone();
    let disk = Arc::new(SimStorage::new(7));
    disk.record_history();
    let cache = open(forgetful(&disk));
    let mut states = vec![(0, BTreeMap::new())];
    workload(&cache, |pages| states.push((disk.operations(), pages.clone()))).unwrap();
    let all_states: Vec<_> = states.iter().map(|(_, state)| state.clone()).collect();
    for moment in disk.history().unwrap() {
        let least = &states.iter().rfind(|(when, _)| *when <= moment).unwrap().1;
        check_after_crash(
            disk.killed_at(moment).unwrap(),
            least,
            &all_states,
            &format!("killed at {moment}"),
        );
        for seed in 0..6 {
            let image = disk.image_at(moment, seed).unwrap();
            check_after_crash(image, least, &all_states, &format!("cut at {moment}, seed {seed}"));
        }
    }
}

#[test]
fn whichever_call_of_a_large_write_fails_nothing_is_left_of_it() {
    let _turn = alone();
    let mut reached = BTreeMap::new();
    for at in 1.. {
        for fault in [Fault::Error, Fault::ShortWrite, Fault::NoSpace, Fault::SyncDropsPages] {
            let disk = Arc::new(SimStorage::new(8));
            let cache = open(tiny(&disk));
            let (page_id, version) = allocate(&cache, value(1, LONG));
            cache.flush().unwrap();
            disk.log_calls();
            disk.fail_at(When::Call(disk.calls() + at), fault);
            let outcome = cache.replace(page_id, version, Bytes(value(2, LONG)));
            disk.clear_faults();
            let calls = disk.take_calls();
            let Some(call) = calls.get(at as usize - 1) else {
                assert!(outcome.is_ok());
                let kinds: Vec<CallKind> = reached.into_values().collect();
                assert!(
                    kinds.contains(&CallKind::Create) && kinds.contains(&CallKind::SyncDirectory),
                    "{kinds:?}"
                );
                return;
            };
            reached.insert(at, call.kind);
            match outcome {
                Ok(outcome) => assert!(outcome.is_done()),
                Err(error) => {
                    let is_expected = match fault {
                        Fault::NoSpace => matches!(error, Error::DiskFull { .. } | Error::Io { .. }),
                        _ => matches!(error, Error::Io { .. }),
                    };
                    assert!(is_expected, "{call:?}, {fault:?}: {error}");
                    assert_eq!(files(&*disk).len(), 1, "{call:?}, {fault:?}");
                    assert_eq!(read(&cache, page_id).unwrap(), value(1, LONG));
                    assert_eq!(cache.version(page_id).unwrap(), Some(version));
                    if call.kind == CallKind::SyncDirectory && fault != Fault::NoSpace {
                        // Others' entries may be lost with this one's. No later success would say so.
                        let again = cache.replace(page_id, version, Bytes(value(2, LONG)));
                        assert!(again.unwrap_err().to_string().contains("earlier sync of the directory"));
                        replace(&cache, page_id, version, b"small");
                        cache.flush().unwrap();
                        assert!(cache.close().is_err(), "no snapshot");
                        drop(cache);
                        assert_eq!(read(&open(forgetful(&disk)), page_id).unwrap(), b"small");
                        continue;
                    }
                    replace(&cache, page_id, version, &value(2, LONG));
                }
            }
            cache.flush().unwrap();
            assert_eq!(files(&*disk).len(), 1, "{call:?}, {fault:?}");
            assert_eq!(read(&cache, page_id).unwrap(), value(2, LONG));
            cache.close().unwrap();
            assert_eq!(read(&open(forgetful(&disk)), page_id).unwrap(), value(2, LONG));
        }
    }
}

#[test]
fn a_writer_that_loses_its_race_leaves_no_file() {
    let _turn = alone();
    let storage = Arc::new(MemoryStorage::new());
    let cache = open(tiny(&storage));
    let (page_id, _) = allocate(&cache, value(0, LONG));
    let lost: u32 = std::thread::scope(|scope| {
        let writer = |writer: usize| {
            let cache = &cache;
            scope.spawn(move || {
                let mut lost = 0;
                for round in 0..200 {
                    let version = cache.version(page_id).unwrap().unwrap();
                    let outcome = cache.replace(page_id, version, Bytes(value(writer * 1000 + round, LONG)));
                    lost += u32::from(!outcome.unwrap().is_done());
                }
                lost
            })
        };
        let writers: Vec<_> = (0..4).map(writer).collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).sum()
    });
    println!("{lost} races lost");
    cache.flush().unwrap();
    let kept = read(&cache, page_id).unwrap();
    assert_eq!((files(&*storage).len(), cache.stats().large_values), (1, 1));
    cache.close().unwrap();
    assert_eq!(read(&open(tiny(&storage)), page_id).unwrap(), kept);
}

#[test]
fn a_batch_that_is_cut_leaves_no_orphan_and_brings_back_what_it_replaced() {
    let _turn = alone();
    let disk = Arc::new(SimStorage::new(9));
    let cache = open(forgetful(&disk));
    let (page_id, version) = allocate(&cache, value(1, LONG));
    cache.flush().unwrap();
    let batch = cache.pin_log().unwrap();
    replace(&cache, page_id, version, &value(2, LONG));
    for n in 0..30 {
        allocate(&cache, value(n, 900));
    }
    // Another thread's flush would wait; what is done in passing must not call the batch stable.
    cache.attempt_gc().unwrap();
    assert!(files(&*disk).len() >= 2, "what an open batch has replaced is still needed");
    for seed in 0..20 {
        let after = Arc::new(if seed == 0 { disk.after_kill() } else { disk.after_power_cut(seed) });
        let cache = open(forgetful(&after));
        assert_eq!(read(&cache, page_id).unwrap(), value(1, LONG), "seed {seed}");
        assert_eq!(files(&*after).len(), 1, "seed {seed}");
    }
    batch.seal_batch().unwrap();
    cache.flush().unwrap();
    assert_eq!(read(&cache, page_id).unwrap(), value(2, LONG));
    assert_eq!(files(&*disk).len() as u64, cache.stats().large_values);
}

#[test]
fn a_full_disk_refuses_a_large_value_and_takes_it_when_there_is_space_again() {
    let _turn = alone();
    let disk = Arc::new(SimStorage::new(10));
    let cache = open(tiny(&disk));
    let (page_id, version) = allocate(&cache, value(1, 40_000));
    cache.flush().unwrap();
    disk.set_capacity(Some(disk.used_bytes() + 30_000));
    let refused = cache.allocate(Bytes(value(2, 40_000)));
    assert!(matches!(refused, Err(Error::DiskFull { .. })), "{refused:?}");
    assert_eq!(files(&*disk).len(), 1);
    assert_eq!(read(&cache, page_id).unwrap(), value(1, 40_000));
    // Freeing makes space.
    assert!(cache.free(page_id, version).unwrap().is_done());
    cache.flush().unwrap();
    let (page_id, _) = allocate(&cache, value(2, 40_000));
    cache.close().unwrap();
    assert_eq!(read(&open(tiny(&disk)), page_id).unwrap(), value(2, 40_000));
}

#[test]
fn a_backup_takes_the_files_along_as_of_its_moment() {
    let _turn = alone();
    let storage = Arc::new(MemoryStorage::new());
    let cache = open(forgetful(&storage));
    let (page_id, version) = allocate(&cache, value(1, LONG));
    let (other, _) = allocate(&cache, vec![5; 50]);
    let target = Arc::new(MemoryStorage::new());
    let mut version = Some(version);
    // Replaced, made stable and collected in the midst of it.
    let report = cache
        .backup_to_storage(Arc::clone(&target) as Arc<dyn Storage>, |_| {
            if let Some(version) = version.take() {
                replace(&cache, page_id, version, &value(2, LONG));
                cache.flush().unwrap();
                cache.attempt_gc().unwrap();
            }
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert!(report.bytes > LONG as u64);
    cache.flush().unwrap();
    assert_eq!(files(&*storage).len(), 1, "what the backup held is removed");
    let copy = open(forgetful(&target));
    assert_eq!(read(&copy, page_id).unwrap(), value(1, LONG));
    assert_eq!(read(&copy, other).unwrap(), [5; 50]);
    assert!(copy.verify().unwrap().is_sound());
    assert_eq!(files(&*target).len(), 1);
    assert_eq!(read(&cache, page_id).unwrap(), value(2, LONG));
}

#[test]
fn small_links_do_not_rewrite_a_large_page_nor_do_large_links_pile_up_on_a_small_one() {
    let _turn = alone();
    for reopened in [false, true] {
        let storage = Arc::new(MemoryStorage::new());
        let config = || tiny(&storage).cache_capacity(1 << 20).max_chain_length(1000);
        let cache = open(config());
        let (page_id, mut version) = allocate(&cache, value(1, 20_000));
        let (small, mut small_version) = allocate(&cache, vec![1; 10]);
        small_version = link(&cache, small, small_version, &value(3, LONG));
        let cache = if reopened {
            cache.close().unwrap();
            open(config())
        } else {
            cache
        };
        let before = cache.stats().counts;
        for _ in 0..300 {
            version = link(&cache, page_id, version, &[2; 100]);
        }
        assert_eq!(cache.stats().counts.consolidations, before.consolidations);
        // Four times a base of some bytes were reached long ago: the next link writes the page as a whole.
        link(&cache, small, small_version, &value(4, LONG));
        let consolidations = before.consolidations + 1;
        assert_eq!(cache.stats().counts.consolidations, consolidations, "reopened: {reopened}");
    }
}

#[test]
fn a_temporary_store_takes_its_files_with_it() {
    let _turn = alone();
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("store");
    let cache: PageCache<Bytes> = Config::new(&path).temporary(true).inline_limit(100).open().unwrap();
    allocate(&cache, value(1, LONG));
    let entries = std::fs::read_dir(&path).unwrap();
    let is_blob = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with("blob-");
    assert_eq!(entries.map(Result::unwrap).filter(is_blob).count(), 1);
    drop(cache);
    assert!(!path.exists());
}

#[test]
fn the_file_and_the_directory_are_synced_before_the_record_is_written() {
    let _turn = alone();
    let disk = Arc::new(SimStorage::new(11));
    let cache = open(tiny(&disk));
    allocate(&cache, vec![1; 10]);
    cache.flush().unwrap();
    disk.log_calls();
    allocate(&cache, value(1, LONG));
    let done: Vec<CallKind> = disk
        .take_calls()
        .into_iter()
        .filter(|call| call.file.starts_with("blob-") || call.kind == CallKind::SyncDirectory)
        .map(|call| call.kind)
        .collect();
    let expected =
        [CallKind::Create, CallKind::Write, CallKind::Write, CallKind::Sync, CallKind::SyncDirectory];
    assert_eq!(done, expected);
}
