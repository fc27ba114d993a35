//! Where a record lies in the log file, as one word.

use crate::ids::{Lsn, SlotId};

/// Where an entry of a [`Log`](crate::Log) is: what [`Log::read`](crate::Log::read) takes.
///
/// Known as soon as the entry is reserved, and good until the log is truncated beyond it.
///
/// ```
#[doc = include_str!("docs/bare_log.txt")]
/// # let log = open()?;
/// let entry = log.reserve(b"entry")?;
/// let location = entry.location();
/// assert_eq!(entry.complete(), location.lsn());
/// // Kept in an index, it is all that is needed to find the entry.
/// let index = std::collections::HashMap::from([("key", location)]);
/// assert_eq!(log.read(index["key"])?.as_deref(), Some(&b"entry"[..]));
/// # Ok::<(), pagelog::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Location {
    pub(crate) slot: SlotId,
    pub(crate) lsn: Lsn,
    pub(crate) length: u32,
}

impl Location {
    /// The entry's log sequence number.
    #[must_use]
    pub const fn lsn(self) -> Lsn {
        self.lsn
    }
}

/// A record's slot and its offset in the slot's segment, packed in a word that is never zero nor all ones.
///
/// ```text
///  63     62   61..50   49........26   25......0
///  0      1    0        slot           offset
/// ```
///
/// Bit 63 is left to whoever holds the word. The length is not in here: a record keeps its length when it is
/// moved, so the owner of the word holds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub(crate) slot: SlotId,
    pub(crate) offset: u32,
}

impl Place {
    const OFFSET_BITS: u32 = 26;
    const SLOT_BITS: u32 = 24;
    const PRESENT: u64 = 1 << 62;
    /// Slots stay below this: 16 Mi segments, 16 TiB with segments of 1 MiB.
    pub(crate) const SLOT_LIMIT: u32 = 1 << Self::SLOT_BITS;

    pub(crate) const fn new(slot: SlotId, offset: u32) -> Self {
        debug_assert!(slot.0 < Self::SLOT_LIMIT && offset < (1 << Self::OFFSET_BITS));
        Self { slot, offset }
    }

    pub(crate) const fn pack(self) -> u64 {
        Self::PRESENT | ((self.slot.0 as u64) << Self::OFFSET_BITS) | self.offset as u64
    }

    /// The inverse of [`pack`](Self::pack), for words that came from it.
    pub(crate) const fn unpack(word: u64) -> Self {
        Self {
            slot: SlotId(((word >> Self::OFFSET_BITS) & ((1 << Self::SLOT_BITS) - 1)) as u32),
            offset: (word & ((1 << Self::OFFSET_BITS) - 1)) as u32,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::Place;
    use crate::ids::SlotId;

    #[test]
    fn a_place_survives_packing_at_both_ends_of_each_field() {
        for slot in [0, 1, Place::SLOT_LIMIT - 1] {
            for offset in [0, 1, (1 << 26) - 1] {
                let place = Place::new(SlotId(slot), offset);
                assert_eq!(Place::unpack(place.pack()), place);
                assert!(place.pack() != 0 && place.pack() != u64::MAX);
            }
        }
    }
}
