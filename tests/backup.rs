//! Hot backup: the copy is a store, holds exactly what was done below its LSN, and the original does not
//! suffer.

mod common;
#[path = "support/observed.rs"]
mod observed;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;
use std::{fs, io};

use common::{Bytes, Dice, alone, link, open, read, replace, tiny};
use observed::{Observed, Observer};
use pagelog::sim::SimStorage;
use pagelog::{
    Cas, Config, Error, FileStorage, Log, Lsn, MemoryStorage, PageCache, PageId, Progress, Storage,
};

const ON: fn(Progress) -> ControlFlow<()> = |_| ControlFlow::Continue(());

type Pages = BTreeMap<PageId, Option<Vec<u8>>>;

/// A page that got these contents, or was freed, at an LSN.
type Done = (Lsn, PageId, Option<Vec<u8>>);

fn as_of(done: &[Done], cut: Lsn) -> Pages {
    let mut before: Vec<&Done> = done.iter().filter(|(lsn, ..)| *lsn < cut).collect();
    before.sort_by_key(|(lsn, ..)| *lsn);
    before.into_iter().map(|(_, page_id, contents)| (*page_id, contents.clone())).collect()
}

/// The copy opens, is sound, and holds these pages and no others.
fn check<S: Storage>(copy: &Arc<S>, expected: &Pages, when: &str) {
    let cache = open(tiny(copy));
    let report = cache.verify().unwrap();
    assert!(report.is_sound(), "{when}: {:#?}", report.faults);
    for (page_id, contents) in expected {
        assert_eq!(read(&cache, *page_id), *contents, "{when}: page {page_id}");
    }
    let last = expected.keys().map(|page_id| page_id.get()).max().unwrap_or(0);
    for beyond in last + 1..last + 20 {
        assert_eq!(read(&cache, PageId::new(beyond)), None, "{when}: page {beyond}");
    }
    let page = cache.allocate(Bytes(vec![9; 30])).unwrap();
    cache.close().unwrap();
    assert_eq!(read(&open(tiny(copy)), page.page_id).unwrap(), [9; 30], "{when}");
}

fn fill(cache: &PageCache<Bytes>) -> Pages {
    let mut pages = Pages::new();
    for n in 0..60u8 {
        let page = cache.allocate(Bytes(vec![n; 40])).unwrap();
        let version = replace(cache, page.page_id, page.version, &[n; 30]);
        let version = link(cache, page.page_id, version, &[n; 9]);
        let is_freed = n % 7 == 6;
        if is_freed {
            assert!(cache.free(page.page_id, version).unwrap().is_done());
        }
        pages.retain(|page_id, contents| *page_id != page.page_id || contents.is_some());
        pages.insert(page.page_id, (!is_freed).then(|| vec![n; 39]));
    }
    pages
}

#[test]
fn a_copy_made_beside_writers_holds_exactly_what_lies_below_its_lsn() {
    let _turn = alone();
    let cache = open(tiny(&Arc::new(MemoryStorage::new())).space_target(1.05).cache_capacity(2000));
    let first: Vec<Done> = (0..60)
        .map(|n| {
            let page = cache.allocate(Bytes(vec![n; 40])).unwrap();
            (page.lsn, page.page_id, Some(vec![n; 40]))
        })
        .collect();
    let ids: Vec<PageId> = first.iter().map(|(_, page_id, _)| *page_id).collect();
    let stop = AtomicBool::new(false);
    let mut copies = Vec::new();
    let done: Vec<Done> = thread::scope(|scope| {
        let workers: Vec<_> = (0..3usize)
            .map(|thread| {
                let (cache, ids, stop) = (&cache, &ids[thread * 20..][..20], &stop);
                scope.spawn(move || write(cache, ids, thread as u64, stop))
            })
            .collect();
        for _ in 0..6 {
            let copy = Arc::new(MemoryStorage::new());
            let before = cache.stable_lsn();
            let mut opened = None;
            // Slow: the others begin many segments while it is under way.
            let slow = |_: Progress| {
                let count = || cache.stats().counts.segments_opened;
                let began = *opened.get_or_insert_with(count);
                let since = Instant::now();
                while count() < began + 25 && since.elapsed().as_secs() < 5 {
                    thread::yield_now();
                }
                ControlFlow::Continue(())
            };
            let report = cache.backup_to_storage(copy.clone(), slow).unwrap_or_else(|error| {
                stop.store(true, Ordering::Relaxed);
                panic!("{error}")
            });
            assert!(report.stable_lsn >= before && report.segments > 3, "{report:?}");
            copies.push((copy, report));
            // What was held comes back, and is collected and used again before the next one.
            let (before, since) = (cache.stats().counts, Instant::now());
            let moved = |now: pagelog::Counts| {
                now.relocated_records > before.relocated_records + 40 && now.batches > before.batches + 2
            };
            while !moved(cache.stats().counts) && since.elapsed().as_secs() < 5 {
                thread::yield_now();
            }
        }
        stop.store(true, Ordering::Relaxed);
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).chain(first).collect()
    });
    let counts = cache.stats().counts;
    assert!(
        counts.relocated_records > 100 && counts.segments_reused > 50 && counts.batches > 10,
        "{counts:?}"
    );
    for (number, (copy, report)) in copies.iter().enumerate() {
        check(copy, &as_of(&done, report.stable_lsn), &format!("copy {number} of {}", copies.len()));
    }
    assert!(cache.verify().unwrap().is_sound());
    // The space comes back: nothing waits for a holder, and the file grows no more.
    (0..20).for_each(|_| _ = cache.attempt_gc().unwrap());
    cache.flush().unwrap();
    let reused = counts.segments_reused;
    write_until(&cache, &ids[..20], reused + 100);
    let size = cache.size_on_disk();
    write_until(&cache, &ids[..20], reused + 200);
    // Give or take a few segments, which wait for other threads to move on; what was held is dozens.
    assert!(cache.size_on_disk() <= size + 5000, "{} instead of {size} bytes", cache.size_on_disk());
}

fn write_until(cache: &PageCache<Bytes>, ids: &[PageId], reused: u64) {
    for n in (0..ids.len()).cycle() {
        let version = cache.version(ids[n]).unwrap().unwrap();
        replace(cache, ids[n], version, &[n as u8; 50]);
        if n == 0 {
            cache.flush().unwrap();
            if cache.stats().counts.segments_reused > reused {
                return;
            }
        }
    }
}

fn write(cache: &PageCache<Bytes>, ids: &[PageId], thread: u64, stop: &AtomicBool) -> Vec<Done> {
    let (mut dice, mut done) = (Dice::new(thread + 1), Vec::new());
    let put = |page_id: PageId, contents: Vec<u8>| {
        let version = cache.version(page_id).unwrap().unwrap();
        match cache.replace(page_id, version, Bytes(contents.clone())).unwrap() {
            Cas::Done { lsn, .. } => (lsn, page_id, Some(contents)),
            other => panic!("{other:?}"),
        }
    };
    while !stop.load(Ordering::Relaxed) {
        let page_id = ids[dice.below(20) as usize];
        let contents = vec![dice.next() as u8; dice.below(60) as usize];
        match dice.below(60) {
            0 => cache.flush().unwrap(),
            // With the segments that come back from a backup there is no need of collection for long.
            3 | 4 => _ = cache.attempt_gc().unwrap(),
            1 if thread == 0 => cache.snapshot().unwrap(),
            2 if thread == 1 => {
                let batch = cache.pin_log().unwrap();
                let written: Vec<Done> = ids[..5].iter().map(|id| put(*id, contents.clone())).collect();
                // The whole batch or nothing: all of it counts as done where it began.
                let begin = written.iter().map(|(lsn, ..)| *lsn).min().unwrap();
                let end = batch.seal_batch().unwrap();
                assert!(begin < end);
                done.extend(written);
            }
            _ => done.push(put(page_id, contents)),
        }
    }
    done
}

#[test]
fn copies_of_new_recovered_read_only_and_empty_stores_and_of_copies_are_stores() {
    let _turn = alone();
    let storage = Arc::new(MemoryStorage::new());
    let cache = open(tiny(&storage));
    let copy = || Arc::new(MemoryStorage::new());
    let empty = copy();
    cache.backup_to_storage(empty.clone(), ON).unwrap();
    check(&empty, &Pages::new(), "an empty store");
    let pages = fill(&cache);
    let id = cache.generate_id().unwrap();
    let (first, second) = (copy(), copy());
    cache.backup_to_storage(first.clone(), ON).unwrap();
    let report = cache.backup_to_storage(second.clone(), ON).unwrap();
    assert_eq!(report.stable_lsn, cache.stable_lsn());
    assert_eq!(report.bytes, u64::from(report.segments) * 1000);
    check(&first, &pages, "the first copy");
    let cache_of_copy = open(tiny(&second));
    assert!(cache_of_copy.generate_id().unwrap() > id);
    let third = copy();
    cache_of_copy.backup_to_storage(third.clone(), ON).unwrap();
    check(&third, &pages, "a copy of a copy");
    cache.close().unwrap();
    assert!(matches!(cache.backup_to_storage(copy(), ON), Err(Error::Closed)));
    drop(cache);
    for read_only in [true, false] {
        let recovered = open(tiny(&storage).read_only(read_only));
        let of_recovered = copy();
        recovered.backup_to_storage(of_recovered.clone(), ON).unwrap();
        check(&of_recovered, &pages, "a copy of a recovered store");
    }
}

#[test]
fn a_batch_that_is_open_is_left_out_and_not_waited_for() {
    let _turn = alone();
    let cache = open(tiny(&Arc::new(MemoryStorage::new())));
    let mut pages = fill(&cache);
    let batch = cache.pin_log().unwrap();
    let made: Vec<PageId> = (0..40).map(|n| cache.allocate(Bytes(vec![n; 50])).unwrap().page_id).collect();
    let without = Arc::new(MemoryStorage::new());
    cache.backup_to_storage(without.clone(), ON).unwrap();
    batch.seal_batch().unwrap();
    let with = Arc::new(MemoryStorage::new());
    cache.backup_to_storage(with.clone(), ON).unwrap();
    check(&without, &pages, "within the batch");
    pages.extend(made.iter().zip(0..).map(|(page_id, n)| (*page_id, Some(vec![n; 50]))));
    check(&with, &pages, "behind the batch");
}

#[test]
fn a_backup_cut_at_any_operation_is_no_store_or_a_sound_one() {
    let _turn = alone();
    let cache = open(tiny(&Arc::new(SimStorage::new(1))).inline_limit(100));
    let mut pages = fill(&cache);
    // In a file of its own.
    let large = cache.allocate(Bytes(vec![77; 200])).unwrap();
    pages.insert(large.page_id, Some(vec![77; 200]));
    let target = Arc::new(SimStorage::new(2));
    target.record_history();
    cache.backup_to_storage(target.clone(), ON).unwrap();
    let (mut stores, mut nothing, mut unfinished) = (0, 0, 0);
    for moment in target.history().unwrap() {
        for seed in 0..12 {
            let image = Arc::new(target.image_at(moment, seed).unwrap());
            let before = image.contents();
            match tiny(&image).read_only(true).open::<Bytes>() {
                Ok(cache) => {
                    drop(cache);
                    check(&image, &pages, &format!("cut at {moment}, seed {seed}"));
                    assert!(!image.contents().contains_key("UNFINISHED-BACKUP"));
                    stores += 1;
                }
                Err(Error::NotAStore { reason, .. }) if reason.contains("not finished") => {
                    assert!(matches!(tiny(&image).open::<Bytes>(), Err(Error::NotAStore { .. })));
                    assert_eq!(image.contents(), before);
                    unfinished += 1;
                }
                // Then there must not be a byte of the log either.
                Err(Error::NotAStore { .. }) => {
                    assert!(before.values().all(Vec::is_empty), "cut at {moment}, seed {seed}");
                    nothing += 1;
                }
                Err(error) => panic!("cut at {moment}, seed {seed}: {error}"),
            }
        }
    }
    assert!(stores > 10 && nothing > 10 && unfinished > 100, "{stores} {nothing} {unfinished}");
    let end = target.after_power_cut(7);
    check(&Arc::new(end), &pages, "cut when it had returned");
    assert!(cache.verify().unwrap().is_sound());
}

#[test]
fn a_target_that_is_not_empty_is_refused_and_left_as_it_is() {
    let _turn = alone();
    let place = tempfile::tempdir().unwrap();
    let cache: PageCache<Bytes> = Config::new(place.path().join("data")).open().unwrap();
    let page = cache.allocate(Bytes(vec![1; 9])).unwrap();
    fs::create_dir(place.path().join("full")).unwrap();
    fs::write(place.path().join("full/letter"), b"dear reader").unwrap();
    for inside in ["full", "data", "data/copy", "data/a/../b"] {
        let error = cache.backup_to(place.path().join(inside)).unwrap_err();
        assert!(matches!(error, Error::BackupTarget { .. }), "{inside}: {error}");
    }
    assert_eq!(fs::read_dir(place.path().join("full")).unwrap().count(), 1);
    cache.backup_to(place.path().join("new/one")).unwrap();
    assert!(matches!(cache.backup_to(place.path().join("new/one")), Err(Error::BackupTarget { .. })));
    let copy: PageCache<Bytes> = Config::new(place.path().join("new/one")).open().unwrap();
    assert_eq!(read(&copy, page.page_id).unwrap(), [1; 9]);
}

#[test]
fn a_full_target_a_cancellation_and_rot_are_errors_that_harm_nobody() {
    let _turn = alone();
    let storage = Arc::new(SimStorage::new(1));
    let cache = open(tiny(&storage));
    let mut pages = fill(&cache);
    let target = Arc::new(SimStorage::new(2));
    target.set_capacity(Some(4096));
    let full = cache.backup_to_storage(target.clone(), ON);
    assert!(matches!(full, Err(Error::DiskFull { .. })), "{full:?}");
    target.set_capacity(None);
    let mut told = 0;
    let stop = |_: Progress| {
        told += 1;
        if told > 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    assert!(matches!(cache.backup_to_storage(target.clone(), stop), Err(Error::Cancelled)));
    assert!(target.contents().is_empty());
    let page = cache.allocate(Bytes(vec![5; 5])).unwrap();
    pages.insert(page.page_id, Some(vec![5; 5]));
    cache.flush().unwrap();
    let mut last = Progress::default();
    let tell = |progress: Progress| {
        assert!(progress.done >= last.done && progress.done <= progress.total);
        last = progress;
        ControlFlow::Continue(())
    };
    cache.backup_to_storage(target.clone(), tell).unwrap();
    assert!(last.done == last.total && last.total > 2000);
    check(&target, &pages, "what was full before");
    // Free segments are not copied, so it depends on where the live ones are.
    let mut backups_of_rot = (300..storage.contents()["log"].len() as u64).step_by(512).map(|at| {
        storage.flip_bit("log", at, 1).unwrap();
        let rotten = cache.backup_to_storage(Arc::new(MemoryStorage::new()), ON);
        storage.flip_bit("log", at, 1).unwrap();
        rotten
    });
    let is_found = |rotten| match rotten {
        Ok(_) => false,
        Err(Error::Corruption(_)) => true,
        Err(other) => panic!("{other}"),
    };
    assert!(backups_of_rot.any(is_found));
    assert!(cache.verify().unwrap().is_sound());
}

/// Lets so many bytes be written.
#[derive(Debug)]
struct Room(AtomicU64);

impl Observer for Room {
    fn before_write(&self, _: &str, bytes: &[u8], _: u64) -> io::Result<()> {
        let is_enough = |left: u64| left.checked_sub(bytes.len() as u64);
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_enough);
        taken.map(|_| ()).map_err(|_| io::ErrorKind::StorageFull.into())
    }
}

/// It left the directory with an empty lock file in it.
#[test]
fn a_backup_that_fails_removes_the_directories_that_it_has_made_and_no_others() {
    let _turn = alone();
    let storage = Arc::new(SimStorage::new(1));
    let cache = open(tiny(&storage));
    fill(&cache);
    cache.flush().unwrap();
    let place = tempfile::tempdir().unwrap();
    let (above, directory) = (place.path().join("above"), place.path().join("above/copy"));
    type Make = fn(&Path, &Path);
    let before: [(&str, Make); 4] = [
        ("nothing", |_, _| ()),
        ("what is above", |above, _| fs::create_dir(above).unwrap()),
        ("the directory", |_, directory| fs::create_dir_all(directory).unwrap()),
        ("a lock file", |_, directory| {
            fs::create_dir_all(directory).unwrap();
            fs::write(directory.join("LOCK"), "").unwrap();
        }),
    ];
    for (there, make) in before {
        for failure in ["cancelled", "full", "rotten"] {
            make(&above, &directory);
            let seen = [above.exists(), directory.exists(), directory.join("LOCK").exists()];
            let room = if failure == "full" { 3000 } else { u64::MAX };
            let target = Arc::new(Observed::new(FileStorage::new(&directory), Room(AtomicU64::new(room))));
            let mut at = Vec::new();
            if failure == "rotten" {
                at.extend((300..storage.contents()["log"].len() as u64).step_by(100));
            }
            at.iter().for_each(|at| storage.flip_bit("log", *at, 1).unwrap());
            let mut steps = 0;
            let failed = cache.backup_to_storage(target, |_| {
                steps += 1;
                // When something is written.
                let is_enough = failure == "cancelled" && steps > 2;
                if is_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            at.iter().for_each(|at| storage.flip_bit("log", *at, 1).unwrap());
            let is_expected = match &failed {
                Err(Error::Cancelled) => failure == "cancelled",
                Err(Error::DiskFull { .. }) => failure == "full",
                Err(Error::Corruption(_)) => failure == "rotten",
                _ => false,
            };
            assert!(is_expected, "{failure}: {failed:?}");
            let now = [above.exists(), directory.exists(), directory.join("LOCK").exists()];
            assert_eq!(now, seen, "{failure}, and there was {there}");
            if directory.exists() {
                assert_eq!(fs::read_dir(&directory).unwrap().count(), usize::from(seen[2]));
            }
            // There is room for another one.
            cache.backup_to(&directory).unwrap();
            fs::remove_dir_all(&above).unwrap();
        }
    }
    // Somebody else's file in a directory of ours keeps it.
    let stop = |_: Progress| {
        fs::write(above.join("letter"), b"dear reader").unwrap();
        ControlFlow::Break(())
    };
    let failed = cache.backup_to_storage(Arc::new(FileStorage::new(&directory)), stop);
    assert!(matches!(failed, Err(Error::Cancelled)));
    assert!(above.join("letter").exists() && !directory.exists());
}

#[test]
fn a_bare_log_is_copied_with_its_lsns() {
    let _turn = alone();
    let log = Log::open(tiny(&Arc::new(MemoryStorage::new()))).unwrap();
    (0..200u8).for_each(|n| _ = log.append(&[n; 30]).unwrap());
    log.flush().unwrap();
    log.truncate_before(Lsn::new(log.stable_lsn().get() / 2)).unwrap();
    let copy = Arc::new(MemoryStorage::new());
    log.backup_to_storage(copy.clone(), ON).unwrap();
    let entries = |log: &Log| -> Vec<(Lsn, Vec<u8>)> {
        let all = log.iter_from(log.first_lsn()).unwrap().map(Result::unwrap);
        all.map(|entry| (entry.lsn, entry.payload)).collect()
    };
    let copied = Log::open(tiny(&copy)).unwrap();
    assert!(entries(&log).len() > 50);
    assert_eq!(entries(&copied), entries(&log));
    let reservation = log.reserve(b"open").unwrap();
    let held = log.backup_to_storage(Arc::new(MemoryStorage::new()), ON);
    assert!(matches!(held, Err(Error::ReservationOpen { .. })));
    reservation.abort();
}
