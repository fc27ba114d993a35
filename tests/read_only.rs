//! Opening read-only: really opens, next to no writer, and does not write a byte.

mod common;

use std::path::Path;
use std::sync::Arc;

use common::{Bytes, alone, contents, link, open, read, replace, tiny};
use pagelog::sim::{CallKind, SimStorage};
use pagelog::{Cas, Config, Error, Log, MemoryStorage, PageCache, PageId, RootCas};

fn config(path: &Path) -> Config {
    Config::new(path).segment_size(1000).io_buffer_size(512).cache_capacity(2000)
}

fn fill(cache: &PageCache<Bytes>) -> Vec<(PageId, Vec<u8>)> {
    let mut pages = Vec::new();
    for n in 0..50u8 {
        let page = cache.allocate(Bytes(vec![n; 70])).unwrap();
        let version = replace(cache, page.page_id, page.version, &[n; 50]);
        link(cache, page.page_id, version, &[n; 7]);
        pages.push((page.page_id, vec![n; 57]));
    }
    assert!(matches!(cache.cas_root_in_meta(b"root", None, Some(pages[3].0)), Ok(RootCas::Done { .. })));
    pages
}

#[test]
fn a_read_only_store_serves_everything_and_the_directory_stays_byte_identical() {
    let _turn = alone();
    let place = tempfile::tempdir().unwrap();
    let cache: PageCache<Bytes> = config(place.path()).open().unwrap();
    let pages = fill(&cache);
    cache.close().unwrap();
    drop(cache);
    let before = contents(place.path());
    // Several at a time.
    let readers: Vec<PageCache<Bytes>> =
        (0..3).map(|_| config(place.path()).read_only(true).open().unwrap()).collect();
    for cache in &readers {
        assert!(cache.was_recovered());
        for (page_id, bytes) in &pages {
            assert_eq!(read(cache, *page_id).unwrap(), *bytes);
        }
        assert_eq!(cache.meta_pid_for_name(b"root").unwrap(), Some(pages[3].0));
        assert!(cache.stats().counts.misses > 0, "nothing was read from the file");
    }
    let cache = &readers[0];
    let version = cache.version(pages[0].0).unwrap().unwrap();
    assert!(matches!(cache.allocate(Bytes(vec![])), Err(Error::ReadOnly)));
    assert!(matches!(cache.link(pages[0].0, version, Bytes(vec![])), Err(Error::ReadOnly)));
    assert!(matches!(cache.replace(pages[0].0, version, Bytes(vec![])), Err(Error::ReadOnly)));
    assert!(matches!(cache.free(pages[0].0, version), Err(Error::ReadOnly)));
    assert!(matches!(cache.pin_log(), Err(Error::ReadOnly)));
    assert!(matches!(cache.generate_id(), Err(Error::ReadOnly)));
    assert!(matches!(cache.cas_root_in_meta(b"root", None, None), Err(Error::ReadOnly)));
    assert!(matches!(cache.attempt_gc(), Err(Error::ReadOnly)));
    assert!(matches!(cache.snapshot(), Err(Error::ReadOnly)));
    assert!(matches!(cache.flush(), Err(Error::ReadOnly)));
    // A writer has to wait for the last reader.
    assert!(matches!(config(place.path()).open::<Bytes>(), Err(Error::Locked { .. })));
    readers.iter().for_each(|cache| cache.close().unwrap());
    drop(readers);
    assert_eq!(contents(place.path()), before);
    config(place.path()).open::<Bytes>().unwrap().close().unwrap();
}

#[test]
fn next_to_a_writer_a_read_only_opening_is_refused() {
    let _turn = alone();
    let place = tempfile::tempdir().unwrap();
    let writer: PageCache<Bytes> = config(place.path()).open().unwrap();
    fill(&writer);
    let Err(error) = config(place.path()).read_only(true).open::<Bytes>() else { panic!("it opened") };
    println!("{}", error.to_string().replace(&place.path().display().to_string(), "DIR"));
    assert!(matches!(error, Error::Locked { .. }));
    writer.close().unwrap();
    drop(config(place.path()).read_only(true).open::<Bytes>().unwrap());
}

#[test]
fn without_a_lock_file_a_store_is_still_readable() {
    let _turn = alone();
    let place = tempfile::tempdir().unwrap();
    let cache: PageCache<Bytes> = config(place.path()).open().unwrap();
    let pages = fill(&cache);
    drop(cache);
    std::fs::remove_file(place.path().join("LOCK")).unwrap();
    let before = contents(place.path());
    let cache: PageCache<Bytes> = config(place.path()).read_only(true).open().unwrap();
    assert_eq!(read(&cache, pages[7].0).unwrap(), pages[7].1);
    drop(cache);
    assert_eq!(contents(place.path()), before);
}

#[test]
fn a_crashed_store_serves_the_prefix_without_being_written() {
    let _turn = alone();
    for seed in 0..40 {
        let storage = Arc::new(SimStorage::new(seed));
        let cache = open(tiny(&storage));
        let stable = fill(&cache);
        cache.flush().unwrap();
        let batch = cache.pin_log().unwrap();
        let torn = cache.allocate(Bytes(b"torn".to_vec())).unwrap();
        for n in 0..30 {
            cache.allocate(Bytes(vec![n; 90])).unwrap();
        }
        let image =
            Arc::new(if seed % 2 == 0 { storage.after_kill() } else { storage.after_power_cut(seed) });
        batch.seal_batch().unwrap();

        let files = image.contents();
        let cache: PageCache<Bytes> = tiny(&image).read_only(true).open().unwrap();
        for (page_id, bytes) in &stable {
            assert_eq!(read(&cache, *page_id).unwrap(), *bytes);
        }
        assert_eq!(read(&cache, torn.page_id), None, "seed {seed}");
        cache.close().unwrap();
        drop(cache);
        assert_eq!(image.operations(), 0, "seed {seed}");
        assert_eq!(image.count(CallKind::Sync), 0);
        assert_eq!(image.contents(), files);
        // Afterwards it opens for writing, and finds the same.
        let cache = open(tiny(&image));
        assert_eq!(read(&cache, stable[9].0).unwrap(), stable[9].1);
        assert_eq!(read(&cache, torn.page_id), None);
    }
}

#[test]
fn a_read_only_log_is_read_and_not_written() {
    let _turn = alone();
    let storage = Arc::new(SimStorage::new(1));
    let log = Log::open(tiny(&storage)).unwrap();
    for n in 0..100u8 {
        log.append(&[n; 40]).unwrap();
    }
    log.truncate_before(log.stable_lsn()).unwrap();
    log.flush().unwrap();
    let expected: Vec<_> = log.iter_from(log.first_lsn()).unwrap().map(Result::unwrap).collect();
    let image = Arc::new(storage.after_kill());
    let log = Log::open(tiny(&image).read_only(true)).unwrap();
    let found: Vec<_> = log.iter_from(log.first_lsn()).unwrap().map(Result::unwrap).collect();
    assert_eq!(found, expected);
    for entry in &found {
        assert_eq!(log.read(entry.location).unwrap().unwrap(), entry.payload);
    }
    assert!(matches!(log.append(b"x"), Err(Error::ReadOnly)));
    assert!(matches!(log.truncate_before(log.stable_lsn()), Err(Error::ReadOnly)));
    assert!(matches!(log.flush(), Err(Error::ReadOnly)));
    log.close().unwrap();
    assert_eq!(image.operations(), 0);
}

#[test]
fn evicted_pages_of_a_read_only_store_come_back() {
    let _turn = alone();
    let storage = Arc::new(MemoryStorage::new());
    let cache = open(tiny(&storage));
    let pages = fill(&cache);
    drop(cache);
    let cache: PageCache<Bytes> = tiny(&storage).cache_capacity(256).read_only(true).open().unwrap();
    for _ in 0..3 {
        for (page_id, bytes) in &pages {
            assert_eq!(read(&cache, *page_id).unwrap(), *bytes);
            let version = cache.version(*page_id).unwrap().unwrap();
            assert!(matches!(
                cache.link(*page_id, version, Bytes(vec![])),
                Err(Error::ReadOnly) | Ok(Cas::Gone { .. })
            ));
        }
    }
    assert!(cache.stats().counts.evictions > 50);
}

/// The manifest still has the claims of the segments that were cut off; only its last entries say that they
/// are over.
#[test]
fn a_store_that_was_killed_after_its_file_was_cut_can_be_read() {
    let _turn = alone();
    let disk = Arc::new(SimStorage::new(7));
    let cache = open(tiny(&disk));
    let pages = fill(&cache);
    let others: Vec<_> = (0..300).map(|_| cache.allocate(Bytes(vec![9; 200])).unwrap()).collect();
    for page in &others {
        assert!(cache.free(page.page_id, page.version).unwrap().is_done());
    }
    cache.flush().unwrap();
    let full = cache.size_on_disk();
    while cache.attempt_gc().unwrap() {
        cache.flush().unwrap();
    }
    assert!(cache.stats().counts.shrinks > 0 && cache.size_on_disk() < full / 3, "{:?}", cache.stats());
    for seed in 0..20 {
        let image = Arc::new(disk.after_power_cut(seed));
        let found: PageCache<Bytes> = tiny(&image).read_only(true).open().unwrap();
        for (page_id, bytes) in &pages {
            assert_eq!(read(&found, *page_id).unwrap(), *bytes);
        }
        assert_eq!(found.version(others[0].page_id).unwrap(), None);
        drop(found);
        assert_eq!(image.operations(), 0);
    }
}
