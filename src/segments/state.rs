//! One slot of the log file: the life that it is in, and how much of it is still live.
//!
//! # The live counter
//!
//! Records die while their segment is still being filled, even before the log has said how many bytes it put
//! in. So the counter is signed and begins with a large bias, which the log takes off together with the last
//! bytes that it adds.
//!
//! - **(A)** Over one life: what is added is the bytes of all completed records, what is subtracted is each
//!   of them once. So the counter reaches zero at most once in a life, as its last change: before the bias is
//!   off it is far above zero, and afterwards it counts what is live.
//! - **(B)** The one update that yields zero *owns* the slot from there on, whether it was a kill or the
//!   log's last credit.
//! - **(C)** A segment may be reused only when everything that superseded its records is durable. So whoever
//!   kills first raises the *kill LSN* of the killing record's head, then subtracts. The subtraction is a
//!   release and all updates of the counter are read-modify-writes, so the owner, by an acquire, sees the
//!   kill LSNs of all who subtracted. (The other way round, the owner can see zero bytes and a kill LSN of
//!   zero, and reuse a segment that the log still needs.)
//! - **(D)** The same way the owner sees the segment's end, which the log stores before its last credit.
//! - **(E)** A slot begins a new life only in the hands of its owner, after (B), so no update of an old life
//!   hits a new one.

use crossbeam_utils::CachePadded;

use crate::ids::{HeadId, HeadLsns, Lsn, SegmentId, SlotId};
use crate::sync::atomic::{AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering, fence};

/// The orderings that the models in `src/models` put to the test by weakening them, one at a time.
mod order {
    use crate::sync::atomic::Ordering;

    /// (C), the killer's side.
    pub(super) const SUBTRACT: Ordering =
        if cfg!(weakened = "subtract_order") { Ordering::Relaxed } else { Ordering::Release };
}

/// What a slot is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum SegmentState {
    /// Nothing in it is needed.
    Free,
    /// Chosen for a new life; its claim is being made durable.
    Claimed,
    /// Being filled.
    Active,
    /// Full, and all of it credited.
    Sealed,
    /// Being cleaned.
    Victim,
    /// Without live bytes; free once what superseded its records is durable.
    Empty,
}

impl SegmentState {
    pub(crate) const COUNT: usize = 6;
    const ALL: [Self; Self::COUNT] =
        [Self::Free, Self::Claimed, Self::Active, Self::Sealed, Self::Victim, Self::Empty];

    fn from_byte(byte: u8) -> Self {
        Self::ALL.into_iter().find(|state| *state as u8 == byte).unwrap_or(Self::Free)
    }
}

/// What recovery found of a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RestoredSegment {
    pub(crate) slot: SlotId,
    pub(crate) segment: SegmentId,
    pub(crate) head: HeadId,
    pub(crate) live: u64,
    pub(crate) end: Lsn,
    /// The bytes of all records in it, dead ones included.
    pub(crate) filled: u64,
    /// Whether nothing will be added to it.
    pub(crate) sealed: bool,
}

/// The figures of a slot.
#[derive(Debug)]
pub(super) struct SlotState {
    figures: CachePadded<Figures>,
}

#[derive(Debug)]
struct Figures {
    live: AtomicI64,
    /// Per head, the highest end of a record that superseded one in here.
    kill: [AtomicU64; HeadId::COUNT],
    segment: AtomicU64,
    end: AtomicU64,
    /// The bytes of records that were ever credited: with the live ones, it says how many are dead.
    filled: AtomicU64,
    /// The next slot in the stack of empty ones.
    next_empty: AtomicU32,
    state: AtomicU8,
    head: AtomicU8,
}

#[cfg(all(not(loom), target_arch = "x86_64"))]
const _: () = assert!(size_of::<SlotState>() == 128);

impl SlotState {
    /// More than a segment can hold, and far from overflowing.
    const BIAS: i64 = 1 << 40;

    pub(super) fn new() -> Self {
        let figures = Figures {
            live: AtomicI64::new(0),
            kill: std::array::from_fn(|_| AtomicU64::new(0)),
            segment: AtomicU64::new(0),
            end: AtomicU64::new(0),
            filled: AtomicU64::new(0),
            next_empty: AtomicU32::new(0),
            state: AtomicU8::new(SegmentState::Free as u8),
            head: AtomicU8::new(0),
        };
        Self { figures: CachePadded::new(figures) }
    }

    /// Begins a new life (E).
    pub(super) fn begin(&self, segment: SegmentId, head: HeadId) {
        self.set(segment, head, Lsn(0), 0, Self::BIAS, SegmentState::Active);
    }

    /// Sets all figures, as recovery found them. A segment that is not sealed will be credited further.
    pub(super) fn restore(&self, found: &RestoredSegment) {
        let RestoredSegment { segment, head, end, filled, .. } = *found;
        let live = signed(found.live);
        match found.sealed {
            true => self.set(segment, head, end, filled, live, SegmentState::Sealed),
            false => self.set(segment, head, end, filled, live + Self::BIAS, SegmentState::Active),
        }
    }

    fn set(&self, segment: SegmentId, head: HeadId, end: Lsn, filled: u64, live: i64, state: SegmentState) {
        let figures = &self.figures;
        figures.kill.iter().for_each(|kill| kill.store(0, Ordering::Relaxed));
        figures.segment.store(segment.0, Ordering::Relaxed);
        figures.head.store(head.0, Ordering::Relaxed);
        figures.end.store(end.0, Ordering::Relaxed);
        figures.filled.store(filled, Ordering::Relaxed);
        // A release, for whoever comes to the slot by its state or counter instead of by a record in it.
        figures.live.store(live, Ordering::Release);
        figures.state.store(state as u8, Ordering::Release);
    }

    /// Adds what the log has written into the segment; with the last bytes, takes the bias off. True if that
    /// left nothing (B).
    #[must_use]
    pub(super) fn credit(&self, bytes: u64, last: bool, end: Lsn) -> bool {
        self.figures.end.fetch_max(end.0, Ordering::Relaxed);
        self.figures.filled.fetch_add(bytes, Ordering::Relaxed);
        if last {
            // Before the counter changes: once it is zero, the state is the owner's to set.
            self.figures.state.store(SegmentState::Sealed as u8, Ordering::Release);
        }
        self.update(signed(bytes) - if last { Self::BIAS } else { 0 })
    }

    /// Subtracts a record that was superseded by one that ends at `killer` in head `head`. True if that left
    /// nothing (B).
    #[must_use]
    pub(super) fn kill(&self, bytes: u32, head: HeadId, killer: Lsn) -> bool {
        if cfg!(weakened = "kill_order") {
            let emptied = self.update(-i64::from(bytes));
            self.raise_kill(head, killer);
            return emptied;
        }
        self.raise_kill(head, killer);
        self.update(-i64::from(bytes))
    }

    /// Subtracts a record that nothing superseded: it never came into force. True if that left nothing (B).
    #[must_use]
    pub(super) fn abort(&self, bytes: u32) -> bool {
        self.update(-i64::from(bytes))
    }

    fn raise_kill(&self, head: HeadId, killer: Lsn) {
        // A head beyond the format's can't be: they are made from decoded, checked numbers.
        let Some(kill) = self.figures.kill.get(head.index()) else { return };
        // Most often another record killed higher up before. Seeing that is as good as raising: the owner,
        // who sees our subtraction, then sees that value or a higher one.
        if kill.load(Ordering::Relaxed) < killer.0 {
            kill.fetch_max(killer.0, Ordering::Relaxed);
        }
    }

    fn update(&self, bytes: i64) -> bool {
        let emptied = self.figures.live.fetch_add(bytes, order::SUBTRACT) + bytes == 0;
        if emptied && !cfg!(weakened = "own_order") {
            // (C), the owner's side.
            fence(Ordering::Acquire);
        }
        emptied
    }

    pub(super) fn state(&self) -> SegmentState {
        SegmentState::from_byte(self.figures.state.load(Ordering::Acquire))
    }

    /// For the slot's owner.
    pub(super) fn set_state(&self, state: SegmentState) {
        self.figures.state.store(state as u8, Ordering::Release);
    }

    /// From one state to another, unless somebody was quicker.
    #[must_use]
    pub(super) fn change_state(&self, from: SegmentState, to: SegmentState) -> bool {
        let state = &self.figures.state;
        state.compare_exchange(from as u8, to as u8, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// The live bytes: while the segment is being filled, of what was credited so far.
    pub(super) fn live(&self) -> u64 {
        let counter = self.figures.live.load(Ordering::Relaxed);
        let live = if counter > Self::BIAS / 2 { counter - Self::BIAS } else { counter };
        u64::try_from(live).unwrap_or(0)
    }

    /// See [`SegmentAccountant::settled`](super::SegmentAccountant::settled). The counter of a segment that
    /// is not credited as a whole is far above (A).
    pub(super) fn settled(&self) -> Option<(SegmentId, u64)> {
        if !matches!(self.state(), SegmentState::Sealed | SegmentState::Victim) {
            return None;
        }
        let counter = self.figures.live.load(Ordering::Acquire);
        let live = u64::try_from(counter).ok().filter(|_| counter < Self::BIAS / 2)?;
        Some((self.segment(), live))
    }

    #[cfg(test)]
    pub(super) fn falsify(&self, bytes: i64) {
        self.figures.live.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn segment(&self) -> SegmentId {
        SegmentId(self.figures.segment.load(Ordering::Relaxed))
    }

    pub(super) fn head(&self) -> HeadId {
        HeadId(self.figures.head.load(Ordering::Relaxed))
    }

    pub(super) fn end(&self) -> Lsn {
        Lsn(self.figures.end.load(Ordering::Relaxed))
    }

    pub(super) fn filled(&self) -> u64 {
        self.figures.filled.load(Ordering::Relaxed)
    }

    pub(super) fn kill_lsns(&self) -> HeadLsns {
        std::array::from_fn(|head| Lsn(self.figures.kill[head].load(Ordering::Relaxed)))
    }

    pub(super) fn next_empty(&self) -> &AtomicU32 {
        &self.figures.next_empty
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX / 2)
}
