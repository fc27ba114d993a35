//! Checksums, and the seeds that tie them to a place.
//!
//! A slot of the log is written many times over the years, and nothing wipes what an earlier life left
//! behind. The store must still never take old bytes for a record. So the checksum of a record does not start
//! from a constant but from a *seed* made of the store, the segment and the offset:
//!
//! - **A.** For fixed bytes, CRC-32 maps different initial states to different results. So bytes that verify
//!   under one seed verify under no other seed, for certain and not only with probability.
//! - **B.** What lies at one offset of one slot was written at that offset in every life of the slot. Two
//!   lives differ in their segment id only, and an odd multiplier permutes the 32-bit numbers. So two lives
//!   have the same seed at an offset only if their ids are equal modulo 2³².
//! - **C.** Bytes that were moved to another offset, segment or store by mistake do not verify, except by a
//!   chance of 2⁻³².
//!
//! Snapshots use the same seeds, with the serial number in the place of the segment and the block in the
//! place of the offset.

use crc32fast::Hasher;

use crate::format::store_id::StoreId;
use crate::ids::SegmentId;

/// The CRC-32 (as in zlib) of `bytes`, begun from `seed`.
#[inline]
pub(crate) fn checksum(seed: u32, bytes: &[u8]) -> u32 {
    let mut hasher = Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}

/// What all seeds of one store share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordSeed {
    store_seed: u32,
}

impl RecordSeed {
    const SEGMENT_MULTIPLIER: u32 = 0x9E37_79B1;
    const OFFSET_MULTIPLIER: u32 = 0x85EB_CA6B;

    pub(crate) fn new(store_id: StoreId) -> Self {
        Self { store_seed: checksum(0, &store_id.0) }
    }

    /// The seed of the record that begins `offset` bytes into `segment`.
    #[inline]
    pub(crate) const fn at(self, segment: SegmentId, offset: u32) -> u32 {
        // The upper half of a segment id is left out on purpose: see B.
        self.store_seed
            ^ (segment.0 as u32).wrapping_mul(Self::SEGMENT_MULTIPLIER)
            ^ offset.wrapping_mul(Self::OFFSET_MULTIPLIER)
    }
}

const _: () = assert!(RecordSeed::SEGMENT_MULTIPLIER % 2 == 1 && RecordSeed::OFFSET_MULTIPLIER % 2 == 1);

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::HashSet;

    use super::{RecordSeed, checksum};
    use crate::format::store_id::StoreId;
    use crate::ids::SegmentId;

    #[test]
    fn the_checksum_is_the_well_known_one() {
        assert_eq!(checksum(0, b"123456789"), 0xCBF4_3926);
        assert_eq!(checksum(checksum(0, b"1234"), b"56789"), 0xCBF4_3926);
    }

    #[test]
    fn seeds_are_frozen() {
        let seed = RecordSeed::new(StoreId(*b"0123456789abcdef"));
        assert_eq!(seed.at(SegmentId(0), 0), 0x68C4_F033);
        assert_eq!(seed.at(SegmentId(7), 80), 0xE2EF_E294);
        assert_eq!(seed.at(SegmentId(1), 80), seed.at(SegmentId((1 << 32) + 1), 80));
    }

    #[test]
    fn lives_of_a_slot_have_different_seeds_at_every_offset() {
        let seed = RecordSeed::new(StoreId([7; 16]));
        for offset in [0, 80, 81, 4096, (1 << 26) - 1] {
            let seeds: HashSet<u32> = (1..10_000).map(|life| seed.at(SegmentId(life), offset)).collect();
            assert_eq!(seeds.len(), 9_999);
        }
    }

    #[test]
    fn the_same_bytes_never_verify_under_two_seeds() {
        let sums: HashSet<u32> = (0..10_000).map(|seed| checksum(seed, b"the same bytes")).collect();
        assert_eq!(sums.len(), 10_000);
    }
}
