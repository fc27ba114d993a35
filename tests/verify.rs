//! A full check of a running store: a sound one has no faults, and every flipped bit has one that names its
//! place.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use common::{Bytes, Dice, alone, link, open, replace, tiny};
use pagelog::sim::{CallKind, Fault, SimStorage, When};
use pagelog::{
    Cas, Codec, CodecError, Config, Error, Fragment, MemoryStorage, PageCache, Storage, VerifyOptions,
    VerifyReport,
};

const SEGMENT: usize = 1000;

/// A record, as it lies in the log file. Read by this test's own lights.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    at: usize,
    length: usize,
    tag: u8,
    page: u64,
    version: u64,
}

fn varint(bytes: &[u8], at: &mut usize) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let byte = bytes[*at];
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}

/// All records of a log file, the ends of segments included. Ends of segments that were not reached are
/// zeros.
fn records(log: &[u8]) -> Vec<Record> {
    let mut found = Vec::new();
    for (slot, segment) in log.chunks(SEGMENT).enumerate().filter(|(_, segment)| &segment[4..8] == b"PLSG") {
        let mut at = 80;
        while at + 6 <= segment.len() && segment[at + 4] != 0 {
            let (tag, mut inside) = (segment[at + 4], at + 5);
            let body = varint(segment, &mut inside) as usize;
            let end = inside + body;
            let named = (1..=3).contains(&tag);
            let page = if named { varint(segment, &mut inside) } else { u64::MAX };
            let version = if named { varint(segment, &mut inside) } else { 0 };
            found.push(Record { at: slot * SEGMENT + at, length: end - at, tag, page, version });
            at = end;
            if tag == 9 {
                break;
            }
        }
    }
    found
}

/// The places of the records that are live: of each page the newest whole one, and what was linked to that.
fn live(records: &[Record]) -> BTreeSet<usize> {
    let mut bases: BTreeMap<u64, u64> = BTreeMap::new();
    for record in records.iter().filter(|record| matches!(record.tag, 1 | 3)) {
        let base = bases.entry(record.page).or_default();
        *base = (*base).max(record.version);
    }
    let is_live = |record: &&Record| match record.tag {
        1 | 3 => record.version == bases[&record.page],
        2 => record.version > bases[&record.page],
        _ => false,
    };
    records.iter().filter(is_live).map(|record| record.at).collect()
}

/// Pages of all kinds, over several segments, of which none was reused. All of it is written.
fn filled(storage: &Arc<SimStorage>) -> PageCache<Bytes> {
    let cache = open(tiny(storage).garbage_collection(false).snapshots(false).max_chain_ratio(9.0));
    for n in 0..30u8 {
        let page = cache.allocate(Bytes(vec![n; 40])).unwrap();
        let version = link(&cache, page.page_id, page.version, &[n; 9]);
        let version = if n % 3 == 0 { replace(&cache, page.page_id, version, &[n; 30]) } else { version };
        let version = link(&cache, page.page_id, version, &[n; 5]);
        if n % 5 == 4 {
            assert!(cache.free(page.page_id, version).unwrap().is_done());
        }
    }
    assert!(matches!(cache.cas_root_in_meta(b"r", None, None), Ok(pagelog::RootCas::Done { .. })));
    cache.flush().unwrap();
    cache
}

fn log_of(storage: &SimStorage) -> Vec<u8> {
    storage.contents().remove("log").unwrap()
}

fn sound(cache: &PageCache<Bytes>, when: &str) -> VerifyReport {
    let report = cache.verify().unwrap();
    assert!(report.is_sound(), "{when}: {:#?}", report.faults);
    report
}

#[test]
fn a_sound_store_verifies_while_others_write_collect_and_take_snapshots() {
    let _turn = alone();
    let storage = Arc::new(MemoryStorage::new());
    let cache = open(tiny(&storage).space_target(1.05).cache_capacity(2000).max_chain_length(6));
    let pages: Vec<_> = (0..80).map(|_| cache.allocate(Bytes(vec![7; 30])).unwrap().page_id).collect();
    let done = AtomicBool::new(false);
    let (mut checks, mut judged) = (0, 0);
    thread::scope(|scope| {
        for thread in 0..3u64 {
            let (cache, pages, done) = (&cache, &pages, &done);
            scope.spawn(move || {
                let mut dice = Dice::new(thread + 1);
                while !done.load(Ordering::Relaxed) {
                    let page_id = pages[dice.below(80) as usize];
                    let version = cache.version(page_id).unwrap().unwrap();
                    let bytes = Bytes(vec![dice.next() as u8; dice.below(60) as usize]);
                    match dice.below(40) {
                        0..25 => _ = cache.link(page_id, version, bytes).unwrap(),
                        25..34 => _ = cache.replace(page_id, version, bytes).unwrap(),
                        34 => cache.flush().unwrap(),
                        35 => _ = cache.attempt_gc().unwrap(),
                        36 if thread == 0 => cache.snapshot().unwrap(),
                        37 if thread == 1 => {
                            let batch = cache.pin_log().unwrap();
                            let _ = cache.replace(page_id, version, bytes).unwrap();
                            batch.seal_batch().unwrap();
                        }
                        _ => {
                            let page = cache.allocate(bytes).unwrap();
                            assert!(cache.free(page.page_id, page.version).unwrap().is_done());
                        }
                    }
                }
            });
        }
        let enough = |counts: pagelog::Counts| {
            counts.segments_reused > 300 && counts.relocated_records > 300 && counts.snapshots > 10
        };
        while checks < 40 || !enough(cache.stats().counts) {
            let report = cache.verify().unwrap();
            if !report.is_sound() {
                done.store(true, Ordering::Relaxed);
                panic!("check {checks}: {:#?}", report.faults);
            }
            checks += 1;
            judged += report.accounts_checked;
        }
        done.store(true, Ordering::Relaxed);
    });
    let counts = cache.stats().counts;
    assert!(
        counts.segments_reused > 50 && counts.relocated_records > 50 && counts.snapshots > 3,
        "{counts:?}"
    );
    println!("{judged} accounts in {checks} checks, beside {counts:?}");
    cache.flush().unwrap();
    let report = sound(&cache, "at the end");
    assert_eq!(report.live_bytes, cache.stats().live_bytes);
    assert!(report.accounts_checked > 2 && report.has_snapshot, "{report:?}");
}

#[test]
fn the_counts_are_those_of_another_count() {
    let _turn = alone();
    let storage = Arc::new(SimStorage::new(1));
    let cache = filled(&storage);
    let compare = |cache: &PageCache<Bytes>| {
        let report = sound(cache, "a sound store");
        let log = log_of(&storage);
        let all: Vec<Record> = records(&log).into_iter().filter(|record| record.tag != 9).collect();
        let live = live(&all);
        assert_eq!(report.records, all.len() as u64);
        assert_eq!(report.live_records, live.len() as u64);
        assert_eq!(report.dead_records, (all.len() - live.len()) as u64);
        assert_eq!(report.segments as usize, log.chunks(SEGMENT).filter(|s| &s[4..8] == b"PLSG").count());
        assert_eq!(report.live_bytes, cache.stats().live_bytes);
        assert!(report.bytes_read > log.len() as u64 / 2);
        report
    };
    assert!(!compare(&cache).has_snapshot);
    cache.snapshot().unwrap();
    assert!(compare(&cache).has_snapshot);
    // What is not written yet is not checked, and not missed. There is room for it: to make room, a buffer
    // may be written.
    cache.close().unwrap();
    let cache = open(tiny(&storage).garbage_collection(false).snapshots(false).cache_capacity(1 << 20));
    let before = compare(&cache).records;
    cache.allocate(Bytes(vec![1; 9])).unwrap();
    assert_eq!(sound(&cache, "with a record in memory").records, before);
}

#[test]
fn an_empty_store_is_sound() {
    let _turn = alone();
    let cache = open(tiny(&Arc::new(MemoryStorage::new())));
    let report = sound(&cache, "empty");
    assert_eq!((report.segments, report.records, report.has_snapshot), (0, 0, false));
    cache.close().unwrap();
    assert!(matches!(cache.verify(), Err(Error::Closed)));
}

#[test]
fn the_progress_begins_at_nothing_rises_and_ends_with_all() {
    let _turn = alone();
    let cache = filled(&Arc::new(SimStorage::new(1)));
    let mut told = Vec::new();
    let tell = |progress: pagelog::Progress| {
        told.push(progress);
        ControlFlow::Continue(())
    };
    cache.verify_with(VerifyOptions::new(), tell).unwrap();
    assert!(told.len() > 4 && told[0].done == 0, "{told:?}");
    assert!(told.windows(2).all(|pair| pair[0].done <= pair[1].done && pair[0].total == pair[1].total));
    assert_eq!(told.last().unwrap().done, told[0].total);
    let mut steps = 0;
    let stop = |_: pagelog::Progress| {
        steps += 1;
        if steps == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    assert!(matches!(cache.verify_with(VerifyOptions::new(), stop), Err(Error::Cancelled)));
    assert_eq!(steps, 3);
    // Nothing is held any more.
    sound(&cache, "after a check that was cancelled");
}

#[test]
fn every_flipped_bit_of_a_record_or_header_is_found_and_named() {
    let _turn = alone();
    let storage = Arc::new(SimStorage::new(1));
    let cache = filled(&storage);
    cache.snapshot().unwrap();
    sound(&cache, "before");
    let log = log_of(&storage);
    let all = records(&log);
    let live = live(&all);
    let mut dice = Dice::new(5);
    let (mut of_live, mut of_dead, mut of_ends) = (0, 0, 0);
    for record in &all {
        for byte in [0, 4, 5, dice.below(record.length as u64) as usize, record.length - 1] {
            let offset = (record.at + byte.min(record.length - 1)) as u64;
            let bit = dice.below(8) as u8;
            storage.flip_bit("log", offset, bit).unwrap();
            let report = cache.verify().unwrap();
            let fault = report.faults.iter().find(|fault| fault.offset == Some(record.at as u64));
            let fault = fault.unwrap_or_else(|| panic!("byte {byte} of {record:?}: {report:?}"));
            assert!(fault.file.ends_with("log") && fault.lsn.is_some(), "{fault}");
            if live.contains(&record.at) {
                assert_eq!(fault.page_id.map(pagelog::PageId::get), Some(record.page), "{fault}");
                assert_eq!(report.live_records, live.len() as u64 - 1, "byte {byte} of {record:?}");
                of_live += 1;
            } else if record.tag == 9 {
                of_ends += 1;
            } else {
                of_dead += 1;
            }
            assert_eq!(report.faults.len(), 1, "byte {byte} of {record:?}: {:#?}", report.faults);
            storage.flip_bit("log", offset, bit).unwrap();
        }
    }
    assert!(of_live > 200 && of_dead > 100 && of_ends > 10, "{of_live} {of_dead} {of_ends}");
    for slot in 0..log.len() / SEGMENT {
        let start = slot * SEGMENT;
        if &log[start + 4..start + 8] != b"PLSG" {
            continue;
        }
        for byte in 0..80 {
            storage.flip_bit("log", (start + byte) as u64, 3).unwrap();
            let report = cache.verify().unwrap();
            assert_eq!(report.faults.len(), 1);
            assert_eq!(report.faults[0].offset, Some(start as u64));
            storage.flip_bit("log", (start + byte) as u64, 3).unwrap();
        }
    }
    sound(&cache, "afterwards");
}

#[test]
fn every_flipped_bit_of_manifest_and_snapshot_is_found_and_named() {
    let _turn = alone();
    let storage = Arc::new(SimStorage::new(1));
    let cache = filled(&storage);
    cache.snapshot().unwrap();
    let files = storage.contents();
    let snapshot = files.keys().find(|name| name.starts_with("snapshot-")).unwrap().clone();
    for (name, step) in [("MANIFEST", 7), (snapshot.as_str(), 1)] {
        for byte in (0..files[name].len() as u64).step_by(step) {
            storage.flip_bit(name, byte, (byte % 8) as u8).unwrap();
            let report = cache.verify().unwrap();
            let fault =
                report.faults.first().unwrap_or_else(|| panic!("byte {byte} of {name} is not missed"));
            assert!(fault.file.ends_with(name), "{fault}");
            let at = fault.offset.unwrap();
            let near = if name == "MANIFEST" { at <= byte } else { at <= byte && byte < at + 70_000 };
            assert!(near, "byte {byte} of {name}: {fault}");
            storage.flip_bit(name, byte, (byte % 8) as u8).unwrap();
        }
    }
    sound(&cache, "afterwards");
}

#[test]
fn all_damage_is_reported_not_only_the_first() {
    let _turn = alone();
    let storage = Arc::new(SimStorage::new(1));
    let cache = filled(&storage);
    let all = records(&log_of(&storage));
    let hit: Vec<&Record> = all.iter().filter(|record| record.tag != 9).step_by(4).collect();
    for record in &hit {
        storage.flip_bit("log", (record.at + record.length - 1) as u64, 1).unwrap();
    }
    let found: BTreeSet<u64> =
        cache.verify().unwrap().faults.iter().filter_map(|fault| fault.offset).collect();
    assert_eq!(found, hit.iter().map(|record| record.at as u64).collect());
    assert!(found.len() > 20);
    // A whole stretch, and the end of the file.
    let missing =
        all.iter().filter(|record| (2000..2600).contains(&record.at) && live(&all).contains(&record.at));
    (2000..2600).for_each(|at| storage.set_byte("log", at, 0xA5).unwrap());
    let faults = cache.verify().unwrap().faults;
    for record in missing {
        let named = |fault: &pagelog::Corruption| {
            fault.offset == Some(record.at as u64)
                && fault.page_id.map(pagelog::PageId::get) == Some(record.page)
        };
        assert!(faults.iter().any(named), "{record:?} is not among {faults:#?}");
    }
    let file = storage.open("log", pagelog::Access::Write).unwrap();
    file.set_len(1500).unwrap();
    let faults = cache.verify().unwrap().faults;
    assert!(faults.iter().any(|fault| fault.reason.contains("ends before")), "{faults:#?}");
}

#[test]
fn a_read_only_store_is_checked_without_a_write() {
    let _turn = alone();
    let storage = Arc::new(SimStorage::new(3));
    let cache = filled(&storage);
    cache.allocate(Bytes(vec![1; 20])).unwrap();
    for image in [storage.after_kill(), storage.after_power_cut(9)] {
        let image = Arc::new(image);
        let files = image.contents();
        let cache = open(tiny(&image).read_only(true));
        let report = sound(&cache, "read-only");
        assert!(report.live_records > 20 && report.accounts_checked > 3, "{report:?}");
        drop(cache);
        assert_eq!(image.operations(), 0);
        assert_eq!(image.contents(), files);
        // Opened for writing, and closed, it is sound as well; and when it is opened again.
        let cache = open(tiny(&image));
        sound(&cache, "recovered");
        drop(cache);
        sound(&open(tiny(&image)), "opened once more");
    }
}

#[test]
fn a_read_that_fails_ends_the_check_and_harms_nobody() {
    let _turn = alone();
    let storage = Arc::new(SimStorage::new(1));
    let cache = filled(&storage);
    storage.fail_from(When::Kind(CallKind::Read, storage.count(CallKind::Read) + 3), Fault::Error);
    assert!(matches!(cache.verify(), Err(Error::Io { operation: "read", .. })));
    storage.clear_faults();
    cache.allocate(Bytes(vec![1])).unwrap();
    cache.flush().unwrap();
    sound(&cache, "when reads work again");
}

/// Refuses to decode some payloads.
#[derive(Debug)]
struct Picky(Vec<u8>);
struct PickyCodec;

impl Codec<Picky> for PickyCodec {
    fn encode(fragment: &Picky, into: &mut Vec<u8>) -> Result<(), CodecError> {
        into.extend_from_slice(&fragment.0);
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Picky, CodecError> {
        if bytes.first() == Some(&13) { Err("unlucky".into()) } else { Ok(Picky(bytes.to_vec())) }
    }
}

impl Fragment for Picky {
    type Codec = PickyCodec;

    fn merge(_: &[&Self]) -> Self {
        panic!("a check merges nothing")
    }
}

#[test]
fn payloads_are_decoded_only_on_request() {
    let _turn = alone();
    let cache: PageCache<Picky> =
        Config::with_storage(Arc::new(MemoryStorage::new())).segment_size(1000).open().unwrap();
    let page = cache.allocate(Picky(vec![1])).unwrap();
    assert!(matches!(cache.link(page.page_id, page.version, Picky(vec![13])), Ok(Cas::Done { .. })));
    cache.flush().unwrap();
    assert!(cache.verify().unwrap().is_sound());
    let report = cache.verify_with(VerifyOptions::new().decode(true), |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(report.faults.len(), 1);
    assert!(report.faults[0].reason.contains("unlucky") && report.faults[0].page_id == Some(page.page_id));
}
