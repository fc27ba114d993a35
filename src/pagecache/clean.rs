//! Cleaning one victim, a stretch at a time.
//!
//! # One stretch
//!
//! 1. For each record in it, ask the page table whether it is live: same page, same version, *same place*.
//!    Copy the live ones into a relocation head (which one, `survivors` says), byte for byte, with a new
//!    checksum only. No user code runs.
//! 2. Write the copies to the file. No sync: the victim is not reused before the copies are stable.
//! 3. Tell each node where its record is now, by a compare-exchange on its location cell. If the record died
//!    meanwhile, the copy is void. The table's words are not touched, so no compare-and-swap of a user can
//!    fail.
//!
//! Writing comes before telling so that a place which a reader finds in a node can always be read from the
//! file. Between two stretches nothing is half done: no copy is untold, no guard is held.
//!
//! So the victim's last records may die between two stretches, and its slot begin another life. Then the work
//! ends: what was left is dead. Each stretch is read for itself, when it is known under a guard that the slot
//! has not begun another life.
//!
//! # Rot stays where it is
//!
//! A record that does not verify ends the work with an error. It is not copied, which would seal it with a
//! valid checksum, and its segment is never chosen again nor reused as long as the page needs it.

use super::gc::Turn;
use super::shared::Inner;
use super::survivors::{Survivors, heads_for_copies, score};
use crate::error::{Corruption, Error, Result};
use crate::failpoints::failpoint;
use crate::format::{Record, RecordKind, SegmentHeader};
use crate::ids::{HeadId, HeadLsns, Lsn, PageId, SegmentId, SlotId, Version};
use crate::location::Place;
use crate::log::Records;
use crate::pages::Fragment;
use crate::pages::chain::Sought;
use crate::pages::node_ref::NodeRef;
use crate::segments::{Candidate, SegmentState};
use crate::stats::{Counter, Timed};
use crate::sync::epoch;

/// How many records of a victim are looked up together: enough to have many loads under way, and little
/// enough for what is loaded to stay in the nearest caches until it is used.
pub(super) const WINDOW: usize = 128;

/// The bytes of a stretch when there is no hurry about the rest: so few that what is read, looked at and
/// copied stays in the nearer caches.
pub(super) const STRETCH: usize = 128 << 10;

/// So much more is read than is wanted, so that the last record is seldom cut.
const OVERLAP: usize = 4 << 10;

/// A victim that is being cleaned.
#[derive(Debug)]
pub(super) struct Work {
    victim: Candidate,
    /// Where the next stretch begins.
    offset: u32,
    /// Where the victim ends.
    end: u32,
}

#[cfg(test)]
impl Work {
    pub(super) fn slot(&self) -> SlotId {
        self.victim.slot
    }
}

/// A record of a page, as it was found in a segment.
#[derive(Debug)]
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

/// What is worked on of a victim. It is kept from one time to the next, for its memory.
#[derive(Debug, Default)]
pub(super) struct Stretch {
    bytes: Vec<u8>,
    /// The records of pages in it.
    found: Vec<Found>,
}

/// A record that is live.
pub(super) struct Live<'f, 'g, F: Fragment> {
    pub(super) found: &'f Found,
    pub(super) node: NodeRef<'g, F>,
    /// How soon it may be expected to die; see `survivors`.
    score: u64,
}

/// A record that was copied, and the node that is to be told.
struct Moved<'g, F: Fragment> {
    node: NodeRef<'g, F>,
    from: Place,
    to: Place,
    head: HeadId,
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
    /// Takes a victim. The guard must have been there before it was chosen: else its slot could be in another
    /// life before the work begins. False if it can't be had.
    pub(super) fn begin_cleaning(&self, victim: &Candidate, _guard: &epoch::Guard, turn: &mut Turn) -> bool {
        let (geometry, accountant) = (self.core.geometry(), self.core.accountant());
        if !accountant.begin_cleaning(victim.slot) {
            return false;
        }
        let length = accountant.end(victim.slot).0.saturating_sub(geometry.base(victim.segment).0);
        // At most a segment.
        let end = length.min(geometry.segment_size().into()) as u32;
        turn.work = Some(Work { victim: *victim, offset: SegmentHeader::LENGTH as u32, end });
        true
    }

    /// Cleans about so many bytes more of the victim that was taken.
    pub(super) fn clean_stretch(&self, turn: &mut Turn, bytes: usize) -> Result<()> {
        let Some(mut work) = turn.work.take() else { return Ok(()) };
        turn.stretches += 1;
        let _timed = self.core.counters().time(Timed::CleaningStretch);
        let guard = epoch::pin();
        let (accountant, victim) = (self.core.accountant(), work.victim);
        let is_alive = accountant.state(victim.slot) == SegmentState::Victim
            && accountant.segment(victim.slot) == victim.segment;
        if is_alive {
            match self.clean_some(&work, turn, bytes, &guard) {
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

    fn clean_some(&self, work: &Work, turn: &mut Turn, bytes: usize, guard: &epoch::Guard) -> Result<Rest> {
        let rest = self.read_records(work, &mut turn.stretch, bytes)?;
        let figures = self.core.supply().figures();
        turn.survivors.begin(heads_for_copies(&figures, self.heads_in_use(&figures)));
        self.move_live(work, turn, guard)?;
        Ok(rest)
    }

    fn move_live(&self, work: &Work, turn: &mut Turn, guard: &epoch::Guard) -> Result<()> {
        let Turn { stretch, survivors, .. } = turn;
        // At most all of them are live; to grow on the way costs more than to ask for too much.
        let mut moved = Vec::with_capacity(stretch.found.len());
        let copied = self.copy_live(work, stretch, survivors, guard, &mut moved);
        // Also after an error: what was copied is good, and its segment counts on being told.
        let written = self.write_copies(&moved);
        if written.is_ok() {
            moved.iter().for_each(|moved| self.relocate(moved));
        }
        copied.and(written)
    }

    /// Writes what was copied to the file.
    fn write_copies(&self, moved: &[Moved<'_, F>]) -> Result<()> {
        let mut ends = HeadLsns::default();
        for moved in moved {
            if let Some(end) = ends.get_mut(moved.head.index()) {
                *end = moved.end;
            }
        }
        let mut written = HeadId::all().zip(ends).filter(|(_, end)| end.0 > 0);
        written.try_for_each(|(head, end)| self.core.write_head(head, end))
    }

    fn copy_live<'g>(
        &'g self,
        work: &Work,
        Stretch { bytes, found }: &Stretch,
        survivors: &mut Survivors,
        guard: &'g epoch::Guard,
        moved: &mut Vec<Moved<'g, F>>,
    ) -> Result<()> {
        let slot = work.victim.slot;
        for window in found.chunks(WINDOW) {
            for Live { found, node, score } in self.live_nodes(slot, window, guard) {
                let head = survivors.head_of(score);
                let start = (found.offset - work.offset) as usize;
                let copy = bytes.get(start..start + found.length).unwrap_or_default();
                let claim = self.core.reserve_copy(head, copy)?;
                let (to, length, end) = (claim.place(), claim.length(), claim.end());
                claim.complete();
                failpoint!("relocation::copied");
                moved.push(Moved { node, from: Place::new(slot, found.offset), to, head, length, end });
            }
        }
        Ok(())
    }

    /// Reads the next stretch of a victim, and finds the records of pages in it.
    fn read_records(&self, work: &Work, stretch: &mut Stretch, wanted: usize) -> Result<Rest> {
        let Stretch { bytes, found } = stretch;
        let (slot, segment) = (work.victim.slot, work.victim.segment);
        let left = work.end.saturating_sub(work.offset) as usize;
        let mut length = wanted.saturating_add(OVERLAP).min(left);
        loop {
            bytes.resize(length, 0);
            self.core.read_slot(Place::new(slot, work.offset), bytes)?;
            found.clear();
            let mut records = Records::of_part(bytes, work.offset, self.core.seed(), segment);
            let fault = loop {
                if (records.offset() - work.offset) as usize >= wanted {
                    return Ok(Rest::More(records.offset()));
                }
                match records.next() {
                    Some(Ok((offset, record))) => found.extend(Found::new(offset, &record)),
                    Some(Err(fault)) => break Some(fault),
                    None => break None,
                }
            };
            let whole = length == left;
            match fault {
                None if whole || records.ended() => return Ok(Rest::End),
                Some(fault) if whole => return Ok(Rest::Rot(self.rot(slot, segment, fault.reason()))),
                // Also a record that is cut by the end of the stretch does not verify. It begins the next
                // one.
                _ if records.offset() > work.offset => return Ok(Rest::More(records.offset())),
                // Larger than a stretch, if it is a record at all.
                _ => length = left,
            }
        }
    }

    /// Those of the records that are live, each with its node.
    ///
    /// Each record's page lies somewhere else in memory. So this goes through the records in passes, one step
    /// of the way each, and each pass asks for the memory that the next one needs: many loads are under way
    /// at once.
    pub(super) fn live_nodes<'f, 'g>(
        &'g self,
        slot: SlotId,
        records: &'f [Found],
        guard: &'g epoch::Guard,
    ) -> Vec<Live<'f, 'g, F>> {
        records.iter().for_each(|found| self.table.prefetch(found.page_id));
        let mut heads = Vec::with_capacity(records.len());
        heads.extend(records.iter().filter_map(|found| {
            let head = self.table.head(found.page_id, guard)?;
            head.prefetch_foot();
            Some((found, head))
        }));
        // The page may have been replaced since: then one look is enough.
        heads.retain(|(found, head)| {
            let may_live = found.version >= head.base_version();
            if may_live {
                head.prefetch();
            }
            may_live
        });
        let mut seeks = Vec::with_capacity(heads.len());
        seeks.extend(heads.into_iter().filter_map(|(found, head)| {
            let versions = head.version().0.saturating_sub(head.birth().0);
            Some((found, head.seek(found.version)?, score(versions, head.depth())))
        }));
        let mut live: Vec<Live<'_, '_, F>> = Vec::with_capacity(seeks.len());
        while !seeks.is_empty() {
            seeks.retain_mut(|(found, seek, score)| match seek.step() {
                Sought::Further => true,
                Sought::Absent => false,
                Sought::Found(node) => {
                    live.push(Live { found, node, score: *score });
                    false
                }
            });
        }
        live.retain(|live| live.node.place() == Some(Place::new(slot, live.found.offset)));
        live
    }

    /// Tells a node of its record's new place, and the segments who holds it.
    fn relocate(&self, moved: &Moved<'_, F>) {
        let (accountant, counters) = (self.core.accountant(), self.core.counters());
        let again = accountant.head(moved.from.slot) != HeadId::FRESH;
        if moved.node.relocate(moved.from, moved.to) {
            accountant.kill(moved.from.slot, moved.length, moved.head, moved.end);
            counters.one(Counter::RelocatedRecord);
            counters.add(Counter::RelocatedBytes, moved.length.into());
            counters.add(Counter::MovedAgain, u64::from(again));
        } else {
            counters.one(Counter::LostRelocation);
            accountant.abort(moved.to.slot, moved.length);
        }
        failpoint!("relocation::told");
    }

    fn rot(&self, slot: SlotId, segment: SegmentId, reason: &str) -> Error {
        let geometry = self.core.geometry();
        let corruption = Corruption::new(self.core.log_path(), format!("a record {reason}"));
        corruption.at_lsn(geometry.base(segment)).at_offset(geometry.file_offset(slot, 0)).into()
    }
}
