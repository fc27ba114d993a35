//! A page that is packed is looked up by two threads at once, one of which links to it. Both find it, and the
//! link stays.

use std::sync::Arc;

use loom::thread;

use super::{Number, explore};
use crate::format::{RangeEncoder, SnapshotBase, SnapshotRecord};
use crate::geometry::Geometry;
use crate::ids::{Lsn, PageId, RangeId, SegmentId, SlotId, Version};
use crate::location::Place;
use crate::pages::budget::Budget;
use crate::pages::content::Content;
use crate::pages::packed::Homes;
use crate::pages::publish::PreparedBase;
use crate::pages::segment_map::SegmentMap;
use crate::pages::table::{Entry, PageTable};
use crate::sync::epoch;

/// One range.
const PAGES: [PageId; 2] = [PageId(2), PageId(3)];

fn table() -> PageTable<Number> {
    let homes = Homes::new(Geometry::new(1024), SegmentMap::new([(SegmentId(1), SlotId(0))]));
    let table = PageTable::new(Arc::new(Budget::new(0)), Some(homes));
    let (range, mut bytes) = (RangeId::of(PAGES[0]), Vec::new());
    let mut encoder = RangeEncoder::new(range);
    for page_id in PAGES {
        let record = SnapshotRecord { lsn: Lsn(1024 + 100 * page_id.0), length: 10 };
        let base = SnapshotBase { page_id, free: false, version: Version(1), age: 0, record };
        encoder.page(&mut bytes, &base, [].into_iter());
    }
    assert!(table.restore_range(range, bytes.into()));
    table
}

fn version(table: &PageTable<Number>, page_id: PageId) -> Option<Version> {
    let guard = epoch::pin();
    table.head(page_id, &guard).map(|head| head.version())
}

#[test]
fn who_looks_up_a_packed_page_finds_it() {
    explore("packed: look-up, look-up and replace", None, || {
        let table = Arc::new(table());
        let reader = {
            let table = Arc::clone(&table);
            thread::spawn(move || PAGES.map(|page_id| version(&table, page_id)))
        };
        {
            let guard = epoch::pin();
            let entry = table.entry(PAGES[1], &guard).unwrap();
            assert!(matches!(entry, Entry::Occupied(_)), "a page that is there is not vacant");
            let base = PreparedBase::page(Version(2), Version(1), Content::new(Number::new(2), 0));
            assert!(base.publish(&entry, Place::new(SlotId(0), 500), 10).is_ok_and(|old| old.is_some()));
        }
        let [first, second] = reader.join().unwrap();
        assert_eq!(first, Some(Version(1)));
        assert!(second == Some(Version(1)) || second == Some(Version(2)), "{second:?}");
        assert_eq!(version(&table, PAGES[1]), Some(Version(2)), "the change was overwritten");
    });
}
