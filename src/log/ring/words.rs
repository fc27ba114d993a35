//! The words by which buffers and segments are named in atomics.

use crate::ids::{SegmentId, SlotId};
use crate::location::Place;
use crate::log::buffer_state::INCARNATION_BITS;

/// How many bits the number of a buffer has.
pub(super) const INDEX_BITS: u32 = 18;
pub(super) const INCARNATION_MASK: u32 = (1 << INCARNATION_BITS) - 1;

/// Names a buffer in one of its lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BufferRef {
    pub(super) index: u32,
    pub(super) incarnation: u32,
}

impl BufferRef {
    pub(super) const fn pack(self) -> u64 {
        ((self.incarnation as u64) << INDEX_BITS) | self.index as u64
    }

    pub(super) const fn unpack(word: u64) -> Self {
        Self {
            index: (word & ((1 << INDEX_BITS) - 1)) as u32,
            incarnation: ((word >> INDEX_BITS) as u32) & INCARNATION_MASK,
        }
    }
}

/// A buffer's link: its own incarnation, and what follows, if anything does yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) own: u32,
    pub(super) next: Option<BufferRef>,
}

impl Link {
    /// `own` (23 bits) | next incarnation (23 bits) | next index + 1 (18 bits, 0 = none)
    pub(super) const fn pack(self) -> u64 {
        let next = match self.next {
            Some(next) => BufferRef { index: next.index + 1, ..next }.pack(),
            None => 0,
        };
        ((self.own as u64) << (INDEX_BITS + INCARNATION_BITS)) | next
    }

    pub(super) const fn unpack(word: u64) -> Self {
        let own = (word >> (INDEX_BITS + INCARNATION_BITS)) as u32;
        let next = BufferRef::unpack(word);
        let next = if next.index == 0 { None } else { Some(BufferRef { index: next.index - 1, ..next }) };
        Self { own, next }
    }
}

const _: () = assert!(INDEX_BITS + 2 * INCARNATION_BITS == 64);

/// A segment that is claimed and not yet begun, as a word; zero is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Armed {
    pub(crate) slot: SlotId,
    pub(crate) segment: SegmentId,
}

impl Armed {
    const SLOT_BITS: u32 = Place::SLOT_LIMIT.ilog2();

    pub(super) const fn pack(self) -> u64 {
        (self.segment.0 << Self::SLOT_BITS) | self.slot.0 as u64
    }

    pub(super) const fn unpack(word: u64) -> Self {
        let slot = SlotId((word & ((1 << Self::SLOT_BITS) - 1)) as u32);
        Self { slot, segment: SegmentId(word >> Self::SLOT_BITS) }
    }
}

const _: () = assert!(Armed::SLOT_BITS + SegmentId::LIMIT.ilog2() == 64);

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Armed, BufferRef, Link};
    use crate::ids::{SegmentId, SlotId};
    use crate::location::Place;

    #[test]
    fn references_and_links_survive_packing_at_both_ends() {
        for index in [0, 1, (1 << 18) - 2] {
            for incarnation in [0, 1, (1 << 23) - 1] {
                let reference = BufferRef { index, incarnation };
                assert_eq!(BufferRef::unpack(reference.pack()), reference);
                for own in [0, 1, (1 << 23) - 1] {
                    for next in [None, Some(reference)] {
                        assert_eq!(Link::unpack(Link { own, next }.pack()), Link { own, next });
                    }
                }
            }
        }
    }

    #[test]
    fn an_armed_segment_survives_packing() {
        for slot in [0, Place::SLOT_LIMIT - 1] {
            for segment in [1, SegmentId::LIMIT - 1] {
                let armed = Armed { slot: SlotId(slot), segment: SegmentId(segment) };
                assert_eq!(Armed::unpack(armed.pack()), armed);
            }
        }
    }
}
