//! One pass over the log, past all damage: what can be read, and where the holes are. The letters are those
//! of the module.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem;
use std::ops::{ControlFlow, Range};

use super::super::heads::{Claimed, Scene, Tips};
use super::super::walk::{Step, seems_to_be, walk};
use super::LargeRecord;
use super::damage::{DamagedSegment, Findings};
use super::pages::{Loss, Pages, Readable};
use crate::error::Corruption;
use crate::format::{
    LargePointer, ManifestState, Record, RecordKind, RecordSeed, SegmentHeader, SegmentHeaderFault,
    SnapshotRecord, checksum, decode_roots,
};
use crate::ids::{HeadId, HeadLsns, Lsn, PageId, SegmentId, SlotId, raise};

/// Where the disk does not hand out a whole segment, so many bytes are read at a time.
const SECTOR: usize = 4096;

/// A place from which on something can't be read.
#[derive(Clone, Copy, Debug)]
struct Stop {
    slot: SlotId,
    segment: SegmentId,
    offset: u32,
    lsn: Lsn,
    length: u32,
    reason: Reason,
    page_id: Option<PageId>,
    /// Where the next record begins that can be read.
    resumes: Option<Lsn>,
    /// It is damage wherever it is.
    is_certain: bool,
    /// It goes up to the end of the file.
    is_at_end: bool,
}

#[derive(Clone, Copy, Debug)]
enum Reason {
    /// A header that is of no use takes nothing with it but what it proves.
    Header(&'static str),
    Record(&'static str),
    FileEnds,
}

/// What is found of a head.
#[derive(Debug, Default)]
struct HeadFindings {
    stops: Vec<Stop>,
    /// The stops up to here know where it goes on.
    resumed: usize,
    /// Where the last record ends that can be read.
    end: Lsn,
}

/// A record that waits until it is known whether it counts.
struct Waiting {
    kind: RecordKind,
    readable: Readable,
    large: Option<LargeRecord>,
}

/// What a pass has found.
pub(super) struct Scanned {
    pub(super) tips: Tips,
    pub(super) pages: Pages,
    pub(super) large: Vec<LargeRecord>,
    /// Where all doubt ends (D).
    pub(super) threshold: Lsn,
}

pub(super) struct Scan<'a> {
    scene: &'a Scene,
    state: &'a ManifestState,
    findings: &'a mut Findings,
    seed: RecordSeed,
    proven: HeadLsns,
    heads: [HeadFindings; HeadId::COUNT],
    pages: Pages,
    large: Vec<LargeRecord>,
    /// Of each head, by rising LSNs.
    waiting: [VecDeque<Waiting>; HeadId::COUNT],
    /// Where batches of the fresh head begin (`None`) and end (of that begin).
    batches: Vec<(Lsn, Option<Lsn>)>,
    readable: BTreeMap<SegmentId, u64>,
    bytes: Vec<u8>,
}

impl<'a> Scan<'a> {
    pub(super) fn new(
        scene: &'a Scene,
        state: &'a ManifestState,
        proven: HeadLsns,
        pages: Pages,
        findings: &'a mut Findings,
    ) -> Self {
        Self {
            scene,
            state,
            findings,
            seed: RecordSeed::new(scene.store_id),
            proven,
            heads: Default::default(),
            pages,
            large: Vec::new(),
            waiting: Default::default(),
            batches: Vec::new(),
            readable: BTreeMap::new(),
            bytes: Vec::new(),
        }
    }

    pub(super) fn run(mut self) -> Scanned {
        for head in HeadId::all() {
            for claimed in self.state.chain(head) {
                self.segment(claimed);
            }
        }
        self.judge_length();
        let tips = self.tips();
        self.apply_waiting(&tips);
        self.report();
        let threshold = self.threshold(&tips);
        let Self { proven, pages, large, .. } = self;
        Scanned { tips: Tips { tips, proven }, pages, large, threshold }
    }

    fn by_headers(&self) -> bool {
        self.findings.manifest_is_lost
    }

    fn segment(&mut self, (slot, claim): Claimed) {
        let mut bytes = mem::take(&mut self.bytes);
        let missing = self.read((slot, claim), &mut bytes);
        let (geometry, segment) = (self.scene.geometry, claim.segment);
        // At most a segment.
        let there = bytes.len() as u32;
        let stop = |offset: u32, length: u32, reason| {
            let lsn = geometry.lsn(segment, offset);
            let stretch = offset..offset + length.max(1);
            let is_certain =
                missing.iter().any(|piece| piece.start < stretch.end && stretch.start < piece.end);
            let is_at_end = there < claim.end && offset + length >= there;
            let (page_id, resumes) = (None, None);
            Stop { slot, segment, offset, lsn, length, reason, page_id, resumes, is_certain, is_at_end }
        };
        if let Err(reason) = self.check_header((slot, claim), &bytes) {
            self.stop(claim.head, stop(0, 0, Reason::Header(reason)));
        }
        let (seed, by_headers) = (self.seed, self.by_headers());
        let mut is_told = false;
        let walked = walk(&bytes, seed, segment, |step| match step {
            Step::Record(offset, record) => {
                self.record(claim.head, geometry.lsn(segment, offset), &record);
                ControlFlow::Continue(())
            }
            Step::Unreadable { offset, length, reason } => {
                is_told = offset + length == there;
                // Without a manifest it is not known whether a recovery has cut the segment here (E).
                if !(by_headers && is_told) {
                    let whose = seems_to_be(&bytes, seed, segment, offset, length);
                    let page_id = whose.as_ref().and_then(page_of);
                    let found = stop(offset, length, Reason::Record(reason));
                    let is_certain = found.is_certain || by_headers;
                    self.stop(claim.head, Stop { page_id, is_certain, ..found });
                }
                if by_headers { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            }
        });
        if there < claim.end && !walked.ended && !is_told && !by_headers {
            let from = walked.position.min(there);
            self.stop(claim.head, stop(from, claim.end - from, Reason::FileEnds));
        }
        if let Some(found) = self.heads.get_mut(claim.head.index()) {
            found.end = found.end.max(geometry.lsn(segment, walked.position.min(there)));
        }
        self.bytes = bytes;
        let proven = self.proven;
        if !by_headers {
            self.apply_waiting(&proven);
        }
    }

    /// Reads a segment as far as the file and the disk hand it out; zeros stand for what is missing in the
    /// middle. Returns where that is.
    fn read(&mut self, (slot, claim): Claimed, into: &mut Vec<u8>) -> Vec<Range<u32>> {
        let offset = self.scene.geometry.file_offset(slot, 0);
        let there = self.scene.bytes_in(slot).min(claim.end.into());
        // At most a segment.
        into.resize(there as usize, 0);
        if there == 0 || self.scene.file.read_at(into, offset).is_ok() {
            return Vec::new();
        }
        let mut missing = Vec::new();
        for (piece, start) in into.chunks_mut(SECTOR).zip((0..).step_by(SECTOR)) {
            let at = offset + u64::from(start);
            if let Err(error) = self.scene.file.read_at(piece, at) {
                piece.fill(0);
                missing.push(start..start + piece.len() as u32);
                let fault = Corruption::new(&self.scene.log_path, format!("it can't be read: {error}"));
                self.findings.faults.push(fault.at_offset(at));
            }
        }
        missing
    }

    fn check_header(&mut self, (slot, claim): Claimed, bytes: &[u8]) -> Result<(), &'static str> {
        let header = SegmentHeader::decode(bytes).map_err(SegmentHeaderFault::reason)?;
        if !header.is_of(self.scene.store_id, claim.segment, slot, claim.head) {
            return Err("is of another segment than the one that is claimed");
        }
        self.prove(&header.stable);
        Ok(())
    }

    fn prove(&mut self, stable: &HeadLsns) {
        raise(&mut self.proven, stable);
    }

    fn stop(&mut self, head: HeadId, stop: Stop) {
        if let Some(found) = self.heads.get_mut(head.index()) {
            found.stops.push(stop);
        }
    }

    fn record(&mut self, head: HeadId, lsn: Lsn, record: &Record<'_>) {
        *self.readable.entry(self.scene.geometry.segment(lsn)).or_default() += 1;
        if let Some(found) = self.heads.get_mut(head.index()) {
            let unresumed = found.stops.get_mut(found.resumed..).unwrap_or_default();
            unresumed.iter_mut().for_each(|stop| stop.resumes = Some(lsn));
            found.resumed = found.stops.len();
        }
        let (page_id, version) = match record.kind {
            RecordKind::Mark { stable, .. } => return self.prove(&stable),
            RecordKind::BatchBegin if head == HeadId::FRESH => return self.batches.push((lsn, None)),
            RecordKind::BatchEnd { begin } if head == HeadId::FRESH => {
                return self.batches.push((lsn, Some(begin)));
            }
            RecordKind::Replace { page_id, version, .. }
            | RecordKind::Link { page_id, version }
            | RecordKind::Free { page_id, version, .. } => (page_id, version),
            _ => return,
        };
        let is_possible = page_id != PageId::META || is_roots(record);
        if !is_possible {
            self.pages.lose(page_id, Loss::Impossible);
        }
        let large = record.payload.outside.then(|| LargeRecord {
            page_id,
            version,
            pointer: LargePointer::decode(record.payload.bytes),
            compressed: record.payload.compressed,
        });
        // A record is shorter than a segment.
        let spot = SnapshotRecord { lsn, length: record.length as u32 };
        let evidence = if head == HeadId::FRESH { lsn } else { Lsn(0) };
        let readable = Readable { spot, digest: digest(record), evidence };
        if let Some(waiting) = self.waiting.get_mut(head.index()) {
            waiting.push_back(Waiting { kind: record.kind, readable, large });
        }
    }

    /// Applies those that wait and lie below these LSNs.
    fn apply_waiting(&mut self, below: &HeadLsns) {
        for (waiting, below) in self.waiting.iter_mut().zip(below) {
            let counts = |waiting: &Waiting| waiting.readable.spot.lsn < *below;
            while waiting.front().is_some_and(counts) {
                let Some(Waiting { kind, readable, large }) = waiting.pop_front() else { break };
                self.pages.apply(&kind, readable);
                self.large.extend(large);
            }
        }
    }

    fn is_damage(&self, head: HeadId, stop: &Stop) -> bool {
        stop.is_certain || self.proven.get(head.index()).is_some_and(|proven| stop.lsn < *proven)
    }

    /// A power cut may leave a file without the last slots that it was about to grow by. But if it lacks what
    /// it had, it was cut by something else, and then there is no telling what was behind its end.
    fn judge_length(&mut self) {
        let was_cut = self.damage().iter().any(|(_, stop)| stop.is_at_end);
        let stops = self.heads.iter_mut().flat_map(|found| &mut found.stops);
        stops.filter(|stop| was_cut && stop.is_at_end).for_each(|stop| stop.is_certain = true);
    }

    /// Where each head ends, now that all proof is known (A).
    fn tips(&mut self) -> HeadLsns {
        let mut tips = HeadLsns::default();
        for ((head, found), tip) in HeadId::all().zip(&self.heads).zip(&mut tips) {
            let proven = self.proven.get(head.index()).copied().unwrap_or_default();
            let first = found.stops.iter().find(|stop| !self.is_damage(head, stop));
            *tip = first.map_or(found.end.max(proven), |stop| stop.lsn);
        }
        if self.by_headers() {
            self.drop_unfinished_batches();
            return tips.map(|_| Lsn(u64::MAX));
        }
        let [fresh, ..] = &mut tips;
        let proven = self.proven.first().copied().unwrap_or_default();
        if let Some((begin, None)) = self.batches.iter().rfind(|(lsn, _)| lsn < fresh)
            && *begin >= proven
        {
            *fresh = *begin;
        }
        tips
    }

    /// Without a manifest: what lies behind a begin without an end in the same segment may have been cut.
    fn drop_unfinished_batches(&mut self) {
        let ended: BTreeSet<Lsn> = self.batches.iter().filter_map(|(_, begin)| *begin).collect();
        let unfinished = self.batches.iter().filter(|(lsn, end)| end.is_none() && !ended.contains(lsn));
        let geometry = self.scene.geometry;
        let mut cuts: BTreeMap<SegmentId, Lsn> = BTreeMap::new();
        for (begin, _) in unfinished {
            cuts.entry(geometry.segment(*begin)).or_insert(*begin);
        }
        let [fresh, ..] = &mut self.waiting;
        fresh.retain(|waiting| {
            let lsn = waiting.readable.spot.lsn;
            cuts.get(&geometry.segment(lsn)).is_none_or(|cut| lsn < *cut)
        });
    }

    fn damage(&self) -> Vec<(HeadId, Stop)> {
        let of_head = |(head, found): (HeadId, &HeadFindings)| {
            let stops = found.stops.iter().filter(|stop| self.is_damage(head, stop));
            stops.map(|stop| (head, *stop)).collect::<Vec<_>>()
        };
        HeadId::all().zip(&self.heads).flat_map(of_head).collect()
    }

    /// Writes down what is damaged.
    fn report(&mut self) {
        let mut segments: BTreeMap<SlotId, DamagedSegment> = BTreeMap::new();
        for (_, stop) in self.damage() {
            let Stop { slot, segment, offset, lsn, length, page_id, .. } = stop;
            let fault = Corruption::new(&self.scene.log_path, stop.reason.text()).at_lsn(lsn);
            let mut fault = fault.at_offset(self.scene.geometry.file_offset(slot, offset));
            fault.page_id = page_id;
            self.findings.faults.push(fault);
            let readable_records = self.readable.get(&segment).copied().unwrap_or(0);
            let (segment, unreadable_bytes) = (segment.0, 0);
            let new = DamagedSegment { segment, slot: slot.0, unreadable_bytes, readable_records };
            segments.entry(slot).or_insert(new).unreadable_bytes += u64::from(length);
        }
        self.findings.segments = segments.into_values().collect();
    }

    /// Where doubt ends (D).
    fn threshold(&self, tips: &HeadLsns) -> Lsn {
        if self.by_headers() {
            return Lsn(u64::MAX);
        }
        let mut threshold = Lsn(0);
        let tip = tips.first().copied().unwrap_or_default();
        for (head, stop) in self.damage().into_iter().filter(|(_, stop)| stop.is_hole()) {
            threshold = threshold.max(match head {
                HeadId::FRESH => stop.resumes.filter(|lsn| *lsn < tip).unwrap_or(Lsn(u64::MAX)),
                _ => self.gapless_from(tips),
            });
        }
        threshold
    }

    /// From here on all segments of the fresh head are there.
    fn gapless_from(&self, tips: &HeadLsns) -> Lsn {
        let chain = self.state.chain(HeadId::FRESH);
        let Some((_, newest)) = chain.last() else { return tips.first().copied().unwrap_or_default() };
        let mut first = newest;
        for (_, claim) in chain.iter().rev().skip(1) {
            if first.predecessor != Some(claim.segment) {
                break;
            }
            first = claim;
        }
        self.scene.geometry.base(first.segment)
    }
}

impl Stop {
    /// Whether records may be missing.
    fn is_hole(&self) -> bool {
        !matches!(self.reason, Reason::Header(_))
    }
}

impl Reason {
    fn text(self) -> String {
        match self {
            Self::Header(reason) => format!("the segment header {reason}"),
            Self::Record(reason) => format!("the record {reason}"),
            Self::FileEnds => "the file ends before a segment does".into(),
        }
    }
}

fn page_of(kind: &RecordKind) -> Option<PageId> {
    match *kind {
        RecordKind::Replace { page_id, .. }
        | RecordKind::Link { page_id, .. }
        | RecordKind::Free { page_id, .. } => Some(page_id),
        _ => None,
    }
}

fn is_roots(record: &Record<'_>) -> bool {
    matches!(record.kind, RecordKind::Replace { .. }) && decode_roots(record.payload.bytes).is_some()
}

/// The same for copies of a record, and most likely not for others.
fn digest(record: &Record<'_>) -> u32 {
    let (kind, age) = match record.kind {
        RecordKind::Replace { age, .. } => (1, age),
        RecordKind::Free { age, .. } => (2, age),
        _ => (3, 0),
    };
    let head = checksum(0, &[kind, record.payload.compressed.into(), record.payload.outside.into()]);
    checksum(checksum(head, &age.to_le_bytes()), record.payload.bytes)
}
