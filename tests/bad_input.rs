//! Whatever is in the directory, and whatever a caller hands in: a clear error that names the place, and
//! nothing is changed.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use common::{Bytes, Dice, contents, link, open, read, tiny};
use pagelog::{
    Access, Cas, Codec, CodecError, Config, Error, Fragment, Log, MemoryStorage, PageCache, PageId, Storage,
    Version,
};
use tempfile::TempDir;

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn config(path: &Path) -> Config {
    Config::new(path).segment_size(1000).io_buffer_size(512).cache_capacity(4096)
}

fn open_at(path: &Path) -> Result<PageCache<Bytes>, Error> {
    config(path).open()
}

/// The error's text, which must name the directory.
fn told(what: &str, error: &Error, path: &Path) {
    let text = error.to_string();
    println!("{what:32} {}", text.replace(&path.display().to_string(), "DIR"));
    assert!(text.contains(&path.display().to_string()), "{text:?} does not name {}", path.display());
}

/// A store with pages, links, freed pages, roots and a snapshot.
fn fill(path: &Path) {
    let cache = open_at(path).unwrap();
    for n in 0..40u8 {
        let page = cache.allocate(Bytes(vec![n; 60])).unwrap();
        let version = link(&cache, page.page_id, page.version, &[n; 10]);
        if n % 5 == 4 {
            assert!(cache.free(page.page_id, version).unwrap().is_done());
        }
    }
    let root = PageId::new(1);
    assert!(matches!(cache.cas_root_in_meta(b"root", None, Some(root)), Ok(pagelog::RootCas::Done { .. })));
    cache.generate_id().unwrap();
    cache.close().unwrap();
}

fn is_intact(cache: &PageCache<Bytes>) -> Result<(), Error> {
    for n in 0..40u8 {
        let guard = cache.pin();
        if let Some(page) = guard.get(PageId::new(u64::from(n) + 1))? {
            let bytes = &page.merged().0;
            assert!(bytes.len() == 60 || bytes.len() == 70, "{} bytes", bytes.len());
            assert!(bytes.iter().all(|byte| *byte == bytes[0]), "an invented page");
        }
    }
    Ok(())
}

#[test]
fn an_empty_or_missing_directory_becomes_a_store_unless_it_is_only_to_be_read() {
    let place = directory();
    let missing = place.path().join("a/b/c");
    for path in [place.path(), &missing] {
        let error = config(path).read_only(true).open::<Bytes>().unwrap_err();
        assert!(matches!(error, Error::NotAStore { .. }));
        told("nothing, read-only", &error, path);
        if path == place.path() {
            assert_eq!(contents(path), BTreeMap::new());
        }
    }
    assert!(!missing.exists());
    for path in [&place.path().join("new"), &missing] {
        let cache = open_at(path).unwrap();
        assert!(!cache.was_recovered());
        cache.close().unwrap();
        assert!(open_at(path).unwrap().was_recovered());
    }
}

#[test]
fn a_directory_with_foreign_files_is_left_as_it_is() {
    for (what, name, bytes) in [
        ("a foreign file", "letter.txt", &b"dear reader"[..]),
        ("an empty foreign file", "empty", b""),
        ("a foreign file called log", "log", b"2024-01-01 started"),
        ("a foreign file called MANIFEST", "MANIFEST", b"Manifest-Version: 1.0\n"),
        ("an empty file called MANIFEST", "MANIFEST", b""),
        ("a foreign file called LOCK", "LOCK", b"pid 4711"),
        ("a foreign file called snapshot-x", "snapshot-x", b"x"),
        ("a foreign MANIFEST.new", "MANIFEST.new", b"release notes of the new manifest"),
    ] {
        let place = directory();
        fs::write(place.path().join(name), bytes).unwrap();
        let before = contents(place.path());
        for read_only in [false, true] {
            let error = config(place.path()).read_only(read_only).open::<Bytes>().unwrap_err();
            assert!(matches!(error, Error::NotAStore { .. }), "{what}: {error:?}");
            told(what, &error, place.path());
            assert!(matches!(Log::open(config(place.path())), Err(Error::NotAStore { .. })));
            assert_eq!(contents(place.path()), before, "{what}");
        }
    }
    let place = directory();
    fs::create_dir(place.path().join("log")).unwrap();
    let error = open_at(place.path()).unwrap_err();
    told("a directory called log", &error, place.path());
    assert!(matches!(error, Error::NotAStore { .. } | Error::Io { .. }));
    let before = contents(place.path());
    assert_eq!(before.len(), 1);
    let file = place.path().join("file");
    fs::write(&file, b"a file").unwrap();
    let error = open_at(&file).unwrap_err();
    told("a file instead of a directory", &error, &file);
    assert_eq!(fs::read(&file).unwrap(), b"a file");
}

#[test]
fn what_an_interrupted_creation_left_is_no_obstacle() {
    let place = directory();
    fs::write(place.path().join("LOCK"), b"").unwrap();
    fs::write(place.path().join("log"), b"").unwrap();
    let model = directory();
    fill(model.path());
    let manifest = fs::read(model.path().join("MANIFEST")).unwrap();
    for torn in
        [&manifest[..0], &manifest[..512], &[0; 1024][..], &[&[0; 512][..], &manifest[512..1024]].concat()]
    {
        fs::write(place.path().join("MANIFEST.new"), torn).unwrap();
        let inner = directory();
        for (name, bytes) in contents(place.path()) {
            fs::write(inner.path().join(name), bytes.unwrap()).unwrap();
        }
        let cache = open_at(inner.path()).unwrap();
        assert!(!cache.was_recovered());
        cache.close().unwrap();
    }
}

fn copy(from: &Path) -> TempDir {
    let to = directory();
    for (name, bytes) in contents(from) {
        fs::write(to.path().join(name), bytes.unwrap()).unwrap();
    }
    to
}

/// Opens a damaged copy, in both ways. A store or an error; an error changes nothing.
fn open_damaged(what: &str, place: &Path, seen: &mut BTreeMap<String, u32>) {
    let before = contents(place);
    for read_only in [true, false] {
        match config(place).read_only(read_only).open::<Bytes>() {
            Ok(cache) => {
                if let Err(error) = is_intact(&cache) {
                    assert!(matches!(error, Error::Corruption(_) | Error::Io { .. }), "{what}: {error:?}");
                }
                *seen.entry("a store".into()).or_default() += 1;
                drop(cache);
            }
            Err(error) => {
                assert!(
                    matches!(
                        error,
                        Error::Corruption(_)
                            | Error::NotAStore { .. }
                            | Error::UnsupportedFormat { .. }
                            | Error::Io { .. }
                    ),
                    "{what}: {error:?}"
                );
                assert!(error.to_string().contains(&place.display().to_string()), "{what}: {error}");
                let text = error.to_string().replace(&place.display().to_string(), "DIR");
                let text: String =
                    text.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }).collect::<String>();
                *seen.entry(text.replace("##", "#").replace("##", "#").replace("##", "#")).or_default() += 1;
                if read_only {
                    assert_eq!(contents(place), before, "{what}");
                } else {
                    let mut after = contents(place);
                    // An opening for writing takes the lock first.
                    after.entry("LOCK".into()).and_modify(|bytes| bytes.clone_from(&before["LOCK"]));
                    assert_eq!(after, before, "{what}");
                }
            }
        }
        if read_only {
            assert_eq!(contents(place), before, "{what}");
        }
    }
}

fn print(seen: &BTreeMap<String, u32>) {
    for (text, count) in seen {
        println!("{count:5} x {text}");
    }
}

#[test]
fn every_file_truncated_at_any_length_gives_a_store_or_an_error() {
    let place = directory();
    fill(place.path());
    let mut seen = BTreeMap::new();
    for (name, bytes) in contents(place.path()) {
        let length = bytes.unwrap().len();
        let some = [0, 1, 3, 79, 80, 511, 512, 513, 1000, 1023, 1024, 1025, 1999, 2000, 2001];
        let rest =
            (1..12).map(|n| length * n / 12).chain([length.saturating_sub(1), length.saturating_sub(512)]);
        let mut lengths: Vec<usize> = some.into_iter().chain(rest).filter(|at| *at < length).collect();
        lengths.sort_unstable();
        lengths.dedup();
        for at in lengths {
            let damaged = copy(place.path());
            let file = fs::OpenOptions::new().write(true).open(damaged.path().join(&name)).unwrap();
            file.set_len(at as u64).unwrap();
            open_damaged(&format!("{name} cut at {at}"), damaged.path(), &mut seen);
        }
        let damaged = copy(place.path());
        fs::remove_file(damaged.path().join(&name)).unwrap();
        if name == "LOCK" {
            open_at(damaged.path()).unwrap().close().unwrap();
        } else {
            open_damaged(&format!("{name} removed"), damaged.path(), &mut seen);
        }
    }
    print(&seen);
    assert!(seen.len() > 3);
}

#[test]
fn random_bytes_in_any_file_give_a_store_or_an_error() {
    let place = directory();
    fill(place.path());
    let mut seen = BTreeMap::new();
    let mut dice = Dice::new(11);
    let names: Vec<String> = contents(place.path()).into_keys().filter(|name| name != "LOCK").collect();
    for round in 0..150 {
        let damaged = copy(place.path());
        let name = &names[round % names.len()];
        let path = damaged.path().join(name);
        let mut bytes = fs::read(&path).unwrap();
        let (from, length) = match round % 3 {
            // All of it, a stretch, a byte.
            0 => (0, bytes.len()),
            1 => (dice.below(bytes.len() as u64) as usize, 1 + dice.below(600) as usize),
            _ => (dice.below(bytes.len() as u64) as usize, 1),
        };
        bytes.iter_mut().skip(from).take(length).for_each(|byte| *byte = dice.next() as u8);
        fs::write(&path, &bytes).unwrap();
        open_damaged(
            &format!("round {round}: {name} from {from}, {length} bytes"),
            damaged.path(),
            &mut seen,
        );
    }
    print(&seen);
    // Random bytes and nothing else.
    for name in &names {
        let place = directory();
        let bytes: Vec<u8> = (0..5000).map(|_| dice.next() as u8).collect();
        fs::write(place.path().join(name), bytes).unwrap();
        let error = open_at(place.path()).unwrap_err();
        told(&format!("random bytes in {name}"), &error, place.path());
        assert!(matches!(error, Error::NotAStore { .. } | Error::Corruption(_)), "{error:?}");
        assert_eq!(contents(place.path()).len(), 1);
    }
}

/// A frame's checksum is crc32 over all but itself.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

/// Changes the body of the manifest's first entry, in both of its copies.
fn change_head(store: &Path, change: impl Fn(&mut [u8])) {
    let path = store.join("MANIFEST");
    let mut bytes = fs::read(&path).unwrap();
    for frame in bytes[..1024].chunks_mut(512) {
        change(&mut frame[35..]);
        let crc = crc32(&frame[4..]);
        frame[..4].copy_from_slice(&crc.to_le_bytes());
    }
    fs::write(&path, &bytes).unwrap();
}

#[test]
fn a_newer_format_version_is_named_and_nothing_is_touched() {
    let place = directory();
    fill(place.path());
    change_head(place.path(), |body| {
        assert_eq!(body[..4], 2u32.to_le_bytes());
        body[..4].copy_from_slice(&9u32.to_le_bytes());
    });
    let before = contents(place.path());
    for read_only in [false, true] {
        let error = config(place.path()).read_only(read_only).open::<Bytes>().unwrap_err();
        told("a newer format version", &error, place.path());
        assert!(matches!(error, Error::UnsupportedFormat { found: 9, supported: 2, .. }), "{error:?}");
        assert_eq!(contents(place.path()), before);
    }
}

/// Story: a manifest that verifies and names a number of heads that no store has was refused as a wrong
/// configuration, with the name of an option that did not exist. Fuzzing found it.
#[test]
fn a_manifest_of_a_store_with_too_many_heads_is_corruption() {
    let place = directory();
    fill(place.path());
    change_head(place.path(), |body| body[9] = 5);
    let path = place.path().join("MANIFEST");
    let bytes = fs::read(&path).unwrap();
    let error = open_at(place.path()).unwrap_err();
    told("a store with five heads", &error, place.path());
    let Error::Corruption(corruption) = &error else { panic!("{error:?}") };
    assert!(corruption.to_string().contains("number of heads"), "{corruption}");
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn a_store_that_is_open_is_locked_in_this_process() {
    let place = directory();
    let first = open_at(place.path()).unwrap();
    let page = first.allocate(Bytes(vec![1])).unwrap();
    first.flush().unwrap();
    let before = contents(place.path());
    for read_only in [false, true] {
        let error = config(place.path()).read_only(read_only).open::<Bytes>().unwrap_err();
        told("a locked store", &error, place.path());
        assert!(matches!(error, Error::Locked { .. }), "{error:?}");
    }
    assert_eq!(contents(place.path()), before);
    assert_eq!(read(&first, page.page_id).unwrap(), [1]);
    drop(first);
    drop(open_at(place.path()).unwrap());
}

#[test]
fn a_store_of_another_kind_or_segment_size_is_refused_and_left_as_it_is() {
    let pages = directory();
    fill(pages.path());
    let log = directory();
    Log::open(config(log.path())).unwrap().append(b"x").unwrap();
    let before = (contents(pages.path()), contents(log.path()));

    let error = Log::open(config(pages.path())).unwrap_err();
    told("pages opened as a log", &error, pages.path());
    assert!(matches!(error, Error::NotAStore { .. }));
    let error = open_at(log.path()).unwrap_err();
    told("a log opened as pages", &error, log.path());
    assert!(matches!(error, Error::NotAStore { .. }));

    let error = config(pages.path()).segment_size(4096).open::<Bytes>().unwrap_err();
    println!("{:32} {error}", "another segment size");
    assert!(matches!(error, Error::InvalidConfig { option: "segment_size", .. }));
    assert!(error.to_string().contains("1000") && error.to_string().contains("4096"));
    assert_eq!((contents(pages.path()), contents(log.path())), before);

    // Asking for none adopts the store's own.
    let cache: PageCache<Bytes> = Config::new(pages.path()).open().unwrap();
    cache.allocate(Bytes(vec![0; 1000])).unwrap();
    assert_eq!(cache.stats().large_values, 1);
}

#[test]
fn page_ids_that_are_reserved_never_allocated_freed_or_stale_have_named_outcomes() {
    let cache = open(tiny(&Arc::new(MemoryStorage::new())));
    let (reserved, one) = (PageId::new(0), Version::new(1));
    assert!(matches!(cache.pin().get(reserved), Err(Error::ReservedPageId)));
    assert!(matches!(cache.link(reserved, one, Bytes(vec![])), Err(Error::ReservedPageId)));
    assert!(matches!(cache.replace(reserved, one, Bytes(vec![])), Err(Error::ReservedPageId)));
    assert!(matches!(cache.free(reserved, one), Err(Error::ReservedPageId)));
    // Also when it exists.
    assert!(cache.cas_root_in_meta(b"x", None, Some(PageId::new(7))).is_ok());
    assert!(matches!(cache.pin().get(reserved), Err(Error::ReservedPageId)));
    assert!(matches!(cache.version(reserved), Err(Error::ReservedPageId)));

    let page = cache.allocate(Bytes(b"a".to_vec())).unwrap();
    for never in [2, 65_535, 65_536, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 40, u64::MAX] {
        let never = PageId::new(never);
        for version in [0, 1, 2, u64::MAX].map(Version::new) {
            assert!(cache.pin().get(never).unwrap().is_none());
            assert_eq!(cache.version(never).unwrap(), None);
            let gone = cache.link(never, version, Bytes(b"back".to_vec())).unwrap();
            assert_eq!(gone, Cas::Gone { fragment: Bytes(b"back".to_vec()) });
            assert!(matches!(cache.replace(never, version, Bytes(vec![])).unwrap(), Cas::Gone { .. }));
            assert!(matches!(cache.free(never, version).unwrap(), Cas::Gone { .. }));
        }
    }
    let version = link(&cache, page.page_id, page.version, b"b");
    for stale in [page.version, Version::new(version.get() + 1), Version::new(u64::MAX)] {
        let changed = cache.replace(page.page_id, stale, Bytes(b"back".to_vec())).unwrap();
        assert_eq!(changed, Cas::Changed { current: version, fragment: Bytes(b"back".to_vec()) });
        assert!(matches!(cache.link(page.page_id, stale, Bytes(vec![])).unwrap(), Cas::Changed { .. }));
        assert!(matches!(cache.free(page.page_id, stale).unwrap(), Cas::Changed { .. }));
    }
    assert!(cache.free(page.page_id, version).unwrap().is_done());
    for version in [page.version, version, Version::new(version.get() + 1)] {
        assert!(matches!(cache.free(page.page_id, version).unwrap(), Cas::Gone { .. }));
        assert!(matches!(cache.link(page.page_id, version, Bytes(vec![])).unwrap(), Cas::Gone { .. }));
    }
    // A token of an earlier life of the id is gone, never changed.
    let again = cache.allocate(Bytes(vec![])).unwrap();
    assert_eq!(again.page_id, page.page_id);
    assert!(again.version > version);
    assert!(matches!(cache.link(page.page_id, version, Bytes(vec![])).unwrap(), Cas::Gone { .. }));
}

/// Refuses some values, each way.
#[derive(Debug)]
struct Picky(u8);

struct PickyCodec;

impl Codec<Picky> for PickyCodec {
    fn encode(fragment: &Picky, into: &mut Vec<u8>) -> Result<(), CodecError> {
        into.push(fragment.0);
        if fragment.0 == 13 { Err("thirteen has no encoded form".into()) } else { Ok(()) }
    }

    fn decode(bytes: &[u8]) -> Result<Picky, CodecError> {
        match bytes {
            [7] => Err("seven can't be decoded".into()),
            [number] => Ok(Picky(*number)),
            _ => Err(CodecError::from("not one byte")),
        }
    }
}

impl Fragment for Picky {
    type Codec = PickyCodec;

    fn merge(oldest_to_newest: &[&Self]) -> Self {
        Self(oldest_to_newest.iter().map(|picky| picky.0).sum())
    }
}

#[test]
fn fragments_that_fail_to_encode_leave_no_trace() {
    let storage = Arc::new(MemoryStorage::new());
    let cache: PageCache<Picky> = tiny(&storage).open().unwrap();
    let page = cache.allocate(Picky(1)).unwrap();
    cache.flush().unwrap();
    let before = cache.stats();
    for _ in 0..200 {
        let Err(error) = cache.allocate(Picky(13)) else { panic!("it was encoded") };
        assert_eq!(error.to_string(), "the fragment cannot be encoded: thirteen has no encoded form");
        assert!(matches!(error, Error::Encode { .. }));
        assert!(matches!(cache.link(page.page_id, page.version, Picky(13)), Err(Error::Encode { .. })));
        assert!(matches!(cache.replace(page.page_id, page.version, Picky(13)), Err(Error::Encode { .. })));
    }
    cache.flush().unwrap();
    let after = cache.stats();
    assert_eq!((after.counts.written_bytes, after.tail_lsn), (before.counts.written_bytes, before.tail_lsn));
    assert_eq!(cache.version(page.page_id).unwrap(), Some(page.version));
    // No id was lost.
    assert_eq!(cache.allocate(Picky(2)).unwrap().page_id.get(), page.page_id.get() + 1);
}

#[test]
fn a_fragment_that_fails_to_decode_is_an_error_of_its_page_only() {
    let storage = Arc::new(MemoryStorage::new());
    let cache: PageCache<Picky> = tiny(&storage).open().unwrap();
    let bad = cache.allocate(Picky(7)).unwrap();
    let good = cache.allocate(Picky(3)).unwrap();
    cache.close().unwrap();
    let cache: PageCache<Picky> = tiny(&storage).open().unwrap();
    let guard = cache.pin();
    let error = guard.get(bad.page_id).unwrap_err();
    println!("{:32} {error}", "a payload that can't be decoded");
    assert!(matches!(error, Error::Decode { page_id, .. } if page_id == bad.page_id));
    assert_eq!(guard.get(good.page_id).unwrap().unwrap().merged().0, 3);
    drop(guard);
    // It can be replaced without being read.
    assert!(cache.replace(bad.page_id, bad.version, Picky(8)).unwrap().is_done());
    assert_eq!(cache.pin().get(bad.page_id).unwrap().unwrap().merged().0, 8);
}

#[test]
fn values_too_large_are_refused_and_the_largest_is_taken() {
    let storage = Arc::new(MemoryStorage::new());
    let limit = 1100;
    let cache = open(tiny(&storage).max_value_size(limit));
    let page = cache.allocate(Bytes(vec![1])).unwrap();
    let Err(Error::ValueTooLarge { maximum, .. }) = cache.allocate(Bytes(vec![0; 2000])) else {
        panic!("it was taken")
    };
    assert_eq!(maximum as u64, limit);
    println!("{:32} {}", "too large", cache.allocate(Bytes(vec![0; 1 << 20])).unwrap_err());
    assert!(matches!(
        cache.link(page.page_id, page.version, Bytes(vec![0; maximum + 1])),
        Err(Error::ValueTooLarge { .. })
    ));
    assert!(matches!(
        cache.replace(page.page_id, page.version, Bytes(vec![0; maximum + 1])),
        Err(Error::ValueTooLarge { .. })
    ));
    assert_eq!(read(&cache, page.page_id).unwrap(), [1]);
    // Every length up to the maximum fits somewhere, whatever was there before.
    let mut pages = Vec::new();
    for length in (0..=maximum).rev() {
        pages.push((cache.allocate(Bytes(vec![3; length])).unwrap().page_id, length));
    }
    cache.close().unwrap();
    let cache = open(tiny(&storage));
    for (page_id, length) in pages {
        assert_eq!(read(&cache, page_id).unwrap(), vec![3; length]);
    }

    let log = Log::open(tiny(&Arc::new(MemoryStorage::new()))).unwrap();
    assert!(matches!(log.reserve(&[0; 1000]), Err(Error::ValueTooLarge { .. })));
    assert!(matches!(log.append(&vec![0; 1 << 27]), Err(Error::ValueTooLarge { .. })));
    log.append(b"fits").unwrap();
    assert_eq!(log.iter_from(log.first_lsn()).unwrap().count(), 1);
}

/// An iteration used to name the beginning of the segment, and no place in the file.
#[test]
fn an_entry_that_has_rotted_is_named_by_whoever_comes_by() {
    let storage = Arc::new(MemoryStorage::new());
    let log = Log::open(tiny(&storage)).unwrap();
    let append = |payload: &[u8]| {
        let entry = log.reserve(payload).unwrap();
        let location = entry.location();
        entry.complete();
        location
    };
    append(b"first");
    let second = append(b"second");
    log.flush().unwrap();
    let file = storage.open("log", Access::Write).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(&mut bytes, 0).unwrap();
    let at = bytes.windows(6).position(|window| window == b"second").unwrap();
    file.write_at(b"Second", at as u64).unwrap();
    let read = log.read(second).map(drop);
    let mut entries = log.iter_from(log.first_lsn()).unwrap();
    assert_eq!(entries.next().unwrap().unwrap().payload, b"first");
    let met = entries.next().unwrap().map(drop);
    let followed = log.follow(second.lsn()).unwrap().next().unwrap().map(drop);
    for found in [read, met, followed] {
        let Err(Error::Corruption(fault)) = found else { panic!("{found:?}") };
        assert_eq!(fault.lsn, Some(second.lsn()));
        assert!(fault.offset.is_some_and(|offset| (at - 60..at).contains(&(offset as usize))), "{fault}");
    }
    assert!(entries.next().is_none(), "an error is the end");
}

#[test]
fn options_out_of_range_are_named_before_anything_is_created() {
    let place = directory();
    let path = place.path().join("store");
    let new = || Config::new(&path);
    let wrong = [
        new().segment_size(0),
        new().segment_size(u32::MAX),
        new().io_buffer_size(0),
        new().io_buffers(0),
        new().io_buffers(u32::MAX),
        new().space_target(f64::INFINITY),
        new().space_target(-1.0),
        new().snapshot_interval(0),
        new().max_chain_length(u32::MAX),
        new().max_chain_ratio(f64::NAN),
        new().read_only(true).temporary(true),
    ];
    for config in wrong {
        let error = config.open::<Bytes>().unwrap_err();
        println!("{error}");
        assert!(matches!(error, Error::InvalidConfig { .. }), "{error:?}");
        assert!(!path.exists());
    }
}

#[test]
fn a_buffer_far_larger_than_memory_is_cut_to_a_segment() {
    let storage = Arc::new(MemoryStorage::new());
    let cache = open(tiny(&storage).io_buffer_size(u32::MAX));
    cache.allocate(Bytes(vec![1; 100])).unwrap();
    assert!(cache.stats().buffer_bytes < 10_000);
    assert!(storage.list().unwrap().len() > 1);
}
