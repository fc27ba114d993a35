//! The rules by which a reading without opening tells what counts: where the log ends, what is proven, which
//! copy is meant, what is void. For each a store in which it alone decides.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use pagelog::inspect::{Inspection, Lane, RecordInfo, RecordState, RecordType, SegmentState, Survey};
use pagelog::sim::SimStorage;
use pagelog::{Access, Config, PageCache, Storage};

use super::reading::{inspect, survey};
use crate::common::{Bytes, alone, link, open, replace, tiny};

/// Nothing is done but what is asked for.
fn quiet(disk: &Arc<SimStorage>) -> Config {
    tiny(disk).garbage_collection(false).snapshots(false)
}

/// The records of all segments, and bytes of each that are damaged, by LSN.
pub fn records(inspection: &Inspection, survey: &Survey) -> Vec<RecordInfo> {
    let mut all = Vec::new();
    for segment in &survey.segments {
        let visited = inspection.records(survey, segment, |record, _| {
            all.push(record.clone());
            ControlFlow::Continue(())
        });
        assert!(visited.unwrap().is_continue());
    }
    all.sort_by_key(|record| record.lsn);
    all
}

fn of_disk(disk: &Arc<SimStorage>) -> (Survey, Vec<RecordInfo>) {
    let inspection = inspect(disk).unwrap();
    let found = survey(&inspection);
    let records = records(&inspection, &found);
    (found, records)
}

/// As if the process had been killed: a close says what is stable.
fn killed(disk: &SimStorage, cache: PageCache<Bytes>) -> Arc<SimStorage> {
    let killed = Arc::new(disk.after_kill());
    drop(cache);
    killed
}

/// What opening finds: how many pages, and how many bytes are live.
fn opened(disk: &Arc<SimStorage>) -> (u64, u64) {
    let cache = open(tiny(disk).read_only(true));
    let stats = cache.stats();
    (stats.page_ids - stats.free_page_ids, stats.live_bytes)
}

/// The last record of that kind.
fn last(records: &[RecordInfo], kind: RecordType) -> RecordInfo {
    records.iter().rfind(|record| record.kind == kind).expect("there is one").clone()
}

/// Writes numbers into both copies of the manifest's first entry and seals them again, as `docs/format.md`
/// says.
fn write_head(disk: &SimStorage, at: usize, numbers: &[u64]) {
    let manifest = disk.contents().remove("MANIFEST").unwrap();
    let file = disk.open("MANIFEST", Access::Write).unwrap();
    for copy in [0, 512] {
        let mut entry = manifest[copy..copy + 512].to_vec();
        let body = 35 + at;
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        entry[body..body + bytes.len()].copy_from_slice(&bytes);
        let sum = crc32fast::hash(&entry[4..]);
        entry[..4].copy_from_slice(&sum.to_le_bytes());
        file.write_at(&entry, copy as u64).unwrap();
    }
}

#[test]
fn records_at_or_below_the_version_floor_are_void_from_the_page_on_that_it_names() {
    let _turn = alone();
    let disk = Arc::new(SimStorage::new(1));
    let cache = open(quiet(&disk));
    for n in 0..20u8 {
        let page = cache.allocate(Bytes(vec![n; 30])).unwrap();
        if n >= 18 {
            replace(&cache, page.page_id, page.version, &[n; 20]);
        }
    }
    cache.close().unwrap();
    drop(cache);
    assert_eq!((opened(&disk).0, of_disk(&disk).0.pages), (20, 20));
    // Pages 1 to 14, and of 19 and 20 what came after the floor.
    write_head(&disk, 26, &[15, 1]);
    let (found, _) = of_disk(&disk);
    assert!(found.faults.is_empty(), "{:?}", found.faults);
    assert_eq!(found.pages, 16);
    assert_eq!(found.live_bytes, opened(&disk).1);
}

#[test]
fn a_log_that_was_cut_between_two_records_is_damaged_there() {
    let _turn = alone();
    let disk = Arc::new(SimStorage::new(2));
    let cache = open(quiet(&disk));
    for n in 0..8u8 {
        cache.allocate(Bytes(vec![n; 40])).unwrap();
    }
    cache.flush().unwrap();
    cache.allocate(Bytes(vec![9; 40])).unwrap();
    cache.flush().unwrap();
    let disk = killed(&disk, cache);
    let (found, all) = of_disk(&disk);
    assert!(found.faults.is_empty() && all.iter().all(|record| record.segment == 1), "{found:?}");
    // Everything up to the last mark is proven, and the file ends with a record before that.
    let third = all.iter().filter(|record| record.kind == RecordType::Replace).nth(2).unwrap();
    let end = third.file_offset + u64::from(third.length);
    let file = disk.open("log", Access::Write).unwrap();
    let behind: Vec<u8> = disk.contents().remove("log").unwrap().split_off(end as usize);
    file.set_len(end).unwrap();
    // No mark is left that says so; the manifest does, once the store was opened.
    let (short, _) = of_disk(&disk);
    assert!(short.faults.is_empty(), "nothing proves that there was more: {:?}", short.faults);
    file.write_at(&behind, end).unwrap();
    drop(open(quiet(&disk)));
    file.set_len(end).unwrap();
    let (short, left) = of_disk(&disk);
    let [fault] = &short.faults[..] else { panic!("{:?}", short.faults) };
    assert_eq!((fault.offset, fault.reason.as_str()), (Some(end), "the file ends before a segment does"));
    assert_eq!(left.iter().filter(|record| record.kind == RecordType::Replace).count(), 3);
}

#[test]
fn what_lies_behind_the_cut_of_a_recovery_is_not_there() {
    let _turn = alone();
    let disk = Arc::new(SimStorage::new(3));
    let cache = open(quiet(&disk));
    let page = cache.allocate(Bytes(b"kept".to_vec())).unwrap();
    cache.flush().unwrap();
    let version = link(&cache, page.page_id, page.version, b"torn");
    link(&cache, page.page_id, version, b"behind it");
    cache.allocate(Bytes(b"as well".to_vec())).unwrap();
    cache.flush().unwrap();
    let disk = killed(&disk, cache);
    let (_, all) = of_disk(&disk);
    let torn = all.iter().find(|record| record.kind == RecordType::Link).unwrap();
    disk.flip_bit("log", torn.file_offset + 9, 3).unwrap();
    // It cuts the segment before that record, and those behind stay where they are.
    drop(open(quiet(&disk)));
    assert!(disk.contents()["log"].windows(9).any(|window| window == b"behind it"));
    let (found, left) = of_disk(&disk);
    assert!(found.faults.is_empty(), "{:?}", found.faults);
    assert!(left.iter().all(|record| record.lsn < torn.lsn), "{left:?}");
    assert_eq!((found.pages, found.live_bytes), opened(&disk));
    assert_eq!((found.pages, found.live_records), (1, 1));
}

#[test]
fn a_damaged_copy_of_the_manifest_is_found_although_the_store_does_not_open() {
    let _turn = alone();
    let disk = super::reading::proven(7);
    let (_, all) = of_disk(&disk);
    let live = all.iter().find(|record| record.state == RecordState::Live).unwrap();
    disk.flip_bit("log", live.file_offset + 3, 1).unwrap();
    assert!(tiny(&disk).open::<Bytes>().is_err());
    for (copy, at) in [(0, 100), (512, 700)] {
        disk.flip_bit("MANIFEST", at, 1).unwrap();
        let report = inspect(&disk).unwrap().check(|_| ControlFlow::Continue(())).unwrap();
        let of_manifest: Vec<_> =
            report.faults.iter().filter(|fault| fault.file.ends_with("MANIFEST")).collect();
        let [fault] = &of_manifest[..] else { panic!("{:?}", report.faults) };
        assert!(fault.offset == Some(copy) && fault.reason.contains("one of two copies"), "{fault}");
        assert!(report.faults.iter().any(|fault| fault.offset == Some(live.file_offset)));
        disk.flip_bit("MANIFEST", at, 1).unwrap();
    }
}

#[test]
fn the_figures_of_a_segment_end_where_the_log_ends_in_it() {
    let _turn = alone();
    let disk = Arc::new(SimStorage::new(4));
    let cache = open(quiet(&disk));
    for n in 0..3u8 {
        cache.allocate(Bytes(vec![n; 30])).unwrap();
    }
    cache.flush().unwrap();
    let batch = cache.pin_log().unwrap();
    for n in 0..3u8 {
        cache.allocate(Bytes(vec![n; 30])).unwrap();
    }
    // Buffers are written when they are full; nobody says that it is stable, for the batch is open.
    while disk.contents()["log"].windows(30).filter(|window| *window == [2; 30]).count() < 2 {
        cache.allocate(Bytes(vec![9; 30])).unwrap();
    }
    let disk = Arc::new(disk.after_kill());
    drop(batch);
    drop(cache);
    let (found, all) = of_disk(&disk);
    let begin = last(&all, RecordType::BatchBegin);
    let segment = found.segments.iter().find(|segment| segment.segment == begin.segment).unwrap();
    assert_eq!(segment.written, (begin.lsn.get() - segment.base.get()) as u32);
    let before = all.iter().filter(|record| record.lsn < begin.lsn && record.segment == begin.segment);
    assert_eq!(segment.records, before.count() as u64);
    assert_eq!(segment.state, SegmentState::Active);
    assert_eq!(found.tail, begin.lsn);
    assert!(all.iter().any(|record| record.lsn > begin.lsn && record.state == RecordState::Void));
    assert_eq!((found.pages, found.live_bytes), opened(&disk));
}

#[test]
fn a_mark_alone_proves_what_was_flushed_before_it() {
    let _turn = alone();
    let disk = Arc::new(SimStorage::new(5));
    let cache = open(quiet(&disk));
    cache.allocate(Bytes(vec![1; 40])).unwrap();
    cache.flush().unwrap();
    cache.allocate(Bytes(vec![2; 40])).unwrap();
    cache.flush().unwrap();
    let disk = killed(&disk, cache);
    let (found, all) = of_disk(&disk);
    assert!(found.faults.is_empty() && all.iter().all(|record| record.segment == 1), "{found:?}");
    let replaced: Vec<_> = all.iter().filter(|record| record.kind == RecordType::Replace).collect();
    let [first, second] = &replaced[..] else { panic!("{all:?}") };
    // Of the first one the mark behind it says that it was stable; of the second one nobody does.
    disk.flip_bit("log", first.file_offset + 10, 0).unwrap();
    let (found, _) = of_disk(&disk);
    assert_eq!(found.faults.iter().map(|fault| fault.offset).collect::<Vec<_>>(), [Some(first.file_offset)]);
    disk.flip_bit("log", first.file_offset + 10, 0).unwrap();
    disk.flip_bit("log", second.file_offset + 10, 0).unwrap();
    let (found, _) = of_disk(&disk);
    assert!(found.faults.is_empty() && found.pages == 1, "{found:?}");
}

#[test]
fn of_two_copies_of_a_record_the_moved_one_is_live() {
    let _turn = alone();
    let disk = Arc::new(SimStorage::new(6));
    let cache = open(quiet(&disk).space_target(1.2).max_chain_ratio(100.0).max_chain_length(50));
    let mut rest = Vec::new();
    for n in 0..60u8 {
        let page = cache.allocate(Bytes(vec![n; 60])).unwrap();
        let version = link(&cache, page.page_id, page.version, &[n; 40]);
        if !n.is_multiple_of(6) {
            rest.push((page.page_id, version));
        }
    }
    for (page_id, version) in rest {
        assert!(cache.free(page_id, version).unwrap().is_done());
    }
    cache.flush().unwrap();
    while cache.attempt_gc().unwrap() {}
    assert!(cache.stats().counts.relocated_records > 10);
    cache.flush().unwrap();
    let disk = Arc::new(disk.after_kill());
    drop(cache);
    let (found, all) = of_disk(&disk);
    let lanes: BTreeMap<u64, Option<Lane>> =
        found.segments.iter().map(|segment| (segment.segment, segment.lane)).collect();
    let mut copies: BTreeMap<_, Vec<&RecordInfo>> = BTreeMap::new();
    for record in all.iter().filter(|record| record.page_id.is_some()) {
        copies.entry((record.page_id, record.version)).or_default().push(record);
    }
    let mut moved = BTreeMap::new();
    for copies in copies.into_values().filter(|copies| copies.len() > 1) {
        let live: Vec<_> = copies.iter().filter(|copy| copy.state == RecordState::Live).collect();
        if let [live] = live[..] {
            assert_eq!(lanes[&live.segment], Some(Lane::Relocated), "{copies:?}");
            *moved.entry(live.kind).or_insert(0) += 1;
        }
    }
    // Of whole pages, and of links.
    assert!(moved[&RecordType::Replace] > 1 && moved[&RecordType::Link] > 1, "{moved:?}");
    assert_eq!(found.live_bytes, opened(&disk).1);
}
