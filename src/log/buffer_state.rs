//! The packed word of a write buffer: who is in it, how full it is, whether it still takes anyone.
//!
//! ```text
//!  63 … 41       40     39       38 … 27    26 … 0
//!  incarnation   last   sealed   writers    offset
//! ```
//!
//! # Invariants
//!
//! * **(A) One success, one range.** A successful compare-exchange from `offset` to `offset + length` gives
//!   its caller the bytes between them, and nobody else: the word holds the only copy of the offset, which
//!   only rises while the incarnation lasts.
//! * **(B) Sealed is for good.** Once `sealed` is set nobody can enter: every entry is a compare-exchange
//!   from an unsealed word. `offset` is then final, and `writers` only falls.
//! * **(C) Alone.** Whoever sees `sealed` and `writers == 0` with acquire sees all bytes that any writer
//!   wrote, since each left with release after its last write, and every step on the word is a
//!   read-modify-write, so the release sequence is unbroken. The buffer is that thread's alone (the log's
//!   drain lock makes it one thread).
//! * **(D) No stranger.** A buffer is opened again only under a new incarnation, so a thread that slept since
//!   it read the word can neither enter nor seal a later life. The incarnation has 23 bits: a sleeper is
//!   fooled only if it sleeps through exactly 8 388 608 lives, or a multiple, *and* finds the same offset and
//!   writers.

use crate::failpoints::failpoint;
use crate::sync::atomic::{AtomicU64, Ordering};

const OFFSET_BITS: u32 = 27;
const WRITERS_BITS: u32 = 12;
const SEALED: u64 = 1 << (OFFSET_BITS + WRITERS_BITS);
const LAST: u64 = SEALED << 1;
const INCARNATION_SHIFT: u32 = OFFSET_BITS + WRITERS_BITS + 2;
const WRITER: u64 = 1 << OFFSET_BITS;

/// How many bits an incarnation has, here and in the ring's references.
pub(crate) const INCARNATION_BITS: u32 = 64 - INCARNATION_SHIFT;
const _: () = assert!(INCARNATION_BITS == 23);

/// The most writers that can be in one buffer; the next one seals it.
pub(crate) const MAX_WRITERS: u32 = (1 << WRITERS_BITS) - 1;

/// The unpacked word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BufferState {
    /// Bytes handed out, from the buffer's beginning.
    pub(crate) offset: u32,
    /// Reservations that are neither completed nor aborted.
    pub(crate) writers: u32,
    /// Nobody enters any more.
    pub(crate) sealed: bool,
    /// The segment ends with this buffer. Decided by whoever seals it.
    pub(crate) last: bool,
    /// Which life of the buffer this is.
    pub(crate) incarnation: u32,
}

impl BufferState {
    pub(crate) const fn pack(self) -> u64 {
        self.offset as u64
            | ((self.writers as u64) << OFFSET_BITS)
            | if self.sealed { SEALED } else { 0 }
            | if self.last { LAST } else { 0 }
            | ((self.incarnation as u64) << INCARNATION_SHIFT)
    }

    pub(crate) const fn unpack(word: u64) -> Self {
        Self {
            offset: (word & ((1 << OFFSET_BITS) - 1)) as u32,
            writers: ((word >> OFFSET_BITS) & ((1 << WRITERS_BITS) - 1)) as u32,
            sealed: word & SEALED != 0,
            last: word & LAST != 0,
            incarnation: (word >> INCARNATION_SHIFT) as u32,
        }
    }

    /// The state after one more writer took `length` bytes.
    #[must_use]
    pub(crate) const fn entered(self, length: u32) -> Self {
        Self { offset: self.offset + length, writers: self.writers + 1, ..self }
    }

    /// Sealed, and nobody is left in it.
    pub(crate) const fn is_drained(self) -> bool {
        self.sealed && self.writers == 0
    }
}

/// What became of an attempt to enter a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// The caller has the bytes from this offset on.
    Entered(u32),
    /// The buffer is sealed, by this call or before, in the incarnation asked for.
    Sealed,
    /// The buffer is in another incarnation: look for the current one again.
    Stale,
}

#[cfg(not(weakened = "leave_order"))]
const LEAVE: Ordering = Ordering::AcqRel;
#[cfg(weakened = "leave_order")]
const LEAVE: Ordering = Ordering::Relaxed;

/// The word itself. All compare-exchanges on it are in this type.
#[derive(Debug)]
pub(crate) struct AtomicBufferState(AtomicU64);

impl AtomicBufferState {
    pub(crate) fn new(state: BufferState) -> Self {
        Self(AtomicU64::new(state.pack()))
    }

    #[inline]
    pub(crate) fn load(&self) -> BufferState {
        BufferState::unpack(self.0.load(Ordering::Acquire))
    }

    /// Begins a new life. Only for whoever has the buffer alone.
    pub(crate) fn open(&self, incarnation: u32, offset: u32) {
        let state = BufferState { offset, writers: 0, sealed: false, last: false, incarnation };
        self.0.store(state.pack(), Ordering::Release);
    }

    /// Takes `length` bytes, or seals the buffer if they do not fit.
    ///
    /// `capacity` is asked after the word was read; so is `last`, whether the segment ends when the buffer is
    /// sealed at that offset. What they read belongs to the word's incarnation or a later one; if later, the
    /// compare-exchange fails (invariant D).
    #[inline]
    pub(crate) fn enter(
        &self,
        incarnation: u32,
        length: u32,
        capacity: impl Fn() -> u32,
        last: impl Fn(u32) -> bool,
    ) -> Entry {
        let mut state = self.load();
        loop {
            if state.incarnation != incarnation {
                return Entry::Stale;
            }
            if state.sealed {
                return Entry::Sealed;
            }
            let fits = length <= capacity().saturating_sub(state.offset) && state.writers < MAX_WRITERS;
            let next = if fits {
                state.entered(length)
            } else {
                BufferState { sealed: true, last: last(state.offset), ..state }
            };
            match self.exchange(state, next) {
                Ok(()) if fits => return Entry::Entered(state.offset),
                Ok(()) => {
                    failpoint!("buffer::sealed");
                    return Entry::Sealed;
                }
                Err(found) => state = found,
            }
        }
    }

    /// Seals the buffer if it is in this incarnation and `wanted` says so of its state.
    pub(crate) fn seal(
        &self,
        incarnation: u32,
        last: impl Fn(u32) -> bool,
        wanted: impl Fn(BufferState) -> bool,
    ) {
        let mut state = self.load();
        while state.incarnation == incarnation && !state.sealed && wanted(state) {
            let next = BufferState { sealed: true, last: last(state.offset), ..state };
            if cfg!(weakened = "seal_blindly") {
                self.0.store(next.pack(), Ordering::Release);
                return;
            }
            match self.exchange(state, next) {
                Ok(()) => {
                    failpoint!("buffer::sealed");
                    return;
                }
                Err(found) => state = found,
            }
        }
    }

    /// One writer leaves, its bytes written. Returns the state after it.
    #[inline]
    pub(crate) fn leave(&self) -> BufferState {
        BufferState::unpack(self.0.fetch_sub(WRITER, LEAVE) - WRITER)
    }

    #[inline]
    fn exchange(&self, from: BufferState, to: BufferState) -> Result<(), BufferState> {
        match self.0.compare_exchange_weak(from.pack(), to.pack(), Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(()),
            Err(found) => Err(BufferState::unpack(found)),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{AtomicBufferState, BufferState, Entry, MAX_WRITERS};

    #[test]
    fn every_field_survives_packing_at_both_of_its_ends() {
        for offset in [0, 1, (1 << 27) - 1] {
            for writers in [0, 1, MAX_WRITERS] {
                for incarnation in [0, 1, (1 << 23) - 1] {
                    for flags in 0..4 {
                        let (sealed, last) = (flags & 1 != 0, flags & 2 != 0);
                        let state = BufferState { offset, writers, sealed, last, incarnation };
                        assert_eq!(BufferState::unpack(state.pack()), state);
                    }
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_seals_and_says_whether_the_segment_ends() {
        let word = AtomicBufferState::new(BufferState::unpack(0));
        word.open(5, 10);
        assert_eq!(word.enter(5, 20, || 40, |_| false), Entry::Entered(10));
        assert_eq!(word.enter(4, 1, || 40, |_| false), Entry::Stale);
        assert_eq!(word.enter(5, 11, || 40, |_| true), Entry::Sealed);
        assert_eq!(word.enter(5, 1, || 40, |_| true), Entry::Sealed);
        let state = word.load();
        assert!(state.sealed && state.last && state.writers == 1 && state.offset == 30);
        assert!(word.leave().is_drained());
    }

    #[test]
    fn a_buffer_with_all_its_writer_places_taken_seals() {
        let word = AtomicBufferState::new(BufferState::unpack(0));
        word.open(1, 0);
        for _ in 0..MAX_WRITERS {
            assert!(matches!(word.enter(1, 0, || 9, |_| false), Entry::Entered(0)));
        }
        assert_eq!(word.enter(1, 0, || 9, |_| false), Entry::Sealed);
        assert_eq!(word.load().writers, MAX_WRITERS);
    }
}
