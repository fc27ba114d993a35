//! Opening a page cache: recovery, then the page table.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::background::{Owner, backlog};
use super::consolidation::Consolidation;
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
use crate::pages::Fragment;
use crate::pages::budget::Budget;
use crate::pages::eviction::Evictor;
use crate::pages::table::PageTable;
use crate::progress::Progress;
use crate::recovery::{Recovered, RecoveredPages, ReplayedRange, recover};
use crate::sync::Mutex;
use crate::sync::atomic::AtomicU64;

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
        self.open_with_progress(|_| ControlFlow::Continue(()))
    }

    /// As [`open`](Self::open), and tells `progress` how far it is: how many bytes of the log have been read, of those that have to be.
    /// If a snapshot turns out to be of no use, it begins anew. `Break` ends it as long as nothing was changed; after the last report, what is left
    /// is done in any case. A store that is new has nothing to report.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`Cancelled`](Error::Cancelled).
    pub fn open_with_progress<F: Fragment>(
        self,
        mut progress: impl FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<PageCache<F>> {
        let config = self.of_an_instance();
        let recovered = recover(&config, StoreKind::PageCache, &mut progress)?;
        let inner = Arc::new(Inner::assemble(&config, recovered)?);
        let owner = Arc::new(Owner::new(Arc::clone(&inner), &config)?);
        Ok(PageCache { inner, owner })
    }
}

impl<F: Fragment> Inner<F> {
    fn assemble(config: &Config, recovered: Recovered) -> Result<Self> {
        let Recovered { core, lock, pages, was_recovered, id_bound, version_floor, snapshot, .. } = recovered;
        let RecoveredPages { ranges, homes, free, next_page_id } = pages;
        let budget = Arc::new(Budget::new(config.cache_capacity));
        let table = restore(PageTable::new(Arc::clone(&budget), Some(homes)), ranges)?;
        let snapshots = Snapshots::new(config, snapshot, core.tails());
        let inner = Self {
            table,
            free_list: free,
            next_page_id: AtomicU64::new(next_page_id),
            version_floor,
            budget,
            evictor: Evictor::new(config.cache_capacity),
            meta: Mutex::new(Meta::default()),
            ids: IdGenerator::new(id_bound),
            collector: Collector::new(config, core.geometry()),
            backlog: backlog(config.background && !config.read_only),
            snapshots,
            compression: Compression::open(config, core.store_id())?,
            consolidation: Consolidation::new(config),
            large: LargeLimits::new(config, &core),
            was_recovered,
            temporary: config.temporary,
            lock: Mutex::new(lock),
            core,
        };
        inner.load_roots()?;
        Ok(inner)
    }
}

/// Fills the page table with what was found; nothing is made of it yet.
fn restore<F: Fragment>(table: PageTable<F>, ranges: Vec<ReplayedRange>) -> Result<PageTable<F>> {
    for ReplayedRange { range, pages, changed } in ranges {
        if !table.restore_range(range, pages) {
            return Err(Error::TooManyPages);
        }
        if changed {
            table.mark_changed(range);
        }
    }
    Ok(table)
}
