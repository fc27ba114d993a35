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
use crate::error::{Corruption, Error, Result};
use crate::format::{Record, RecordKind, SegmentHeader};
use crate::ids::{HeadId, Lsn, PageId, SegmentId, SlotId, Version};
use crate::location::Place;
use crate::log::{RESERVE, Records, SupplyFigures, claimed_at_once};
use crate::pages::Fragment;
use crate::pages::chain::NodeRef;
use crate::segments::{Candidate, Greedy};
use crate::stats::Counter;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard, epoch};

/// The most victims that one writer cleans when it begins a segment.
const VICTIMS_PER_SEGMENT: u32 = 12;
/// So many segments behind the stable LSN are left alone when there are others to clean.
const UNSTABLE_SEGMENTS: u64 = 2;
/// A segment with more live bytes than this share is not worth cleaning.
const WORTHWHILE: f64 = 0.97;
/// How many records of a victim are looked up together: enough to have many loads under way, and little enough for what is
/// loaded to stay in the nearest caches until it is used.
pub(super) const WINDOW: usize = 128;

/// Whose turn it is to clean, and the memory for it, which is taken once.
#[derive(Debug)]
pub(crate) struct Collector {
    turn: Mutex<Vec<u8>>,
    /// How many segments were begun to be cleaned. Counted by who has the turn.
    begun: AtomicU64,
    pub(super) space_target: f64,
    pub(super) paced: bool,
}

/// A record of a page, as it was found in a segment.
pub(super) struct Found {
    pub(super) page_id: PageId,
    pub(super) version: Version,
    pub(super) offset: u32,
    pub(super) length: usize,
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
        Some(Self { page_id, version, offset, length: record.length })
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

impl Collector {
    pub(super) fn new(space_target: f64, paced: bool) -> Self {
        Self { turn: Mutex::new(Vec::new()), begun: AtomicU64::new(0), space_target, paced }
    }

    /// As [`hold`](Self::hold), unless that means waiting.
    pub(super) fn try_hold(&self) -> Option<MutexGuard<'_, Vec<u8>>> {
        self.turn.try_lock()
    }

    /// Keeps relocation from happening as long as the returned guard lives.
    pub(super) fn hold(&self) -> MutexGuard<'_, Vec<u8>> {
        self.turn.lock()
    }

    /// How many cleanings were begun, all of which are over. If the number is the same later, nothing was moved in between.
    pub(super) fn finished(&self) -> u64 {
        let _turn = self.turn.lock();
        self.begun.load(Ordering::Relaxed)
    }
}

/// Free segments, or such that will be, that cleaning keeps in stock: the reserve, the next claim, and one for each head. With
/// fewer, the copies that cleaning makes would find no free segment and the file would grow by them: then a victim
/// counts as a segment gained while its copies took as much elsewhere.
fn low_water(figures: &SupplyFigures) -> u32 {
    RESERVE as u32 + claimed_at_once(figures.slots) + 1 + HeadId::COUNT as u32
}

impl<F: Fragment> PageCache<F> {
    /// One step of garbage collection: cleans at most one segment. Returns whether there was one worth cleaning. Its space can be
    /// used again after the next flush.
    ///
    /// # Errors
    /// [`Corruption`](crate::Error::Corruption) if a live record is damaged; it stays where it is. I/O errors; one in
    /// writing poisons the instance.
    pub fn attempt_gc(&self) -> Result<bool> {
        let inner = &*self.inner;
        inner.core.gate().admit_flush()?;
        let mut turn = inner.collector.hold();
        let cleaned = inner.clean_one(&mut turn)?;
        inner.core.supply().harvest(&inner.core);
        Ok(cleaned)
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
            if !self.is_short_of_space() || !self.clean_one(&mut turn)? {
                break;
            }
        }
        let figures = self.core.supply().figures();
        if figures.emptied > figures.kept && (figures.full || figures.free <= low_water(&figures)) {
            // What was emptied becomes free when its killers are stable: rather a sync than a larger file.
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
        let segment = f64::from(self.core.geometry().segment_size());
        let justified = self.collector.space_target * self.core.accountant().live_bytes() as f64 / segment;
        f64::from(figures.slots) + 1.0 > justified + (HeadId::COUNT + 2) as f64 + f64::from(low)
    }

    /// Cleans the best victim, if there is one worth it, with a buffer for its bytes.
    fn clean_one(&self, bytes: &mut Vec<u8>) -> Result<bool> {
        // Pinned before a victim is chosen: else its slot could be in another life before the work begins. From here on places
        // found stay readable.
        let guard = epoch::pin();
        let stable = self.core.durability().all_stable();
        let newest = self.core.ring(HeadId::FRESH).newest_segment();
        let accountant = self.core.accountant();
        let worth = WORTHWHILE * f64::from(self.core.geometry().segment_size());
        let victim = accountant.victims(&Greedy, &stable, newest, 1).into_iter().next();
        let Some(victim) = victim.filter(|victim| (victim.live as f64) < worth) else { return Ok(false) };
        if !accountant.begin_cleaning(victim.slot) {
            return Ok(false);
        }
        self.collector.begun.fetch_add(1, Ordering::Relaxed);
        let cleaned = self.clean(&victim, &guard, bytes);
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
                Ok((offset, record)) => all.extend(Found::new(offset, &record)),
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
