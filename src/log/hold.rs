//! Keeping segments from being reused while they are read whole.
//!
//! Whoever reads a page pins the epoch, and the places that it found stay what they are. That is for moments:
//! a guard that is held for long keeps memory and segments of all stores from being used again. So those who
//! read whole segments, to check or to copy them, *hold* these instead: what is held may die, and be
//! relocated, but is not claimed for a new life.
//!
//! - **(A)** Slots are chosen under the lock of the supply, under which alone slots become free and are
//!   claimed. So a slot that is chosen is in the life that it was seen in, and stays in it until it is let
//!   go.
//! - **(B)** A slot is freed only when all that superseded its records is stable. So whoever reads the stable
//!   LSNs under the same lock finds in the slots that are not free all records that are live as of these
//!   LSNs.

use std::collections::BTreeSet;

use super::core::LogCore;
use crate::format::SegmentHeader;
use crate::ids::{HeadId, Lsn, SegmentId, SlotId};
use crate::segments::SegmentState;

/// Slots that are held. Dropping it lets them go.
#[derive(Debug)]
pub(crate) struct Hold<'a> {
    core: &'a LogCore,
    slots: BTreeSet<SlotId>,
}

impl<'a> Hold<'a> {
    /// Holds what `choose` picks (A).
    pub(crate) fn choose(core: &'a LogCore, choose: impl FnOnce() -> Vec<SlotId>) -> Self {
        Self { core, slots: core.supply().hold(choose).into_iter().collect() }
    }

    /// Holds one segment, if it is still there.
    pub(crate) fn segment(core: &'a LogCore, slot: SlotId, segment: SegmentId) -> Option<Self> {
        let accountant = core.accountant();
        let is_there = || accountant.state(slot) != SegmentState::Free && accountant.segment(slot) == segment;
        let hold = Self::choose(core, || if is_there() { vec![slot] } else { Vec::new() });
        (!hold.slots.is_empty()).then_some(hold)
    }

    /// Lets one slot go before the others.
    pub(crate) fn let_go(&mut self, slot: SlotId) {
        if self.slots.remove(&slot) {
            self.core.supply().let_go(self.core, [slot]);
        }
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.core.supply().let_go(self.core, std::mem::take(&mut self.slots));
    }
}

/// A segment that holds something, as it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentInUse {
    pub(crate) slot: SlotId,
    pub(crate) segment: SegmentId,
    pub(crate) head: HeadId,
    /// How many of its bytes are in the file and can hold records.
    pub(crate) length: u32,
}

impl LogCore {
    /// The segment in a slot, if anything of it is in the file.
    pub(crate) fn segment_in_use(&self, slot: SlotId) -> Option<SegmentInUse> {
        let (accountant, geometry) = (self.accountant(), self.geometry());
        let state = accountant.state(slot);
        if matches!(state, SegmentState::Free | SegmentState::Claimed) {
            return None;
        }
        let (segment, head) = (accountant.segment(slot), accountant.head(slot));
        let base = geometry.base(segment);
        let end = if state == SegmentState::Active {
            self.ring(head).written()
        } else if self.slot_of(segment) == Some(slot) {
            // Recovery may have cut it: what lies behind is void.
            accountant.end(slot)
        } else {
            // With the record that ends it, which is not on its account.
            Lsn(u64::MAX)
        };
        // At most a segment.
        let length = end.0.saturating_sub(base.0).min(geometry.segment_size().into()) as u32;
        (length as usize > SegmentHeader::LENGTH).then_some(SegmentInUse { slot, segment, head, length })
    }

    /// All segments of which anything is in the file, by slot.
    pub(crate) fn segments_in_use(&self) -> impl Iterator<Item = SegmentInUse> {
        (0..self.accountant().bound()).map(SlotId).filter_map(|slot| self.segment_in_use(slot))
    }
}
