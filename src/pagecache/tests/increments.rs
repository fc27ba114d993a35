//! Snapshots in several files: whatever they are taken from and whenever the power is cut, they tell what the
//! log alone tells.
//!
//! Ranges have eight pages here, so small stores have many. Each history is a random one of all verbs,
//! collection, and snapshots, asked for or in passing. When the power was cut, the disk is opened as it is;
//! without its snapshots; and with one of their files missing or rotten. All must come to the same: the same
//! versions and free ids, each record where it is said to be, and accounts that are the sums of the pages.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{TRACELESS, Text};
use crate::config::Config;
use crate::error::Result;
use crate::format::{snapshot_name, snapshot_serial};
use crate::ids::{PageId, SlotId, Version};
use crate::pagecache::PageCache;
use crate::pages::chain::Head;
use crate::recovery::snapshot_serials;
use crate::storage::Storage;
use crate::storage::sim::{CallKind, Fault, SimStorage, When};
use crate::sync::atomic::Ordering;
use crate::sync::epoch;

struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound.max(1)
    }
}

fn config(disk: &Arc<SimStorage>) -> Config {
    let storage: Arc<dyn Storage> = disk.clone();
    let config = Config::with_storage(storage).segment_size(2000).io_buffer_size(512).cache_capacity(4096);
    config.max_chain_length(4).space_target(1.2).snapshot_interval(4096)
}

fn open(disk: &Arc<SimStorage>) -> PageCache<Text> {
    config(disk).open().unwrap()
}

/// A page: its version and birth, whether it is free, and how many records it has.
type Found = (u64, u64, bool, usize);

/// All that an opening can tell, but for the places of records: of two equal copies either will do.
#[derive(Debug, PartialEq)]
struct State {
    pages: BTreeMap<u64, Found>,
    bound: u64,
    free: u64,
}

fn state(cache: &PageCache<Text>) -> State {
    let inner = &*cache.inner;
    let bound = inner.next_page_id.load(Ordering::Acquire);
    let guard = epoch::pin();
    let found =
        |head: Head<'_, Text>| (head.version().0, head.birth().0, head.is_freed(), head.nodes().count());
    let page = |id: u64| Some((id, found(inner.table.head(PageId(id), &guard)?)));
    let accountant = inner.core.accountant();
    let live = (0..accountant.bound()).map(|slot| (SlotId(slot), accountant.live(SlotId(slot))));
    let live: BTreeMap<SlotId, u64> = live.filter(|(_, live)| *live > 0).collect();
    assert_eq!(inner.recount_live(), live, "the accounts are the sums of the pages");
    let report = cache.verify().unwrap();
    assert!(report.is_sound(), "{report:?}");
    State { pages: (0..bound).filter_map(page).collect(), bound, free: inner.free_list.len() }
}

fn snapshots(disk: &SimStorage) -> Vec<String> {
    disk.list().unwrap().into_iter().filter(|name| snapshot_serial(name).is_some()).collect()
}

/// The disk without its snapshots.
fn log_alone(disk: &SimStorage) -> Arc<SimStorage> {
    let bare = Arc::new(disk.fork());
    snapshots(&bare).iter().for_each(|name| bare.remove(name).unwrap());
    bare
}

/// The disk with one of the files that its snapshot is made of missing or damaged.
fn damaged(disk: &SimStorage, dice: &mut Dice) -> Arc<SimStorage> {
    let (bad, names) = (Arc::new(disk.fork()), snapshots(disk));
    let Some(name) = names.get(dice.below(names.len() as u64) as usize) else { return bad };
    if dice.below(2) == 0 {
        bad.remove(name).unwrap();
    } else {
        let length = bad.contents()[name].len() as u64;
        bad.flip_bit(name, dice.below(length), dice.below(8) as u8).unwrap();
    }
    bad
}

/// One store over its lives.
struct History {
    dice: Dice,
    disk: Arc<SimStorage>,
    cache: PageCache<Text>,
    pages: Vec<(PageId, Version)>,
    /// Of which pages most changes are.
    hot: u64,
    /// How many snapshots were taken.
    taken: u64,
    /// How many openings found a snapshot in one file, and in several.
    in_one: u64,
    in_several: u64,
}

impl History {
    fn new(seed: u64) -> Self {
        let disk = Arc::new(SimStorage::new(seed));
        let cache = open(&disk);
        let dice = Dice(seed ^ 0x5DEE_CE66);
        Self { dice, disk, cache, pages: Vec::new(), hot: 0, taken: 0, in_one: 0, in_several: 0 }
    }

    fn some_page(&mut self) -> Option<usize> {
        let count = self.pages.len() as u64;
        if self.dice.below(60) == 0 {
            self.hot = self.dice.below(count);
        }
        let at =
            if self.dice.below(12) == 0 { self.dice.below(count) } else { self.hot + self.dice.below(9) };
        (count > 0).then(|| (at % count) as usize)
    }

    fn step(&mut self) -> Result<()> {
        let length = self.dice.below(60) as usize;
        let bytes = Text([TRACELESS, &vec![length as u8; length]].concat());
        let choice = if self.pages.len() < 60 { 0 } else { self.dice.below(100) };
        let at = self.some_page();
        match (choice, at.map(|at| (at, self.pages[at]))) {
            (0..6, _) | (_, None) => {
                let allocated = self.cache.allocate(bytes)?;
                self.pages.push((allocated.page_id, allocated.version));
            }
            (6..55, Some((at, (page_id, version)))) => {
                self.pages[at].1 = self.cache.link(page_id, version, bytes)?.done().unwrap();
            }
            (55..80, Some((at, (page_id, version)))) => {
                self.pages[at].1 = self.cache.replace(page_id, version, bytes)?.done().unwrap();
            }
            (80..84, Some((at, (page_id, version)))) => {
                assert!(self.cache.free(page_id, version)?.is_done());
                self.pages.swap_remove(at);
            }
            (84..88, _) => drop(self.cache.attempt_gc()?),
            (88..95, _) => self.cache.flush()?,
            (95..98, _) => self.cache.snapshot()?,
            (_, Some((_, (page_id, _)))) => {
                let old = self.cache.meta_pid_for_name(b"root")?;
                let _ = self.cache.cas_root_in_meta(b"root", old, Some(page_id))?;
            }
        }
        Ok(())
    }

    /// Cuts the power, opens what is left in all ways, and goes on with it.
    fn crash(&mut self, seed: u64) {
        self.taken += self.cache.stats().counts.snapshots;
        let image = Arc::new(self.disk.after_power_cut(seed));
        // What the disk is before it is opened decides; opening it changes it.
        let (bare, damaged) = (log_alone(&image), damaged(&image, &mut self.dice));
        let files = snapshots(&image).len();
        (self.in_one, self.in_several) =
            (self.in_one + u64::from(files == 1), self.in_several + u64::from(files > 1));
        self.disk = image;
        self.cache = open(&self.disk);
        let found = state(&self.cache);
        for (what, disk) in [("the log alone", bare), ("a damaged snapshot", damaged)] {
            assert_eq!(state(&open(&disk)), found, "{what}, seed {seed:#x}");
        }
        let versions = found.pages.iter().filter(|(id, page)| **id > 0 && !page.2);
        self.pages = versions.map(|(id, page)| (PageId(*id), Version(page.0))).collect();
    }

    fn live(&mut self, seed: u64) {
        let steps = 20 + self.dice.below(220);
        if self.dice.below(3) == 0 {
            // In the middle of something.
            self.disk.cut_power_at(self.disk.operations() + self.dice.below(4 * steps));
        } else if self.dice.below(3) == 0 {
            // Snapshots that come to nothing, and a store that goes on. A failed sync of the log would end
            // it.
            let kind = if self.dice.below(2) == 0 { CallKind::Rename } else { CallKind::Create };
            let when = self.disk.count(kind) + self.dice.below(6);
            self.disk.fail_at(When::Kind(kind, when), Fault::Error);
        }
        for _ in 0..steps {
            if self.step().is_err() && self.disk.is_cut() {
                break;
            }
        }
        self.disk.clear_faults();
        self.crash(seed);
    }
}

#[test]
fn snapshots_tell_what_the_log_alone_tells_after_any_history() {
    let histories = if std::env::var_os("LONG").is_some() { 20_000 } else { 120 };
    let (mut taken, mut in_one, mut in_several) = (0, 0, 0);
    for seed in 0..histories {
        let mut history = History::new(seed);
        (0..6).for_each(|life| history.live(seed << 8 | life));
        taken += history.taken;
        (in_one, in_several) = (in_one + history.in_one, in_several + history.in_several);
    }
    println!("{taken} snapshots; {in_one} openings with one file, {in_several} with several");
    assert!(taken > 4 * histories && in_one > histories / 2 && in_several > histories, "too tame");
}

/// 120 pages in some fifteen ranges, all in one snapshot.
fn filled() -> (Arc<SimStorage>, PageCache<Text>, Vec<(PageId, Version)>) {
    filled_with(120)
}

fn filled_with(count: u64) -> (Arc<SimStorage>, PageCache<Text>, Vec<(PageId, Version)>) {
    let disk = Arc::new(SimStorage::new(1));
    let cache = config(&disk).snapshots(false).garbage_collection(false).open().unwrap();
    let allocate = |byte| {
        let page = cache.allocate(Text(vec![byte; 40])).unwrap();
        (page.page_id, page.version)
    };
    let pages = (0..count).map(|number| allocate(number as u8)).collect();
    cache.snapshot().unwrap();
    (disk, cache, pages)
}

fn touch(cache: &PageCache<Text>, page: &mut (PageId, Version)) {
    page.1 = cache.link(page.0, page.1, Text(TRACELESS.to_vec())).unwrap().done().unwrap();
}

/// The disk opens and tells what its log alone tells. Returns whether it did so by its snapshot.
fn opens(disk: &SimStorage) -> bool {
    let (copy, bare) = (Arc::new(disk.fork()), log_alone(disk));
    let cache = open(&copy);
    assert_eq!(state(&cache), state(&open(&bare)));
    let is_used = cache.inner.snapshots.files().is_some();
    // What is not used is gone.
    assert_eq!(is_used, !snapshot_serials(&*copy).unwrap().is_empty());
    is_used
}

#[test]
fn a_snapshot_holds_what_has_changed_and_files_go_when_nothing_names_them() {
    let (disk, cache, mut pages) = filled();
    let sizes = |disk: &SimStorage| -> Vec<usize> {
        let files = disk.contents().into_iter().filter(|(name, _)| snapshot_serial(name).is_some());
        files.map(|(_, bytes)| bytes.len()).collect()
    };
    let full = sizes(&disk)[0];
    touch(&cache, &mut pages[50]);
    cache.snapshot().unwrap();
    let both = sizes(&disk);
    assert!(both.len() == 2 && both[0] == full && both[1] < full / 2, "{both:?}");
    // The same range again: its old block is in a file that nothing else is in.
    touch(&cache, &mut pages[51]);
    cache.snapshot().unwrap();
    assert_eq!(sizes(&disk).len(), 2);
    touch(&cache, &mut pages[3]);
    cache.snapshot().unwrap();
    assert_eq!(sizes(&disk).len(), 3);
    assert!(opens(&disk));
    // Nothing new: only a directory.
    cache.snapshot().unwrap();
    assert!(opens(&disk));
    // A store that is opened goes on where it was, without writing all of it again.
    drop(cache);
    let reopened = config(&disk).snapshots(false).open::<Text>().unwrap();
    touch(&reopened, &mut pages[70]);
    reopened.snapshot().unwrap();
    assert!(sizes(&disk).last().unwrap() < &(full / 2), "{:?}", sizes(&disk));
    assert!(opens(&disk));
}

#[test]
fn files_that_come_to_much_more_than_one_are_written_as_one() {
    let (disk, cache, mut pages) = filled_with(800);
    let (mut most, mut written, mut saved) = (0, 0, 0);
    for round in 0..60 {
        // Always the same thirty ranges, and one that is never touched again: it alone keeps its file.
        (0..30).for_each(|range| touch(&cache, &mut pages[8 * range]));
        touch(&cache, &mut pages[8 * (31 + round)]);
        cache.snapshot().unwrap();
        let files = cache.inner.snapshots.files().unwrap();
        assert_eq!(files.files.len(), snapshots(&disk).len());
        assert!(files.bytes() <= 3 * files.bytes_in_use() + 2 * 4096, "{files:?}");
        most = most.max(files.files.len());
        written += files.files.last_key_value().unwrap().1;
        saved += files.bytes_in_use();
    }
    assert!(most > 3, "at most {most} files");
    assert!(written < saved, "{written} bytes, where whole snapshots were {saved}");
    assert!(opens(&disk));
}

#[test]
fn a_file_that_is_missing_or_rotten_anywhere_leaves_older_snapshots_or_the_log() {
    let (disk, cache, mut pages) = filled();
    for page in [10, 40, 80] {
        touch(&cache, &mut pages[page]);
        cache.snapshot().unwrap();
    }
    drop(cache);
    assert!(opens(&disk));
    let files: BTreeMap<String, Vec<u8>> = disk.contents();
    let names = snapshots(&disk);
    assert_eq!(names.len(), 4);
    let mut unused = 0;
    for name in &names {
        let missing = disk.fork();
        missing.remove(name).unwrap();
        // The first has all ranges: without it there is none, and by itself it is the oldest.
        assert_eq!(opens(&missing), *name != names[0], "without {name}");
        for at in (0..files[name].len()).step_by(7) {
            let rotten = disk.fork();
            rotten.flip_bit(name, at as u64, (at % 8) as u8).unwrap();
            let is_used = opens(&rotten);
            // The newest is not needed, if the one before is complete. Of an older file only the blocks that
            // are named count.
            assert!(is_used || name != names.last().unwrap(), "byte {at} of {name}");
            unused += u32::from(!is_used);
        }
        // Another file under its name.
        let other = disk.fork();
        let file = other.create(name).unwrap();
        file.write_at(&files[&names[usize::from(*name == names[0])]], 0).unwrap();
        assert!(!(opens(&other) && *name == names[0]), "{name} is another file");
    }
    assert!(unused > 100, "{unused}");
}

#[test]
fn a_check_reads_every_block_of_the_snapshot_in_whichever_file_it_lies() {
    let (disk, cache, mut pages) = filled();
    for page in [10, 40] {
        touch(&cache, &mut pages[page]);
        cache.snapshot().unwrap();
    }
    assert!(cache.verify().unwrap().is_sound());
    let files = cache.inner.snapshots.files().unwrap();
    assert_eq!(files.files.len(), 3);
    for place in &files.directory {
        let name = snapshot_name(place.serial);
        disk.flip_bit(&name, place.end() - 1, 3).unwrap();
        let report = cache.verify().unwrap();
        let [fault] = &report.faults[..] else { panic!("{place:?}: {report:?}") };
        assert!(fault.file.ends_with(&name) && fault.offset == Some(place.offset), "{fault}");
        disk.flip_bit(&name, place.end() - 1, 3).unwrap();
    }
    disk.remove(&snapshot_name(*files.files.keys().next().unwrap())).unwrap();
    assert_eq!(cache.verify().unwrap().faults.len(), 1);
}

#[test]
fn a_snapshot_that_comes_to_nothing_gives_its_marks_back() {
    let (disk, cache, mut pages) = filled();
    touch(&cache, &mut pages[50]);
    cache.flush().unwrap();
    let before = disk.operations();
    cache.snapshot().unwrap();
    let operations = disk.operations() - before;
    let mut survived = 0;
    for operation in 0..operations {
        let (disk, cache, mut pages) = filled();
        touch(&cache, &mut pages[50]);
        cache.flush().unwrap();
        disk.fail_at(When::Operation(disk.operations() + operation), Fault::Error);
        // It may have been in force already, when a file could not be removed.
        let _ = cache.snapshot();
        disk.clear_faults();
        assert!(opens(&disk.after_kill()), "operation {operation}");
        touch(&cache, &mut pages[3]);
        cache.snapshot().unwrap();
        drop(cache);
        assert!(opens(&disk), "operation {operation}");
        survived += 1;
    }
    assert!(survived >= 5, "only {survived} operations");
}

/// A store whose next snapshot is a whole one, in the place of several files.
fn before_a_whole_one() -> (Arc<SimStorage>, PageCache<Text>, Vec<(PageId, Version)>) {
    let (disk, cache, mut pages) = filled_with(400);
    for round in 0.. {
        let files = cache.inner.snapshots.files().unwrap();
        if files.bytes() > 2 * files.bytes_in_use() + 4096 {
            assert!(files.files.len() > 2);
            break;
        }
        (0..20).for_each(|range| touch(&cache, &mut pages[8 * range]));
        touch(&cache, &mut pages[8 * (21 + round)]);
        cache.snapshot().unwrap();
    }
    cache.flush().unwrap();
    (disk, cache, pages)
}

/// A store whose next snapshot is of two ranges, each of which is in an older file of its own.
fn before_two_are_swept() -> (Arc<SimStorage>, PageCache<Text>, Vec<(PageId, Version)>) {
    let (disk, cache, mut pages) = filled();
    for page in [50, 80] {
        touch(&cache, &mut pages[page]);
        cache.snapshot().unwrap();
    }
    [50, 80].iter().for_each(|page| touch(&cache, &mut pages[*page]));
    cache.flush().unwrap();
    (disk, cache, pages)
}

#[test]
fn whatever_goes_wrong_when_files_are_swept_what_is_named_stays() {
    for (store, left) in [(before_a_whole_one as fn() -> _, 1), (before_two_are_swept, 2)] {
        let (disk, cache, _) = store();
        let before = disk.operations();
        cache.snapshot().unwrap();
        assert_eq!(snapshots(&disk).len(), left);
        let mut refused = 0;
        for operation in 0..disk.operations() - before {
            let (disk, cache, mut pages) = store();
            disk.fail_at(When::Operation(disk.operations() + operation), Fault::Error);
            let _ = cache.snapshot();
            disk.clear_faults();
            assert!(opens(&disk.after_kill()), "operation {operation}");
            touch(&cache, &mut pages[3]);
            if let Err(error) = cache.snapshot() {
                // If the sync of the directory failed, no later one is believed.
                assert!(error.to_string().contains("earlier sync of the directory"), "{error}");
                refused += 1;
            }
            assert!(opens(&disk.after_kill()), "operation {operation}, and another");
            assert!(cache.verify().unwrap().is_sound(), "operation {operation}");
        }
        assert!((1..=2).contains(&refused), "{refused}");
    }
}

#[test]
fn threads_that_race_with_snapshots_lose_nothing() {
    for round in 0..30 {
        let (disk, cache, pages) = filled();
        std::thread::scope(|scope| {
            let (cache, pages) = (&cache, &pages);
            for thread in 0..3 {
                scope.spawn(move || {
                    let mut own: Vec<_> = pages.iter().copied().skip(thread).step_by(3).collect();
                    let mut dice = Dice(round << 8 | thread as u64);
                    for _ in 0..120 {
                        let at = dice.below(own.len() as u64) as usize;
                        touch(cache, &mut own[at]);
                        if dice.below(20) == 0 {
                            cache.attempt_gc().unwrap();
                        }
                    }
                });
            }
            (0..12).for_each(|_| cache.snapshot().unwrap());
        });
        cache.flush().unwrap();
        let killed = disk.after_kill();
        assert!(opens(&killed), "round {round}");
        cache.snapshot().unwrap();
        assert!(opens(&disk.after_kill()), "round {round}");
    }
}
