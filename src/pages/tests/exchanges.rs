//! Bases that are exchanged for their copies, and those who had reached them before.

use super::{Counted, LENGTH, PAGE, World, written};
use crate::ids::{PageId, SlotId, Version};
use crate::location::Place;
use crate::pages::base::Base;
use crate::pages::chain::Head;
use crate::pages::content::Content;
use crate::pages::node::Word;
use crate::pages::publish::PreparedBase;
use crate::pages::table::Entry;
use crate::sync::epoch;

const THERE: Place = Place::new(SlotId(9), 5);

fn place(head: Head<'_, Counted>) -> Place {
    head.newest().place().unwrap()
}

#[test]
fn what_was_evicted_takes_a_slim_base_and_comes_back_as_it_was() {
    let world = World::new();
    world.allocate(7);
    for _ in 0..3 {
        let guard = epoch::pin();
        let full = world.head(&guard);
        full.newest().touch();
        let (held, before) = (world.get(full), world.recount([PAGE.0].into_iter()));
        let evicted = full.evict(written);
        assert_eq!((evicted.bytes, evicted.some_stay), (before.contents, false));
        let slim = world.head(&guard);
        let facts = |head: Head<'_, Counted>| {
            (head.version(), head.birth(), place(head), head.base_length(), head.newest().touches())
        };
        assert!(slim.hit().is_none() && slim.exchanged().is_none());
        assert_eq!((facts(slim), full.exchanged().map(facts)), (facts(full), Some(facts(full))));
        let now = world.recount([PAGE.0].into_iter());
        assert_eq!((now.contents, now.nodes), (0, Base::<Counted>::SIZE));
        assert_eq!(world.get_or_fetch(slim), [slim.version().0]);
        assert_eq!(held, world.get(full), "who had it keeps it");
        drop(guard);
        let guard = epoch::pin();
        world.replace(world.head(&guard), world.fragment(world.head(&guard).version().0 + 1));
    }
    world.end();
}

/// A version changes when a page is written to, and at no other time.
#[test]
fn who_writes_on_a_base_that_was_exchanged_meanwhile_is_told_of_no_change() {
    let world = World::new();
    world.allocate(1);
    let guard = epoch::pin();
    let exchange = |head: Head<'_, Counted>| {
        if world.head(&guard).evict(written).bytes == 0 {
            world.get_or_fetch(head);
        }
        assert!(head.exchanged().is_some());
    };
    for round in 0..4 {
        let head = world.head(&guard);
        let link = head.prepare_link(world.fragment(head.version().0 + 1), 8, u32::MAX);
        exchange(head);
        (0..round).for_each(|_| exchange(head));
        let copy = world.head(&guard).foot();
        let version = link.publish(world.place(), LENGTH).ok().unwrap();
        assert_eq!(version, Version(head.version().0 + 1));
        let (foot, oldest) = (world.head(&guard).foot(), world.head(&guard).nodes().last().unwrap());
        assert!(foot == copy && oldest.word() == Word::of_base(copy), "the link is on top of the copy");
        assert_eq!(world.get_or_fetch(world.head(&guard)), [head.version().0, version.0]);

        assert!(world.replace(world.head(&guard), world.fragment(version.0 + 1)));
        let head = world.head(&guard);
        exchange(head);
        assert!(world.replace(head, world.fragment(head.version().0 + 1)));
    }
    let head = world.head(&guard);
    exchange(head);
    let free = PreparedBase::freed(Version(head.version().0 + 1), head.birth());
    assert!(world.publish(&Entry::Occupied(head), free));
    assert!(head.exchanged().is_none());
    let lost = PreparedBase::page(head.version(), head.birth(), world.content(0));
    assert!(!world.publish(&Entry::Occupied(head), lost), "another version is another version");
    drop(guard);
    world.end();
}

#[test]
fn a_record_is_moved_though_who_exchanges_its_base_was_stopped() {
    let world = World::new();
    world.allocate(1);
    let guard = epoch::pin();
    // The base is the head, and frozen.
    let head = world.head(&guard);
    let from = place(head);
    assert_eq!(head.newest().base().cell.freeze(), Some(from));
    assert!(head.newest().relocate(from, THERE));
    assert_eq!(place(world.head(&guard)), THERE);
    head.newest().base().cell.thaw(from);
    // It was exchanged, and the copy is frozen or not.
    let stale = world.head(&guard);
    world.get_or_fetch(stale);
    assert!(stale.newest().relocate(THERE, from));
    assert_eq!(place(world.head(&guard)), from);
    world.head(&guard).evict(written);
    assert_eq!(world.head(&guard).newest().base().cell.freeze(), Some(from));
    assert!(!stale.newest().relocate(from, THERE), "this one names another place");
    assert!(world.head(&guard).newest().relocate(from, THERE));
    // It was linked to, and is frozen in vain.
    let base = world.head(&guard);
    assert_eq!(base.newest().base().cell.freeze(), Some(THERE));
    world.link(base, 2).ok().unwrap();
    assert!(base.newest().relocate(THERE, from));
    base.newest().base().cell.thaw(THERE);
    assert_eq!(place(base), from);
    assert!(base.newest().relocate(from, THERE), "it is not frozen any more");
    // The page is another version.
    assert_eq!(base.newest().base().cell.freeze(), Some(THERE));
    assert!(world.replace(world.head(&guard), world.fragment(3)));
    assert!(!base.newest().relocate(THERE, from));
    drop(guard);
    world.end();
}

#[test]
fn what_can_not_be_put_in_place_is_lent_to_its_reader() {
    let world = World::new();
    world.allocate(1);
    let guard = epoch::pin();
    world.head(&guard).evict(written);
    let slim = world.head(&guard);
    let place = slim.newest().base().cell.freeze().unwrap();
    assert_eq!(slim.newest().install(world.content(1)).read(), [1]);
    assert!(world.head(&guard).hit().is_none());
    slim.newest().base().cell.thaw(place);
    // Who comes second gets what is there.
    let first = slim.newest().install(world.content(1));
    assert!(std::ptr::eq(slim.newest().install(world.content(1)), first));
    assert!(std::ptr::eq(world.head(&guard).hit().unwrap(), first));
    drop(guard);
    world.end();
}

/// The one that comes last frees the base: the drop of its value, or the freeing of its chain.
#[test]
fn a_value_below_links_is_dropped_where_it_is() {
    let world = World::new();
    world.allocate(1);
    for round in 0..6 {
        let guard = epoch::pin();
        let base = world.head(&guard);
        world.link(base, 2).ok().unwrap();
        let weight = world.recount([PAGE.0].into_iter());
        assert!(world.head(&guard).evict(written).bytes > 0);
        assert!(base.newest().merged().is_none() && base.exchanged().is_none());
        let left = world.recount([PAGE.0].into_iter());
        assert_eq!((left.contents, left.nodes), (Base::<Counted>::ROOM, weight.nodes));
        if round % 2 == 0 {
            drop(guard);
            world.bury_the_dead();
        }
        let guard = epoch::pin();
        let next = world.fragment(world.head(&guard).version().0 + 1);
        assert!(world.replace(world.head(&guard), next));
    }
    world.bury_the_dead();
    let all = world.recount([PAGE.0].into_iter());
    assert_eq!(world.budget.used_exactly(), all.sum());
    world.end();
}

#[test]
fn contents_that_own_nothing_lie_in_a_base_too() {
    let world = World::new();
    let guard = epoch::pin();
    let id = PageId(PAGE.0 + 1);
    let entry = world.table().entry(id, &guard).unwrap();
    let content = Content::new(Counted::new(&world.ledger, Vec::new()), 0);
    assert!(world.publish(&entry, PreparedBase::page(Version(1), Version(1), content)));
    let head = world.table().head(id, &guard).unwrap();
    assert_eq!(head.recount().contents, Base::<Counted>::ROOM);
    assert!(head.hit().unwrap().read().is_empty());
    drop(guard);
    world.end();
}
