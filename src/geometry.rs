//! Conversions between log sequence numbers, segments and byte offsets, all in one place.

use crate::ids::{HeadId, Lsn, SegmentId, SlotId};

/// What a store is created with and keeps: the segment size, what follows from it, and how many heads write
/// segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    segment_size: u32,
    heads: u8,
}

impl Geometry {
    /// The smallest segment: room for its header, a mark, and a few records.
    pub(crate) const MIN_SEGMENT_SIZE: u32 = 512;
    /// The largest segment: offsets inside one have 26 bits in a packed location.
    pub(crate) const MAX_SEGMENT_SIZE: u32 = 1 << 26;

    /// That of a new store.
    pub(crate) const fn new(segment_size: u32) -> Self {
        Self { segment_size, heads: HeadId::COUNT as u8 }
    }

    /// The same, with another number of heads: from 2 to [`HeadId::COUNT`].
    #[must_use]
    pub(crate) const fn with_heads(self, heads: u8) -> Self {
        Self { heads, ..self }
    }

    /// How many heads write segments of the store.
    pub(crate) const fn heads(self) -> u8 {
        self.heads
    }

    pub(crate) const fn segment_size(self) -> u32 {
        self.segment_size
    }

    /// The LSN of a segment's first byte.
    pub(crate) fn base(self, segment: SegmentId) -> Lsn {
        Lsn(segment.0.saturating_mul(u64::from(self.segment_size)))
    }

    /// The LSN at `offset` bytes into a segment.
    pub(crate) fn lsn(self, segment: SegmentId, offset: u32) -> Lsn {
        Lsn(self.base(segment).0.saturating_add(u64::from(offset)))
    }

    /// The segment that an LSN lies in.
    pub(crate) fn segment(self, lsn: Lsn) -> SegmentId {
        SegmentId(lsn.0 / u64::from(self.segment_size))
    }

    /// How far into its segment an LSN lies.
    pub(crate) fn offset(self, lsn: Lsn) -> u32 {
        // The remainder is below a u32.
        (lsn.0 % u64::from(self.segment_size)) as u32
    }

    /// The byte of the log file at `offset` into a slot.
    pub(crate) fn file_offset(self, slot: SlotId, offset: u32) -> u64 {
        u64::from(slot.0) * u64::from(self.segment_size) + u64::from(offset)
    }

    /// The length of a log file of that many slots.
    pub(crate) fn file_length(self, slots: u32) -> u64 {
        u64::from(slots) * u64::from(self.segment_size)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::Geometry;
    use crate::ids::{Lsn, SegmentId, SlotId};

    #[test]
    fn lsn_and_segment_convert_both_ways_for_sizes_that_are_no_power_of_two() {
        let geometry = Geometry::new(1000);
        let lsn = geometry.lsn(SegmentId(7), 321);
        assert_eq!(lsn, Lsn(7321));
        assert_eq!(geometry.segment(lsn), SegmentId(7));
        assert_eq!(geometry.offset(lsn), 321);
        assert_eq!(geometry.file_offset(SlotId(3), 5), 3005);
    }
}
