//! What an opening with a snapshot does not read of the log: it costs no more for a longer file, and what it
//! does not see is seen later, and never served.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::{Bytes, alone, open, read, replace, tiny};
use pagelog::sim::{CallKind, SimStorage};
use pagelog::{Access, Config, Error, MemoryStorage, PageCache, PageId, Storage};

const SEGMENT: u64 = 1000;
/// Where a segment's header says which segment it is, and which head has filled it.
const SEGMENT_AT: usize = 24;
const HEAD_AT: usize = 44;

type Pages = BTreeMap<PageId, Vec<u8>>;

fn config(disk: &Arc<SimStorage>) -> Config {
    tiny(disk).garbage_collection(false).snapshots(false)
}

/// A disk after a kill: segments of several heads that a snapshot knows, and a short log behind it.
fn killed(pages: u64) -> (SimStorage, Pages) {
    let disk = Arc::new(SimStorage::new(pages));
    let cache = open(config(&disk));
    let mut all: Vec<_> =
        (0..pages).map(|number| cache.allocate(Bytes(number.to_le_bytes().repeat(8))).unwrap()).collect();
    // A third of each segment dies. What is emptied by cleaning is used again.
    for (number, page) in all.iter_mut().enumerate().step_by(3) {
        page.version = replace(&cache, page.page_id, page.version, &[number as u8; 64]);
    }
    // Only what is stable can be cleaned.
    cache.flush().unwrap();
    for _ in 0..pages / 20 {
        assert!(cache.attempt_gc().unwrap(), "there is something to clean");
        cache.flush().unwrap();
    }
    (0..20).for_each(|_| all.push(cache.allocate(Bytes(vec![8; 64])).unwrap()));
    cache.flush().unwrap();
    cache.snapshot().unwrap();
    (0..3).for_each(|_| all.push(cache.allocate(Bytes(vec![9; 64])).unwrap()));
    cache.flush().unwrap();
    let content = |page: PageId| (page, read(&cache, page).unwrap());
    let expected = all.iter().map(|page| content(page.page_id)).collect();
    let image = disk.after_kill();
    disk.cut_power();
    (image, expected)
}

fn opened(image: &SimStorage) -> Result<(PageCache<Bytes>, Arc<SimStorage>), Error> {
    let disk = Arc::new(image.fork());
    Ok((config(&disk).open()?, disk))
}

/// The slots whose header says that they are of that head, with their segments, the oldest first.
fn segments_of(image: &SimStorage, head: u8) -> Vec<(u64, u64)> {
    let log = image.contents().remove("log").unwrap();
    let slots = (0..).zip(log.chunks(SEGMENT as usize));
    let of_head = slots.filter(|(_, slot)| slot[4..8] == *b"PLSG" && slot[HEAD_AT] == head);
    let segment = |slot: &[u8]| u64::from_le_bytes(*slot[SEGMENT_AT..].first_chunk().unwrap());
    let mut segments: Vec<_> = of_head.map(|(slot, bytes)| (segment(bytes), slot)).collect();
    segments.sort_unstable();
    segments
}

#[test]
fn what_is_read_does_not_depend_on_the_length_of_the_file() {
    let _turn = alone();
    let reads = |pages| {
        let (image, expected) = killed(pages);
        assert!([0, 1].iter().all(|head| segments_of(&image, *head).len() as u64 > pages / 100));
        let disk = Arc::new(image);
        let manifest = disk.contents()["MANIFEST"].len() as u64;
        disk.log_calls();
        let cache = open(config(&disk));
        let calls = disk.take_calls();
        for (page, content) in &expected {
            assert_eq!(read(&cache, *page).as_ref(), Some(content), "{page:?}");
        }
        let of = |file: &str| {
            let of_file = calls.iter().filter(|call| call.kind == CallKind::Read && call.file == file);
            of_file.map(|call| call.length).collect::<Vec<u64>>()
        };
        // Its first entry is looked at before the lock is taken, and again when it is.
        assert_eq!(of("MANIFEST").iter().sum::<u64>(), manifest + 2 * 1024);
        of("log").len()
    };
    // With more slots, more segments are claimed ahead: up to eight for each head.
    let (few, many) = (reads(400), reads(6000));
    assert!(few <= 10 && many <= few + 16, "{few} reads, and {many} in a file fifteen times as long");
}

#[test]
fn a_damaged_header_is_no_obstacle_and_found_by_a_check_and_a_backup() {
    let _turn = alone();
    let (image, expected) = killed(600);
    let (mut refused, mut found) = (Vec::new(), 0);
    for (head, (_, slot)) in
        [0, 1].iter().flat_map(|head| segments_of(&image, *head).into_iter().map(move |at| (*head, at)))
    {
        let damaged = image.fork();
        damaged.flip_bit("log", slot * SEGMENT + slot % 80, 0).unwrap();
        let (cache, disk) = match opened(&damaged) {
            Ok(opened) => opened,
            Err(Error::Corruption(_)) => {
                refused.push((head, slot));
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        for (page, content) in &expected {
            assert_eq!(read(&cache, *page).as_ref(), Some(content), "{page:?}");
        }
        let faults = cache.verify().unwrap().faults;
        let copied =
            cache.backup_to_storage(Arc::new(MemoryStorage::new()), |_| std::ops::ControlFlow::Continue(()));
        // Else nothing lives in it any more.
        if let Some(fault) = faults.first() {
            assert_eq!((faults.len(), fault.offset), (1, Some(slot * SEGMENT)), "{faults:?}");
            assert!(matches!(copied, Err(Error::Corruption(_))), "{copied:?}");
            found += 1;
        } else {
            copied.unwrap();
        }
        disk.cut_power();
    }
    assert!(found > 40, "{found}");
    // Of each head the segment that the snapshot begins in, and the one before that.
    let newest =
        |head| segments_of(&image, head).into_iter().rev().take(2).map(move |(_, slot)| (head, slot));
    let mut expected: Vec<_> = newest(0).chain(newest(1)).collect();
    expected.sort_unstable();
    refused.sort_unstable();
    assert_eq!(refused, expected);
}

#[test]
fn a_known_segment_of_another_life_is_not_served() {
    let _turn = alone();
    let (image, expected) = killed(600);
    let segments = segments_of(&image, 0);
    let log = image.contents().remove("log").unwrap();
    let copy = |from: u64, to: u64| {
        let at = |slot: u64| (slot * SEGMENT) as usize..((slot + 1) * SEGMENT) as usize;
        (to * SEGMENT..)
            .zip(&log[at(from)])
            .for_each(|(offset, byte)| image.set_byte("log", offset, *byte).unwrap());
    };
    // One that is whole and valid, but not the one that should be there.
    let (wrong, there) = (segments[segments.len() / 2].1, segments[segments.len() / 2 + 1].1);
    copy(wrong, there);
    let (cache, disk) = opened(&image).unwrap();
    let mut missing = 0;
    for (page, content) in &expected {
        match cache.pin().get(*page) {
            Ok(page) => assert_eq!(&page.unwrap().merged().0, content),
            Err(Error::Corruption(_)) => missing += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!((3..20).contains(&missing), "{missing}");
    assert!(cache.verify().unwrap().faults.len() >= missing);
    disk.cut_power();
}

#[test]
fn a_file_that_was_cut_among_known_segments_is_not_opened() {
    let _turn = alone();
    let (image, _) = killed(600);
    let newest: Vec<u64> = [0, 1]
        .iter()
        .flat_map(|head| segments_of(&image, *head).into_iter().rev().take(2))
        .map(|at| at.1)
        .collect();
    let length = image.contents()["log"].len() as u64;
    let cut = |length: u64| {
        let shorter = image.fork();
        shorter.open("log", Access::Write).unwrap().set_len(length).unwrap();
        opened(&shorter).map(|(_, disk)| disk.cut_power())
    };
    cut(length).unwrap();
    // Within the highest segment with live records, and before it, and then some.
    let live = segments_of(&image, 0).into_iter().chain(segments_of(&image, 1));
    let highest = live.map(|(_, slot)| slot).max().unwrap();
    assert!(newest.iter().all(|slot| *slot < highest), "the cut takes what is looked at anyway");
    for length in [highest * SEGMENT + 500, highest * SEGMENT, (highest - 3) * SEGMENT] {
        let opened = cut(length);
        assert!(matches!(opened, Err(Error::Corruption(_))), "{length}: {opened:?}");
    }
}
