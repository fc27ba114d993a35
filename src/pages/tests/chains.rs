//! What one page does: links, merges, races, frees, evictions of its contents.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;

use super::restored::{packed, world_with_homes};
use super::{Counted, LENGTH, PAGE, World, written};
use crate::ids::{RangeId, Version};
use crate::location::Place;
use crate::pages::base::BaseKind;
use crate::pages::node_ref::NodeRef;
use crate::sync::epoch::{self, Guard};

#[test]
fn links_fill_chunks_and_are_read_newest_first() {
    let world = World::new();
    world.allocate(1);
    {
        let guard = epoch::pin();
        for number in 2..=60 {
            let head = world.head(&guard);
            assert_eq!(head.version(), Version(number - 1));
            assert_eq!(world.link(head, number).ok(), Some(Version(number)));
        }
        let head = world.head(&guard);
        assert_eq!((head.depth(), head.chain_bytes(), head.base_length()), (59, 590, 10));
        assert_eq!((head.birth(), head.page_id()), (Version(1), PAGE));
        let versions: Vec<u64> = head.nodes().map(|node| node.version().0).collect();
        assert!(versions.iter().copied().eq((1..=60).rev()));
        let places: BTreeSet<u64> = head.nodes().map(|node| node.place().unwrap().pack()).collect();
        assert_eq!(places.len(), 60);
        assert_eq!(head.node(Version(33)).unwrap().fragment().unwrap().read(), [33]);
        assert!(world.get(head).iter().copied().eq(1..=60));
        assert_eq!(head.parts().unwrap().iter().count(), 1);
    }
    world.end();
}

#[test]
fn a_read_after_a_link_takes_the_merged_page_and_what_came_since() {
    let world = World::new();
    world.allocate(1);
    {
        let guard = epoch::pin();
        world.link(world.head(&guard), 2).ok().unwrap();
        let older = world.head(&guard);
        assert_eq!(world.get(older), [1, 2]);
        world.link(older, 3).ok().unwrap();
        let head = world.head(&guard);
        assert!(head.hit().is_none());
        let parts: Vec<&[u64]> = head.parts().unwrap().iter().map(Counted::read).collect();
        assert_eq!(parts, [&[3][..], &[1, 2]]);
        assert_eq!(world.get(head), [1, 2, 3]);
        // The merged page of before is not kept beside the new one.
        assert!(older.newest().merged().is_none());
        assert_eq!(world.get(older), [1, 2]);
    }
    world.end();
}

#[test]
fn who_loses_a_race_gets_the_fragment_back_and_wastes_no_slot() {
    let world = World::new();
    world.allocate(1);
    {
        let guard = epoch::pin();
        for number in 2..40 {
            let head = world.head(&guard);
            let loser = head.prepare_link(world.fragment(99), 8, u32::MAX);
            let cancelled = head.prepare_link(world.fragment(98), 8, u32::MAX);
            assert_eq!(cancelled.fragment().read(), [98]);
            assert_eq!(cancelled.cancel().read(), [98]);
            drop(head.prepare_link(world.fragment(97), 8, u32::MAX));
            world.link(head, number).ok().unwrap();
            let fragment = loser.publish(world.place(), LENGTH).err().unwrap();
            assert_eq!(fragment.read(), [99]);
            assert!(!world.replace(head, fragment));
        }
        assert!(world.get(world.head(&guard)).iter().copied().eq(1..40));
    }
    world.end();
}

#[test]
fn replacing_kills_each_record_of_the_chain_once() {
    let world = World::new();
    world.allocate(1);
    {
        let guard = epoch::pin();
        link_all(&world, &guard, 2..=20);
        let old = world.head(&guard);
        assert!(world.replace(old, world.fragment(500)));
        assert_eq!(world.killed.load(Ordering::Relaxed), 20);
        assert!(old.nodes().all(|node| node.place().is_none()));
        let head = world.head(&guard);
        assert_eq!((head.version(), head.birth(), head.depth()), (Version(21), Version(1), 0));
        assert_eq!(world.get(head), [500]);
        // A reader of before sees the page of before.
        assert!(world.get(old).iter().copied().eq(1..=20));
    }
    world.end();
}

#[test]
fn a_freed_id_goes_on_with_its_versions_and_gets_a_new_birth() {
    let world = World::new();
    world.allocate(1);
    {
        let guard = epoch::pin();
        world.link(world.head(&guard), 2).ok().unwrap();
        let old = world.head(&guard);
        assert!(world.free());
        let freed = world.head(&guard);
        assert!(freed.is_freed() && freed.hit().is_none());
        assert_eq!((freed.version(), freed.birth()), (Version(3), Version(1)));
        let fragment = world.link(old, 7).err().unwrap();
        assert_eq!(fragment.read(), [7]);
        world.allocate(4);
        let head = world.head(&guard);
        assert_eq!((head.version(), head.birth()), (Version(4), Version(4)));
        assert!(!head.is_freed());
        assert_eq!(world.get(head), [4]);
        assert_eq!(world.killed.load(Ordering::Relaxed), 3);
    }
    world.end();
}

/// A search computes a slot's index from its depth, unless slots were wasted by lost races. With some in
/// every chunk, it must walk.
#[test]
fn every_version_is_found_also_where_slots_were_wasted() {
    for wasteful in [false, true] {
        let world = World::new();
        world.allocate(1);
        let guard = epoch::pin();
        for number in 2..=80 {
            let head = world.head(&guard);
            let loser =
                (wasteful && number % 3 == 0).then(|| head.prepare_link(world.fragment(999), 8, u32::MAX));
            assert_eq!(world.link(head, number).ok(), Some(Version(number)));
            drop(loser);
        }
        let head = world.head(&guard);
        for version in 2..=80 {
            let node = head.node(Version(version)).unwrap();
            assert_eq!((node.version(), node.fragment().unwrap().read()), (Version(version), &[version][..]));
        }
        assert_eq!(head.node(Version(1)).unwrap().base_kind(), Some(BaseKind::Page));
        assert!(head.node(Version(0)).is_none() && head.node(Version(81)).is_none());
        drop(guard);
        world.end();
    }
}

#[test]
fn eviction_keeps_what_cannot_be_read_back_and_what_readers_hold() {
    let world = World::new();
    world.allocate(1);
    {
        let guard = epoch::pin();
        for number in 2..=6 {
            world.link(world.head(&guard), number).ok().unwrap();
        }
        let head = world.head(&guard);
        let merged = world.get(head);
        let held: Vec<&Counted> = head.nodes().filter_map(NodeRef::fragment).collect();
        assert_eq!(held.len(), 6);
        let unwritten = head.newest().place().unwrap();
        let before = world.budget.used();
        let evicted = head.evict(|place, length| length == LENGTH && place != unwritten);
        assert!(evicted.some_stay && evicted.bytes > 0);
        assert_eq!((world.budget.used(), world.budget.dead()), (before, evicted.bytes));
        // Still there for those who had it.
        assert_eq!(merged, [1, 2, 3, 4, 5, 6]);
        assert!(held.iter().map(|fragment| fragment.read()[0]).eq((1..=6).rev()));
        let read = head.read();
        assert!(head.parts().is_none(), "only the newest is in memory");
        assert_eq!(read.missing().map(|node| node.version().0).collect::<Vec<_>>(), [5, 4, 3, 2, 1]);
        assert_eq!(world.get_or_fetch(head), [1, 2, 3, 4, 5, 6]);
        assert!(!head.evict(written).some_stay);
        assert_eq!(head.read().missing().count(), 6);
        assert_eq!(head.evict(written).bytes, 0);
    }
    world.end();
}

/// Links these one after the other.
fn link_all(world: &World, guard: &Guard, numbers: RangeInclusive<u64>) {
    for number in numbers {
        world.link(world.head(guard), number).ok().unwrap();
    }
}

#[test]
fn parts_that_were_seen_stay_though_they_are_evicted() {
    let world = World::new();
    world.allocate(1);
    {
        let guard = epoch::pin();
        link_all(&world, &guard, 2..=20);
        let parts = world.head(&guard).parts().unwrap();
        let all = || parts.iter().flat_map(Counted::read).copied().collect::<Vec<u64>>();
        let expected: Vec<u64> = (1..=20).rev().collect();
        assert_eq!(all(), expected);
        assert!(!world.head(&guard).evict(written).some_stay);
        // Time for others to free what they may.
        std::thread::scope(|scope| scope.spawn(epoch::advance).join().unwrap());
        assert!(world.head(&guard).parts().is_none());
        assert_eq!(all(), expected);
        assert!(parts.merge().value.read().iter().copied().eq(1..=20));
    }
    world.end();
}

#[test]
fn shedding_keeps_the_merged_page_and_what_is_newer() {
    let world = World::new();
    world.allocate(1);
    {
        let guard = epoch::pin();
        assert_eq!(world.head(&guard).shed(written).bytes, 0);
        for number in 2..=4 {
            world.link(world.head(&guard), number).ok().unwrap();
        }
        world.get(world.head(&guard));
        world.link(world.head(&guard), 5).ok().unwrap();
        let head = world.head(&guard);
        assert!(head.shed(written).bytes > 0);
        assert_eq!(head.read().missing().count(), 0);
        assert_eq!(world.get(head), [1, 2, 3, 4, 5]);
        let own = head.nodes().filter(|node| node.fragment().is_some()).count();
        assert_eq!(own, 1);
    }
    world.end();
}

/// Links, and a read that merges them, so often.
fn link_and_merge(world: &World, rounds: u64, shed: impl Fn(Place, u32) -> bool) {
    let guard = epoch::pin();
    for _ in 0..rounds {
        link_all(world, &guard, 2..=5);
        world.get(world.head(&guard));
        let _ = world.head(&guard).shed(&shed);
    }
}

#[test]
#[cfg(not(jitter))]
fn shedding_a_long_chain_takes_no_more_than_shedding_a_short_one() {
    use crate::sync::noted::recorded;

    // The walk once went down to the base after each merge, and wrote to each node on its way.
    let world = World::new();
    world.allocate(1);
    let accesses = [10, 100].map(|rounds| {
        link_and_merge(&world, rounds, written);
        let guard = epoch::pin();
        link_all(&world, &guard, 2..=5);
        world.get(world.head(&guard));
        let accesses = recorded(|| assert!(world.head(&guard).shed(written).bytes > 0));
        (accesses.len(), accesses.iter().filter(|access| access.is_write).count())
    });
    assert!(accesses[0].0 > 20 && accesses[0] == accesses[1], "{accesses:?}");
    world.end();
}

#[test]
fn a_base_is_shed_when_it_is_written_however_many_links_lie_on_it_by_then() {
    let world = World::new();
    world.allocate(1);
    let base = world.head(&epoch::pin()).newest().place();
    let has_base = || world.head(&epoch::pin()).nodes().last().is_some_and(|node| node.fragment().is_some());
    link_and_merge(&world, 20, |place, _| Some(place) != base);
    assert!(has_base());
    link_and_merge(&world, 1, written);
    assert!(!has_base());
    world.end();
}

#[test]
fn a_restored_page_is_merged_evicted_moved_and_killed_like_any_other() {
    for count in [1_u64, 2, 40] {
        let world = world_with_homes();
        let links: Vec<Place> = (0..count).map(|_| world.place()).collect();
        let pages = packed(&[(PAGE, false, world.place(), &links)]);
        assert!(world.table().restore_range(RangeId::of(PAGE), pages));
        let guard = epoch::pin();
        let head = world.head(&guard);
        let bytes = head.recount().nodes;
        // A base and 16 bytes for each link.
        assert_eq!((bytes, world.budget.nodes()), ((64 + 16 * count).next_multiple_of(16), bytes));
        let expected: Vec<u64> = (40..=40 + count).collect();
        assert_eq!(world.get_or_fetch(head), expected);
        head.newest().touch();
        assert!(head.newest().merged().is_some() && head.nodes().skip(1).all(|node| node.merged().is_none()));
        // What is merged above supersedes what was merged below.
        world.link(head, 900).ok().unwrap();
        assert_eq!(world.get(world.head(&guard)), [&expected[..], &[900]].concat());
        assert!(head.newest().merged().is_none());
        assert!(world.head(&guard).evict(written).bytes > 0);
        assert_eq!(world.head(&guard).read().missing().count() as u64, count + 2);

        let (oldest, to) = (head.node(Version(41)).unwrap(), world.place());
        assert!(!oldest.relocate(to, links[0]) && oldest.relocate(links[0], to));
        assert_eq!(head.node(Version(41)).unwrap().place(), Some(to));
        assert!(world.replace(world.head(&guard), world.fragment(7)));
        assert_eq!(world.killed.load(Ordering::Relaxed), count + 2);
        assert!(head.nodes().all(|node| node.place().is_none()));
        drop(guard);
        world.end();
    }
}

#[test]
fn a_restored_page_takes_what_was_merged_of_it_along_when_it_goes() {
    for replaced in [false, true] {
        let world = world_with_homes();
        let pages = packed(&[(PAGE, false, world.place(), &[world.place()])]);
        assert!(world.table().restore_range(RangeId::of(PAGE), pages));
        {
            let guard = epoch::pin();
            assert_eq!(world.get_or_fetch(world.head(&guard)), [40, 41]);
            assert!(!replaced || world.replace(world.head(&guard), world.fragment(7)));
        }
        world.end();
    }
}
