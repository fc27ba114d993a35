//! What was acknowledged is *proven*, in more than one place, so that damage to it is never taken for the
//! torn end of a log.
//!
//! A record that was flushed last has no mark behind it: if it rots, it can't be told from a write that a
//! power cut tore. But as soon as anything else says that it was stable, a claim, a release, a truncation, a
//! close, a manifest written anew, its loss is an error. Each test here leaves one such statement, and
//! damages the record.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::sync::Arc;

use common::{Bytes, open, replace, tiny};
use pagelog::sim::{CallKind, SimStorage};
use pagelog::{Error, Log, PageCache, PageId, Version};

/// Contents that are nowhere else.
fn unique(number: u32) -> Vec<u8> {
    [&b"<unique "[..], &number.to_be_bytes(), b" contents>"].concat()
}

/// The last place in a file where the bytes are.
fn place_of(disk: &SimStorage, file: &str, bytes: &[u8]) -> u64 {
    let contents = disk.contents().remove(file).unwrap();
    contents.windows(bytes.len()).rposition(|window| window == bytes).unwrap() as u64
}

fn rot(disk: &SimStorage, bytes: &[u8]) {
    disk.flip_bit("log", place_of(disk, "log", bytes) + 3, 0).unwrap();
}

/// After a power cut, whatever it leaves, the damage to a stable record is seen.
fn damage_is_seen(disk: &SimStorage, stable: &[u8], opens: impl Fn(SimStorage) -> Result<(), Error>) {
    for seed in 0..20 {
        let image = disk.after_power_cut(seed);
        opens(image.fork()).unwrap_or_else(|error| panic!("seed {seed}: a sound store: {error}"));
        rot(&image, stable);
        let opened = opens(image);
        assert!(matches!(opened, Err(Error::Corruption(_))), "seed {seed}: {opened:?}");
    }
}

fn opens_as_pages(disk: SimStorage) -> Result<(), Error> {
    let disk = Arc::new(disk);
    let cache: PageCache<Bytes> = tiny(&disk).open()?;
    disk.cut_power();
    drop(cache);
    Ok(())
}

fn opens_as_log(disk: SimStorage) -> Result<(), Error> {
    let disk = Arc::new(disk);
    let log = Log::open(tiny(&disk))?;
    disk.cut_power();
    drop(log);
    Ok(())
}

/// A page whose contents are replaced and flushed over and over.
struct Marker<'a> {
    cache: &'a PageCache<Bytes>,
    page_id: PageId,
    version: Version,
    number: u32,
}

impl<'a> Marker<'a> {
    fn new(cache: &'a PageCache<Bytes>) -> Self {
        let page = cache.allocate(Bytes(unique(0))).unwrap();
        Self { cache, page_id: page.page_id, version: page.version, number: 0 }
    }

    /// Makes new contents stable.
    fn flush(&mut self) -> Vec<u8> {
        self.number += 1;
        let contents = unique(self.number);
        self.version = replace(self.cache, self.page_id, self.version, &contents);
        self.cache.flush().unwrap();
        contents
    }
}

#[test]
fn a_release_proves_what_was_flushed_before_it() {
    let disk = Arc::new(SimStorage::new(1));
    let cache = open(tiny(&disk).garbage_collection(false).snapshots(false));
    let mut marker = Marker::new(&cache);
    let pages: Vec<_> = (0..200).map(|_| cache.allocate(Bytes(vec![7; 100])).unwrap()).collect();
    for page in pages {
        assert!(cache.free(page.page_id, page.version).unwrap().is_done());
    }
    let stable = loop {
        let stable = marker.flush();
        let before = cache.stats().counts.shrinks;
        assert!(cache.attempt_gc().unwrap(), "nothing was cut off");
        if cache.stats().counts.shrinks > before {
            break stable;
        }
    };
    damage_is_seen(&disk, &stable, opens_as_pages);
    disk.cut_power();
}

/// Makes contents stable in a new store, then does `proves` to it: after that, damage to them is seen.
fn proven_by(seed: u64, proves: impl Fn(&SimStorage, &PageCache<Bytes>, &mut Marker<'_>)) {
    let disk = Arc::new(SimStorage::new(seed));
    let cache = open(tiny(&disk).snapshots(false));
    let mut marker = Marker::new(&cache);
    let stable = marker.flush();
    proves(&disk, &cache, &mut marker);
    damage_is_seen(&disk, &stable, opens_as_pages);
    disk.cut_power();
}

/// Up to the next claim, and no further: what is written meanwhile is lost, with its marks, in some of the
/// images.
fn fill_a_segment(cache: &PageCache<Bytes>) {
    let opened = cache.stats().counts.segments_opened;
    while cache.stats().counts.segments_opened == opened {
        cache.allocate(Bytes(vec![7; 60])).unwrap();
    }
}

/// A flush whose mark is in the segment that is being filled: no claim says the same.
fn flush_without_a_claim(cache: &PageCache<Bytes>, marker: &mut Marker<'_>) {
    let opened = cache.stats().counts.segments_opened;
    marker.flush();
    assert_eq!(cache.stats().counts.segments_opened, opened, "the mark alone is to prove it");
}

#[test]
fn a_claim_proves_what_was_flushed_before_it() {
    proven_by(2, |_, cache, _| fill_a_segment(cache));
}

#[test]
fn a_manifest_that_is_written_anew_proves_what_the_old_one_did() {
    proven_by(3, |disk, cache, _| {
        fill_a_segment(cache);
        let renames = disk.count(CallKind::Rename);
        while disk.count(CallKind::Rename) == renames {
            cache.generate_id().unwrap();
        }
    });
}

#[test]
fn a_mark_proves_what_was_flushed_before_it() {
    proven_by(7, |_, cache, marker| flush_without_a_claim(cache, marker));
}

/// Where contents lie in a segment that garbage collection has filled.
fn place_of_copy(disk: &SimStorage, bytes: &[u8]) -> Option<u64> {
    let log = disk.contents().remove("log").unwrap();
    // A segment's header says which head has filled it.
    let is_copied = |at: &usize| log[*at..].starts_with(bytes) && log[at / 1000 * 1000 + 44] == 1;
    (0..log.len() - bytes.len()).rfind(is_copied).map(|at| at as u64)
}

#[test]
fn a_mark_in_one_head_proves_the_other() {
    let disk = Arc::new(SimStorage::new(8));
    let cache = open(tiny(&disk).garbage_collection(false).snapshots(false).io_buffer_size(4096));
    let mut pages: Vec<_> =
        (0..40u32).map(|n| (n, cache.allocate(Bytes(unique(1000 + n))).unwrap())).collect();
    let mut marker = Marker::new(&cache);
    pages.retain(|(n, page)| {
        if n % 3 > 0 {
            replace(&cache, page.page_id, page.version, b"superseded");
        }
        n % 3 == 0
    });
    marker.flush();
    let copied = loop {
        assert!(cache.attempt_gc().unwrap(), "something is to be moved");
        let mut moved = pages.iter().rev().map(|(n, _)| unique(1000 + n));
        if let Some(moved) = moved.find(|bytes| place_of_copy(&disk, bytes).is_some()) {
            break moved;
        }
    };
    // One makes the copies stable, the next one says so.
    marker.flush();
    flush_without_a_claim(&cache, &mut marker);
    let image = disk.after_kill();
    disk.cut_power();
    opens_as_pages(image.fork()).unwrap();
    image.flip_bit("log", place_of_copy(&image, &copied).unwrap() + 3, 0).unwrap();
    let opened = opens_as_pages(image);
    assert!(matches!(opened, Err(Error::Corruption(_))), "{opened:?}");
}

#[test]
fn an_opening_proves_what_it_found() {
    let disk = Arc::new(SimStorage::new(4));
    let cache = open(tiny(&disk).snapshots(false));
    let stable = Marker::new(&cache).flush();
    disk.cut_power();
    drop(cache);
    let disk = Arc::new(disk.after_power_cut(1));
    let cache = open(tiny(&disk));
    damage_is_seen(&disk, &stable, opens_as_pages);
    disk.cut_power();
    drop(cache);
}

#[test]
fn a_truncation_proves_what_was_flushed_before_it() {
    let disk = Arc::new(SimStorage::new(5));
    let log = Log::open(tiny(&disk)).unwrap();
    let lsns: Vec<_> = (0..20).map(|_| log.append(&[7; 60]).unwrap()).collect();
    let stable = unique(1);
    log.append(&stable).unwrap();
    log.flush().unwrap();
    log.truncate_before(lsns[3]).unwrap();
    assert_eq!(log.counts().shrinks, 0, "the truncation alone is to prove it");
    damage_is_seen(&disk, &stable, opens_as_log);
    disk.cut_power();
}

#[test]
fn a_header_of_another_segment_is_damage() {
    let disk = Arc::new(SimStorage::new(6));
    let cache = open(tiny(&disk).snapshots(false));
    (0..60).for_each(|_| _ = cache.allocate(Bytes(vec![7; 60])).unwrap());
    cache.flush().unwrap();
    // With a mark that says so.
    cache.allocate(Bytes(vec![7; 60])).unwrap();
    cache.flush().unwrap();
    disk.cut_power();
    drop(cache);
    let image = disk.after_power_cut(1);
    opens_as_pages(image.fork()).unwrap();
    let log = image.contents().remove("log").unwrap();
    // The header of the second slot in the third, whole and valid.
    for (offset, byte) in (2000..).zip(&log[1000..1080]) {
        image.set_byte("log", offset, *byte).unwrap();
    }
    let opened = opens_as_pages(image);
    assert!(
        matches!(&opened, Err(Error::Corruption(found)) if found.to_string().contains("another segment")),
        "{opened:?}"
    );
}

/// A store that had been closed used to be proven no further than its last claim said, unless it had written
/// a snapshot: what was flushed last could rot, and the opening, and `verify`, called the rest sound.
#[test]
fn a_close_proves_all_that_was_written() {
    for number in [0, 2, 4] {
        let disk = Arc::new(SimStorage::new(5));
        let log = Log::open(tiny(&disk)).unwrap();
        (0..5).for_each(|number| _ = log.append(&unique(number)).unwrap());
        log.close().unwrap();
        damage_is_seen(&disk, &unique(number), opens_as_log);

        let disk = Arc::new(SimStorage::new(6));
        let cache: PageCache<Bytes> = tiny(&disk).snapshots(false).open().unwrap();
        (0..5).for_each(|number| _ = cache.allocate(Bytes(unique(number))).unwrap());
        cache.close().unwrap();
        damage_is_seen(&disk, &unique(number), opens_as_pages);
    }
}

#[test]
fn a_close_writes_nothing_more_if_nothing_was_written() {
    let disk = Arc::new(SimStorage::new(7));
    let log = Log::open(tiny(&disk)).unwrap();
    log.append(b"one").unwrap();
    log.close().unwrap();
    let log = Log::open(tiny(&disk)).unwrap();
    let before = disk.contents();
    log.close().unwrap();
    assert!(disk.contents() == before);
}
