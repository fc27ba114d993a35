//! Garbage collection moves the record of a page while a writer replaces the page, and a reader evicts and
//! reads it back. Afterwards each segment's live bytes are what they should be, and whoever read a place
//! found the bytes there.

use std::sync::Arc;

use loom::thread;

use super::{Number, explore};
use crate::ids::{HeadId, Lsn, PageId, SegmentId, SlotId, Version};
use crate::location::Place;
use crate::pages::budget::Budget;
use crate::pages::content::Content;
use crate::pages::publish::PreparedBase;
use crate::pages::table::{Entry, PageTable};
use crate::segments::SegmentAccountant;
use crate::sync::{SharedCell, epoch};

const PAGE: PageId = PageId(1);
const LENGTH: u32 = 10;
/// Where the page's first record is, where its copy goes, and where the record that replaces it is.
const OLD: Place = Place::new(SlotId(0), 80);
const COPY: Place = Place::new(SlotId(1), 80);
const NEW: Place = Place::new(SlotId(2), 80);

struct World {
    table: PageTable<Number>,
    accountant: SegmentAccountant,
    /// The bytes at each slot's place.
    log: [SharedCell<u64>; 2],
}

// SAFETY: `log` is written before a place is published and read after; the checker objects if not.
unsafe impl Sync for World {}

impl World {
    fn new() -> Self {
        let table = PageTable::new(Arc::new(Budget::new(0)), None);
        let accountant = SegmentAccountant::new();
        for (slot, head) in [(0, HeadId::FRESH), (1, HeadId::RELOCATED), (2, HeadId::FRESH)] {
            accountant.open(SlotId(slot), SegmentId(1 + u64::from(slot)), head);
            accountant.credit(SlotId(slot), LENGTH.into(), true, Lsn(0));
        }
        let world = Self { table, accountant, log: [SharedCell::new(7), SharedCell::new(0)] };
        let guard = epoch::pin();
        let entry = world.table.entry(PAGE, &guard).unwrap();
        let base = PreparedBase::page(Version(1), Version(1), Content::new(Number::new(7), 0));
        assert!(base.publish(&entry, OLD, LENGTH).is_ok_and(|retired| retired.is_none()));
        drop(guard);
        world
    }

    fn relocate(&self) {
        let guard = epoch::pin();
        let Some(node) = self.table.head(PAGE, &guard).and_then(|head| head.node(Version(1))) else {
            return self.accountant.abort(COPY.slot, LENGTH);
        };
        // SAFETY: nobody knows the copy yet.
        self.log[1].with_mut(|bytes| unsafe { *bytes = 7 });
        if node.relocate(OLD, COPY) {
            self.accountant.kill(OLD.slot, LENGTH, HeadId::RELOCATED, Lsn(600));
        } else {
            self.accountant.abort(COPY.slot, LENGTH);
        }
    }

    fn replace(&self) {
        let guard = epoch::pin();
        let head = self.table.head(PAGE, &guard).unwrap();
        let base = PreparedBase::page(Version(2), Version(1), Content::new(Number::new(8), 0));
        let retired = base.publish(&Entry::Occupied(head), NEW, LENGTH).unwrap().unwrap();
        retired.retire(|_, place, length| {
            self.accountant.kill(place.slot, length, HeadId::FRESH, Lsn(500));
        });
    }

    /// Reads the page as of whatever version is the head.
    fn page_in(&self) {
        let guard = epoch::pin();
        let head = self.table.head(PAGE, &guard).unwrap();
        let expected = 6 + head.version().0;
        if let Some(page) = head.hit() {
            return assert_eq!(page.get(), expected);
        }
        let Some(place) = head.newest().place() else { return };
        assert_ne!(place, NEW, "only the old record is evicted");
        // SAFETY: the place is known, so its bytes were written before.
        let bytes = self.log[place.slot.0 as usize].with(|bytes| unsafe { *bytes });
        assert_eq!(head.newest().install(Content::new(Number::new(bytes), 0)).get(), expected);
    }

    fn evict(&self) {
        let guard = epoch::pin();
        self.table.head(PAGE, &guard).unwrap().evict(|place, _| place != NEW);
    }

    /// All live bytes are the new record's.
    fn check(&self) {
        assert_eq!([OLD, COPY, NEW].map(|place| self.accountant.live(place.slot)), [0, 0, LENGTH.into()]);
        let mut empty: Vec<u32> = self.accountant.take_empties().map(|slot| slot.0).collect();
        empty.sort_unstable();
        assert_eq!(empty, [0, 1]);
        assert_eq!(self.accountant.live_bytes(), LENGTH.into());
    }
}

#[test]
fn each_record_leaves_its_segment_once_and_no_move_is_lost() {
    explore("location: relocate, replace", None, || {
        let world = Arc::new(World::new());
        let other = Arc::clone(&world);
        let mover = thread::spawn(move || other.relocate());
        world.replace();
        mover.join().unwrap();
        world.check();
    });
}

#[test]
fn who_reads_a_place_finds_the_bytes_there() {
    explore("location: relocate, replace, evict and page-in", Some(2), || {
        let world = Arc::new(World::new());
        let run = |work: fn(&World)| {
            let world = Arc::clone(&world);
            thread::spawn(move || work(&world))
        };
        let threads = [run(World::relocate), run(World::replace)];
        world.evict();
        world.page_in();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        world.check();
    });
}

#[test]
fn two_readers_and_an_eviction_agree_on_what_they_read() {
    explore("location: relocate, evict, page-in, page-in", Some(2), || {
        let world = Arc::new(World::new());
        world.evict();
        let run = |work: fn(&World)| {
            let world = Arc::clone(&world);
            thread::spawn(move || work(&world))
        };
        let threads = [run(World::relocate), run(World::page_in), run(World::evict)];
        world.page_in();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        world.replace();
        world.check();
    });
}
