//! The length of the log file: new slots at its end, and free ones cut off.
//!
//! New slots are filled with zeros rather than reserved by `fallocate`: that claims the space on every file
//! system that allocates when it writes, and blocks that were written before commit faster than blocks that
//! only were reserved.
//!
//! # The short slot
//!
//! The very first slot of a file is filled in steps, so that a store with little in it takes little. So
//!
//! * **(C)** only the last slot of the file can be *short*; the file ends where its zeros, or its records,
//!   end;
//! * **(D)** a stretch of a short slot is filled with zeros before a write buffer is opened for it, and a
//!   step beyond, which ordinary writes leave to those who make space. So here, too, a full disk is met
//!   before a record is;
//! * **(E)** before the file gets another slot, and before a segment is claimed ahead, the short one is made
//!   whole.
//!
//! # Growing in steps
//!
//! To fill a slot with zeros takes longer than a writer likes to wait. So those who do the housekeeping of a
//! store that is allowed to grow fill the *next* slot a step at a time ([`prepare`](super::Supply::prepare)),
//! and a claim finds slots in stock. What is filled behind the last slot belongs to no slot yet: it counts
//! for nothing until the slot is whole, and a claim that finds the stock used up fills what is missing. A
//! claim takes ahead only what is in stock, so it fills one slot at the most.
//!
//! # Giving space back
//!
//! Free slots at the end of the file are cut off when the file has more than it needs; how many that is, the
//! caller says. All that ever lay in them was stable and is not needed, and *a synced entry of the manifest
//! says so before the file is cut*: else a power cut could keep the cut and lose the entry, and recovery
//! would miss segments that the manifest still claims. Segments that are claimed ahead and not armed have
//! never been written to; they are given up by the same entry.

use super::{RESERVE, State, claimed_at_once};
use crate::error::{Error, Result};
use crate::format::ManifestEntry;
use crate::format::record::END_LENGTH;
use crate::ids::{HeadId, SlotId};
use crate::location::Place;
use crate::log::core::LogCore;
use crate::log::gate::Privilege;
use crate::stats::Counter;
use crate::storage::is_full;

/// A short slot grows in steps of so many bytes.
fn step_of(segment_size: u32) -> u32 {
    (segment_size / 16).clamp(512, 64 << 10)
}

/// The most bytes that are cut off at a time: file systems take a while to free them.
const LARGEST_CUT: u64 = 256 << 20;

impl State {
    /// Adds one slot at the end of the file (E). The first one begins short.
    pub(super) fn grow(&mut self, core: &LogCore) -> Result<()> {
        let segment = core.geometry().segment_size();
        self.extend(core, segment)?;
        if self.slots >= Place::SLOT_LIMIT {
            return Err(Error::DiskFull { path: core.log_path() });
        }
        let slot = SlotId(self.slots);
        let length = if self.slots == 0 { step_of(segment).min(segment) } else { segment };
        let filled = self.zero(core, slot, self.beyond, length);
        if filled.is_err() {
            self.give_up_beyond(core);
        }
        filled?;
        self.add_slot(segment - length);
        Ok(())
    }

    /// Counts the slot behind the last one, which was filled.
    fn add_slot(&mut self, short: u32) {
        let slot = SlotId(self.slots);
        self.free.insert(slot);
        self.untouched.insert(slot);
        self.slots += 1;
        (self.short, self.beyond) = (short, 0);
    }

    /// See [`prepare`](super::Supply::prepare).
    pub(super) fn prepare(&mut self, core: &LogCore, bytes: u32) -> Result<()> {
        let soon = self.reserve() + claimed_at_once(self.slots) as usize;
        let waiting: usize = self.quarantine.iter().map(|(_, slots)| slots.len()).sum();
        let no_need = self.free.len() + self.emptied.len() + waiting >= soon;
        // The first slot grows with the records in it.
        if no_need || self.full || self.short > 0 || !(1..Place::SLOT_LIMIT).contains(&self.slots) {
            return Ok(());
        }
        let segment = core.geometry().segment_size();
        let to = self.beyond.saturating_add(bytes).min(segment);
        match self.zero(core, SlotId(self.slots), self.beyond, to) {
            Ok(()) => self.beyond = to,
            // Whoever needs a slot will hear of it.
            Err(Error::DiskFull { .. }) => self.give_up_beyond(core),
            Err(error) => {
                self.give_up_beyond(core);
                return Err(error);
            }
        }
        if self.beyond == segment {
            self.add_slot(0);
        }
        Ok(())
    }

    /// Leaves the space behind the last slot to those who need it more.
    pub(super) fn give_up_beyond(&mut self, core: &LogCore) {
        if self.beyond > 0 {
            self.beyond = 0;
            core.cut_file(core.geometry().file_length(self.slots));
        }
    }

    /// See [`Supply::cover`].
    pub(super) fn cover(&mut self, core: &LogCore, end: u32, privilege: Privilege) -> Result<()> {
        let step = step_of(core.geometry().segment_size());
        let beyond = if privilege == Privilege::Ordinary { step } else { 0 };
        self.extend(core, end.saturating_add(END_LENGTH as u32).saturating_add(beyond))
    }

    /// Makes the last slot at least so long, if it is short, in whole steps.
    fn extend(&mut self, core: &LogCore, length: u32) -> Result<()> {
        let segment = core.geometry().segment_size();
        let there = segment.saturating_sub(self.short);
        let wanted = length.checked_next_multiple_of(step_of(segment)).unwrap_or(segment).min(segment);
        let Some(last) = self.slots.checked_sub(1).filter(|_| wanted > there) else { return Ok(()) };
        self.zero(core, SlotId(last), there, wanted)?;
        self.short = segment - wanted;
        Ok(())
    }

    /// Fills a part of a slot at the end of the file with zeros.
    fn zero(&mut self, core: &LogCore, slot: SlotId, from: u32, to: u32) -> Result<()> {
        match core.zero(slot, from, to) {
            Ok(()) => {
                self.full = false;
                Ok(())
            }
            Err(error) => {
                // Whatever was written of it, somebody may need its space.
                core.cut_file(core.geometry().file_offset(slot, from));
                if !is_full(&error) {
                    return Err(Error::io("extend", core.log_path(), error));
                }
                self.full = true;
                Err(Error::DiskFull { path: core.log_path() })
            }
        }
    }

    pub(super) fn shrink(&mut self, core: &LogCore, wanted: u32, worthwhile: u32) -> Result<bool> {
        let segment = u64::from(core.geometry().segment_size());
        let used = self.slots - u32::try_from(self.free.len()).unwrap_or(self.slots);
        let step = u32::try_from(LARGEST_CUT / segment).unwrap_or(u32::MAX);
        let least = wanted.max(used + RESERVE as u32).max(self.slots.saturating_sub(step));
        let idle = (least..self.slots).rev().take_while(|slot| self.is_idle(SlotId(*slot)));
        let slots = idle.last().unwrap_or(self.slots);
        let gain = self.slots.saturating_sub(slots);
        if gain == 0 || (gain < worthwhile && slots > least) {
            return Ok(false);
        }
        let stable = core.durability().all_stable();
        core.append_manifest(&ManifestEntry::Release { slots, stable })?;
        let bound = SlotId(slots);
        self.free.split_off(&bound);
        self.untouched.split_off(&bound);
        for head in 0..HeadId::COUNT {
            self.give_up_claims(core, head, bound);
        }
        (self.slots, self.short, self.beyond, self.full) = (slots, 0, 0, false);
        core.cut_file(core.geometry().file_length(slots));
        core.counters().one(Counter::Shrink);
        Ok(true)
    }

    /// Forgets segments that are claimed ahead in slots from `bound` on. What the head's next claim names as
    /// its predecessor is the newest that is left.
    fn give_up_claims(&mut self, core: &LogCore, head: usize, bound: SlotId) {
        let (Some(ahead), Some(newest)) = (self.ahead.get_mut(head), self.newest.get_mut(head)) else {
            return;
        };
        if ahead.is_empty() {
            return;
        }
        let before = self.armed.get(head).copied().unwrap_or_default();
        ahead.retain(|armed| {
            let keep = armed.slot < bound;
            if !keep {
                core.accountant().withdraw(armed.slot);
            }
            keep
        });
        *newest = ahead.back().map_or(before, |armed| armed.segment);
    }
}
