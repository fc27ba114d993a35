//! A page, seen through a guard.

use std::cell::Cell;
use std::fmt;

use super::guard::Guard;
use super::shared::Inner;
use crate::ids::{Lsn, PageId, Version};
use crate::pages::Fragment;
use crate::pages::chain::{Head, Seen};
use crate::pages::node_ref::NodeRef;
use crate::pages::parts::{Iter, Parts};

/// One version of a page, for as long as its guard lives.
///
/// ```
#[doc = include_str!("../docs/text_pages.txt")]
/// # fn main() -> pagelog::Result<()> {
/// # let cache = open()?;
/// let page = cache.allocate(Text("a".into()))?;
/// let version = cache.link(page.page_id, page.version, Text("b".into()))?.done();
/// let guard = cache.pin();
/// let Some(found) = guard.get(page.page_id)? else { unreachable!("nobody has freed it") };
/// assert_eq!((found.page_id(), Some(found.version())), (page.page_id, version));
/// assert_eq!(found.merged().0, "ab");
/// // It is two records long, and the link's is the newest.
/// assert!(found.size_on_disk() > 2 && found.lsn() > page.lsn);
/// # drop(guard);
/// # cache.close()
/// # }
/// ```
pub struct Page<'g, F: Fragment> {
    // It is returned by value from the quickest of all calls. So what is inlined where it is used hands no
    // reference to it to what is not: then it stays in registers, and the next read need not wait for stores
    // that wait for this one.
    guard: &'g Guard<'g, F>,
    seen: Seen<'g, F>,
    contents: Contents<'g, F>,
}

/// What was found of a page. Nothing that has to be dropped.
pub(super) struct Contents<'g, F: Fragment> {
    /// The whole page, unless it is still to be merged.
    merged: Cell<Option<&'g F>>,
    parts: Parts<'g, F>,
}

impl<'g, F: Fragment> Contents<'g, F> {
    #[inline]
    pub(super) fn whole(seen: Seen<'g, F>, page: &'g F) -> Self {
        Self { merged: Cell::new(Some(page)), parts: seen.whole(page) }
    }

    /// In parts, to be merged when that is asked for.
    pub(super) fn in_parts(parts: Parts<'g, F>) -> Self {
        Self { merged: Cell::new(None), parts }
    }
}

impl<F: Fragment> fmt::Debug for Page<'_, F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (page_id, version) = (self.page_id(), self.version());
        formatter
            .debug_struct("Page")
            .field("page_id", &page_id)
            .field("version", &version)
            .finish_non_exhaustive()
    }
}

impl<'g, F: Fragment> Page<'g, F> {
    #[inline]
    pub(super) fn new(guard: &'g Guard<'g, F>, seen: Seen<'g, F>, contents: Contents<'g, F>) -> Self {
        Self { guard, seen, contents }
    }

    #[inline]
    fn inner(&self) -> &'g Inner<F> {
        self.guard.inner
    }

    #[inline]
    fn head(&self) -> Head<'g, F> {
        self.seen.head(&self.guard.inner.table, &self.guard.epoch)
    }

    /// The whole page. If it was linked to since it was last merged, this merges it, and leaves the result
    /// for later readers.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # let cache = open()?;
    /// let page = cache.allocate(Text("a".into()))?;
    /// let _ = cache.link(page.page_id, page.version, Text("b".into()))?;
    /// let guard = cache.pin();
    /// let merged = guard.get(page.page_id)?.map(|page| page.merged());
    /// assert_eq!(merged.map(|text| text.0.as_str()), Some("ab"));
    /// // The next reader finds it merged.
    /// assert_eq!(guard.get(page.page_id)?.map(|page| page.fragments().count()), Some(1));
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    #[inline]
    #[must_use]
    pub fn merged(&self) -> &'g F {
        let Contents { merged, parts } = &self.contents;
        merged.get().unwrap_or_else(|| {
            let content = merge(self.guard, self.seen, *parts);
            merged.set(Some(content));
            content
        })
    }

    /// The fragments that the page is made of, unmerged, the newest first. The oldest of them may itself be
    /// the merger of older ones.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # let cache = open()?;
    /// let page = cache.allocate(Text("a".into()))?;
    /// let _ = cache.link(page.page_id, page.version, Text("b".into()))?;
    /// let guard = cache.pin();
    /// let Some(found) = guard.get(page.page_id)? else { unreachable!("nobody has freed it") };
    /// let fragments: Vec<&str> = found.fragments().map(|text| text.0.as_str()).collect();
    /// assert_eq!(fragments, ["b", "a"]);
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    #[inline]
    #[must_use]
    pub fn fragments(&self) -> Fragments<'_, 'g, F> {
        Fragments { page: self, left: self.contents.parts.iter() }
    }

    /// The page's id.
    #[must_use]
    pub fn page_id(&self) -> PageId {
        self.head().page_id()
    }

    /// The version seen: the token for a compare-and-swap on it.
    #[inline]
    #[must_use]
    pub fn version(&self) -> Version {
        self.head().version()
    }

    /// The version with which this life of the page id began.
    pub(super) fn birth(&self) -> Version {
        self.head().birth()
    }

    /// Where the newest record of this version lies in the log now. Once that is stable, so is the version.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        let core = &self.inner().core;
        // A record that is dead has been superseded; what superseded it is before the end of the log.
        self.head().newest().place().map_or_else(|| core.tail(), |place| core.lsn_of(place))
    }

    /// The bytes that the page's records take: in the log, and in files of their own.
    #[must_use]
    pub fn size_on_disk(&self) -> u64 {
        let large = self.inner().core.large();
        let size = |node: NodeRef<'g, F>| {
            let outside = match node.bulk().is_some() {
                // Not there any more if the page has changed and somebody has tidied up already; or not yet
                // known.
                true => large.bytes_of(node.page_id(), node.version()).unwrap_or(node.bulk().bytes().into()),
                false => 0,
            };
            u64::from(node.length()) + outside
        };
        self.head().nodes().map(size).sum()
    }
}

/// Merges a page, and leaves the result for later readers.
#[cold]
fn merge<'g, F: Fragment>(guard: &'g Guard<'g, F>, seen: Seen<'g, F>, parts: Parts<'g, F>) -> &'g F {
    let (inner, head) = (guard.inner, seen.head(&guard.inner.table, &guard.epoch));
    let content = head.newest().install(parts.merge());
    let _ = head.shed(|place, length| inner.core.is_written(place, length));
    inner.keep_budget();
    content
}

/// The fragments of a [`Page`], newest first. How many are left, and the last of them, are known without a
/// look at the others.
///
/// ```
#[doc = include_str!("../docs/text_pages.txt")]
/// # let cache = open()?;
/// let page = cache.allocate(Text("a plum".into()))?;
/// let _ = cache.link(page.page_id, page.version, Text(", a pear".into()))?;
/// let guard = cache.pin();
/// let Some(found) = guard.get(page.page_id)? else { unreachable!("nobody has freed it") };
/// // Where the newest fragment has the answer, nothing has to be merged.
/// let newest = found.fragments().find(|text| text.0.contains("pear"));
/// assert_eq!(newest.map(|text| text.0.as_str()), Some(", a pear"));
/// assert_eq!(found.fragments().len(), 2);
/// assert_eq!(found.fragments().last().map(|text| text.0.as_str()), Some("a plum"));
/// # Ok::<(), pagelog::Error>(())
/// ```
pub struct Fragments<'p, 'g, F: Fragment> {
    page: &'p Page<'g, F>,
    left: Iter<'g, F>,
}

impl<F: Fragment> fmt::Debug for Fragments<'_, '_, F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Fragments").field("page", self.page).field("left", &self.left).finish()
    }
}

impl<'g, F: Fragment> Iterator for Fragments<'_, 'g, F> {
    type Item = &'g F;

    #[inline]
    fn next(&mut self) -> Option<&'g F> {
        self.left.next()
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.left.size_hint()
    }

    #[inline]
    fn count(self) -> usize {
        self.left.count()
    }

    #[inline]
    fn last(self) -> Option<&'g F> {
        self.left.last()
    }
}

impl<F: Fragment> ExactSizeIterator for Fragments<'_, '_, F> {}
