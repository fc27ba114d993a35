//! Cleaning one victim, a stretch at a time.
//!
//! # One stretch
//!
//! 1. For each record in it, ask the page table whether it is live: same page, same version, *same place*. Copy the live ones into
//!    the relocation head, byte for byte, with a new checksum only. No user code runs.
//! 2. Write the copies to the file. No sync: the victim is not reused before the copies are stable.
//! 3. Tell each node where its record is now, by a compare-exchange on its location cell. If the record died meanwhile, the
//!    copy is void. The table's words are not touched, so no compare-and-swap of a user can fail.
//!
//! Writing comes before telling so that a place which a reader finds in a node can always be read from the file. Between two
//! stretches nothing is half done: no copy is untold, no guard is held.
//!
//! So the victim's last records may die between two stretches, and its slot begin another life. Then the work ends: what is left in
//! the buffer is dead.
//!
//! # Rot stays where it is
//!
//! A record that does not verify ends the work with an error. It is not copied, which would seal it with a valid
//! checksum, and its segment is never chosen again nor reused as long as the page needs it.

use super::gc::Turn;
use super::shared::Inner;
use crate::error::{Corruption, Error, Result};
use crate::format::{Record, RecordKind, SegmentHeader};
use crate::ids::{HeadId, Lsn, PageId, SegmentId, SlotId, Version};
use crate::location::Place;
use crate::log::Records;
use crate::pages::Fragment;
use crate::pages::chain::{NodeRef, Sought};
use crate::segments::{Candidate, SegmentState};
use crate::stats::Counter;
use crate::sync::epoch;

/// How many records of a victim are looked up together: enough to have many loads under way, and little enough for what is
/// loaded to stay in the nearest caches until it is used.
pub(super) const WINDOW: usize = 128;

/// A victim that is being cleaned. Its bytes are in the [`Turn`].
#[derive(Debug)]
pub(super) struct Work {
    victim: Candidate,
    /// Where the next stretch begins.
    offset: u32,
}

#[cfg(test)]
impl Work {
    pub(super) fn slot(&self) -> SlotId {
        self.victim.slot
    }
}

/// A record of a page, as it was found in a segment.
pub(super) struct Found {
    pub(super) page_id: PageId,
    pub(super) version: Version,
    pub(super) offset: u32,
    pub(super) length: usize,
    /// It points to a file that holds its value.
    pub(super) outside: bool,
}

impl Found {
    /// `None` if the record is not of a page.
    pub(super) fn new(offset: u32, record: &Record<'_>) -> Option<Self> {
        let (RecordKind::Replace { page_id, version, .. }
        | RecordKind::Link { page_id, version }
        | RecordKind::Free { page_id, version, .. }) = record.kind
        else {
            return None;
        };
        let (length, outside) = (record.length, record.payload.outside);
        Some(Self { page_id, version, offset, length, outside })
    }
}

/// A record that was copied, and the node that is to be told.
struct Moved<'g, F: Fragment> {
    node: NodeRef<'g, F>,
    from: Place,
    to: Place,
    length: u32,
    end: Lsn,
}

/// What lies behind a stretch.
enum Rest {
    /// Records, from this offset on.
    More(u32),
    /// Nothing.
    End,
    /// A record that does not verify.
    Rot(Error),
}

impl<F: Fragment> Inner<F> {
    /// Takes a victim and reads it. The guard must have been there before it was chosen: else its slot could be in another life
    /// before the work begins. False if it can't be had.
    pub(super) fn begin_cleaning(
        &self,
        victim: &Candidate,
        _guard: &epoch::Guard,
        turn: &mut Turn,
    ) -> Result<bool> {
        let accountant = self.core.accountant();
        if !accountant.begin_cleaning(victim.slot) {
            return Ok(false);
        }
        if let Err(error) = self.read_victim(victim, &mut turn.bytes) {
            accountant.end_cleaning(victim.slot);
            return Err(error);
        }
        turn.work = Some(Work { victim: *victim, offset: SegmentHeader::LENGTH as u32 });
        Ok(true)
    }

    /// Cleans about so many bytes more of the victim that was taken.
    pub(super) fn clean_stretch(&self, turn: &mut Turn, bytes: usize) -> Result<()> {
        let Some(mut work) = turn.work.take() else { return Ok(()) };
        turn.stretches += 1;
        let (accountant, victim) = (self.core.accountant(), work.victim);
        let is_alive = accountant.state(victim.slot) == SegmentState::Victim
            && accountant.segment(victim.slot) == victim.segment;
        if is_alive {
            let (found, rest) = self.read_records(&work, &turn.bytes, bytes);
            match self.move_live(&victim, &turn.bytes, &found).map(|()| rest) {
                Ok(Rest::More(offset)) => {
                    work.offset = offset;
                    turn.work = Some(work);
                    return Ok(());
                }
                Ok(Rest::End) => accountant.end_cleaning(victim.slot),
                Ok(Rest::Rot(error)) => return Err(error),
                Err(error) => {
                    accountant.end_cleaning(victim.slot);
                    return Err(error);
                }
            }
        }
        self.core.counters().one(Counter::Victim);
        Ok(())
    }

    fn move_live(&self, victim: &Candidate, bytes: &[u8], found: &[Found]) -> Result<()> {
        let guard = epoch::pin();
        let mut moved = Vec::new();
        let copied = self.copy_live(victim, bytes, found, &guard, &mut moved);
        // Also after an error: what was copied is good, and its segment counts on being told.
        let written = match moved.last() {
            Some(last) => self.core.write_head(HeadId::RELOCATED, last.end),
            None => Ok(()),
        };
        if written.is_ok() {
            moved.iter().for_each(|moved| self.relocate(moved));
        }
        copied.and(written)
    }

    fn read_victim(&self, victim: &Candidate, bytes: &mut Vec<u8>) -> Result<()> {
        let (core, slot) = (&self.core, victim.slot);
        let base = core.geometry().base(victim.segment);
        let length = core.accountant().end(slot).0.saturating_sub(base.0);
        // At most a segment.
        bytes.resize(length.min(core.geometry().segment_size().into()) as usize, 0);
        core.read_slot(Place::new(slot, 0), bytes)
    }

    fn copy_live<'g>(
        &'g self,
        victim: &Candidate,
        bytes: &[u8],
        found: &[Found],
        guard: &'g epoch::Guard,
        moved: &mut Vec<Moved<'g, F>>,
    ) -> Result<()> {
        for window in found.chunks(WINDOW) {
            for (found, node) in self.live_nodes(victim.slot, window, guard) {
                let start = found.offset as usize;
                let copy = bytes.get(start..start + found.length).unwrap_or_default();
                let claim = self.core.reserve_copy(HeadId::RELOCATED, copy)?;
                let (to, length, end) = (claim.place(), claim.length(), claim.end());
                claim.complete();
                moved.push(Moved { node, from: Place::new(victim.slot, found.offset), to, length, end });
            }
        }
        Ok(())
    }

    /// The records of pages in the next stretch of a victim.
    fn read_records(&self, work: &Work, bytes: &[u8], wanted: usize) -> (Vec<Found>, Rest) {
        let mut all = Vec::new();
        let (slot, segment) = (work.victim.slot, work.victim.segment);
        let mut records = Records::new(bytes, self.core.seed(), segment, work.offset);
        while let Some(item) = records.next() {
            match item {
                Ok((offset, record)) => all.extend(Found::new(offset, &record)),
                Err(fault) => return (all, Rest::Rot(self.rot(slot, segment, fault.reason()))),
            }
            if (records.offset() - work.offset) as usize >= wanted {
                return (all, Rest::More(records.offset()));
            }
        }
        (all, Rest::End)
    }

    /// Those of the records that are live, each with its node.
    ///
    /// Each record's page lies somewhere else in memory. So this goes through the records in passes, one step of the way
    /// each, and each pass asks for the memory that the next one needs: many loads are under way at once.
    pub(super) fn live_nodes<'f, 'g>(
        &'g self,
        slot: SlotId,
        records: &'f [Found],
        guard: &'g epoch::Guard,
    ) -> Vec<(&'f Found, NodeRef<'g, F>)> {
        let heads = records.iter().filter_map(|found| {
            let head = self.table.head(found.page_id, guard)?;
            head.prefetch();
            Some((found, head))
        });
        let heads: Vec<_> = heads.collect();
        let seeks = heads.into_iter().filter_map(|(found, head)| Some((found, head.seek(found.version)?)));
        let mut seeks: Vec<_> = seeks.collect();
        let mut nodes = Vec::with_capacity(seeks.len());
        while !seeks.is_empty() {
            seeks.retain_mut(|(found, seek)| match seek.step() {
                Sought::Further => true,
                Sought::Absent => false,
                Sought::Found(node) => {
                    nodes.push((*found, node));
                    false
                }
            });
        }
        let is_here =
            |(found, node): &(&Found, NodeRef<'g, F>)| node.place() == Some(Place::new(slot, found.offset));
        nodes.into_iter().filter(is_here).collect()
    }

    /// Tells a node of its record's new place, and the segments who holds it.
    fn relocate(&self, moved: &Moved<'_, F>) {
        let accountant = self.core.accountant();
        if moved.node.relocate(moved.from, moved.to) {
            accountant.kill(moved.from.slot, moved.length, HeadId::RELOCATED, moved.end);
            self.core.counters().one(Counter::RelocatedRecord);
            self.core.counters().add(Counter::RelocatedBytes, moved.length.into());
        } else {
            accountant.abort(moved.to.slot, moved.length);
        }
    }

    fn rot(&self, slot: SlotId, segment: SegmentId, reason: &str) -> Error {
        let geometry = self.core.geometry();
        let corruption = Corruption::new(self.core.log_path(), format!("a record {reason}"));
        corruption.at_lsn(geometry.base(segment)).at_offset(geometry.file_offset(slot, 0)).into()
    }
}
