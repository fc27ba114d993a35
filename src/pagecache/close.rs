//! `close`, and drop.

use super::shared::{Inner, PageCache};
use crate::error::{Error, Result};
use crate::pages::Fragment;

impl<F: Fragment> PageCache<F> {
    /// Flushes, writes a snapshot, and releases the lock. Later calls on any handle fail with [`Error::Closed`]; closing
    /// twice does nothing. Dropping the last handle does the same, but can only log errors.
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
    /// What the flush or the snapshot met with; [`BatchOpen`](Error::BatchOpen) if the calling thread has a batch open. The
    /// instance is closed and the lock released all the same.
    pub fn close(&self) -> Result<()> {
        self.owner.close()
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
        self.core.make_stable_below(self.core.tail())?;
        self.core.large().reap(&self.core);
        self.close_snapshot()?;
        self.shrink_at_last()?;
        self.core.supply().note_stable(&self.core)
    }
}
