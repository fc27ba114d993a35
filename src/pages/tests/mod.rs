//! The page layer as the floor above uses it, with a fragment type whose every birth and death is counted.

mod chains;
mod evictor;
mod exchanges;
mod races;
mod restored;
mod weights;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::ids::{PageId, SlotId, Version};
use crate::location::Place;
use crate::pages::budget::{Budget, Weight};
use crate::pages::chain::Head;
use crate::pages::content::Content;
use crate::pages::fragment::{Codec, CodecError, Fragment};
use crate::pages::publish::PreparedBase;
use crate::pages::table::{Entry, PageTable};
use crate::sync::epoch;
use crate::sync::epoch::Guard;

/// In the second leaf of the table.
const PAGE: PageId = PageId(if cfg!(miri) { 301 } else { 70_001 });
const LENGTH: u32 = 10;
/// How long the collector may take. It is the process's, and some tests stand still under a guard for a
/// second or two; under an interpreter, of which all threads have one processor, that is minutes.
const PATIENCE: Duration = Duration::from_secs(if cfg!(miri) { 3600 } else { 60 });

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
        let patience = Instant::now() + PATIENCE;
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
        let patience = Instant::now() + PATIENCE;
        while self.budget.dead_exactly() != 0 && Instant::now() < patience {
            epoch::pin().flush();
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn written(_: Place, _: u32) -> bool {
    true
}
