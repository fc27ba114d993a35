//! `flush` and `make_stable`: durability.

use super::shared::PageCache;
use crate::error::Result;
use crate::ids::{HeadId, Lsn};
use crate::log::Commit;
use crate::pages::Fragment;

impl<F: Fragment> PageCache<F> {
    /// Returns when everything that was done before this call survives a power cut. Waits for the end of a
    /// batch that is open. Threads that flush at the same time share one sync. Writes nothing if there is
    /// nothing to make durable.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # let cache = open()?;
    /// let page = cache.allocate(Text("a page".into()))?;
    /// assert!(cache.stable_lsn() <= page.lsn);
    /// cache.flush()?;
    /// assert!(cache.stable_lsn() > page.lsn);
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`BatchOpen`](crate::Error::BatchOpen) if the calling thread has the batch open. An I/O error poisons
    /// the instance.
    pub fn flush(&self) -> Result<()> {
        self.make_stable(Lsn(u64::MAX))
    }

    /// Returns when the change at `lsn`, and all before it, survive a power cut. An LSN behind the log's end
    /// means all of it.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # let cache = open()?;
    /// let page = cache.allocate(Text("a page".into()))?;
    /// cache.make_stable(page.lsn)?;
    /// assert!(cache.stable_lsn() > page.lsn);
    /// // What is stable costs nothing more.
    /// cache.make_stable(page.lsn)?;
    /// assert_eq!(cache.stats().counts.syncs, 1);
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub fn make_stable(&self, lsn: Lsn) -> Result<()> {
        let core = &self.inner.core;
        core.gate().admit_flush()?;
        core.make_stable_below(Lsn(lsn.0.saturating_add(1)).min(core.tail()))?;
        core.large().reap(core);
        Ok(())
    }

    /// As [`make_stable`](Self::make_stable), without waiting: see [`Commit`].
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # let cache = open()?;
    /// let page = cache.allocate(Text("a page".into()))?;
    /// let commit = cache.make_stable_later(page.lsn)?;
    /// // It can be waited for wherever that is no matter.
    /// let waiting = std::thread::spawn(move || commit.wait());
    /// waiting.join().expect("it does not panic")?;
    /// assert!(cache.stable_lsn() > page.lsn);
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ReadOnly`](crate::Error::ReadOnly), [`Poisoned`](crate::Error::Poisoned),
    /// [`Closed`](crate::Error::Closed). What the commit itself meets with, it says itself.
    pub fn make_stable_later(&self, lsn: Lsn) -> Result<Commit> {
        let core = &self.inner.core;
        core.gate().admit_flush()?;
        Ok(Commit::new(core, Lsn(lsn.0.saturating_add(1)).min(core.tail())))
    }

    /// As [`flush`](Self::flush), without waiting: a handle for everything that was done before this call.
    /// See [`Commit`].
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # let cache = open()?;
    /// let first = cache.allocate(Text("first".into()))?;
    /// let commit = cache.flush_later()?;
    /// let second = cache.allocate(Text("second".into()))?;
    /// // What is done by now is none of its business.
    /// assert!(first.lsn < commit.bound() && commit.bound() <= second.lsn);
    /// commit.wait()?;
    /// assert!(commit.is_stable()?);
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`make_stable_later`](Self::make_stable_later).
    pub fn flush_later(&self) -> Result<Commit> {
        self.make_stable_later(Lsn(u64::MAX))
    }

    /// Every change at an LSN below this one survives a power cut.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # let cache = open()?;
    /// let first = cache.allocate(Text("first".into()))?;
    /// cache.flush()?;
    /// let second = cache.allocate(Text("second".into()))?;
    /// assert!(first.lsn < cache.stable_lsn() && cache.stable_lsn() <= second.lsn);
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    #[must_use]
    pub fn stable_lsn(&self) -> Lsn {
        self.inner.core.durability().stable(HeadId::FRESH)
    }
}
