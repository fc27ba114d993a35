//! Pages that recovery has found, and what the table says of ranges.

use std::sync::Arc;

use super::{LENGTH, PAGE, World};
use crate::format::{RangeEncoder, SnapshotBase, SnapshotRecord};
use crate::geometry::Geometry;
use crate::ids::{Lsn, PageId, RangeId, SegmentId, SlotId, Version};
use crate::location::Place;
use crate::pages::packed::Homes;
use crate::pages::publish::PreparedBase;
use crate::pages::range_bytes::RangeBytes;
use crate::pages::segment_map::SegmentMap;
use crate::pages::table::{Entry, PageTable};
use crate::sync::epoch;

/// Where segment 1 is slot 0: an LSN in it is the number of a place.
const SEGMENT: u64 = 1 << 20;

pub(super) fn world_with_homes() -> World {
    let homes = Homes::new(Geometry::new(SEGMENT as u32), SegmentMap::new([(SegmentId(1), SlotId(0))]));
    let mut world = World::new();
    world.table = Some(PageTable::new(Arc::clone(&world.budget), Some(homes)));
    world
}

fn record_at(place: Place) -> SnapshotRecord {
    SnapshotRecord { lsn: Lsn(SEGMENT + u64::from(place.offset)), length: LENGTH }
}

/// Packed pages of the range of `PAGE`, each with links.
pub(super) fn packed(pages: &[(PageId, bool, Place, &[Place])]) -> RangeBytes {
    let (mut encoder, mut bytes) = (RangeEncoder::new(RangeId::of(PAGE)), Vec::new());
    for (page_id, free, place, links) in pages {
        let (version, record) = (Version(40), record_at(*place));
        let base = SnapshotBase { page_id: *page_id, free: *free, version, age: 29, record };
        encoder.page(&mut bytes, &base, links.iter().map(|place| record_at(*place)));
    }
    bytes.into()
}

#[test]
fn a_restored_page_is_read_by_its_places_and_grows_from_there() {
    for count in [0, 1, 3, 14, 15, 16, 33] {
        let world = world_with_homes();
        let links: Vec<Place> = (0..count).map(|_| world.place()).collect();
        let base = world.place();
        let pages = packed(&[(PAGE, false, base, &links)]);
        assert!(world.table().restore_range(RangeId::of(PAGE), pages));
        let guard = epoch::pin();
        let head = world.head(&guard);
        assert_eq!((head.version().0, head.birth()), (40 + count, Version(11)));
        assert_eq!(head.chain_bytes(), 10 * count as u32);
        let places = head.nodes().map(|node| node.place().unwrap());
        assert!(places.eq(links.iter().rev().copied().chain([base])));
        for (version, place) in (40..).zip([&[base][..], &links].concat()) {
            assert_eq!(head.node(Version(version)).unwrap().place(), Some(place));
        }
        assert!(head.node(Version(39)).is_none() && head.node(Version(41 + count)).is_none());
        world.link(head, 900).ok().unwrap();
        let below = world.head(&guard).node(Version(40 + count / 2)).unwrap();
        assert_eq!(below.place(), Some([&[base][..], &links].concat()[count as usize / 2]));
        let expected: Vec<u64> = (40..=40 + count).chain([900]).collect();
        assert_eq!(world.get_or_fetch(world.head(&guard)), expected);
        drop(guard);
        world.end();
    }
}

#[test]
fn a_packed_range_says_what_it_holds_until_a_page_of_it_is_looked_up() {
    let world = world_with_homes();
    let (range, guard) = (RangeId::of(PAGE), epoch::pin());
    let (first, last) = (range.first(), PageId(range.end().0 - 1));
    let bytes = packed(&[(first, true, world.place(), &[]), (last, false, world.place(), &[])]);
    assert!(!world.table().restore_range(RangeId(u32::MAX >> 2), RangeBytes::default()));
    assert!(world.table().restore_range(range, bytes.to_vec().into()));
    let other = world.table().restore_range(RangeId(range.0 + 1), bytes.to_vec().into());
    assert!(other, "never looked up, and freed with the table");

    let mut copy = vec![7];
    assert!(world.table().copy_packed(range, &mut copy));
    assert_eq!(copy[1..], *bytes);
    // A look-up of an id without a page unpacks its range, too: the word alone does not tell.
    assert!(world.table().head(PageId(first.0 + 1), &guard).is_none());
    assert!(!world.table().copy_packed(range, &mut copy));
    assert!(world.table().head(first, &guard).unwrap().is_freed());
    assert!(!world.table().head(last, &guard).unwrap().is_freed());
    let vacant = world.table().entry(PageId(first.0 + 1), &guard);
    assert!(matches!(vacant, Some(Entry::Vacant(_))));
    assert!(!world.table().copy_packed(RangeId(90), &mut copy));
    drop(guard);
    world.end();
}

#[test]
fn an_entry_of_a_packed_page_is_the_page() {
    let world = world_with_homes();
    assert!(world.table().restore_range(RangeId::of(PAGE), packed(&[(PAGE, false, world.place(), &[])])));
    let guard = epoch::pin();
    assert!(matches!(world.table().entry(PAGE, &guard), Some(Entry::Occupied(_))));
    drop(guard);
    world.end();
}

#[test]
fn all_who_look_up_a_packed_page_at_once_find_it_and_links_to_it_are_kept() {
    const ROUNDS: u64 = if cfg!(miri) { 5 } else { 200 };
    for round in 0..ROUNDS {
        let world = world_with_homes();
        let range = RangeId::of(PAGE);
        let pages: Vec<PageId> = (range.first().0..range.end().0).map(PageId).collect();
        let all: Vec<_> = pages.iter().map(|id| (*id, false, world.place(), &[][..])).collect();
        assert!(world.table().restore_range(range, packed(&all)));
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let (world, pages) = (&world, &pages);
                scope.spawn(move || {
                    let mut pages = pages.clone();
                    pages.rotate_left(((round + 3 * thread) % RangeId::PAGES) as usize);
                    for page in pages {
                        let guard = epoch::pin();
                        loop {
                            let head =
                                world.table().head(page, &guard).expect("it was there from the beginning");
                            if world.link(head, page.0).is_ok() {
                                break;
                            }
                        }
                    }
                });
            }
        });
        let guard = epoch::pin();
        for page in &pages {
            assert_eq!(world.table().head(*page, &guard).unwrap().version(), Version(43));
        }
        drop(guard);
        world.end();
    }
}

#[test]
fn a_range_is_marked_by_every_change_and_by_nothing_else() {
    let world = world_with_homes();
    let take = || world.table().take_changes(|| Ok::<_, ()>(())).unwrap().1;
    let range = RangeId::of(PAGE);
    assert_eq!(take(), []);
    let place = world.place();
    assert!(world.table().restore_range(range, packed(&[(PAGE, false, place, &[])])));
    let guard = epoch::pin();
    let head = world.head(&guard);
    assert_eq!(take(), [], "to unpack is no change");
    world.link(head, 1).ok().unwrap();
    assert_eq!((take(), take()), (vec![range], vec![]));
    assert!(world.link(head, 1).is_err());
    assert_eq!(take(), [], "a lost race is no change");
    let node = head.newest();
    assert!(!node.relocate(world.place(), world.place()));
    assert_eq!(take(), [], "nor is a move that comes too late");
    assert!(node.relocate(place, world.place()));
    assert_eq!(take(), [range]);
    // The interpreter's table has few pages.
    let far = RangeId::of(PageId(if cfg!(miri) { 60_000 } else { 1 << 20 }));
    let entry = world.table().entry(far.first(), &guard).unwrap();
    assert_eq!(take(), []);
    assert!(world.publish(&entry, PreparedBase::page(Version(1), Version(1), world.content(1))));
    world.table().mark_changed(range);
    assert_eq!(take(), [range, far]);
    assert_eq!(world.table().take_changes(|| Err::<(), _>(7)), Err(7));
    drop(guard);
    world.end();
}

#[test]
fn ids_out_of_range_are_no_pages() {
    let world = World::new();
    let guard = epoch::pin();
    assert!(world.table().head(PageId(PageId::LIMIT), &guard).is_none());
    assert!(world.table().head(PageId(u64::MAX), &guard).is_none());
    assert!(world.table().entry(PageId(u64::MAX), &guard).is_none());
    if !cfg!(miri) {
        assert!(matches!(world.table().entry(PageId(PageId::LIMIT - 1), &guard), Some(Entry::Vacant(_))));
    }
    drop(guard);
    world.end();
}
