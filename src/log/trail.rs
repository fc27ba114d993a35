//! Following the log: what becomes stable, in order, without a gap.
//!
//! A trail reads the fresh head only. What garbage collection moves goes to other heads and says nothing new,
//! so it is never seen.
//!
//! - **(A) Stable only.** Nothing at or behind the stable LSN is read. What a trail has shown survives every
//!   crash. Since that LSN is never inside a batch, a batch whose begin is shown is there as a whole.
//! - **(B) No gap.** Segments of the fresh head that hold nothing live are used again, so the next one that
//!   is there need not be the next one that was written. Its header names its predecessor: if the trail has
//!   left that behind, it goes on; if not, something is missing, and the answer is `Truncated`, from then on.
//!   Where its predecessor ended a header does not say: what it calls stable was so when the header was
//!   written, with its segment's first buffer, and the predecessor's last records need not have been synced
//!   by then. So whoever comes from within a segment that is gone has missed nothing only if this opening
//!   knows that it ended there.
//! - **(C) A segment is held while it is read**, so what is read is of that segment. Between two reads it is
//!   kept by the trail's *mark* (see `supply/followers`), up to a bound; without one it may be lost, which
//!   (B) notices.
//! - **(D) A segment is over** when the stable LSN lies behind its last byte. Then all of it that counts has
//!   been written, also if recovery has cut it short.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::LogCore;
use super::hold::{Hold, SegmentInUse};
use super::scan::Records;
use crate::error::{Error, Result};
use crate::format::{Payload, RecordKind, SegmentHeader};
use crate::ids::{HeadId, Lsn, SegmentId};
use crate::location::Place;

/// A record that a trail has come by.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) lsn: Lsn,
    pub(crate) kind: RecordKind,
    /// Where it lies.
    pub(crate) place: Place,
    /// Of the whole record.
    pub(crate) length: u32,
    /// What it carries, in the trail's buffer.
    payload: Range<usize>,
    compressed: bool,
    outside: bool,
}

/// The segment that is being read.
#[derive(Clone, Copy, Debug)]
struct Reading {
    segment: SegmentInUse,
    /// Everything before has been shown.
    offset: u32,
}

/// A place in the log from which it is read on as it becomes stable.
#[derive(Debug)]
pub(crate) struct Trail {
    core: Arc<LogCore>,
    /// Records before are not shown.
    from: Lsn,
    /// Everything before has been shown.
    next: Lsn,
    /// Where the batch begins that it is in.
    batch: Option<Lsn>,
    /// All segments up to this one are behind it.
    behind: SegmentId,
    reading: Option<Reading>,
    /// A part of that segment, and where it begins.
    bytes: Vec<u8>,
    start: u32,
    mark: u64,
}

impl Trail {
    /// Begins at `from`, or at what is stable if that is less, and has up to so many bytes kept.
    ///
    /// # Errors
    /// `Truncated` if something from there on is gone.
    pub(crate) fn new(core: &Arc<LogCore>, from: Lsn, keep: u64) -> Result<Self> {
        core.gate().admit_read()?;
        let geometry = core.geometry();
        let stable = core.durability().stable(HeadId::FRESH);
        let from = from.min(stable);
        let segment = geometry.segment(from);
        // Before it is looked at, so that what is found stays (C).
        let most = u32::try_from(keep / u64::from(geometry.segment_size())).unwrap_or(u32::MAX);
        let mark = core.supply().mark(segment, most);
        let (core, bytes, before) = (Arc::clone(core), Vec::new(), SegmentId(segment.0.saturating_sub(1)));
        let mut trail = Self {
            core,
            from,
            next: from,
            batch: None,
            behind: before,
            reading: None,
            bytes,
            start: 0,
            mark,
        };
        let found = trail.segments().find(|found| found.segment == segment);
        let ended = trail.core.opened_at();
        // Recovery gives up a segment without live records, also the one that it has cut.
        let was_last = geometry.offset(ended) > 0 && geometry.segment(ended) == segment && from >= ended;
        if found.is_none() && (from == stable || was_last) {
            // There is nothing in it that is not behind it.
            trail.behind = segment;
        }
        trail.reading = found.map(|segment| Reading { segment, offset: SegmentHeader::LENGTH as u32 });
        if found.is_none() && from < stable {
            // Says at once if what comes first is gone.
            trail.go_on(stable)?;
        }
        Ok(trail)
    }

    /// Where to begin another time so as to miss nothing and to see nothing twice; in a batch, that is the
    /// batch's begin.
    pub(crate) fn position(&self) -> Lsn {
        self.batch.unwrap_or(self.next)
    }

    pub(crate) fn core(&self) -> &Arc<LogCore> {
        &self.core
    }

    /// What a record carries. Only for the step that was made last.
    pub(crate) fn payload(&self, step: &Step) -> Payload<'_> {
        let bytes = self.bytes.get(step.payload.clone()).unwrap_or_default();
        Payload { bytes, compressed: step.compressed, outside: step.outside }
    }

    /// As [`try_step`](Self::try_step), but waits for something to become stable, for so long at most.
    ///
    /// # Errors
    /// Also `Poisoned` or `Closed` if nothing more will.
    pub(crate) fn step(&mut self, patience: Duration) -> Result<Option<Step>> {
        let began = Instant::now();
        loop {
            let seen = self.core.durability().stable(HeadId::FRESH);
            if let Some(step) = self.try_step()? {
                return Ok(Some(step));
            }
            let left = patience.saturating_sub(began.elapsed());
            let gate = self.core.gate();
            if self.core.durability().stable(HeadId::FRESH) <= seen {
                gate.check_poison()?;
                if left.is_zero() {
                    return Ok(None);
                }
                self.core.durability().wait_beyond(seen, left, || gate.check_poison().is_err());
            }
        }
    }

    /// The next record with a meaning that is stable, if there is one.
    ///
    /// # Errors
    /// `Truncated`, `Corruption`, `Io`, `Closed`.
    pub(crate) fn try_step(&mut self) -> Result<Option<Step>> {
        self.core.gate().admit_read()?;
        loop {
            while let Some(step) = self.decode()? {
                match step.kind {
                    _ if step.lsn < self.from => continue,
                    RecordKind::Mark { .. } | RecordKind::Cancelled | RecordKind::End => continue,
                    RecordKind::BatchBegin => self.batch = Some(step.lsn),
                    // If it began before the trail did, nobody has heard of it.
                    RecordKind::BatchEnd { .. } if self.batch.take().is_none() => continue,
                    _ => {}
                }
                return Ok(Some(step));
            }
            if !self.load()? {
                return Ok(None);
            }
        }
    }

    /// The next record in the buffer.
    fn decode(&mut self) -> Result<Option<Step>> {
        let Some(Reading { segment, offset }) = self.reading else { return Ok(None) };
        let at = offset.saturating_sub(self.start) as usize;
        let Some(rest) = self.bytes.get(at..) else { return Ok(None) };
        let (seed, geometry) = (self.core.seed(), self.core.geometry());
        let Some(found) = Records::of_part(rest, offset, seed, segment.segment).next() else {
            return Ok(None);
        };
        let (_, record) = found.map_err(|fault| {
            self.core.damage_in(segment, offset, format!("the record {}", fault.reason()))
        })?;
        // A record is shorter than a segment.
        let (length, end) = (record.length as u32, at + record.length);
        let lsn = geometry.lsn(segment.segment, offset);
        let Payload { bytes, compressed, outside } = record.payload;
        let step = Step {
            lsn,
            kind: record.kind,
            place: Place::new(segment.slot, offset),
            length,
            // It is the last part of a record.
            payload: end - bytes.len()..end,
            compressed,
            outside,
        };
        self.reading = Some(Reading { segment, offset: offset + length });
        self.next = Lsn(lsn.0 + u64::from(length)).max(self.from);
        Ok(Some(step))
    }

    /// Reads what has become stable since. False if there is nothing.
    fn load(&mut self) -> Result<bool> {
        let stable = self.core.durability().stable(HeadId::FRESH);
        let Some(Reading { segment, offset }) = self.reading else { return self.go_on(stable) };
        let geometry = self.core.geometry();
        let (base, end) = (geometry.base(segment.segment), geometry.base(SegmentId(segment.segment.0 + 1)));
        // Both at most a segment.
        let known = self.start + self.bytes.len() as u32;
        let limit = stable.min(end).0.saturating_sub(base.0) as u32;
        if limit > known.max(offset) && self.read(segment, offset, limit)? {
            return Ok(true);
        }
        if stable < end {
            return Ok(false);
        }
        self.behind = segment.segment;
        self.reading = None;
        self.next = end.max(self.from);
        self.go_on(stable)
    }

    /// Reads a segment from `offset` up to `limit`, or to the end of what counts in it (C). False if there is
    /// nothing.
    fn read(&mut self, segment: SegmentInUse, offset: u32, limit: u32) -> Result<bool> {
        let hold = Hold::segment(&self.core, segment.slot, segment.segment);
        let found = hold.as_ref().and_then(|_| self.core.segment_in_use(segment.slot));
        let Some(found) = found else { return Err(self.gap()) };
        let limit = limit.min(found.length);
        if limit <= offset {
            return Ok(false);
        }
        self.start = offset;
        self.bytes.clear();
        self.bytes.resize((limit - offset) as usize, 0);
        self.core.read_slot(Place::new(segment.slot, offset), &mut self.bytes)?;
        Ok(true)
    }

    /// Goes on to the next segment (B). False if there is none yet.
    fn go_on(&mut self, stable: Lsn) -> Result<bool> {
        self.bytes.clear();
        self.start = 0;
        let geometry = self.core.geometry();
        let begun = |found: &SegmentInUse| geometry.base(found.segment) < stable;
        let Some(next) = self.segments().find(|found| found.segment > self.behind && begun(found)) else {
            return Ok(false);
        };
        let predecessor = self.predecessor(next)?.ok_or_else(|| self.gap())?;
        if predecessor > self.behind {
            return Err(self.gap());
        }
        self.core.supply().move_mark(&self.core, self.mark, Some(next.segment));
        self.reading = Some(Reading { segment: next, offset: SegmentHeader::LENGTH as u32 });
        Ok(true)
    }

    /// The segments of the fresh head that are there, the oldest first.
    fn segments(&self) -> impl DoubleEndedIterator<Item = SegmentInUse> + use<> {
        let mut segments: Vec<_> =
            self.core.segments_in_use().filter(|segment| segment.head == HeadId::FRESH).collect();
        segments.sort_unstable_by_key(|found| found.segment);
        segments.into_iter()
    }

    /// What the fresh head filled before a segment; 0 if that is the first. `None` if the segment is gone.
    fn predecessor(&self, segment: SegmentInUse) -> Result<Option<SegmentId>> {
        let Some(_hold) = Hold::segment(&self.core, segment.slot, segment.segment) else { return Ok(None) };
        let mut header = [0; SegmentHeader::LENGTH];
        self.core.read_slot(Place::new(segment.slot, 0), &mut header)?;
        Ok(Some(self.core.check_header(segment, &header)?.predecessor.unwrap_or(SegmentId(0))))
    }

    /// What is said when something is missing: where the log is whole from.
    #[cold]
    fn gap(&self) -> Error {
        let newest_first: Vec<_> = self.segments().rev().collect();
        let mut first = self.core.durability().stable(HeadId::FRESH);
        for (at, segment) in newest_first.iter().enumerate() {
            first = first.min(self.core.geometry().base(segment.segment));
            let before = newest_first.get(at + 1).map(|before| before.segment);
            match self.predecessor(*segment) {
                Ok(predecessor) if predecessor.is_some() && predecessor == before => {}
                _ => break,
            }
        }
        Error::Truncated { first }
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        self.core.supply().move_mark(&self.core, self.mark, None);
    }
}
