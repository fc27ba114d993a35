//! What pages weigh on the budget.

use super::restored::{packed, world_with_homes};
use super::{Counted, LENGTH, PAGE, World, written};
use crate::ids::{PageId, RangeId, Version};
use crate::location::Place;
use crate::pages::node::{Chunk, Slot, Target};
use crate::pages::publish::PreparedBase;
use crate::pages::table::Entry;
use crate::sync::epoch;

#[test]
fn every_byte_of_pages_is_on_the_budget_and_leaves_it_once() {
    let world = world_with_homes();
    let last = PageId(RangeId::of(PAGE).end().0 - 1);
    let links: Vec<Place> = (0..9).map(|_| world.place()).collect();
    let pages = packed(&[(PAGE, false, world.place(), &links), (last, true, world.place(), &[])]);
    assert!(world.table().restore_range(RangeId::of(PAGE), pages));
    assert_eq!(world.budget.used(), 0, "packed");
    let ids = || (1..4).chain([PAGE.0, last.0]);
    let compare = |step: u64| assert_eq!(world.recount(ids()).nodes, world.budget.nodes(), "step {step}");
    compare(0);
    let mut random = 1_u64;
    for step in 1..if cfg!(miri) { 300 } else { 2000_u64 } {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (choice, id) = ((random >> 33) % 100, ids().nth((random >> 45) as usize % 5).unwrap());
        let guard = epoch::pin();
        let entry = world.table().entry(PageId(id), &guard).unwrap();
        let head = match &entry {
            Entry::Occupied(head) if !head.is_freed() => *head,
            _ => {
                let version = world.table().head(PageId(id), &guard).map_or(1, |head| head.version().0 + 1);
                let base = PreparedBase::page(Version(version), Version(version), world.content(step));
                assert!(world.publish(&entry, base));
                continue;
            }
        };
        match choice {
            0..50 => _ = world.link(head, step).ok().unwrap(),
            50..60 => {
                let loser = head.prepare_link(world.fragment(step), 8, u32::MAX);
                let few = head.prepare_link(world.fragment(step), 8, (choice - 49) as u32);
                assert!(few.publish(world.place(), LENGTH).is_ok());
                assert!(loser.publish(world.place(), LENGTH).is_err());
            }
            60..64 => drop(head.prepare_link(world.fragment(step), 8, 1)),
            64..70 => {
                assert!(world.replace(head, world.fragment(step)));
                assert!(!world.replace(head, world.fragment(step)), "the head is another");
            }
            70..72 => {
                let base = PreparedBase::freed(Version(head.version().0 + 1), head.birth());
                assert!(world.publish(&Entry::Occupied(head), base));
            }
            72..85 => _ = world.get_or_fetch(head),
            85..90 => _ = head.shed(written),
            _ => _ = head.evict(|place, _| !place.offset.is_multiple_of(5)),
        }
        drop(guard);
        compare(step);
    }
    world.bury_the_dead();
    let recount = world.recount(ids());
    assert_eq!((world.budget.used(), world.budget.nodes()), (recount.sum(), recount.nodes));
    assert!(recount.nodes > 300 && recount.contents > 100, "{recount:?}");
    world.end();
}

#[test]
fn a_chunk_that_an_eviction_still_holds_stays_on_the_budget() {
    let world = World::new();
    world.allocate(1);
    let (chunk, size) = {
        let guard = epoch::pin();
        world.link(world.head(&guard), 2).ok().unwrap();
        let Target::Slot(chunk, _) = world.head(&guard).newest().target() else { panic!("a link") };
        // SAFETY: reached under the guard.
        let chunk_ref = unsafe { chunk.as_ref() };
        chunk_ref.retain();
        assert!(world.replace(world.head(&guard), world.fragment(3)));
        (chunk, chunk_ref.size())
    };
    world.bury_the_dead();
    assert_eq!(world.budget.used(), world.recount([PAGE.0].into_iter()).sum() + size);
    // SAFETY: the reference from above, and nobody else uses the chunk.
    world.budget.account().discharge(unsafe { Chunk::release(chunk) });
    world.end();
}

#[test]
fn a_chunk_has_no_more_slots_than_links_are_expected() {
    let world = World::new();
    world.allocate(1);
    let guard = epoch::pin();
    let mut sizes = Vec::new();
    for left in [4, 3, 2, 1, u32::MAX, 9, 9] {
        let head = world.head(&guard);
        let linked = head.prepare_link(world.fragment(2), 8, left).publish(world.place(), LENGTH);
        linked.ok().unwrap();
        sizes.push(world.head(&guard).newest().block().size);
    }
    let slots = |count: u64| (56 + count * size_of::<Slot<Counted>>() as u64).next_multiple_of(16);
    assert_eq!(sizes, [3, 3, 3, 1, 7, 7, 7].map(slots));
    drop(guard);
    world.end();
}
