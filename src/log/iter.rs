//! Reading the fresh head in order.

use std::collections::VecDeque;
use std::fmt;

use super::bare::Log;
use super::hold::SegmentInUse;
use super::scan::Records;
use crate::error::{Error, Result};
use crate::format::{RecordKind, SegmentHeader};
use crate::ids::{HeadId, Lsn, SegmentId, SlotId};
use crate::location::{Location, Place};
use crate::segments::SegmentState;

/// An entry of a [`Log`](crate::Log).
///
/// ```
#[doc = include_str!("../docs/bare_log.txt")]
/// # let log = open()?;
/// let lsn = log.append(b"entry")?;
/// let Some(entry) = log.iter_from(lsn)?.next().transpose()? else { unreachable!() };
/// assert_eq!((entry.lsn, &entry.payload[..]), (lsn, &b"entry"[..]));
/// assert_eq!(log.read(entry.location)?, Some(entry.payload));
/// # Ok::<(), pagelog::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogEntry {
    /// Its log sequence number.
    pub lsn: Lsn,
    /// Where it can be read again.
    pub location: Location,
    /// What was appended.
    pub payload: Vec<u8>,
}

/// Entries in the order of their LSNs; see [`Log::iter_from`](crate::Log::iter_from). An error is the last
/// item.
///
/// ```
#[doc = include_str!("../docs/bare_log.txt")]
/// # let log = open()?;
/// log.append(b"one")?;
/// log.append(b"two")?;
/// let mut payloads = Vec::new();
/// for entry in log.iter_from(log.first_lsn())? {
///     payloads.push(entry?.payload);
/// }
/// assert_eq!(payloads, [b"one", b"two"]);
/// # Ok::<(), pagelog::Error>(())
/// ```
pub struct LogIter<'a> {
    log: &'a Log,
    from: Lsn,
    /// Everything below is in the file.
    end: Lsn,
    segments: VecDeque<(SegmentId, SlotId)>,
    entries: VecDeque<LogEntry>,
    /// What comes behind these entries, and is the end.
    error: Option<Error>,
}

impl fmt::Debug for LogIter<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("LogIter")
            .field("from", &self.from)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

fn is_in_use(state: SegmentState) -> bool {
    matches!(state, SegmentState::Active | SegmentState::Sealed)
}

impl<'a> LogIter<'a> {
    pub(super) fn new(log: &'a Log, from: Lsn) -> Self {
        let core = log.core();
        let end = core.ring(HeadId::FRESH).written();
        let (accountant, geometry) = (core.accountant(), core.geometry());
        let bound = accountant.bound();
        let mut segments: Vec<_> = (0..bound)
            .map(SlotId)
            .filter(|slot| is_in_use(accountant.state(*slot)) && accountant.head(*slot) == HeadId::FRESH)
            .map(|slot| (accountant.segment(slot), slot))
            .filter(|(segment, _)| {
                geometry.base(SegmentId(segment.0 + 1)) > from && geometry.base(*segment) < end
            })
            .collect();
        segments.sort_unstable();
        Self { log, from, end, segments: segments.into(), entries: VecDeque::new(), error: None }
    }

    /// Reads all entries of one segment.
    fn load(&mut self, segment: SegmentId, slot: SlotId) -> Result<()> {
        let core = self.log.core();
        let (geometry, accountant) = (core.geometry(), core.accountant());
        let base = geometry.base(segment);
        let own_end =
            if accountant.state(slot) == SegmentState::Sealed { accountant.end(slot) } else { self.end };
        // At most a segment.
        let length =
            own_end.min(self.end).0.saturating_sub(base.0).min(geometry.segment_size().into()) as u32;
        let mut bytes = vec![0; length as usize];
        let read = core.read_slot(Place::new(slot, 0), &mut bytes);
        if accountant.segment(slot) != segment || !is_in_use(accountant.state(slot)) {
            // Reused meanwhile, or cut off, so what was read may be of another life. Without a truncation that
            // happens to a segment in which all entries were aborted.
            return self.log.check_reaches(self.from.max(base));
        }
        read?;
        let found = SegmentInUse { slot, segment, head: HeadId::FRESH, length };
        let mut records = Records::new(&bytes, core.seed(), segment, SegmentHeader::LENGTH as u32);
        while let Some(item) = records.next() {
            let (offset, record) = item.map_err(|fault| {
                core.damage_in(found, records.offset(), format!("the record {}", fault.reason()))
            })?;
            let lsn = geometry.lsn(segment, offset);
            if record.kind == RecordKind::Entry && lsn >= self.from {
                let location = Location { slot, lsn, length: record.length as u32 };
                self.entries.push_back(LogEntry { lsn, location, payload: record.payload.bytes.to_vec() });
            }
        }
        Ok(())
    }
}

impl Iterator for LogIter<'_> {
    type Item = Result<LogEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.entries.pop_front() {
                return Some(Ok(entry));
            }
            if let Some(error) = self.error.take() {
                return Some(Err(error));
            }
            let (segment, slot) = self.segments.pop_front()?;
            if let Err(error) = self.load(segment, slot) {
                self.segments.clear();
                self.error = Some(error);
            }
        }
    }
}
