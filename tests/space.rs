//! The file is as long as what is in it justifies: overwriting the same pages for ever does not grow it for
//! ever, and what is deleted is given back.
//!
//! The long form: `PAGELOG_SPACE_PAGES=100000 cargo test --release --test space -- --nocapture`

mod common;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use common::{Bytes, Dice, alone, read, replace};
use pagelog::{Cas, Config, Counts, Log, PageCache, PageId, Stats, Version};

const LENGTH: usize = 1024;
const TIMES: usize = 10;

fn report(what: &str, round: usize, stats: &Stats, began: Instant) {
    println!(
        "{what} {round:2}: file {:6.1} MiB, live {:6.1} MiB, space {:.3}, written {:.3} per byte, {} reused, {} victims, {:.1} MiB relocated, {:?}",
        stats.log_file_bytes as f64 / f64::from(1 << 20),
        stats.live_bytes as f64 / f64::from(1 << 20),
        stats.space_amplification(),
        stats.write_amplification(),
        stats.counts.segments_reused,
        stats.counts.victims,
        stats.counts.relocated_bytes as f64 / f64::from(1 << 20),
        began.elapsed()
    );
}

/// Overwrites all pages ten times; `order` says which page is next.
fn overwrite(what: &str, mut order: impl FnMut(usize, usize) -> usize) {
    let pages: usize = std::env::var("PAGELOG_SPACE_PAGES").map_or(1500, |pages| pages.parse().unwrap());
    let place = tempfile::tempdir().unwrap();
    let segment = if pages < 50_000 { 16 << 10 } else { 1 << 20 };
    let config = || {
        let config =
            Config::new(place.path()).segment_size(segment).cache_capacity(LENGTH as u64 * pages as u64 / 4);
        config.io_buffer_size(segment / 4)
    };
    let cache: PageCache<Bytes> = config().open().unwrap();
    let began = Instant::now();
    let mut all: Vec<(PageId, Version, u8)> = (0..pages)
        .map(|n| {
            cache.allocate(Bytes(vec![n as u8; LENGTH])).map(|page| (page.page_id, page.version, n as u8))
        })
        .collect::<Result<_, _>>()
        .unwrap();
    let mut largest: f64 = 0.0;
    for round in 1..=TIMES {
        for n in 0..pages {
            let (page_id, version, byte) = &mut all[order(n, pages)];
            *byte = byte.wrapping_add(1);
            *version = replace(&cache, *page_id, *version, &[*byte; LENGTH]);
        }
        let stats = cache.stats();
        report(what, round, &stats, began);
        // The target, a segment for each of four heads, and two. What is in write buffers counts as live when
        // it is written.
        let allowed = 1.25 * stats.live_bytes as f64 + 7.0 * f64::from(segment);
        largest = largest.max(stats.log_file_bytes as f64 / allowed);
    }
    let stats = cache.stats();
    assert!(largest <= 1.0, "{:.1} % above what is allowed", (largest - 1.0) * 100.0);
    assert!(stats.counts.segments_reused > 0 && stats.counts.snapshots < 100);
    cache.close().unwrap();
    drop(cache);
    let cache: PageCache<Bytes> = config().open().unwrap();
    for (page_id, version, byte) in all {
        assert_eq!(cache.version(page_id).unwrap(), Some(version));
        assert_eq!(read(&cache, page_id).unwrap(), [byte; LENGTH]);
    }
    assert_eq!(std::fs::metadata(place.path().join("log")).unwrap().len(), cache.size_on_disk());
}

#[test]
fn overwriting_in_order_keeps_the_file_bounded() {
    let _turn = alone();
    overwrite("in order", |n, _| n);
}

#[test]
fn overwriting_at_random_keeps_the_file_bounded() {
    let _turn = alone();
    let mut dice = Dice::new(3);
    overwrite("at random", move |_, pages| dice.below(pages as u64) as usize);
}

#[test]
fn overwriting_mostly_a_tenth_keeps_the_file_bounded() {
    let _turn = alone();
    let mut dice = Dice::new(4);
    overwrite("mostly a tenth", move |_, pages| {
        let pages = pages as u64;
        (if dice.below(10) > 0 { dice.below(pages / 10) } else { dice.below(pages) }) as usize
    });
}

/// While two threads write, and after most of what a burst brought was deleted: the file had twenty segments
/// and a sixteenth of itself too much, for it grew whenever segments that were empty waited for somebody's
/// sync, and writers left such a slack before they made it shorter.
#[test]
fn two_writers_keep_to_the_target_also_after_a_burst() {
    const SEGMENT: u32 = 32 << 10;
    const BURST: usize = 4000;
    let _turn = alone();
    let place = tempfile::tempdir().unwrap();
    let config = || Config::new(place.path()).segment_size(SEGMENT).io_buffer_size(SEGMENT / 4);
    let cache = config().open().unwrap();
    let mut pages = [fill(&cache, BURST), fill(&cache, BURST)];
    // Segments beside the target's multiple of the live bytes, all the time while each thread overwrites its
    // pages.
    let beside = |pages: &mut [Pages], rounds: usize| {
        let writing = AtomicUsize::new(pages.len());
        std::thread::scope(|scope| {
            for (seed, pages) in (1..).zip(pages) {
                let (cache, writing) = (&cache, &writing);
                scope.spawn(move || {
                    overwrite_all(cache, pages, rounds, &mut Dice::new(seed));
                    writing.fetch_sub(1, Ordering::Relaxed);
                });
            }
            let mut seen = Vec::new();
            while writing.load(Ordering::Relaxed) > 0 {
                let stats = cache.stats();
                seen.push(
                    (stats.log_file_bytes as f64 - 1.25 * stats.live_bytes as f64) / f64::from(SEGMENT),
                );
                std::thread::sleep(Duration::from_millis(1));
            }
            seen.sort_by(f64::total_cmp);
            // Not the most: a disk, or a processor, can let the others wait for longer than writers wait for
            // them.
            seen[seen.len() / 2]
        })
    };
    beside(&mut pages, 1);
    let full = beside(&mut pages, 3);
    for pages in &mut pages {
        free_all(&cache, pages.split_off(BURST / 4));
    }
    beside(&mut pages, 3);
    let after = beside(&mut pages, 8);
    println!("{full:.1} segments beside the target with all pages, {after:.1} with a quarter of them");
    // Four heads and two, and what is in write buffers and counts as live when it is written; a file of 80
    // segments has some of its stock beside.
    assert!(full <= 8.0, "{full}");
    assert!(after <= 12.0, "{after}");
}

/// The bytes of all files of a directory: as long as they are, and as much of the disk as they take.
fn bytes_of(directory: &Path) -> (u64, u64) {
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().metadata().unwrap());
    let both = |metadata: std::fs::Metadata| {
        #[cfg(unix)]
        let taken = std::os::unix::fs::MetadataExt::blocks(&metadata) * 512;
        #[cfg(not(unix))]
        let taken = metadata.len();
        (metadata.len(), taken)
    };
    files.map(both).fold((0, 0), |sum, file| (sum.0 + file.0, sum.1 + file.1))
}

fn collect_all(cache: &PageCache<Bytes>) {
    cache.flush().unwrap();
    let mut steps = 0;
    while cache.attempt_gc().unwrap() {
        cache.flush().unwrap();
        steps += 1;
        assert!(steps < 10_000, "it does not come to an end: {:?}", cache.stats());
    }
}

#[test]
fn a_fresh_store_with_defaults_takes_less_than_a_mebibyte() {
    let _turn = alone();
    let place = tempfile::tempdir().unwrap();
    let check = |when: &str| {
        let (length, taken) = bytes_of(place.path());
        println!("{when}: {} KiB long, {} KiB of disk", length >> 10, taken >> 10);
        assert!(length < 1 << 20 && taken < 1 << 20, "{when}: {length} bytes, {taken} of disk");
    };
    let cache: PageCache<Bytes> = Config::new(place.path()).open().unwrap();
    check("created");
    let page = cache.allocate(Bytes(vec![1; 100])).unwrap();
    cache.flush().unwrap();
    check("with a page");
    let all: Vec<_> = (0..100).map(|n| cache.allocate(Bytes(vec![n; 1024])).unwrap()).collect();
    cache.flush().unwrap();
    check("with a hundred");
    assert_eq!(cache.size_on_disk(), std::fs::metadata(place.path().join("log")).unwrap().len());
    cache.close().unwrap();
    check("closed");
    let cache: PageCache<Bytes> = Config::new(place.path()).open().unwrap();
    assert_eq!(cache.size_on_disk(), std::fs::metadata(place.path().join("log")).unwrap().len());
    assert_eq!(read(&cache, page.page_id).unwrap(), [1; 100]);
    // What comes now makes the first segment whole, and goes into others.
    let more: Vec<_> = (0..3000).map(|_| cache.allocate(Bytes(vec![7; 1024])).unwrap()).collect();
    cache.close().unwrap();
    let cache: PageCache<Bytes> = Config::new(place.path()).open().unwrap();
    all.iter().zip(0..).for_each(|(page, n)| assert_eq!(read(&cache, page.page_id).unwrap(), [n; 1024]));
    more.iter().for_each(|page| assert_eq!(read(&cache, page.page_id).unwrap(), [7; 1024]));
    assert_eq!(cache.size_on_disk(), std::fs::metadata(place.path().join("log")).unwrap().len());
}

#[test]
fn the_first_segment_takes_more_space_as_it_fills() {
    let _turn = alone();
    let place = tempfile::tempdir().unwrap();
    let log = Log::open(Config::new(place.path()).io_buffer_size(16 << 10)).unwrap();
    let mut sizes = Vec::new();
    for n in 0..1500_u32 {
        log.append(&[n as u8; 1024]).unwrap();
        sizes.push(log.size_on_disk() >> 10);
    }
    sizes.dedup();
    log.flush().unwrap();
    assert!(sizes.len() > 10 && sizes.starts_with(&[128]), "{sizes:?}");
    assert_eq!(log.size_on_disk(), std::fs::metadata(place.path().join("log")).unwrap().len());
    let entries: Vec<_> =
        log.iter_from(log.first_lsn()).unwrap().map(|entry| entry.unwrap().payload).collect();
    assert!(entries.len() == 1500 && entries.iter().zip(0_u32..).all(|(entry, n)| entry == &[n as u8; 1024]));
}

type Pages = Vec<(PageId, Version)>;

fn fill(cache: &PageCache<Bytes>, pages: usize) -> Pages {
    let allocate = |n: usize| {
        let allocated = cache.allocate(Bytes(vec![n as u8; LENGTH])).unwrap();
        (allocated.page_id, allocated.version)
    };
    (0..pages).map(allocate).collect()
}

fn overwrite_all(cache: &PageCache<Bytes>, pages: &mut Pages, rounds: usize, dice: &mut Dice) {
    for _ in 0..rounds * pages.len() {
        let at = dice.below(pages.len() as u64) as usize;
        pages[at].1 = replace(cache, pages[at].0, pages[at].1, &[at as u8; LENGTH]);
    }
}

fn free_all(cache: &PageCache<Bytes>, pages: impl IntoIterator<Item = (PageId, Version)>) {
    for (page_id, version) in pages {
        assert!(matches!(cache.free(page_id, version).unwrap(), Cas::Done { .. }));
    }
}

#[test]
fn the_file_follows_what_is_in_it() {
    const SEGMENT: u32 = 16 << 10;
    let _turn = alone();
    let place = tempfile::tempdir().unwrap();
    let config = || Config::new(place.path()).segment_size(SEGMENT).io_buffer_size(SEGMENT / 4);
    let file = || std::fs::metadata(place.path().join("log")).unwrap().len();
    let mut cache: PageCache<Bytes> = config().open().unwrap();
    let mut dice = Dice::new(8);
    for (round, pages) in [2000, 500, 3000].into_iter().enumerate() {
        let mut all = fill(&cache, pages);
        overwrite_all(&cache, &mut all, 3, &mut dice);
        let full = cache.stats();
        assert_eq!(full.log_file_bytes, file());
        let allowed = 1.33 * full.live_bytes as f64 + 24.0 * f64::from(SEGMENT);
        assert!(full.log_file_bytes as f64 <= allowed, "{full:?}");
        for (at, (page_id, version)) in all.iter().enumerate() {
            assert_eq!(cache.version(*page_id).unwrap(), Some(*version));
            assert_eq!(read(&cache, *page_id).unwrap(), [at as u8; LENGTH]);
        }
        free_all(&cache, all);
        collect_all(&cache);
        let empty = cache.stats();
        println!(
            "round {round}: {} segments with {pages} pages, {} with none ({} live bytes); {} victims, {} cuts",
            full.segments,
            empty.segments,
            empty.live_bytes,
            empty.counts.victims - full.counts.victims,
            empty.counts.shrinks - full.counts.shrinks
        );
        // The traces of the freed pages stay, until their ids are used again. And each of four heads may have
        // a segment, and one ahead; three are the reserve.
        let traces = empty.live_bytes.div_ceil(SEGMENT.into()) as u32;
        assert!(empty.segments <= 11 + 2 * traces, "{empty:?}");
        assert_eq!(empty.log_file_bytes, file());
        // Another look finds nothing to do, and writes nothing.
        assert!(!cache.attempt_gc().unwrap());
        assert_eq!(cache.stats().counts.written_bytes, empty.counts.written_bytes);
        if round == 1 {
            cache.close().unwrap();
            cache = config().open().unwrap();
            assert_eq!(cache.size_on_disk(), file());
        }
    }
}

/// Nobody asks for collection here: whoever overwrites what is left makes the file shorter in passing.
#[test]
fn writers_make_the_file_shorter_when_most_of_it_was_deleted() {
    const SEGMENT: u32 = 8 << 10;
    let _turn = alone();
    let place = tempfile::tempdir().unwrap();
    let cache: PageCache<Bytes> =
        Config::new(place.path()).segment_size(SEGMENT).io_buffer_size(SEGMENT / 4).open().unwrap();
    let mut dice = Dice::new(9);
    let mut pages = fill(&cache, 4000);
    overwrite_all(&cache, &mut pages, 1, &mut dice);
    let full = cache.stats();
    let seldom = |from: &Counts, to: &Counts| {
        to.shrinks - from.shrinks <= (to.segments_opened - from.segments_opened) / 40
    };
    assert!(seldom(&Counts::default(), &full.counts), "{full:?}");
    dice.shuffle(&mut pages);
    let deleted = pages.split_off(1000);
    free_all(&cache, deleted);
    cache.flush().unwrap();
    for (round, allowed) in [(1, 6.0), (2, 2.0), (3, 1.7), (4, 1.6)] {
        overwrite_all(&cache, &mut pages, 1, &mut dice);
        let stats = cache.stats();
        report("after deleting", round, &stats, Instant::now());
        assert!(stats.space_amplification() < allowed, "{stats:?}");
    }
    let settled = cache.stats().counts;
    overwrite_all(&cache, &mut pages, 4, &mut dice);
    let after = cache.stats();
    // It seldom swings: once it has its length it keeps it, but for a segment more when copies begin one in
    // each head at once.
    assert!(seldom(&settled, &after.counts), "{settled:?} {after:?}");
    for (at, (page_id, _)) in pages.iter().enumerate() {
        assert_eq!(read(&cache, *page_id).unwrap()[..4], [at as u8; 4]);
    }
}

/// What is emptied can't be used again as long as somebody may be about to read there. Cleaning went on all
/// the same, each segment's copies in a new one, and `compact` left a file of 47 segments with 149.
#[test]
fn beside_a_reader_that_stays_collection_makes_no_longer_file() {
    let _turn = alone();
    let place = tempfile::tempdir().unwrap();
    let segment = 4096;
    let config = Config::new(place.path()).segment_size(segment).io_buffer_size(1024);
    let cache = config.garbage_collection(false).open().unwrap();
    let pages = fill(&cache, 300);
    free_all(&cache, pages.into_iter().step_by(2));
    cache.flush().unwrap();
    let before = cache.stats();
    std::thread::scope(|scope| {
        let ((stays, is_there), (go, goes)) = (mpsc::channel(), mpsc::channel::<()>());
        let pinned = &cache;
        scope.spawn(move || {
            let guard = pinned.pin();
            stays.send(()).unwrap();
            // Until it is told, or nobody is left to tell it.
            let _ = goes.recv();
            drop(guard);
        });
        is_there.recv().unwrap();
        let mut steps = 0;
        while cache.attempt_gc().unwrap() {
            cache.flush().unwrap();
            steps += 1;
            assert!(steps < before.segments, "it finds no end");
        }
        cache.compact(|_| std::ops::ControlFlow::Continue(())).unwrap();
        let (now, beside) = (cache.stats(), u64::from(segment) * 3);
        drop(go);
        assert!(now.log_file_bytes <= before.log_file_bytes + beside, "{before:?} {now:?}");
    });
    cache.compact(|_| std::ops::ControlFlow::Continue(())).unwrap();
    assert!(cache.stats().log_file_bytes < before.log_file_bytes * 2 / 3, "{before:?} {:?}", cache.stats());
}

/// It used to stop at what the space target allows: with a target of 2 it moved nearly all that was live, and
/// gave nothing back.
#[test]
fn compact_leaves_what_is_in_use_whatever_the_space_target_is() {
    let _turn = alone();
    for target in [1.05, 1.25, 2.0, 3.0] {
        let place = tempfile::tempdir().unwrap();
        let config = Config::new(place.path()).segment_size(4096).io_buffer_size(1024);
        let cache = config.garbage_collection(false).space_target(target).open().unwrap();
        let page = |at: usize| cache.allocate(Bytes(vec![at as u8; 100])).unwrap();
        let mut pages: Pages = (0..2000).map(page).map(|page| (page.page_id, page.version)).collect();
        for (at, (page_id, version)) in pages.iter_mut().enumerate().filter(|(at, _)| at % 4 > 0) {
            *version = replace(&cache, *page_id, *version, &[at as u8; 100]);
        }
        let before = cache.stats();
        let shorter_by = cache.compact(|_| std::ops::ControlFlow::Continue(())).unwrap();
        let now = cache.stats();
        assert_eq!(before.log_file_bytes - now.log_file_bytes, shorter_by);
        // The reserve, and a segment that the last step has left.
        assert!(now.free_segments + now.emptied_segments <= 4, "at {target}: {now:?}");
        assert!(now.log_file_bytes < now.live_bytes * 5 / 4 + 9 * 4096, "at {target}: {now:?}");
        assert_eq!(cache.compact(|_| std::ops::ControlFlow::Continue(())).unwrap(), 0, "at {target}");
        for (at, (page_id, version)) in pages.iter().enumerate() {
            assert_eq!(read(&cache, *page_id).unwrap(), [at as u8; 100]);
            // What was cut off is added again.
            replace(&cache, *page_id, *version, &[1; 100]);
        }
    }
}

#[test]
fn a_log_that_is_truncated_gives_its_file_back() {
    let _turn = alone();
    let place = tempfile::tempdir().unwrap();
    let config = || Config::new(place.path()).segment_size(4096).io_buffer_size(1024);
    let file = || std::fs::metadata(place.path().join("log")).unwrap().len();
    let log = Log::open(config()).unwrap();
    for _ in 0..3 {
        let lsns: Vec<_> = (0..1000).map(|n| log.append(&[n as u8; 500]).unwrap()).collect();
        log.flush().unwrap();
        assert!(file() > 500_000);
        // The head is at the end of the file, and leaves it.
        log.truncate_before(lsns[990]).unwrap();
        let more = log.append(b"more").unwrap();
        log.flush().unwrap();
        let kept: Vec<_> = log.iter_from(lsns[990]).unwrap().map(|entry| entry.unwrap().lsn).collect();
        assert_eq!(kept[..10], lsns[990..]);
        assert_eq!(kept[10], more);
        log.truncate_before(more).unwrap();
        log.append(b"and more").unwrap();
        log.flush().unwrap();
        log.truncate_before(more).unwrap();
        println!("{} bytes", file());
        assert_eq!(log.size_on_disk(), file());
        assert!(file() < 16 * 4096, "{}", file());
    }
    log.close().unwrap();
}
