//! The ring of write buffers of one head: a queue that grows at one end by reservation and shrinks at the
//! other by writing.
//!
//! ```text
//!   oldest ──► B ──► B ──► B ◄── current            pool: B B
//!   (drained, in order)    (reservations)           (recycled)
//! ```
//!
//! Buffers in use form a linked list; each names its successor. A reservation enters the current one. Whoever
//! finds it sealed takes a buffer from the pool, describes the next stretch of the log in it, and offers it
//! as the successor; one offer wins, all others go back to the pool; then anyone moves `current` on.
//!
//! This file has the appending end; `drain` the writing one, `registry` the buffers by number, `words` the
//! names in atomics.
//!
//! # Invariants
//!
//! * **(A) The log has one order.** A successor's stretch follows from its sealed predecessor alone: the same
//!   segment from where it ended, or, if the sealer said *last*, the segment that is armed. An armed segment
//!   is spent when a buffer in it is linked, which everybody can see because segment ids rise: it is good
//!   only if newer than the predecessor's.
//! * **(B) One successor.** The link is set by one compare-exchange from "none, in incarnation i". A recycled
//!   buffer has another incarnation, so a sleeper's offer fails.
//! * **(C) `current` and `oldest` name the incarnation too**, so moving them can't be fooled by a buffer that
//!   came round.
//! * **(D) Only the holder of the drain lock writes, in list order, and recycles.** A buffer is written when
//!   drained (sealed, no writer left) and recycled when written and linked to a successor. So `written` only
//!   rises, without holes.
//! * **(E) Nobody waits for a writer except a flush.** An appender waits only while the oldest buffer is
//!   being written. If the oldest is held by an open reservation, the ring grows instead; so one thread may
//!   hold any number of reservations, and a thread that is stopped between its reservation and its completion
//!   stops nobody.
//! * **(F) Memory of buffer headers is never freed while the ring lives**, so a sleeper may look at any of
//!   them.
//! * **(G) A segment is armed only behind one that is linked**, or the one that was armed before is never
//!   begun, though it is claimed: a hole in the log. So what a buffer says of its segment counts only if the
//!   buffer was still current when it was read: a buffer is linked, and ceases to be current, before it is
//!   recycled.

mod drain;
mod registry;
#[cfg(test)]
pub(crate) mod silent;
#[cfg(all(test, not(loom)))]
mod tests;
mod words;

use crossbeam_utils::CachePadded;

use self::registry::Registry;
pub(crate) use self::words::Armed;
use self::words::{BufferRef, INCARNATION_MASK, Link};
use super::blocks::Blocks;
use super::buffer::{Buffer, Stretch};
use super::buffer_state::{BufferState, Entry};
use super::event::Event;
use crate::error::{Error, Result};
use crate::geometry::Geometry;
use crate::ids::{HeadId, Lsn, SegmentId, SlotId};
use crate::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering, fence};
use crate::sync::{Mutex, thread};

/// What a ring needs from the log around it.
pub(crate) trait RingHost {
    /// Makes a segment newer than `after` armed in the ring, or says why not. May do I/O.
    fn arm(&self, ring: &Ring, after: SegmentId) -> Result<()>;
    /// A buffer is about to be opened for a stretch that ends there: makes sure that the file has space for
    /// it.
    fn cover(&self, slot: SlotId, end: u32) -> Result<()>;
    /// A buffer was opened. Behind the last of a segment the next segment is needed: it should be armed soon.
    fn opened(&self, ring: &Ring, stretch: Stretch);
    /// Writes a drained buffer to the file. Called with the drain lock held.
    fn write(&self, ring: &Ring, buffer: &Buffer, state: BufferState) -> Result<()>;
    /// Fails if writing has stopped.
    fn check(&self) -> Result<()>;
    /// A thread has to wait for a buffer: for as long as it keeps what it gets here.
    fn pressed(&self) -> impl Sized;
}

/// Who asks for a buffer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// May wait for I/O in progress.
    Waits,
    /// Takes new memory instead.
    Grows,
}

/// The buffers of one head.
#[derive(Debug)]
pub(crate) struct Ring {
    pub(crate) head: HeadId,
    geometry: Geometry,
    blocks: Blocks,
    buffer_size: u32,
    /// With so many buffers in use, who needs one more waits for the oldest to be written, unless a writer
    /// holds that (E).
    nominal: i64,
    current: CachePadded<AtomicU64>,
    registry: Registry,
    pool: Mutex<Vec<u32>>,
    /// Buffers opened and not yet recycled.
    in_use: AtomicI64,
    /// Bytes of memory in all buffers.
    memory: AtomicI64,
    armed: AtomicU64,
    drain: Mutex<()>,
    /// The drain lock is held; for those who wait until it is not.
    draining: AtomicBool,
    oldest: AtomicU64,
    written: AtomicU64,
    /// A buffer was recycled, or the drain lock was given back.
    freed: Event,
    /// The last writer left a sealed buffer.
    drained: Event,
}

impl Ring {
    /// A ring whose log ends at `tip`, in no segment: the first reservation begins one.
    pub(crate) fn new(
        head: HeadId,
        geometry: Geometry,
        buffer_size: u32,
        nominal: u32,
        tip: Lsn,
        last: SegmentId,
    ) -> Self {
        let registry = Registry::new();
        let state = BufferState { offset: 0, writers: 0, sealed: true, last: true, incarnation: 1 };
        let index = registry.allocate(state).unwrap_or(0);
        let first = BufferRef { index, incarnation: 1 };
        if let Some(buffer) = registry.get(index) {
            buffer.prepare(Stretch {
                slot: SlotId(0),
                segment: last,
                start: 0,
                overhead: 0,
                capacity: 0,
                previous_end: tip,
                predecessor: last,
            });
            buffer.successor.store(Link { own: 1, next: None }.pack(), Ordering::Relaxed);
            buffer.set_written();
        }
        Self {
            head,
            geometry,
            blocks: Blocks::default(),
            buffer_size: buffer_size.min(geometry.segment_size()),
            nominal: i64::from(nominal),
            current: CachePadded::new(AtomicU64::new(first.pack())),
            registry,
            pool: Mutex::new(Vec::new()),
            in_use: AtomicI64::new(1),
            memory: AtomicI64::new(0),
            armed: AtomicU64::new(0),
            drain: Mutex::new(()),
            draining: AtomicBool::new(false),
            oldest: AtomicU64::new(first.pack()),
            written: AtomicU64::new(tip.0),
            freed: Event::new(),
            drained: Event::new(),
        }
    }

    /// The same, whose buffers keep blocks apart.
    #[must_use]
    pub(crate) fn with_blocks(self, blocks: Blocks) -> Self {
        Self { blocks, ..self }
    }

    pub(crate) fn blocks(&self) -> Blocks {
        self.blocks
    }

    /// Everything below this LSN is in the file.
    #[inline]
    pub(crate) fn written(&self) -> Lsn {
        Lsn(self.written.load(Ordering::Acquire))
    }

    pub(crate) fn memory(&self) -> u64 {
        u64::try_from(self.memory.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// The armed segment, if it is newer than `after`.
    pub(crate) fn armed_after(&self, after: SegmentId) -> Option<Armed> {
        let armed = Armed::unpack(self.armed.load(Ordering::Acquire));
        (armed.segment > after).then_some(armed)
    }

    /// Arms a segment. Only for the supply, one at a time.
    pub(crate) fn set_armed(&self, armed: Armed) {
        self.armed.store(armed.pack(), Ordering::Release);
    }

    /// The segment that reservations go to now, or the newest one that was ever begun.
    pub(crate) fn newest_segment(&self) -> SegmentId {
        self.newest_stretch().segment
    }

    /// The stretch of log that reservations go to now.
    pub(crate) fn newest_stretch(&self) -> Stretch {
        self.look_at_current(|buffer, _| buffer.stretch())
    }

    /// The LSN behind the newest record.
    pub(crate) fn tail(&self) -> Lsn {
        self.look_at_current(|buffer, state| buffer.end(self.geometry, state.offset))
    }

    /// Reads from the current buffer, again if it ceased to be current meanwhile: its description changes
    /// only after that ([`Buffer::prepare`] has the other half of the fence).
    fn look_at_current<R>(&self, look: impl Fn(&Buffer, BufferState) -> R) -> R {
        loop {
            let current = self.current();
            let Some(buffer) = self.registry.get(current.index) else { continue };
            let seen = look(buffer, buffer.state.load());
            fence(Ordering::Acquire);
            if self.current() == current {
                return seen;
            }
        }
    }

    #[inline]
    fn current(&self) -> BufferRef {
        BufferRef::unpack(self.current.load(Ordering::Acquire))
    }

    /// Takes `length` bytes of log. The caller fills them and leaves the buffer's word.
    #[inline]
    pub(crate) fn reserve(&self, host: &impl RingHost, length: u32) -> Result<(&Buffer, u32)> {
        loop {
            let current = self.current();
            if let Some(buffer) = self.registry.get(current.index) {
                let last = |offset| buffer.is_last(self.geometry, self.blocks, offset, length);
                match buffer.state.enter(current.incarnation, length, || buffer.capacity(), last) {
                    Entry::Entered(offset) => return Ok((buffer, offset)),
                    Entry::Stale => continue,
                    Entry::Sealed => {}
                }
            }
            self.advance(host, current, length, Patience::Waits)?;
        }
    }

    /// A writer leaves. Wakes a flush that waits for the last one.
    #[inline]
    pub(crate) fn leave(&self, buffer: &Buffer) {
        if buffer.state.leave().is_drained() {
            self.drained.notify();
        }
    }

    /// Makes sure that `from`, which was seen sealed, has a successor, and that `current` is beyond it.
    #[cold]
    fn advance(&self, host: &impl RingHost, from: BufferRef, length: u32, patience: Patience) -> Result<()> {
        let Some(buffer) = self.registry.get(from.index) else { return Ok(()) };
        loop {
            let link = Link::unpack(buffer.successor.load(Ordering::Acquire));
            if link.own != from.incarnation {
                return Ok(());
            }
            if let Some(next) = link.next {
                self.move_current(from, next);
                return Ok(());
            }
            let state = buffer.state.load();
            if state.incarnation != from.incarnation || !state.sealed {
                return Ok(());
            }
            let Some(stretch) = self.next_stretch(host, from, state, length)? else { continue };
            let next = self.take_buffer(host, patience)?;
            self.offer(host, from, buffer, next, stretch)?;
        }
    }

    /// The stretch behind a sealed buffer (invariant A). `None` if the buffer or the armed segment has to be
    /// looked at again.
    fn next_stretch(
        &self,
        host: &impl RingHost,
        from: BufferRef,
        state: BufferState,
        length: u32,
    ) -> Result<Option<Stretch>> {
        let Some(buffer) = self.registry.get(from.index) else { return Ok(None) };
        let before = buffer.stretch();
        let previous_end = buffer.end(self.geometry, state.offset);
        // It may be recycled by now, and have been prepared for a stretch that nobody has linked: to arm a
        // segment behind that one would be to lose it (G).
        fence(Ordering::Acquire);
        if !cfg!(weakened = "stretch_believed") && self.current() != from {
            return Ok(None);
        }
        let size = self.geometry.segment_size();
        let (slot, segment, start, predecessor) = if state.last {
            let Some(armed) = self.armed_after(before.segment) else {
                host.arm(self, before.segment)?;
                return Ok(None);
            };
            (armed.slot, armed.segment, 0, before.segment)
        } else {
            let end = buffer.end_in_segment(state.offset);
            (before.slot, before.segment, self.blocks.next(end, size), before.predecessor)
        };
        let overhead = Stretch::overhead(self.geometry, start);
        let wanted = self.buffer_size.max(overhead.saturating_add(length));
        let capacity = self.blocks.capacity(start, wanted, size);
        host.cover(slot, self.blocks.next(start + capacity, size))?;
        Ok(Some(Stretch { slot, segment, start, overhead, capacity, previous_end, predecessor }))
    }

    /// Opens `next` for the stretch and offers it as the successor of `from`.
    fn offer(
        &self,
        host: &impl RingHost,
        from: BufferRef,
        buffer: &Buffer,
        next: u32,
        stretch: Stretch,
    ) -> Result<()> {
        let Some(candidate) = self.registry.get(next) else { return Ok(()) };
        let incarnation = (candidate.state.load().incarnation + 1) & INCARNATION_MASK;
        let grown = candidate.prepare(stretch);
        self.memory.fetch_add(i64::from(grown), Ordering::Relaxed);
        candidate.successor.store(Link { own: incarnation, next: None }.pack(), Ordering::Release);
        candidate.state.open(incarnation, stretch.overhead);
        let reference = BufferRef { index: next, incarnation };
        let none = Link { own: from.incarnation, next: None }.pack();
        let linked = Link { own: from.incarnation, next: Some(reference) }.pack();
        self.in_use.fetch_add(1, Ordering::Relaxed);
        if buffer.successor.compare_exchange(none, linked, Ordering::AcqRel, Ordering::Acquire).is_err() {
            self.recycle(next);
            return Ok(());
        }
        self.move_current(from, reference);
        // Writing begins when half of the buffers are full, so that the others find free ones meanwhile; if
        // somebody is at it already, the better.
        if 2 * self.in_use.load(Ordering::Relaxed) >= self.nominal {
            self.try_drain(host)?;
        }
        host.opened(self, stretch);
        Ok(())
    }

    fn move_current(&self, from: BufferRef, to: BufferRef) {
        // Failure means that somebody else moved it.
        let _ = self.current.compare_exchange(from.pack(), to.pack(), Ordering::AcqRel, Ordering::Acquire);
    }

    /// A buffer that the caller has alone.
    fn take_buffer(&self, host: &impl RingHost, patience: Patience) -> Result<u32> {
        loop {
            if let Some(index) = self.pool.lock().pop() {
                return Ok(index);
            }
            let may_grow = patience == Patience::Grows
                || self.in_use.load(Ordering::Relaxed) < self.nominal
                || self.oldest_is_held();
            if may_grow {
                return self.allocate().ok_or(Error::TooManyReservations);
            }
            host.check()?;
            let _waiting = host.pressed();
            if self.try_drain(host)? {
                // Whoever held the lock before has left nothing to wait for; if nothing could be recycled,
                // grow.
                if let Some(index) = self.pool.lock().pop().or_else(|| self.allocate()) {
                    return Ok(index);
                }
            }
            self.freed.wait_while(|| {
                host.check().is_ok()
                    && self.pool.lock().is_empty()
                    && !self.oldest_is_held()
                    && self.draining.load(Ordering::Acquire)
            });
            // Whoever has the lock may just be about to say so, or to let it go: it is that thread's turn,
            // and not to be looked for here.
            thread::yield_now();
        }
    }

    fn allocate(&self) -> Option<u32> {
        self.registry.allocate(BufferState {
            offset: 0,
            writers: 0,
            sealed: true,
            last: true,
            incarnation: 0,
        })
    }

    /// Whether the oldest buffer that is not written has writers in it.
    fn oldest_is_held(&self) -> bool {
        let mut at = BufferRef::unpack(self.oldest.load(Ordering::Acquire));
        // The oldest may be written and only wait for its successor: then the one behind it counts.
        for _ in 0..2 {
            let Some(buffer) = self.registry.get(at.index) else { return false };
            let state = buffer.state.load();
            if state.incarnation != at.incarnation {
                return false;
            }
            if state.writers > 0 {
                return true;
            }
            match Link::unpack(buffer.successor.load(Ordering::Acquire)).next {
                Some(next) if buffer.is_written() => at = next,
                _ => return false,
            }
        }
        false
    }

    fn recycle(&self, index: u32) {
        let mut pool = self.pool.lock();
        let usual = self.buffer_size.saturating_add(2 * self.blocks.size());
        let above = self.in_use.fetch_sub(1, Ordering::Relaxed) > self.nominal;
        let oversized = self.registry.get(index).is_some_and(|b| b.capacity() > usual);
        if ((above && pool.len() >= 2) || oversized)
            && let Some(buffer) = self.registry.get(index)
        {
            let given_back = buffer.release_memory();
            self.memory.fetch_sub(i64::from(given_back), Ordering::Relaxed);
        }
        pool.push(index);
    }
}
