//! The live bytes of every segment, kept by those who make and supersede records, without a lock.
//!
//! A kill is two updates of one cache line, the slot's own; there is no queue and no set of page ids. What
//! one slot's figures promise is in `state`. Here:
//!
//! - **(A)** Slots are found in buckets that double in size, so a small store has few and a large one finds
//!   each in two loads. Buckets are made when a slot is opened or restored, never when a record dies.
//! - **(B)** Whoever brings a slot's live bytes to zero pushes it on the stack of empty slots: one owner, so
//!   it is pushed once in a life. The stack is only ever taken as a whole, so a slot can't come back to it
//!   under somebody's pop: no ABA.
//! - **(C)** Pushing is a release and taking an acquire, so the taker sees what the owner saw: all kill LSNs
//!   and the end.
//! - **(D)** The sum of all live bytes is spread over cache lines, one for each thread.

use std::ops::Range;
use std::sync::OnceLock;

use crossbeam_utils::CachePadded;

use crate::failpoints::failpoint;
use crate::ids::{HeadId, HeadLsns, Lsn, SegmentId, SlotId};
use crate::location::Place;
use crate::segments::state::{RestoredSegment, SegmentState, SlotState};
use crate::stats::ThreadNumber;
use crate::sync::atomic::{AtomicI64, AtomicU32, Ordering};

/// Slots in the first bucket, as a power of two.
const FIRST_BITS: u32 = if cfg!(loom) { 1 } else { 6 };
/// Enough buckets for [`Place::SLOT_LIMIT`] slots.
const BUCKETS: usize = (Place::SLOT_LIMIT.ilog2() - FIRST_BITS + 1) as usize;
const SHARDS: usize = if cfg!(loom) { 1 } else { 16 };

/// Which bucket a slot is in, and where.
fn bucket_of(slot: SlotId) -> (usize, usize) {
    let shifted = slot.0.saturating_add(1 << FIRST_BITS);
    let bits = shifted.ilog2();
    ((bits - FIRST_BITS) as usize, (shifted - (1 << bits)) as usize)
}

/// How many slots are in each state, and what is live in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg(test)]
pub(crate) struct Totals {
    by_state: [u32; SegmentState::COUNT],
    pub(crate) live: u64,
}

#[cfg(test)]
impl Totals {
    pub(crate) fn in_state(&self, state: SegmentState) -> u32 {
        self.by_state.get(state as usize).copied().unwrap_or(0)
    }
}

/// A segment that may be cleaned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) slot: SlotId,
    pub(crate) segment: SegmentId,
    pub(crate) head: HeadId,
    /// Live bytes: what cleaning has to move.
    pub(crate) live: u64,
    /// The bytes of all records, dead ones included.
    pub(crate) filled: u64,
}

/// The accounts of all slots.
#[derive(Debug)]
pub(crate) struct SegmentAccountant {
    buckets: [OnceLock<Box<[SlotState]>>; BUCKETS],
    /// Above all slots that were ever opened.
    bound: AtomicU32,
    /// The top of the stack of empty slots, plus one; 0 if there are none.
    empties: CachePadded<AtomicU32>,
    live: Box<[CachePadded<AtomicI64>]>,
}

impl SegmentAccountant {
    pub(crate) fn new() -> Self {
        Self {
            buckets: std::array::from_fn(|_| OnceLock::new()),
            bound: AtomicU32::new(0),
            empties: CachePadded::new(AtomicU32::new(0)),
            live: (0..SHARDS).map(|_| CachePadded::new(AtomicI64::new(0))).collect(),
        }
    }

    fn slot(&self, slot: SlotId) -> Option<&SlotState> {
        let (bucket, index) = bucket_of(slot);
        self.buckets.get(bucket)?.get()?.get(index)
    }

    fn slot_or_new(&self, slot: SlotId) -> Option<&SlotState> {
        let (bucket, index) = bucket_of(slot);
        let slots = self.buckets.get(bucket)?.get_or_init(|| {
            let size = 1usize << (FIRST_BITS as usize + bucket);
            (0..size).map(|_| SlotState::new()).collect()
        });
        self.bound.fetch_max(slot.0.saturating_add(1), Ordering::Relaxed);
        slots.get(index)
    }

    #[cfg(test)]
    fn all(&self) -> impl Iterator<Item = (SlotId, &SlotState)> {
        let bound = self.bound.load(Ordering::Relaxed);
        (0..bound).map(SlotId).filter_map(|slot| Some((slot, self.slot(slot)?)))
    }

    // The way of a slot.

    /// Notes that a free slot was chosen for a new life. False if it is not free.
    #[must_use]
    #[cfg(test)]
    pub(crate) fn claim(&self, slot: SlotId) -> bool {
        self.slot_or_new(slot)
            .is_some_and(|state| state.change_state(SegmentState::Free, SegmentState::Claimed))
    }

    /// Begins a new life of a slot that is the caller's, before the first record is reserved in it.
    pub(crate) fn open(&self, slot: SlotId, segment: SegmentId, head: HeadId) {
        if let Some(state) = self.slot_or_new(slot) {
            state.begin(segment, head);
        }
    }

    /// Sets a slot as recovery found it. A sealed one without live bytes is empty at once.
    pub(crate) fn restore(&self, found: &RestoredSegment) {
        let Some(state) = self.slot_or_new(found.slot) else { return };
        state.restore(found);
        self.add_live(found.live.cast_signed());
        if found.sealed && found.live == 0 {
            self.emptied(found.slot, state);
        }
    }

    /// The log has written `bytes` of completed records into the segment, up to `end`. With `last`, it is
    /// sealed.
    pub(crate) fn credit(&self, slot: SlotId, bytes: u64, last: bool, end: Lsn) {
        let Some(state) = self.slot(slot) else { return };
        self.add_live(bytes.cast_signed());
        if state.credit(bytes, last, end) {
            self.emptied(slot, state);
        }
    }

    /// A record of `bytes` in the slot was superseded by one that ends at `killer_end` in `head`. To be
    /// called by the one who got the place from the record's cell.
    pub(crate) fn kill(&self, slot: SlotId, bytes: u32, head: HeadId, killer_end: Lsn) {
        let Some(state) = self.slot(slot) else { return };
        self.add_live(-i64::from(bytes));
        if state.kill(bytes, head, killer_end) {
            self.emptied(slot, state);
        }
    }

    /// A record of `bytes` that is, or will be, credited never came into force.
    pub(crate) fn abort(&self, slot: SlotId, bytes: u32) {
        let Some(state) = self.slot(slot) else { return };
        self.add_live(-i64::from(bytes));
        if state.abort(bytes) {
            self.emptied(slot, state);
        }
    }

    /// Pushes a slot without live bytes on the stack (B).
    fn emptied(&self, slot: SlotId, state: &SlotState) {
        state.set_state(SegmentState::Empty);
        failpoint!("segment::emptied");
        let mut top = self.empties.load(Ordering::Relaxed);
        loop {
            state.next_empty().store(top, Ordering::Relaxed);
            match self.empties.compare_exchange_weak(top, slot.0 + 1, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(changed) => top = changed,
            }
        }
    }

    /// All slots that became empty since the last call; now they are the caller's. Slots that the caller does
    /// not take out of the iterator are taken by nobody.
    pub(crate) fn take_empties(&self) -> Empties<'_> {
        // Looking first keeps an empty stack's line shared.
        let top = match self.empties.load(Ordering::Relaxed) {
            0 => 0,
            _ => self.empties.swap(0, Ordering::Acquire),
        };
        Empties { accountant: self, next: top }
    }

    /// Whether all that superseded the slot's records is durable, and the slot's own end: then an empty slot
    /// may be reused.
    pub(crate) fn reusable(&self, slot: SlotId, stable: &HeadLsns) -> bool {
        self.slot(slot).is_some_and(|state| {
            let killers_stable = state.kill_lsns().iter().zip(stable).all(|(kill, stable)| stable >= kill);
            killers_stable && is_stable(state, stable)
        })
    }

    /// A slot that was opened, and that no record was ever put in, is free again.
    pub(crate) fn withdraw(&self, slot: SlotId) {
        if let Some(state) = self.slot(slot) {
            let _ = state.change_state(SegmentState::Active, SegmentState::Free);
        }
    }

    /// An empty slot of the caller's is free again.
    pub(crate) fn release(&self, slot: SlotId) {
        if let Some(state) = self.slot(slot) {
            let _ = state.change_state(SegmentState::Empty, SegmentState::Free);
        }
    }

    // Cleaning.

    /// The segments in a range of slots that can be cleaned: only sealed ones that are stable as a whole. One
    /// pass over the range.
    pub(crate) fn candidates<'a>(
        &'a self,
        slots: Range<u32>,
        stable: &'a HeadLsns,
    ) -> impl Iterator<Item = Candidate> + 'a {
        slots.map(SlotId).filter_map(|slot| self.candidate(slot, stable))
    }

    /// The slot as a candidate for cleaning, if it is one.
    pub(crate) fn candidate(&self, slot: SlotId, stable: &HeadLsns) -> Option<Candidate> {
        candidate(slot, self.slot(slot)?, stable)
    }

    /// Takes a sealed segment for cleaning. False if it is not sealed (any more).
    #[must_use]
    pub(crate) fn begin_cleaning(&self, slot: SlotId) -> bool {
        self.slot(slot).is_some_and(|state| state.change_state(SegmentState::Sealed, SegmentState::Victim))
    }

    /// Ends cleaning: a segment that still has live bytes is an ordinary one again.
    pub(crate) fn end_cleaning(&self, slot: SlotId) {
        if let Some(state) = self.slot(slot) {
            let _ = state.change_state(SegmentState::Victim, SegmentState::Sealed);
        }
    }

    // Figures.

    pub(crate) fn live(&self, slot: SlotId) -> u64 {
        self.slot(slot).map_or(0, SlotState::live)
    }

    /// The live bytes of a segment that is full and credited as a whole, so that from now on they only fall;
    /// and which one it is.
    pub(crate) fn settled(&self, slot: SlotId) -> Option<(SegmentId, u64)> {
        self.slot(slot)?.settled()
    }

    /// Puts an account in disorder, for tests of those who check accounts.
    #[cfg(test)]
    pub(crate) fn falsify(&self, slot: SlotId, bytes: i64) {
        let _ = self.slot(slot).map(|state| state.falsify(bytes));
    }

    pub(crate) fn state(&self, slot: SlotId) -> SegmentState {
        self.slot(slot).map_or(SegmentState::Free, SlotState::state)
    }

    /// The life that a slot is in.
    pub(crate) fn segment(&self, slot: SlotId) -> SegmentId {
        self.slot(slot).map_or(SegmentId(0), SlotState::segment)
    }

    pub(crate) fn head(&self, slot: SlotId) -> HeadId {
        self.slot(slot).map_or(HeadId(0), SlotState::head)
    }

    /// The end of what was credited.
    pub(crate) fn end(&self, slot: SlotId) -> Lsn {
        self.slot(slot).map_or(Lsn(0), SlotState::end)
    }

    #[cfg(test)]
    pub(crate) fn kill_lsns(&self, slot: SlotId) -> HeadLsns {
        self.slot(slot).map_or_else(HeadLsns::default, SlotState::kill_lsns)
    }

    /// Above all slots that were ever opened or restored.
    pub(crate) fn bound(&self) -> u32 {
        self.bound.load(Ordering::Relaxed)
    }

    /// The live bytes of all slots, credited ones less dead ones; exact when nobody else is at work.
    pub(crate) fn live_bytes(&self) -> u64 {
        let sum: i64 = self.live.iter().map(|shard| shard.load(Ordering::Relaxed)).sum();
        u64::try_from(sum).unwrap_or(0)
    }

    /// A count of all slots, one by one.
    #[cfg(test)]
    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals { live: self.live_bytes(), ..Totals::default() };
        for (_, state) in self.all() {
            totals.by_state[state.state() as usize] += 1;
        }
        totals
    }

    fn add_live(&self, bytes: i64) {
        if let Some(shard) = self.live.get(ThreadNumber::of_this().index() % SHARDS) {
            shard.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}

/// Only a segment that is sealed and stable as a whole is a candidate.
fn candidate(slot: SlotId, state: &SlotState, stable: &HeadLsns) -> Option<Candidate> {
    // Acquires: the figures are those of the sealed segment.
    let may_be_cleaned = state.state() == SegmentState::Sealed && is_stable(state, stable);
    may_be_cleaned.then(|| Candidate {
        slot,
        segment: state.segment(),
        head: state.head(),
        live: state.live(),
        filled: state.filled(),
    })
}

fn is_stable(state: &SlotState, stable: &HeadLsns) -> bool {
    stable.get(state.head().index()).is_some_and(|stable| *stable >= state.end())
}

/// Slots that became empty.
#[derive(Debug)]
pub(crate) struct Empties<'a> {
    accountant: &'a SegmentAccountant,
    /// Plus one; 0 at the end.
    next: u32,
}

impl Iterator for Empties<'_> {
    type Item = SlotId;

    fn next(&mut self) -> Option<SlotId> {
        let slot = SlotId(self.next.checked_sub(1)?);
        let state = self.accountant.slot(slot)?;
        self.next = state.next_empty().load(Ordering::Relaxed);
        Some(slot)
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::{BUCKETS, FIRST_BITS, SegmentAccountant, bucket_of};
    use crate::ids::{HeadId, Lsn, SegmentId, SlotId};
    use crate::location::Place;
    use crate::segments::state::{RestoredSegment, SegmentState};

    const SLOT: SlotId = SlotId(3);

    fn stable(fresh: u64, relocated: u64) -> [Lsn; HeadId::COUNT] {
        [Lsn(fresh), Lsn(relocated), Lsn(0), Lsn(0)]
    }

    fn empties(accountant: &SegmentAccountant) -> BTreeSet<SlotId> {
        accountant.take_empties().collect()
    }

    #[test]
    fn every_slot_has_its_own_place_in_the_buckets() {
        let mut expected = (0, 0);
        for slot in 0..if cfg!(miri) { 1000 } else { 100_000 } {
            assert_eq!(bucket_of(SlotId(slot)), expected);
            expected.1 += 1;
            if expected.1 == 1 << (FIRST_BITS as usize + expected.0) {
                expected = (expected.0 + 1, 0);
            }
        }
        assert!(bucket_of(SlotId(Place::SLOT_LIMIT - 1)).0 < BUCKETS);
    }

    #[test]
    fn a_segment_whose_records_die_before_they_are_credited_is_empty_with_the_last_credit() {
        let accountant = SegmentAccountant::new();
        assert!(accountant.claim(SLOT));
        assert!(!accountant.claim(SLOT));
        accountant.open(SLOT, SegmentId(1), HeadId::FRESH);
        accountant.kill(SLOT, 60, HeadId::FRESH, Lsn(900));
        accountant.abort(SLOT, 40);
        accountant.credit(SLOT, 30, false, Lsn(50));
        assert_eq!(empties(&accountant), [].into());
        accountant.credit(SLOT, 70, true, Lsn(120));
        assert_eq!(accountant.state(SLOT), SegmentState::Empty);
        assert_eq!(empties(&accountant), [SLOT].into());
        assert_eq!(empties(&accountant), [].into());
        assert_eq!(accountant.live_bytes(), 0);
    }

    #[test]
    fn a_slot_is_reusable_when_its_killers_and_its_own_end_are_stable() {
        let accountant = SegmentAccountant::new();
        accountant.open(SLOT, SegmentId(1), HeadId::RELOCATED);
        accountant.credit(SLOT, 100, true, Lsn(200));
        accountant.kill(SLOT, 50, HeadId::FRESH, Lsn(900));
        accountant.kill(SLOT, 30, HeadId::FRESH, Lsn(700));
        assert_eq!(accountant.live(SLOT), 20);
        accountant.kill(SLOT, 20, HeadId::RELOCATED, Lsn(300));
        assert_eq!(accountant.kill_lsns(SLOT), stable(900, 300));
        assert!(!accountant.reusable(SLOT, &stable(899, 300)));
        assert!(!accountant.reusable(SLOT, &stable(900, 299)));
        assert!(accountant.reusable(SLOT, &stable(900, 300)));
        assert_eq!(empties(&accountant), [SLOT].into());
        accountant.release(SLOT);
        assert!(accountant.claim(SLOT));
        accountant.open(SLOT, SegmentId(9), HeadId::FRESH);
        assert_eq!(accountant.kill_lsns(SLOT), stable(0, 0));
        assert_eq!((accountant.live(SLOT), accountant.segment(SLOT)), (0, SegmentId(9)));
    }

    #[test]
    fn an_own_end_that_is_not_stable_forbids_reuse_and_cleaning() {
        let accountant = SegmentAccountant::new();
        accountant.open(SLOT, SegmentId(1), HeadId::FRESH);
        accountant.credit(SLOT, 10, true, Lsn(200));
        let candidates = |fresh| accountant.candidates(0..accountant.bound(), &stable(fresh, 0)).count();
        assert_eq!((candidates(199), candidates(200)), (0, 1));
        accountant.kill(SLOT, 10, HeadId::FRESH, Lsn(100));
        assert!(!accountant.reusable(SLOT, &stable(199, 0)));
    }

    #[test]
    fn a_victim_that_becomes_empty_while_it_is_cleaned_stays_empty() {
        let accountant = SegmentAccountant::new();
        accountant.open(SLOT, SegmentId(1), HeadId::FRESH);
        accountant.credit(SLOT, 10, true, Lsn(200));
        assert!(accountant.begin_cleaning(SLOT));
        assert!(!accountant.begin_cleaning(SLOT));
        accountant.end_cleaning(SLOT);
        assert!(accountant.begin_cleaning(SLOT));
        accountant.kill(SLOT, 10, HeadId::RELOCATED, Lsn(300));
        accountant.end_cleaning(SLOT);
        assert_eq!(accountant.state(SLOT), SegmentState::Empty);
    }

    #[test]
    fn recovery_sets_figures_that_go_on_from_there() {
        let accountant = SegmentAccountant::new();
        let found = |slot, live, sealed| RestoredSegment {
            slot: SlotId(slot),
            segment: SegmentId(u64::from(slot) + 1),
            head: HeadId::FRESH,
            live,
            end: Lsn(500),
            filled: live,
            sealed,
        };
        accountant.restore(&found(0, 0, true));
        accountant.restore(&found(1, 80, true));
        accountant.restore(&found(2, 0, false));
        assert_eq!(empties(&accountant), [SlotId(0)].into());
        accountant.kill(SlotId(1), 80, HeadId::FRESH, Lsn(600));
        assert_eq!(empties(&accountant), [SlotId(1)].into());
        accountant.credit(SlotId(2), 5, true, Lsn(600));
        let totals = accountant.totals();
        assert_eq!((totals.live, totals.in_state(SegmentState::Sealed)), (5, 1));
        assert_eq!((totals.in_state(SegmentState::Empty), accountant.bound()), (2, 3));
    }

    #[test]
    fn threads_that_kill_find_one_owner_per_slot_and_the_highest_kill() {
        const SLOTS: u32 = if cfg!(miri) { 20 } else { 200 };
        const RECORDS: u64 = if cfg!(miri) { 4 } else { 40 };
        let accountant = SegmentAccountant::new();
        (0..SLOTS).for_each(|slot| accountant.open(SlotId(slot), SegmentId(slot.into()), HeadId::FRESH));
        let (clock, owned) = (AtomicU64::new(1), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let (accountant, clock, owned) = (&accountant, &clock, &owned);
                scope.spawn(move || {
                    for slot in (0..SLOTS).map(SlotId) {
                        for _ in 0..RECORDS {
                            let lsn = Lsn(clock.fetch_add(1, Ordering::Relaxed));
                            accountant.kill(slot, 7, HeadId::FRESH, lsn);
                        }
                        if thread == 0 {
                            accountant.credit(slot, 4 * 7 * RECORDS, true, Lsn(1));
                        }
                        owned.fetch_add(accountant.take_empties().count() as u64, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(owned.into_inner() + accountant.take_empties().count() as u64, SLOTS.into());
        assert_eq!(accountant.live_bytes(), 0);
        let highest = (0..SLOTS).map(|slot| accountant.kill_lsns(SlotId(slot))[0]).max();
        assert_eq!(highest, Some(Lsn(clock.into_inner() - 1)));
    }
}
