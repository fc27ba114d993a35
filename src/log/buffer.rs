//! One write buffer: memory for a stretch of one segment, and the word that says who may write where.
//!
//! The fields that describe the stretch (`segment`, `slot`, `start` …) are set by whoever has the buffer
//! alone, before it opens it under a new incarnation, and are constant while that incarnation lasts. A
//! sleeper may read them at any time and get values of a later life; whatever it does with them ends in a
//! compare-exchange that names the incarnation it meant, and fails.
//!
//! The memory is handed out in disjoint ranges by [`AtomicBufferState`] (its invariant A) and read by the one
//! thread that drains the buffer (its invariant C). It is zeroed when allocated, never again.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::{self, NonNull};

use crossbeam_utils::CachePadded;

use super::blocks::Blocks;
use super::buffer_state::{AtomicBufferState, BufferState};
use crate::format::SegmentHeader;
use crate::format::record::{MIN_LENGTH, mark_length};
use crate::geometry::Geometry;
use crate::ids::{Lsn, SegmentId, SlotId};
use crate::location::Place;
use crate::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering, fence};

/// Bytes behind the capacity, for the record that ends a segment, or for a little of what fills a block.
const SLACK: u32 = MIN_LENGTH as u32;

/// The stretch of a segment that a buffer is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) slot: SlotId,
    pub(crate) segment: SegmentId,
    /// Where in the segment the buffer's first byte lies.
    pub(crate) start: u32,
    /// What lies in front of the first record ([`overhead`](Self::overhead)).
    pub(crate) overhead: u32,
    /// How many bytes may be handed out, overhead included.
    pub(crate) capacity: u32,
    /// Where the log ended before this buffer.
    pub(crate) previous_end: Lsn,
    /// The segment of the same head before this one.
    pub(crate) predecessor: SegmentId,
}

impl Stretch {
    /// What lies in front of the first record: the segment's header if the buffer begins a segment, and the
    /// mark.
    pub(crate) const fn overhead(geometry: Geometry, start: u32) -> u32 {
        mark_length(geometry.heads()) as u32 + if start == 0 { SegmentHeader::LENGTH as u32 } else { 0 }
    }
}

/// One write buffer.
#[derive(Debug)]
pub(crate) struct Buffer {
    pub(crate) state: CachePadded<AtomicBufferState>,
    /// Which buffer follows; see the ring.
    pub(crate) successor: AtomicU64,
    slot: AtomicU32,
    segment: AtomicU64,
    predecessor: AtomicU64,
    start: AtomicU32,
    overhead: AtomicU32,
    capacity: AtomicU32,
    previous_end: AtomicU64,
    /// Its bytes are in the file; it is recycled once it has a successor.
    written: AtomicBool,
    data: AtomicPtr<u8>,
    allocated: AtomicU32,
}

impl Buffer {
    /// A buffer without memory, in the state that the word says.
    pub(crate) fn new(state: BufferState) -> Self {
        Self {
            state: CachePadded::new(AtomicBufferState::new(state)),
            successor: AtomicU64::new(0),
            slot: AtomicU32::new(0),
            segment: AtomicU64::new(0),
            predecessor: AtomicU64::new(0),
            start: AtomicU32::new(0),
            overhead: AtomicU32::new(0),
            capacity: AtomicU32::new(0),
            previous_end: AtomicU64::new(0),
            written: AtomicBool::new(false),
            data: AtomicPtr::new(ptr::null_mut()),
            allocated: AtomicU32::new(0),
        }
    }

    /// Describes the next stretch and makes sure that there is memory for it. Only for whoever has the buffer
    /// alone, and opens the word afterwards. Returns by how many bytes the memory grew.
    pub(crate) fn prepare(&self, stretch: Stretch) -> u32 {
        // Whoever reads one of the new values, and then fences, also sees that the buffer was no longer
        // current.
        fence(Ordering::Release);
        self.slot.store(stretch.slot.0, Ordering::Relaxed);
        self.segment.store(stretch.segment.0, Ordering::Relaxed);
        self.predecessor.store(stretch.predecessor.0, Ordering::Relaxed);
        self.start.store(stretch.start, Ordering::Relaxed);
        self.overhead.store(stretch.overhead, Ordering::Relaxed);
        self.capacity.store(stretch.capacity, Ordering::Relaxed);
        self.previous_end.store(stretch.previous_end.0, Ordering::Relaxed);
        self.written.store(false, Ordering::Relaxed);
        let before = self.allocated.load(Ordering::Relaxed);
        let wanted = stretch.capacity + SLACK;
        if before >= wanted {
            return 0;
        }
        self.release_memory();
        let layout = Self::layout(wanted);
        // SAFETY: the layout is not empty: `wanted` is at least SLACK.
        let memory = unsafe { alloc_zeroed(layout) };
        if memory.is_null() {
            handle_alloc_error(layout);
        }
        self.data.store(memory, Ordering::Relaxed);
        self.allocated.store(wanted, Ordering::Relaxed);
        wanted - before
    }

    /// Gives the memory back. Only for whoever has the buffer alone. Returns how many bytes it was.
    pub(crate) fn release_memory(&self) -> u32 {
        let length = self.allocated.swap(0, Ordering::Relaxed);
        let memory = self.data.swap(ptr::null_mut(), Ordering::Relaxed);
        if !memory.is_null() {
            // SAFETY: `memory` came from `alloc_zeroed` with this very layout, and nobody else uses it: the
            // caller has the buffer alone, and threads of an earlier incarnation touch no byte without
            // entering the word.
            unsafe { dealloc(memory, Self::layout(length)) };
        }
        length
    }

    fn layout(length: u32) -> Layout {
        Layout::array::<u8>(length as usize).unwrap_or(Layout::new::<u8>())
    }

    pub(crate) fn stretch(&self) -> Stretch {
        Stretch {
            slot: SlotId(self.slot.load(Ordering::Relaxed)),
            segment: self.segment(),
            start: self.start(),
            overhead: self.overhead.load(Ordering::Relaxed),
            capacity: self.capacity.load(Ordering::Relaxed),
            previous_end: Lsn(self.previous_end.load(Ordering::Relaxed)),
            predecessor: SegmentId(self.predecessor.load(Ordering::Relaxed)),
        }
    }

    pub(crate) fn segment(&self) -> SegmentId {
        SegmentId(self.segment.load(Ordering::Relaxed))
    }

    fn start(&self) -> u32 {
        self.start.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn capacity(&self) -> u32 {
        self.capacity.load(Ordering::Relaxed)
    }

    /// Whether the segment ends if the buffer is sealed at `offset` for want of room for `length` bytes.
    #[inline]
    pub(crate) fn is_last(&self, geometry: Geometry, blocks: Blocks, offset: u32, length: u32) -> bool {
        let next = blocks.next(self.end_in_segment(offset), geometry.segment_size());
        geometry.segment_size().saturating_sub(next) < Stretch::overhead(geometry, next) + length
    }

    /// The bytes of the buffer that count, given the word's offset: none if no record was ever put in.
    fn effective(&self, offset: u32) -> u32 {
        if self.is_empty_at(offset) { 0 } else { offset }
    }

    pub(crate) fn is_empty_at(&self, offset: u32) -> bool {
        offset <= self.overhead.load(Ordering::Relaxed)
    }

    /// Where in the segment this buffer's bytes end.
    pub(crate) fn end_in_segment(&self, offset: u32) -> u32 {
        self.start() + self.effective(offset)
    }

    /// The LSN behind the last record up to the word's offset.
    pub(crate) fn end(&self, geometry: Geometry, offset: u32) -> Lsn {
        if self.is_empty_at(offset) {
            Lsn(self.previous_end.load(Ordering::Relaxed))
        } else {
            geometry.lsn(self.segment(), self.start() + offset)
        }
    }

    #[inline]
    pub(crate) fn place(&self, offset: u32) -> Place {
        Place::new(SlotId(self.slot.load(Ordering::Relaxed)), self.start() + offset)
    }

    pub(crate) fn set_written(&self) {
        self.written.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_written(&self) -> bool {
        self.written.load(Ordering::Relaxed)
    }

    /// The bytes `offset .. offset + length`.
    ///
    /// # Safety
    /// The caller has that range alone: it entered the word for it and has not left, or the buffer is drained
    /// and the caller is the one that drains it. The range is within the capacity, or the slack when drained.
    #[expect(clippy::mut_from_ref, reason = "the word hands out disjoint ranges; see the contract")]
    #[inline]
    pub(crate) unsafe fn bytes(&self, offset: u32, length: u32) -> &mut [u8] {
        let memory = self.data.load(Ordering::Relaxed);
        debug_assert!(offset + length <= self.allocated.load(Ordering::Relaxed));
        let memory = NonNull::new(memory).unwrap_or(NonNull::dangling());
        // SAFETY: within the allocation by the caller's word (a buffer that can be entered has memory for its
        // whole capacity), initialised since it was allocated zeroed, and not aliased, by the contract.
        unsafe { std::slice::from_raw_parts_mut(memory.as_ptr().add(offset as usize), length as usize) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.release_memory();
    }
}
