//! One pass over the log: what is in each segment, what of it is live, and where it is damaged.
//!
//! The letters are those of the module. What a head's tip is becomes known only at the end, for a later mark
//! may prove what an earlier one did not. So what lies above the proven point waits, as it does in recovery
//! (`recovery/heads`), and what does not verify is a *stop*, which at the end turns out to be damage, or the
//! tip, or to lie behind it (B).

use std::collections::BTreeMap;
use std::mem;
use std::ops::ControlFlow;

use super::inspection::Inspection;
use super::pages::{Pages, Spot};
use super::types::{SegmentInfo, SegmentState, Source};
use crate::error::{Corruption, Error, Result};
use crate::format::record::MIN_LENGTH;
use crate::format::{Claim, ManifestState, Record, RecordKind, SegmentHeader, SegmentHeaderFault};
use crate::ids::{HeadId, HeadLsns, Lsn, PageId, SegmentId, SlotId, raise};
use crate::progress::Progress;
use crate::recovery::{Step, Walked, seems_to_be, walk};

/// What a pass over the log has found.
///
/// ```
#[doc = include_str!("../docs/text_pages.txt")]
#[doc = include_str!("../docs/closed_store.txt")]
/// # fn main() -> pagelog::Result<()> {
/// let inspection = Inspection::open(closed_store()?, InspectOptions::new())?;
/// let survey = inspection.survey(|_| ControlFlow::Continue(()))?;
/// assert_eq!((survey.pages, survey.live_records, survey.large_values), (2, 3, 1));
/// let live: u64 = survey.segments.iter().map(|segment| segment.live_bytes).sum();
/// assert_eq!(survey.live_bytes, live);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Survey {
    /// All slots of the log file, by their places in it.
    pub segments: Vec<SegmentInfo>,
    /// Pages, without the store's own.
    pub pages: u64,
    /// Page ids that were freed.
    pub free_pages: u64,
    /// Records that can be read, up to where the log ends.
    pub records: u64,
    /// Those of them that nothing has superseded.
    pub live_records: u64,
    /// Bytes of these.
    pub live_bytes: u64,
    /// Live records whose values are in files of their own.
    pub large_values: u64,
    /// Bytes of the log that were read.
    pub bytes_read: u64,
    /// Where users' log ends. 0 if nothing was logged.
    pub tail: Lsn,
    /// All damage of the log. While the store is [in use](super::StoreInfo::in_use) it may be none.
    pub faults: Vec<Corruption>,
    /// Where live records begin in each segment, in order.
    live: BTreeMap<SegmentId, Vec<u32>>,
    /// Live records whose values are elsewhere.
    pub(super) outside: Vec<Spot>,
    tips: HeadLsns,
    proven: HeadLsns,
}

impl Survey {
    /// Whether a record of that head is up to the tip.
    pub(super) fn is_void(&self, head: HeadId, lsn: Lsn) -> bool {
        self.tips.get(head.index()).is_some_and(|tip| lsn >= *tip)
    }

    pub(super) fn is_live(&self, segment: SegmentId, offset: u32) -> bool {
        self.live.get(&segment).is_some_and(|offsets| offsets.binary_search(&offset).is_ok())
    }

    /// Whether what does not verify there is damage.
    pub(super) fn is_proven(&self, head: HeadId, lsn: Lsn) -> bool {
        self.proven.get(head.index()).is_some_and(|proven| lsn < *proven)
    }
}

impl Inspection {
    /// Reads the whole log once, and finds out what is live in it.
    ///
    /// `progress` is told how far it is after each segment; `Break` ends it. Needs memory for a segment, and
    /// a few words for each live record.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    #[doc = include_str!("../docs/closed_store.txt")]
    /// # fn main() -> pagelog::Result<()> {
    /// let inspection = Inspection::open(closed_store()?, InspectOptions::new())?;
    /// let survey = inspection.survey(|_| ControlFlow::Continue(()))?;
    /// assert!(survey.faults.is_empty());
    /// let stopped = inspection.survey(|_| ControlFlow::Break(()));
    /// assert!(matches!(stopped, Err(Error::Cancelled)));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Cancelled`](Error::Cancelled). Damage is no error, nor are bytes that the system does not hand out:
    /// all that is in [`Survey::faults`].
    pub fn survey(&self, mut progress: impl FnMut(Progress) -> ControlFlow<()>) -> Result<Survey> {
        let mut surveyor = Surveyor::new(self);
        let total = u64::from(self.info.segments) * u64::from(self.info.segment_size);
        let mut now = Progress { done: 0, total };
        let mut tell = |done| {
            now.done += done;
            if progress(now).is_break() { Err(Error::Cancelled) } else { Ok(()) }
        };
        tell(0)?;
        for head in (0..).map(HeadId).take(HeadId::COUNT) {
            for (slot, claim) in chain(self, head) {
                surveyor.segment(slot, claim);
                tell(self.info.segment_size.into())?;
            }
        }
        Ok(surveyor.finish())
    }

    /// Reads what there is of a segment, and says what is not.
    pub(super) fn read_segment(&self, slot: SlotId, claim: Claim, into: &mut Vec<u8>) -> Result<()> {
        let offset = self.geometry.file_offset(slot, 0);
        let there = self.log_length.saturating_sub(offset).min(claim.end.into());
        // At most a segment.
        into.resize(there as usize, 0);
        match &self.log {
            Some(file) if there > 0 => {
                let read = file.read_at(into, offset);
                read.map_err(|error| Error::io("read", &self.log_path, error))
            }
            _ => Ok(()),
        }
    }
}

/// What there is to say of a file that is too short.
const FILE_ENDS: &str = "the file ends before a segment does";

/// The segments of a head, oldest first.
fn chain(inspection: &Inspection, head: HeadId) -> Vec<(SlotId, Claim)> {
    let of_head = inspection.claims.iter().filter(|(_, claim)| claim.head == head);
    let mut chain: Vec<_> = of_head.map(|(slot, claim)| (*slot, *claim)).collect();
    chain.sort_unstable_by_key(|(_, claim)| claim.segment);
    chain
}

/// A place where something does not verify.
struct Stop {
    slot: SlotId,
    claim: Claim,
    offset: u32,
    /// A sentence.
    reason: String,
    /// Whose record it seems to be.
    page_id: Option<PageId>,
    /// It is damage wherever it is.
    certain: bool,
    /// Nothing can be read from here on, and without a manifest it is not known whether a recovery has cut
    /// the segment here (E).
    is_rest: bool,
}

struct Surveyor<'a> {
    inspection: &'a Inspection,
    bytes: Vec<u8>,
    proven: HeadLsns,
    stops: Vec<Stop>,
    /// What is not known to be below the tip.
    waiting: Vec<(HeadId, Spot, RecordKind)>,
    pages: Pages,
    /// What is live of a bare log: records and bytes.
    entries: BTreeMap<SegmentId, (u64, u64)>,
    /// Where batches begin (true) and end in the fresh head.
    batches: Vec<(Lsn, bool)>,
    segments: BTreeMap<SlotId, (SegmentInfo, Walked)>,
    bytes_read: u64,
}

impl<'a> Surveyor<'a> {
    fn new(inspection: &'a Inspection) -> Self {
        Self {
            inspection,
            bytes: Vec::new(),
            proven: inspection.proven(),
            stops: Vec::new(),
            waiting: Vec::new(),
            pages: Pages::new(inspection.manifest.as_ref().map(ManifestState::voided)),
            entries: BTreeMap::new(),
            batches: Vec::new(),
            segments: BTreeMap::new(),
            bytes_read: 0,
        }
    }

    fn lsn(&self, claim: Claim, offset: u32) -> Lsn {
        self.inspection.geometry.lsn(claim.segment, offset)
    }

    fn stop(&mut self, slot: SlotId, claim: Claim, offset: u32, reason: String) {
        self.stops.push(Stop { slot, claim, offset, reason, page_id: None, certain: false, is_rest: false });
    }

    fn segment(&mut self, slot: SlotId, claim: Claim) {
        let mut bytes = mem::take(&mut self.bytes);
        if let Err(error) = self.inspection.read_segment(slot, claim, &mut bytes) {
            self.stop(slot, claim, 0, error.to_string());
            self.stops.last_mut().into_iter().for_each(|stop| stop.certain = true);
            bytes.clear();
        } else {
            self.check_header(slot, claim, &bytes);
        }
        self.bytes_read += bytes.len() as u64;
        let mut info = blank(self.inspection, slot, Some(claim));
        // At most a segment.
        let there = bytes.len() as u32;
        let (seed, by_headers) = (self.inspection.seed(), self.inspection.info.source == Source::Headers);
        let walked = walk(&bytes, seed, claim.segment, |step| {
            match step {
                Step::Record(offset, record) => {
                    info.records += 1;
                    self.record(claim, offset, &record);
                }
                Step::Unreadable { offset, length, .. } if by_headers && offset + length == there => {
                    self.stop(slot, claim, offset, String::new());
                    self.stops.last_mut().into_iter().for_each(|stop| stop.is_rest = true);
                }
                Step::Unreadable { offset, length, reason } => {
                    let is_cut = offset + length == there && there < claim.end;
                    let reason = if is_cut { FILE_ENDS.into() } else { format!("the record {reason}") };
                    self.stop(slot, claim, offset, reason);
                    let whose = seems_to_be(&bytes, seed, claim.segment, offset, length);
                    let stop = self.stops.last_mut().into_iter();
                    stop.for_each(|stop| stop.page_id = whose.as_ref().and_then(page_of));
                }
            }
            ControlFlow::Continue(())
        });
        if there < claim.end && !walked.ended && self.stops.last().is_none_or(|stop| stop.slot != slot) {
            self.stop(slot, claim, there, FILE_ENDS.into());
        }
        info.written = walked.position.min(there);
        self.segments.insert(slot, (info, walked));
        self.bytes = bytes;
        self.apply_waiting(|proven, head, lsn| proven.get(head.index()).is_some_and(|proven| lsn < *proven));
    }

    fn check_header(&mut self, slot: SlotId, claim: Claim, bytes: &[u8]) {
        let store_id = self.inspection.store_id;
        let is_claimed = |header: &SegmentHeader| {
            store_id.is_some_and(|store_id| header.is_of(store_id, claim.segment, slot, claim.head))
        };
        match SegmentHeader::decode(bytes) {
            Err(SegmentHeaderFault::TooShort) if (bytes.len() as u32) < claim.end => {
                self.stop(slot, claim, 0, FILE_ENDS.into());
            }
            Ok(header) if is_claimed(&header) => self.prove(&header.stable),
            Ok(_) => {
                let reason = "the segment header is of another segment than the one that is claimed";
                self.stop(slot, claim, 0, reason.into());
            }
            Err(fault) => {
                self.stop(
                    slot,
                    claim,
                    0,
                    format!("the segment header {}", SegmentHeaderFault::reason(fault)),
                );
            }
        }
    }

    fn prove(&mut self, stable: &HeadLsns) {
        raise(&mut self.proven, stable);
    }

    fn record(&mut self, claim: Claim, offset: u32, record: &Record<'_>) {
        let lsn = self.lsn(claim, offset);
        match record.kind {
            RecordKind::Mark { stable, .. } => self.prove(&stable),
            RecordKind::BatchBegin if claim.head == HeadId::FRESH => self.batches.push((lsn, true)),
            RecordKind::BatchEnd { .. } if claim.head == HeadId::FRESH => self.batches.push((lsn, false)),
            RecordKind::Replace { .. }
            | RecordKind::Link { .. }
            | RecordKind::Free { .. }
            | RecordKind::Entry => {
                // A record is shorter than a segment.
                let spot = Spot { lsn, length: record.length as u32, outside: record.payload.outside };
                self.waiting.push((claim.head, spot, record.kind));
            }
            _ => {}
        }
    }

    /// Applies those that wait and are known to count, in their order.
    fn apply_waiting(&mut self, counts: impl Fn(&HeadLsns, HeadId, Lsn) -> bool) {
        for (head, spot, kind) in mem::take(&mut self.waiting) {
            if !counts(&self.proven, head, spot.lsn) {
                self.waiting.push((head, spot, kind));
            } else if kind == RecordKind::Entry {
                if spot.lsn >= self.inspection.info.first_lsn {
                    let (records, bytes) =
                        self.entries.entry(self.inspection.geometry.segment(spot.lsn)).or_default();
                    *records += 1;
                    *bytes += u64::from(spot.length);
                }
            } else {
                self.pages.apply(spot, &kind);
            }
        }
    }

    /// Where each head ends, now that all proof is known.
    fn tips(&self) -> HeadLsns {
        let mut tips = [Lsn(u64::MAX); HeadId::COUNT];
        for stop in self.stops.iter().filter(|stop| self.can_be_tip(stop)) {
            let lsn = self.lsn(stop.claim, stop.offset);
            if let Some(tip) = tips.get_mut(stop.claim.head.index()) {
                *tip = (*tip).min(lsn);
            }
        }
        let [fresh, ..] = &mut tips;
        let last = self.batches.iter().rfind(|(lsn, _)| lsn < fresh);
        if let Some((begin, true)) = last
            && *begin >= self.proven_point(HeadId::FRESH)
        {
            *fresh = *begin;
        }
        tips
    }

    fn proven_point(&self, head: HeadId) -> Lsn {
        self.proven.get(head.index()).copied().unwrap_or_default()
    }

    fn is_proven(&self, stop: &Stop) -> bool {
        self.lsn(stop.claim, stop.offset) < self.proven_point(stop.claim.head)
    }

    fn is_damage(&self, stop: &Stop) -> bool {
        stop.certain || (self.is_proven(stop) && !stop.is_rest)
    }

    fn can_be_tip(&self, stop: &Stop) -> bool {
        let is_newer = |claim: &Claim| claim.head == stop.claim.head && claim.segment > stop.claim.segment;
        let went_on = || self.inspection.claims.values().any(is_newer);
        let is_cut = || stop.is_rest && went_on();
        !stop.certain && !self.is_proven(stop) && !is_cut()
    }

    fn finish(mut self) -> Survey {
        let tips = self.tips();
        self.apply_waiting(|_, head, lsn| tips.get(head.index()).is_some_and(|tip| lsn < *tip));
        let (pages, free_pages) = self.pages.counts();
        let mut survey = Survey { pages, free_pages, tips, proven: self.proven, ..Survey::default() };
        self.report_faults(&mut survey);
        self.count_live(&mut survey);
        self.settle_segments(&tips);
        let inspection = self.inspection;
        let slot = |slot| match self.segments.remove(&slot) {
            Some((info, _)) => info,
            None => blank(inspection, slot, None),
        };
        survey.segments = (0..inspection.info.slots).map(SlotId).map(slot).collect();
        let sum = |figure: fn(&SegmentInfo) -> u64| survey.segments.iter().map(figure).sum();
        survey.records = sum(|segment| segment.records);
        survey.live_records = sum(|segment| segment.live_records);
        survey.live_bytes = sum(|segment| segment.live_bytes);
        let of_users = survey.segments.iter().filter(|segment| segment.lane == Some(HeadId::FRESH.into()));
        let written = of_users.filter(|segment| segment.written > 0);
        survey.tail =
            written.map(|segment| Lsn(segment.base.0 + u64::from(segment.written))).max().unwrap_or_default();
        survey.bytes_read = self.bytes_read;
        survey
    }

    fn report_faults(&mut self, survey: &mut Survey) {
        let (inspection, geometry) = (self.inspection, self.inspection.geometry);
        if inspection.log.is_none() && inspection.manifest.is_some() {
            survey.faults.push(Corruption::new(&inspection.log_path, "the file is missing"));
        }
        for stop in mem::take(&mut self.stops) {
            if !self.is_damage(&stop) {
                continue;
            }
            let mut fault = Corruption::new(&inspection.log_path, stop.reason.as_str())
                .at_lsn(self.lsn(stop.claim, stop.offset))
                .at_offset(geometry.file_offset(stop.slot, stop.offset));
            fault.page_id = stop.page_id;
            survey.faults.push(fault);
            self.segments.entry(stop.slot).and_modify(|(info, _)| info.faults += 1);
        }
        if inspection.info.source == Source::Manifest {
            for (page_id, lsn, reason) in self.pages.incomplete() {
                survey
                    .faults
                    .push(Corruption::new(&inspection.log_path, reason).at_lsn(lsn).of_page(page_id));
            }
        }
    }

    fn count_live(&mut self, survey: &mut Survey) {
        let geometry = self.inspection.geometry;
        let slots: BTreeMap<SegmentId, SlotId> =
            self.inspection.claims.iter().map(|(slot, claim)| (claim.segment, *slot)).collect();
        let mut credit = |segment, records, bytes| {
            if let Some((info, _)) = slots.get(&segment).and_then(|slot| self.segments.get_mut(slot)) {
                info.live_records += records;
                info.live_bytes += bytes;
            }
        };
        for spot in self.pages.live() {
            let segment = geometry.segment(spot.lsn);
            survey.live.entry(segment).or_default().push(geometry.offset(spot.lsn));
            credit(segment, 1, spot.length.into());
            if spot.outside {
                survey.outside.push(spot);
                survey.large_values += 1;
            }
        }
        survey.live.values_mut().for_each(|offsets| offsets.sort_unstable());
        self.entries.iter().for_each(|(segment, (records, bytes))| credit(*segment, *records, *bytes));
    }

    /// Says of each segment what it is in, and leaves out of its figures what lies behind the tip.
    fn settle_segments(&mut self, tips: &HeadLsns) {
        for head in (0..).map(HeadId).take(HeadId::COUNT) {
            let tip = tips.get(head.index()).copied().unwrap_or_default();
            let mut is_newest = true;
            for (slot, claim) in chain(self.inspection, head).into_iter().rev() {
                let Some((mut info, mut walked)) = self.segments.remove(&slot) else { continue };
                if info.base >= tip {
                    info.state = if info.records > 0 { SegmentState::Void } else { SegmentState::Claimed };
                    (info.records, info.written) = (0, 0);
                } else if info.faults > 0 && info.written < SegmentHeader::LENGTH as u32 {
                    info.state = SegmentState::Missing;
                    is_newest = false;
                } else {
                    if tip.0 < info.base.0 + u64::from(info.written) {
                        walked = self.count_again(&mut info, slot, claim, tip);
                    }
                    let is_open =
                        !walked.ended && claim.end - info.written.min(claim.end) >= MIN_LENGTH as u32;
                    // What is damaged may have been live.
                    let is_dead = info.live_bytes == 0 && info.faults == 0;
                    info.state = match (is_newest && is_open, is_dead) {
                        (true, _) => SegmentState::Active,
                        (false, true) => SegmentState::Empty,
                        (false, false) => SegmentState::Sealed,
                    };
                    is_newest = false;
                }
                self.segments.insert(slot, (info, walked));
            }
        }
    }

    fn count_again(&mut self, info: &mut SegmentInfo, slot: SlotId, claim: Claim, tip: Lsn) -> Walked {
        let mut bytes = mem::take(&mut self.bytes);
        let mut walked = Walked::default();
        info.records = 0;
        if self.inspection.read_segment(slot, claim, &mut bytes).is_ok() {
            let below = tip.0.saturating_sub(info.base.0).min(bytes.len() as u64);
            let below = bytes.get(..below as usize).unwrap_or_default();
            walked = walk(below, self.inspection.seed(), claim.segment, |step| {
                info.records += u64::from(matches!(step, Step::Record(..)));
                ControlFlow::Continue(())
            });
        }
        info.written = walked.position;
        self.bytes = bytes;
        walked
    }
}

fn page_of(kind: &RecordKind) -> Option<PageId> {
    match kind {
        RecordKind::Replace { page_id, .. }
        | RecordKind::Link { page_id, .. }
        | RecordKind::Free { page_id, .. } => Some(*page_id),
        _ => None,
    }
}

/// A slot of which nothing is known but whose it is.
fn blank(inspection: &Inspection, slot: SlotId, claim: Option<Claim>) -> SegmentInfo {
    let segment = claim.map_or(SegmentId(0), |claim| claim.segment);
    SegmentInfo {
        slot: slot.0,
        state: SegmentState::Free,
        segment: segment.0,
        lane: claim.map(|claim| claim.head.into()),
        base: inspection.geometry.base(segment),
        end: claim.map_or(0, |claim| claim.end),
        written: 0,
        records: 0,
        live_records: 0,
        live_bytes: 0,
        age: claim.map_or(0, |claim| inspection.info.next_segment.saturating_sub(claim.segment.0 + 1)),
        faults: 0,
    }
}
