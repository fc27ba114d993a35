//! A guard: what was read through it stays as long as it lives.

use std::fmt;

use super::shared::{Inner, PageCache};
use crate::pages::Fragment;
use crate::sync::epoch;

/// Keeps what was read through it in memory. Got from [`PageCache::pin`], and good for that instance only.
///
/// A guard does not lock anything: pages change, are evicted and freed while it is held, but what it has
/// handed out stays. The memory and the log segments that were given up meanwhile can't be used again before
/// the guard is dropped, in all stores of the process; so hold it for one operation, not for a session. When
/// that makes a store exceed its memory budget, each write to it waits for up to 2 ms. Writing needs no
/// guard.
///
/// ```
#[doc = include_str!("../docs/text_pages.txt")]
/// # fn main() -> pagelog::Result<()> {
/// # let cache = open()?;
/// let page = cache.allocate(Text("a page".into()))?;
/// let guard = cache.pin();
/// let text = guard.get(page.page_id)?.map(|page| page.merged().0.as_str());
/// // The page goes, but not what was read of it.
/// let _ = cache.free(page.page_id, page.version)?;
/// assert_eq!(text, Some("a page"));
/// assert!(guard.get(page.page_id)?.is_none());
/// # drop(guard);
/// # cache.close()
/// # }
/// ```
pub struct Guard<'c, F: Fragment> {
    pub(super) inner: &'c Inner<F>,
    pub(super) epoch: epoch::Guard,
}

impl<F: Fragment> fmt::Debug for Guard<'_, F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Guard").finish_non_exhaustive()
    }
}

impl<F: Fragment> PageCache<F> {
    /// A guard to read through. Takes a few nanoseconds; more if this thread read pages from the disk while
    /// much memory waited for readers, for then it helps to free that first.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # let cache = open()?;
    /// let page = cache.allocate(Text("old".into()))?;
    /// let guard = cache.pin();
    /// // It locks nothing, and what it reads is the present.
    /// assert!(cache.replace(page.page_id, page.version, Text("new".into()))?.is_done());
    /// assert_eq!(guard.get(page.page_id)?.map(|page| page.merged().0.as_str()), Some("new"));
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    #[must_use]
    #[inline]
    pub fn pin(&self) -> Guard<'_, F> {
        let inner = &self.inner;
        Guard { inner, epoch: epoch::pin_unless_due().unwrap_or_else(|| inner.pin_slowly()) }
    }
}

impl<F: Fragment> Inner<F> {
    /// For the first guard of a thread, and when it owes help.
    #[cold]
    fn pin_slowly(&self) -> epoch::Guard {
        self.give_owed_help();
        epoch::pin()
    }
}
