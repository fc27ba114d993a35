//! The header of a segment: the first 80 bytes of a slot's present life.
//!
//! ```text
//!  0      4        8            24        32             40     44     45      48                  80
//!  +------+--------+------------+---------+--------------+------+------+-------+-------------------+
//!  | crc  | "PLSG" | store id   | segment | predecessor  | slot | head | zeros | stable LSN of     |
//!  | u32  |        | 16 bytes   | u64     | u64, 0: none | u32  | u8   | 3     | each head, 4 x u64|
//!  +------+--------+------------+---------+--------------+------+------+-------+-------------------+
//! ```
//!
//! It repeats the claim that the manifest holds, so that a lost manifest can be rebuilt by reading all slots.
//! It is never trusted against the manifest:
//!
//! - **A.** The checksum has no seed: a header has to be readable by somebody who does not know yet which
//!   life the slot is in. So a header of an earlier life verifies as well, and the reader compares `segment`
//!   and `slot` with the claim.
//! - **B.** The stable LSNs were true when the header was written and stay true, so they are proof like a
//!   mark. A head writes its segments one after the other, so they rise from one of its headers to the next.

use crate::format::checksum::checksum;
use crate::format::fields::{FieldReader, FieldWriter, HEAD_LSNS_LENGTH};
use crate::format::store_id::StoreId;
use crate::ids::{HeadId, HeadLsns, SegmentId, SlotId};

/// Who a segment is and where it stands in its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) store_id: StoreId,
    pub(crate) segment: SegmentId,
    /// The segment that this head filled before.
    pub(crate) predecessor: Option<SegmentId>,
    pub(crate) slot: SlotId,
    pub(crate) head: HeadId,
    /// What was stable when the header was written.
    pub(crate) stable: HeadLsns,
}

/// Why bytes are not a segment header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentHeaderFault {
    /// Fewer bytes than a header has.
    TooShort,
    /// Something else, or nothing, was written here.
    NotAHeader,
    /// It was a header, and has rotted.
    Checksum,
    /// What is written can't be.
    Invalid(&'static str),
}

impl SegmentHeaderFault {
    /// The end of a sentence that begins with "the segment header".
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::TooShort => "is cut short",
            Self::NotAHeader => "is missing",
            Self::Checksum => "does not match its checksum",
            Self::Invalid(reason) => reason,
        }
    }
}

impl SegmentHeader {
    /// The bytes of a header. The first record follows.
    pub(crate) const LENGTH: usize = 80;

    /// What a header begins with, behind its checksum.
    pub(crate) const MAGIC: [u8; 4] = *b"PLSG";
    const CRC_LENGTH: usize = 4;
    const RESERVED: [u8; 3] = [0; 3];

    pub(crate) fn encode(&self, into: &mut [u8; Self::LENGTH]) {
        let (crc, covered) = into.split_at_mut(Self::CRC_LENGTH);
        FieldWriter::new(covered)
            .bytes(&Self::MAGIC)
            .bytes(&self.store_id.0)
            .u64(self.segment.0)
            .u64(self.predecessor.map_or(0, |segment| segment.0))
            .u32(self.slot.0)
            .u8(self.head.0)
            .bytes(&Self::RESERVED)
            .head_lsns(&self.stable);
        crc.copy_from_slice(&checksum(0, covered).to_le_bytes());
    }

    /// Whether it is the header of that segment, in that slot, as a store has claimed it.
    pub(crate) fn is_of(&self, store_id: StoreId, segment: SegmentId, slot: SlotId, head: HeadId) -> bool {
        (self.store_id, self.segment, self.slot, self.head) == (store_id, segment, slot, head)
    }

    /// Reads the header at the front of `bytes`, which may go on behind it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, SegmentHeaderFault> {
        let bytes = bytes.first_chunk::<{ Self::LENGTH }>().ok_or(SegmentHeaderFault::TooShort)?;
        let mut fields = FieldReader::new(bytes);
        let crc = fields.u32().ok_or(SegmentHeaderFault::TooShort)?;
        let intact = checksum(0, fields.rest()) == crc;
        match (fields.array() == Some(Self::MAGIC), intact) {
            (true, true) => Self::decode_fields(&mut fields),
            (true, false) => Err(SegmentHeaderFault::Checksum),
            (false, _) => Err(SegmentHeaderFault::NotAHeader),
        }
    }

    fn decode_fields(fields: &mut FieldReader<'_>) -> Result<Self, SegmentHeaderFault> {
        let mut parse = || {
            let store_id = StoreId(fields.array()?);
            let (segment, predecessor) = (fields.u64()?, fields.u64()?);
            let (slot, head, reserved) = (fields.u32()?, fields.u8()?, fields.array()?);
            let header = Self {
                store_id,
                segment: SegmentId(segment),
                predecessor: (predecessor != 0).then_some(SegmentId(predecessor)),
                slot: SlotId(slot),
                head: HeadId(head),
                stable: fields.head_lsns()?,
            };
            Some((header, reserved))
        };
        let (header, reserved) = parse().ok_or(SegmentHeaderFault::TooShort)?;
        if header.head.index() >= HeadId::COUNT {
            return Err(SegmentHeaderFault::Invalid("names an impossible head"));
        }
        if header.predecessor.map_or(0, |segment| segment.0) >= header.segment.0 {
            return Err(SegmentHeaderFault::Invalid("names a predecessor that is not older"));
        }
        if reserved != Self::RESERVED {
            return Err(SegmentHeaderFault::Invalid("uses reserved bytes"));
        }
        Ok(header)
    }
}

const _: () =
    assert!(SegmentHeader::LENGTH == 4 + 4 + StoreId::LENGTH + 8 + 8 + 4 + 1 + 3 + HEAD_LSNS_LENGTH);

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::{SegmentHeader, SegmentHeaderFault};
    use crate::format::checksum::checksum;
    use crate::format::store_id::StoreId;
    use crate::ids::{HeadId, Lsn, SegmentId, SlotId};

    /// Computed by another implementation: zlib.
    const GOLDEN_CRC: u32 = 0x4577_E7D4;

    fn header() -> SegmentHeader {
        SegmentHeader {
            store_id: StoreId(*b"0123456789abcdef"),
            segment: SegmentId(0x0102),
            predecessor: Some(SegmentId(0x0101)),
            slot: SlotId(7),
            head: HeadId::RELOCATED,
            stable: [Lsn(1), Lsn(2), Lsn(0), Lsn(4)],
        }
    }

    fn encoded(header: &SegmentHeader) -> [u8; SegmentHeader::LENGTH] {
        let mut bytes = [0xEE; SegmentHeader::LENGTH];
        header.encode(&mut bytes);
        bytes
    }

    fn resealed(mut bytes: [u8; SegmentHeader::LENGTH]) -> [u8; SegmentHeader::LENGTH] {
        let crc = checksum(0, &bytes[4..]);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    #[test]
    fn golden_bytes() {
        let mut expected = GOLDEN_CRC.to_le_bytes().to_vec();
        expected.extend(b"PLSG0123456789abcdef");
        expected.extend([2, 1, 0, 0, 0, 0, 0, 0]);
        expected.extend([1, 1, 0, 0, 0, 0, 0, 0]);
        expected.extend([7, 0, 0, 0, 1, 0, 0, 0]);
        for lsn in [1, 2, 0, 4] {
            expected.extend([lsn, 0, 0, 0, 0, 0, 0, 0]);
        }
        assert_eq!(encoded(&header())[..], expected);
        assert_eq!(SegmentHeader::decode(&expected), Ok(header()));
    }

    #[test]
    fn the_first_segment_of_a_head_has_no_predecessor() {
        let first = SegmentHeader { segment: SegmentId(1), predecessor: None, ..header() };
        assert_eq!(SegmentHeader::decode(&encoded(&first)), Ok(first));
    }

    #[test]
    fn every_flipped_bit_and_every_truncation_is_noticed() {
        let good = encoded(&header());
        for bit in 0..good.len() * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&bad).is_err(), "bit {bit}");
        }
        for length in 0..good.len() {
            assert_eq!(SegmentHeader::decode(&good[..length]), Err(SegmentHeaderFault::TooShort));
        }
    }

    #[test]
    fn faults_tell_nothing_from_rot() {
        assert_eq!(SegmentHeader::decode(&[0; 80]), Err(SegmentHeaderFault::NotAHeader));
        let mut rotten = encoded(&header());
        rotten[79] ^= 1;
        assert_eq!(SegmentHeader::decode(&rotten), Err(SegmentHeaderFault::Checksum));
    }

    #[test]
    fn sealed_nonsense_is_refused() {
        for (at, byte) in [(44, 4), (45, 1), (47, 9), (32, 2), (33, 2)] {
            let mut bytes = encoded(&header());
            bytes[at] = byte;
            let decoded = SegmentHeader::decode(&resealed(bytes));
            assert!(matches!(decoded, Err(SegmentHeaderFault::Invalid(_))), "byte {at}: {decoded:?}");
        }
        let nobody = SegmentHeader { segment: SegmentId(0), predecessor: None, ..header() };
        assert!(matches!(SegmentHeader::decode(&encoded(&nobody)), Err(SegmentHeaderFault::Invalid(_))));
    }

    proptest! {
        #[test]
        fn what_is_read_writes_back_to_the_same_bytes(low in any::<[u8; 32]>(), high in any::<[u8; 16]>(), lsns in any::<[u8; 32]>()) {
            let mut bytes = [0; SegmentHeader::LENGTH];
            bytes[..32].copy_from_slice(&low);
            bytes[4..8].copy_from_slice(b"PLSG");
            bytes[32..48].copy_from_slice(&high);
            bytes[48..].copy_from_slice(&lsns);
            bytes[38..40].fill(0);
            bytes[44] &= 3;
            bytes[45..48].fill(0);
            let bytes = resealed(bytes);
            if let Ok(header) = SegmentHeader::decode(&bytes) {
                prop_assert_eq!(encoded(&header), bytes);
            }
        }
    }
}
