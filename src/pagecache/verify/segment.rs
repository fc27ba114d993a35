//! One segment: its header, its records, and which of them are live.

use super::run::{Scanned, Tally, Verification};
use crate::error::{Corruption, Result};
use crate::format::{Payload, RecordKind, SegmentHeader, SegmentHeaderFault, decode_roots, record};
use crate::ids::PageId;
use crate::location::Place;
use crate::log::{Hold, Records, Search, SegmentInUse};
use crate::pagecache::clean::{Found, WINDOW};
use crate::pagecache::large::CheckFault;
use crate::pages::Fragment;
use crate::sync::epoch;

impl<F: Fragment> Verification<'_, F> {
    /// Checks a segment, if it is still the one that was seen.
    pub(super) fn check_segment(&mut self, seen: SegmentInUse) -> Result<()> {
        let core = &self.inner.core;
        let Some(_hold) = Hold::segment(core, seen.slot, seen.segment) else { return Ok(()) };
        let now = core.segment_in_use(seen.slot).filter(|now| now.segment == seen.segment);
        let Some(now) = now else { return Ok(()) };
        let faults = self.report.faults.len() as u64 + self.report.more_faults;
        let mut bytes = std::mem::take(&mut self.bytes);
        let live = self.read_segment(now, &mut bytes).and_then(|()| {
            self.check_header(now, &bytes);
            let found = self.check_records(now, &bytes);
            self.check_live(now, &bytes, &found)
        });
        self.bytes = bytes;
        let damaged = self.report.faults.len() as u64 + self.report.more_faults > faults;
        self.scanned.insert(now.slot, Scanned { segment: now.segment, live: live?, damaged });
        self.report.segments += 1;
        Ok(())
    }

    /// Reads the segment as far as the file goes.
    fn read_segment(&mut self, segment: SegmentInUse, bytes: &mut Vec<u8>) -> Result<()> {
        let core = &self.inner.core;
        let offset = core.geometry().file_offset(segment.slot, 0);
        let there = core.length_found()?.saturating_sub(offset).min(segment.length.into());
        if there < u64::from(segment.length) {
            let corruption = Corruption::new(core.log_path(), "the file ends before a segment does");
            self.fault(corruption.at_offset(offset + there).at_lsn(core.geometry().base(segment.segment)));
        }
        // At most a segment.
        bytes.resize(there as usize, 0);
        if there > 0 {
            core.read_slot(Place::new(segment.slot, 0), bytes)?;
        }
        self.report.bytes_read += there;
        Ok(())
    }

    fn corruption(&self, segment: SegmentInUse, offset: u32, reason: String) -> Corruption {
        let geometry = self.inner.core.geometry();
        Corruption::new(self.inner.core.log_path(), reason)
            .at_offset(geometry.file_offset(segment.slot, offset))
            .at_lsn(geometry.lsn(segment.segment, offset))
    }

    fn check_header(&mut self, segment: SegmentInUse, bytes: &[u8]) {
        let core = &self.inner.core;
        let reason = match SegmentHeader::decode(bytes).map_err(SegmentHeaderFault::reason) {
            Ok(header) if header.is_of(core.store_id(), segment.segment, segment.slot, segment.head) => {
                return;
            }
            Ok(_) => "is of another segment than the one that is claimed",
            Err(reason) => reason,
        };
        self.fault(self.corruption(segment, 0, format!("the segment header {reason}")));
    }

    /// Checks all records, and returns those of pages. Behind a damaged record it goes on with the next one
    /// that verifies.
    fn check_records(&mut self, segment: SegmentInUse, bytes: &[u8]) -> Vec<Found> {
        let (mut found, seed) = (Vec::new(), self.inner.core.seed());
        let (mut from, mut search) = (Some(SegmentHeader::LENGTH as u32), Search::new(bytes.len()));
        while let Some(start) = from.take() {
            let mut records = Records::new(bytes, seed, segment.segment, start);
            while let Some(item) = records.next() {
                match item {
                    Ok((offset, record)) => {
                        self.report.records += 1;
                        self.report.dead_records += 1;
                        found.extend(Found::new(offset, &record));
                    }
                    Err(fault) => {
                        let offset = records.offset();
                        let reason = format!("the record {}", fault.reason());
                        self.fault(self.corruption(segment, offset, reason));
                        from = search.next_record(bytes, seed, segment.segment, offset + 1);
                    }
                }
            }
        }
        found
    }

    /// Finds out which of the records are live, and compares these with their nodes. Guards are short.
    fn check_live(&mut self, segment: SegmentInUse, bytes: &[u8], found: &[Found]) -> Result<Tally> {
        let mut tally = Tally::default();
        for window in found.chunks(WINDOW) {
            let guard = epoch::pin();
            let live = self.inner.live_nodes(segment.slot, window, &guard);
            let live: Vec<(&Found, u32)> =
                live.into_iter().map(|live| (live.found, live.node.length())).collect();
            drop(guard);
            for (found, length) in live {
                self.report.live_records += 1;
                self.report.dead_records -= 1;
                self.report.live_bytes += u64::from(length);
                tally.add(found.page_id, found.version, found.offset, length);
                if found.length as u64 != u64::from(length) {
                    let reason = "the record has another length than the page table has noted";
                    let corruption = self.corruption(segment, found.offset, reason.into());
                    self.fault(corruption.of_page(found.page_id));
                }
                self.check_payload(segment, bytes, found)?;
            }
        }
        Ok(tally)
    }

    /// Checks the files of large values, and decodes what can be decoded: the store's own roots, and users'
    /// payloads if they wish.
    fn check_payload(&mut self, segment: SegmentInUse, bytes: &[u8], found: &Found) -> Result<()> {
        let is_own = found.page_id == PageId::META;
        if !is_own && !self.options.decode && !found.outside {
            return Ok(());
        }
        let seed = self.inner.core.seed().at(segment.segment, found.offset);
        let rest = bytes.get(found.offset as usize..).unwrap_or_default();
        let Ok(record) = record::decode(rest, seed) else { return Ok(()) };
        if record.payload.outside {
            return self.check_file(segment, found, record.payload);
        }
        let reason = match record.kind {
            RecordKind::Replace { .. } if is_own => {
                let roots = decode_roots(record.payload.bytes);
                roots.is_none().then(|| "the named roots can't be decoded".to_owned())
            }
            RecordKind::Replace { .. } | RecordKind::Link { .. } => self.inner.cannot_decode(record.payload),
            _ => None,
        };
        if let Some(reason) = reason {
            self.fault(self.corruption(segment, found.offset, reason).of_page(found.page_id));
        }
        Ok(())
    }

    fn check_file(&mut self, segment: SegmentInUse, found: &Found, payload: Payload<'_>) -> Result<()> {
        let decode = self.options.decode;
        self.report.large_values += 1;
        match self.inner.check_outside(found.page_id, found.version, payload, decode) {
            Ok(bytes) => {
                self.report.large_value_bytes += bytes;
                self.report.bytes_read += bytes;
                Ok(())
            }
            Err(CheckFault::Record(reason)) => {
                let corruption = self.corruption(segment, found.offset, reason);
                self.fault(corruption.of_page(found.page_id));
                Ok(())
            }
            Err(CheckFault::Error(error)) => self.damage(error),
        }
    }
}
