//! What snapshot and log say about every page, gathered in any order.
//!
//! A record carries its page's version, so the order in which records are seen does not matter, nor do holes
//! where segments of dead records were reused: the highest `Replace` or `Free` is the page's base, and the
//! links above it are its chain.
//!
//! # In memory
//!
//! What a snapshot says stays as it is written there, a range of pages at a time. What the log says is only
//! sorted into those ranges as it comes. When all of it has come, each range that the log has something to
//! say about is decoded, changed, and encoded again, one after the other in the same memory, which the
//! processor's caches hold. So a range that the log does not mention costs nothing, and nothing is allocated
//! for a page.
//!
//! # Invariants
//!
//! * **(A) Copies are equal.** Two records of one page with one version are copies of each other (garbage
//!   collection makes them); whichever is kept, its bytes are valid. The one that is applied last wins, so
//!   that what is read from the log overrides what a snapshot says of a record that was moved since.
//! * **(B) No gap.** Every live record is in the log (a killed record's slot is reused only when its killer
//!   is stable), so versions above the base have no gap. One that has is damage.

use std::collections::BTreeMap;
use std::mem;

use crate::error::{Corruption, Error, Result};
use crate::format::{
    ManifestState, RangeEncoder, RangePages, RecordKind, SnapshotBase, SnapshotRecord, Voided,
};
use crate::ids::{Lsn, PageId, RangeId, Version};
use crate::pages::range_bytes::{RangeBytes, RangeMemory};

/// Where a record of a page is.
pub(crate) type Spot = SnapshotRecord;

/// Why opening can't go on.
#[derive(Debug)]
pub(crate) enum Obstacle {
    /// What the snapshot says can't be; without it there may be a way.
    Snapshot(&'static str),
    /// There is none.
    Error(Error),
}

impl From<Error> for Obstacle {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// The record that a page's state begins with.
#[derive(Clone, Copy, Debug)]
struct Base {
    version: Version,
    age: u64,
    freed: bool,
    spot: Spot,
}

#[derive(Clone, Debug, Default)]
struct Page {
    base: Option<Base>,
    links: Vec<(Version, Spot)>,
}

/// What a record of the log does to its page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Replace,
    Link,
    Free,
}

/// A record of the log. As small as it gets, for there may be many.
#[derive(Clone, Copy, Debug)]
struct Logged {
    lsn: Lsn,
    version: Version,
    age: u64,
    length: u32,
    /// Counted from the range's first page.
    page: u16,
    deed: Deed,
}

const _: () = assert!(size_of::<Logged>() == 32 && RangeId::PAGES <= 1 << 16);

/// What is known of a range.
#[derive(Debug, Default)]
struct Range {
    /// Its pages, encoded; empty if there are none.
    pages: RangeBytes,
    /// What is to be applied, in this order.
    logged: Vec<Logged>,
    /// It is not what the snapshot says.
    changed: bool,
}

/// A range as recovery has found it.
#[derive(Debug)]
pub(crate) struct ReplayedRange {
    pub(crate) range: RangeId,
    pub(crate) pages: RangeBytes,
    /// It is not what the snapshot says that was used, if one was.
    pub(crate) changed: bool,
}

/// Where the record of that page and version is, if it is needed. The ranges are sorted.
pub(super) fn spot_of(ranges: &[ReplayedRange], page_id: PageId, version: Version) -> Option<Spot> {
    let at = ranges.binary_search_by_key(&RangeId::of(page_id), |found| found.range).ok()?;
    let ReplayedRange { range, pages, .. } = ranges.get(at)?;
    let page = RangePages::new(*range, pages).flatten().find(|page| page.base.page_id == page_id)?;
    match version.0.checked_sub(page.base.version.0)?.checked_sub(1) {
        None => Some(page.base.record),
        Some(link) => page.links.clone().nth(usize::try_from(link).ok()?),
    }
}

/// The pages gathered so far.
#[derive(Debug)]
pub(crate) struct Replay {
    ranges: Vec<Range>,
    /// Where the pages of ranges lie.
    memory: RangeMemory,
    /// Page ids from here on can't be: there is not enough log for so many pages.
    limit: u64,
    log_path: String,
    voided: Voided,
    /// The lengths of a bare log's entries.
    entries: BTreeMap<Lsn, u32>,
}

impl Replay {
    /// For a log file of that length.
    pub(crate) fn new(log_path: String, log_length: u64, state: &ManifestState) -> Self {
        let limit = Self::limit(log_length);
        let (ranges, memory, entries) = (Vec::new(), RangeMemory::default(), BTreeMap::new());
        Self { ranges, memory, limit, log_path, voided: state.voided(), entries }
    }

    /// Above all page ids that a log file of that length has room for: even the shortest record takes some
    /// bytes.
    pub(super) fn limit(log_length: u64) -> u64 {
        (log_length / 8 + (1 << 16)).min(PageId::LIMIT)
    }

    /// Takes what a snapshot says of a range. False if there can't be such a range.
    #[must_use]
    pub(crate) fn take_range(&mut self, range: RangeId, pages: &[u8]) -> bool {
        if range.first().0 >= self.limit {
            return false;
        }
        self.range(range).pages = self.memory.put(pages);
        true
    }

    /// Applies one record.
    pub(crate) fn apply(&mut self, spot: Spot, kind: &RecordKind) -> Result<()> {
        let (page_id, version, age, deed) = match *kind {
            RecordKind::Replace { page_id, version, age } => (page_id, version, age, Deed::Replace),
            RecordKind::Free { page_id, version, age } => (page_id, version, age, Deed::Free),
            RecordKind::Link { page_id, version } => (page_id, version, 0, Deed::Link),
            RecordKind::Entry => {
                self.entries.insert(spot.lsn, spot.length);
                return Ok(());
            }
            RecordKind::BatchBegin
            | RecordKind::BatchEnd { .. }
            | RecordKind::Mark { .. }
            | RecordKind::Cancelled
            | RecordKind::End => return Ok(()),
        };
        if self.voided.covers(page_id, version) {
            return Ok(());
        }
        if age > version.0 {
            let reason = "a record says that its page is older than its versions";
            return Err(self.corruption(page_id, spot.lsn, reason));
        }
        if page_id.0 >= self.limit {
            return Err(self.corruption(page_id, spot.lsn, "a page id is higher than the log has room for"));
        }
        let range = RangeId::of(page_id);
        let page = (page_id.0 - range.first().0) as u16;
        let logged = Logged { lsn: spot.lsn, version, age, length: spot.length, page, deed };
        self.range(range).logged.push(logged);
        Ok(())
    }

    /// Below the limit.
    fn range(&mut self, range: RangeId) -> &mut Range {
        let index = range.0 as usize;
        if index >= self.ranges.len() {
            self.ranges.resize_with(index + 1, Range::default);
        }
        #[expect(clippy::indexing_slicing, reason = "it was made long enough")]
        &mut self.ranges[index]
    }

    fn corruption(&self, page_id: PageId, lsn: Lsn, reason: &str) -> Error {
        corruption(&self.log_path, page_id, lsn, reason)
    }

    /// Applies to each range what has come of it, and checks that no page has a gap.
    pub(crate) fn settle(&mut self) -> Result<(), Obstacle> {
        let mut workbench = Workbench::new(self.voided, &self.log_path);
        for (range, found) in (0..).map(RangeId).zip(&mut self.ranges) {
            let logged = mem::take(&mut found.logged);
            if !logged.is_empty() || self.voided.may_cover(range.end()) {
                found.changed = true;
                found.pages = self.memory.put(workbench.rework(range, &found.pages, &logged)?);
            }
        }
        Ok(())
    }

    /// The ranges that have pages, by rising numbers, each with its pages in encoded form.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = (RangeId, &[u8])> {
        let ranges = (0..).map(RangeId).zip(&self.ranges).map(|(range, found)| (range, &*found.pages));
        ranges.filter(|(_, pages)| !pages.is_empty())
    }

    /// The entries of a bare log.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Spot> {
        self.entries.iter().map(|(lsn, length)| Spot { lsn: *lsn, length: *length })
    }

    /// All ranges that have pages, or that the snapshot says have some, by rising numbers.
    pub(crate) fn into_ranges(self) -> impl Iterator<Item = ReplayedRange> {
        let ranges = (0..).map(RangeId).zip(self.ranges);
        let ranges = ranges.filter(|(_, found)| found.changed || !found.pages.is_empty());
        ranges.map(|(range, Range { pages, changed, .. })| ReplayedRange { range, pages, changed })
    }
}

fn corruption(log_path: &str, page_id: PageId, lsn: Lsn, reason: &str) -> Error {
    Corruption::new(log_path, reason).at_lsn(lsn).of_page(page_id).into()
}

/// Where one range after the other is decoded, changed, and encoded again.
struct Workbench<'a> {
    pages: Vec<Page>,
    encoded: Vec<u8>,
    voided: Voided,
    log_path: &'a str,
}

impl<'a> Workbench<'a> {
    fn new(voided: Voided, log_path: &'a str) -> Self {
        let pages = (0..RangeId::PAGES).map(|_| Page::default()).collect();
        Self { pages, encoded: Vec::new(), voided, log_path }
    }

    /// The range's pages, with what the log says of them.
    fn rework(&mut self, range: RangeId, known: &[u8], logged: &[Logged]) -> Result<&[u8], Obstacle> {
        for page in &mut self.pages {
            page.base = None;
            page.links.clear();
        }
        self.decode(range, known).map_err(Obstacle::Snapshot)?;
        for record in logged {
            if let Some(page) = self.pages.get_mut(usize::from(record.page)) {
                page.apply(record);
            }
        }
        self.encode(range)?;
        Ok(&self.encoded)
    }

    fn decode(&mut self, range: RangeId, known: &[u8]) -> Result<(), &'static str> {
        for found in RangePages::new(range, known) {
            let found = found?;
            let SnapshotBase { page_id, free, version, age, record } = found.base;
            if self.voided.covers(page_id, version) {
                continue;
            }
            if let Some(page) = self.pages.get_mut((page_id.0 - range.first().0) as usize) {
                page.base = Some(Base { version, age, freed: free, spot: record });
                page.links.extend((version.0 + 1..).map(Version).zip(found.links));
            }
        }
        Ok(())
    }

    fn encode(&mut self, range: RangeId) -> Result<()> {
        let mut encoder = RangeEncoder::new(range);
        self.encoded.clear();
        for (page_id, page) in (range.first().0..).map(PageId).zip(&mut self.pages) {
            let Some(base) = page.settle(page_id, self.log_path)? else { continue };
            let Base { version, age, freed: free, spot: record } = base;
            let base = SnapshotBase { page_id, free, version, age, record };
            encoder.page(&mut self.encoded, &base, page.links.iter().map(|(_, spot)| *spot));
        }
        Ok(())
    }
}

impl Page {
    fn apply(&mut self, record: &Logged) {
        let (version, spot) = (record.version, Spot { lsn: record.lsn, length: record.length });
        if record.deed == Deed::Link {
            return self.link(version, spot);
        }
        if self.base.is_none_or(|base| base.version <= version) {
            self.base = Some(Base { version, age: record.age, freed: record.deed == Deed::Free, spot });
        }
    }

    fn link(&mut self, version: Version, spot: Spot) {
        if self.base.is_some_and(|base| base.version >= version) {
            return;
        }
        // Links of one page mostly come in order, so the place is mostly the end.
        let at = self.links.partition_point(|(linked, _)| *linked < version);
        match self.links.get_mut(at) {
            Some((linked, old)) if *linked == version => *old = spot,
            _ => self.links.insert(at, (version, spot)),
        }
    }

    /// Drops the links that the base has made dead, and checks that the rest has no gap.
    fn settle(&mut self, page_id: PageId, log_path: &str) -> Result<Option<Base>> {
        let Some(base) = self.base else {
            let Some((_, spot)) = self.links.first() else { return Ok(None) };
            let reason = "a page has links and nothing that they link to";
            return Err(corruption(log_path, page_id, spot.lsn, reason));
        };
        self.links.retain(|(version, _)| *version > base.version);
        for (expected, (version, spot)) in (base.version.0 + 1..).zip(&self.links) {
            if version.0 != expected || base.freed {
                let reason = format!("a link of version {version} where {expected} was expected");
                return Err(corruption(log_path, page_id, spot.lsn, &reason));
            }
        }
        Ok(Some(base))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Obstacle, Replay, Spot};
    use crate::error::{Error, Result};
    use crate::format::{
        ManifestState, RangeEncoder, RangePages, RecordKind, SnapshotBase, StoreId, StoreKind,
    };
    use crate::ids::{Lsn, PageId, RangeId, Version};

    fn spot(lsn: u64) -> Spot {
        Spot { lsn: Lsn(lsn), length: 10 }
    }

    fn replay() -> Replay {
        let state = ManifestState::new(StoreId([0; 16]), StoreKind::PageCache, 1024);
        Replay::new("log".into(), 1 << 20, &state)
    }

    const PAGE: PageId = PageId(3);

    fn replace(version: u64, age: u64) -> RecordKind {
        RecordKind::Replace { page_id: PAGE, version: Version(version), age }
    }

    fn link(version: u64) -> RecordKind {
        RecordKind::Link { page_id: PAGE, version: Version(version) }
    }

    /// The version, the age and the LSNs of the page.
    fn page(replay: &Replay) -> (u64, u64, Vec<u64>) {
        let (range, bytes) = replay.ranges().next().unwrap();
        let page = RangePages::new(range, bytes).next().unwrap().unwrap();
        assert_eq!(page.base.page_id, PAGE);
        let lsns = [page.base.record].into_iter().chain(page.links).map(|record| record.lsn.0).collect();
        (page.base.version.0, page.base.age, lsns)
    }

    fn settle(replay: &mut Replay) -> Result<()> {
        replay.settle().map_err(|obstacle| match obstacle {
            Obstacle::Error(error) => error,
            Obstacle::Snapshot(reason) => panic!("{reason}"),
        })
    }

    #[test]
    fn records_in_any_order_give_the_same_page() {
        let records = [(replace(1, 0), 10), (link(2), 20), (replace(3, 2), 30), (link(4), 40), (link(5), 50)];
        let orders = [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [3, 0, 4, 1, 2], [1, 4, 0, 3, 2]];
        for order in orders {
            let mut replay = replay();
            for index in order {
                let (kind, lsn) = &records[index];
                replay.apply(spot(*lsn), kind).unwrap();
            }
            settle(&mut replay).unwrap();
            assert_eq!(page(&replay), (3, 2, vec![30, 40, 50]));
        }
    }

    #[test]
    fn a_gap_in_the_versions_is_corruption() {
        let mut replay = replay();
        replay.apply(spot(1), &replace(1, 0)).unwrap();
        replay.apply(spot(2), &link(3)).unwrap();
        assert!(matches!(settle(&mut replay), Err(Error::Corruption(_))));
    }

    #[test]
    fn links_without_a_base_are_corruption() {
        let mut replay = replay();
        replay.apply(spot(2), &link(3)).unwrap();
        assert!(matches!(settle(&mut replay), Err(Error::Corruption(_))));
    }

    #[test]
    fn a_moved_copy_overrides_what_the_snapshot_said() {
        let mut replay = replay();
        let (range, mut bytes) = (RangeId::of(PAGE), Vec::new());
        let base =
            SnapshotBase { page_id: PAGE, free: false, version: Version(1), age: 0, record: spot(900) };
        RangeEncoder::new(range).page(&mut bytes, &base, [spot(901)].into_iter());
        assert!(replay.take_range(range, &bytes));
        replay.apply(spot(5), &replace(1, 0)).unwrap();
        replay.apply(spot(6), &link(2)).unwrap();
        settle(&mut replay).unwrap();
        assert_eq!(page(&replay), (1, 0, vec![5, 6]));
    }

    #[test]
    fn a_range_that_the_log_does_not_mention_is_not_touched() {
        let mut replay = replay();
        // Not even read: this is no range.
        assert!(replay.take_range(RangeId(7), &[1]));
        replay.apply(spot(5), &replace(1, 0)).unwrap();
        settle(&mut replay).unwrap();
        let changed: Vec<_> = replay.into_ranges().map(|range| (range.range.0, range.changed)).collect();
        assert_eq!(changed, [(0, true), (7, false)]);
    }

    #[test]
    fn a_range_that_makes_no_sense_is_the_snapshots_fault() {
        let mut replay = replay();
        assert!(replay.take_range(RangeId::of(PAGE), &[1]));
        replay.apply(spot(5), &replace(1, 0)).unwrap();
        assert!(matches!(replay.settle(), Err(Obstacle::Snapshot(_))));
        assert!(!replay.take_range(RangeId(u32::MAX >> 8), &[]));
    }

    #[test]
    fn a_page_id_beyond_all_reason_is_corruption() {
        let kind = RecordKind::Free { page_id: PageId(u64::MAX), version: Version(1), age: 0 };
        assert!(matches!(replay().apply(spot(1), &kind), Err(Error::Corruption(_))));
    }
}
