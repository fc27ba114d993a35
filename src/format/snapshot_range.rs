//! The pages of one range, as bytes: in a block of a [`snapshot`](crate::format::snapshot), and in memory
//! until one of them is used.
//!
//! ```text
//!  page id     varint  the first counted from the range's first page, then the difference to the page before
//!  shape       varint  2 x number of links, + 1 if the page is free
//!  version     varint  of the base record
//!  age         varint  version of the base - version of the birth
//!  base        record
//!  links       records, oldest first, versions counting up from the base
//!
//!  record:     LSN     varint  zigzag difference to the record before in this range, to 0 at its start
//!              length  varint
//! ```
//!
//! Nothing in it depends on which range it is or where it lies, so the bytes of a range that has not changed
//! are copied as they are.

use std::mem;

use crate::format::fields::FieldReader;
use crate::format::record;
use crate::format::snapshot::{SnapshotBase, SnapshotRecord};
use crate::format::varint;
use crate::geometry::Geometry;
use crate::ids::{Lsn, PageId, RangeId, Version};

type Reason = &'static str;

const IMPOSSIBLE: Reason = "a range holds an impossible page";

/// Maps differences, which are small in either direction, to small numbers.
const fn zigzag(from: Lsn, to: Lsn) -> u64 {
    let difference = to.0.wrapping_sub(from.0) as i64;
    ((difference << 1) ^ (difference >> 63)) as u64
}

/// The inverse of [`zigzag`].
const fn unzigzag(from: Lsn, number: u64) -> Lsn {
    Lsn(from.0.wrapping_add((number >> 1) ^ (number & 1).wrapping_neg()))
}

/// Appends the pages of one range to a buffer.
#[derive(Clone, Debug)]
pub(crate) struct RangeEncoder {
    /// The page before; the first of the range at its start.
    previous_id: PageId,
    /// The record before; 0 at the start.
    previous_lsn: Lsn,
}

impl RangeEncoder {
    pub(crate) fn new(range: RangeId) -> Self {
        Self { previous_id: range.first(), previous_lsn: Lsn(0) }
    }

    /// Adds a page of the range. Page ids rise from call to call; links go from the oldest to the newest.
    pub(crate) fn page(
        &mut self,
        into: &mut Vec<u8>,
        base: &SnapshotBase,
        links: impl ExactSizeIterator<Item = SnapshotRecord>,
    ) {
        debug_assert!(base.age <= base.version.0 && (links.len() == 0 || !base.free));
        debug_assert!(base.page_id >= self.previous_id, "page ids rise");
        let shape = (links.len() as u64) << 1 | u64::from(base.free);
        let difference = base.page_id.0 - self.previous_id.0;
        self.previous_id = base.page_id;
        let mut numbers = [0; 6 * varint::MAX_LENGTH];
        let mut end = 0;
        for number in [difference, shape, base.version.0, base.age] {
            end = varint::put(&mut numbers, end, number);
        }
        end = self.put_record(&mut numbers, end, base.record);
        into.extend_from_slice(numbers.get(..end).unwrap_or_default());
        for link in links {
            let end = self.put_record(&mut numbers, 0, link);
            into.extend_from_slice(numbers.get(..end).unwrap_or_default());
        }
    }

    /// Returns the position behind it.
    fn put_record(&mut self, numbers: &mut [u8], at: usize, record: SnapshotRecord) -> usize {
        let previous = mem::replace(&mut self.previous_lsn, record.lsn);
        let middle = varint::put(numbers, at, zigzag(previous, record.lsn));
        varint::put(numbers, middle, u64::from(record.length))
    }
}

/// A page of a range.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotPage<'a> {
    pub(crate) base: SnapshotBase,
    /// The links on top of the base, oldest first; the n-th has the base's version plus n, counted from 1.
    pub(crate) links: SnapshotLinks<'a>,
}

/// The links of a page. All of them are there: that was looked at when the page was read.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotLinks<'a> {
    fields: FieldReader<'a>,
    previous_lsn: Lsn,
    left: usize,
}

impl Iterator for SnapshotLinks<'_> {
    type Item = SnapshotRecord;

    #[inline]
    fn next(&mut self) -> Option<SnapshotRecord> {
        self.left = self.left.checked_sub(1)?;
        decode_record(&mut self.fields, &mut self.previous_lsn)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for SnapshotLinks<'_> {}

/// Walks through the pages of a range. Allocates nothing, and ends after the first fault.
#[derive(Clone, Debug)]
pub(crate) struct RangePages<'a> {
    fields: FieldReader<'a>,
    /// The lowest id that the next page can have.
    lowest_id: PageId,
    /// The page before, which differences are taken to.
    previous_id: PageId,
    end_id: PageId,
    previous_lsn: Lsn,
}

impl<'a> RangePages<'a> {
    pub(crate) fn new(range: RangeId, bytes: &'a [u8]) -> Self {
        Self {
            fields: FieldReader::new(bytes),
            lowest_id: range.first(),
            previous_id: range.first(),
            end_id: range.end(),
            previous_lsn: Lsn(0),
        }
    }

    /// Difference, shape, version and age of the next page.
    #[inline]
    fn decode_start(&mut self) -> Option<[u64; 4]> {
        // They mostly are small, and then take a byte each.
        if let Some((start, rest)) = self.fields.rest().split_first_chunk::<4>()
            && u32::from_le_bytes(*start) & 0x8080_8080 == 0
        {
            self.fields = FieldReader::new(rest);
            return Some(start.map(u64::from));
        }
        let mut number = || self.fields.varint();
        Some([number()?, number()?, number()?, number()?])
    }

    #[inline]
    fn decode_page(&mut self) -> Option<SnapshotPage<'a>> {
        let [difference, shape, version, age] = self.decode_start()?;
        let page_id = PageId(self.previous_id.0.checked_add(difference)?);
        if page_id < self.lowest_id || page_id >= self.end_id || age > version {
            return None;
        }
        let (free, links) = (shape & 1 == 1, shape >> 1);
        version.checked_add(links)?;
        if free && links != 0 {
            return None;
        }
        let record = decode_record(&mut self.fields, &mut self.previous_lsn)?;
        let first_link = SnapshotLinks {
            fields: self.fields.clone(),
            previous_lsn: self.previous_lsn,
            left: usize::try_from(links).ok()?,
        };
        for _ in 0..links {
            // Each takes bytes, so a count that is a lie ends here soon.
            decode_record(&mut self.fields, &mut self.previous_lsn)?;
        }
        self.previous_id = page_id;
        self.lowest_id = PageId(page_id.0 + 1);
        let base = SnapshotBase { page_id, free, version: Version(version), age, record };
        Some(SnapshotPage { base, links: first_link })
    }
}

impl<'a> Iterator for RangePages<'a> {
    type Item = Result<SnapshotPage<'a>, Reason>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.fields.rest().is_empty() {
            return None;
        }
        let page = self.decode_page();
        if page.is_none() {
            self.fields = FieldReader::new(&[]);
        }
        Some(page.ok_or(IMPOSSIBLE))
    }
}

#[inline]
fn decode_record(fields: &mut FieldReader<'_>, previous_lsn: &mut Lsn) -> Option<SnapshotRecord> {
    const LENGTHS: std::ops::RangeInclusive<u32> = record::MIN_LENGTH as u32..=Geometry::MAX_SEGMENT_SIZE;
    let lsn = unzigzag(*previous_lsn, fields.varint()?);
    let length = u32::try_from(fields.varint()?).ok().filter(|length| LENGTHS.contains(length))?;
    *previous_lsn = lsn;
    Some(SnapshotRecord { lsn, length })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};

    use super::{RangeEncoder, RangePages, unzigzag, zigzag};
    use crate::format::snapshot::{SnapshotBase, SnapshotRecord};
    use crate::ids::{Lsn, PageId, RangeId, Version};

    type Page = (SnapshotBase, Vec<SnapshotRecord>);

    const RANGE: RangeId = RangeId(3);

    fn written(range: RangeId, pages: &[Page]) -> Vec<u8> {
        let (mut encoder, mut bytes) = (RangeEncoder::new(range), Vec::new());
        for (base, links) in pages {
            encoder.page(&mut bytes, base, links.iter().copied());
        }
        bytes
    }

    fn read(range: RangeId, bytes: &[u8]) -> Result<Vec<Page>, &'static str> {
        RangePages::new(range, bytes)
            .map(|page| {
                let page = page?;
                assert_eq!(page.links.len(), page.links.clone().count());
                Ok((page.base, page.links.collect()))
            })
            .collect()
    }

    fn record(lsn: u64) -> SnapshotRecord {
        SnapshotRecord { lsn: Lsn(lsn), length: 60 }
    }

    #[test]
    fn golden_bytes() {
        let base = |offset, free, lsn| SnapshotBase {
            page_id: PageId(RANGE.first().0 + offset),
            free,
            version: Version(3),
            age: 2,
            record: record(lsn),
        };
        let pages = [
            (base(0, false, 1000), vec![]),
            (base(3, false, 1000), vec![record(1060), record(900)]),
            (base(4, true, 1000), vec![]),
        ];
        let expected: [&[u8]; 3] = [
            &[0, 0, 3, 2, 0xD0, 0x0F, 60],
            &[3, 4, 3, 2, 0, 60, 120, 60, 0xBF, 2, 60],
            &[1, 1, 3, 2, 0xC8, 1, 60],
        ];
        assert_eq!(written(RANGE, &pages), expected.concat());
        assert_eq!(read(RANGE, &expected.concat()), Ok(pages.to_vec()));
    }

    #[test]
    fn small_differences_are_small_numbers() {
        assert_eq!(zigzag(Lsn(10), Lsn(10)), 0);
        assert_eq!(zigzag(Lsn(10), Lsn(9)), 1);
        assert_eq!(zigzag(Lsn(10), Lsn(11)), 2);
    }

    #[test]
    fn nonsense_is_refused_without_trust_in_its_counts() {
        let most = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1];
        let nonsense: [&[&[u8]]; 12] = [
            // Page id, shape, version, age, LSN, length.
            &[&[1, 0, 9, 9, 2]],
            &[&[1], &most, &[9, 9, 2, 60]],
            &[&[1, 2, 9, 9, 2, 60]],
            &[&[1, 3, 9, 9, 2, 60, 2, 60]],
            &[&[1, 0, 9, 10, 2, 60]],
            &[&[1, 0, 9, 9, 2, 5]],
            &[&[1, 0, 9, 9, 2, 0x81, 0x80, 0x80, 0x20]],
            &[&[1, 2], &most, &[9, 2, 60, 2, 60]],
            &[&most, &[0, 9, 9, 2, 60]],
            // The same page again, and one behind the range.
            &[&[1, 0, 9, 9, 2, 60, 0, 0, 9, 9, 2, 60]],
            &[&[RangeId::PAGES as u8 | 0x80, 2, 0, 9, 9, 2, 60]],
            &[&[1, 0, 9, 9, 2, 60, 0x80, 0, 0, 9, 9, 2, 60]],
        ];
        for body in nonsense {
            let bytes = body.concat();
            let mut pages = RangePages::new(RANGE, &bytes);
            assert!(pages.any(|page| page.is_err()), "{body:?}");
            assert!(pages.next().is_none());
        }
    }

    fn any_pages() -> impl Strategy<Value = Vec<Page>> {
        let record = || (any::<u64>(), 6_u32..1 << 26).prop_map(|(lsn, length)| (Lsn(lsn), length));
        let page = (any::<bool>(), 0..u64::MAX / 2, any::<u64>(), record(), vec(record(), 0..20));
        btree_map(RANGE.first().0..RANGE.end().0, page, 0..8).prop_map(|pages| {
            let record = |(lsn, length)| SnapshotRecord { lsn, length };
            let page = |(page_id, (free, version, age, base, links)): (u64, (bool, u64, u64, _, Vec<_>))| {
                let (page_id, age) = (PageId(page_id), age % (version + 1));
                let base =
                    SnapshotBase { page_id, free, version: Version(version), age, record: record(base) };
                (base, if free { vec![] } else { links.into_iter().map(record).collect() })
            };
            pages.into_iter().map(page).collect()
        })
    }

    proptest! {
        #[test]
        fn zigzag_is_a_permutation(from in any::<u64>(), to in any::<u64>()) {
            let (from, to) = (Lsn(from), Lsn(to));
            prop_assert_eq!(unzigzag(from, zigzag(from, to)), to);
            prop_assert_eq!(zigzag(from, unzigzag(from, to.0)), to.0);
        }

        #[test]
        fn any_pages_come_back(pages in any_pages()) {
            prop_assert_eq!(read(RANGE, &written(RANGE, &pages)), Ok(pages));
        }

        #[test]
        fn whatever_is_read_writes_back_to_the_same_bytes(bytes in vec(0..12_u8, 0..60)) {
            if let Ok(pages) = read(RANGE, &bytes) {
                prop_assert!(pages.windows(2).all(|pair| pair[0].0.page_id < pair[1].0.page_id));
                prop_assert_eq!(written(RANGE, &pages), bytes);
            }
        }
    }
}
