//! Where segments come from: free slots, new slots at the end of the file, and the claims that make them
//! segments.
//!
//! This is the cold side of the log: it is entered once per segment, under one lock that orders claims (their
//! ids rise in the order of the manifest). The I/O done under it, zeroing a new slot and syncing a claim, is
//! what the lock is there to put in order; no user code runs under it and no reservation is held while
//! waiting for it.
//!
//! # A slot's way back
//!
//! The accountant pushes a slot on its stack when the last live byte dies. The slot then waits until
//!
//! * **(A)** every record that killed one of its records is stable, and so is the slot's own end: else a
//!   power cut could bring the killed records back to life when their bytes are gone, or tear a hole below
//!   the tip;
//! * **(B)** every thread that might have looked up a place in it has moved on: a deferral of the epoch says
//!   so.
//!
//! No claim waits for either: if no slot is free the file grows. That there is one in time is the business of
//! those who do the housekeeping, who hold neither a guard nor a reservation, and may wait. A slot that
//! somebody *holds*, to read it whole without a guard, waits for that as well: see `hold`. So does one that a
//! follower of the log has not come to.
//!
//! # The reserve
//!
//! Making space takes space. Ordinary writes leave [`RESERVE`] free slots behind when the disk is full;
//! relocation, `free` and the ends of batches may use them, and while fewer are left ordinary writes are
//! refused at the gate. `free` leaves the last one: what it has freed is only gained when live records can be
//! moved out of its way. Relocation gives back a slot for each that it takes, or more; but not at once, and
//! until then it leaves two, the other one for `free`. A store reserves at most as many slots as it has in
//! use, so that a small one stays small.
//!
//! How the file gets longer and shorter is in `length`; what is kept for those who follow the log, in
//! `followers`.

mod followers;
mod length;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use self::followers::Followers;
use super::core::LogCore;
use super::gate::Privilege;
use super::manifest_file::RESERVE_ENTRIES;
use super::ring::{Armed, Ring};
use crate::error::{Error, Result};
use crate::failpoints::failpoint;
use crate::format::{Claim, MAX_CLAIMS, ManifestEntry};
use crate::geometry::Geometry;
use crate::ids::{HeadId, SegmentId, SlotId};
use crate::stats::Counter;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, epoch};

/// Free slots that ordinary writes leave to those who make space.
pub(crate) const RESERVE: usize = 3;

/// The most segments that one claim takes for the head that claims; each other one gets one.
const MAX_AHEAD: u32 = 8;
const _: () = assert!(MAX_AHEAD as usize + HeadId::COUNT - 1 <= MAX_CLAIMS);

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
    /// Slots that would be free if nobody held them, or followed the log.
    kept: BTreeSet<SlotId>,
    followers: Followers,
    /// Slots that the file has room for.
    slots: u32,
    /// By how many bytes the last of them is short (C).
    short: u32,
    /// How many bytes behind the last of them are filled with zeros, for the next one. None while it is
    /// short.
    beyond: u32,
    /// The file could not grow when it was last tried.
    full: bool,
    next_segment: u64,
    newest: [SegmentId; HeadId::COUNT],
    /// The newest that was armed, or that was there before.
    armed: [SegmentId; HeadId::COUNT],
    /// Segments that are claimed and not yet armed.
    ahead: [VecDeque<Armed>; HeadId::COUNT],
}

/// What the supply starts from.
#[derive(Debug, Default)]
pub(crate) struct SupplyStart {
    pub(crate) free: BTreeSet<SlotId>,
    pub(crate) slots: u32,
    /// By how many bytes the last slot is longer than the file.
    pub(crate) short: u32,
    /// By how many bytes the file is longer than its slots.
    pub(crate) beyond: u32,
    pub(crate) next_segment: u64,
    pub(crate) newest: [SegmentId; HeadId::COUNT],
}

/// Figures of the supply.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SupplyFigures {
    /// Slots in the file.
    pub(crate) slots: u32,
    /// By how many bytes the last slot is longer than the file.
    pub(crate) short: u32,
    /// By how many bytes the file is longer than its slots.
    pub(crate) beyond: u32,
    /// Slots that can be claimed at once.
    pub(crate) free: u32,
    /// Slots that will be free when what killed their records is stable, or readers have moved on.
    pub(crate) emptied: u32,
    /// How many of these are only waiting for those who hold them.
    pub(crate) kept: u32,
    /// The disk had no space for another slot.
    pub(crate) full: bool,
}

impl SupplyFigures {
    /// Slots that hold something, or are about to.
    pub(crate) fn used(&self) -> u32 {
        self.slots.saturating_sub(self.free + self.emptied)
    }

    /// The length of the file in bytes.
    pub(crate) fn file_length(&self, geometry: Geometry) -> u64 {
        geometry.file_length(self.slots) - u64::from(self.short) + u64::from(self.beyond)
    }
}

/// The supply of segments.
#[derive(Debug)]
pub(crate) struct Supply {
    state: Mutex<State>,
    /// The last slot may be short. Set under the lock before a segment in a short slot can be found, so who
    /// writes there sees it.
    may_be_short: AtomicBool,
}

impl Supply {
    pub(crate) fn new(start: SupplyStart) -> Self {
        let SupplyStart { free, slots, short, beyond, next_segment, newest } = start;
        let (armed, rest) = (newest, State::default());
        let state = State { free, slots, short, beyond, next_segment, newest, armed, ..rest };
        Self { state: Mutex::new(state), may_be_short: AtomicBool::new(short > 0) }
    }

    pub(crate) fn figures(&self) -> SupplyFigures {
        let state = self.state.lock();
        let quarantined: usize = state.quarantine.iter().map(|(_, slots)| slots.len()).sum();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        SupplyFigures {
            slots: state.slots,
            short: state.short,
            beyond: state.beyond,
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
        let mut state = self.state.lock();
        if ring.armed_after(after).is_some() {
            return Ok(());
        }
        core.gate().check_poison()?;
        let head = ring.head.index();
        if state.ahead.get(head).is_none_or(VecDeque::is_empty) {
            state.take_ripe(core);
            let claimed = state.claim(core, ring.head, privilege);
            self.may_be_short.store(state.short > 0, Ordering::Relaxed);
            claimed?;
        }
        if let Some(armed) = state.ahead.get_mut(head).and_then(VecDeque::pop_front) {
            if let Some(newest) = state.armed.get_mut(head) {
                *newest = armed.segment;
            }
            ring.set_armed(armed);
        }
        Ok(())
    }

    /// Looks which slots have become free. Returns how many wait for what a sync would bring.
    pub(crate) fn harvest(&self, core: &LogCore) -> u32 {
        self.ripen(core);
        let mut state = self.state.lock();
        state.take_ripe(core);
        u32::try_from(state.emptied.len()).unwrap_or(u32::MAX)
    }

    /// Puts what is empty and stable in quarantine, and helps the epoch along. Not under the lock: moving
    /// the epoch runs deferred drops of users' fragments, which may do anything.
    fn ripen(&self, core: &LogCore) {
        let some_wait = {
            // Pinned before the lock is taken, for pinning can move the epoch too; dropped after it.
            let guard = epoch::pin();
            let mut state = self.state.lock();
            state.quarantine_emptied(core, &guard);
            !state.quarantine.is_empty()
        };
        if some_wait {
            epoch::advance();
        }
    }

    /// Fills a little of the next slot with zeros, if there may soon be need of it (see the module's essay).
    /// For stores that may grow.
    pub(crate) fn prepare(&self, core: &LogCore, bytes: u32) -> Result<()> {
        let mut state = self.state.lock();
        core.gate().check_poison()?;
        state.prepare(core, bytes)
    }

    /// Holds the slots that `choose` picks, while no slot can be claimed or become free.
    pub(super) fn hold(&self, choose: impl FnOnce() -> Vec<SlotId>) -> Vec<SlotId> {
        let mut state = self.state.lock();
        let slots = choose();
        for slot in &slots {
            *state.holders.entry(*slot).or_default() += 1;
        }
        slots
    }

    /// Gives back slots that were held.
    pub(super) fn let_go(&self, core: &LogCore, slots: impl IntoIterator<Item = SlotId>) {
        let mut state = self.state.lock();
        slots.into_iter().for_each(|slot| state.let_go(core, slot));
    }

    /// Waits for whoever is claiming now.
    pub(crate) fn pass(&self) {
        drop(self.state.lock());
    }

    /// Tries to have the reserve again, and admits ordinary writes if it succeeds.
    pub(crate) fn restore_reserve(&self, core: &LogCore) -> Result<()> {
        self.ripen(core);
        let mut state = self.state.lock();
        core.gate().check_poison()?;
        state.take_ripe(core);
        while state.free.len() < state.reserve() {
            state.grow(core)?;
        }
        core.gate().keep_reserve(false);
        Ok(())
    }

    /// A segment in the slot is about to be written up to `end`: makes sure that the file has space for that
    /// (D).
    #[inline]
    pub(crate) fn cover(&self, core: &LogCore, slot: SlotId, end: u32, privilege: Privilege) -> Result<()> {
        if !self.is_short(slot) {
            return Ok(());
        }
        let mut state = self.state.lock();
        let covered = if state.is_short(slot) { state.cover(core, end, privilege) } else { Ok(()) };
        self.may_be_short.store(state.short > 0, Ordering::Relaxed);
        covered
    }

    /// Whether the slot is the last and the file has only a part of it. For a slot that a segment was armed
    /// in.
    #[inline]
    pub(crate) fn is_short(&self, slot: SlotId) -> bool {
        // Relaxed: the armed segment was read from what the holder of the lock published after it had set
        // this.
        self.may_be_short.load(Ordering::Relaxed) && self.state.lock().is_short(slot)
    }

    /// The highest slots that keep the file from being cut to `slots`, the highest first.
    pub(crate) fn in_the_way(&self, slots: u32, most: usize) -> Vec<SlotId> {
        let state = self.state.lock();
        let above = (slots..state.slots).rev().map(SlotId);
        above.filter(|slot| !state.is_idle(*slot)).take(most).collect()
    }

    /// Gives back what was filled for a slot that is not there yet.
    pub(crate) fn trim(&self, core: &LogCore) {
        self.state.lock().give_up_beyond(core);
    }

    /// Has the manifest say what is stable, unless it does: for a store that is closed. What was flushed last
    /// has no mark behind it, and if it rots it would be taken for what a power cut tore.
    pub(crate) fn note_stable(&self, core: &LogCore) -> Result<()> {
        // Under the lock, for the entry says how long the file is.
        let state = self.state.lock();
        core.gate().check_poison()?;
        let stable = core.durability().all_stable();
        if core.manifest().proves(&stable) {
            return Ok(());
        }
        // It cuts nothing off.
        match core.append_manifest(&ManifestEntry::Release { slots: state.slots, stable }) {
            // It is as it would be without.
            Err(Error::DiskFull { .. }) => Ok(()),
            other => other,
        }
    }

    /// Cuts the file to `slots`, or to what is in use and the reserve if that is more; of a large file at
    /// most [`LARGEST_CUT`] bytes at a time. If that takes off less than `worthwhile` slots, and more remain
    /// to be cut later, nothing is done. Returns whether anything was cut.
    pub(crate) fn shrink(&self, core: &LogCore, slots: u32, worthwhile: u32) -> Result<bool> {
        let mut state = self.state.lock();
        core.gate().check_poison()?;
        state.shrink(core, slots, worthwhile)
    }
}

impl State {
    /// Whether nothing was ever written in the slot's present life.
    fn is_idle(&self, slot: SlotId) -> bool {
        self.free.contains(&slot) || self.ahead.iter().flatten().any(|armed| armed.slot == slot)
    }

    fn is_short(&self, slot: SlotId) -> bool {
        self.short > 0 && slot.0 + 1 == self.slots
    }

    /// How many free slots ordinary writes leave behind.
    fn reserve(&self) -> usize {
        RESERVE.min((self.slots as usize).saturating_sub(self.free.len()))
    }

    /// Whether slots that are empty will be free soon.
    fn is_waiting(&self) -> bool {
        !self.emptied.is_empty() || !self.quarantine.is_empty()
    }

    /// Puts slots that are empty and stable in quarantine, until every thread that is pinned now has moved
    /// on.
    fn quarantine_emptied(&mut self, core: &LogCore, guard: &epoch::Guard) {
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
                if self.holders.contains_key(&slot) || self.keep_for_followers(core, slot) {
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
        failpoint!("segment::freed");
    }

    fn let_go(&mut self, core: &LogCore, slot: SlotId) {
        let Some(holders) = self.holders.get_mut(&slot) else { return };
        *holders -= 1;
        if *holders == 0 {
            self.holders.remove(&slot);
            if !self.is_followed(core, slot) && self.kept.remove(&slot) {
                self.set_free(core, slot);
            }
        }
    }

    /// Claims a segment for a head, in one manifest entry with those that are taken ahead.
    fn claim(&mut self, core: &LogCore, head: HeadId, privilege: Privilege) -> Result<()> {
        core.make_manifest_room(match privilege {
            Privilege::Ordinary => RESERVE_ENTRIES,
            Privilege::Free | Privilege::Relocation | Privilege::Reserve => 1,
        })?;
        let slot = self.take_slot(core, privilege)?;
        let mut claims = vec![(slot, self.assign(core, slot, head))];
        if matches!(privilege, Privilege::Ordinary | Privilege::Relocation) {
            self.take_ahead(core, head, &mut claims);
        }
        let taken: Vec<(HeadId, Armed)> = claims
            .iter()
            .map(|(slot, claim)| (claim.head, Armed { slot: *slot, segment: claim.segment }))
            .collect();
        let stable = core.durability().all_stable();
        if let Err(error) = core.append_manifest(&ManifestEntry::Claims { stable, claims }) {
            // Nobody heard of these segments; their ids are spent.
            for (_, armed) in taken {
                core.accountant().withdraw(armed.slot);
                self.free.insert(armed.slot);
            }
            return Err(error);
        }
        failpoint!("segment::claimed");
        for (head, armed) in taken {
            if let Some(ahead) = self.ahead.get_mut(head.index()) {
                ahead.push_back(armed);
            }
        }
        Ok(())
    }

    /// Adds to the claim of a segment for `claiming` what the heads will need next, as long as it takes
    /// neither the reserve nor a longer file: each entry of the manifest costs a sync, however much it says.
    /// First those heads that have none, for what one head has ahead is none of the others'.
    fn take_ahead(&mut self, core: &LogCore, claiming: HeadId, claims: &mut Vec<(SlotId, Claim)>) {
        let at_once = claimed_at_once(self.slots);
        if at_once == 1 {
            // In a small file each segment counts.
            return;
        }
        let is_used = |head: &HeadId| self.newest.get(head.index()).is_some_and(|newest| newest.0 > 0);
        let has_none = |head: &HeadId| self.ahead.get(head.index()).is_none_or(VecDeque::is_empty);
        // A head claims when it has none left, and has the first one already.
        let others = HeadId::all().filter(|head| *head != claiming && is_used(head) && has_none(head));
        let more = std::iter::repeat_n(claiming, at_once as usize - 1);
        for head in others.chain(more).collect::<Vec<_>>() {
            if self.free.len() <= self.reserve() {
                return;
            }
            let Ok(slot) = self.take_slot(core, Privilege::Ordinary) else { return };
            claims.push((slot, self.assign(core, slot, head)));
        }
    }

    fn assign(&mut self, core: &LogCore, slot: SlotId, head: HeadId) -> Claim {
        let segment = SegmentId(self.next_segment);
        self.next_segment += 1;
        let newest = self.newest.get_mut(head.index());
        let predecessor =
            newest.map(|newest| std::mem::replace(newest, segment)).filter(|segment| segment.0 > 0);
        core.accountant().open(slot, segment, head);
        if !self.untouched.remove(&slot) {
            failpoint!("segment::reused");
            core.counters().one(Counter::SegmentReused);
        }
        Claim { segment, head, predecessor, end: core.geometry().segment_size() }
    }

    fn take_slot(&mut self, core: &LogCore, privilege: Privilege) -> Result<SlotId> {
        let keep = match privilege {
            Privilege::Ordinary => self.reserve(),
            Privilege::Free => 1.min(self.reserve()),
            // `free` must find something even if relocation has not paid off yet.
            Privilege::Relocation if self.is_waiting() => 2.min(self.reserve()),
            Privilege::Relocation | Privilege::Reserve => 0,
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
}

/// How many segments of each head one claim takes, if they are free, in a file of so many slots.
pub(crate) fn claimed_at_once(slots: u32) -> u32 {
    (slots / 64).clamp(1, MAX_AHEAD)
}

/// A flag that is set when every thread that is pinned now has moved on.
pub(super) fn defer_flag(guard: &epoch::Guard) -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let deferred = Arc::clone(&flag);
    // SAFETY: the closure owns what it touches, and both are Send and 'static.
    unsafe { guard.defer_unchecked(move || deferred.store(true, Ordering::Release)) };
    flag
}
