//! The page layer as the floor above uses it, with a fragment type whose every birth and death is counted.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::format::{RangeEncoder, SnapshotBase, SnapshotRecord};
use crate::geometry::Geometry;
use crate::ids::{Lsn, PageId, RangeId, SegmentId, SlotId, Version};
use crate::location::Place;
use crate::pages::budget::{Budget, Weight};
use crate::pages::chain::{Head, Part};
use crate::pages::eviction::{Evictor, Swept, Want};
use crate::pages::fragment::{Codec, CodecError, Fragment};
use crate::pages::node::{BaseKind, Chunk, Content, Slot, Target};
use crate::pages::node_ref::NodeRef;
use crate::pages::packed::Homes;
use crate::pages::publish::PreparedBase;
use crate::pages::queues::MOST_TOUCHES;
use crate::pages::segment_map::SegmentMap;
use crate::pages::table::{Entry, PageTable};
use crate::sync::epoch::{self, Guard};

/// In the second leaf of the table.
const PAGE: PageId = PageId(if cfg!(miri) { 301 } else { 70_001 });
const LENGTH: u32 = 10;

/// A list of numbers that notes in a ledger how many there are, and that notices being dropped twice.
struct Counted {
    numbers: Vec<u64>,
    alive: AtomicBool,
    ledger: Arc<AtomicI64>,
}

impl Counted {
    fn new(ledger: &Arc<AtomicI64>, numbers: Vec<u64>) -> Self {
        ledger.fetch_add(1, Ordering::SeqCst);
        Self { numbers, alive: AtomicBool::new(true), ledger: Arc::clone(ledger) }
    }

    fn read(&self) -> &[u64] {
        assert!(self.alive.load(Ordering::SeqCst), "read after drop");
        &self.numbers
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        assert!(self.alive.swap(false, Ordering::SeqCst), "dropped twice");
        self.ledger.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Unused;

impl Codec<Counted> for Unused {
    fn encode(_: &Counted, _: &mut Vec<u8>) -> Result<(), CodecError> {
        Err("not needed here".into())
    }

    fn decode(_: &[u8]) -> Result<Counted, CodecError> {
        Err("not needed here".into())
    }
}

impl Fragment for Counted {
    type Codec = Unused;

    fn merge(oldest_to_newest: &[&Self]) -> Self {
        let numbers = oldest_to_newest.iter().flat_map(|fragment| fragment.read()).copied().collect();
        Self::new(&oldest_to_newest[0].ledger, numbers)
    }

    fn heap_size(&self) -> Option<usize> {
        Some(8 * self.numbers.len())
    }
}

/// A table with what a page cache would have around it. Places are numbered, and each is killed once at most.
struct World {
    table: Option<PageTable<Counted>>,
    budget: Arc<Budget>,
    ledger: Arc<AtomicI64>,
    places: AtomicU64,
    killed: AtomicU64,
}

impl World {
    fn new() -> Self {
        let budget = Arc::new(Budget::new(4096));
        let table = Some(PageTable::new(Arc::clone(&budget), None));
        let (places, killed) = (AtomicU64::new(1), AtomicU64::new(0));
        Self { table, budget, ledger: Arc::default(), places, killed }
    }

    fn table(&self) -> &PageTable<Counted> {
        self.table.as_ref().unwrap()
    }

    fn fragment(&self, number: u64) -> Counted {
        Counted::new(&self.ledger, vec![number])
    }

    fn content(&self, number: u64) -> Content<Counted> {
        Content::new(self.fragment(number), LENGTH.into())
    }

    fn place(&self) -> Place {
        let number = self.places.fetch_add(1, Ordering::Relaxed);
        Place::new(SlotId((number >> 20) as u32), (number & 0xF_FFFF) as u32)
    }

    fn head<'g>(&'g self, guard: &'g Guard) -> Head<'g, Counted> {
        self.table().head(PAGE, guard).unwrap()
    }

    fn publish(&self, entry: &Entry<'_, Counted>, base: PreparedBase<Counted>) -> bool {
        let retired = match base.publish(entry, self.place(), LENGTH) {
            Ok(retired) => retired,
            Err(_) => return false,
        };
        if let Some(retired) = retired {
            retired.retire(|_, _, length| {
                assert_eq!(length, LENGTH);
                self.killed.fetch_add(1, Ordering::Relaxed);
            });
        }
        true
    }

    fn allocate(&self, number: u64) {
        let guard = epoch::pin();
        let entry = self.table().entry(PAGE, &guard).unwrap();
        let version = match &entry {
            Entry::Vacant(_) => Version(1),
            Entry::Occupied(head) => Version(head.version().0 + 1),
        };
        let base = PreparedBase::page(version, version, self.content(number));
        assert!(self.publish(&entry, base));
    }

    fn replace(&self, head: Head<'_, Counted>, content: Counted) -> bool {
        let base = PreparedBase::page(
            Version(head.version().0 + 1),
            head.birth(),
            Content::new(content, LENGTH.into()),
        );
        self.publish(&Entry::Occupied(head), base)
    }

    fn link(&self, head: Head<'_, Counted>, number: u64) -> Result<Version, Counted> {
        head.prepare_link(self.fragment(number), 8, u32::MAX).publish(self.place(), LENGTH)
    }

    fn free(&self) -> bool {
        let guard = epoch::pin();
        let head = self.head(&guard);
        let base = PreparedBase::freed(Version(head.version().0 + 1), head.birth());
        self.publish(&Entry::Occupied(head), base)
    }

    /// Reads a page of which everything is in memory.
    fn get<'g>(&self, head: Head<'g, Counted>) -> &'g [u64] {
        if let Some(page) = head.hit() {
            return page.read();
        }
        head.newest().install(head.read().merge(Vec::new(), None).unwrap()).read()
    }

    /// Reads a page, making up what is missing: a node of version v held the number v.
    fn get_or_fetch<'g>(&self, head: Head<'g, Counted>) -> &'g [u64] {
        if let Some(page) = head.hit() {
            return page.read();
        }
        let read = head.read();
        let fetched = read.missing().map(|node| self.content(node.version().0)).collect();
        head.newest().install(read.merge(fetched, None).unwrap()).read()
    }

    /// Drops the table, lets the collector run, and checks that nothing is left.
    fn end(mut self) {
        self.table = None;
        // The collector is the process's, and some tests stand still under a guard for a second or two.
        let patience = Instant::now() + Duration::from_secs(60);
        while self.ledger.load(Ordering::SeqCst) != 0 || self.budget.used_exactly() != 0 {
            epoch::pin().flush();
            if Instant::now() > patience {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(self.ledger.load(Ordering::SeqCst), 0, "fragments left");
        let budget = &self.budget;
        assert_eq!([budget.used_exactly(), budget.nodes_exactly(), budget.dead_exactly()], [0; 3]);
    }

    /// Everything in the table, counted one by one.
    fn recount(&self, pages: impl Iterator<Item = u64>) -> Weight {
        let guard = epoch::pin();
        let recounts = pages.filter_map(|id| Some(self.table().head(PageId(id), &guard)?.recount()));
        recounts.fold(Weight::default(), |sum, page| Weight {
            contents: sum.contents + page.contents,
            nodes: sum.nodes + page.nodes,
        })
    }

    /// Has the collector free what is dead.
    fn bury_the_dead(&self) {
        let patience = Instant::now() + Duration::from_secs(60);
        while self.budget.dead_exactly() != 0 && Instant::now() < patience {
            epoch::pin().flush();
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn written(_: Place, _: u32) -> bool {
    true
}

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
        assert_eq!(head.read().parts().len(), 1);
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
        assert!(
            matches!(head.read().parts(), [Part::Resident { fragment: a, .. }, Part::Resident { fragment: b, .. }]
            if a.read() == [3] && b.read() == [1, 2])
        );
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
        for number in 2..=20 {
            world.link(world.head(&guard), number).ok().unwrap();
        }
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

/// A search computes a slot's index from its depth, unless slots were wasted by lost races. With some in every chunk, it must
/// walk.
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
        assert!(matches!(read.parts()[0], Part::Resident { fragment, .. } if fragment.read() == [6]));
        assert_eq!(read.missing().map(|node| node.version().0).collect::<Vec<_>>(), [5, 4, 3, 2, 1]);
        assert_eq!(world.get_or_fetch(head), [1, 2, 3, 4, 5, 6]);
        assert!(!head.evict(written).some_stay);
        assert_eq!(head.read().missing().count(), 6);
        assert_eq!(head.evict(written).bytes, 0);
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
    for step in 1..2000_u64 {
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
    let slots = |count: u64| (64 + count * size_of::<Slot<Counted>>() as u64).next_multiple_of(16);
    assert_eq!(sizes, [3, 3, 3, 1, 7, 7, 7].map(slots));
    drop(guard);
    world.end();
}

/// Where segment 1 is slot 0: an LSN in it is the number of a place.
const SEGMENT: u64 = 1 << 20;

fn world_with_homes() -> World {
    let homes = Homes::new(Geometry::new(SEGMENT as u32), SegmentMap::new([(SegmentId(1), SlotId(0))]));
    let mut world = World::new();
    world.table = Some(PageTable::new(Arc::clone(&world.budget), Some(homes)));
    world
}

fn record_at(place: Place) -> SnapshotRecord {
    SnapshotRecord { lsn: Lsn(SEGMENT + u64::from(place.offset)), length: LENGTH }
}

/// Packed pages of the range of `PAGE`, each with links.
fn packed(pages: &[(PageId, bool, Place, &[Place])]) -> Box<[u8]> {
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
    assert!(!world.table().restore_range(RangeId(u32::MAX >> 2), Box::default()));
    assert!(world.table().restore_range(range, bytes.clone()));
    let other = world.table().restore_range(RangeId(range.0 + 1), bytes.clone());
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

/// A table with pages 1 to `pages`.
fn world_of(pages: u64) -> World {
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

fn evict(
    world: &World,
    evictor: &Evictor,
    bytes: u64,
    is_written: impl Fn(Place, u32) -> bool,
) -> Option<Swept> {
    let want = Want { bytes, insist: true, patience: Duration::ZERO };
    evictor.sweep(world.table(), want, is_written)
}

/// The pages that have contents in memory, of those up to 200.
fn residents(world: &World) -> Vec<u64> {
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
fn pages_that_are_read_back_linked_to_or_freed_between_evictions_are_in_one_queue_once() {
    let (world, evictor) = (world_of(60), Evictor::new(4096));
    for round in 0..20 {
        for id in 1..=60 {
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
        assert!(evictor.queued() <= 60, "{}", evictor.queued());
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

/// The evictor is told once of what comes in. If one announcement were lost, its page would stay for ever.
#[test]
fn no_contents_stay_behind_when_threads_put_them_in_while_others_evict() {
    const PAGES: u64 = 100;
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

/// The contents of version v end in the number v, whoever reads them and whatever is evicted, replaced or freed meanwhile.
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
