//! Memory for the nodes of pages and for their contents, cut from regions that the system can map with huge pages.
//!
//! The nodes of a large store lie all over memory, and most of what a lookup or a link costs is waiting for them. A processor remembers
//! where some thousand pages of memory are: enough for a few MiB in pages of 4 KiB. Beyond that each look at a node begins with a walk
//! through the system's tables, which are as cold as the node itself, and in a virtual machine each step of that walk is a walk of its own.
//! With pages of 2 MiB the same memory of the processor is enough for gigabytes. Linux gives them to whoever asks for them, for memory
//! that begins at a multiple of their size. The general allocator does not ask, and what it had between its own blocks would never go back.
//!
//! ```text
//!  region (2 MiB): ┌ header ┬─────────┬────────────────┬────────────────┬─── ─ ─ ──┐
//!                  │ spans  │ span 0  │ span 1         │ span 2         │          │
//!                  └────────┴─────────┴────────────────┴────────────────┴─── ─ ─ ──┘
//!  span (64 KiB):                     │ blocks of one size, as many as fit         │
//! ```
//!
//! Where a block belongs follows from its address, so a block needs no word beside it.
//!
//! # Invariants
//!
//! - **(A)** A block is with its user, *or* in its span's list of free blocks, *or* in the part of its span that was never handed out.
//! - **(B)** A region belongs to one arena for life. Its header and its free blocks are touched under that arena's lock only.
//! - **(C)** A span that is in use and has room is in the list of its size, a span that is not in use in the list of unused ones. A full
//!   span is in no list.
//! - **(D)** Of the regions that have no block in use an arena keeps one, so that a page that comes and goes does not map and unmap memory.
//!   All others go back to the system.
//! - **(E)** Nobody has to wait for a thread that was stopped inside an arena: to take a block, it goes on to the next arena; who finds the
//!   arena of a block taken may keep the block for now ([`try_free`]).
//!
//! An arena is for the process, like the stocks in front of it ([`spare`](super::spare)): a chain can outlive its store in a deferral.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;

use crate::pages::region::{self, REGION};
use crate::sync::{Mutex, MutexGuard};

const SPAN: usize = 64 << 10;
const SPANS: usize = REGION / SPAN;
/// Sizes are multiples of this, and blocks are aligned to it.
const UNIT: usize = 16;
/// As processors fetch memory. A block whose size is a multiple of this, or divides it, lies on no more lines than it must.
const LINE: usize = 64;
/// Larger blocks are the general allocator's.
const MOST_UNITS: usize = (4 << 10) / UNIT;
/// More than there are threads inside at a time, but for a few that were stopped there.
#[cfg(not(any(loom, shuttle)))]
const ARENAS: usize = 8;

/// What memory is for. Contents go when pages are evicted, and nodes stay: they have regions of their own, so that those of contents
/// can go back as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Nodes,
    Contents,
}

#[cfg(not(any(loom, shuttle)))]
static NODES: [Mutex<Arena>; ARENAS] = [const { Mutex::new(Arena::new()) }; ARENAS];
#[cfg(not(any(loom, shuttle)))]
static CONTENTS: [Mutex<Arena>; ARENAS] = [const { Mutex::new(Arena::new()) }; ARENAS];

/// All arenas for a purpose. A checker's locks can't lie in a static, so it has none.
fn pool(purpose: Purpose) -> &'static [Mutex<Arena>] {
    #[cfg(not(any(loom, shuttle)))]
    return match purpose {
        Purpose::Nodes => &NODES,
        Purpose::Contents => &CONTENTS,
    };
    #[cfg(any(loom, shuttle))]
    return match purpose {
        Purpose::Nodes | Purpose::Contents => &[],
    };
}

/// Whether blocks of a layout come from here, and not from the general allocator.
const fn is_ours(layout: Layout) -> bool {
    layout.size() > 0 && layout.size() <= MOST_UNITS * UNIT && layout.align() <= UNIT
}

/// What a block takes of memory.
pub(super) const fn footprint(layout: Layout) -> u64 {
    if is_ours(layout) { layout.size().next_multiple_of(UNIT) as u64 } else { general_footprint(layout) }
}

/// What an allocation of the general allocator takes of memory: allocators keep a word beside it, and round up to what they align to,
/// which is the same as here.
pub(super) const fn general_footprint(layout: Layout) -> u64 {
    (layout.size() + size_of::<usize>()).next_multiple_of(UNIT) as u64
}

/// How many units a block takes; `None` if the general allocator has it. That has all of them for those who look for uses of memory
/// after its end, and under a checker of interleavings.
const fn units(layout: Layout) -> Option<usize> {
    let is_on = !cfg!(any(miri, loom, shuttle, sanitized));
    if is_on && is_ours(layout) { Some(layout.size().div_ceil(UNIT)) } else { None }
}

/// Takes a block, and up to `more` others if they are at hand, which go to `keep` as long as it says that it keeps them.
pub(super) fn allocate(
    layout: Layout,
    purpose: Purpose,
    more: usize,
    mut keep: impl FnMut(NonNull<u8>) -> bool,
) -> NonNull<u8> {
    let Some(units) = units(layout) else {
        // SAFETY: nodes have a size, and so have contents.
        let memory = unsafe { alloc(layout) };
        return NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout));
    };
    let pool = pool(purpose);
    let mut found = pool.iter().enumerate().find_map(|(index, arena)| Some((index, arena.try_lock()?)));
    let (index, arena) = found.get_or_insert_with(|| (0, pool[0].lock()));
    let block = arena.take(units, *index);
    for other in (0..more).map_while(|_| arena.take_at_hand(units)) {
        if !keep(other) {
            // SAFETY: taken just now, and nobody keeps it.
            unsafe { arena.give(other) };
            break;
        }
    }
    block
}

/// Gives a block back. False if another thread is in its arena just now: then it is still the caller's.
///
/// # Safety
/// It came from [`allocate`] with the same layout and purpose, and nobody uses it any more.
pub(super) unsafe fn try_free(block: NonNull<u8>, layout: Layout, purpose: Purpose) -> bool {
    // SAFETY: by the contract.
    unsafe { free_with(block, layout, purpose, Mutex::try_lock) }
}

/// Gives a block back.
///
/// # Safety
/// As for [`try_free`].
pub(super) unsafe fn free(block: NonNull<u8>, layout: Layout, purpose: Purpose) {
    // SAFETY: by the contract.
    unsafe { free_with(block, layout, purpose, |arena| Some(arena.lock())) };
}

/// # Safety
/// As for [`try_free`].
unsafe fn free_with(
    block: NonNull<u8>,
    layout: Layout,
    purpose: Purpose,
    enter: fn(&'static Mutex<Arena>) -> Option<MutexGuard<'static, Arena>>,
) -> bool {
    if units(layout).is_none() {
        // SAFETY: then it is the general allocator's.
        unsafe { dealloc(block.as_ptr(), layout) };
        return true;
    }
    // SAFETY: a block lies in a region, whose header was written before any block of it was handed out and never changes.
    let Header { arena, .. } = unsafe { *header_of(block) };
    let Some(mut arena) = pool(purpose).get(arena).and_then(enter) else { return false };
    // SAFETY: by the contract, it is a block of that arena that nobody uses.
    unsafe { arena.give(block) };
    true
}

/// What a region begins with. Never changes.
#[derive(Clone, Copy)]
struct Header {
    arena: usize,
    /// Its number in that arena.
    region: usize,
}

/// A free block: its first bytes name the next one.
struct Free {
    next: Option<NonNull<Self>>,
}

const _: () = assert!(size_of::<Header>() <= LINE && size_of::<Free>() <= UNIT && align_of::<Free>() <= UNIT);

fn header_of(block: NonNull<u8>) -> *mut Header {
    block.as_ptr().map_addr(|address| address & !(REGION - 1)).cast()
}

/// What is known of a span.
struct Span {
    memory: NonNull<u8>,
    bytes: usize,
    /// The size of its blocks; 0 if the span is not in use.
    units: usize,
    /// How many blocks are with their users.
    used: usize,
    /// How many blocks were ever handed out.
    begun: usize,
    free: Option<NonNull<Free>>,
    /// Its neighbours in the list that it is in (C).
    next: Option<usize>,
    previous: Option<usize>,
}

impl Span {
    fn new(region: NonNull<u8>, index: usize) -> Self {
        // The first span gives way to the header, by as much as keeps blocks of a line's size on lines of their own.
        let skipped = if index == 0 { LINE } else { 0 };
        // SAFETY: inside the region.
        let memory = unsafe { region.add(index * SPAN + skipped) };
        let bytes = SPAN - skipped;
        Self { memory, bytes, units: 0, used: 0, begun: 0, free: None, next: None, previous: None }
    }

    fn is_full(&self) -> bool {
        self.used == self.bytes / (self.units * UNIT)
    }

    /// A block of a span that has room.
    fn take(&mut self) -> NonNull<u8> {
        self.used += 1;
        if let Some(block) = self.free {
            // SAFETY: a free block is ours, and begins with what `give` wrote (A, B).
            self.free = unsafe { block.read() }.next;
            return block.cast();
        }
        let offset = self.begun * self.units * UNIT;
        self.begun += 1;
        // SAFETY: not all blocks are used and none is free, so one was never handed out: it lies in the span.
        unsafe { self.memory.add(offset) }
    }

    /// Takes a block back.
    ///
    /// # Safety
    /// It is one of the span's, and nobody uses it any more.
    unsafe fn give(&mut self, block: NonNull<u8>) {
        let block = block.cast::<Free>();
        // SAFETY: the block is ours now, large enough and aligned.
        unsafe { block.write(Free { next: self.free }) };
        self.free = Some(block);
        self.used -= 1;
    }
}

struct Region {
    /// `None`: it went back to the system, and the number is free for another.
    memory: Option<NonNull<u8>>,
    /// How many of its spans are in use.
    used: usize,
}

/// Some regions with what is known of them.
struct Arena {
    regions: Vec<Region>,
    /// The spans of all regions: those of region `n` begin at `n * SPANS`.
    spans: Vec<Span>,
    /// For each size the first span that has room (C); for 0 units the first that is not in use.
    lists: [Option<usize>; MOST_UNITS + 1],
    /// Regions none of whose spans is in use.
    empty: usize,
}

// SAFETY: the pointers are to memory that the arena owns, and that only it touches as long as it is not with its user (A, B).
unsafe impl Send for Arena {}

impl Arena {
    const fn new() -> Self {
        Self { regions: Vec::new(), spans: Vec::new(), lists: [None; MOST_UNITS + 1], empty: 0 }
    }

    /// A block; `number` is the arena's own.
    fn take(&mut self, units: usize, number: usize) -> NonNull<u8> {
        loop {
            if let Some(block) = self.take_at_hand(units) {
                return block;
            }
            match self.lists[0] {
                Some(span) => self.begin(span, units),
                None => self.add_region(number),
            }
        }
    }

    /// A block of a span that is in use already.
    fn take_at_hand(&mut self, units: usize) -> Option<NonNull<u8>> {
        let id = self.lists[units]?;
        let span = &mut self.spans[id];
        let block = span.take();
        if span.is_full() {
            self.remove(id);
        }
        Some(block)
    }

    /// Takes a block back.
    ///
    /// # Safety
    /// It came from this arena, and nobody uses it any more.
    unsafe fn give(&mut self, block: NonNull<u8>) {
        // SAFETY: the header of one of our regions.
        let Header { region, .. } = unsafe { *header_of(block) };
        let id = region * SPANS + (block.addr().get() % REGION) / SPAN;
        let span = &mut self.spans[id];
        let was_full = span.is_full();
        // SAFETY: by the contract.
        unsafe { span.give(block) };
        let is_unused = span.used == 0;
        if was_full {
            self.insert(id);
        }
        if is_unused {
            self.end(id);
        }
    }

    /// Takes a span into use for blocks of one size.
    fn begin(&mut self, id: usize, units: usize) {
        self.remove(id);
        let span = &mut self.spans[id];
        (span.units, span.begun, span.free) = (units, 0, None);
        self.insert(id);
        let region = &mut self.regions[id / SPANS];
        self.empty -= usize::from(region.used == 0);
        region.used += 1;
    }

    /// Puts a span out of use, and gives back its region if it is the second that has none in use (D).
    fn end(&mut self, id: usize) {
        self.remove(id);
        self.spans[id].units = 0;
        self.insert(id);
        let region = &mut self.regions[id / SPANS];
        region.used -= 1;
        if region.used > 0 {
            return;
        }
        self.empty += 1;
        if self.empty > 1 {
            self.remove_region(id / SPANS);
        }
    }

    fn add_region(&mut self, arena: usize) {
        let memory = region::map_huge();
        let vacant = self.regions.iter().position(|region| region.memory.is_none());
        let region = vacant.unwrap_or(self.regions.len());
        // SAFETY: fresh memory, aligned to far more than a header.
        unsafe { memory.cast::<Header>().write(Header { arena, region }) };
        let entry = Region { memory: Some(memory), used: 0 };
        match vacant {
            Some(region) => self.regions[region] = entry,
            None => self.regions.push(entry),
        }
        self.empty += 1;
        let first = region * SPANS;
        let known = first..self.spans.len().min(first + SPANS);
        self.spans.splice(known, (0..SPANS).map(|index| Span::new(memory, index)));
        (first..first + SPANS).rev().for_each(|span| self.insert(span));
    }

    fn remove_region(&mut self, region: usize) {
        (region * SPANS..(region + 1) * SPANS).for_each(|span| self.remove(span));
        if let Some(memory) = self.regions[region].memory.take() {
            self.empty -= 1;
            // SAFETY: from `add_region`; none of its blocks is used, and none of its spans is in a list.
            unsafe { region::unmap(memory) };
        }
    }

    /// Puts a span at the beginning of its list.
    fn insert(&mut self, id: usize) {
        let first = self.lists[self.spans[id].units].replace(id);
        self.spans[id].next = first;
        self.spans[id].previous = None;
        if let Some(first) = first {
            self.spans[first].previous = Some(id);
        }
    }

    /// Takes a span out of its list.
    fn remove(&mut self, id: usize) {
        let Span { units, next, previous, .. } = self.spans[id];
        match previous {
            Some(previous) => self.spans[previous].next = next,
            None => self.lists[units] = next,
        }
        if let Some(next) = next {
            self.spans[next].previous = previous;
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use std::alloc::Layout;
    use std::collections::BTreeMap;
    use std::ptr::NonNull;

    use super::{Arena, MOST_UNITS, Purpose, SPAN, SPANS, UNIT};

    /// An arena of the test's own, with what it handed out.
    struct Tested {
        arena: Arena,
        blocks: BTreeMap<usize, (NonNull<u8>, usize)>,
    }

    impl Tested {
        fn new() -> Self {
            Self { arena: Arena::new(), blocks: BTreeMap::new() }
        }

        fn take(&mut self, units: usize) -> usize {
            let block = self.arena.take(units, 7);
            let (address, bytes) = (block.addr().get(), units * UNIT);
            assert!(address.is_multiple_of(UNIT));
            let before = self.blocks.range(..=address).next_back();
            assert!(before.is_none_or(|(before, (_, units))| before + units * UNIT <= address), "overlap");
            let after = self.blocks.range(address..).next();
            assert!(after.is_none_or(|(after, _)| address + bytes <= *after), "overlap");
            // SAFETY: the block is ours, and so long.
            unsafe { block.write_bytes(units as u8, bytes) };
            self.blocks.insert(address, (block, units));
            address
        }

        fn give(&mut self, address: usize) {
            let (block, units) = self.blocks.remove(&address).expect("a block");
            for offset in [0, units * UNIT - 1] {
                // SAFETY: the block is ours until it is given back, and so long.
                unsafe { assert_eq!(block.add(offset).read(), units as u8, "somebody else wrote here") };
            }
            // SAFETY: from this arena, and not used any more.
            unsafe { self.arena.give(block) };
        }

        fn give_all(&mut self) {
            let all: Vec<usize> = self.blocks.keys().copied().collect();
            all.into_iter().for_each(|address| self.give(address));
        }

        fn mapped(&self) -> usize {
            self.arena.regions.iter().filter(|region| region.memory.is_some()).count()
        }

        /// What the invariants say of lists and counts.
        fn check(&self) {
            let Arena { regions, spans, lists, empty } = &self.arena;
            let mut listed = vec![0; spans.len()];
            for (units, first) in lists.iter().enumerate() {
                let mut previous = None;
                let mut next = *first;
                while let Some(id) = next {
                    let span = &spans[id];
                    assert_eq!((span.units, span.previous), (units, previous));
                    assert!(units == 0 || !span.is_full(), "a full span in a list");
                    listed[id] += 1;
                    (previous, next) = (next, span.next);
                }
            }
            for (number, region) in regions.iter().enumerate() {
                let spans = number * SPANS..(number + 1) * SPANS;
                let used = self.arena.spans[spans.clone()].iter().filter(|span| span.units > 0).count();
                let is_mapped = region.memory.is_some();
                assert_eq!(region.used, used);
                for id in spans {
                    let span = &self.arena.spans[id];
                    let has_room = span.units == 0 || !span.is_full();
                    assert_eq!(listed[id], usize::from(is_mapped && has_room), "span {id}");
                }
            }
            let unused = regions.iter().filter(|region| region.memory.is_some() && region.used == 0).count();
            assert_eq!(*empty, unused);
            let used: usize = spans.iter().map(|span| span.used).sum();
            assert_eq!(used, self.blocks.len());
        }
    }

    impl Drop for Tested {
        fn drop(&mut self) {
            self.give_all();
            (0..self.arena.regions.len()).for_each(|region| self.arena.remove_region(region));
        }
    }

    fn random(state: &mut u64) -> usize {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 33) as usize
    }

    #[test]
    fn blocks_never_overlap_and_keep_what_is_in_them() {
        let mut tested = Tested::new();
        let (mut state, rounds) = (0x9E37_79B9, if cfg!(miri) { 400 } else { 40_000 });
        let sizes = [1, 3, 5, 23, 50, MOST_UNITS];
        for round in 0..rounds {
            // Grows and shrinks.
            let grows = round % (rounds / 4) < rounds / 8;
            if tested.blocks.is_empty() || random(&mut state) % 10 < if grows { 8 } else { 3 } {
                tested.take(sizes[random(&mut state) % sizes.len()]);
            } else {
                let from = random(&mut state) % tested.blocks.len();
                let address = *tested.blocks.keys().nth(from).expect("a block");
                tested.give(address);
            }
            if round % (rounds / 100) == 0 {
                tested.check();
            }
        }
        assert!(cfg!(miri) || tested.mapped() > 1, "more than a region");
        tested.give_all();
        tested.check();
    }

    #[test]
    fn all_regions_without_a_block_go_back_but_one() {
        let mut tested = Tested::new();
        let per_span = SPAN / (MOST_UNITS * UNIT);
        (0..3 * SPANS * per_span).for_each(|_| _ = tested.take(MOST_UNITS));
        let full = tested.mapped();
        assert!(full > 3, "the first block of each region gives way to the header");
        let last = *tested.blocks.keys().next_back().expect("a block");
        let others: Vec<usize> = tested.blocks.keys().copied().filter(|block| *block != last).collect();
        others.into_iter().for_each(|block| tested.give(block));
        assert_eq!(tested.mapped(), 2, "the one with a block, and one to spare");
        tested.check();
        tested.give(last);
        assert_eq!(tested.mapped(), 1);
        // Another size takes what is there, and the numbers of regions are used again.
        (0..3 * SPANS * per_span).for_each(|_| _ = tested.take(MOST_UNITS / 2));
        assert_eq!(tested.arena.regions.len(), full);
        tested.check();
    }

    #[test]
    fn a_page_that_comes_and_goes_maps_no_memory() {
        let mut tested = Tested::new();
        let first = tested.take(5);
        let region = tested.arena.regions[0].memory;
        tested.give(first);
        for _ in 0..100 {
            let block = tested.take(5);
            tested.give(block);
            assert_eq!(tested.arena.regions[0].memory, region);
        }
        assert_eq!(tested.mapped(), 1);
    }

    #[test]
    fn other_layouts_are_the_general_allocators() {
        let of = |size, align| Layout::from_size_align(size, align).expect("a layout");
        let largest = MOST_UNITS * UNIT;
        let ours = [of(1, 1), of(40, 8), of(largest, 16)];
        assert_eq!(ours.map(|layout| super::units(layout).is_some()), [!cfg!(any(miri, sanitized)); 3]);
        for layout in [of(largest + 1, 16), of(64, 64)] {
            assert_eq!(super::units(layout), None);
            let block = super::allocate(layout, Purpose::Nodes, 3, |_| panic!("there are no others"));
            // SAFETY: from above.
            assert!(unsafe { super::try_free(block, layout, Purpose::Nodes) });
        }
    }

    /// These look at the arenas of the process.
    #[cfg(not(any(miri, sanitized)))]
    mod of_the_process {
        use std::thread;

        use super::super::{Header, NODES, allocate, free, header_of, try_free};
        use super::*;
        use crate::pages::region::REGION;

        const LAYOUT: Layout = Layout::new::<[u64; 61]>();

        fn arena_of(block: NonNull<u8>) -> usize {
            // SAFETY: a block of the process's arenas.
            let Header { arena, .. } = unsafe { *header_of(block) };
            arena
        }

        #[test]
        fn nobody_waits_for_who_was_stopped_in_an_arena() {
            let block = allocate(LAYOUT, Purpose::Nodes, 0, |_| false);
            let stopped = NODES[arena_of(block)].lock();
            let sent = &Sent(block);
            // On a thread of its own, which has not locked the arena.
            thread::scope(|scope| {
                let worker = scope.spawn(move || {
                    let other = allocate(LAYOUT, Purpose::Nodes, 0, |_| false);
                    assert_ne!(arena_of(other), arena_of(sent.0));
                    // SAFETY: both are of this layout, and nobody uses them.
                    unsafe {
                        assert!(!try_free(sent.0, LAYOUT, Purpose::Nodes), "its arena is taken");
                        free(other, LAYOUT, Purpose::Nodes);
                    }
                });
                worker.join().expect("no panic");
            });
            drop(stopped);
            // SAFETY: still ours.
            unsafe { free(block, LAYOUT, Purpose::Nodes) };
        }

        struct Sent(NonNull<u8>);

        // SAFETY: a block without contents, that one thread at a time works with.
        unsafe impl Send for Sent {}
        // SAFETY: as above.
        unsafe impl Sync for Sent {}

        #[test]
        fn blocks_wander_between_threads() {
            let rounds = 20_000;
            let (sender, receiver) = std::sync::mpsc::sync_channel::<Sent>(64);
            let free_all = thread::spawn(move || {
                for Sent(block) in receiver {
                    // SAFETY: the sender filled it and uses it no more.
                    unsafe {
                        assert_eq!(block.add(1).read(), block.read());
                        free(block, LAYOUT, Purpose::Nodes);
                    }
                }
            });
            for round in 0..rounds {
                let mut others = Vec::new();
                let first = allocate(LAYOUT, Purpose::Nodes, round % 3, |block| {
                    others.push(block);
                    others.len() < 2
                });
                // The last one was not kept.
                others.truncate(1);
                for block in others.into_iter().chain([first]) {
                    // SAFETY: ours, and long enough.
                    unsafe { block.write_bytes(round as u8, LAYOUT.size()) };
                    sender.send(Sent(block)).expect("a receiver");
                }
            }
            drop(sender);
            free_all.join().expect("no panic");
        }

        #[test]
        fn contents_and_nodes_lie_in_regions_of_their_own() {
            // All are taken before one is freed, so no region becomes another's meanwhile.
            let take = |purpose| [(); 100].map(|()| allocate(LAYOUT, purpose, 0, |_| false));
            let (nodes, contents) = (take(Purpose::Nodes), take(Purpose::Contents));
            let region_of = |block: NonNull<u8>| block.addr().get() & !(REGION - 1);
            let of_nodes = nodes.map(region_of);
            assert!(contents.iter().all(|block| !of_nodes.contains(&region_of(*block))));
            // SAFETY: from above.
            unsafe {
                nodes.into_iter().for_each(|block| free(block, LAYOUT, Purpose::Nodes));
                contents.into_iter().for_each(|block| free(block, LAYOUT, Purpose::Contents));
            }
        }

        /// Unless the system has no huge pages at all.
        #[test]
        #[cfg(target_os = "linux")]
        fn the_system_is_asked_for_huge_pages() {
            let Ok(maps) = std::fs::read_to_string("/proc/self/smaps") else { return };
            if !maps.contains("AnonHugePages:") {
                return;
            }
            let block = allocate(LAYOUT, Purpose::Nodes, 0, |_| false);
            let region = block.addr().get() & !(REGION - 1);
            let maps = std::fs::read_to_string("/proc/self/smaps").expect("maps");
            let hex = |text: &str| usize::from_str_radix(text, 16).ok();
            let mut is_in = false;
            let flags = maps.lines().find_map(|line| {
                let range = line.split(' ').next().and_then(|range| range.split_once('-'));
                if let Some((from, to)) = range.and_then(|(from, to)| hex(from).zip(hex(to))) {
                    is_in = (from..to).contains(&region);
                }
                line.strip_prefix("VmFlags:").filter(|_| is_in)
            });
            let flags = flags.expect("flags of the memory");
            assert!(flags.split(' ').any(|flag| flag == "hg"), "{flags}");
            // SAFETY: from above.
            unsafe { free(block, LAYOUT, Purpose::Nodes) };
        }
    }
}
