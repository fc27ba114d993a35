//! Compression: what is written comes back, at every setting, and takes less space.
//!
//! Power cuts and random histories run with compression, too, in a build that has it:
//! `cargo test --features compression`.

#![cfg(feature = "compression")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::ops::ControlFlow;
use std::sync::Arc;

use common::{Bytes, Dice, alone, link, open, read};
use pagelog::sim::{CallKind, Fault, SimStorage, When};
use pagelog::{Config, Error, MemoryStorage, PageCache, PageId, Storage, Version};

fn config(storage: &Arc<MemoryStorage>) -> Config {
    Config::with_storage(Arc::clone(storage) as Arc<dyn Storage>).cache_capacity(64 << 10)
}

fn packed(storage: &Arc<MemoryStorage>) -> Config {
    config(storage).compression(3)
}

/// A row of a table: short, unlike all others, and of the same make.
fn row(number: u64) -> Vec<u8> {
    let mut dice = Dice::new(number + 1);
    let cities = ["Bern", "Oslo", "Porto", "Turku", "Lviv", "Gdansk", "Utrecht", "Cork"];
    let city = cities[dice.below(8) as usize];
    format!("{{\"customer\":{},\"city\":\"{city}\",\"balance\":{},\"open\":true}}", dice.next(), dice.next())
        .into_bytes()
}

fn noise(number: u64, length: usize) -> Vec<u8> {
    let mut dice = Dice::new(number + 1);
    (0..length).map(|_| dice.next() as u8).collect()
}

fn fill(
    cache: &PageCache<Bytes>,
    numbers: std::ops::Range<u64>,
    make: impl Fn(u64) -> Vec<u8>,
) -> Vec<PageId> {
    numbers.map(|number| cache.allocate(Bytes(make(number))).unwrap().page_id).collect()
}

fn check(cache: &PageCache<Bytes>, pages: &[PageId], first: u64, make: impl Fn(u64) -> Vec<u8>) {
    for (number, page_id) in (first..).zip(pages) {
        assert_eq!(read(cache, *page_id).unwrap(), make(number), "page {page_id}");
    }
}

fn live(cache: &PageCache<Bytes>) -> u64 {
    cache.flush().unwrap();
    cache.stats().live_bytes
}

#[test]
fn what_is_written_at_one_setting_is_read_at_every_other() {
    let _turn = alone();
    let storage = Arc::new(MemoryStorage::new());
    let text = |number: u64| row(number).repeat(20);
    let mut all = Vec::new();
    for (turn, level) in [Some(1), None, Some(22), Some(-7)].into_iter().enumerate() {
        let config = config(&storage);
        let cache = open(level.map_or(config.clone(), |level| config.compression(level)));
        let first = turn as u64 * 50;
        all.extend(fill(&cache, first..first + 50, text));
        check(&cache, &all, 0, text);
        assert_eq!(cache.stats().counts.payloads_compressed, if level.is_some() { 50 } else { 0 });
        cache.close().unwrap();
    }
    let cache = open(config(&storage).read_only(true));
    check(&cache, &all, 0, text);
}

#[test]
fn links_are_compressed_and_merged_and_moved_like_others() {
    let _turn = alone();
    let storage = Arc::new(MemoryStorage::new());
    let cache = open(packed(&storage).segment_size(16 << 10).cache_capacity(4 << 10));
    let pages = fill(&cache, 0..40, row);
    let mut expected: Vec<Vec<u8>> = (0..40).map(row).collect();
    let mut versions = vec![Version::default(); 40];
    for round in 0..40u64 {
        for (at, page_id) in pages.iter().enumerate() {
            let more = row(round * 1000 + at as u64).repeat(3);
            versions[at] = cache.version(*page_id).unwrap().unwrap();
            if round % 10 == 9 {
                common::replace(&cache, *page_id, versions[at], &more);
                expected[at] = more;
            } else {
                link(&cache, *page_id, versions[at], &more);
                expected[at].extend(more);
            }
        }
        // Only what is stable can be moved.
        cache.flush().unwrap();
        cache.attempt_gc().unwrap();
    }
    for (page_id, expected) in pages.iter().zip(&expected) {
        assert_eq!(&read(&cache, *page_id).unwrap(), expected);
    }
    let counts = cache.stats().counts;
    assert!(counts.relocated_records > 0 && counts.evictions > 0 && counts.misses > 0, "{counts:?}");
    cache.close().unwrap();
    let cache = open(config(&storage));
    for (page_id, expected) in pages.iter().zip(&expected) {
        assert_eq!(&read(&cache, *page_id).unwrap(), expected);
    }
}

#[test]
fn what_does_not_become_shorter_is_left_alone() {
    let _turn = alone();
    let make = |number| noise(number, 500);
    let sizes = [config, packed].map(|config| {
        let cache = open(config(&Arc::new(MemoryStorage::new())));
        let pages = fill(&cache, 0..200, make);
        let live = live(&cache);
        check(&cache, &pages, 0, make);
        assert_eq!(cache.stats().counts.payloads_compressed, 0);
        live
    });
    assert_eq!(sizes[0], sizes[1]);
    // A thread that has given up on noise comes back to text.
    let cache = open(packed(&Arc::new(MemoryStorage::new())));
    fill(&cache, 0..200, make);
    fill(&cache, 0..200, |number| row(number).repeat(10));
    assert!(cache.stats().counts.payloads_compressed > 150, "{:?}", cache.stats().counts);
}

#[test]
fn a_dictionary_pays_for_short_records_and_older_records_stay_readable() {
    let _turn = alone();
    let storage = Arc::new(MemoryStorage::new());
    let cache = open(packed(&storage));
    assert!(!cache.train_dictionary(4 << 10).unwrap(), "there is nothing to learn from");
    let mut pages = fill(&cache, 0..3000, row);
    let without = live(&cache);
    assert!(cache.train_dictionary(4 << 10).unwrap());
    pages.extend(fill(&cache, 3000..6000, row));
    let with = live(&cache) - without;
    assert!(with * 10 < without * 8, "{with} bytes with a dictionary, {without} without");
    check(&cache, &pages, 0, row);
    // Another one, of other things; both are needed now.
    let other = |number: u64| format!("SELECT name, price FROM item WHERE id = {number}").into_bytes();
    let others = fill(&cache, 0..2000, other);
    assert!(cache.train_dictionary(4 << 10).unwrap());
    let more = fill(&cache, 2000..2500, other);
    cache.close().unwrap();
    for config in [packed(&storage), config(&storage), config(&storage).read_only(true)] {
        let cache = open(config);
        check(&cache, &pages, 0, row);
        check(&cache, &others, 0, other);
        check(&cache, &more, 2000, other);
        cache.close().unwrap();
    }
    let dictionaries = |storage: &MemoryStorage| {
        storage.list().unwrap().into_iter().filter(|name| name.starts_with("dictionary-")).collect::<Vec<_>>()
    };
    assert_eq!(dictionaries(&storage), ["dictionary-001", "dictionary-002"]);
}

/// A store of which some records need dictionary 1, one needs none.
fn with_dictionary(storage: &Arc<MemoryStorage>) -> (PageId, PageId) {
    let cache = open(packed(storage));
    let plain = fill(&cache, 0..2000, row)[0];
    assert!(cache.train_dictionary(4 << 10).unwrap());
    let packed = fill(&cache, 2000..2001, row)[0];
    cache.close().unwrap();
    (plain, packed)
}

fn assert_only_needy_records_fail(storage: &Arc<MemoryStorage>, plain: PageId, needy: PageId) {
    let cache = open(packed(storage));
    assert_eq!(read(&cache, plain).unwrap(), row(0));
    match cache.pin().get(needy).map(drop) {
        Err(Error::Corruption(corruption)) => {
            let text = corruption.to_string();
            assert!(text.contains("needs dictionary 1, which is missing"), "{text}");
            assert_eq!(corruption.page_id, Some(needy));
        }
        other => panic!("{other:?}"),
    }
    // The number is spent.
    assert!(cache.train_dictionary(4 << 10).unwrap());
    assert!(storage.list().unwrap().iter().any(|name| name == "dictionary-002"));
}

#[test]
fn a_damaged_dictionary_costs_the_records_that_need_it_and_no_other() {
    let _turn = alone();
    let storage = Arc::new(MemoryStorage::new());
    let (plain, needy) = with_dictionary(&storage);
    let file = storage.open("dictionary-001", pagelog::Access::Write).unwrap();
    let mut byte = [0];
    file.read_at(&mut byte, 100).unwrap();
    file.write_at(&[byte[0] ^ 1], 100).unwrap();
    {
        // As the manual says: check, and see what is wrong.
        let cache = open(config(&storage));
        let report = cache.verify().unwrap();
        let [fault] = &report.faults[..] else { panic!("{report:?}") };
        assert!(fault.to_string().contains("dictionary-001"), "{fault}");
    }
    assert_only_needy_records_fail(&storage, plain, needy);
}

#[test]
fn a_backup_takes_the_dictionaries_along() {
    let _turn = alone();
    let storage = Arc::new(MemoryStorage::new());
    let cache = open(packed(&storage));
    let mut pages = fill(&cache, 0..600, row);
    assert!(cache.train_dictionary(1024).unwrap());
    pages.extend(fill(&cache, 600..1200, row));
    let target = Arc::new(MemoryStorage::new());
    cache.backup_to_storage(target.clone(), |_| ControlFlow::Continue(())).unwrap();
    let copy = open(config(&target));
    check(&copy, &pages, 0, row);
    assert!(copy.verify().unwrap().is_sound());
}

#[test]
fn a_power_cut_never_leaves_a_record_without_its_dictionary() {
    let _turn = alone();
    let disk = SimStorage::new(1);
    let config = |disk: &SimStorage| Config::with_storage(Arc::new(disk.clone())).compression(3);
    let cache = open(config(&disk).segment_size(16 << 10));
    let mut pages = fill(&cache, 0..600, row);
    cache.flush().unwrap();
    disk.record_history();
    let mut flushed = Vec::new();
    for turn in 1..4 {
        assert!(cache.train_dictionary(1024).unwrap());
        pages.extend(fill(&cache, turn * 600..(turn + 1) * 600, row));
        cache.flush().unwrap();
        flushed.push((disk.operations(), pages.len()));
    }
    assert!(cache.stats().counts.payloads_compressed > 1000, "{:?}", cache.stats().counts);
    let mut images = 0;
    for moment in disk.history().unwrap() {
        for seed in 0..3 {
            let cache = open(config(&disk.image_at(moment, seed).unwrap()));
            // Whatever is there can be read.
            let there =
                pages.iter().take_while(|page_id| cache.version(**page_id).unwrap().is_some()).count();
            check(&cache, &pages[..there], 0, row);
            let acknowledged = flushed.iter().filter(|(at, _)| *at <= moment).map(|(_, count)| *count).max();
            assert!(there >= acknowledged.unwrap_or(600), "{there} pages after operation {moment}");
            images += 1;
        }
    }
    assert!(images > 60, "only {images} images");
}

#[test]
fn a_dictionary_that_could_not_be_made_durable_is_not_used() {
    let _turn = alone();
    for fault in
        [CallKind::Create, CallKind::Write, CallKind::Sync, CallKind::Rename, CallKind::SyncDirectory]
    {
        let disk = SimStorage::new(1);
        let config = |disk: &SimStorage| Config::with_storage(Arc::new(disk.clone())).compression(3);
        let cache = open(config(&disk));
        let mut pages = fill(&cache, 0..600, row);
        cache.flush().unwrap();
        disk.fail_at(When::Kind(fault, disk.count(fault) + 1), Fault::Error);
        assert!(matches!(cache.train_dictionary(1024), Err(Error::Io { .. })), "{fault:?}");
        pages.extend(fill(&cache, 600..1200, row));
        cache.flush().unwrap();
        for seed in 0..8 {
            check(&open(config(&disk.after_power_cut(seed))), &pages, 0, row);
        }
        let again = cache.train_dictionary(1024);
        if fault == CallKind::SyncDirectory {
            // No later success would say that this one's entry is there.
            assert!(again.unwrap_err().to_string().contains("earlier sync of the directory"));
        } else {
            assert!(again.unwrap(), "{fault:?}");
        }
        check(&cache, &fill(&cache, 0..600, row), 0, row);
    }
}

#[test]
fn compression_does_not_let_longer_values_in() {
    let _turn = alone();
    let cache = open(packed(&Arc::new(MemoryStorage::new())).segment_size(4096).max_value_size(4000));
    let longest = (1..4096).rev().find(|length| cache.allocate(Bytes(vec![7; *length])).is_ok()).unwrap();
    assert_eq!(longest, 4000);
    assert!(matches!(cache.allocate(Bytes(vec![7; 5000])), Err(Error::ValueTooLarge { .. })));
}

#[test]
fn the_budget_is_for_pages_as_they_are_in_memory() {
    let _turn = alone();
    let storage = Arc::new(MemoryStorage::new());
    let cache = open(packed(&storage).cache_capacity(8 << 20));
    let pages = fill(&cache, 0..500, |_| vec![0; 4000]);
    assert!(live(&cache) < 100_000);
    assert!(cache.stats().resident_bytes > 2_000_000, "{:?}", cache.stats());
    cache.close().unwrap();
    // As written, so paged in.
    let cache = open(config(&storage).cache_capacity(8 << 20));
    check(&cache, &pages, 0, |_| vec![0; 4000]);
    assert!(cache.stats().resident_bytes > 2_000_000, "{:?}", cache.stats());
}
