//! Long work tells how far it is, from nothing to all, and ends when it is told to. What it had begun does no
//! harm.

mod common;

use std::ops::ControlFlow;
use std::sync::Arc;

use common::{Bytes, alone, contents, open, read, replace};
use pagelog::{Config, Error, Log, MemoryStorage, PageCache, PageId, Progress, Storage, VerifyOptions};

/// Work that is told when to stop: after so many reports, if ever.
type Stop<'a> = &'a mut dyn FnMut(Progress) -> ControlFlow<()>;

/// Runs the work to its end, and checks what it has told; then again, ended at each report in turn. Returns
/// how many reports there were.
fn check(mut work: impl FnMut(Stop<'_>) -> pagelog::Result<()>, mut cancelled: impl FnMut(usize)) -> usize {
    let mut reports = Vec::new();
    // Ended at the last report first: what is left of that is to be done after all.
    work(&mut |progress| {
        reports.push(progress);
        ControlFlow::Continue(())
    })
    .unwrap();
    let last = reports.last().copied().unwrap();
    assert_eq!((reports[0].done, last.done), (0, last.total), "{reports:?}");
    assert!(reports.is_sorted_by_key(|progress| progress.done));
    assert!(reports.iter().all(|progress| progress.total == last.total), "{reports:?}");
    for stop in 0..reports.len() {
        let mut told = 0;
        let ended = work(&mut |_| {
            told += 1;
            if told > stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        // Others may find less to be done.
        if told > stop {
            assert!(matches!(ended, Err(Error::Cancelled)), "{ended:?}");
            assert_eq!(told, stop + 1, "it went on");
        }
        cancelled(stop);
    }
    reports.len()
}

fn fill(cache: &PageCache<Bytes>) {
    let pages: Vec<_> = (0..100u8).map(|n| cache.allocate(Bytes(vec![n; 200])).unwrap()).collect();
    for page in pages.iter().step_by(2) {
        replace(cache, page.page_id, page.version, &[7; 190]);
    }
    cache.flush().unwrap();
}

fn small(path: &std::path::Path) -> Config {
    Config::new(path).segment_size(4096).io_buffer_size(1024).snapshots(false)
}

#[test]
fn opening() {
    let _turn = alone();
    let place = tempfile::tempdir().unwrap();
    fill(&open(small(place.path())));
    let before = std::cell::RefCell::new(contents(place.path()));
    let reports = check(
        |stop| {
            let opened = small(place.path()).open_with_progress::<Bytes>(stop);
            drop(opened?);
            *before.borrow_mut() = contents(place.path());
            Ok(())
        },
        |stop| assert!(contents(place.path()) == *before.borrow(), "cancelled after {stop}, and changed"),
    );
    assert!(reports > 5, "{reports}");
    assert_eq!(read(&open(small(place.path())), PageId::new(1)).unwrap(), [7; 190]);
    let snapshots = Config::new(place.path()).segment_size(4096);
    drop(open(snapshots.clone()));
    let mut total = 0;
    let tell = |progress: Progress| {
        total = progress.total;
        ControlFlow::Continue(())
    };
    drop(snapshots.open_with_progress::<Bytes>(tell).unwrap());
    // With a snapshot there is hardly more to be read than headers.
    assert!(total < 20_000, "{total}");
}

#[test]
fn opening_a_bare_log() {
    let _turn = alone();
    let storage = Arc::new(MemoryStorage::new());
    let config = || Config::with_storage(Arc::clone(&storage) as Arc<dyn Storage>).segment_size(4096);
    let log = Log::open(config()).unwrap();
    (0..200).for_each(|_| _ = log.append(&[1; 100]).unwrap());
    drop(log);
    let count = |log: &Log| log.iter_from(log.first_lsn()).unwrap().count();
    let reports = check(
        |stop| Log::open_with_progress(config(), stop).map(|log| assert_eq!(count(&log), 200)),
        |_| assert_eq!(count(&Log::open(config()).unwrap()), 200),
    );
    assert!(reports > 3, "{reports}");
}

#[test]
fn checking_copying_and_exporting() {
    let _turn = alone();
    let place = tempfile::tempdir().unwrap();
    let cache = open(small(place.path()).inline_limit(1000));
    fill(&cache);
    (0..3u8).for_each(|n| _ = cache.allocate(Bytes(vec![n; 3000])).unwrap());
    check(|stop| cache.verify_with(VerifyOptions::new(), stop).map(drop), |_| {});
    check(|stop| cache.export(&mut std::io::sink(), stop).map(drop), |_| {});
    let mut target = Arc::new(MemoryStorage::new());
    let mut large = 0;
    check(
        |stop| {
            target = Arc::new(MemoryStorage::new());
            let mut last = 0;
            let tell = |progress: Progress| {
                large += u64::from(progress.done.saturating_sub(last) > 3000 && progress.done - last < 3200);
                last = progress.done;
                stop(progress)
            };
            cache.backup_to_storage(Arc::clone(&target) as Arc<dyn Storage>, tell).map(drop)
        },
        |_| {},
    );
    assert!(large >= 3, "{large}");
    let copy = Config::with_storage(Arc::new(MemoryStorage::new()));
    drop(open(copy));
    assert!(cache.verify().unwrap().is_sound());
}

#[test]
fn compacting() {
    let _turn = alone();
    let make = || {
        let config =
            Config::with_storage(Arc::new(MemoryStorage::new())).segment_size(4096).io_buffer_size(1024);
        let cache = open(config.garbage_collection(false));
        for _ in 0..5 {
            fill(&cache);
        }
        for n in 1..=400 {
            let page_id = PageId::new(n);
            let version = cache.version(page_id).unwrap().unwrap();
            assert!(cache.free(page_id, version).unwrap().is_done());
        }
        cache
    };
    let mut cache = make();
    let reports = check(
        |stop| {
            cache = make();
            let before = cache.size_on_disk();
            let gained = cache.compact(stop)?;
            assert_eq!(before - gained, cache.size_on_disk());
            let stats = cache.stats();
            assert!(cache.size_on_disk() < 3 * stats.live_bytes && gained > before / 2, "{gained} {stats:?}");
            Ok(())
        },
        |_| {},
    );
    assert!(reports > 3, "{reports}");
    // What was cancelled can be begun anew, and nothing is lost.
    assert!(cache.verify().unwrap().is_sound());
    assert_eq!(read(&cache, PageId::new(499)).unwrap(), [7; 190]);
    cache.compact(|_| ControlFlow::Continue(())).unwrap();
    assert_eq!(cache.compact(|_| ControlFlow::Continue(())).unwrap(), 0);
}
