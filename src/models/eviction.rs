//! Contents come in while another thread evicts: none may stay behind unseen, and none may be in the queues
//! twice.
//!
//! The evictor is the thread that begins. It looks at contents before it takes them, and of a look and a
//! change by one thread the checker only sees the last when it asks which order to try next; so it has to
//! come upon the change first.

use std::sync::Arc;
use std::time::Duration;

use loom::thread;

use super::{Number, explore};
use crate::ids::{PageId, SlotId, Version};
use crate::location::Place;
use crate::pages::budget::Budget;
use crate::pages::content::Content;
use crate::pages::eviction::{Evictor, Want};
use crate::pages::publish::PreparedBase;
use crate::pages::table::PageTable;
use crate::sync::epoch;

/// Two pages of one stride, two of another.
const PAGES: [PageId; 4] = [PageId(1), PageId(2), PageId(5), PageId(6)];

struct World {
    table: PageTable<Number>,
    evictor: Evictor,
}

impl World {
    fn new() -> Arc<Self> {
        let table = PageTable::new(Arc::new(Budget::new(0)), None);
        Arc::new(Self { table, evictor: Evictor::new(0) })
    }

    fn allocate(&self, page: usize) {
        let guard = epoch::pin();
        let entry = self.table.entry(PAGES[page], &guard).unwrap();
        let base = PreparedBase::page(Version(1), Version(1), Content::new(Number::new(1), 0));
        assert!(base.publish(&entry, Place::new(SlotId(0), 1), 1).is_ok());
    }

    /// Reads the page back, if it is not in memory.
    fn read_back(&self, page: usize) {
        let guard = epoch::pin();
        let newest = self.table.head(PAGES[page], &guard).unwrap().newest();
        if newest.merged().is_none() {
            newest.install(Content::new(Number::new(1), 0));
        }
    }

    fn evict(&self, is_written: bool) {
        let want = Want { bytes: u64::MAX, insist: true, patience: Duration::ZERO };
        let swept = self.evictor.sweep(&self.table, want, |_, _| is_written);
        assert!(swept.is_some(), "nobody else evicts");
    }

    /// Everything that is in memory can be evicted, and then the queues are empty.
    fn check(&self) {
        self.evict(true);
        let guard = epoch::pin();
        for page_id in PAGES {
            let head = self.table.head(page_id, &guard);
            assert!(head.is_none_or(|head| head.newest().merged().is_none()), "{page_id} stayed behind");
        }
        assert_eq!(self.evictor.queued(), 0);
    }
}

#[test]
fn what_is_read_back_while_it_is_evicted_is_evicted_or_announced() {
    explore("eviction: read back, evict", None, || {
        let world = World::new();
        world.allocate(0);
        let other = Arc::clone(&world);
        let reader = thread::spawn(move || other.read_back(0));
        world.evict(true);
        reader.join().unwrap();
        world.check();
    });
}

#[test]
fn what_stays_because_it_is_not_written_is_in_one_queue() {
    explore("eviction: read back twice, evict what is not written", Some(3), || {
        let world = World::new();
        world.allocate(0);
        let other = Arc::clone(&world);
        let reader = thread::spawn(move || {
            other.read_back(0);
            other.read_back(0);
        });
        world.evict(true);
        world.evict(false);
        reader.join().unwrap();
        world.check();
    });
}

#[test]
fn announcements_of_two_strides_are_all_taken_over() {
    explore("eviction: announcements in two strides, evict", Some(3), || {
        let world = World::new();
        world.allocate(0);
        let other = Arc::clone(&world);
        let allocator = thread::spawn(move || {
            other.allocate(2);
            other.allocate(1);
        });
        let other = Arc::clone(&world);
        let neighbour = thread::spawn(move || other.allocate(3));
        world.evict(true);
        allocator.join().unwrap();
        neighbour.join().unwrap();
        world.read_back(2);
        world.check();
    });
}
