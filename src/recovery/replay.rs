//! What the log says about every page, gathered in any order.
//!
//! A record carries its page's version, so the order in which records are seen does not matter, nor do holes where segments
//! of dead records were reused: the highest `Replace` or `Free` is the page's base, and the links above it are its chain.
//!
//! # Invariants
//!
//! * **(A) Copies are equal.** Two records of one page with one version are copies of each other (garbage collection makes
//!   them); whichever is kept, its bytes are valid. The one that is applied last wins, so that what is read from the log
//!   overrides what a snapshot says of a record that was moved since.
//! * **(B) No gap.** Every live record is in the log (a killed record's slot is reused only when its killer is stable), so
//!   versions above the base have no gap. One that has is damage.

use std::collections::BTreeMap;

use crate::error::{Corruption, Error, Result};
use crate::format::{ManifestState, RecordKind, Voided};
use crate::ids::{Lsn, PageId, Version};

/// Where a record of a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) lsn: Lsn,
    pub(crate) length: u32,
}

/// The record that a page's state begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Base {
    pub(crate) version: Version,
    pub(crate) birth: Version,
    pub(crate) freed: bool,
    pub(crate) spot: Spot,
}

#[derive(Clone, Debug, Default)]
struct Page {
    base: Option<Base>,
    links: Vec<(Version, Spot)>,
}

/// A page as recovery found it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReplayedPage<'a> {
    pub(crate) page_id: PageId,
    pub(crate) base: Base,
    /// The links on top of the base, oldest first, one version each.
    pub(crate) links: &'a [(Version, Spot)],
}

/// The pages gathered so far.
#[derive(Debug)]
pub(crate) struct Replay {
    pages: Vec<Page>,
    /// Page ids from here on can't be: there is not enough log for so many pages.
    limit: u64,
    log_path: String,
    voided: Voided,
    /// The lengths of a bare log's entries.
    entries: BTreeMap<Lsn, u32>,
}

impl Replay {
    /// For a log file of that length: even the shortest record takes some bytes, which bounds the page ids.
    pub(crate) fn new(log_path: String, log_length: u64, state: &ManifestState) -> Self {
        let limit = (log_length / 8 + (1 << 16)).min(PageId::LIMIT);
        Self { pages: Vec::new(), limit, log_path, voided: state.voided(), entries: BTreeMap::new() }
    }

    /// Applies one record.
    pub(crate) fn apply(&mut self, spot: Spot, kind: &RecordKind) -> Result<()> {
        match *kind {
            RecordKind::Replace { page_id, version, age } => self.base(page_id, version, age, false, spot),
            RecordKind::Free { page_id, version, age } => self.base(page_id, version, age, true, spot),
            RecordKind::Link { page_id, version } => self.link(page_id, version, spot),
            RecordKind::Entry => {
                self.entries.insert(spot.lsn, spot.length);
                Ok(())
            }
            RecordKind::BatchBegin
            | RecordKind::BatchEnd { .. }
            | RecordKind::Mark { .. }
            | RecordKind::Cancelled
            | RecordKind::End => Ok(()),
        }
    }

    /// Takes memory for pages with ids below this at once.
    pub(crate) fn expect_pages(&mut self, next_page_id: PageId) {
        let count = usize::try_from(next_page_id.0.min(self.limit)).unwrap_or(0);
        self.pages.reserve(count.saturating_sub(self.pages.len()));
    }

    /// Applies a page of a snapshot.
    pub(crate) fn apply_snapshot(
        &mut self,
        page_id: PageId,
        base: Base,
        links: impl Iterator<Item = Spot>,
    ) -> Result<()> {
        if self.voided.covers(page_id, base.version) {
            return Ok(());
        }
        let page = self.page(page_id, base.spot)?;
        page.links = (base.version.0 + 1..).map(Version).zip(links).collect();
        page.base = Some(base);
        Ok(())
    }

    fn base(&mut self, page_id: PageId, version: Version, age: u64, freed: bool, spot: Spot) -> Result<()> {
        if self.voided.covers(page_id, version) {
            return Ok(());
        }
        let birth = Version(version.0.checked_sub(age).ok_or_else(|| {
            self.corruption(page_id, spot.lsn, "a record says that its page is older than its versions")
        })?);
        let page = self.page(page_id, spot)?;
        if page.base.is_none_or(|base| base.version <= version) {
            page.base = Some(Base { version, birth, freed, spot });
        }
        Ok(())
    }

    fn link(&mut self, page_id: PageId, version: Version, spot: Spot) -> Result<()> {
        if self.voided.covers(page_id, version) {
            return Ok(());
        }
        let page = self.page(page_id, spot)?;
        if page.base.is_some_and(|base| base.version >= version) {
            return Ok(());
        }
        // Links of one page mostly come in order, so the place is mostly the end.
        let at = page.links.partition_point(|(linked, _)| *linked < version);
        match page.links.get_mut(at) {
            Some((linked, old)) if *linked == version => *old = spot,
            _ => page.links.insert(at, (version, spot)),
        }
        Ok(())
    }

    fn page(&mut self, page_id: PageId, spot: Spot) -> Result<&mut Page> {
        if page_id.0 >= self.limit {
            return Err(self.corruption(page_id, spot.lsn, "a page id is higher than the log has room for"));
        }
        let index = page_id.0 as usize;
        if index >= self.pages.len() {
            self.pages.resize_with(index + 1, Page::default);
        }
        let error = Error::TooManyPages;
        self.pages.get_mut(index).ok_or(error)
    }

    fn corruption(&self, page_id: PageId, lsn: Lsn, reason: &str) -> Error {
        Corruption::new(&self.log_path, reason).at_lsn(lsn).of_page(page_id).into()
    }

    /// Drops the links that their bases have made dead, and checks that the rest has no gap.
    pub(crate) fn settle(&mut self) -> Result<()> {
        for (page_id, page) in (0..).map(PageId).zip(&mut self.pages) {
            let Some(base) = page.base else {
                let Some((_, spot)) = page.links.first() else { continue };
                let fault = Corruption::new(&self.log_path, "a page has links and nothing that they link to");
                return Err(fault.at_lsn(spot.lsn).of_page(page_id).into());
            };
            page.links.retain(|(version, _)| *version > base.version);
            for (expected, (version, spot)) in (base.version.0 + 1..).zip(&page.links) {
                if version.0 != expected || base.freed {
                    let reason = format!("a link of version {version} where {expected} was expected");
                    return Err(Corruption::new(&self.log_path, reason)
                        .at_lsn(spot.lsn)
                        .of_page(page_id)
                        .into());
                }
            }
        }
        Ok(())
    }

    /// One more than the highest page id seen.
    pub(crate) fn next_page_id(&self) -> u64 {
        self.pages.len() as u64
    }

    /// Gives the memory back.
    pub(crate) fn clear(&mut self) {
        self.pages = Vec::new();
        self.entries = BTreeMap::new();
    }

    /// All pages that have a state, by rising id.
    pub(crate) fn pages(&self) -> impl Iterator<Item = ReplayedPage<'_>> {
        (0..).map(PageId).zip(&self.pages).filter_map(|(page_id, page)| {
            page.base.map(|base| ReplayedPage { page_id, base, links: &page.links })
        })
    }

    /// Where the record of that page and version is, if it is needed.
    pub(crate) fn spot_of(&self, page_id: PageId, version: Version) -> Option<Spot> {
        let page = self.pages.get(usize::try_from(page_id.0).ok()?)?;
        let base = page.base?;
        if base.version == version {
            return Some(base.spot);
        }
        let at = page.links.binary_search_by_key(&version, |(linked, _)| *linked).ok()?;
        page.links.get(at).map(|(_, spot)| *spot)
    }

    /// The records that are live: of pages, and the entries of a bare log from `first` on.
    pub(crate) fn live_records(&self, first: Lsn) -> impl Iterator<Item = (PageId, Spot)> {
        let of_pages = self.pages().flat_map(|page| {
            let links = page.links.iter().map(|(_, spot)| *spot);
            std::iter::once(page.base.spot).chain(links).map(move |spot| (page.page_id, spot))
        });
        let entries = self.entries.range(first..).map(|(lsn, length)| Spot { lsn: *lsn, length: *length });
        of_pages.chain(entries.map(|spot| (PageId::META, spot)))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Replay, Spot};
    use crate::error::Error;
    use crate::format::{ManifestState, RecordKind, StoreId, StoreKind};
    use crate::ids::{Lsn, PageId, Version};

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
            replay.settle().unwrap();
            let page = replay.pages().next().unwrap();
            assert_eq!(
                (page.base.version, page.base.birth, page.base.spot.lsn),
                (Version(3), Version(1), Lsn(30))
            );
            assert_eq!(page.links, [(Version(4), spot(40)), (Version(5), spot(50))]);
            assert_eq!(replay.live_records(Lsn(0)).count(), 3);
        }
    }

    #[test]
    fn a_gap_in_the_versions_is_corruption() {
        let mut replay = replay();
        replay.apply(spot(1), &replace(1, 0)).unwrap();
        replay.apply(spot(2), &link(3)).unwrap();
        assert!(matches!(replay.settle(), Err(Error::Corruption(_))));
    }

    #[test]
    fn links_without_a_base_are_corruption() {
        let mut replay = replay();
        replay.apply(spot(2), &link(3)).unwrap();
        assert!(matches!(replay.settle(), Err(Error::Corruption(_))));
    }

    #[test]
    fn a_moved_copy_overrides_what_the_snapshot_said() {
        let mut replay = replay();
        let base = super::Base { version: Version(1), birth: Version(1), freed: false, spot: spot(900) };
        replay.apply_snapshot(PAGE, base, [spot(901)].into_iter()).unwrap();
        replay.apply(spot(5), &replace(1, 0)).unwrap();
        replay.apply(spot(6), &link(2)).unwrap();
        replay.settle().unwrap();
        let spots: Vec<u64> = replay.live_records(Lsn(0)).map(|(_, s)| s.lsn.0).collect();
        assert_eq!(spots, [5, 6]);
    }

    #[test]
    fn a_page_id_beyond_all_reason_is_corruption() {
        let kind = RecordKind::Free { page_id: PageId(u64::MAX), version: Version(1), age: 0 };
        assert!(matches!(replay().apply(spot(1), &kind), Err(Error::Corruption(_))));
    }
}
