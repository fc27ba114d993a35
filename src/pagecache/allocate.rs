//! `allocate`: a new page.

use super::large::bulk_of;
use super::outcome::Allocated;
use super::shared::{Inner, Killer, PageCache};
use crate::error::{Error, Result};
use crate::format::RecordKind;
use crate::ids::{HeadId, PageId, Version};
use crate::log::{LargeFile, Privilege};
use crate::pages::Fragment;
use crate::pages::content::Content;
use crate::pages::publish::PreparedBase;
use crate::pages::table::Entry;
use crate::stats::Counter;
use crate::sync::atomic::Ordering;
use crate::sync::epoch;

impl<F: Fragment> PageCache<F> {
    /// Makes a new page that holds `fragment`. Ids of freed pages are used first, the lowest of them first.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # let cache = open()?;
    /// let page = cache.allocate(Text("a page".into()))?;
    /// assert_eq!(cache.version(page.page_id)?, Some(page.version));
    /// let another = cache.allocate(Text("another".into()))?;
    /// assert!(another.page_id != page.page_id && another.lsn > page.lsn);
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Encode`](Error::Encode), [`ValueTooLarge`](Error::ValueTooLarge), [`DiskFull`](Error::DiskFull),
    /// [`TooManyPages`](Error::TooManyPages), or what stopped writing. Nothing was logged then, no id is
    /// lost, and the fragment is dropped.
    pub fn allocate(&self, fragment: F) -> Result<Allocated> {
        let inner = &*self.inner;
        inner.admit(PageId::FIRST, Privilege::Ordinary)?;
        let page_id = inner.take_page_id()?;
        let allocated = inner.allocate_at(page_id, fragment);
        if allocated.is_err() {
            inner.free_list.push(page_id);
        }
        inner.after_write();
        allocated
    }
}

impl<F: Fragment> Inner<F> {
    fn take_page_id(&self) -> Result<PageId> {
        if let Some(page_id) = self.free_list.pop() {
            return Ok(page_id);
        }
        let next = self.next_page_id.fetch_add(1, Ordering::Relaxed);
        if next < PageId::LIMIT {
            return Ok(PageId(next));
        }
        self.next_page_id.store(PageId::LIMIT, Ordering::Relaxed);
        Err(Error::TooManyPages)
    }

    fn allocate_at(&self, page_id: PageId, fragment: F) -> Result<Allocated> {
        let guard = epoch::pin();
        let entry = self.table.entry(page_id, &guard).ok_or(Error::TooManyPages)?;
        let before = match &entry {
            Entry::Vacant(_) => self.version_floor,
            Entry::Occupied(head) => head.version(),
        };
        let version = Version(before.0 + 1);
        self.with_encoded(fragment, |fragment, length, payload| {
            let kind = RecordKind::Replace { page_id, version, age: 0 };
            let file = self.store_outside(&kind, payload)?;
            let payload = file.as_ref().map_or(payload, LargeFile::payload);
            let mut base = PreparedBase::page(version, version, Content::new(fragment, length as u64));
            base.set_bulk(bulk_of(file.as_ref()));
            let claim = self.core.reserve(HeadId::FRESH, Privilege::Ordinary, &kind, payload)?;
            // The id is this thread's alone, so the entry is what it was.
            let freed =
                base.publish(&entry, claim.place(), claim.length()).map_err(|_| Error::TooManyPages)?;
            let (lsn, killer) = (claim.lsn(), Killer { end: claim.end() });
            self.count(Counter::Allocate, claim.length(), length);
            claim.complete();
            if let Some(file) = file {
                file.publish();
            }
            if let Some(chain) = freed {
                self.bury(chain, killer);
            }
            Ok(Allocated { page_id, version, lsn })
        })
    }

    /// Takes note of a record that a verb has logged and put in force.
    #[inline]
    pub(super) fn count(&self, verb: Counter, length: u32, payload: usize) {
        self.core.batches().note_write();
        let counters = self.core.counters();
        counters.one(verb);
        counters.add(Counter::FreshBytes, length.into());
        counters.add(Counter::PayloadBytes, payload as u64);
    }
}
