//! `get`: reading a page.
//!
//! A hit is: the table's word, the node, its content. A page with links that were not merged yet is a hit
//! too; it is merged when [`Page::merged`] is first asked for. A miss reads the records that are not in
//! memory, merges, and installs the result at the newest node, where the next read finds it.

use super::guard::Guard;
use super::page::{Contents, Page};
use super::shared::{Inner, PageCache};
use crate::error::{Error, Result};
use crate::failpoints::failpoint;
use crate::ids::{PageId, Version};
use crate::pages::Fragment;
use crate::pages::chain::{ChainRead, Seen};
use crate::pages::content::Content;
use crate::stats::Counter;
use crate::sync::epoch;

impl<F: Fragment> Guard<'_, F> {
    /// The page, or `None` if there is none of that id. By reference: nothing is copied, and nothing is
    /// allocated if the page is in memory.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # let cache = open()?;
    /// let page = cache.allocate(Text("a page".into()))?;
    /// let guard = cache.pin();
    /// let Some(found) = guard.get(page.page_id)? else { unreachable!("nobody has freed it") };
    /// assert_eq!(found.merged().0, "a page");
    /// assert!(guard.get(pagelog::PageId::new(1000))?.is_none());
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ReservedPageId`](Error::ReservedPageId), [`Closed`](Error::Closed), and what can go wrong in reading
    /// records: [`Io`](Error::Io), [`Corruption`](Error::Corruption), [`Decode`](Error::Decode).
    // Always: what is returned is many words, most of which nobody looks at where this is inlined (see
    // `Page`).
    #[inline(always)]
    pub fn get(&self, page_id: PageId) -> Result<Option<Page<'_, F>>> {
        let (inner, core) = (self.inner, &*self.inner.core);
        core.gate().admit_read()?;
        let Some(seen) = inner.table.look_up(page_id, &self.epoch) else {
            return inner.absent(page_id).map(|()| None);
        };
        if let Some(content) = seen.hit() {
            core.counters().one(Counter::Hit);
            return Ok(Some(Page::new(self, seen, Contents::whole(seen, content))));
        }
        let found = self.get_slowly(page_id)?;
        Ok(found.map(|(seen, contents)| Page::new(self, seen, contents)))
    }

    #[cold]
    fn get_slowly(&self, page_id: PageId) -> Result<Option<(Seen<'_, F>, Contents<'_, F>)>> {
        let inner = self.inner;
        if page_id == PageId::META {
            return Err(Error::ReservedPageId);
        }
        // Goes round only if the page was changed or merged meanwhile.
        loop {
            let Some(seen) = inner.table.look_up(page_id, &self.epoch) else { return Ok(None) };
            let head = seen.head(&inner.table, &self.epoch);
            if head.is_freed() {
                return Ok(None);
            }
            if let Some(content) = seen.hit() {
                // It was replaced since it was first looked up. A record that is not written yet has its
                // contents in memory, and must not be read: its bytes may not be there.
                inner.core.counters().one(Counter::Hit);
                return Ok(Some((seen, Contents::whole(seen, content))));
            }
            if head.depth() == 0 {
                // Most pages are one record; without a chain there is nothing to collect and to merge.
                let Some(page) = inner.fetch(page_id, head.newest())? else { continue };
                return Ok(Some((seen, self.paged_in(seen, page))));
            }
            if let Some(parts) = head.parts() {
                inner.core.counters().one(Counter::Hit);
                head.newest().touch();
                return Ok(Some((seen, Contents::in_parts(parts))));
            }
            let chain = head.read();
            if chain.missing().next().is_none() {
                // Somebody has merged it since.
                continue;
            }
            if let Some(page) = inner.merge_chain(page_id, &chain, None)? {
                return Ok(Some((seen, self.paged_in(seen, page))));
            }
        }
    }

    /// Installs a page that was read, and keeps the budget.
    fn paged_in<'g>(&'g self, seen: Seen<'g, F>, page: Content<F>) -> Contents<'g, F> {
        let inner = self.inner;
        let head = seen.head(&inner.table, &self.epoch);
        inner.core.counters().one(Counter::Miss);
        failpoint!("page::paged_in");
        let content = head.newest().install(page);
        let _ = head.shed(|place, length| inner.core.is_written(place, length));
        inner.keep_budget();
        Contents::whole(seen, content)
    }
}

impl<F: Fragment> PageCache<F> {
    /// The page's version, or `None` if there is no page of that id. Does not touch its contents, nor the
    /// disk.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # let cache = open()?;
    /// let page = cache.allocate(Text("a".into()))?;
    /// // All that is needed to link to a page, whatever is in it.
    /// if let Some(version) = cache.version(page.page_id)? {
    ///     assert!(cache.link(page.page_id, version, Text("b".into()))?.is_done());
    /// }
    /// assert!(cache.version(page.page_id)? > Some(page.version));
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ReservedPageId`](Error::ReservedPageId), [`Closed`](Error::Closed);
    /// [`Corruption`](Error::Corruption) if the store was [opened tolerantly](crate::Config::open_tolerantly)
    /// and the page can't be read.
    pub fn version(&self, page_id: PageId) -> Result<Option<Version>> {
        self.inner.core.gate().admit_read()?;
        let guard = epoch::pin();
        match self.inner.table.head(page_id, &guard) {
            Some(_) if page_id == PageId::META => Err(Error::ReservedPageId),
            Some(head) if !head.is_freed() => {
                // Who asks for a version is about to write.
                head.prefetch_link();
                Ok(Some(head.version()))
            }
            Some(_) => Ok(None),
            None => self.inner.check_absent(page_id).map(|()| None),
        }
    }
}

impl<F: Fragment> Inner<F> {
    #[cold]
    fn absent(&self, page_id: PageId) -> Result<()> {
        if page_id == PageId::META {
            return Err(Error::ReservedPageId);
        }
        self.check_absent(page_id)
    }

    /// The page in one piece, with another fragment on top if there is one. `None` if a record is not needed
    /// by anyone else any more and can't be found: then the page has changed since its head was looked up.
    pub(super) fn merge_chain(
        &self,
        page_id: PageId,
        chain: &ChainRead<'_, F>,
        on_top: Option<&F>,
    ) -> Result<Option<Content<F>>> {
        let nodes: Vec<_> = chain.missing().collect();
        let fetched = self.fetch_all(page_id, &nodes)?;
        Ok(fetched.and_then(|fetched| chain.merge(fetched, on_top)))
    }
}
