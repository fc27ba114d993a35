//! Where segments come from: free slots, new slots at the end of the file, and the claims that make them segments.
//!
//! This is the cold side of the log: it is entered once per segment, under one lock that orders claims (their ids rise
//! in the order of the manifest). The I/O done under it, zeroing a new slot and syncing a claim, is what the lock is there
//! to put in order; no user code runs under it and no reservation is held while waiting for it.
//!
//! # A slot's way back
//!
//! The accountant pushes a slot on its stack when the last live byte dies. The slot then waits until
//!
//! * **(A)** every record that killed one of its records is stable, and so is the slot's own end: else a power cut could
//!   bring the killed records back to life when their bytes are gone, or tear a hole below the tip;
//! * **(B)** every thread that might have looked up a place in it has moved on: a deferral of the epoch says so.
//!
//! Nobody waits for either. If no slot is free the file grows. A slot that somebody *holds*, to read it whole without a guard,
//! waits for that as well: see `hold`.
//!
//! # The reserve
//!
//! Making space takes space. Ordinary writes leave [`RESERVE`] free slots behind when the disk is full; relocation, `free`
//! and the ends of batches may use them (relocation all but the last), and while fewer are left ordinary writes are refused at the gate. A store
//! reserves at most as many slots as it has in use, so that a small one stays small.
//!
//! New slots are filled with zeros rather than reserved by `fallocate`: that claims the space on every file system that
//! allocates when it writes, and blocks that were written before commit faster than blocks that only were reserved.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::core::LogCore;
use super::gate::Privilege;
use super::manifest_file::RESERVE_ENTRIES;
use super::ring::{Armed, Ring};
use crate::error::{Error, Result};
use crate::format::{Claim, ManifestEntry};
use crate::ids::{HeadId, SegmentId, SlotId};
use crate::location::Place;
use crate::stats::Counter;
use crate::storage::is_full;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, epoch};

/// Free slots that ordinary writes leave to those who make space.
pub(crate) const RESERVE: usize = 2;

/// The most segments that one claim takes ahead.
const MAX_AHEAD: u32 = 8;

#[derive(Debug, Default)]
struct State {
    /// Slots that hold nothing anyone needs.
    free: BTreeSet<SlotId>,
    /// Those that were added to the file by this instance and never held a segment.
    untouched: BTreeSet<SlotId>,
    /// Slots without live bytes that fail (A).
    emptied: Vec<SlotId>,
    /// Slots that wait for (B).
    quarantine: VecDeque<(Arc<AtomicBool>, Vec<SlotId>)>,
    /// How many hold each slot that is held.
    holders: BTreeMap<SlotId, u32>,
    /// Slots that would be free if nobody held them.
    kept: BTreeSet<SlotId>,
    /// Slots that the file has room for.
    slots: u32,
    /// The file could not grow when it was last tried.
    full: bool,
    next_segment: u64,
    newest: [SegmentId; HeadId::COUNT],
    /// Segments that are claimed and not yet armed.
    ahead: [VecDeque<Armed>; HeadId::COUNT],
}

/// What the supply starts from.
#[derive(Debug, Default)]
pub(crate) struct SupplyStart {
    pub(crate) free: BTreeSet<SlotId>,
    pub(crate) slots: u32,
    pub(crate) next_segment: u64,
    pub(crate) newest: [SegmentId; HeadId::COUNT],
}

/// Figures of the supply.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SupplyFigures {
    /// Slots in the file.
    pub(crate) slots: u32,
    /// Slots that can be claimed at once.
    pub(crate) free: u32,
    /// Slots that will be free when what killed their records is stable, or readers have moved on.
    pub(crate) emptied: u32,
    /// How many of these are only waiting for those who hold them.
    pub(crate) kept: u32,
    /// The disk had no space for another slot.
    pub(crate) full: bool,
}

/// The supply of segments.
#[derive(Debug)]
pub(crate) struct Supply(Mutex<State>);

impl Supply {
    pub(crate) fn new(start: SupplyStart) -> Self {
        let SupplyStart { free, slots, next_segment, newest } = start;
        Self(Mutex::new(State { free, slots, next_segment, newest, ..State::default() }))
    }

    pub(crate) fn figures(&self) -> SupplyFigures {
        let state = self.0.lock();
        let quarantined: usize = state.quarantine.iter().map(|(_, slots)| slots.len()).sum();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        SupplyFigures {
            slots: state.slots,
            free: count(state.free.len()),
            emptied: count(state.emptied.len() + quarantined + state.kept.len()),
            kept: count(state.kept.len()),
            full: state.full,
        }
    }

    /// Makes a segment newer than `after` armed in the ring.
    pub(crate) fn arm(
        &self,
        core: &LogCore,
        ring: &Ring,
        after: SegmentId,
        privilege: Privilege,
    ) -> Result<()> {
        if ring.armed_after(after).is_none() {
            self.ripen(core);
        }
        let mut state = self.0.lock();
        if ring.armed_after(after).is_some() {
            return Ok(());
        }
        core.gate().check_poison()?;
        let head = ring.head.index();
        if state.ahead.get(head).is_none_or(VecDeque::is_empty) {
            state.take_ripe(core);
            state.claim(core, ring.head, privilege)?;
        }
        if let Some(armed) = state.ahead.get_mut(head).and_then(VecDeque::pop_front) {
            ring.set_armed(armed);
        }
        Ok(())
    }

    /// Looks which slots have become free. Returns how many wait for what a sync would bring.
    pub(crate) fn harvest(&self, core: &LogCore) -> u32 {
        self.ripen(core);
        let mut state = self.0.lock();
        state.take_ripe(core);
        u32::try_from(state.emptied.len()).unwrap_or(u32::MAX)
    }

    /// Puts what is empty and stable in quarantine, and helps the epoch along. Not under the lock: moving
    /// the epoch runs deferred drops of users' fragments, which may do anything.
    fn ripen(&self, core: &LogCore) {
        let some_wait = {
            // Pinned before the lock is taken, for pinning can move the epoch too; dropped after it.
            let guard = epoch::pin();
            let mut state = self.0.lock();
            state.bury(core, &guard);
            !state.quarantine.is_empty()
        };
        if some_wait {
            // Each round can move the epoch on by one, if no thread is in its way; two make a deferral ripe.
            (0..3).for_each(|_| epoch::pin().flush());
        }
    }

    /// Holds the slots that `choose` picks, while no slot can be claimed or become free.
    pub(super) fn hold(&self, choose: impl FnOnce() -> Vec<SlotId>) -> Vec<SlotId> {
        let mut state = self.0.lock();
        let slots = choose();
        for slot in &slots {
            *state.holders.entry(*slot).or_default() += 1;
        }
        slots
    }

    /// Gives back slots that were held.
    pub(super) fn let_go(&self, core: &LogCore, slots: impl IntoIterator<Item = SlotId>) {
        let mut state = self.0.lock();
        slots.into_iter().for_each(|slot| state.let_go(core, slot));
    }

    /// Waits for who is claiming now.
    pub(crate) fn pass(&self) {
        drop(self.0.lock());
    }

    /// Tries to have the reserve again, and admits ordinary writes if it succeeds.
    pub(crate) fn restore_reserve(&self, core: &LogCore) -> Result<()> {
        self.ripen(core);
        let mut state = self.0.lock();
        core.gate().check_poison()?;
        state.take_ripe(core);
        while state.free.len() < state.reserve() {
            state.grow(core)?;
        }
        core.gate().keep_reserve(false);
        Ok(())
    }
}

impl State {
    /// How many free slots ordinary writes leave behind.
    fn reserve(&self) -> usize {
        RESERVE.min((self.slots as usize).saturating_sub(self.free.len()))
    }

    /// Puts slots that are empty and stable in quarantine, until every thread that is pinned now has moved on.
    fn bury(&mut self, core: &LogCore, guard: &epoch::Guard) {
        self.emptied.extend(core.accountant().take_empties());
        let stable = core.durability().all_stable();
        let (matured, waiting) =
            self.emptied.drain(..).partition(|slot| core.accountant().reusable(*slot, &stable));
        self.emptied = waiting;
        let matured: Vec<SlotId> = matured;
        if !matured.is_empty() {
            self.quarantine.push_back((defer_flag(guard), matured));
        }
    }

    fn take_ripe(&mut self, core: &LogCore) {
        while self.quarantine.front().is_some_and(|(ripe, _)| ripe.load(Ordering::Acquire)) {
            for slot in self.quarantine.pop_front().into_iter().flat_map(|(_, slots)| slots) {
                if self.holders.contains_key(&slot) {
                    self.kept.insert(slot);
                } else {
                    self.set_free(core, slot);
                }
            }
        }
    }

    fn set_free(&mut self, core: &LogCore, slot: SlotId) {
        core.accountant().release(slot);
        self.free.insert(slot);
    }

    fn let_go(&mut self, core: &LogCore, slot: SlotId) {
        let Some(holders) = self.holders.get_mut(&slot) else { return };
        *holders -= 1;
        if *holders == 0 {
            self.holders.remove(&slot);
            if self.kept.remove(&slot) {
                self.set_free(core, slot);
            }
        }
    }

    /// Claims segments for a head, in one manifest entry.
    fn claim(&mut self, core: &LogCore, head: HeadId, privilege: Privilege) -> Result<()> {
        core.make_manifest_room(match privilege {
            Privilege::Ordinary => RESERVE_ENTRIES,
            Privilege::Relocation | Privilege::Reserve => 1,
        })?;
        // What comes out of the reserve is not taken ahead of need.
        let ahead = head == HeadId::FRESH && privilege == Privilege::Ordinary;
        let count = if ahead { claimed_at_once(self.slots) } else { 1 };
        let mut claims: Vec<(SlotId, Claim)> = Vec::new();
        for _ in 0..count {
            match self.take_slot(core, privilege) {
                Ok(slot) => claims.push((slot, self.assign(core, slot, head))),
                Err(error) if claims.is_empty() => return Err(error),
                Err(_) => break,
            }
        }
        let armed: Vec<Armed> =
            claims.iter().map(|(slot, claim)| Armed { slot: *slot, segment: claim.segment }).collect();
        let stable = core.durability().all_stable();
        if let Err(error) = core.append_manifest(&ManifestEntry::Claims { stable, claims }) {
            // Nobody heard of these segments; their ids are spent.
            for armed in armed {
                core.accountant().withdraw(armed.slot);
                self.free.insert(armed.slot);
            }
            return Err(error);
        }
        if let Some(ahead) = self.ahead.get_mut(head.index()) {
            ahead.extend(armed);
        }
        Ok(())
    }

    fn assign(&mut self, core: &LogCore, slot: SlotId, head: HeadId) -> Claim {
        let segment = SegmentId(self.next_segment);
        self.next_segment += 1;
        let newest = self.newest.get_mut(head.index());
        let predecessor =
            newest.map(|newest| std::mem::replace(newest, segment)).filter(|segment| segment.0 > 0);
        core.accountant().open(slot, segment, head);
        if !self.untouched.remove(&slot) {
            core.counters().one(Counter::SegmentReused);
        }
        Claim { segment, head, predecessor, end: core.geometry().segment_size() }
    }

    fn take_slot(&mut self, core: &LogCore, privilege: Privilege) -> Result<SlotId> {
        let keep = match privilege {
            Privilege::Ordinary => self.reserve(),
            // `free` must find something even if relocation has not paid off yet.
            Privilege::Relocation => 1.min(self.reserve()),
            Privilege::Reserve => 0,
        };
        let mut grown = Ok(());
        while self.free.len() <= self.reserve() && grown.is_ok() {
            grown = self.grow(core);
        }
        let reserve = self.reserve();
        if self.free.len() > keep
            && let Some(slot) = self.free.pop_first()
        {
            core.gate().keep_reserve(self.free.len() < reserve);
            return Ok(slot);
        }
        grown?;
        Err(Error::DiskFull { path: core.log_path() })
    }

    /// Adds one slot at the end of the file.
    fn grow(&mut self, core: &LogCore) -> Result<()> {
        if self.slots >= Place::SLOT_LIMIT {
            return Err(Error::DiskFull { path: core.log_path() });
        }
        match core.zero_slot(SlotId(self.slots)) {
            Ok(()) => {
                self.free.insert(SlotId(self.slots));
                self.untouched.insert(SlotId(self.slots));
                self.slots += 1;
                self.full = false;
                Ok(())
            }
            Err(error) => {
                // Whatever part of a slot was written, somebody may need its space.
                core.cut_file(self.slots);
                if !is_full(&error) {
                    return Err(Error::io("extend", core.log_path(), error));
                }
                self.full = true;
                Err(Error::DiskFull { path: core.log_path() })
            }
        }
    }
}

/// How many segments of the fresh head one claim takes in a file of so many slots.
pub(crate) fn claimed_at_once(slots: u32) -> u32 {
    (slots / 64).clamp(1, MAX_AHEAD)
}

/// A flag that is set when every thread that is pinned now has moved on.
fn defer_flag(guard: &epoch::Guard) -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let deferred = Arc::clone(&flag);
    // SAFETY: the closure owns what it touches, and both are Send and 'static.
    unsafe { guard.defer_unchecked(move || deferred.store(true, Ordering::Release)) };
    flag
}
