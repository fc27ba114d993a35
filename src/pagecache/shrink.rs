//! Giving space back: making the log file shorter.
//!
//! The file has a *fitting* length: what its live bytes justify, and a stock of free segments for the next
//! claims and for collection. A store that holds little has a small stock. A file that is longer than fits is
//! made shorter, a step at a time:
//!
//! 1. Free segments at its end are cut off, if that is a good piece or all there is to do.
//! 2. If the live bytes are scattered over more segments than fit, the best victims are cleaned.
//! 3. Otherwise there is room further down, and what lies behind the fitting length moves there: the last
//!    segments are cleaned, even if all of them is live. A head that is in the middle of such a segment
//!    leaves it.
//!
//! A file seldom swings between growing, which means writing zeros, and shrinking: as long as it fits,
//! collection keeps a stock, and writers wait a moment for it rather than make the file longer (see `gc`).
//! Closing cuts off only what is free at the end already. Who compacts wants no stock, nor what else would
//! fit: then all that lies behind what is in use moves, when nothing is worth cleaning any more.
//!
//! No step makes the file longer: copies go to the lowest free segments, and there are some, for whatever
//! lies behind the fitting length leaves as much free before it.

use super::gc::Turn;
use super::shared::Inner;
use crate::error::{Error, Result};
use crate::ids::{HeadId, SlotId};
use crate::log::{RESERVE, SupplyFigures};
use crate::pages::Fragment;
use crate::segments::SegmentState;

/// How many segments at the end are looked at for one that can be cleaned now.
const LOOK_AT: usize = 16;

/// A file that is longer than fits by more segments than this is every writer's business.
const FAR: u32 = 4;
/// For so many segments that are only waiting to be stable, and a share of all, it is worth a sync.
const MANY: u32 = 4;

/// Who makes the file shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Haste {
    /// A writer, in passing.
    Paced,
    /// Somebody who asked for it.
    Asked,
    /// Somebody who wants it as short as it can be, whatever the live bytes justify.
    Compacting,
}

/// The length that fits, in segments.
struct Fitting {
    /// What the live bytes justify, and a stock.
    justified: u32,
    /// What is in use, and the reserve.
    used: u32,
}

impl Fitting {
    fn slots(&self) -> u32 {
        self.justified.max(self.used)
    }
}

impl<F: Fragment> Inner<F> {
    /// So many segments stay beside those in use: the reserve, and while there are writers one for the next
    /// claim, lest the file grow by what was cut off.
    const fn left_by(haste: Haste) -> u32 {
        match haste {
            Haste::Paced => RESERVE as u32 + 1,
            Haste::Asked | Haste::Compacting => RESERVE as u32,
        }
    }

    fn fitting(&self, figures: &SupplyFigures, haste: Haste) -> Fitting {
        // Live bytes count when they are written.
        let unwritten = self.core.tail().0.saturating_sub(self.core.ring(HeadId::FRESH).written().0);
        let live = self.justified_by(self.core.accountant().live_bytes() + unwritten).ceil();
        let stock = self.beside(figures).min(figures.used());
        // Saturates far above the number of slots that can be.
        let justified = if haste == Haste::Compacting { 0 } else { (live as u32).saturating_add(stock) };
        Fitting { justified, used: figures.used() + Self::left_by(haste) }
    }

    /// Whether it takes more than the odd step to make the file fit.
    pub(super) fn is_far_too_long(&self) -> bool {
        let figures = self.core.supply().figures();
        figures.slots > self.fitting(&figures, Haste::Paced).justified.saturating_add(FAR)
    }

    /// One step towards a file of fitting length. Returns whether there was one to take.
    pub(super) fn shrink_by_a_step(&self, turn: &mut Turn, haste: Haste) -> Result<bool> {
        let supply = self.core.supply();
        let mut figures = supply.figures();
        let fitting = self.fitting(&figures, haste);
        let slots = fitting.slots();
        // Whoever compacts has cleaned what is worth it.
        let enough = if haste == Haste::Compacting { slots } else { fitting.justified };
        if figures.slots <= enough {
            return Ok(false);
        }
        if figures.emptied > MANY + figures.slots / 32 {
            // So many segments are only waiting to be stable: users may flush seldom or never.
            self.core.sync_in_passing()?;
            supply.harvest(&self.core);
            figures = supply.figures();
        }
        if supply.shrink(&self.core, slots, MANY + figures.slots / 16)? {
            return Ok(true);
        }
        if haste != Haste::Compacting && fitting.used > fitting.justified && self.clean_best(turn)? {
            return Ok(true);
        }
        self.clear_the_end(slots, turn, haste)
    }

    /// Moves something from behind the fitting length to where there is room.
    fn clear_the_end(&self, slots: u32, turn: &mut Turn, haste: Haste) -> Result<bool> {
        let (core, supply) = (&self.core, self.core.supply());
        let in_the_way = supply.in_the_way(slots, LOOK_AT);
        if supply.figures().free > RESERVE as u32 {
            for slot in &in_the_way {
                if self.clean_slot(*slot, turn)? {
                    return Ok(true);
                }
            }
        }
        for slot in &in_the_way {
            if self.leave(*slot, haste)? {
                return Ok(true);
            }
        }
        if !in_the_way.is_empty() && (haste != Haste::Paced || supply.harvest(core) > 0) {
            // Perhaps a sync is all that is missing, for a segment to be cleaned or to be free.
            let (before, stable) = (supply.figures(), core.durability().all_stable());
            core.sync_in_passing()?;
            supply.harvest(core);
            if supply.figures().free != before.free || core.durability().all_stable() != stable {
                return Ok(true);
            }
        }
        supply.shrink(core, slots, 1)
    }

    /// Makes the head that is in a segment leave it, or come nearer to leaving it. False if none is in it.
    fn leave(&self, slot: SlotId, haste: Haste) -> Result<bool> {
        let accountant = self.core.accountant();
        let (head, segment) = (accountant.head(slot), accountant.segment(slot));
        // Writers move the fresh head on by themselves.
        if accountant.state(slot) != SegmentState::Active || (head == HeadId::FRESH && haste == Haste::Paced)
        {
            return Ok(false);
        }
        let ring = self.core.ring(head);
        let newest = ring.newest_segment();
        if segment < newest {
            // It has been left, and is not written as a whole.
            self.core.write_out()?;
        } else {
            self.core.leave_segment(head)?;
        }
        Ok(accountant.state(slot) != SegmentState::Active || ring.newest_segment() > newest)
    }

    /// Cuts off what is free at the end of the file when the store is closed, unless nothing was written:
    /// then the file stays as it was found.
    pub(super) fn shrink_at_last(&self) -> Result<()> {
        if self.core.counters().read().segments_opened == 0 {
            return Ok(());
        }
        let supply = self.core.supply();
        supply.harvest(&self.core);
        supply.trim(&self.core);
        let fitting = self.fitting(&supply.figures(), Haste::Asked);
        match supply.shrink(&self.core, fitting.slots(), 1) {
            Err(Error::DiskFull { .. }) | Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
