//! Opening a page cache: recovery, then the page table.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::gc::Collector;
use super::id::IdGenerator;
use super::large::LargeLimits;
use super::meta::Meta;
use super::shared::{Inner, PageCache};
use super::snapshot::Snapshots;
use crate::compression::Compression;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::format::StoreKind;
use crate::ids::{PageId, SegmentId, SlotId, Version};
use crate::location::Place;
use crate::log::LogCore;
use crate::pages::Fragment;
use crate::pages::budget::Budget;
use crate::pages::bulk::Bulk;
use crate::pages::eviction::Evictor;
use crate::pages::free_list::FreeList;
use crate::pages::node::BaseKind;
use crate::pages::restore::RestoredPage;
use crate::pages::table::PageTable;
use crate::recovery::{Recovered, Replay, ReplayedPage, Spot, recover};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, epoch};

/// Pages that are restored under one guard.
const PAGES_PER_GUARD: usize = 1024;

impl Config {
    /// Opens the store in the configured place, or creates it there.
    ///
    /// After a crash this finds where the log ends: everything that was acknowledged as stable is there, and of the rest the
    /// longest prefix that is intact.
    ///
    /// # Errors
    /// [`InvalidConfig`](Error::InvalidConfig), [`Locked`](Error::Locked), [`NotAStore`](Error::NotAStore),
    /// [`UnsupportedFormat`](Error::UnsupportedFormat), [`Corruption`](Error::Corruption), [`Io`](Error::Io). What was
    /// there is unchanged then.
    pub fn open<F: Fragment>(self) -> Result<PageCache<F>> {
        let recovered = recover(&self, StoreKind::PageCache)?;
        let inner = Inner::assemble(&self, recovered)?;
        Ok(PageCache { inner: Arc::new(inner) })
    }
}

impl<F: Fragment> Inner<F> {
    fn assemble(config: &Config, recovered: Recovered) -> Result<Self> {
        let Recovered { core, lock, mut replay, was_recovered, id_bound, version_floor, .. } = recovered;
        let budget = Arc::new(Budget::new(config.cache_capacity));
        let ends = recovered.snapshot_is_current.then(|| core.tails());
        let interval = config.snapshot_interval;
        let inner = Self {
            table: PageTable::new(Arc::clone(&budget)),
            free_list: FreeList::new(),
            next_page_id: AtomicU64::new(replay.next_page_id().max(PageId::FIRST.0)),
            version_floor,
            budget,
            evictor: Evictor::new(config.cache_capacity),
            meta: Mutex::new(Meta::default()),
            ids: IdGenerator::new(id_bound),
            collector: Collector::new(config, core.geometry()),
            snapshots: Snapshots::new(interval, config.snapshots, recovered.snapshot_serial, ends),
            compression: Compression::open(config, core.store_id())?,
            large: LargeLimits::new(config, &core),
            max_chain_length: config.max_chain_length,
            max_chain_ratio: config.max_chain_ratio,
            was_recovered,
            temporary: config.temporary,
            lock: Mutex::new(lock),
            core,
        };
        inner.restore(&replay)?;
        replay.clear();
        inner.load_roots()?;
        Ok(inner)
    }

    /// Fills the page table, and the free list with the ids that hold no page.
    fn restore(&self, replay: &Replay) -> Result<()> {
        let (mut links, mut finder) = (Vec::new(), Finder::new(&self.core));
        let bulks = self.bulks();
        let mut guard = epoch::pin();
        let mut next = PageId::FIRST;
        for (count, page) in replay.pages().enumerate() {
            if count % PAGES_PER_GUARD == 0 {
                guard = epoch::pin();
            }
            // Ids between were handed out, and their pages lost with the end of the log.
            (next.0..page.page_id.0).map(PageId).for_each(|id| self.free_list.push(id));
            let bulks = bulks.get(&page.page_id).map_or(&[][..], Vec::as_slice);
            self.restore_page(&page, &mut finder, &mut links, bulks, &guard)?;
            if page.base.freed {
                self.free_list.push(page.page_id);
            }
            next = PageId((page.page_id.0 + 1).max(PageId::FIRST.0));
        }
        let end = self.next_page_id.load(Ordering::Relaxed);
        (next.0..end).map(PageId).for_each(|id| self.free_list.push(id));
        Ok(())
    }

    /// Which records are in files of their own, by page.
    fn bulks(&self) -> BTreeMap<PageId, Vec<(Version, Bulk)>> {
        let mut bulks: BTreeMap<PageId, Vec<(Version, Bulk)>> = BTreeMap::new();
        for file in self.core.large().files() {
            let name = file.name;
            bulks.entry(name.page_id).or_default().push((name.version, Bulk::of(file.bytes)));
        }
        bulks
    }

    fn restore_page(
        &self,
        page: &ReplayedPage<'_>,
        finder: &mut Finder<'_>,
        links: &mut Vec<(Place, u32)>,
        bulks: &[(Version, Bulk)],
        guard: &epoch::Guard,
    ) -> Result<()> {
        let mut place = |spot: Spot| finder.place(page.page_id, spot);
        links.clear();
        for (_, spot) in page.links {
            links.push((place(*spot)?, spot.length));
        }
        let base = page.base;
        let restored = RestoredPage {
            kind: if base.freed { BaseKind::Freed } else { BaseKind::Page },
            version: base.version,
            birth: base.birth,
            place: place(base.spot)?,
            length: base.spot.length,
            links,
            bulks,
        };
        if self.table.restore(page.page_id, &restored, guard) { Ok(()) } else { Err(Error::TooManyPages) }
    }
}

/// Finds where records lie in the file. Remembers the last segment, for the next record mostly lies in it, too.
struct Finder<'a> {
    core: &'a LogCore,
    last: (SegmentId, SlotId),
}

impl<'a> Finder<'a> {
    fn new(core: &'a LogCore) -> Self {
        // No segment has this id.
        Self { core, last: (SegmentId(0), SlotId(0)) }
    }

    /// Recovery has checked that the segment is there.
    fn place(&mut self, page_id: PageId, spot: Spot) -> Result<Place> {
        let geometry = self.core.geometry();
        let segment = geometry.segment(spot.lsn);
        if segment != self.last.0 {
            let slot = self.core.slot_of(segment).ok_or_else(|| {
                let corruption =
                    crate::error::Corruption::new(self.core.log_path(), "a record's segment is missing");
                Error::from(corruption.at_lsn(spot.lsn).of_page(page_id))
            })?;
            self.last = (segment, slot);
        }
        Ok(Place::new(self.last.1, geometry.offset(spot.lsn)))
    }
}
