//! Which records are live: the newest whole state of each page, and the links on top of it.
//!
//! The same as `recovery/replay` does, with two differences. It never fails: a page of which versions are
//! missing is named, not refused. And it remembers nothing that is superseded, so it takes memory for what is
//! live only.

use std::collections::BTreeMap;

use crate::format::{RecordKind, Voided};
use crate::ids::{Lsn, PageId, Version};

/// Where a record is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    pub(super) lsn: Lsn,
    pub(super) length: u32,
    /// Its value is in a file of its own.
    pub(super) outside: bool,
}

#[derive(Clone, Copy, Debug)]
struct Base {
    version: Version,
    freed: bool,
    spot: Spot,
}

#[derive(Debug, Default)]
struct Page {
    base: Option<Base>,
    /// By rising versions, all above the base.
    links: Vec<(Version, Spot)>,
}

/// What the records say of pages, in any order.
#[derive(Debug)]
pub(super) struct Pages {
    pages: BTreeMap<PageId, Page>,
    voided: Option<Voided>,
}

impl Pages {
    pub(super) fn new(voided: Option<Voided>) -> Self {
        Self { pages: BTreeMap::new(), voided }
    }

    /// Takes a record. Of two copies the one that comes last counts.
    pub(super) fn apply(&mut self, spot: Spot, kind: &RecordKind) {
        let (page_id, version) = match *kind {
            RecordKind::Replace { page_id, version, .. }
            | RecordKind::Free { page_id, version, .. }
            | RecordKind::Link { page_id, version } => (page_id, version),
            _ => return,
        };
        if self.voided.is_some_and(|voided| voided.covers(page_id, version)) {
            return;
        }
        let page = self.pages.entry(page_id).or_default();
        if matches!(kind, RecordKind::Link { .. }) {
            if page.base.is_some_and(|base| base.version >= version) {
                return;
            }
            match page.links.binary_search_by_key(&version, |(version, _)| *version) {
                Ok(copy) => page.links.splice(copy..=copy, [(version, spot)]).for_each(drop),
                Err(at) => page.links.insert(at, (version, spot)),
            }
        } else if page.base.is_none_or(|base| base.version <= version) {
            let freed = matches!(kind, RecordKind::Free { .. });
            page.base = Some(Base { version, freed, spot });
            page.links.retain(|(link, _)| *link > version);
        }
    }

    /// All live records.
    pub(super) fn live(&self) -> impl Iterator<Item = Spot> {
        let of_page = |page: &Page| page.base.map(|base| base.spot);
        let bases = self.pages.values().filter_map(of_page);
        bases.chain(self.pages.values().flat_map(|page| page.links.iter().map(|(_, spot)| *spot)))
    }

    /// How many pages there are, without the one of the named roots, and how many ids are free.
    pub(super) fn counts(&self) -> (u64, u64) {
        let users = || self.pages.iter().filter(|(page_id, _)| **page_id != PageId::META);
        let freed = users().filter(|(_, page)| page.base.is_some_and(|base| base.freed)).count() as u64;
        (users().count() as u64 - freed, freed)
    }

    /// Pages that can't be put together, and why.
    pub(super) fn incomplete(&self) -> impl Iterator<Item = (PageId, Lsn, &'static str)> {
        self.pages.iter().filter_map(|(page_id, page)| {
            let first = page.base.map(|base| base.spot).or(page.links.first().map(|(_, spot)| *spot))?;
            let Some(base) = page.base else {
                return Some((
                    *page_id,
                    first.lsn,
                    "of the page there are links, and nothing that they change",
                ));
            };
            let mut version = base.version;
            for (link, spot) in &page.links {
                if version.0.checked_add(1) != Some(link.0) || base.freed {
                    return Some((*page_id, spot.lsn, "versions of the page are missing before this one"));
                }
                version = *link;
            }
            None
        })
    }
}
