//! Memory for the pages that recovery finds, in encoded form.
//!
//! Each range has some KiB, until one of its pages is used ([`packed`](super::packed)). Nobody knows what the
//! general allocator would do with the holes that they leave when they go, one here and one there: in a store
//! whose cache is small it has no use for them and keeps them. So what was found is put into regions of its
//! own, one range behind the other, and a region goes back to the system when the last range in it went.
//!
//! - **(A)** Bytes in a region are written once, before anybody else can see them, and never again.
//! - **(B)** A region lives as long as a range that has bytes in it, or the [`RangeMemory`] that fills it.
//!
//! A small store has none: the first few bytes are the general allocator's, and so are ranges that would fill
//! much of a region.

use std::fmt;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::pages::region::{REGION, map, unmap};

/// So much comes from the general allocator before there is a region.
const FEW: usize = 128 << 10;
/// What is larger comes from the general allocator.
const LARGE: usize = REGION / 16;

/// A region that ranges share.
struct Shared(NonNull<u8>);

// SAFETY: memory that nobody else has. What lies in it does not change once another thread can have it (A).
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: from `map`, and the last one who had it is this (B).
        unsafe { unmap(self.0) };
    }
}

/// The pages of a range in encoded form.
pub(crate) struct RangeBytes(Home);

enum Home {
    Own(Box<[u8]>),
    /// In a region, so many bytes from there on.
    Shared {
        region: Arc<Shared>,
        offset: u32,
        length: u32,
    },
}

impl Default for RangeBytes {
    fn default() -> Self {
        Self(Home::Own(Box::default()))
    }
}

impl From<Vec<u8>> for RangeBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Home::Own(bytes.into()))
    }
}

impl Deref for RangeBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Home::Own(bytes) => bytes,
            // SAFETY: `put` has written so many bytes there, inside of the region, and they do not change (A)
            // as long as it lives (B).
            Home::Shared { region, offset, length } => unsafe {
                NonNull::slice_from_raw_parts(region.0.add(*offset as usize), *length as usize).as_ref()
            },
        }
    }
}

impl fmt::Debug for RangeBytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} bytes", self.len())
    }
}

/// Where the bytes of ranges are put.
#[derive(Default)]
pub(crate) struct RangeMemory {
    /// Bytes that went to the general allocator because they were few.
    few: usize,
    /// What is being filled, and how much of it is.
    region: Option<(Arc<Shared>, usize)>,
}

impl fmt::Debug for RangeMemory {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("RangeMemory")
    }
}

impl RangeMemory {
    /// Puts a range's bytes somewhere.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> RangeBytes {
        let is_few = self.few + bytes.len() <= FEW;
        if is_few || bytes.len() > LARGE {
            self.few += if is_few { bytes.len() } else { 0 };
            return RangeBytes(Home::Own(bytes.into()));
        }
        let (region, used) = match self.region.take() {
            Some((region, used)) if used + bytes.len() <= REGION => (region, used),
            _ => (Arc::new(Shared(map())), 0),
        };
        // SAFETY: the rest of the region is long enough and nobody's yet.
        unsafe { region.0.add(used).copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
        self.region = Some((Arc::clone(&region), used + bytes.len()));
        // A region's offsets and lengths fit.
        RangeBytes(Home::Shared { region, offset: used as u32, length: bytes.len() as u32 })
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use std::sync::Arc;

    use super::{FEW, Home, LARGE, RangeBytes, RangeMemory};
    use crate::pages::region::REGION;

    fn region(bytes: &RangeBytes) -> Option<usize> {
        match &bytes.0 {
            Home::Own(_) => None,
            Home::Shared { region, .. } => Some(region.0.addr().get()),
        }
    }

    #[test]
    fn few_bytes_and_large_ranges_take_no_region() {
        let mut memory = RangeMemory::default();
        assert!(memory.put(&[]).is_empty());
        for number in 0..FEW / 4096 {
            let bytes = memory.put(&[number as u8; 4096]);
            assert_eq!((region(&bytes), &*bytes), (None, &[number as u8; 4096][..]));
        }
        let large = memory.put(&vec![7; LARGE + 1]);
        assert_eq!((region(&large), &*large), (None, &vec![7; LARGE + 1][..]));
        assert!(region(&memory.put(&[1])).is_some());
    }

    #[test]
    fn ranges_lie_one_behind_the_other_and_keep_their_bytes() {
        let mut memory = RangeMemory { few: FEW, ..Default::default() };
        // The interpreter takes a microsecond for each byte that is looked at.
        let (large, rounds) = if cfg!(miri) { (5000, 2) } else { (LARGE, 5 * REGION / LARGE) };
        let lengths = [1, 4095, large, 0, 17, 3000];
        let all: Vec<_> = (0..rounds).flat_map(|round| lengths.map(|length| (round as u8, length))).collect();
        let put: Vec<_> = all.iter().map(|(byte, length)| memory.put(&vec![*byte; *length])).collect();
        for ((byte, length), bytes) in all.iter().zip(&put) {
            assert_eq!(bytes.len(), *length);
            assert!(bytes.iter().all(|found| found == byte));
        }
        let bytes: usize = all.iter().map(|(_, length)| length).sum();
        let mut regions: Vec<_> = put.iter().filter_map(region).collect();
        regions.dedup();
        assert_eq!(regions.len(), bytes.div_ceil(REGION - LARGE), "little is left at the end of each");
    }

    #[test]
    fn a_region_goes_when_the_last_range_in_it_does() {
        let mut memory = RangeMemory { few: FEW, ..Default::default() };
        let [first, second] = [1, 2].map(|byte| memory.put(&[byte; 1000]));
        let Home::Shared { region, .. } = &first.0 else { panic!("it has a region") };
        let seen = Arc::downgrade(region);
        drop(memory);
        drop(first);
        assert_eq!(&*second, &[2; 1000]);
        assert!(seen.upgrade().is_some());
        drop(second);
        assert!(seen.upgrade().is_none());
    }
}
