//! One arena: its regions, the spans that they are cut into, and the lists of those that have room.

use std::ptr::NonNull;

use crate::pages::region::{self, REGION};

const SPAN: usize = 64 << 10;
const SPANS: usize = REGION / SPAN;
/// Sizes are multiples of this, and blocks are aligned to it.
pub(super) const UNIT: usize = 16;
/// As processors fetch memory. A block whose size is a multiple of this, or divides it, lies on no more lines
/// than it must.
const LINE: usize = 64;
/// Larger blocks are the general allocator's.
pub(super) const MOST_UNITS: usize = (4 << 10) / UNIT;

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

/// The number of the arena that a block came from.
///
/// # Safety
/// It came from one, and was not given back.
pub(super) unsafe fn number(block: NonNull<u8>) -> usize {
    // SAFETY: a block lies in a region, whose header was written before any block of it was handed out and
    // never changes. By the contract the region has a block in use, so it did not go back to the system.
    let Header { arena, .. } = unsafe { *header_of(block) };
    arena
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
        // The first span gives way to the header, by as much as keeps blocks of a line's size on lines of
        // their own.
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
pub(super) struct Arena {
    regions: Vec<Region>,
    /// The spans of all regions: those of region `n` begin at `n * SPANS`.
    spans: Vec<Span>,
    /// For each size the first span that has room (C); for 0 units the first that is not in use.
    lists: [Option<usize>; MOST_UNITS + 1],
    /// Regions none of whose spans is in use.
    empty: usize,
}

// SAFETY: the pointers are to memory that the arena owns, and that only it touches as long as it is not with
// its user (A, B).
unsafe impl Send for Arena {}

impl Arena {
    pub(super) const fn new() -> Self {
        Self { regions: Vec::new(), spans: Vec::new(), lists: [None; MOST_UNITS + 1], empty: 0 }
    }

    /// A block; `number` is the arena's own.
    pub(super) fn take(&mut self, units: usize, number: usize) -> NonNull<u8> {
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
    pub(super) fn take_at_hand(&mut self, units: usize) -> Option<NonNull<u8>> {
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
    pub(super) unsafe fn give(&mut self, block: NonNull<u8>) {
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
    use std::collections::BTreeMap;
    use std::ptr::NonNull;

    use super::{Arena, MOST_UNITS, SPAN, SPANS, UNIT};

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
}
