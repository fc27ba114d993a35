//! How much of a record lies outside of the log, in a byte.
//!
//! A record that points to a file is short, and the page that it holds is not. Whoever weighs a page (when to
//! write it as a whole, what to evict) must know; and whoever declares such a record dead must know that
//! there is a file, without asking anybody. Nodes have a byte to spare, so the size is rounded up to a power
//! of two.

use std::collections::BTreeMap;

use crate::ids::{PageId, Version};

/// The size of a record's file; none for most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bulk(u8);

impl Bulk {
    pub(crate) const NONE: Self = Self(0);

    /// Of a file with so many bytes.
    pub(crate) fn of(bytes: u64) -> Self {
        // At most 64.
        Self(bytes.max(2).checked_next_power_of_two().map_or(64, u64::trailing_zeros) as u8)
    }

    #[inline]
    pub(crate) fn is_some(self) -> bool {
        self != Self::NONE
    }

    /// About so many bytes, up to `u32::MAX`: not less, and less than twice as many.
    #[inline]
    pub(crate) fn bytes(self) -> u32 {
        match self.0 {
            0 => 0,
            power => 1_u32.checked_shl(power.into()).unwrap_or(u32::MAX),
        }
    }
}

/// Of all pages that have records with files: these records by their versions.
pub(crate) type Bulks = BTreeMap<PageId, Vec<(Version, Bulk)>>;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::Bulk;

    #[test]
    fn sizes_are_rounded_up_and_none_is_none() {
        assert_eq!((Bulk::NONE.bytes(), Bulk::NONE.is_some()), (0, false));
        for bytes in [0, 1, 2, 3, 4, 5, 1000, 1 << 30, (1 << 31) - 1] {
            let bulk = Bulk::of(bytes);
            assert!(bulk.is_some());
            assert!(
                u64::from(bulk.bytes()) >= bytes && u64::from(bulk.bytes()) <= (2 * bytes).max(2),
                "{bytes}"
            );
        }
        assert_eq!((Bulk::of(1 << 40).bytes(), Bulk::of(u64::MAX).bytes()), (u32::MAX, u32::MAX));
    }
}
