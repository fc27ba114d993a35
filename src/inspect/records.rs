//! One segment, record by record.

use std::ops::ControlFlow;

use super::inspection::Inspection;
use super::survey::Survey;
use super::types::{LargeValueInfo, RecordInfo, RecordState, RecordType, SegmentInfo, Source};
use crate::error::Result;
use crate::format::{Claim, LargeName, LargePointer, Record, RecordKind};
use crate::ids::{PageId, SlotId, Version};
use crate::recovery::{Step, seems_to_be, walk};

impl Inspection {
    /// Calls `visit` for each record of a segment, in order, with the payload as it is stored; and for bytes
    /// that are damaged. Not for what lies unwritten behind the last record. The survey is of this
    /// inspection. `Break` ends it.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    #[doc = include_str!("../docs/closed_store.txt")]
    /// # use pagelog::inspect::RecordState;
    /// # fn main() -> pagelog::Result<()> {
    /// let inspection = Inspection::open(closed_store()?, InspectOptions::new())?;
    /// let survey = inspection.survey(|_| ControlFlow::Continue(()))?;
    /// let mut page = Vec::new();
    /// for segment in &survey.segments {
    ///     let _ = inspection.records(&survey, segment, |record, payload| {
    ///         if record.page_id == Some(PageId::new(1)) && record.state == RecordState::Live {
    ///             page.extend_from_slice(payload);
    ///         }
    ///         ControlFlow::Continue(())
    ///     })?;
    /// }
    /// assert_eq!(page, b"newer");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Io`](crate::Error::Io).
    pub fn records(
        &self,
        survey: &Survey,
        segment: &SegmentInfo,
        mut visit: impl FnMut(&RecordInfo, &[u8]) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        let slot = SlotId(segment.slot);
        let claim = self.claims.get(&slot).filter(|claim| claim.segment.0 == segment.segment);
        let Some(claim) = claim.copied() else { return Ok(ControlFlow::Continue(())) };
        let mut bytes = Vec::new();
        self.read_segment(slot, claim, &mut bytes)?;
        let mut flow = ControlFlow::Continue(());
        walk(&bytes, self.seed(), claim.segment, |step| {
            flow = match step {
                Step::Record(offset, record) => {
                    let info = self.describe(survey, slot, claim, offset, &record);
                    visit(&info, record.payload.bytes)
                }
                Step::Unreadable { offset, length, reason } => {
                    match self.describe_unreadable(survey, (slot, claim), &bytes, (offset, length), reason) {
                        Some(info) => visit(&info, &[]),
                        None => ControlFlow::Continue(()),
                    }
                }
            };
            flow
        });
        Ok(flow)
    }

    fn blank(&self, slot: SlotId, claim: Claim, offset: u32, length: u32) -> RecordInfo {
        RecordInfo {
            lsn: self.geometry.lsn(claim.segment, offset),
            segment: claim.segment.0,
            file_offset: self.geometry.file_offset(slot, offset),
            length,
            kind: RecordType::Unreadable,
            page_id: None,
            version: None,
            intact: false,
            reason: None,
            state: RecordState::Damaged,
            compressed: false,
            large_value: None,
            payload_length: 0,
        }
    }

    fn describe(
        &self,
        survey: &Survey,
        slot: SlotId,
        claim: Claim,
        offset: u32,
        record: &Record<'_>,
    ) -> RecordInfo {
        // A record is shorter than a segment.
        let blank = self.blank(slot, claim, offset, record.length as u32);
        let (page_id, version) = page_and_version(&record.kind).unzip();
        let state = if survey.is_void(claim.head, blank.lsn) {
            RecordState::Void
        } else if match record.kind {
            RecordKind::Entry => blank.lsn >= self.info.first_lsn,
            _ => survey.is_live(claim.segment, offset),
        } {
            RecordState::Live
        } else {
            RecordState::Dead
        };
        let pointer = LargePointer::decode(record.payload.bytes).filter(|_| record.payload.outside);
        let large_value = pointer.zip(page_and_version(&record.kind)).map(|(pointer, (page_id, version))| {
            let name = LargeName { number: pointer.number, page_id, version };
            LargeValueInfo { file: name.file(), bytes: pointer.length.into() }
        });
        RecordInfo {
            kind: RecordType::of(&record.kind),
            page_id,
            version,
            intact: true,
            state,
            compressed: record.payload.compressed,
            large_value,
            payload_length: record.payload.bytes.len() as u32,
            ..blank
        }
    }

    /// `None` for what is no damage.
    fn describe_unreadable(
        &self,
        survey: &Survey,
        (slot, claim): (SlotId, Claim),
        bytes: &[u8],
        (offset, length): (u32, u32),
        reason: &'static str,
    ) -> Option<RecordInfo> {
        let blank = self.blank(slot, claim, offset, length);
        let is_rest = self.info.source == Source::Headers && (offset + length) as usize == bytes.len();
        if is_rest || !survey.is_proven(claim.head, blank.lsn) {
            return None;
        }
        let kind = seems_to_be(bytes, self.seed(), claim.segment, offset, length);
        let (page_id, version) = kind.as_ref().and_then(page_and_version).unzip();
        let kind = kind.as_ref().map_or(RecordType::Unreadable, RecordType::of);
        Some(RecordInfo { kind, page_id, version, reason: Some(reason), ..blank })
    }
}

fn page_and_version(kind: &RecordKind) -> Option<(PageId, Version)> {
    match *kind {
        RecordKind::Replace { page_id, version, .. }
        | RecordKind::Free { page_id, version, .. }
        | RecordKind::Link { page_id, version } => Some((page_id, version)),
        _ => None,
    }
}
