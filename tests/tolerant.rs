//! Opening damaged stores tolerantly, after long random histories with garbage collection: whatever is
//! damaged, what is called certain is the newest state, what is handed out at all was once a state, and
//! nothing is written. What counts without a manifest is in `by_headers`; for each byte of a small store see
//! `tests/golden_store/tolerant.rs`.

#[path = "tolerant/by_headers.rs"]
mod by_headers;
mod common;
#[path = "support/observed.rs"]
mod observed;

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use common::{Bytes, Dice, alone, link, open, read, replace, tiny};
use observed::{Observed, Observer};
use pagelog::sim::SimStorage;
use pagelog::{
    Access, Condition, Config, Damage, Doubtful, Error, MemoryStorage, PageCache, PageId, Storage, Version,
};

type Files = BTreeMap<String, Vec<u8>>;

fn files_of(storage: &MemoryStorage) -> Files {
    let read = |name: String| {
        let file = storage.open(&name, Access::Read).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_at(&mut bytes, 0).unwrap();
        (name, bytes)
    };
    storage.list().unwrap().into_iter().map(read).collect()
}

fn storage_of(files: &Files) -> Arc<MemoryStorage> {
    let storage = MemoryStorage::new();
    for (name, bytes) in files {
        storage.create(name).unwrap().write_at(bytes, 0).unwrap();
    }
    Arc::new(storage)
}

/// A page at one time: version and contents. `None` if there is none.
type State = Option<(u64, Vec<u8>)>;

const SEGMENT: usize = 1000;

/// A store whose history is known.
struct Known {
    files: Files,
    /// All states that each page was in, the newest last. Before the first one there was no page.
    history: BTreeMap<u64, Vec<State>>,
}

fn config(storage: &Arc<MemoryStorage>, snapshots: bool) -> Config {
    tiny(storage).space_target(1.5).snapshots(snapshots).inline_limit(300)
}

/// Pages of which some change often and some never again, so that garbage collection moves these.
fn build(seed: u64, snapshots: bool) -> Known {
    let storage = Arc::new(MemoryStorage::new());
    let cache = open(config(&storage, snapshots));
    let (mut dice, mut history) = (Dice::new(seed), BTreeMap::<u64, Vec<State>>::new());
    let mut now: Vec<(PageId, Version, Vec<u8>)> = Vec::new();
    for step in 0..2500u64 {
        let bytes = vec![step as u8; if dice.below(100) == 0 { 400 } else { 10 + dice.below(60) as usize }];
        let busy = if dice.below(5) > 0 { 8 } else { 60 };
        let index = dice.below(busy) as usize;
        if index >= now.len() {
            let page = cache.allocate(Bytes(bytes.clone())).unwrap();
            now.push((page.page_id, page.version, bytes.clone()));
            history.entry(page.page_id.get()).or_default().push(Some((page.version.get(), bytes)));
            continue;
        }
        let (page_id, version, contents) = now[index].clone();
        let states = history.get_mut(&page_id.get()).unwrap();
        match dice.below(20) {
            0 => {
                assert!(cache.free(page_id, version).unwrap().is_done());
                now.remove(index);
                states.push(None);
            }
            1..8 if contents.len() < 500 => {
                let version = link(&cache, page_id, version, &bytes);
                now[index] = (page_id, version, [contents, bytes].concat());
                states.push(Some((version.get(), now[index].2.clone())));
            }
            _ => {
                let version = replace(&cache, page_id, version, &bytes);
                now[index] = (page_id, version, bytes.clone());
                states.push(Some((version.get(), bytes)));
            }
        }
        if dice.below(50) == 0 {
            cache.flush().unwrap();
        }
    }
    cache.close().unwrap();
    let moved = cache.stats().counts.relocated_records;
    assert!(moved > 100, "{moved} records were moved");
    drop(cache);
    // Opening proves all of it, so that no damage can pass for a torn tail.
    drop(open(config(&storage, snapshots)));
    Known { files: files_of(&storage), history }
}

fn state_of(cache: &PageCache<Bytes>, page_id: u64) -> Result<State, Error> {
    let guard = cache.pin();
    Ok(guard.get(PageId::new(page_id))?.map(|page| (page.version().get(), page.merged().0.clone())))
}

/// Opens, and compares each page with its history.
fn examine(known: &Known, files: &Files, tally: &mut BTreeMap<Condition, u32>) -> Damage {
    let storage = storage_of(files);
    let (cache, damage) = config(&storage, true).open_tolerantly::<Bytes>(Doubtful::Serve).unwrap();
    for (page_id, states) in &known.history {
        let (id, found) = (PageId::new(*page_id), state_of(&cache, *page_id));
        let condition = damage.condition(id);
        *tally.entry(condition).or_default() += 1;
        match (condition, found) {
            (Condition::Certain, found) => {
                assert_eq!(
                    Some(&found.unwrap()),
                    states.last(),
                    "page {page_id} is called certain\n{damage}"
                );
            }
            (Condition::InDoubt, found) => {
                let found = found.unwrap();
                assert!(
                    found.is_none() || states.contains(&found),
                    "page {page_id} never was {found:?}\n{damage}"
                );
            }
            (_, found) => {
                let Err(Error::Corruption(fault)) = found else { panic!("page {page_id}: {found:?}") };
                assert_eq!(fault.page_id, Some(id));
                assert!(matches!(cache.version(id), Err(Error::Corruption(_))));
                assert!(damage.lost_pages().any(|(lost, _)| lost == id));
            }
        }
    }
    let report = cache.export(&mut io::sink(), |_| ControlFlow::Continue(())).unwrap();
    assert!(report.left_out <= damage.lost_pages().len() as u64);
    drop(cache);
    assert!(files_of(&storage) == *files, "something was written");
    damage
}

/// Some damage to the log.
fn hurt(log: &mut Vec<u8>, dice: &mut Dice) {
    let at = dice.below(log.len() as u64) as usize;
    match dice.below(6) {
        0 | 1 => log[at] ^= 1 << dice.below(8),
        2 => (0..dice.below(30)).for_each(|_| {
            let at = dice.below(log.len() as u64) as usize;
            log[at] ^= 1 << dice.below(8);
        }),
        3 => {
            let end = log.len().min(at + dice.below(4000) as usize);
            log[at..end].fill(0);
        }
        4 => {
            let (from, to) = (dice.below((log.len() / SEGMENT) as u64), at / SEGMENT);
            let bytes = log[from as usize * SEGMENT..][..SEGMENT].to_vec();
            let end = log.len().min((to + 1) * SEGMENT);
            log[to * SEGMENT..end].copy_from_slice(&bytes[..end - to * SEGMENT]);
        }
        _ => log.truncate(at),
    }
}

#[test]
fn what_is_certain_is_the_newest_and_what_is_handed_out_was_there_once() {
    let _turn = alone();
    for (seed, snapshots) in [(1, true), (2, false), (3, true), (4, false)] {
        let known = build(seed, snapshots);
        let mut none = BTreeMap::new();
        assert!(examine(&known, &known.files, &mut none).is_none());
        assert_eq!(none.len(), 1, "all is certain");
        let (mut dice, mut tally) = (Dice::new(seed ^ 77), BTreeMap::new());
        for _ in 0..120 {
            let mut files = known.files.clone();
            hurt(files.get_mut("log").unwrap(), &mut dice);
            // Without the witness it has to do with less.
            if dice.below(3) == 0 {
                files.retain(|name, _| !name.starts_with("snapshot-"));
            }
            examine(&known, &files, &mut tally);
        }
        println!("seed {seed}, snapshots {snapshots}: {tally:?}");
        assert!(tally[&Condition::Certain] > 500 && tally[&Condition::Lost] > 50, "{tally:?}");
        assert!(tally[&Condition::InDoubt] > 50, "{tally:?}");
    }
}

/// What was moved may have been logged where a segment was used again since: a hole in it leaves more in
/// doubt than one can see.
#[test]
fn whichever_segment_is_lost_what_is_certain_is_the_newest() {
    let _turn = alone();
    // In three of these there is a page of which only that makes out that it is in doubt.
    for seed in [11, 22, 57, 115] {
        let known = build(seed, false);
        let mut tally = BTreeMap::new();
        for slot in 0..known.files["log"].len() / SEGMENT {
            let mut files = known.files.clone();
            files.get_mut("log").unwrap()[slot * SEGMENT..][..SEGMENT].fill(0);
            examine(&known, &files, &mut tally);
        }
        assert!(tally[&Condition::Certain] > 100 && tally[&Condition::InDoubt] > 10, "{tally:?}");
    }
}

#[test]
fn without_a_manifest_nothing_is_invented_either() {
    let _turn = alone();
    let known = build(5, true);
    let (mut dice, mut tally) = (Dice::new(6), BTreeMap::new());
    for round in 0..40 {
        let mut files = known.files.clone();
        if round % 2 == 0 {
            files.remove("MANIFEST");
        } else {
            // Both copies of an entry of the picture.
            files.get_mut("MANIFEST").unwrap()[1024..2048].fill(7);
        }
        if round > 1 {
            hurt(files.get_mut("log").unwrap(), &mut dice);
        }
        let damage = examine(&known, &files, &mut tally);
        assert!(damage.manifest_is_lost());
    }
    assert!(!tally.contains_key(&Condition::Certain) && tally[&Condition::InDoubt] > 200, "{tally:?}");
}

#[test]
fn whatever_is_damaged_it_opens_or_is_refused_and_nothing_is_invented() {
    let _turn = alone();
    let known = build(7, true);
    let names: Vec<&String> = known.files.keys().filter(|name| !known.files[*name].is_empty()).collect();
    let (mut dice, mut opened, mut refused) = (Dice::new(8), 0, 0);
    for _ in 0..150 {
        let mut files = known.files.clone();
        for _ in 0..1 + dice.below(4) {
            let bytes = files.get_mut(names[dice.below(names.len() as u64) as usize]).unwrap();
            let at = dice.below(bytes.len().max(1) as u64) as usize;
            match dice.below(4) {
                0 => bytes.truncate(at),
                1 => bytes.iter_mut().skip(at).take(600).for_each(|byte| *byte = dice.next() as u8),
                2 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 4),
                _ => bytes.iter_mut().skip(at).take(2000).for_each(|byte| *byte = 0),
            }
        }
        let storage = storage_of(&files);
        let (cache, damage) = match config(&storage, true).open_tolerantly::<Bytes>(Doubtful::Serve) {
            Ok(found) => found,
            Err(Error::Corruption(_) | Error::NotAStore { .. } | Error::UnsupportedFormat { .. }) => {
                refused += 1;
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        opened += 1;
        assert!(damage.to_string().len() < 20_000);
        for (page_id, states) in &known.history {
            let is_certain = damage.condition(PageId::new(*page_id)) == Condition::Certain;
            match state_of(&cache, *page_id) {
                Ok(found) if is_certain => assert_eq!(Some(&found), states.last(), "{damage}"),
                Ok(found) => assert!(found.is_none() || states.contains(&found), "{found:?}\n{damage}"),
                Err(error) => assert!(!is_certain && matches!(error, Error::Corruption(_)), "{error}"),
            }
        }
        cache.verify().unwrap();
    }
    assert!(opened > 100, "{opened} opened, {refused} refused");
}

/// By page and version.
type Versions = BTreeMap<(u64, u64), Vec<u8>>;

/// Links, replacements and batches, of contents that nobody else has. Adds what pages came to be.
fn write(cache: &PageCache<Bytes>, pages: &[PageId], steps: u32, label: u8, states: &mut Versions) {
    let mut dice = Dice::new(label.into());
    for step in 0..steps {
        let batch = (step % 3 == 0).then(|| cache.pin_log().unwrap());
        for _ in 0..1 + dice.below(4) {
            let page_id = pages[dice.below(pages.len() as u64) as usize];
            let bytes = [&[label][..], &step.to_le_bytes(), &[0; 20]].concat();
            let before = read(cache, page_id).unwrap();
            let version = cache.version(page_id).unwrap().unwrap();
            let is_link = dice.below(3) > 0 && before.len() < 200;
            let (version, now) = match is_link {
                true => (link(cache, page_id, version, &bytes), [before, bytes].concat()),
                false => (replace(cache, page_id, version, &bytes), bytes),
            };
            states.insert((page_id.get(), version.get()), now);
        }
        if let Some(batch) = batch {
            batch.seal_batch().unwrap();
        }
        if dice.below(8) == 0 {
            cache.flush().unwrap();
        }
    }
}

/// A power cut is no damage. And what it has undone does not come back, also if there is no manifest any more
/// that says so.
#[test]
fn what_a_power_cut_has_undone_stays_undone() {
    let _turn = alone();
    let (mut images, mut undone) = (0, 0);
    for seed in 1..=4 {
        let disk = SimStorage::new(seed);
        let cache = open(tiny(&Arc::new(disk.clone())).space_target(3.0));
        let allocate = |_| cache.allocate(Bytes(vec![])).unwrap().page_id;
        let pages: Vec<PageId> = (0..8).map(allocate).collect();
        cache.flush().unwrap();
        disk.record_history();
        let mut old = Versions::new();
        pages.iter().for_each(|page_id| _ = old.insert((page_id.get(), 1), vec![]));
        write(&cache, &pages, 100, 1, &mut old);
        for moment in disk.history().unwrap().step_by(7) {
            let image = Arc::new(disk.image_at(moment, seed ^ moment).unwrap());
            let strict = open(tiny(&image).read_only(true));
            let (tolerant, damage) = tiny(&image).open_tolerantly::<Bytes>(Doubtful::Refuse).unwrap();
            assert!(damage.is_none(), "{damage}");
            let states =
                |cache| pages.iter().map(|id| state_of(cache, id.get()).unwrap()).collect::<Vec<_>>();
            let recovered: Vec<State> = states(&strict);
            assert_eq!(recovered, states(&tolerant));
            drop((strict, tolerant));
            let cache = open(tiny(&image).space_target(3.0));
            let mut new = Versions::new();
            write(&cache, &pages, 12, 2, &mut new);
            cache.close().unwrap();
            drop(cache);
            image.remove("MANIFEST").unwrap();
            let (cache, damage) = tiny(&image).open_tolerantly::<Bytes>(Doubtful::Serve).unwrap();
            assert!(damage.manifest_is_lost());
            for (page_id, recovered) in pages.iter().zip(recovered) {
                let recovered = recovered.unwrap().0;
                undone += old.range((page_id.get(), recovered + 1)..=(page_id.get(), u64::MAX)).count();
                let Ok(Some((version, found))) = state_of(&cache, page_id.get()) else { continue };
                let place = (page_id.get(), version);
                let was_kept = version <= recovered && old.get(&place) == Some(&found);
                assert!(was_kept || new.get(&place) == Some(&found), "page {page_id}: {version}, {found:?}");
            }
            images += 1;
        }
    }
    assert!(images > 50 && undone > 500, "{images}, {undone}");
}

/// Sectors of the log that the disk does not hand out.
#[derive(Debug, Default)]
struct BadSectors(Mutex<Vec<u64>>);

impl Observer for BadSectors {
    fn before_read(&self, length: usize, offset: u64) -> io::Result<()> {
        let is_hit = |sector: &u64| offset < sector + 4096 && *sector < offset + length as u64;
        let hit = self.0.lock().unwrap().iter().any(is_hit);
        if hit { Err(io::Error::other("a bad sector")) } else { Ok(()) }
    }
}

#[test]
fn a_sector_that_can_not_be_read_takes_only_what_is_in_it() {
    let _turn = alone();
    let storage = Observed::<MemoryStorage, BadSectors>::default();
    let config = || Config::with_storage(Arc::new(storage.clone())).segment_size(64 << 10);
    let cache = open(config());
    let pages: Vec<_> = (0..200u8).map(|n| cache.allocate(Bytes(vec![n; 200])).unwrap()).collect();
    // All that is needed twice.
    let newer: Vec<_> =
        pages.iter().map(|page| replace(&cache, page.page_id, page.version, b"newer")).collect();
    cache.close().unwrap();
    drop(cache);
    storage.observer.0.lock().unwrap().push(8192);
    let (cache, damage) = config().open_tolerantly::<Bytes>(Doubtful::Refuse).unwrap();
    // That was old.
    assert_eq!(damage.fault_count(), 2, "the sector and the hole\n{damage}");
    for (page, version) in pages.iter().zip(newer) {
        assert_eq!(cache.version(page.page_id).unwrap(), Some(version));
        assert_eq!(read(&cache, page.page_id).unwrap(), b"newer");
    }
}

/// Above what is proven, what does not verify is a torn tail, of which nobody was told. But what a disk does
/// not hand out may be anything.
#[test]
fn a_sector_that_can_not_be_read_is_no_torn_tail() {
    let _turn = alone();
    let storage = Arc::new(MemoryStorage::new());
    let config = |storage| Config::with_storage(storage).segment_size(64 << 10).snapshots(false);
    let cache = open(config(storage.clone()));
    let old = cache.allocate(Bytes(b"old".to_vec())).unwrap();
    cache.flush().unwrap();
    // The last flush: behind it there is no mark that proves it.
    let early = cache.allocate(Bytes(b"early".to_vec())).unwrap();
    (0..50u8).for_each(|n| _ = cache.allocate(Bytes(vec![n; 200])).unwrap());
    replace(&cache, old.page_id, old.version, b"new");
    cache.flush().unwrap();
    let mut files = files_of(&storage);
    let examine = |files: &Files, bad: Option<u64>| {
        let observer = BadSectors(Mutex::new(bad.into_iter().collect()));
        let storage = Observed::new((*storage_of(files)).clone(), observer);
        let (cache, damage) = config(Arc::new(storage)).open_tolerantly::<Bytes>(Doubtful::Serve).unwrap();
        (read(&cache, old.page_id).unwrap(), damage)
    };
    let (found, damage) = examine(&files, Some(4096));
    assert_eq!(damage.fault_count(), 2, "the sector and the hole\n{damage}");
    assert!(damage.others_in_doubt() && damage.condition(early.page_id) == Condition::InDoubt, "{damage}");
    // It was changed behind the hole.
    assert_eq!((found.as_slice(), damage.condition(old.page_id)), (&b"new"[..], Condition::Certain));
    files.get_mut("log").unwrap()[4096..8192].fill(0);
    let (found, damage) = examine(&files, None);
    assert!(found == b"old" && damage.is_none(), "{damage}");
}

#[test]
fn a_store_that_is_none_or_has_no_log_is_refused() {
    let empty = Arc::new(MemoryStorage::new());
    let refused = |config: Config| config.open_tolerantly::<Bytes>(Doubtful::Serve).map(drop).unwrap_err();
    assert!(matches!(refused(tiny(&empty)), Error::NotAStore { .. }));
    assert!(empty.list().unwrap().is_empty());
    let storage = Arc::new(MemoryStorage::new());
    drop(open(tiny(&storage)));
    storage.remove("log").unwrap();
    assert!(matches!(refused(tiny(&storage)), Error::Corruption(_)));
    let foreign = Arc::new(MemoryStorage::new());
    foreign.create("letter.txt").unwrap().write_at(b"dear reader", 0).unwrap();
    assert!(matches!(refused(tiny(&foreign)), Error::NotAStore { .. }));
    let log = Arc::new(MemoryStorage::new());
    drop(pagelog::Log::open(tiny(&log)).unwrap());
    assert!(matches!(refused(tiny(&log)), Error::NotAStore { .. }));
    let open_elsewhere = Arc::new(MemoryStorage::new());
    let _cache = open(tiny(&open_elsewhere));
    assert!(matches!(refused(tiny(&open_elsewhere)), Error::Locked { .. }));
}

#[test]
fn nothing_can_be_written() {
    let storage = Arc::new(MemoryStorage::new());
    let cache = open(tiny(&storage));
    let page = cache.allocate(Bytes(b"a".to_vec())).unwrap();
    cache.close().unwrap();
    drop(cache);
    let (cache, damage) = tiny(&storage).open_tolerantly::<Bytes>(Doubtful::Refuse).unwrap();
    assert!(damage.is_none());
    assert!(matches!(cache.replace(page.page_id, page.version, Bytes(vec![])), Err(Error::ReadOnly)));
    assert!(matches!(cache.allocate(Bytes(vec![])), Err(Error::ReadOnly)));
    assert!(matches!(cache.cas_root_in_meta(b"a", None, None), Err(Error::ReadOnly)));
}
