//! Finding segments without a manifest, by their headers.
//!
//! A header says in which slot it is, and lies at its slot's number times the segment size. So each one but
//! that of slot 0 tells the segment size. Bytes that look like a header may be a user's, so the size (and the
//! store) that most headers agree upon is taken.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::format::{Claim, SegmentHeader, StoreId};
use crate::geometry::Geometry;
use crate::ids::SlotId;
use crate::location::Place;
use crate::storage::StorageFile;

/// Where the magic number is in a header.
const MAGIC_AT: usize = 4;
/// So many bytes are searched at a time.
const PIECE: usize = 1 << 20;
/// With so many headers that agree, the search is over.
const ENOUGH: u32 = 16;

/// The log file.
pub(crate) struct LogBytes<'a> {
    pub(crate) file: &'a dyn StorageFile,
    pub(crate) length: u64,
    pub(crate) path: &'a str,
}

impl LogBytes<'_> {
    fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        let there = self.length.saturating_sub(offset).min(length as u64);
        let mut bytes = vec![0; there as usize];
        if there > 0 {
            let read = self.file.read_at(&mut bytes, offset);
            read.map_err(|error| Error::io("read", self.path, error))?;
        }
        Ok(bytes)
    }

    fn header(&self, offset: u64) -> Option<SegmentHeader> {
        SegmentHeader::decode(&self.read(offset, SegmentHeader::LENGTH).ok()?).ok()
    }

    /// The store and the segment size that most headers agree upon. The size is `None` if there is only a
    /// first slot.
    pub(crate) fn guess(&self) -> Result<Option<(StoreId, Option<u32>)>> {
        let mut votes: BTreeMap<([u8; StoreId::LENGTH], u32), u32> = BTreeMap::new();
        let mut start = 0;
        while start < self.length {
            let bytes = self.read(start, PIECE + MAGIC_AT + SegmentHeader::MAGIC.len())?;
            for at in places_of(&bytes, &SegmentHeader::MAGIC)
                .filter(|at| *at >= MAGIC_AT && *at < PIECE + MAGIC_AT)
            {
                let offset = start + (at - MAGIC_AT) as u64;
                let Some(header) = self.header(offset) else { continue };
                let Some(size) = size_by(offset, header.slot) else { continue };
                let vote = votes.entry((header.store_id.0, size)).or_default();
                *vote += 1;
                if *vote >= ENOUGH {
                    return Ok(Some((header.store_id, Some(size))));
                }
            }
            start += PIECE as u64;
        }
        let best = votes.into_iter().max_by_key(|(_, votes)| *votes);
        Ok(match best {
            Some(((store_id, size), _)) => Some((StoreId(store_id), Some(size))),
            None => {
                self.header(0).filter(|header| header.slot == SlotId(0)).map(|header| (header.store_id, None))
            }
        })
    }

    /// The segments that headers speak of.
    pub(crate) fn claims(&self, store_id: StoreId, segment_size: u32) -> BTreeMap<SlotId, Claim> {
        let geometry = Geometry::new(segment_size);
        let slots = self.length.div_ceil(u64::from(segment_size)).min(u64::from(Place::SLOT_LIMIT));
        let claim = |slot: SlotId| {
            let SegmentHeader { segment, head, predecessor, .. } = self
                .header(geometry.file_offset(slot, 0))
                .filter(|header| header.store_id == store_id && header.slot == slot)?;
            // Its LSNs are numbers, too.
            segment.0.checked_add(1)?.checked_mul(u64::from(segment_size))?;
            Some((slot, Claim { segment, head, predecessor, end: segment_size }))
        };
        // Below the limit.
        (0..slots as u32).map(SlotId).filter_map(claim).collect()
    }
}

/// The segment size, if a header of that slot is at that place.
fn size_by(offset: u64, slot: SlotId) -> Option<u32> {
    let slot = u64::from(slot.0);
    let size = offset.checked_div(slot).filter(|size| size * slot == offset)?;
    let size = u32::try_from(size).ok()?;
    (Geometry::MIN_SEGMENT_SIZE..=Geometry::MAX_SEGMENT_SIZE).contains(&size).then_some(size)
}

fn places_of<'a>(bytes: &'a [u8], wanted: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    bytes.windows(wanted.len()).enumerate().filter(move |(_, window)| *window == wanted).map(|(at, _)| at)
}
