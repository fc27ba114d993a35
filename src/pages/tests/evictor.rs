//! Which pages the evictor takes, and which it spares.

use std::time::Duration;

use super::{World, written};
use crate::ids::{PageId, Version};
use crate::location::Place;
use crate::pages::eviction::{Evictor, Swept, Want};
use crate::pages::publish::PreparedBase;
use crate::pages::queues::MOST_TOUCHES;
use crate::pages::table::Entry;
use crate::sync::epoch;

/// A table with pages 1 to `pages`.
pub(super) fn world_of(pages: u64) -> World {
    let world = World::new();
    let guard = epoch::pin();
    for id in 1..=pages {
        let entry = world.table().entry(PageId(id), &guard).unwrap();
        let base = PreparedBase::page(Version(1), Version(1), world.content(id));
        assert!(world.publish(&entry, base));
    }
    drop(guard);
    world
}

pub(super) fn evict(
    world: &World,
    evictor: &Evictor,
    bytes: u64,
    is_written: impl Fn(Place, u32) -> bool,
) -> Option<Swept> {
    let want = Want { bytes, insist: true, patience: Duration::ZERO };
    evictor.sweep(world.table(), want, is_written)
}

/// The pages that have contents in memory, of those up to 200.
pub(super) fn residents(world: &World) -> Vec<u64> {
    let guard = epoch::pin();
    let head = |id: &u64| world.table().head(PageId(*id), &guard);
    let has_contents = |id: &u64| head(id).is_some_and(|head| head.nodes().any(|n| n.fragment().is_some()));
    (1..=200).filter(has_contents).collect()
}

#[test]
fn the_evictor_spares_what_is_in_use_and_finds_everything_in_the_end() {
    let (world, evictor) = (world_of(200), Evictor::new(4096));
    let guard = epoch::pin();
    for _ in 0..2 {
        assert!(world.table().head(PageId(5), &guard).unwrap().hit().is_some());
    }
    let before = world.budget.used() - world.budget.dead() - world.budget.nodes();
    let swept = evict(&world, &evictor, before / 2, written).unwrap();
    assert!((100..=101).contains(&swept.pages) && swept.unwritten == 0, "{swept:?}");
    assert_eq!(residents(&world), [&[5][..], &(swept.pages + 2..=200).collect::<Vec<_>>()].concat());
    let swept = evict(&world, &evictor, u64::MAX, written).unwrap();
    assert!((99..=100).contains(&swept.pages), "{swept:?}");
    assert_eq!(residents(&world), [0; 0]);
    // Empty queues: nothing is left that anybody would have to look at.
    assert_eq!(evict(&world, &evictor, u64::MAX, written), Some(Swept::default()));
    assert_eq!(evictor.queued(), 0);
    drop(guard);
    world.end();
}

#[test]
fn what_could_not_be_evicted_is_found_again() {
    let (world, evictor) = (world_of(200), Evictor::new(4096));
    let even = |place: Place, _| place.offset.is_multiple_of(2);
    let swept = evict(&world, &evictor, u64::MAX, even).unwrap();
    assert!(swept.pages == 100 && swept.unwritten >= 100, "{swept:?}");
    assert_eq!(residents(&world).len(), 100);
    let swept = evict(&world, &evictor, u64::MAX, written).unwrap();
    assert_eq!((swept.pages, swept.unwritten), (100, 0));
    assert_eq!(residents(&world), [0; 0]);
    world.end();
}

#[test]
fn what_is_read_back_is_found_again() {
    let (world, evictor) = (world_of(2), Evictor::new(4096));
    let guard = epoch::pin();
    let head = |id| world.table().head(PageId(id), &guard).unwrap();
    assert!(world.link(head(2), 3).is_ok());
    for _ in 0..3 {
        evict(&world, &evictor, u64::MAX, written).unwrap();
        assert_eq!((residents(&world), evictor.queued()), (vec![], 0));
        // A base comes back in a copy of it, a page with links at the newest of them.
        for id in [1, 2] {
            assert!(head(id).hit().is_none());
            head(id).newest().install(world.content(id));
            assert!(head(id).hit().is_some());
        }
    }
    let swept = evict(&world, &evictor, u64::MAX, written).unwrap();
    assert_eq!((swept.pages, head(1).hit().is_none(), head(2).hit().is_none()), (2, true, true));
    drop(guard);
    world.end();
}

#[test]
fn pages_that_are_read_back_linked_to_or_freed_between_evictions_are_in_one_queue_once() {
    const PAGES: u64 = if cfg!(miri) { 10 } else { 60 };
    let (world, evictor) = (world_of(PAGES), Evictor::new(4096));
    for round in 0..if cfg!(miri) { 8 } else { 20 } {
        for id in 1..=PAGES {
            let guard = epoch::pin();
            let head = world.table().head(PageId(id), &guard).unwrap();
            let next = Version(head.version().0 + 1);
            match (id + round) % 5 {
                _ if head.is_freed() => {
                    let base = PreparedBase::page(next, next, world.content(id));
                    assert!(world.publish(&Entry::Occupied(head), base));
                }
                0 => assert!(world.publish(&Entry::Occupied(head), PreparedBase::freed(next, head.birth()))),
                1 => assert!(world.replace(head, world.fragment(id))),
                2 if head.newest().merged().is_none() => _ = head.newest().install(world.content(id)),
                2 => _ = head.hit(),
                _ => assert!(world.link(head, id).is_ok()),
            }
        }
        let bytes = if round % 4 == 0 { u64::MAX } else { 100 };
        evict(&world, &evictor, bytes, |place, _| place.offset % 3 != 0).unwrap();
        assert!(evictor.queued() as u64 <= PAGES, "{}", evictor.queued());
    }
    evict(&world, &evictor, u64::MAX, written).unwrap();
    assert_eq!((residents(&world), evictor.queued()), (vec![], 0));
    world.end();
}

#[test]
fn a_page_in_use_is_written_to_a_few_times_and_no_more() {
    let world = world_of(1);
    let guard = epoch::pin();
    let head = world.table().head(PageId(1), &guard).unwrap();
    for reads in 1..10 {
        assert!(head.hit().is_some());
        assert_eq!(head.newest().touches(), MOST_TOUCHES.min(reads));
    }
    // A link and a replacement keep what is known of the page's use.
    assert!(world.link(head, 2).is_ok());
    let head = world.table().head(PageId(1), &guard).unwrap();
    assert_eq!(head.newest().touches(), MOST_TOUCHES);
    assert!(world.replace(head, world.fragment(3)));
    assert_eq!(world.table().head(PageId(1), &guard).unwrap().newest().touches(), MOST_TOUCHES);
    drop(guard);
    world.end();
}
