//! Threads that race on the pages.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::evictor::{evict, residents, world_of};
use super::{Counted, LENGTH, PAGE, World, written};
use crate::ids::{PageId, Version};
use crate::location::Place;
use crate::pages::eviction::Evictor;
use crate::pages::publish::PreparedBase;
use crate::pages::table::Entry;
use crate::sync::epoch;

/// The evictor is told once of what comes in. If one announcement were lost, its page would stay for ever.
#[test]
fn no_contents_stay_behind_when_threads_put_them_in_while_others_evict() {
    const PAGES: u64 = if cfg!(miri) { 15 } else { 100 };
    const STEPS: u64 = if cfg!(miri) { 60 } else { 30_000 };
    let (world, evictor) = (world_of(PAGES), Evictor::new(4096));
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let (world, evictor) = (&world, &evictor);
            scope.spawn(move || {
                for step in 0..STEPS {
                    let guard = epoch::pin();
                    let id = 1 + step.wrapping_mul(2 * thread + 7) % PAGES;
                    let head = world.table().head(PageId(id), &guard).unwrap();
                    match step % 4 {
                        0 => _ = world.replace(head, world.fragment(step)),
                        1 => {
                            _ = head
                                .prepare_link(world.fragment(step), 8, u32::MAX)
                                .publish(world.place(), LENGTH);
                        }
                        2 => _ = evict(world, evictor, 300, |place, _| place.offset % 5 != 0),
                        _ if head.newest().merged().is_none() => {
                            head.newest().install(world.content(step));
                        }
                        _ => _ = head.hit(),
                    }
                }
            });
        }
    });
    evict(&world, &evictor, u64::MAX, written).unwrap();
    assert_eq!((residents(&world), evictor.queued()), (vec![], 0));
    world.end();
}

#[test]
fn two_threads_that_link_to_one_page_lose_no_fragment() {
    const LINKS: u64 = if cfg!(miri) { 60 } else { 20_000 };
    let world = World::new();
    world.allocate(0);
    std::thread::scope(|scope| {
        for thread in 0..2u64 {
            let world = &world;
            scope.spawn(move || {
                for number in 0..LINKS {
                    let mut fragment = world.fragment(number * 2 + thread);
                    loop {
                        let guard = epoch::pin();
                        let head = world.head(&guard);
                        match head.prepare_link(fragment, 8, u32::MAX).publish(world.place(), LENGTH) {
                            Ok(_) => break,
                            Err(back) => fragment = back,
                        }
                    }
                }
            });
        }
    });
    {
        let guard = epoch::pin();
        let head = world.head(&guard);
        assert_eq!(u64::from(head.depth()), 2 * LINKS);
        let mut numbers = world.get(head)[1..].to_vec();
        let own_order = |parity| numbers.iter().filter(move |number| **number % 2 == parity).is_sorted();
        assert!(own_order(0) && own_order(1));
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..2 * LINKS));
    }
    world.end();
}

/// The contents of version v end in the number v, whoever reads them and whatever is evicted, replaced or
/// freed meanwhile.
#[test]
fn readers_writers_and_evictions_race_and_every_fragment_is_dropped_once() {
    const STEPS: u64 = if cfg!(miri) { 60 } else { 20_000 };
    let world = World::new();
    world.allocate(1);
    let running = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let (world, running) = (&world, &running);
        for _ in 0..2 {
            scope.spawn(move || {
                while running.load(Ordering::Relaxed) {
                    let guard = epoch::pin();
                    let head = world.head(&guard);
                    if !head.is_freed() {
                        let read = world.get_or_fetch(head);
                        assert_eq!(read.last(), Some(&head.version().0));
                        head.shed(|place, _| place.offset % 3 != 0);
                    }
                    std::thread::yield_now();
                }
            });
        }
        scope.spawn(move || {
            while running.load(Ordering::Relaxed) {
                let guard = epoch::pin();
                world.head(&guard).evict(|place, _| place.offset % 5 != 0);
                std::thread::yield_now();
            }
        });
        let writers: Vec<_> = (0..2u64)
            .map(|writer| {
                scope.spawn(move || {
                    for step in 0..STEPS {
                        let guard = epoch::pin();
                        let head = world.head(&guard);
                        let next = Version(head.version().0 + 1);
                        if head.is_freed() {
                            let entry = Entry::Occupied(head);
                            world.publish(&entry, PreparedBase::page(next, next, world.content(next.0)));
                        } else if step % 16 == 7 && writer == 0 {
                            world.publish(&Entry::Occupied(head), PreparedBase::freed(next, head.birth()));
                        } else if head.depth() > 20 {
                            world.replace(head, world.fragment(next.0));
                        } else {
                            let _ = world.link(head, next.0);
                        }
                    }
                })
            })
            .collect();
        let results: Vec<_> = writers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        running.store(false, Ordering::Relaxed);
        assert!(results.iter().all(Result::is_ok));
    });
    {
        let guard = epoch::pin();
        let live = world.head(&guard).nodes().count() as u64;
        let last = world.head(&guard).version().0;
        assert_eq!(world.killed.load(Ordering::Relaxed) + live, last);
    }
    world.bury_the_dead();
    let recount = world.recount([PAGE.0].into_iter());
    let budget = &world.budget;
    assert_eq!((budget.used_exactly(), budget.nodes_exactly()), (recount.sum(), recount.nodes));
    world.end();
}

#[test]
fn relocations_race_with_replacements_and_every_place_is_left_once() {
    const STEPS: u64 = if cfg!(miri) { 60 } else { 20_000 };
    let world = World::new();
    world.allocate(1);
    let running = AtomicBool::new(true);
    let (left, made) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while running.load(Ordering::Relaxed) {
                let guard = epoch::pin();
                let node = world.head(&guard).newest();
                let (Some(from), to) = (node.place(), world.place()) else { continue };
                if node.relocate(from, to) {
                    made.fetch_add(1, Ordering::Relaxed);
                    left.fetch_add(1, Ordering::Relaxed);
                }
                std::thread::yield_now();
            }
        });
        for step in 0..STEPS {
            let guard = epoch::pin();
            assert!(world.replace(world.head(&guard), world.fragment(step)));
        }
        running.store(false, Ordering::Relaxed);
    });
    let left = left.into_inner() + world.killed.load(Ordering::Relaxed);
    assert_eq!(left, made.into_inner() + STEPS);
    world.end();
}

/// A place that is left twice takes live bytes from its segment twice; one that is never left keeps it for
/// ever.
#[test]
fn relocations_race_with_evictions_and_reads_and_every_place_is_left_once() {
    const STEPS: u64 = if cfg!(miri) { 40 } else { 20_000 };
    let world = World::new();
    let (taken, left) = (Mutex::new(BTreeSet::new()), Mutex::new(BTreeSet::new()));
    let take = |place: Place| {
        taken.lock().unwrap().insert(place.pack());
        place
    };
    let leave = |place: Place| assert!(left.lock().unwrap().insert(place.pack()), "{place:?} was left twice");
    let replace = |entry: &Entry<'_, Counted>, version: Version| {
        let base = PreparedBase::page(version, Version(1), world.content(version.0));
        if let Some(retired) = base.publish(entry, take(world.place()), LENGTH).ok().unwrap() {
            retired.retire(|_, place, _| leave(place));
        }
    };
    replace(&world.table().entry(PAGE, &epoch::pin()).unwrap(), Version(1));
    let running = AtomicBool::new(true);
    let is_running = || {
        std::thread::yield_now();
        running.load(Ordering::Relaxed)
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while is_running() {
                let guard = epoch::pin();
                for node in world.head(&guard).nodes() {
                    let (Some(from), to) = (node.place(), world.place()) else { continue };
                    if node.relocate(from, to) {
                        take(to);
                        leave(from);
                    }
                }
            }
        });
        scope.spawn(|| {
            while is_running() {
                world.head(&epoch::pin()).evict(written);
            }
        });
        scope.spawn(|| {
            while is_running() {
                let guard = epoch::pin();
                let head = world.head(&guard);
                assert_eq!(world.get_or_fetch(head).last(), Some(&head.version().0));
            }
        });
        for step in 0..STEPS {
            let guard = epoch::pin();
            let head = world.head(&guard);
            let next = Version(head.version().0 + 1);
            if step % 3 == 0 {
                let link = head.prepare_link(world.fragment(next.0), 8, u32::MAX);
                assert!(link.publish(take(world.place()), LENGTH).is_ok());
            } else {
                replace(&Entry::Occupied(head), next);
            }
            if step % 8 == 0 {
                std::thread::yield_now();
            }
        }
        running.store(false, Ordering::Relaxed);
    });
    assert_eq!(places(&world), &*taken.lock().unwrap() - &*left.lock().unwrap());
    world.end();
}

/// Where the records of the page lie.
fn places(world: &World) -> BTreeSet<u64> {
    let guard = epoch::pin();
    world.head(&guard).nodes().filter_map(|node| Some(node.place()?.pack())).collect()
}
