//! Finding where each head's log ends, and delivering what lies below.
//!
//! # What is proven
//!
//! Every mark and every claim carries the stable LSNs of all heads as they were when it was written. The
//! highest that verifies anywhere is the head's *proven point*: below it everything must be readable, or the
//! store is damaged. Above it a power cut may have left anything.
//!
//! # Where a head ends
//!
//! | at a record | below the proven point | above it |
//! |---|---|---|
//! | it verifies | deliver | deliver if it is below the tip |
//! | it does not | corruption | here is the tip; look on for marks that prove otherwise |
//! | a batch begins and does not end | it is finished: its end was stable, and its segment is gone since | the tip is the begin |
//!
//! Looking on is what tells a torn tail from rot: if a mark behind the damage says that the damaged place was
//! stable, it was acknowledged, and cutting it off in silence would lose it.
//!
//! Whether a record is below the tip is known only at the end, so records above the proven point wait in a
//! list; the proven point trails the tip by a segment at most, so the list is short.
//!
//! # What is not looked at
//!
//! A segment that ends at or below where the snapshot begins is *known*: what its records say is in the
//! snapshot. Of the known segments of a head only the newest one's header is read. So what a scan reads
//! depends on the log behind the snapshot, and not on how many segments the file has. What the other headers
//! could say, and why it is not missed:
//!
//! * *That the segment never reached the disk.* A snapshot gets its name when all that was logged up to its
//!   end is synced in every head. So a known segment was on disk as a whole, before there was a snapshot that
//!   knows it. A claim whose segment may not have been written has a higher id than all that its head had
//!   written, so it is not known, and is looked at.
//! * *That the slot is in another life.* A life begins with a claim in the manifest, synced before the first
//!   byte. So if the slot of a known segment had been used again, the manifest would not claim it for that
//!   segment any more; and a new claim is not known.
//! * *What was stable.* A head writes its segments one after the other, and into each header what is stable
//!   at that moment, which only rises. So the newest header proves at least what the older ones do.
//! * *That the file is of this store, and not an older copy of it.* The newest one tells that, too: it was
//!   written last.
//! * *That the file was cut.* The [census](super::census) lets no live record lie behind its end.
//!
//! What remains is damage to bytes that were on disk. Records of known segments may have that as well: no
//! opening with a snapshot reads them. Neither is served: a record is checked when it is read, with a seed
//! that names its segment, so one of another life does not verify; and it is read by its place, for which no
//! header is needed. A damaged header is found by a check and by a backup, and harms those who have nothing
//! else to go by: a follower, and whoever has lost the manifest.

use std::sync::Arc;

use super::replay::{Replay, Spot};
use crate::error::{Corruption, Error, Result};
use crate::format::{Claim, RecordKind, RecordSeed, SegmentHeader, SegmentHeaderFault, StoreId, record};
use crate::geometry::Geometry;
use crate::ids::{HeadId, HeadLsns, Lsn, SlotId, raise};
use crate::log::Records;
use crate::progress::Reporter;
use crate::storage::StorageFile;

/// A slot and its present life.
pub(crate) type Claimed = (SlotId, Claim);

/// What the scan needs to know of the store.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) file: Arc<dyn StorageFile>,
    pub(crate) file_length: u64,
    pub(crate) geometry: Geometry,
    pub(crate) store_id: StoreId,
    pub(crate) log_path: String,
}

impl Scene {
    /// How many bytes of a slot the file has.
    pub(super) fn bytes_in(&self, slot: SlotId) -> u64 {
        let start = self.geometry.file_offset(slot, 0);
        self.file_length.saturating_sub(start).min(self.geometry.segment_size().into())
    }
}

/// A scan of all heads.
#[derive(Debug)]
pub(crate) struct HeadScan<'a, 't> {
    scene: &'a Scene,
    seed: RecordSeed,
    proven: HeadLsns,
    /// Below these LSNs a snapshot knows everything.
    starts: HeadLsns,
    replay: &'a mut Replay,
    waiting: Vec<(HeadId, Spot, RecordKind)>,
    faults: [Option<Fault>; HeadId::COUNT],
    /// Where the last batch began that has no end so far.
    open_batch: Option<Lsn>,
    reporter: &'a mut Reporter<'t>,
}

/// Where a head's log stops being readable.
#[derive(Clone, Debug)]
struct Fault {
    lsn: Lsn,
    file_offset: u64,
    reason: &'static str,
}

/// What the scan found.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tips {
    /// Where each head's log ends.
    pub(crate) tips: HeadLsns,
    /// Below these LSNs everything was stable before.
    pub(crate) proven: HeadLsns,
}

impl<'a, 't> HeadScan<'a, 't> {
    pub(crate) fn new(
        scene: &'a Scene,
        proven: HeadLsns,
        starts: HeadLsns,
        replay: &'a mut Replay,
        reporter: &'a mut Reporter<'t>,
    ) -> Self {
        let seed = RecordSeed::new(scene.store_id);
        let (waiting, faults) = (Vec::new(), [const { None }; HeadId::COUNT]);
        Self { scene, seed, proven, starts, replay, waiting, faults, open_batch: None, reporter }
    }

    /// Scans every head; `chain` gives its claims in the order of their segments.
    pub(crate) fn run(mut self, chain: impl Fn(HeadId) -> Vec<Claimed>) -> Result<Tips> {
        let mut tips = HeadLsns::default();
        let chains: Vec<_> = HeadId::all().map(|head| (head, self.unknown(head, chain(head)))).collect();
        self.reporter.begin(chains.iter().map(|(head, claims)| self.bytes_of(*head, claims)).sum())?;
        for ((head, claims), tip) in chains.into_iter().zip(&mut tips) {
            *tip = self.scan_head(head, claims)?;
        }
        for (head, tip) in HeadId::all().zip(&mut tips) {
            *tip = self.judge(head, *tip)?;
        }
        for (head, spot, kind) in std::mem::take(&mut self.waiting) {
            if tips.get(head.index()).is_some_and(|tip| spot.lsn < *tip) {
                self.replay.apply(spot, &kind)?;
            }
        }
        self.reporter.finish()?;
        Ok(Tips { tips, proven: self.proven })
    }

    /// Whether a snapshot says all that a segment does.
    fn is_known(&self, head: HeadId, (_, claim): &Claimed) -> bool {
        let start = self.starts.get(head.index()).copied().unwrap_or_default();
        self.scene.geometry.base(claim.segment).0 + u64::from(claim.end) <= start.0
    }

    /// The segments that are not known, and the newest one that is.
    fn unknown(&self, head: HeadId, mut claims: Vec<Claimed>) -> Vec<Claimed> {
        let known = claims.partition_point(|claimed| self.is_known(head, claimed));
        claims.drain(..known.saturating_sub(1));
        claims
    }

    /// How many bytes there are of a head to be read.
    fn bytes_of(&self, head: HeadId, claims: &[Claimed]) -> u64 {
        claims.iter().map(|claimed| u64::from(self.length_of(head, claimed))).sum()
    }

    /// How many bytes of a segment are to be read: of a known one, its header.
    fn length_of(&self, head: HeadId, claimed: &Claimed) -> u32 {
        let (_, claim) = claimed;
        if self.is_known(head, claimed) { SegmentHeader::LENGTH as u32 } else { claim.end }
    }

    /// The tip of a head, now that all proof is known.
    fn judge(&self, head: HeadId, end: Lsn) -> Result<Lsn> {
        let proven = self.proven_point(head);
        if let Some(fault) = self.faults.get(head.index()).and_then(Option::as_ref)
            && fault.lsn < proven
        {
            let reason =
                format!("the record {}, though everything below LSN {proven} was stable", fault.reason);
            let corruption = Corruption::new(&self.scene.log_path, reason);
            return Err(corruption.at_lsn(fault.lsn).at_offset(fault.file_offset).into());
        }
        let open = self.open_batch.filter(|begin| head == HeadId::FRESH && *begin >= proven);
        Ok(open.unwrap_or(end).max(proven))
    }

    fn proven_point(&self, head: HeadId) -> Lsn {
        self.proven.get(head.index()).copied().unwrap_or_default()
    }

    fn prove(&mut self, stable: &HeadLsns) {
        raise(&mut self.proven, stable);
    }

    /// Returns where the head's log ends, or ended being readable.
    fn scan_head(&mut self, head: HeadId, claims: Vec<Claimed>) -> Result<Lsn> {
        let start = self.starts.get(head.index()).copied().unwrap_or_default();
        let (mut position, mut bytes) = (start, Vec::new());
        for claimed in claims {
            let (_, claim) = claimed;
            let base = self.scene.geometry.base(claim.segment);
            let length = self.length_of(head, &claimed);
            self.read(claimed, length, &mut bytes)?;
            self.reporter.advance(length.into())?;
            let faulted = self.faults.get(head.index()).is_some_and(Option::is_some);
            if faulted {
                self.look_on(claimed, &bytes, SegmentHeader::LENGTH);
                continue;
            }
            if let Err(reason) = self.check_header(claimed, &bytes) {
                self.fault(claimed, base, reason);
                self.look_on(claimed, &bytes, SegmentHeader::LENGTH);
            } else if !self.is_known(head, &claimed) {
                position = self.scan_segment(claimed, &bytes, start)?;
            }
        }
        Ok(position)
    }

    /// Reads the first `length` bytes of a segment; what is behind the end of the file is missing.
    fn read(&self, (slot, _): Claimed, length: u32, into: &mut Vec<u8>) -> Result<()> {
        let offset = self.scene.geometry.file_offset(slot, 0);
        let there = self.scene.bytes_in(slot).min(length.into());
        // At most a segment.
        into.resize(there as usize, 0);
        if there == 0 {
            // The claim is durable and the growth of the file is not. Reading nothing from behind the end is
            // an error.
            return Ok(());
        }
        let read = self.scene.file.read_at(into, offset);
        read.map_err(|error| Error::io("read", &self.scene.log_path, error))
    }

    fn check_header(&mut self, (slot, claim): Claimed, bytes: &[u8]) -> Result<(), &'static str> {
        let header = SegmentHeader::decode(bytes).map_err(SegmentHeaderFault::reason)?;
        if !header.is_of(self.scene.store_id, claim.segment, slot, claim.head) {
            return Err("is in a segment whose header is of another segment");
        }
        self.prove(&header.stable);
        Ok(())
    }

    fn fault(&mut self, (slot, claim): Claimed, lsn: Lsn, reason: &'static str) {
        let offset =
            u32::try_from(lsn.0.saturating_sub(self.scene.geometry.base(claim.segment).0)).unwrap_or(0);
        let file_offset = self.scene.geometry.file_offset(slot, offset);
        if let Some(fault) = self.faults.get_mut(claim.head.index()) {
            *fault = Some(Fault { lsn, file_offset, reason });
        }
    }

    /// Returns the LSN behind the segment's last readable record.
    fn scan_segment(&mut self, claimed: Claimed, bytes: &[u8], start: Lsn) -> Result<Lsn> {
        let (geometry, (_, claim)) = (self.scene.geometry, claimed);
        let resumes = geometry.segment(start) == claim.segment && geometry.offset(start) > 0;
        let from = if resumes { geometry.offset(start) } else { SegmentHeader::LENGTH as u32 };
        let mut position = geometry.lsn(claim.segment, from);
        let mut records = Records::new(bytes, self.seed, claim.segment, from);
        while let Some(item) = records.next() {
            match item {
                Ok((offset, record)) => {
                    let lsn = geometry.lsn(claim.segment, offset);
                    position = Lsn(lsn.0 + record.length as u64);
                    // A record is shorter than a segment.
                    self.deliver(claim.head, Spot { lsn, length: record.length as u32 }, record.kind)?;
                }
                Err(fault) => {
                    self.fault(claimed, position, fault.reason());
                    self.look_on(claimed, bytes, records.offset() as usize);
                    return Ok(position);
                }
            }
        }
        let missing = (bytes.len() as u64) < u64::from(claim.end) && !records.ended();
        if missing {
            self.fault(claimed, position, "is behind the end of the file");
        }
        Ok(position)
    }

    fn deliver(&mut self, head: HeadId, spot: Spot, kind: RecordKind) -> Result<()> {
        match kind {
            RecordKind::Mark { stable, .. } => self.prove(&stable),
            RecordKind::BatchBegin => self.open_batch = Some(spot.lsn),
            RecordKind::BatchEnd { begin } if self.open_batch == Some(begin) => self.open_batch = None,
            RecordKind::BatchEnd { .. } | RecordKind::Cancelled | RecordKind::End => {}
            _ if spot.lsn < self.proven_point(head) => self.replay.apply(spot, &kind)?,
            _ => self.waiting.push((head, spot, kind)),
        }
        Ok(())
    }

    /// Searches for marks behind a place that can't be read, at every byte: nothing says where records begin.
    fn look_on(&mut self, (_, claim): Claimed, bytes: &[u8], from: usize) {
        for at in from..bytes.len().saturating_sub(record::MIN_LENGTH) {
            let rest = bytes.get(at..).unwrap_or_default();
            if !record::may_be_mark(rest) {
                continue;
            }
            // Segments are below 2^26 bytes.
            let seed = self.seed.at(claim.segment, at as u32);
            if let Ok(record::Record { kind: RecordKind::Mark { stable, .. }, .. }) =
                record::decode(rest, seed)
            {
                self.prove(&stable);
            }
        }
    }
}
