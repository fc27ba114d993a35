//! `close`, and drop.

use super::shared::{Inner, PageCache};
use crate::error::{Error, Result};
use crate::pages::Fragment;

impl<F: Fragment> PageCache<F> {
    /// Flushes, writes a snapshot, and releases the lock. Later calls on any handle fail with
    /// [`Error::Closed`]; closing twice does nothing. A batch that another thread has open is waited for:
    /// nothing more is written in it, but it can be sealed. Dropping the last handle closes as well, but can
    /// only log errors.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # let cache = open()?;
    /// use pagelog::Error;
    ///
    /// cache.allocate(Text("a page".into()))?;
    /// let clone = cache.clone();
    /// cache.close()?;
    /// assert!(matches!(clone.allocate(Text("too late".into())), Err(Error::Closed)));
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`BatchOpen`](Error::BatchOpen) if the calling thread has a batch open: then nothing has happened, and
    /// it can be sealed. What the flush or the snapshot met with: then the instance is closed and the lock
    /// released all the same, and if that has stopped writing, closing again says so again.
    pub fn close(&self) -> Result<()> {
        let core = &self.inner.core;
        if !core.gate().is_closed() && core.batches().is_own() {
            return Err(Error::BatchOpen);
        }
        self.owner.close()?;
        core.gate().tell_failure()
    }
}

impl<F: Fragment> Inner<F> {
    pub(super) fn close(&self) -> Result<()> {
        if !self.core.gate().close() {
            return Ok(());
        }
        let settled = self.settle();
        self.core.stop();
        self.snapshots.end();
        *self.lock.lock() = None;
        if self.temporary {
            let storage = self.core.storage();
            storage.remove_directory().map_err(|error| Error::io("remove", storage.describe(""), error))?;
        }
        settled
    }

    /// Makes everything stable, and writes it down.
    fn settle(&self) -> Result<()> {
        if self.core.gate().is_read_only() || self.temporary {
            return Ok(());
        }
        self.core.make_stable_at_last()?;
        self.core.large().reap(&self.core);
        self.close_snapshot()?;
        self.shrink_at_last()?;
        self.core.supply().note_stable(&self.core)
    }
}
