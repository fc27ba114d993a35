//! Copying what is stable of a log that is in use: a moment of it, segment by segment.
//!
//! - **(A) The cut.** Under the lock of the supply the stable LSNs of all heads are read, all of one moment,
//!   and the segments are held that are not free. With `hold`, B, these have all records that are live as of
//!   the cut. A record below a relocated head's cut was copied from what was stable in the fresh head before;
//!   so the copies say nothing that the fresh head's cut does not.
//! - **(B) What lies below the cut does not change.** Its bytes were written before they were called stable,
//!   and none is written again as long as its segment is held. So each segment is read when its turn comes,
//!   and let go.
//! - **(C) No rot is copied.** Header and records are checked on the way. A damaged one, also if it is dead,
//!   ends the copy: a log that has it below what was stable could not be opened.
//! - **(D)** Segments keep their numbers, so records keep their LSNs and checksums. They get other slots, one
//!   behind the other, and their headers say so. Whatever lies behind the last record of a segment is left
//!   behind.

use super::core::LogCore;
use super::hold::{Hold, SegmentInUse};
use super::scan::Records;
use crate::error::{Corruption, Error, Result};
use crate::format::{Claim, SegmentHeader, SegmentHeaderFault};
use crate::ids::{HeadLsns, Lsn, SlotId};
use crate::location::Place;
use crate::segments::SegmentState;

/// A log as of a cut, held until it is copied.
#[derive(Debug)]
pub(crate) struct StableLog<'a> {
    core: &'a LogCore,
    hold: Hold<'a>,
    /// Everything below is in the copy, and nothing above.
    pub(crate) cut: HeadLsns,
    /// With their lengths up to the cut.
    pub(crate) segments: Vec<SegmentInUse>,
}

/// A segment of a log, ready to be written elsewhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CopiedSegment {
    pub(crate) claim: Claim,
    pub(crate) records: u64,
}

impl<'a> StableLog<'a> {
    /// Takes the cut (A).
    pub(crate) fn hold(core: &'a LogCore) -> Self {
        let (mut cut, mut segments) = (HeadLsns::default(), Vec::new());
        let hold = Hold::choose(core, || {
            cut = core.durability().stable_together();
            segments = core.segments_in_use().filter_map(|segment| below(core, segment, &cut)).collect();
            segments.iter().map(|segment| segment.slot).collect()
        });
        Self { core, hold, cut, segments }
    }

    /// Makes `bytes` a copy of a segment that will lie in the slot `to`, and lets the segment go.
    ///
    /// # Errors
    /// `Corruption` (C), `Io`.
    pub(crate) fn copy(
        &mut self,
        segment: SegmentInUse,
        to: SlotId,
        bytes: &mut Vec<u8>,
    ) -> Result<CopiedSegment> {
        bytes.clear();
        // At most a segment.
        bytes.resize(segment.length as usize, 0);
        self.core.read_slot(Place::new(segment.slot, 0), bytes)?;
        self.hold.let_go(segment.slot);
        let header = self.core.check_header(segment, bytes)?;
        let (end, records) = self.check_records(segment, bytes)?;
        if let Some(into) = bytes.first_chunk_mut() {
            SegmentHeader { slot: to, ..header }.encode(into);
        }
        bytes.truncate(end as usize);
        bytes.resize(self.core.geometry().segment_size() as usize, 0);
        let claim =
            Claim { segment: segment.segment, head: segment.head, predecessor: header.predecessor, end };
        Ok(CopiedSegment { claim, records })
    }

    /// Where the last record ends, and how many there are.
    fn check_records(&self, segment: SegmentInUse, bytes: &[u8]) -> Result<(u32, u64)> {
        let (mut end, mut count) = (SegmentHeader::LENGTH as u32, 0);
        let mut records = Records::new(bytes, self.core.seed(), segment.segment, end);
        while let Some(item) = records.next() {
            let (offset, record) = item.map_err(|fault| {
                self.core.damage_in(segment, records.offset(), format!("the record {}", fault.reason()))
            })?;
            // A record is shorter than a segment.
            end = offset + record.length as u32;
            count += 1;
        }
        let is_whole = records.ended() || segment.length == self.core.geometry().segment_size();
        if is_whole || end == segment.length {
            Ok((end, count))
        } else {
            Err(self.core.damage_in(segment, end, "the log is stable into the midst of a record".into()))
        }
    }
}

impl LogCore {
    pub(super) fn damage_in(&self, segment: SegmentInUse, offset: u32, reason: String) -> Error {
        let geometry = self.geometry();
        let lsn = geometry.lsn(segment.segment, offset);
        let corruption = Corruption::new(self.log_path(), reason).at_lsn(lsn);
        corruption.at_offset(geometry.file_offset(segment.slot, offset)).into()
    }

    /// The header of a segment, from its first bytes.
    pub(super) fn check_header(&self, segment: SegmentInUse, bytes: &[u8]) -> Result<SegmentHeader> {
        let reason = match SegmentHeader::decode(bytes).map_err(SegmentHeaderFault::reason) {
            Ok(header) if header.is_of(self.store_id(), segment.segment, segment.slot, segment.head) => {
                return Ok(header);
            }
            Ok(_) => "is of another segment",
            Err(reason) => reason,
        };
        Err(self.damage_in(segment, 0, format!("the segment header {reason}")))
    }
}

/// The part of a segment that lies below the cut; `None` if nothing does, or if nothing of it is needed as of
/// the cut.
fn below(core: &LogCore, segment: SegmentInUse, cut: &HeadLsns) -> Option<SegmentInUse> {
    let accountant = core.accountant();
    let is_dead =
        accountant.state(segment.slot) == SegmentState::Empty && accountant.reusable(segment.slot, cut);
    let tip = cut.get(segment.head.index()).copied().unwrap_or(Lsn(0));
    let below = tip.0.saturating_sub(core.geometry().base(segment.segment).0);
    // At most the length it had.
    let length = below.min(segment.length.into()) as u32;
    (!is_dead && length > 0).then_some(SegmentInUse { length, ..segment })
}
