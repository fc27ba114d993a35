//! Every option of [`Config`] has an effect that can be seen. A test's name begins with its option's.

mod common;
#[path = "support/observed.rs"]
mod observed;

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::thread;
use std::time::Duration;

use common::{Bytes, Dice, alone, link, open, read, replace};
use observed::{Observed, Observer};
use pagelog::{Config, Error, Log, MemoryStorage, PageCache, PageId, Stats, Storage, Version, VictimPolicy};

fn config(storage: &Arc<MemoryStorage>) -> Config {
    Config::with_storage(Arc::clone(storage) as Arc<dyn Storage>)
}

fn new() -> Config {
    config(&Arc::new(MemoryStorage::new()))
}

fn fill(cache: &PageCache<Bytes>, pages: usize, length: usize) -> Vec<(PageId, Version)> {
    let allocate = |n: usize| {
        let page = cache.allocate(Bytes(vec![n as u8; length])).unwrap();
        (page.page_id, page.version)
    };
    (0..pages).map(allocate).collect()
}

/// Replaces pages in a random order, the same in every run.
fn overwrite(cache: &PageCache<Bytes>, pages: &mut [(PageId, Version)], times: usize, length: usize) {
    let mut dice = Dice::new(5);
    for n in 0..times * pages.len() {
        let at = dice.below(pages.len() as u64) as usize;
        pages[at].1 = replace(cache, pages[at].0, pages[at].1, &vec![n as u8; length]);
    }
}

#[test]
fn every_option_has_its_test_here() {
    let _turn = alone();
    let options = include_str!("../src/config/options.rs").lines().filter_map(|line| {
        line.trim().strip_prefix("pub fn ")?.split_once("(mut self").map(|(name, _)| name)
    });
    let (mut count, here) = (0, include_str!("options.rs"));
    let guide = include_str!("../src/docs/tuning.md");
    for option in options {
        let is_its_test = |test: &&str| test.starts_with(&format!("fn {option}_"));
        let body = here.split("#[test]\n").filter(is_its_test).collect::<String>();
        assert!(!body.is_empty(), "{option} has no test");
        // Not only a test of that name.
        let sets_it = body.contains(&format!(".{option}("));
        assert!(
            sets_it && body.contains("assert"),
            "no test of {option} sets it and looks at what that does"
        );
        let is_named = |line: &str| line.starts_with("**`") && line.contains(&format!("`{option}`"));
        let is_told = guide.split_inclusive(['\n', '.']).any(|part| is_named(part.trim_start()));
        assert!(is_told, "src/docs/tuning.md does not say what {option} is for");
        count += 1;
    }
    assert!(count >= 20, "{count} options");
}

#[test]
fn background_leaves_the_housekeeping_to_a_thread_of_the_stores_own() {
    let _turn = alone();
    let threads = || {
        let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        let names = tasks.map(|task| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default());
        names.filter(|name| name.trim() == "pagelog").count()
    };
    let eventually = |is_so: &dyn Fn() -> bool| {
        let began = std::time::Instant::now();
        while !is_so() && began.elapsed().as_secs() < 20 {
            thread::sleep(Duration::from_millis(1));
        }
        is_so()
    };
    for on in [false, true] {
        let storage = Arc::new(MemoryStorage::new());
        let cache = open(config(&storage).background(on).segment_size(16 << 10).io_buffer_size(4096));
        if cfg!(target_os = "linux") {
            // A thread names itself when it first runs.
            assert!(eventually(&|| threads() == usize::from(on)));
        }
        let mut pages = fill(&cache, 1000, 500);
        overwrite(&cache, &mut pages, 10, 500);
        assert!(eventually(&|| cache.stats().counts.relocated_records > 100));
        // Eleven times the live bytes were written, in the twinkling of an eye.
        assert!(eventually(&|| cache.stats().space_amplification() < 4.0), "{:?}", cache.stats());
        let clone = cache.clone();
        drop(cache);
        assert_eq!(read(&clone, pages[0].0).unwrap().len(), 500);
        clone.close().unwrap();
        if cfg!(target_os = "linux") {
            // The system lists a thread for a moment after it was joined.
            assert!(eventually(&|| threads() == 0));
        }
        // The lock is free, and the last drop does the same as closing.
        for _ in 0..20 {
            let again = open(config(&storage).background(on));
            pages[0].1 = replace(&again, pages[0].0, pages[0].1, b"once more");
        }
    }
}

#[test]
fn flush_every_makes_stable_what_nobody_flushes() {
    let _turn = alone();
    let cache = open(new().flush_every(Duration::from_millis(1)));
    let began = std::time::Instant::now();
    for _ in 0..3 {
        let page = cache.allocate(Bytes(vec![1; 100])).unwrap();
        while cache.stable_lsn() <= page.lsn {
            assert!(began.elapsed().as_secs() < 20, "it is never flushed");
            thread::sleep(Duration::from_millis(1));
        }
    }
    let by_itself = open(new());
    let page = by_itself.allocate(Bytes(vec![1; 100])).unwrap();
    thread::sleep(Duration::from_millis(10));
    assert!(by_itself.stable_lsn() <= page.lsn);
}

#[test]
fn cache_capacity_bounds_what_stays_in_memory() {
    let _turn = alone();
    let stats = |capacity| {
        let cache = open(new().cache_capacity(capacity).segment_size(16 << 10).io_buffer_size(4096));
        let pages = fill(&cache, 500, 1000);
        for (page_id, _) in &pages {
            assert_eq!(read(&cache, *page_id).unwrap().len(), 1000);
        }
        cache.stats()
    };
    let (small, large) = (stats(64 << 10), stats(16 << 20));
    assert!(small.resident_bytes + small.dead_bytes + small.buffer_bytes < 80 << 10, "{small:?}");
    assert!(small.counts.evictions > 400 && small.counts.misses > 400, "{small:?}");
    assert!(large.resident_bytes >= 500_000, "{large:?}");
    assert_eq!((large.counts.evictions, large.counts.misses), (0, 0));
    assert_eq!((small.cache_capacity, large.cache_capacity), (64 << 10, 16 << 20));
}

#[cfg(feature = "compression")]
#[test]
fn compression_makes_records_shorter_at_any_level_and_is_off_by_default() {
    let _turn = alone();
    let stats = |config: Config| {
        let cache = open(config);
        fill(&cache, 100, 1000);
        cache.flush().unwrap();
        cache.stats()
    };
    let plain = stats(new());
    assert_eq!((plain.counts.payloads_compressed, plain.counts.compression_saved_bytes), (0, 0));
    for level in [-7, 1, 22] {
        let packed = stats(new().compression(level));
        assert_eq!(packed.counts.payloads_compressed, 100);
        // The length of a shorter record takes a byte less to write down.
        let saved = packed.counts.compression_saved_bytes;
        assert_eq!(packed.live_bytes + saved + 100, plain.live_bytes);
        assert!(packed.live_bytes * 10 < plain.live_bytes, "{packed:?}");
    }
}

#[test]
fn segment_size_is_the_unit_of_the_file_and_bounds_a_record() {
    let _turn = alone();
    for size in [512, 1000, 4096, 100_000] {
        let storage = Arc::new(MemoryStorage::new());
        let cache = open(config(&storage).segment_size(size));
        fill(&cache, 100, 100);
        cache.flush().unwrap();
        let length = || storage.open("log", pagelog::Access::Read).unwrap().len().unwrap();
        assert_eq!(length(), cache.size_on_disk());
        assert!(cache.allocate(Bytes(vec![0; size as usize - 200])).is_ok());
        // What does not fit in a segment is not in the log.
        let large = cache.stats().large_values;
        assert!(cache.allocate(Bytes(vec![0; size as usize])).is_ok());
        assert_eq!(cache.stats().large_values, large + 1);
        drop(cache);
        // What was prepared for the next segment is given back.
        assert!(length() % u64::from(size) == 0 || length() < u64::from(size));
        let other = config(&storage).segment_size(size + 1).open::<Bytes>();
        assert!(matches!(other, Err(Error::InvalidConfig { option: "segment_size", .. })));
    }
}

#[test]
fn io_buffer_size_sets_how_much_one_write_takes() {
    let _turn = alone();
    let stats = |size| {
        let cache = open(new().io_buffer_size(size));
        fill(&cache, 1000, 100);
        cache.flush().unwrap();
        cache.stats()
    };
    let (small, large) = (stats(1024), stats(64 << 10));
    assert!(small.counts.writes > 100, "{small:?}");
    assert!(large.counts.writes < 4, "{large:?}");
    assert!(small.buffer_bytes < 16 << 10 && large.buffer_bytes >= 64 << 10, "{small:?} {large:?}");
}

#[test]
fn io_buffers_sets_how_many_buffers_fill_before_one_is_written() {
    let _turn = alone();
    let writes = |count| {
        let log = Log::open(new().io_buffer_size(1024).io_buffers(count)).unwrap();
        (0..100).for_each(|_| _ = log.append(&[1; 200]).unwrap());
        let counts = log.counts();
        (counts.writes, counts.back_pressure_waits)
    };
    // A hundred entries take some 25 buffers.
    assert_eq!(writes(64), (0, 0));
    let (few, _) = writes(2);
    assert!(few > 18, "{few} writes");
    assert!(writes(32).0 < few);
}

/// A disk that is slow with one write of the log: it is not done before somebody waits for a buffer, or has
/// appended so much that nobody ever will.
#[derive(Debug, Default)]
struct Slow {
    /// The log keeps its disk, so the disk must not keep the log.
    log: OnceLock<Weak<Log>>,
    is_slow: AtomicBool,
    appended: AtomicU64,
    /// How much was appended behind the slow write before anybody waited.
    ahead: AtomicU64,
}

impl Slow {
    const TOO_MUCH: u64 = 5000;

    fn waits(&self) -> u64 {
        self.log.get().and_then(Weak::upgrade).map_or(0, |log| log.counts().back_pressure_waits)
    }
}

impl Observer for Slow {
    fn before_write(&self, name: &str, bytes: &[u8], _offset: u64) -> io::Result<()> {
        let is_record = name == "log" && bytes.iter().any(|byte| *byte != 0);
        if is_record && self.is_slow.swap(false, Ordering::Relaxed) {
            while self.waits() == 0 && self.appended.load(Ordering::Relaxed) < Self::TOO_MUCH {
                thread::yield_now();
            }
            self.ahead.store(self.appended.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        Ok(())
    }
}

/// A ring that took new memory whenever its buffers were full passed all tests: none had a disk that was
/// slower than who appends.
#[test]
fn io_buffers_bounds_what_is_appended_before_a_slow_disk() {
    let _turn = alone();
    let slow = Arc::new(Slow::default());
    let storage = Observed::shared(MemoryStorage::new(), Arc::clone(&slow));
    let config = Config::with_storage(Arc::new(storage)).io_buffer_size(1024).io_buffers(4);
    let log = Arc::new(Log::open(config).unwrap());
    slow.log.set(Arc::downgrade(&log)).unwrap();
    log.append(&[1; 200]).unwrap();
    assert_eq!(log.counts().back_pressure_waits, 0);
    slow.is_slow.store(true, Ordering::Relaxed);
    thread::scope(|scope| {
        scope.spawn(|| log.flush().unwrap());
        while slow.is_slow.load(Ordering::Relaxed) {
            thread::yield_now();
        }
        while slow.appended.fetch_add(1, Ordering::Relaxed) < Slow::TOO_MUCH {
            log.append(&[1; 200]).unwrap();
        }
    });
    // Four buffers of 1024 bytes, one of which is being written, and the append that waits.
    let ahead = slow.ahead.load(Ordering::Relaxed);
    assert!(ahead <= 4 * 1024 / 200, "{ahead} entries were appended before anybody waited");
    assert!(log.counts().back_pressure_waits > 0);
    log.close().unwrap();
}

fn overwritten(config: Config) -> Stats {
    let cache = open(config.segment_size(8 << 10).io_buffer_size(4096));
    let mut pages = fill(&cache, 4000, 200);
    overwrite(&cache, &mut pages, 8, 200);
    cache.stats()
}

#[test]
fn space_target_trades_space_for_writing() {
    let _turn = alone();
    let (tight, loose) = (overwritten(new().space_target(1.2)), overwritten(new().space_target(2.5)));
    println!("1.2: {:.2} {:.2}", tight.space_amplification(), tight.write_amplification());
    println!("2.5: {:.2} {:.2}", loose.space_amplification(), loose.write_amplification());
    assert!(tight.space_amplification() < 1.5, "{tight:?}");
    assert!(loose.space_amplification() > 1.9 && loose.space_amplification() < 3.0, "{loose:?}");
    assert!(tight.counts.relocated_bytes > 2 * loose.counts.relocated_bytes);
}

/// What a policy is good for: `cargo bench --bench gc` measures it with care.
#[test]
fn victim_policy_decides_how_much_is_moved_when_some_pages_are_written_more_often() {
    let _turn = alone();
    let moved = |policy| {
        let config = new().victim_policy(policy).segment_size(4096).io_buffer_size(4096);
        let cache = open(config.snapshots(false));
        let (mut pages, mut dice) = (fill(&cache, 6000, 60), Dice::new(5));
        for _ in 0..60_000 {
            // Four fifths of the writes go to a tenth of the pages.
            let at = if dice.below(5) > 0 { dice.below(600) } else { dice.below(6000) } as usize;
            pages[at].1 = replace(&cache, pages[at].0, pages[at].1, &[1; 60]);
        }
        let stats = cache.stats();
        assert!(stats.space_amplification() < 1.5, "{stats:?}");
        stats.counts.relocated_bytes as f64 / stats.counts.fresh_bytes as f64
    };
    let greedy = moved(VictimPolicy::Greedy);
    let (benefit, declining) = (moved(VictimPolicy::CostBenefit), moved(VictimPolicy::MinimumDecliningCost));
    println!("greedy {greedy:.2}, cost-benefit {benefit:.2}, minimum declining cost {declining:.2}");
    assert!(benefit < 0.95 * greedy && declining < 0.9 * greedy);
    assert_eq!(VictimPolicy::default(), VictimPolicy::MinimumDecliningCost);
}

/// What sorting is good for: `cargo bench --bench heads` simulates it, and `cargo bench --bench gc` measures
/// it with care.
#[test]
fn relocation_heads_keep_apart_what_will_be_superseded_soon() {
    let _turn = alone();
    let moved = |heads| {
        let config = new().relocation_heads(heads).segment_size(16 << 10).io_buffer_size(4096);
        let cache = open(config.snapshots(false).max_chain_length(64).cache_capacity(64 << 20));
        let (mut pages, mut links) = (fill(&cache, 2000, 300), vec![0; 2000]);
        let (mut dice, mut moved) = (Dice::new(5), Vec::new());
        for _ in 0..2 {
            for _ in 0..200_000 {
                let at = dice.below(2000) as usize;
                let (page_id, version) = pages[at];
                // Pages grow, and are cut back.
                links[at] = (links[at] + 1) % 40;
                pages[at].1 = match links[at] {
                    0 => replace(&cache, page_id, version, &[1; 300]),
                    _ => link(&cache, page_id, version, &[1; 30]),
                };
            }
            let counts = cache.stats().counts;
            moved.push((counts.relocated_bytes as f64, counts.fresh_bytes as f64));
        }
        assert!(cache.stats().space_amplification() < 1.5);
        // The first half of it fills and settles.
        (moved[1].0 - moved[0].0) / (moved[1].1 - moved[0].1)
    };
    let (one, two, three) = (moved(1), moved(2), moved(3));
    println!("moved for each byte written: one {one:.2}, two {two:.2}, three {three:.2}");
    assert!(two < 0.92 * one && three < 0.88 * one);
}

#[test]
fn garbage_collection_off_leaves_it_to_the_caller() {
    let _turn = alone();
    let on = overwritten(new());
    let cache = open(new().garbage_collection(false).segment_size(8 << 10).io_buffer_size(4096));
    let mut pages = fill(&cache, 4000, 200);
    overwrite(&cache, &mut pages, 8, 200);
    let off = cache.stats();
    assert_eq!((off.counts.victims, off.counts.relocated_records), (0, 0));
    assert!(off.log_file_bytes > 2 * on.log_file_bytes, "{off:?} {on:?}");
    cache.flush().unwrap();
    let mut steps = 0;
    while cache.attempt_gc().unwrap() && steps < 1000 {
        steps += 1;
        cache.flush().unwrap();
    }
    let collected = cache.stats();
    assert!(collected.counts.victims > 0 && collected.counts.relocated_bytes > 0);
    // What was emptied is given back.
    assert!(collected.log_file_bytes < off.log_file_bytes / 4, "{off:?} {collected:?}");
    assert!(collected.space_amplification() < 1.5, "{collected:?}");
    overwrite(&cache, &mut pages, 1, 200);
    assert!(cache.space_amplification() < 2.6, "{:?}", cache.stats());
    for (page_id, version) in pages {
        assert_eq!(cache.version(page_id).unwrap(), Some(version));
        assert_eq!(read(&cache, page_id).unwrap().len(), 200);
    }
}

fn snapshots_in(storage: &MemoryStorage) -> usize {
    storage.list().unwrap().iter().filter(|name| name.starts_with("snapshot-")).count()
}

#[test]
fn snapshots_off_writes_none() {
    let _turn = alone();
    for on in [true, false] {
        let storage = Arc::new(MemoryStorage::new());
        for opening in 0..3 {
            let cache = open(config(&storage).snapshots(on).snapshot_interval(4096).segment_size(4096));
            assert_eq!(cache.was_recovered(), opening > 0);
            fill(&cache, 300, 100);
            assert_eq!(cache.stats().counts.snapshots > 0, on);
            cache.close().unwrap();
            assert_eq!(snapshots_in(&storage) > 0, on);
        }
    }
}

#[test]
fn snapshot_interval_sets_how_often_one_is_written() {
    let _turn = alone();
    let count = |interval| {
        let cache = open(new().snapshot_interval(interval).segment_size(4096).io_buffer_size(1024));
        let mut pages = fill(&cache, 20, 100);
        overwrite(&cache, &mut pages, 500, 100);
        cache.stats().counts.snapshots
    };
    let (often, seldom, never) = (count(4096), count(200 << 10), count(1 << 30));
    println!("{often} {seldom} {never}");
    assert!(often > 2 * seldom && seldom > 0 && never == 0, "{often} {seldom} {never}");
}

#[test]
fn max_chain_length_sets_when_a_page_is_written_as_a_whole() {
    let _turn = alone();
    let consolidations = |length| {
        let cache = open(new().max_chain_length(length).max_chain_ratio(1000.0));
        let page = cache.allocate(Bytes(vec![0; 10])).unwrap();
        let version = (0..100).fold(page.version, |version, n| link(&cache, page.page_id, version, &[n]));
        assert_eq!(version.get(), page.version.get() + 100);
        assert_eq!(read(&cache, page.page_id).unwrap().len(), 110);
        let counts = cache.stats().counts;
        assert_eq!(counts.links + counts.consolidations, 100);
        counts.consolidations
    };
    assert_eq!((consolidations(4), consolidations(9), consolidations(100)), (20, 10, 0));
}

#[test]
fn by_default_large_pages_collect_more_small_links_than_small_pages() {
    let _turn = alone();
    // How many links a page takes until it is written as a whole.
    let collected = |length: usize| {
        let cache = open(new());
        let page = cache.allocate(Bytes(vec![0; length])).unwrap();
        let mut version = page.version;
        while cache.stats().counts.consolidations == 0 {
            version = link(&cache, page.page_id, version, &[7; 64]);
        }
        cache.stats().counts.links
    };
    let [tiny, small, large] = [200, 4 << 10, 64 << 10].map(collected);
    assert!(
        (10..20).contains(&tiny) && small == 128 && (400..500).contains(&large),
        "{tiny} {small} {large}"
    );
}

#[test]
fn max_chain_ratio_sets_how_many_bytes_of_links_a_page_collects() {
    let _turn = alone();
    let consolidations = |ratio| {
        let cache = open(new().max_chain_length(10_000).max_chain_ratio(ratio));
        let page = cache.allocate(Bytes(vec![0; 2000])).unwrap();
        (0..100).fold(page.version, |version, n| link(&cache, page.page_id, version, &[n; 90]));
        cache.stats().counts.consolidations
    };
    let (eager, lazy, never) = (consolidations(0.2), consolidations(2.0), consolidations(1000.0));
    assert!(eager > 5 && (1..=3).contains(&lazy) && never == 0, "{eager} {lazy} {never}");
}

#[test]
fn read_only_refuses_writes() {
    let _turn = alone();
    let storage = Arc::new(MemoryStorage::new());
    let page = open(config(&storage)).allocate(Bytes(vec![1])).unwrap();
    let cache = open(config(&storage).read_only(true));
    assert_eq!(read(&cache, page.page_id).unwrap(), [1]);
    assert!(matches!(cache.allocate(Bytes(vec![])), Err(Error::ReadOnly)));
}

#[test]
fn temporary_removes_the_directory_on_close_and_on_drop() {
    let _turn = alone();
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("temporary");
    for close in [true, false] {
        let cache = open(Config::new(&path).temporary(true));
        let page = cache.allocate(Bytes(vec![1; 100])).unwrap();
        cache.flush().unwrap();
        assert_eq!(read(&cache, page.page_id).unwrap(), [1; 100]);
        assert!(path.join("MANIFEST").exists());
        if close {
            cache.close().unwrap();
            assert!(!path.exists());
        }
        drop(cache);
        assert!(!path.exists());
    }
    let log = Log::open(Config::new(&path).temporary(true)).unwrap();
    log.append(b"x").unwrap();
    drop(log);
    assert!(!path.exists());
    let cache = open(Config::new(&path));
    assert!(!cache.was_recovered());
    drop(cache);
    assert!(path.exists());
}

#[test]
fn inline_limit_sets_what_goes_to_a_file_of_its_own() {
    let _turn = alone();
    for limit in [32, 100, 5000] {
        let cache = open(new().inline_limit(limit));
        cache.allocate(Bytes(vec![1; limit as usize])).unwrap();
        assert_eq!(cache.stats().large_values, 0);
        cache.allocate(Bytes(vec![1; limit as usize + 1])).unwrap();
        assert_eq!(cache.stats().large_values, 1);
    }
    // By itself it is a quarter of a segment.
    let cache = open(Config::with_storage(Arc::new(MemoryStorage::new())));
    cache.allocate(Bytes(vec![1; 256 << 10])).unwrap();
    assert_eq!(cache.stats().large_values, 0);
    cache.allocate(Bytes(vec![1; (256 << 10) + 1])).unwrap();
    assert_eq!(cache.stats().large_values, 1);
}

#[test]
fn max_value_size_is_the_longest_value_that_is_taken() {
    let _turn = alone();
    let cache = open(new().max_value_size(500));
    let page = cache.allocate(Bytes(vec![1; 500])).unwrap();
    let refused = cache.allocate(Bytes(vec![1; 501]));
    assert!(matches!(refused, Err(Error::ValueTooLarge { length: 501, maximum: 500 })), "{refused:?}");
    assert!(cache.link(page.page_id, page.version, Bytes(vec![1; 501])).is_err());
    assert!(cache.replace(page.page_id, page.version, Bytes(vec![1; 501])).is_err());
    assert_eq!(cache.stats().page_ids, 2);
}

/// Notes which blocks of files are written, and when files are synced.
#[derive(Debug, Default)]
struct Blocks(Mutex<BlocksSeen>);

#[derive(Debug, Default)]
struct BlocksSeen {
    /// Written since the file was last synced,
    fresh: BTreeSet<(String, u64)>,
    /// and before that.
    synced: BTreeSet<(String, u64)>,
    /// How often a block was written that had been synced.
    touched: u64,
}

impl Observer for Blocks {
    fn before_write(&self, name: &str, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut seen = self.0.lock().unwrap();
        let BlocksSeen { fresh, synced, .. } = &mut *seen;
        if name == "MANIFEST.new" && offset == 0 {
            // Its beginning is another file, which is to take the manifest's place; what is written behind it
            // goes to the same one.
            fresh.retain(|(of, _)| of != name);
            synced.retain(|(of, _)| of != name);
        }
        for block in offset / 4096..(offset + bytes.len() as u64).div_ceil(4096) {
            let at = (name.to_owned(), block);
            seen.touched += u64::from(seen.synced.contains(&at));
            let piece = |at: u64| (at.clamp(offset, offset + bytes.len() as u64) - offset) as usize;
            // Zeros claim space, and hold nothing.
            if bytes[piece(block * 4096)..piece((block + 1) * 4096)].iter().any(|byte| *byte != 0) {
                seen.fresh.insert(at);
            }
        }
        Ok(())
    }
    fn after_sync(&self, name: &str) {
        let mut seen = self.0.lock().unwrap();
        let BlocksSeen { fresh, synced, .. } = &mut *seen;
        let (now, rest): (BTreeSet<_>, BTreeSet<_>) =
            std::mem::take(fresh).into_iter().partition(|(of, _)| of == name);
        *fresh = rest;
        synced.extend(now);
    }
}

#[test]
fn torn_block_size_keeps_what_is_written_apart_from_what_was_synced() {
    let _turn = alone();
    for size in [0, 4096] {
        let storage = Observed::new(MemoryStorage::new(), Blocks::default());
        // Small segments, each of which is an entry in the manifest.
        let config = || {
            let config = Config::with_storage(Arc::new(storage.clone())).garbage_collection(false);
            config.segment_size(64 << 10)
        };
        let cache = open(config().torn_block_size(size));
        let mut pages = fill(&cache, 20, 100);
        // None of which begins another life: there, blocks are written that were synced in the last one.
        let guard = cache.pin();
        for round in 0..40 {
            overwrite(&cache, &mut pages, 1, 10 + 97 * round);
            cache.flush().unwrap();
        }
        drop(guard);
        let log = |seen: &BlocksSeen| seen.synced.iter().filter(|(name, _)| name == "log").count();
        let seen = std::mem::take(&mut *storage.observer.0.lock().unwrap());
        assert!(log(&seen) > 100, "{seen:?}");
        assert_eq!(seen.touched > 0, size == 0, "blocks of {size}: {}", seen.touched);
        // Whoever opens it needs to know nothing of it.
        let contents: Vec<_> = pages.iter().map(|(page_id, _)| read(&cache, *page_id)).collect();
        cache.close().unwrap();
        let cache = open(config());
        let found: Vec<_> = pages.iter().map(|(page_id, _)| read(&cache, *page_id)).collect();
        assert!(found == contents);
        assert!(cache.verify().unwrap().is_sound());
    }
}
