//! `pin_log`: batches.

use super::shared::PageCache;
use crate::error::Result;
use crate::log::Batch;
use crate::pages::Fragment;

impl<F: Fragment> PageCache<F> {
    /// Opens a [`Batch`]: what is logged until it is sealed survives a crash as a whole or not at all. A
    /// batch of another thread is waited for; other writers go on meanwhile.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # let cache = open()?;
    /// use pagelog::Error;
    ///
    /// let batch = cache.pin_log()?;
    /// let page = cache.allocate(Text("half of it".into()))?;
    /// // Not one half without the other.
    /// assert!(matches!(cache.make_stable(page.lsn), Err(Error::BatchOpen)));
    /// cache.allocate(Text("the other half".into()))?;
    /// batch.seal_batch()?;
    /// cache.make_stable(page.lsn)?;
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`BatchOpen`](crate::Error::BatchOpen) if this thread has one open already, or what stopped writing.
    pub fn pin_log(&self) -> Result<Batch<'_>> {
        Batch::begin(&self.inner.core)
    }
}
