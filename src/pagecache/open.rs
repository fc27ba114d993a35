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
use crate::recovery::{Damage, Doubtful, Recovered, RecoveredPages, ReplayedRange, recover, rescue};
use crate::sync::Mutex;
use crate::sync::atomic::AtomicU64;

impl Config {
    /// Opens the store in the configured place, or creates it there.
    ///
    /// After a crash this finds where the log ends: everything that was acknowledged as stable is there, and
    /// of the rest the longest prefix that is intact.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # let storage = Arc::new(MemoryStorage::new());
    /// let cache: PageCache<Text> = Config::with_storage(storage.clone()).open()?;
    /// let page = cache.allocate(Text("a page".into()))?;
    /// cache.close()?;
    /// // All is as it was, ids and versions too.
    /// let cache: PageCache<Text> = Config::with_storage(storage).open()?;
    /// assert_eq!(cache.version(page.page_id)?, Some(page.version));
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`InvalidConfig`](Error::InvalidConfig), [`Locked`](Error::Locked), [`NotAStore`](Error::NotAStore),
    /// [`UnsupportedFormat`](Error::UnsupportedFormat), [`Corruption`](Error::Corruption), [`Io`](Error::Io).
    /// What was there is unchanged then.
    pub fn open<F: Fragment>(self) -> Result<PageCache<F>> {
        self.open_with_progress(|_| ControlFlow::Continue(()))
    }

    /// As [`open`](Self::open), and tells `progress` how far it is: how many bytes of the log have been read,
    /// of those that have to be. If a snapshot turns out to be of no use, it begins anew. `Break` ends it as
    /// long as nothing was changed; after the last report, what is left is done in any case. A store that is
    /// new has nothing to report.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # let config = config();
    /// # let cache: PageCache<Text> = config.clone().open()?;
    /// # cache.allocate(Text("a page".into()))?;
    /// # cache.close()?;
    /// use std::ops::ControlFlow;
    ///
    /// let opened = config.clone().open_with_progress::<Text>(|_| ControlFlow::Break(()));
    /// assert!(matches!(opened, Err(pagelog::Error::Cancelled)));
    /// let mut parts = Vec::new();
    /// let cache = config.open_with_progress::<Text>(|progress| {
    ///     parts.push(progress.fraction());
    ///     ControlFlow::Continue(())
    /// })?;
    /// assert!(parts.is_sorted() && parts.last() == Some(&1.0));
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`Cancelled`](Error::Cancelled).
    pub fn open_with_progress<F: Fragment>(
        self,
        mut progress: impl FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<PageCache<F>> {
        let config = self.of_an_instance();
        let recovered = recover(&config, StoreKind::PageCache, &mut progress)?;
        assemble(&config, recovered, None)
    }

    /// Opens what can be read of a store that [`open`](Self::open) refuses because it is damaged, or of which
    /// a check has found that something is, and says what is damaged and what that means for each page. To
    /// save what there is, [export](PageCache::export) it, which leaves out what can't be read, or copy page
    /// by page.
    ///
    /// The store is opened [read-only](Self::read_only), whatever is configured: nothing of it is changed,
    /// however often this is tried. Opening it for writing would make the damage final: the log would be cut
    /// and used again, and what can't be understood removed. It reads all of the log and all large values, so
    /// it takes longer than `open`.
    ///
    /// A page is [certain](crate::Condition::Certain), [lost](crate::Condition::Lost), or
    /// [in doubt](crate::Condition::InDoubt): it can be read, but whether what is read is the newest can't be
    /// known, since the log is damaged where a newer record of it may have been. `doubtful` says whether such
    /// pages are handed out; look at [`Damage::condition`] then. A page that is lost never is: what is left
    /// of it may be an old state, or have gaps. What is [promised](crate::docs::durability#damage) beyond
    /// single pages, batches above all, is not for pages in doubt.
    ///
    /// A store without damage is opened as it is, with a [report](Damage::is_none) that says so.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    #[doc = include_str!("../docs/damage.txt")]
    /// # let new_place = config();
    /// # let config = damaged()?;
    /// use std::ops::ControlFlow;
    /// use pagelog::Doubtful;
    ///
    /// // Of three pages, one is lost.
    /// let (cache, damage) = config.open_tolerantly::<Text>(Doubtful::Serve)?;
    /// println!("{damage}");
    /// for (page_id, reason) in damage.lost_pages() {
    ///     println!("page {page_id}: {reason}");
    /// }
    /// let mut stream = Vec::new();
    /// let report = cache.export(&mut stream, |_| ControlFlow::Continue(()))?;
    /// assert_eq!((report.pages, report.left_out), (2, 1));
    /// new_place.import(&mut &stream[..], |_| ControlFlow::Continue(()))?;
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`open`](Self::open), but [`Corruption`](Error::Corruption) only if nothing can be read: the file
    /// of the log is gone. [`NotAStore`](Error::NotAStore) also if neither a manifest nor a segment of a log
    /// can be recognised.
    pub fn open_tolerantly<F: Fragment>(self, doubtful: Doubtful) -> Result<(PageCache<F>, Damage)> {
        let config = self.read_only(true).of_an_instance();
        let (recovered, damage) = rescue(&config, doubtful)?;
        let cache = assemble(&config, recovered, Some(damage.clone()))?;
        Ok((cache, damage))
    }
}

fn assemble<F: Fragment>(
    config: &Config,
    recovered: Recovered,
    damage: Option<Damage>,
) -> Result<PageCache<F>> {
    let inner = Arc::new(Inner::assemble(config, recovered, damage)?);
    let owner = Arc::new(Owner::new(Arc::clone(&inner), config)?);
    Ok(PageCache { inner, owner })
}

impl<F: Fragment> Inner<F> {
    fn assemble(config: &Config, recovered: Recovered, damage: Option<Damage>) -> Result<Self> {
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
            damage,
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
