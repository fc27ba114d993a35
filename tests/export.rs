//! Export and import: a store as a stream of bytes and back, whole or not at all.

mod common;

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use common::{Bytes, Dice, alone, link, open, read, replace, tiny};
use pagelog::sim::{Fault, SimStorage, When};
use pagelog::{
    Access, Config, Error, ImportReport, MemoryStorage, PageCache, PageId, Progress, RootCas, Storage,
};

const ON: fn(Progress) -> ControlFlow<()> = |_| ControlFlow::Continue(());

fn on<S: Storage>(storage: &Arc<S>) -> Config {
    Config::with_storage(Arc::clone(storage) as Arc<dyn Storage>)
}

fn export(cache: &PageCache<Bytes>) -> Vec<u8> {
    let mut stream = Vec::new();
    let report = cache.export(&mut stream, ON).unwrap();
    assert!(report.is_consistent);
    assert_eq!(report.bytes, stream.len() as u64);
    stream
}

fn import(config: Config, stream: &[u8]) -> pagelog::Result<ImportReport> {
    config.import(&mut &stream[..], ON)
}

/// A few pages of all sorts, the same in every run.
fn small() -> PageCache<Bytes> {
    let cache = open(on(&Arc::new(MemoryStorage::new())));
    let pages: Vec<_> = (0..4u8).map(|n| cache.allocate(Bytes(vec![n; 3])).unwrap()).collect();
    link(&cache, pages[0].page_id, pages[0].version, b"!");
    replace(&cache, pages[1].page_id, pages[1].version, b"other");
    assert!(cache.free(pages[2].page_id, pages[2].version).unwrap().is_done());
    let root = cache.cas_root_in_meta(b"root", None, Some(pages[3].page_id)).unwrap();
    assert!(matches!(root, RootCas::Done { .. }));
    cache
}

#[test]
fn golden_bytes() {
    let _turn = alone();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let golden = include_str!("golden_export.hex").split_whitespace().collect::<String>();
    assert_eq!(hex(&export(&small())), golden);
    // What was written once can be read for ever.
    let bytes: Vec<u8> =
        (0..golden.len()).step_by(2).map(|at| u8::from_str_radix(&golden[at..at + 2], 16).unwrap()).collect();
    let storage = Arc::new(MemoryStorage::new());
    let report = import(on(&storage), &bytes).unwrap();
    assert_eq!((report.pages, report.free_ids, report.bytes), (3, 1, bytes.len() as u64));
    let cache = open(on(&storage));
    assert_eq!(read(&cache, PageId::new(1)).unwrap(), [0, 0, 0, b'!']);
    assert_eq!(read(&cache, PageId::new(2)).unwrap(), b"other");
    assert_eq!(read(&cache, PageId::new(3)), None);
    assert_eq!(read(&cache, PageId::new(4)).unwrap(), [3; 3]);
    assert_eq!(cache.meta_pid_for_name(b"root").unwrap(), Some(PageId::new(4)));
}

/// A store with everything: freed ids, links, large values, many blocks.
fn large() -> PageCache<Bytes> {
    let cache = open(on(&Arc::new(MemoryStorage::new())).inline_limit(2000).segment_size(64 << 10));
    let (mut dice, mut pages) = (Dice::new(7), Vec::new());
    for n in 0..3000_u32 {
        let length = if n % 200 == 0 { 5000 } else { dice.below(120) as usize };
        let page = cache.allocate(Bytes(vec![n as u8; length])).unwrap();
        let mut version = page.version;
        for _ in 0..dice.below(4) {
            version = link(&cache, page.page_id, version, &[dice.below(256) as u8; 7]);
        }
        pages.push((page.page_id, version));
        if dice.below(5) == 0 {
            let (page_id, version) = pages.swap_remove(dice.below(pages.len() as u64) as usize);
            assert!(cache.free(page_id, version).unwrap().is_done());
        }
    }
    for name in 0..20_u8 {
        let root = cache.cas_root_in_meta(&[name; 3], None, Some(pages[usize::from(name)].0)).unwrap();
        assert!(matches!(root, RootCas::Done { .. }));
    }
    cache
}

#[test]
fn a_store_that_was_imported_is_the_one_that_was_exported() {
    let _turn = alone();
    let source = large();
    let last_id = source.generate_id().unwrap();
    let stream = export(&source);
    let mut reports = Vec::new();
    for config in
        [|config: Config| config, |config: Config| config.segment_size(4096).cache_capacity(64 << 10)]
    {
        let storage = Arc::new(MemoryStorage::new());
        let config = || config(on(&storage));
        reports.clear();
        let tell = |progress: Progress| {
            reports.push(progress);
            ControlFlow::Continue(())
        };
        config().import(&mut &stream[..], tell).unwrap();
        let cache = open(config());
        assert!(cache.was_recovered() && cache.verify().unwrap().is_sound());
        assert!(export(&cache) == stream, "it is not the same");
        for page_id in (1..=source.stats().page_ids + 5).map(PageId::new) {
            assert_eq!(cache.version(page_id).unwrap(), source.version(page_id).unwrap());
            assert_eq!(read(&cache, page_id), read(&source, page_id));
        }
        assert_eq!(cache.meta().unwrap(), source.meta().unwrap());
        assert!(cache.generate_id().unwrap() > last_id);
        // Freed ids come first, the same ones, and their old tokens stay old.
        for _ in 0..source.stats().free_page_ids.min(50) {
            let (ours, theirs) =
                (cache.allocate(Bytes(vec![1])).unwrap(), source.allocate(Bytes(vec![1])).unwrap());
            assert_eq!((ours.page_id, ours.version), (theirs.page_id, theirs.version));
            assert!(source.free(theirs.page_id, theirs.version).unwrap().is_done());
            assert!(cache.free(ours.page_id, ours.version).unwrap().is_done());
        }
    }
    assert_eq!((reports[0].done, reports[0].fraction()), (0, 0.0));
    assert!(reports.is_sorted_by_key(|progress| progress.done) && reports.len() > 3);
    assert_eq!(reports.last().unwrap().fraction(), 1.0);
}

#[test]
fn a_read_only_store_can_be_exported() {
    let _turn = alone();
    let storage = Arc::new(MemoryStorage::new());
    import(on(&storage), &export(&small())).unwrap();
    let cache = open(on(&storage).read_only(true));
    assert_eq!(export(&cache), export(&small()));
}

#[test]
fn an_export_says_whether_somebody_wrote_meanwhile() {
    let _turn = alone();
    let cache = large();
    let mut written = false;
    let tell = |_: Progress| {
        if !std::mem::replace(&mut written, true) {
            cache.allocate(Bytes(vec![1])).unwrap();
        }
        ControlFlow::Continue(())
    };
    assert!(!cache.export(&mut io::sink(), tell).unwrap().is_consistent);
    let batch = cache.pin_log().unwrap();
    assert!(!cache.export(&mut io::sink(), ON).unwrap().is_consistent);
    batch.seal_batch().unwrap();
    assert!(cache.export(&mut io::sink(), ON).unwrap().is_consistent);
}

/// Nothing is there but perhaps the lock file.
fn is_empty(storage: &dyn Storage) -> bool {
    storage.list().unwrap().iter().all(|name| name == "LOCK")
}

#[test]
fn no_damaged_export_is_taken_and_nothing_is_left_of_it() {
    let _turn = alone();
    let stream = export(&small());
    let storage = Arc::new(MemoryStorage::new());
    let refuse = |damaged: &[u8], what: &str| {
        let refused = import(on(&storage), damaged);
        let is_said = matches!(refused, Err(Error::Corruption(_) | Error::UnsupportedFormat { .. }));
        assert!(is_said && is_empty(storage.as_ref()), "{what}: {refused:?} {:?}", storage.list());
    };
    for bit in 0..stream.len() * 8 {
        let mut damaged = stream.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        refuse(&damaged, &format!("bit {bit}"));
    }
    for length in 0..stream.len() {
        refuse(&stream[..length], &format!("{length} bytes"));
    }
    refuse(&[&stream[..], &[0]].concat(), "a byte more");
    refuse(&[&stream[..], &stream[..]].concat(), "twice");
    import(on(&storage), &stream).unwrap();
    assert_eq!(export(&open(on(&storage))), stream);
}

#[test]
fn a_place_that_holds_something_is_not_touched() {
    let _turn = alone();
    let stream = export(&small());
    let storage = Arc::new(MemoryStorage::new());
    import(on(&storage), &stream).unwrap();
    assert!(matches!(import(on(&storage), &stream), Err(Error::BackupTarget { .. })));
    assert_eq!(export(&open(on(&storage))), stream);
    let other = Arc::new(MemoryStorage::new());
    other.create("letter").unwrap();
    assert!(matches!(import(on(&other), &stream), Err(Error::BackupTarget { .. })));
    assert_eq!(other.list().unwrap(), ["letter"]);
    let locked = Arc::new(MemoryStorage::new());
    let _lock = locked.lock("LOCK", Access::Write).unwrap().unwrap();
    assert!(matches!(import(on(&locked), &stream), Err(Error::Locked { .. })));
    let new = || on(&Arc::new(MemoryStorage::new()));
    let invalid = |config| matches!(import(config, &stream), Err(Error::InvalidConfig { .. }));
    assert!(
        invalid(new().read_only(true)) && invalid(new().temporary(true)) && invalid(new().segment_size(1))
    );
}

/// A stream that fails after some bytes.
struct Failing(usize);

impl io::Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("it fails"))
    }
}

impl io::Write for Failing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or_else(|| io::Error::other("it fails"))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_fails_or_is_cancelled_leaves_nothing() {
    let _turn = alone();
    let source = large();
    let stream = export(&source);
    let off = |_: Progress| ControlFlow::Break(());
    assert!(matches!(source.export(&mut io::sink(), off), Err(Error::Cancelled)));
    assert!(matches!(source.export(&mut Failing(1000), ON), Err(Error::Io { .. })));
    let storage = Arc::new(MemoryStorage::new());
    assert!(matches!(on(&storage).import(&mut &stream[..], off), Err(Error::Cancelled)));
    let later = |progress: Progress| {
        if progress.done > 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    assert!(matches!(on(&storage).import(&mut &stream[..], later), Err(Error::Cancelled)));
    let mut reader = io::Read::chain(&stream[..stream.len() / 2], Failing(0));
    assert!(matches!(on(&storage).import(&mut reader, ON), Err(Error::Io { .. })));
    assert!(matches!(import(on(&storage).max_value_size(1000), &stream), Err(Error::ValueTooLarge { .. })));
    assert!(is_empty(storage.as_ref()));
}

#[test]
fn an_import_that_is_interrupted_is_no_store() {
    let _turn = alone();
    let stream = export(&small());
    let disk = SimStorage::new(3);
    disk.record_history();
    let config = |disk: &SimStorage| tiny(&Arc::new(disk.clone()));
    import(config(&disk), &stream).unwrap();
    let (mut refused, mut complete) = (0, 0);
    for moment in disk.history().unwrap() {
        for seed in 0..4 {
            let after = disk.image_at(moment, seed).unwrap();
            match config(&after).open::<Bytes>() {
                Err(Error::NotAStore { .. }) => refused += 1,
                // There was nothing yet.
                Ok(cache) if !cache.was_recovered() => assert_eq!(cache.stats().page_ids, 0),
                Ok(cache) => {
                    assert_eq!(export(&cache), stream, "{moment}");
                    complete += 1;
                }
                Err(error) => panic!("{moment} {seed}: {error}"),
            }
        }
    }
    assert!(refused > 20 && complete > 0, "{refused} {complete}");
}

#[test]
fn whichever_call_fails_there_is_a_store_or_none() {
    let _turn = alone();
    let stream = export(&small());
    let whole = SimStorage::new(3);
    import(tiny(&Arc::new(whole.clone())), &stream).unwrap();
    for call in 1..=whole.calls() {
        let disk = SimStorage::new(3);
        disk.fail_at(When::Call(call), Fault::Error);
        let imported = import(tiny(&Arc::new(disk.clone())), &stream);
        disk.clear_faults();
        let opened = tiny(&Arc::new(disk.clone())).open::<Bytes>();
        match (imported, opened) {
            (Ok(_), Ok(cache)) => assert_eq!(export(&cache), stream, "call {call}"),
            (Err(_), Ok(cache)) => assert!(!cache.was_recovered(), "call {call}"),
            (Err(_), Err(Error::NotAStore { .. })) => {}
            (imported, opened) => panic!("call {call}: {imported:?} {opened:?}"),
        }
    }
}
