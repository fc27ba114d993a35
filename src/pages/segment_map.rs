//! Segment id → a value, for a set of segments that does not change: what recovery asks for each record that
//! it meets.
//!
//! Ids of segments in use are mostly close together, so they are spread over buckets by their upper bits,
//! about one to a bucket. Where they are not, a bucket is searched by halves: so there is no set of ids,
//! whoever chose them, for which this is slow.

use crate::ids::SegmentId;

/// A value for each of some segments.
#[derive(Clone, Debug)]
pub(crate) struct SegmentMap<T> {
    lowest: u64,
    /// How many lower bits of the distance to the lowest id a bucket leaves out.
    shift: u32,
    /// Where each bucket begins in the lists below; one more than there are buckets.
    starts: Vec<u32>,
    ids: Vec<SegmentId>,
    values: Vec<T>,
}

impl<T> SegmentMap<T> {
    /// Of these segments. Of one that is there twice, either counts.
    pub(crate) fn new(entries: impl IntoIterator<Item = (SegmentId, T)>) -> Self {
        let mut entries: Vec<(SegmentId, T)> = entries.into_iter().collect();
        entries.sort_by_key(|(id, _)| *id);
        entries.dedup_by_key(|(id, _)| *id);
        let (ids, values): (Vec<SegmentId>, Vec<T>) = entries.into_iter().unzip();
        let (lowest, highest) = ids.first().zip(ids.last()).map_or((0, 0), |(low, high)| (low.0, high.0));
        let span = highest - lowest;
        let buckets = (2 * ids.len()).next_power_of_two() as u64;
        let shift = (u64::BITS - span.leading_zeros()).saturating_sub(buckets.ilog2());
        let mut map = Self { lowest, shift, starts: Vec::new(), ids, values };
        for bucket in 0..=(span >> shift) + 1 {
            let from = map.starts.last().copied().unwrap_or(0);
            let rest = map.ids.iter().skip(from as usize);
            // There are fewer segments than slots, which are counted by u32.
            let below = rest.take_while(|id| (id.0 - lowest) >> shift < bucket).count() as u32;
            map.starts.push(from + below);
        }
        map
    }

    /// Where in the map a segment is.
    #[inline]
    pub(crate) fn position(&self, id: SegmentId) -> Option<usize> {
        let bucket = usize::try_from(id.0.checked_sub(self.lowest)? >> self.shift).ok()?;
        let (from, to) =
            (*self.starts.get(bucket)? as usize, *self.starts.get(bucket.checked_add(1)?)? as usize);
        let found = self.ids.get(from..to)?.binary_search(&id).ok()?;
        Some(from + found)
    }

    #[inline]
    pub(crate) fn get(&self, id: SegmentId) -> Option<&T> {
        self.values.get(self.position(id)?)
    }

    /// By its position.
    #[inline]
    pub(crate) fn at_mut(&mut self, position: usize) -> Option<&mut T> {
        self.values.get_mut(position)
    }

    /// All of them, by rising ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (SegmentId, &T)> {
        self.ids.iter().copied().zip(&self.values)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::btree_map;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::SegmentMap;
    use crate::ids::SegmentId;

    fn check(expected: &BTreeMap<u64, u32>) {
        let mut map = SegmentMap::new(expected.iter().map(|(id, value)| (SegmentId(*id), *value)));
        for id in expected
            .keys()
            .flat_map(|id| [id.saturating_sub(1), *id, id.saturating_add(1)])
            .chain([0, u64::MAX])
        {
            assert_eq!(map.get(SegmentId(id)), expected.get(&id), "{id}");
            let position = map.position(SegmentId(id));
            assert_eq!(position.and_then(|at| map.at_mut(at)).copied(), expected.get(&id).copied(), "{id}");
        }
        assert!(
            map.iter().map(|(id, value)| (id.0, *value)).eq(expected.iter().map(|(id, value)| (*id, *value)))
        );
    }

    #[test]
    fn what_was_put_in_is_found_and_nothing_else() {
        check(&BTreeMap::new());
        check(&[(7, 1)].into());
        check(&[(0, 1), (u64::MAX, 2)].into());
        check(&(5..3000).map(|id| (id, id as u32)).collect());
        check(&(5..3000).map(|id| (id, id as u32)).chain([(u64::MAX / 2, 9)]).collect());
    }

    proptest! {
        #[test]
        fn any_set_of_ids_works(ids in btree_map(any::<u64>(), any::<u32>(), 0..40), shift in 0..64_u32) {
            let ids: BTreeMap<u64, u32> = ids.into_iter().map(|(id, value)| (id >> shift, value)).collect();
            check(&ids);
            prop_assert_eq!(SegmentMap::new(ids.iter().map(|(id, value)| (SegmentId(*id), *value))).iter().count(), ids.len());
        }
    }
}
