//! Without a manifest: which segments count, and how much of each. What a power cut leaves is made by hand
//! here, so that each rule is met: the files as they are while a store is in use, without some of what was
//! not synced. Then the store is opened, which cuts off what came after that, and is written to again; and
//! then the manifest is taken away, which said so.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard};

use pagelog::sim::{CallKind, Fault, SimStorage, When};
use pagelog::{Condition, Config, Damage, Doubtful, Lsn, MemoryStorage, PageCache, PageId};

use super::common::{Bytes, alone, link, open, read, replace, tiny};
use super::{Files, SEGMENT, State, build, config, files_of, state_of, storage_of};

/// The length of a mark in a store of four heads.
const MARK: usize = 42;

/// A store in which each record stays where it was written.
fn quiet(storage: &Arc<MemoryStorage>) -> Config {
    tiny(storage).garbage_collection(false).snapshots(false).cache_capacity(1 << 20)
}

fn update(cache: &PageCache<Bytes>, page_id: PageId, bytes: &[u8]) {
    replace(cache, page_id, cache.version(page_id).unwrap().unwrap(), bytes);
}

fn append(cache: &PageCache<Bytes>, page_id: PageId, bytes: &[u8]) {
    link(cache, page_id, cache.version(page_id).unwrap().unwrap(), bytes);
}

/// Fills so many segments, and a little more, so that all that was logged before is written, without a sync.
fn fill(cache: &PageCache<Bytes>, page_id: PageId, segments: usize) {
    (0..segments * 4 + 4).for_each(|_| update(cache, page_id, &[0xF1; 200]));
}

/// Some pages that are stable, the last of them to be filled up with, and up to where they are.
fn eight_pages(cache: &PageCache<Bytes>) -> (Vec<PageId>, Lsn) {
    let pages = (0..8).map(|_| cache.allocate(Bytes(b"kept".to_vec())).unwrap().page_id).collect();
    cache.flush().unwrap();
    (pages, cache.stable_lsn())
}

/// What most tests begin with: their turn, and a store of [`eight_pages`] in which each record stays where it
/// was written.
fn begin() -> (MutexGuard<'static, ()>, Arc<MemoryStorage>, PageCache<Bytes>, Vec<PageId>, Lsn) {
    let turn = alone();
    let storage = Arc::new(MemoryStorage::new());
    let cache = open(quiet(&storage));
    let (pages, stable) = eight_pages(&cache);
    (turn, storage, cache, pages, stable)
}

fn states(cache: &PageCache<Bytes>, pages: &[PageId]) -> Vec<State> {
    pages.iter().map(|page_id| state_of(cache, page_id.get()).unwrap()).collect()
}

fn place(lsn: Lsn) -> (u64, usize) {
    (lsn.get() / SEGMENT as u64, (lsn.get() % SEGMENT as u64) as usize)
}

/// By segment: where in the log it lies.
fn segments(files: &Files) -> BTreeMap<u64, usize> {
    let number = |slot: &[u8]| u64::from_le_bytes(slot[24..32].try_into().unwrap());
    let slots = files["log"].chunks(SEGMENT).zip((0..).step_by(SEGMENT));
    let begun = slots.filter(|(slot, _)| slot.get(4..8) == Some(b"PLSG"));
    begun.map(|(slot, at)| (number(slot), at)).collect()
}

/// The bytes behind a place, up to the end of its segment.
fn behind(files: &mut Files, lsn: Lsn) -> &mut [u8] {
    let (segment, offset) = place(lsn);
    let at = segments(files)[&segment];
    &mut files.get_mut("log").unwrap()[at + offset..at + SEGMENT]
}

/// Opens a store after a power cut, sees that it is as it was at its last flush, and writes to it.
fn go_on(files: &Files, pages: &[PageId], write: impl FnOnce(&PageCache<Bytes>)) -> (Files, Vec<State>) {
    let storage = storage_of(files);
    let cache = open(quiet(&storage));
    assert!(pages.iter().all(|page_id| read(&cache, *page_id).unwrap() == b"kept"));
    write(&cache);
    cache.flush().unwrap();
    let states = states(&cache, pages);
    cache.close().unwrap();
    (files_of(&storage), states)
}

fn without_manifest(files: &Files) -> (PageCache<Bytes>, Damage) {
    let mut files = files.clone();
    files.remove("MANIFEST");
    let (cache, damage) = quiet(&storage_of(&files)).open_tolerantly(Doubtful::Serve).unwrap();
    assert!(damage.manifest_is_lost() && damage.others_in_doubt());
    (cache, damage)
}

/// All is in doubt, and what is served are these states; and the manifest is all that is damaged, but for so
/// many places.
fn assert_found(files: &Files, pages: &[PageId], expected: &[State], faults: u64) -> Damage {
    let (cache, damage) = without_manifest(files);
    assert_eq!(states(&cache, pages), expected, "{damage}");
    assert!(pages.iter().all(|page_id| damage.condition(*page_id) == Condition::InDoubt), "{damage}");
    assert_eq!(damage.fault_count(), 1 + faults, "{damage}");
    damage
}

/// The power cut took the rest of a segment with it, and left the segments behind. These are void, but still
/// there.
#[test]
fn segments_that_the_newest_does_not_lead_to_do_not_count() {
    let (_turn, storage, cache, pages, stable) = begin();
    for _ in 0..4 {
        fill(&cache, pages[7], 1);
        pages.iter().for_each(|page_id| update(&cache, *page_id, b"undone"));
    }
    fill(&cache, pages[7], 1);
    let mut files = files_of(&storage);
    behind(&mut files, stable).fill(0);
    let (files, expected) = go_on(&files, &pages, |cache| update(cache, pages[0], b"new"));
    let (newest, void) = (*segments(&files).last_key_value().unwrap().0, place(stable).0 + 1);
    assert!(segments(&files).range(void..newest).count() > 2, "void segments are there");
    assert_found(&files, &pages, &expected, 0);
}

/// The power cut took some bytes in the middle. What lies behind them in the same segment is void.
#[test]
fn a_segment_counts_up_to_its_first_record_that_does_not_verify() {
    let (_turn, storage, cache, pages, stable) = begin();
    pages.iter().for_each(|page_id| update(&cache, *page_id, b"undone"));
    fill(&cache, pages[7], 1);
    let mut files = files_of(&storage);
    // The mark with which the next flush began.
    behind(&mut files, stable)[..MARK].fill(0);
    let (files, expected) = go_on(&files, &pages, |cache| update(cache, pages[0], b"new"));
    let damage = assert_found(&files, &pages, &expected, 1);
    // It might have been there.
    let [hurt] = damage.segments() else { panic!("{damage}") };
    assert_eq!((hurt.segment, hurt.unreadable_bytes), (place(stable).0, MARK as u64), "{damage}");
}

/// What is behind the begin of a batch that has no end was cut, and what was logged in later segments was
/// not.
#[test]
fn an_unfinished_batch_does_not_count_and_what_came_after_the_power_cut_does() {
    let (_turn, storage, cache, pages, _) = begin();
    let batch = cache.pin_log().unwrap();
    pages.iter().for_each(|page_id| update(&cache, *page_id, b"undone"));
    fill(&cache, pages[7], 1);
    let (files, expected) = go_on(&files_of(&storage), &pages, |cache| {
        // Marks prove what is below them, also where the batch was: that does not end it.
        for page_id in &pages[..2] {
            update(cache, *page_id, b"new");
            cache.flush().unwrap();
        }
    });
    drop(batch);
    assert_found(&files, &pages, &expected, 0);
}

#[test]
fn a_batch_that_ends_in_another_segment_counts() {
    let (_turn, storage, cache, pages, stable) = begin();
    let batch = cache.pin_log().unwrap();
    pages.iter().for_each(|page_id| update(&cache, *page_id, b"new"));
    fill(&cache, pages[7], 1);
    let end = batch.seal_batch().unwrap();
    assert!(place(end).0 > place(stable).0);
    cache.flush().unwrap();
    let expected = states(&cache, &pages);
    cache.close().unwrap();
    assert_found(&files_of(&storage), &pages, &expected, 0);
}

/// The record at that place, as if its writer had withdrawn it.
fn cancel(files: &mut Files, lsn: Lsn, length: usize) {
    let (segment, offset) = place(lsn);
    let store_seed = crc32fast::hash(&files["log"][8..24]);
    let of_place = |number: u64, factor: u32| (number as u32).wrapping_mul(factor);
    let seed = store_seed ^ of_place(segment, 0x9E37_79B1) ^ of_place(offset as u64, 0x85EB_CA6B);
    let record = &mut behind(files, lsn)[..length];
    record[4] = 8;
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(&record[4..]);
    record[..4].copy_from_slice(&hasher.finalize().to_le_bytes());
}

/// No store writes that; it may be the work of another program.
#[test]
fn of_two_batches_without_an_end_in_one_segment_the_first_is_where_it_was_cut() {
    let (_turn, storage, cache, pages, stable) = begin();
    let expected = states(&cache, &pages);
    let ends: Vec<Lsn> = pages[..2]
        .iter()
        .map(|page_id| {
            let batch = cache.pin_log().unwrap();
            update(&cache, *page_id, b"new");
            batch.seal_batch().unwrap()
        })
        .collect();
    cache.close().unwrap();
    let mut files = files_of(&storage);
    for end in ends {
        assert_eq!(place(end).0, place(stable).0);
        cancel(&mut files, end, 14);
    }
    assert_found(&files, &pages, &expected, 0);
}

/// Where a segment is missing, older ones may take its place that are void. What both histories say of one
/// version is not believed.
#[test]
fn a_version_of_which_two_histories_say_different_things_is_lost() {
    let (_turn, storage, cache, pages, stable) = begin();
    fill(&cache, pages[7], 2);
    let [a, b, c, d, ..] = pages[..] else { unreachable!() };
    update(&cache, a, b"undone");
    append(&cache, b, b"undone");
    update(&cache, c, b"undone");
    append(&cache, d, b"undone");
    fill(&cache, pages[7], 1);
    let mut files = files_of(&storage);
    behind(&mut files, stable).fill(0);
    let (mut files, expected) = go_on(&files, &pages, |cache| {
        fill(cache, pages[7], 0);
        update(cache, a, b"new");
        append(cache, b, b"new");
        append(cache, c, b"new");
        update(cache, d, b"new");
    });
    assert_found(&files, &pages, &expected, 0);
    // The first of the new history, between the newest and what is older than both.
    let begun: Vec<usize> = segments(&files).into_values().collect();
    let [.., lost, _] = begun[..] else { panic!("{begun:?}") };
    files.get_mut("log").unwrap()[lost..lost + 80].fill(0);
    let (_, damage) = without_manifest(&files);
    let found: Vec<(PageId, &str)> = damage.lost_pages().collect();
    let reason = "two records of one version say different things";
    assert_eq!(found, [a, b, c, d].map(|page_id| (page_id, reason)), "{damage}");
}

/// Segments that were used again are missing in the chain: what is older than they counts all the same.
#[test]
fn where_the_chain_is_broken_it_goes_on_with_what_is_older() {
    let _turn = alone();
    let known = build(5, true);
    let before = |at: usize| u64::from_le_bytes(known.files["log"][at + 32..at + 40].try_into().unwrap());
    let there = segments(&known.files);
    let is_broken = |at: &&usize| before(**at) > 0 && !there.contains_key(&before(**at));
    let broken = there.values().filter(is_broken).count();
    assert!(broken > 2, "{broken} of {}", there.len());
    let mut files = known.files.clone();
    files.remove("MANIFEST");
    let (cache, damage) = config(&storage_of(&files), true).open_tolerantly(Doubtful::Serve).unwrap();
    for (page_id, states) in &known.history {
        let last = states.last().unwrap();
        if last.is_some() {
            assert_eq!(state_of(&cache, *page_id).unwrap(), *last, "page {page_id}\n{damage}");
        }
    }
}

/// A power cut may leave the file as long as what was written. That is no damage: how long its last segment
/// would have become was in the manifest.
#[test]
fn a_file_that_ends_with_a_record_is_whole() {
    let (_turn, storage, cache, pages, _) = begin();
    fill(&cache, pages[7], 5);
    pages.iter().for_each(|page_id| update(&cache, *page_id, b"kept"));
    cache.flush().unwrap();
    let (newest, offset) = place(cache.stable_lsn());
    cache.close().unwrap();
    let mut files = files_of(&storage);
    let length = segments(&files)[&newest] + offset;
    files.get_mut("log").unwrap().truncate(length);
    // Where there was a segment without live records. Its marks prove what is below them, also where the file
    // ends.
    let (files, expected) = go_on(&files, &pages, |cache| {
        for page_id in &pages[..2] {
            update(cache, *page_id, b"new");
            cache.flush().unwrap();
        }
    });
    assert_eq!(files["log"].len(), length);
    assert_found(&files, &pages, &expected, 0);
}

#[test]
fn a_backup_that_was_not_finished_is_no_store_without_a_manifest() {
    let (_turn, storage, cache, ..) = begin();
    cache.close().unwrap();
    let mut files = files_of(&storage);
    files.remove("MANIFEST");
    files.insert("UNFINISHED-BACKUP".into(), Vec::new());
    let refused = quiet(&storage_of(&files)).open_tolerantly::<Bytes>(Doubtful::Serve).map(drop).unwrap_err();
    assert!(refused.to_string().contains("was not finished"), "{refused}");
}

/// Headers do not tell it then, for only the first slot is there.
#[test]
fn how_long_the_only_segment_is_the_configuration_says() {
    let (_turn, storage, cache, _, stable) = begin();
    cache.close().unwrap();
    let mut files = files_of(&storage);
    let hurt = Lsn::new(stable.get() / SEGMENT as u64 * SEGMENT as u64 + 80);
    behind(&mut files, hurt)[9] ^= 1;
    let (_, damage) = without_manifest(&files);
    assert_eq!(damage.faults().iter().filter_map(|fault| fault.lsn).collect::<Vec<_>>(), [hurt], "{damage}");
}

#[test]
fn a_manifest_that_the_disk_does_not_hand_out_is_as_good_as_gone() {
    let _turn = alone();
    let disk = SimStorage::new(1);
    let cache = open(tiny(&Arc::new(disk.clone())));
    let (pages, _) = eight_pages(&cache);
    let expected = states(&cache, &pages);
    let image = Arc::new(disk.after_kill());
    image.fail_at(When::Kind(CallKind::Read, image.count(CallKind::Read) + 1), Fault::Error);
    let (cache, damage) = tiny(&image).open_tolerantly(Doubtful::Serve).unwrap();
    assert!(damage.manifest_is_lost() && damage.faults()[0].file.contains("MANIFEST"), "{damage}");
    assert_eq!(states(&cache, &pages), expected);
}
