//! The records of one segment, one after another, and what lies behind a damaged one.

use crate::format::record::{self, MIN_LENGTH};
use crate::format::{Record, RecordFault, RecordKind, RecordSeed};
use crate::ids::SegmentId;

/// How many times its own length a segment is read at most in searching for records behind damaged ones.
const SEARCH: usize = 64;

/// The search in one segment for records behind damaged ones. Nothing says where these could be, so every
/// byte is tried; but what has the looks of a long record everywhere would take a time that grows with the
/// square of the segment. So all searches in a segment together have a bound.
#[derive(Debug)]
pub(crate) struct Search {
    budget: usize,
}

impl Search {
    /// For a segment of which so many bytes are there.
    pub(crate) fn new(length: usize) -> Self {
        Self { budget: SEARCH * length }
    }

    /// Where the next record that verifies begins, at `from` bytes into the segment or later; `bytes` are its
    /// beginning. `None` if there is none, or the search is given up.
    pub(crate) fn next_record(
        &mut self,
        bytes: &[u8],
        seed: RecordSeed,
        segment: SegmentId,
        from: u32,
    ) -> Option<u32> {
        for at in from as usize..bytes.len().saturating_sub(MIN_LENGTH - 1) {
            let rest = bytes.get(at..).unwrap_or_default();
            let Some(length) = record::claimed_length(rest) else { continue };
            self.budget = self.budget.checked_sub(length)?;
            // Segments are below 2^26 bytes.
            let offset = at as u32;
            if record::decode(rest, seed.at(segment, offset)).is_ok() {
                return Some(offset);
            }
        }
        None
    }
}

/// Walks the records in the bytes of a segment.
///
/// Ends behind a segment's end record, or where the rest is too short for any record. A fault is yielded
/// once, with the offset of the record that has it, and ends the walk: nothing says how long a damaged record
/// is.
#[derive(Debug)]
pub(crate) struct Records<'a> {
    /// A part of the segment, up to the end of what may be valid.
    bytes: &'a [u8],
    /// Where that part begins in the segment.
    start: usize,
    seed: RecordSeed,
    segment: SegmentId,
    offset: usize,
    done: bool,
    ended: bool,
}

impl<'a> Records<'a> {
    /// Begins at `offset` bytes into the segment, of which `bytes` are the beginning.
    pub(crate) fn new(bytes: &'a [u8], seed: RecordSeed, segment: SegmentId, offset: u32) -> Self {
        Self { bytes, start: 0, seed, segment, offset: offset as usize, done: false, ended: false }
    }

    /// Begins at `start` bytes into the segment, of which `bytes` are what lies there.
    pub(crate) fn of_part(bytes: &'a [u8], start: u32, seed: RecordSeed, segment: SegmentId) -> Self {
        let start = start as usize;
        Self { bytes, start, seed, segment, offset: start, done: false, ended: false }
    }

    /// Where the next record begins.
    pub(crate) fn offset(&self) -> u32 {
        // Segments are below 2^26 bytes.
        self.offset as u32
    }

    /// Whether the walk has met the record that ends a segment.
    pub(crate) fn ended(&self) -> bool {
        self.ended
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<(u32, Record<'a>), RecordFault>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.bytes.get(self.offset - self.start..).unwrap_or_default();
        if self.done || rest.len() < MIN_LENGTH {
            return None;
        }
        let offset = self.offset();
        match record::decode(rest, self.seed.at(self.segment, offset)) {
            Ok(Record { kind: RecordKind::End, length, .. }) => {
                self.offset += length;
                self.done = true;
                self.ended = true;
                None
            }
            Ok(record) => {
                self.offset += record.length;
                Some(Ok((offset, record)))
            }
            Err(fault) => {
                self.done = true;
                Some(Err(fault))
            }
        }
    }
}
