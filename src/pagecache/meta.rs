//! Named roots: a small durable map from names to pages.
//!
//! It is a page like any other in the log (page 0, always a whole `Replace`), so snapshots, recovery and
//! garbage collection need to know nothing of it. In memory it is a map under a lock: it changes when a tree
//! is created or grows a new root, and is read when one is opened.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::shared::{Inner, Killer, PageCache};
use crate::error::{Corruption, Result};
use crate::format::{Payload, RecordKind, decode_roots, encode_roots};
use crate::ids::{HeadId, Lsn, PageId, Version};
use crate::log::Privilege;
use crate::pages::Fragment;
use crate::pages::publish::PreparedBase;
use crate::pages::table::Entry;
use crate::sync::epoch;

/// The named roots of a store, as they were at one moment.
pub type Roots = BTreeMap<Vec<u8>, PageId>;

/// The roots as they are now. Shared with those who asked for them.
#[derive(Debug, Default)]
pub(crate) struct Meta(Arc<Roots>);

/// The outcome of [`PageCache::cas_root_in_meta`].
///
/// ```
#[doc = include_str!("../docs/text_pages.txt")]
/// # fn main() -> pagelog::Result<()> {
/// # let cache = open()?;
/// use pagelog::RootCas;
///
/// let root = cache.allocate(Text("the root".into()))?;
/// let outcome = cache.cas_root_in_meta(b"tree", None, Some(root.page_id))?;
/// assert!(matches!(outcome, RootCas::Done { .. }));
/// assert_eq!(cache.meta_pid_for_name(b"tree")?, Some(root.page_id));
/// // It points somewhere by now.
/// let outcome = cache.cas_root_in_meta(b"tree", None, Some(root.page_id))?;
/// assert_eq!(outcome, RootCas::Changed { current: Some(root.page_id) });
/// # cache.close()
/// # }
/// ```
#[must_use = "the name may point elsewhere"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootCas {
    /// The name points where it was asked to.
    Done {
        /// The change's place in the log, to be made stable.
        lsn: Lsn,
    },
    /// The name did not point where it was expected to. Nothing was changed.
    Changed {
        /// Where it points.
        current: Option<PageId>,
    },
}

impl<F: Fragment> PageCache<F> {
    /// All named roots.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # let cache = open()?;
    /// let page = cache.allocate(Text("the root".into()))?;
    /// let _ = cache.cas_root_in_meta(b"tree", None, Some(page.page_id))?;
    /// let roots = cache.meta()?;
    /// // It stays as it was at that moment.
    /// let _ = cache.cas_root_in_meta(b"tree", Some(page.page_id), None)?;
    /// assert_eq!(roots.get(&b"tree"[..]), Some(&page.page_id));
    /// assert!(cache.meta()?.is_empty());
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Closed`](crate::Error::Closed); [`Corruption`](crate::Error::Corruption) if the store was
    /// [opened tolerantly](crate::Config::open_tolerantly) and they can't be read.
    pub fn meta(&self) -> Result<Arc<Roots>> {
        self.inner.core.gate().admit_read()?;
        self.inner.check_absent(PageId::META)?;
        Ok(Arc::clone(&self.inner.meta.lock().0))
    }

    /// The page that a name points to.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # let cache = open()?;
    /// use pagelog::RootCas;
    ///
    /// // The first thing to do with a store: find where everything begins, or make it. In a batch, so that no crash leaves a page without a name.
    /// let root = match cache.meta_pid_for_name(b"tree")? {
    ///     Some(page_id) => page_id,
    ///     None => {
    ///         let batch = cache.pin_log()?;
    ///         let new = cache.allocate(Text("the root".into()))?;
    ///         let root = match cache.cas_root_in_meta(b"tree", None, Some(new.page_id))? {
    ///             RootCas::Done { .. } => new.page_id,
    ///             // Another thread was first.
    ///             RootCas::Changed { current } => {
    ///                 let _ = cache.free(new.page_id, new.version)?;
    ///                 current.ok_or("it was removed again")?
    ///             }
    ///         };
    ///         batch.seal_batch()?;
    ///         root
    ///     }
    /// };
    /// assert_eq!(cache.meta_pid_for_name(b"tree")?, Some(root));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`meta`](Self::meta).
    pub fn meta_pid_for_name(&self, name: &[u8]) -> Result<Option<PageId>> {
        Ok(self.meta()?.get(name).copied())
    }

    /// Makes `name` point to `new` if it points to `old`. `None` stands for no such name: as `old` it makes
    /// sure that the name is new, as `new` it removes the name. Durable once its LSN is stable; in a batch,
    /// with the batch. Does not look whether there is such a page; removing a name frees none.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # let cache = open()?;
    /// use pagelog::RootCas;
    ///
    /// let page = cache.allocate(Text("the root".into()))?;
    /// let done = cache.cas_root_in_meta(b"tree", None, Some(page.page_id))?;
    /// assert!(matches!(done, RootCas::Done { .. }));
    /// // Gone, name first: a crash in between leaves a page that no name leads to, and never a name that leads nowhere.
    /// let done = cache.cas_root_in_meta(b"tree", Some(page.page_id), None)?;
    /// assert!(matches!(done, RootCas::Done { .. }));
    /// assert!(cache.free(page.page_id, page.version)?.is_done());
    /// assert_eq!(cache.meta_pid_for_name(b"tree")?, None);
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ValueTooLarge`](crate::Error::ValueTooLarge) if all names together do not fit in a segment,
    /// [`DiskFull`](crate::Error::DiskFull), or what stopped writing. Nothing was changed then.
    pub fn cas_root_in_meta(&self, name: &[u8], old: Option<PageId>, new: Option<PageId>) -> Result<RootCas> {
        let inner = &*self.inner;
        inner.admit(PageId::FIRST, Privilege::Ordinary)?;
        let outcome = inner.cas_root(name, old, new);
        inner.after_write();
        outcome
    }
}

impl<F: Fragment> Inner<F> {
    fn cas_root(&self, name: &[u8], old: Option<PageId>, new: Option<PageId>) -> Result<RootCas> {
        let mut meta = self.meta.lock();
        let current = meta.0.get(name).copied();
        if current != old {
            return Ok(RootCas::Changed { current });
        }
        let mut roots = Roots::clone(&meta.0);
        match new {
            Some(page_id) => roots.insert(name.to_vec(), page_id),
            None => roots.remove(name),
        };
        let lsn = self.log_roots(&encode_roots(&roots))?;
        meta.0 = Arc::new(roots);
        Ok(RootCas::Done { lsn })
    }

    /// Logs the roots as the next version of their page. Only under the lock, so the page does not change
    /// meanwhile.
    pub(super) fn log_roots(&self, payload: &[u8]) -> Result<Lsn> {
        let (page_id, guard) = (PageId::META, epoch::pin());
        let entry = self.table.entry(page_id, &guard).ok_or(crate::error::Error::TooManyPages)?;
        let (before, birth) = match &entry {
            Entry::Vacant(_) => (Version(0), Version(1)),
            Entry::Occupied(head) => (head.version(), head.birth()),
        };
        let version = Version(before.0 + 1);
        let base = PreparedBase::unread(version, birth);
        let kind = RecordKind::Replace { page_id, version, age: version.0 - birth.0 };
        let claim = self.core.reserve(HeadId::FRESH, Privilege::Ordinary, &kind, Payload::plain(payload))?;
        let old = base.publish(&entry, claim.place(), claim.length());
        let old = old.map_err(|_| crate::error::Error::ReservedPageId)?;
        let (lsn, killer) = (claim.lsn(), Killer { end: claim.end() });
        self.core.batches().note_write();
        claim.complete();
        if let Some(chain) = old {
            self.bury(chain, killer);
        }
        Ok(lsn)
    }

    /// Reads the roots after an opening.
    pub(super) fn load_roots(&self) -> Result<()> {
        let guard = epoch::pin();
        let Some(head) = self.table.head(PageId::META, &guard) else { return Ok(()) };
        let roots = self.read_node(PageId::META, head.newest(), |payload| {
            decode_roots(payload).ok_or_else(|| {
                let corruption = Corruption::new(self.core.log_path(), "the named roots can't be decoded");
                corruption.of_page(PageId::META).into()
            })
        })?;
        self.meta.lock().0 = Arc::new(roots.unwrap_or_default());
        Ok(())
    }
}
