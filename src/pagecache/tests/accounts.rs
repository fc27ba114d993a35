//! The segments' accounts against a recount, segment by segment. From outside only their sum can be seen.

use std::sync::Arc;
use std::time::Duration;

use super::{TRACELESS, Text, turn_at_the_collector};
use crate::config::Config;
use crate::ids::{PageId, SlotId, Version};
use crate::pagecache::{Cas, PageCache};
use crate::segments::SegmentState;
use crate::storage::MemoryStorage;
use crate::sync::epoch;

fn open(storage: &MemoryStorage) -> PageCache<Text> {
    let config = Config::with_storage(Arc::new(storage.clone())).segment_size(1000).io_buffer_size(512);
    config.cache_capacity(256).max_chain_length(4).space_target(1.1).open().unwrap()
}

/// Everything must be written, for records count when they are.
fn compare(cache: &PageCache<Text>, when: &str) {
    cache.flush().unwrap();
    let (inner, mut recounted) = (&cache.inner, cache.inner.recount_live());
    let accountant = inner.core.accountant();
    let sum: u64 = recounted.values().sum();
    for slot in (0..accountant.bound()).map(SlotId) {
        let expected = recounted.remove(&slot).unwrap_or(0);
        assert_eq!(accountant.live(slot), expected, "{slot:?} in state {:?}, {when}", accountant.state(slot));
    }
    assert!(recounted.is_empty(), "{when}: records in slots that nobody opened: {recounted:?}");
    assert_eq!(accountant.live_bytes(), sum, "{when}");
}

/// A part of a victim, as a writer does it in passing.
fn clean_a_stretch(cache: &PageCache<Text>) {
    let mut turn = cache.inner.collector.hold();
    if turn.work.is_none() {
        let _ = cache.inner.take_best(&mut turn);
    }
    cache.inner.clean_stretch(&mut turn, 150).unwrap();
}

/// A victim's last records may die between two stretches, and its slot may be in another life when the work
/// goes on, even with the same records at the same places.
#[test]
fn a_victim_that_is_emptied_and_reused_between_two_stretches_is_let_go() {
    let _turn = turn_at_the_collector();
    let mut reused = 0;
    for round in 0..50u8 {
        let storage = MemoryStorage::new();
        let config = Config::with_storage(Arc::new(storage.clone())).segment_size(1000).io_buffer_size(512);
        let cache: PageCache<Text> = config.garbage_collection(false).open().unwrap();
        let allocate = |byte| {
            let page = cache.allocate(Text(vec![byte; 100])).unwrap();
            (page.page_id, page.version)
        };
        let mut pages: Vec<_> = (0..30).map(allocate).collect();
        for page in pages.iter_mut().step_by(2) {
            page.1 = cache.replace(page.0, page.1, Text(vec![1; 100])).unwrap().done().unwrap();
        }
        cache.flush().unwrap();
        let mut turn = cache.inner.collector.hold();
        assert!(cache.inner.take_best(&mut turn));
        cache.inner.clean_stretch(&mut turn, 1).unwrap();
        let victim = turn.work.as_ref().unwrap().slot();
        drop(turn);
        // Everything is replaced, again and again, until the victim's slot holds something else.
        let before = cache.inner.core.accountant().segment(victim);
        for _ in 0..20 {
            for page in &mut pages {
                page.1 = cache.replace(page.0, page.1, Text(vec![round; 100])).unwrap().done().unwrap();
            }
            cache.flush().unwrap();
            cache.inner.core.supply().harvest(&cache.inner.core);
        }
        reused += u32::from(cache.inner.core.accountant().segment(victim) > before);
        (0..20).for_each(|_| clean_a_stretch(&cache));
        compare(&cache, "after the victim came back");
        let guard = cache.pin();
        for (page_id, version) in &pages {
            let page = guard.get(*page_id).unwrap().unwrap();
            assert_eq!((page.version(), &page.merged().0), (*version, &vec![round; 100]));
        }
    }
    assert!(reused > 0, "the slot never came back");
}

/// Should the power fail before a copy is stable, the record is read where it was. So a victim is only used
/// again when all of its copies are stable, each in its own head: what is stable in another one says nothing
/// of it.
#[test]
fn a_victim_is_free_once_its_copies_are_stable_whichever_heads_have_them() {
    let _turn = turn_at_the_collector();
    let config = Config::with_storage(Arc::new(MemoryStorage::new())).segment_size(4096).io_buffer_size(1024);
    let config = config.relocation_heads(3).garbage_collection(false).snapshots(false);
    let cache: PageCache<Text> = config.open().unwrap();
    let (inner, core) = (&cache.inner, &cache.inner.core);
    let allocate = |_| {
        let page = cache.allocate(Text(vec![0; 100])).unwrap();
        (page.page_id, page.version)
    };
    let mut pages: Vec<_> = (0..600).map(allocate).collect();
    let is_free = |slot| core.accountant().state(slot) == SegmentState::Free;
    let mut looked = 0;
    for round in 0..200_u64 {
        // The lower the number, the more often the page is written.
        for step in 0..100 {
            let number = (round * 100 + step).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let product = (number >> 40) * ((number >> 16) & 0xFF_FFFF);
            let at = (product * pages.len() as u64) >> 48;
            let (page_id, version) = &mut pages[at as usize];
            *version = cache.replace(*page_id, *version, Text(vec![1; 100])).unwrap().done().unwrap();
        }
        cache.flush().unwrap();
        let mut turn = inner.collector.hold();
        let before = cache.stats().counts;
        if !inner.take_best(&mut turn) {
            continue;
        }
        let victim = turn.work.as_ref().unwrap().slot();
        while turn.work.is_some() {
            inner.clean_stretch(&mut turn, 4096).unwrap();
        }
        drop(turn);
        assert!(epoch::outlasted(Duration::from_secs(60)), "a reader stays");
        core.supply().harvest(core);
        let now = cache.stats().counts;
        if now.relocated_records > before.relocated_records && now.syncs == before.syncs {
            assert!(!is_free(victim), "in round {round}");
            looked += 1;
        }
    }
    assert!(looked > 50, "only {looked} victims had anything to move");
}

/// Stretches are read one by one, and records need not end where a stretch does, nor be shorter than one.
#[test]
fn records_that_are_cut_by_a_stretch_or_larger_than_one_are_moved_once_each() {
    let config =
        Config::with_storage(Arc::new(MemoryStorage::new())).segment_size(64 << 10).inline_limit(64 << 10);
    let cache: PageCache<Text> = config.garbage_collection(false).open().unwrap();
    let allocate = |at: usize| {
        let length = [30_000, 6_000, 700][at % 3];
        let page = cache.allocate(Text(vec![at as u8; length])).unwrap();
        (page.page_id, page.version, length)
    };
    let pages: Vec<_> = (0..60).map(allocate).collect();
    for (page_id, version, _) in pages.iter().step_by(7) {
        assert!(cache.free(*page_id, *version).unwrap().is_done());
    }
    cache.flush().unwrap();
    let mut turn = cache.inner.collector.hold();
    let (mut victims, mut stretches) = (0, 0);
    while victims < 8 && cache.inner.take_best(&mut turn) {
        victims += 1;
        while turn.work.is_some() {
            cache.inner.clean_stretch(&mut turn, 5_000).unwrap();
            stretches += 1;
        }
    }
    drop(turn);
    assert!(victims > 2 && stretches > 2 * victims, "{victims} victims, {stretches} stretches");
    assert!(cache.stats().counts.relocated_records > 10);
    compare(&cache, "after cleaning");
    let guard = cache.pin();
    for (at, (page_id, version, length)) in pages.iter().enumerate().filter(|(at, _)| at % 7 != 0) {
        let page = guard.get(*page_id).unwrap().unwrap();
        assert_eq!((page.version(), &page.merged().0), (*version, &vec![at as u8; *length]));
    }
}

#[test]
fn every_segment_is_charged_with_exactly_the_records_that_are_live_in_it() {
    let mut relocated = 0;
    for seed in 0..40_u64 {
        let storage = MemoryStorage::new();
        let mut cache = open(&storage);
        let mut pages: Vec<(PageId, Version)> = Vec::new();
        let mut random = seed;
        for step in 0..400 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (choice, length) = ((random >> 33) % 100, (random >> 48) as usize % 90);
            let at = (random >> 40) as usize % pages.len().max(1);
            let bytes = Text([TRACELESS, &vec![step as u8; length]].concat());
            match (choice, pages.get(at).copied()) {
                (0..15, _) | (_, None) => {
                    let allocated = cache.allocate(bytes).unwrap();
                    pages.push((allocated.page_id, allocated.version));
                }
                (15..50, Some((page_id, version))) => {
                    pages[at].1 = cache.link(page_id, version, bytes).unwrap().done().unwrap();
                }
                (50..70, Some((page_id, version))) => {
                    pages[at].1 = cache.replace(page_id, version, bytes).unwrap().done().unwrap();
                }
                (70..80, Some((page_id, version))) => {
                    assert!(cache.free(page_id, version).unwrap().is_done());
                    pages.swap_remove(at);
                }
                (80..84, Some((page_id, version))) => {
                    let stale = Version(version.0.saturating_sub(1));
                    assert!(!matches!(cache.link(page_id, stale, bytes).unwrap(), Cas::Done { .. }));
                }
                (84..88, Some((page_id, _))) => {
                    let _ = cache.cas_root_in_meta(
                        b"root",
                        cache.meta_pid_for_name(b"root").unwrap(),
                        Some(page_id),
                    );
                }
                (88..91, _) => drop(cache.attempt_gc().unwrap()),
                (91..94, _) => clean_a_stretch(&cache),
                (94, _) => {
                    relocated += cache.stats().counts.relocated_records;
                    cache.close().unwrap();
                    cache = open(&storage);
                    compare(&cache, &format!("seed {seed}, step {step}, opened"));
                }
                _ => compare(&cache, &format!("seed {seed}, step {step}")),
            }
        }
        relocated += cache.stats().counts.relocated_records;
        compare(&cache, &format!("seed {seed}, at the end"));
    }
    assert!(relocated > 1000, "only {relocated} records were relocated");
}
