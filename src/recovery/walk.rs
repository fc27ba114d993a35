//! All that can be read in the bytes of a segment.

use std::ops::ControlFlow;

use crate::format::{Record, RecordKind, RecordSeed, SegmentHeader, record};
use crate::ids::SegmentId;
use crate::log::{Records, Search};

/// What a walk meets.
pub(crate) enum Step<'a> {
    /// A record that verifies, and where it begins.
    Record(u32, Record<'a>),
    /// Bytes that don't, up to the next record that does, or to the end of what is known.
    Unreadable { offset: u32, length: u32, reason: &'static str },
}

/// How a walk has ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Walked {
    /// Where the last record that verifies ends, or the header.
    pub(crate) position: u32,
    /// A record said that nothing follows.
    pub(crate) ended: bool,
}

/// Walks through a segment, of which `bytes` are the beginning, with its header.
pub(crate) fn walk<'a>(
    bytes: &'a [u8],
    seed: RecordSeed,
    segment: SegmentId,
    mut each: impl FnMut(Step<'a>) -> ControlFlow<()>,
) -> Walked {
    let mut walked = Walked { position: SegmentHeader::LENGTH as u32, ended: false };
    let (mut from, mut search) = (Some(walked.position), Search::new(bytes.len()));
    while let Some(start) = from.take() {
        let mut records = Records::new(bytes, seed, segment, start);
        while let Some(item) = records.next() {
            let step = match item {
                Ok((offset, record)) => {
                    walked.position = records.offset();
                    Step::Record(offset, record)
                }
                Err(fault) => {
                    let offset = records.offset();
                    from = search.next_record(bytes, seed, segment, offset + 1);
                    // Segments are below 2^26 bytes.
                    let end = from.unwrap_or(bytes.len() as u32);
                    Step::Unreadable { offset, length: end - offset, reason: fault.reason() }
                }
            };
            if each(step).is_break() {
                return walked;
            }
        }
        if records.ended() {
            walked = Walked { position: records.offset(), ended: true };
        }
    }
    walked
}

/// What bytes that do not verify would be if their checksum were right. `None` unless they are as long as
/// they say.
pub(crate) fn seems_to_be(
    bytes: &[u8],
    seed: RecordSeed,
    segment: SegmentId,
    offset: u32,
    length: u32,
) -> Option<RecordKind> {
    let start = offset as usize;
    let length = length as usize;
    record::claimed_length(bytes.get(start..)?).filter(|claimed| *claimed == length)?;
    let mut copy = bytes.get(start..start + length)?.to_vec();
    let seed = seed.at(segment, offset);
    record::reseal(&mut copy, seed);
    record::decode(&copy, seed).ok().map(|record| record.kind)
}
