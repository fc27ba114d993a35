//! The log as its rings see it: where segments come from, and how a drained buffer gets into the file.

use super::LogCore;
use crate::error::{Error, Result};
use crate::failpoints::failpoint;
use crate::format::record::{self, END_LENGTH};
use crate::format::{Payload, RecordKind, SegmentHeader};
use crate::ids::{HeadId, HeadLsns, SegmentId, SlotId};
use crate::log::buffer::{Buffer, Stretch};
use crate::log::buffer_state::BufferState;
use crate::log::gate::Privilege;
use crate::log::ring::{Ring, RingHost};
use crate::stats::{Counter, Timed};

/// The log as its rings see it, on behalf of somebody with a privilege.
pub(super) struct Host<'a> {
    pub(super) core: &'a LogCore,
    pub(super) privilege: Privilege,
}

impl RingHost for Host<'_> {
    fn arm(&self, ring: &Ring, after: SegmentId) -> Result<()> {
        let armed = self.core.supply.arm(self.core, ring, after, self.privilege);
        if matches!(armed, Err(Error::DiskFull { .. })) {
            // There may be space to be made.
            self.core.set_segment_due();
        }
        armed
    }

    fn cover(&self, slot: SlotId, end: u32) -> Result<()> {
        self.core.supply.cover(self.core, slot, end, self.privilege)
    }

    fn opened(&self, ring: &Ring, stretch: Stretch) {
        let core = self.core;
        if stretch.start == 0 {
            core.counters.one(Counter::SegmentOpened);
        }
        if ring.head != HeadId::FRESH {
            return;
        }
        if stretch.start == 0 {
            core.set_segment_due();
        }
        if !core.claims_in_background {
            core.claim_ahead(stretch.segment, stretch.slot);
        }
    }

    fn write(&self, ring: &Ring, buffer: &Buffer, state: BufferState) -> Result<()> {
        self.core.write_buffer(ring, buffer, state)
    }

    fn check(&self) -> Result<()> {
        self.core.gate.check_poison()
    }

    fn pressed(&self) -> impl Sized {
        // Who sees the count can rely on the wait being timed.
        let timed = self.core.counters.time(Timed::BufferWait);
        self.core.counters.one(Counter::BackPressure);
        timed
    }
}

impl LogCore {
    /// Claims the fresh head's next segment, if that can be done ahead of need and was not.
    fn claim_ahead(&self, segment: SegmentId, slot: SlotId) {
        let ring = self.ring(HeadId::FRESH);
        if ring.armed_after(segment).is_some() || self.supply.is_short(slot) {
            return;
        }
        // A shortage is reported to the write that finds no segment, not to the one that looks ahead.
        if let Err(error) = self.supply.arm(self, ring, segment, Privilege::Ordinary) {
            ::log::debug!("no segment could be claimed ahead: {error}");
        }
    }

    /// As writers do when they begin a segment, unless they leave it to the thread that calls this.
    pub(crate) fn claim_in_background(&self) {
        if self.claims_in_background {
            let Stretch { segment, slot, .. } = self.ring(HeadId::FRESH).newest_stretch();
            self.claim_ahead(segment, slot);
        }
    }

    /// Completes a drained buffer with its mark, header and end, writes it, and credits its bytes to its
    /// segment.
    fn write_buffer(&self, ring: &Ring, buffer: &Buffer, state: BufferState) -> Result<()> {
        let length = self.finish_buffer(ring, buffer, state);
        let stretch = buffer.stretch();
        if length > 0 {
            // SAFETY: the buffer is drained and this thread holds the drain lock.
            let bytes = unsafe { buffer.bytes(0, length) };
            let offset = self.geometry.file_offset(stretch.slot, stretch.start);
            let written = self.counters.timed(Timed::Write, || self.file.write_at(bytes, offset));
            written.map_err(|error| self.poison(Error::io("write", self.log_path(), error)))?;
            self.counters.one(Counter::Write);
            self.counters.add(Counter::WrittenBytes, u64::from(length));
        }
        let records = state.offset.saturating_sub(stretch.overhead);
        let end = buffer.end(self.geometry, state.offset);
        self.accountant.credit(stretch.slot, records.into(), state.last, end);
        if state.last {
            failpoint!("segment::sealed");
        }
        Ok(())
    }

    /// Returns how many bytes there are to write.
    fn finish_buffer(&self, ring: &Ring, buffer: &Buffer, state: BufferState) -> u32 {
        let stretch = buffer.stretch();
        let empty = buffer.is_empty_at(state.offset);
        if empty && !state.last {
            return 0;
        }
        let (size, used) = (self.geometry.segment_size(), if empty { 0 } else { state.offset });
        let end = stretch.start + used;
        let ends_here = state.last && size.saturating_sub(end) as usize >= END_LENGTH;
        // Where the next buffer of the segment begins, if there is one.
        let next = if state.last { end } else { ring.blocks().next(end, size) };
        let behind = if ends_here { END_LENGTH as u32 } else { next - end };
        // SAFETY: the buffer is drained and this thread holds the drain lock. What is behind the records
        // fits: the end record in the slack, and what fills a block in what the capacity left of it, and the
        // slack.
        let bytes = unsafe { buffer.bytes(0, used + behind) };
        let stable = self.durability.all_stable();
        if !empty {
            let at = if stretch.start == 0 { self.put_header(ring, stretch, stable, bytes) } else { 0 };
            let seed = self.seed.at(stretch.segment, stretch.start + at as u32);
            if let Some(mark) = bytes.get_mut(at..stretch.overhead as usize) {
                let kind = RecordKind::Mark { end: next, stable, heads: self.geometry.heads() };
                record::encode(mark, seed, &kind, Payload::NONE);
            }
        }
        if let Some(last) = bytes.get_mut(used as usize..) {
            if ends_here {
                record::encode(last, self.seed.at(stretch.segment, end), &RecordKind::End, Payload::NONE);
            } else {
                record::fill(last, |at| self.seed.at(stretch.segment, end + at));
            }
        }
        used + behind
    }

    fn put_header(&self, ring: &Ring, stretch: Stretch, stable: HeadLsns, into: &mut [u8]) -> usize {
        let header = SegmentHeader {
            store_id: self.store_id,
            segment: stretch.segment,
            predecessor: (stretch.predecessor.0 > 0).then_some(stretch.predecessor),
            slot: stretch.slot,
            head: ring.head,
            stable,
        };
        if let Some(into) = into.first_chunk_mut() {
            header.encode(into);
        }
        SegmentHeader::LENGTH
    }
}
