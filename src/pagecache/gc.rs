//! Garbage collection: moving the live records out of a segment, so that it becomes empty.
//!
//! # One step
//!
//! 1. Choose a victim among the segments that are stable as a whole, and read it in one go.
//! 2. For each record, ask the page table whether it is live: same page, same version, *same place*. Copy the live ones into
//!    the relocation head, byte for byte, with a new checksum only. No user code runs.
//! 3. Write the copies to the file. No sync: the victim is not reused before the copies are stable.
//! 4. Tell each node where its record is now, by a compare-exchange on its location cell. If the record died meanwhile, the
//!    copy is void. The table's words are not touched, so no compare-and-swap of a user can fail.
//!
//! Step 3 comes before step 4 so that a place which a reader finds in a node can always be read from the file.
//!
//! # Rot stays where it is
//!
//! A record that does not verify ends the step with an error. It is not copied, which would seal it with a valid
//! checksum, and its segment is never chosen again nor reused as long as the page needs it.
//!
//! # Pace
//!
//! Writers do the work: whoever begins a segment sees whether the file would have to grow beyond what the live bytes justify,
//! and cleans a few victims if so. Cleaning more than a share of writers' own work is not asked of any of them.

use super::shared::{Inner, PageCache};
use super::shrink::Haste;
use crate::config::Config;
use crate::error::{Corruption, Error, Result};
use crate::format::{RecordKind, SegmentHeader};
use crate::geometry::Geometry;
use crate::ids::{HeadId, Lsn, PageId, SegmentId, SlotId, Version};
use crate::location::Place;
use crate::log::{RESERVE, Records, SupplyFigures, claimed_at_once};
use crate::pages::Fragment;
use crate::pages::chain::NodeRef;
use crate::segments::{Candidate, Chooser};
use crate::stats::Counter;
use crate::sync::{Mutex, MutexGuard, epoch};

/// The most victims that one writer cleans when it begins a segment.
const VICTIMS_PER_SEGMENT: u32 = 12;
/// So many segments behind the stable LSN are left alone when there are others to clean.
const UNSTABLE_SEGMENTS: u64 = 2;
/// A segment is worth cleaning if so large a share of it is dead,
const DEAD_SHARE: f64 = 0.03;
/// or if so little of it was ever used: its records can share a segment with others, whatever their size.
const LITTLE_SHARE: f64 = 0.25;
/// The most steps towards a shorter file that one writer takes when it begins a segment.
const STEPS_OF_SHRINKING: u32 = 4;
/// How many records of a victim are looked up together: enough to have many loads under way, and little enough for what is
/// loaded to stay in the nearest caches until it is used.
const WINDOW: usize = 128;

/// What whose turn it is to clean works with.
#[derive(Debug)]
pub(super) struct Turn {
    /// The bytes of a victim; the memory is taken once.
    bytes: Vec<u8>,
    chooser: Chooser,
}

/// Whose turn it is to clean.
#[derive(Debug)]
pub(crate) struct Collector {
    turn: Mutex<Turn>,
    pub(super) space_target: f64,
    pub(super) paced: bool,
}

/// A record of a page, as it was found in a victim.
struct Found {
    page_id: PageId,
    version: Version,
    offset: u32,
    length: usize,
}

/// A record that was copied, and the node that is to be told.
struct Moved<'g, F: Fragment> {
    node: NodeRef<'g, F>,
    from: Place,
    to: Place,
    length: u32,
    end: Lsn,
}

impl Collector {
    pub(super) fn new(config: &Config, geometry: Geometry) -> Self {
        let turn = Turn { bytes: Vec::new(), chooser: Chooser::new(config.victim_policy, geometry) };
        let (space_target, paced) = (config.space_target, config.garbage_collection);
        Self { turn: Mutex::new(turn), space_target, paced }
    }

    /// As [`hold`](Self::hold), unless that means waiting.
    pub(super) fn try_hold(&self) -> Option<MutexGuard<'_, Turn>> {
        self.turn.try_lock()
    }

    /// Keeps relocation from happening as long as the returned guard lives.
    pub(super) fn hold(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock()
    }
}

/// Free segments, or such that will be, that cleaning keeps in stock: the reserve, the next claim, and one for each head. With
/// fewer, the copies that cleaning makes would find no free segment and the file would grow by them: then a victim
/// counts as a segment gained while its copies took as much elsewhere.
pub(super) fn low_water(figures: &SupplyFigures) -> u32 {
    RESERVE as u32 + claimed_at_once(figures.slots) + 1 + HeadId::COUNT as u32
}

/// Segments that the file may have beside those that its live bytes justify.
pub(super) fn beside(figures: &SupplyFigures) -> u32 {
    HeadId::COUNT as u32 + 2 + low_water(figures)
}

impl<F: Fragment> PageCache<F> {
    /// One step of garbage collection: cleans at most one segment, or makes the log file shorter if it has more free segments
    /// than the store will soon need. Returns whether there was anything to do. The space of a segment that was cleaned can be used
    /// again, or cut off, after the next flush: so `while cache.attempt_gc()? { cache.flush()? }` leaves a store as small
    /// as it gets.
    ///
    /// # Errors
    /// [`Corruption`](crate::Error::Corruption) if a live record is damaged; it stays where it is. I/O errors; one in
    /// writing poisons the instance.
    pub fn attempt_gc(&self) -> Result<bool> {
        let inner = &*self.inner;
        inner.core.gate().admit_flush()?;
        let mut turn = inner.collector.hold();
        inner.core.supply().harvest(&inner.core);
        let done = inner.shrink_by_a_step(&mut turn, Haste::Asked)? || inner.clean_best(&mut turn)?;
        inner.core.supply().harvest(&inner.core);
        Ok(done)
    }
}

impl<F: Fragment> Inner<F> {
    /// A writer's share of the work, when it has begun a segment.
    pub(super) fn pace_collection(&self) -> Result<()> {
        if !self.collector.paced {
            return Ok(());
        }
        let Some(mut turn) = self.collector.try_hold() else { return Ok(()) };
        let full = self.core.supply().figures().full;
        if self.is_short_of_space() && (full || self.much_is_not_stable()) {
            // Only what is stable can be cleaned, and users may flush seldom or never.
            self.core.sync_in_passing()?;
            self.core.supply().harvest(&self.core);
        }
        for _ in 0..VICTIMS_PER_SEGMENT {
            if !self.is_short_of_space() {
                break;
            }
            self.spare_the_reserve()?;
            if !self.clean_best(&mut turn)? {
                break;
            }
        }
        let figures = self.core.supply().figures();
        if figures.emptied > 0 && (figures.full || figures.free <= low_water(&figures)) {
            // What was emptied becomes free when its killers are stable: rather a sync than a larger file.
            self.core.sync_in_passing()?;
            self.core.supply().harvest(&self.core);
        }
        for _ in 0..STEPS_OF_SHRINKING {
            if !self.shrink_by_a_step(&mut turn, Haste::Paced)? {
                break;
            }
        }
        Ok(())
    }

    /// Copies take free segments before those that they come from are free. When few are left, rather a sync, that makes those free
    /// which are empty by now, than a larger file.
    fn spare_the_reserve(&self) -> Result<()> {
        let figures = self.core.supply().figures();
        if figures.emptied > 0 && figures.free <= RESERVE as u32 + 1 {
            self.core.sync_in_passing()?;
            self.core.supply().harvest(&self.core);
        }
        Ok(())
    }

    /// Whether so much of the log is not stable that the segments best cleaned may be there.
    fn much_is_not_stable(&self) -> bool {
        let stable = self.core.durability().stable(HeadId::FRESH);
        let lag = self.core.tail().0.saturating_sub(stable.0);
        lag > UNSTABLE_SEGMENTS * u64::from(self.core.geometry().segment_size())
    }

    /// Whether the next segments would make the file larger than its live bytes justify.
    fn is_short_of_space(&self) -> bool {
        let figures = self.core.supply().figures();
        let low = low_water(&figures);
        if figures.free + figures.emptied > low {
            return false;
        }
        if figures.full {
            return true;
        }
        let justified = self.justified_by(self.core.accountant().live_bytes());
        f64::from(figures.slots) + 1.0 > justified + f64::from(beside(&figures))
    }

    /// So many segments are justified by so many live bytes.
    pub(super) fn justified_by(&self, live: u64) -> f64 {
        self.collector.space_target * live as f64 / f64::from(self.core.geometry().segment_size())
    }

    /// Cleans the best victim, if there is one worth it.
    pub(super) fn clean_best(&self, turn: &mut Turn) -> Result<bool> {
        let guard = epoch::pin();
        let (core, stable) = (&self.core, self.core.durability().all_stable());
        let is_worthwhile = |victim: &Candidate| self.is_worthwhile(victim);
        match turn.chooser.next(core.accountant(), &stable, core.tail(), is_worthwhile) {
            Some(victim) => self.clean_victim(&victim, &guard, &mut turn.bytes),
            None => Ok(false),
        }
    }

    /// Cleans the segment in a slot, whether it is worth it or not. False if that can't be done now.
    pub(super) fn clean_slot(&self, slot: SlotId, turn: &mut Turn) -> Result<bool> {
        let guard = epoch::pin();
        let stable = self.core.durability().all_stable();
        match self.core.accountant().candidate(slot, &stable) {
            Some(victim) => self.clean_victim(&victim, &guard, &mut turn.bytes),
            None => Ok(false),
        }
    }

    fn is_worthwhile(&self, victim: &Candidate) -> bool {
        let segment = f64::from(self.core.geometry().segment_size());
        let dead = victim.filled.saturating_sub(victim.live);
        dead as f64 > DEAD_SHARE * segment || (victim.live as f64) < LITTLE_SHARE * segment
    }

    /// Cleans a victim. The guard must have been there before it was chosen: else its slot could be in another life before the
    /// work begins. Under it places that are found stay readable.
    fn clean_victim(&self, victim: &Candidate, guard: &epoch::Guard, bytes: &mut Vec<u8>) -> Result<bool> {
        let accountant = self.core.accountant();
        if !accountant.begin_cleaning(victim.slot) {
            return Ok(false);
        }
        let cleaned = self.clean(victim, guard, bytes);
        if !matches!(cleaned, Err(Error::Corruption(_))) {
            accountant.end_cleaning(victim.slot);
        }
        cleaned?;
        self.core.counters().one(Counter::Victim);
        Ok(true)
    }

    fn clean(&self, victim: &Candidate, guard: &epoch::Guard, bytes: &mut Vec<u8>) -> Result<()> {
        self.read_victim(victim, bytes)?;
        let mut moved = Vec::new();
        let copied = self.copy_live(victim, bytes, guard, &mut moved);
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
        guard: &'g epoch::Guard,
        moved: &mut Vec<Moved<'g, F>>,
    ) -> Result<()> {
        let (found, rot) = self.read_records(victim, bytes);
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
        rot
    }

    /// The records of pages in a segment, up to the first that does not verify, if there is one.
    fn read_records(&self, victim: &Candidate, bytes: &[u8]) -> (Vec<Found>, Result<()>) {
        let mut all = Vec::new();
        let header = SegmentHeader::LENGTH as u32;
        for item in Records::new(bytes, self.core.seed(), victim.segment, header) {
            match item {
                Ok((offset, record)) => {
                    if let RecordKind::Replace { page_id, version, .. }
                    | RecordKind::Link { page_id, version }
                    | RecordKind::Free { page_id, version, .. } = record.kind
                    {
                        all.push(Found { page_id, version, offset, length: record.length });
                    }
                }
                Err(fault) => {
                    return (all, Err(self.rot(victim.slot, victim.segment, fault.reason())));
                }
            }
        }
        (all, Ok(()))
    }

    /// Those of the records that are live, each with its node.
    ///
    /// Each record's page lies somewhere else in memory. So this goes through the records in passes, one step of the way
    /// each, and each pass asks for the memory that the next one needs: many loads are under way at once.
    fn live_nodes<'f, 'g>(
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
        let nodes = heads.into_iter().filter_map(|(found, head)| {
            let node = head.node(found.version)?;
            node.prefetch();
            Some((found, node))
        });
        let nodes: Vec<_> = nodes.collect();
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
