//! `free`: the end of a page.

use super::outcome::Cas;
use super::shared::{Inner, Killer, PageCache};
use crate::error::Result;
use crate::format::{Payload, RecordKind};
use crate::ids::{HeadId, PageId, Version};
use crate::log::Privilege;
use crate::pages::Fragment;
use crate::pages::publish::PreparedBase;
use crate::pages::table::Entry;
use crate::stats::Counter;
use crate::sync::epoch;

impl<F: Fragment> PageCache<F> {
    /// Frees the page, if it still has that version. Its id will be used again, with higher versions, so a
    /// token of this life will never pass for one of the next.
    ///
    /// Works on a full disk too, as far as the log's reserve reaches.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # let cache = open()?;
    /// use pagelog::Cas;
    ///
    /// let page = cache.allocate(Text("a page".into()))?;
    /// assert!(cache.free(page.page_id, page.version)?.is_done());
    /// assert_eq!(cache.version(page.page_id)?, None);
    /// // Another page gets the id. The old token is of no use with it.
    /// let another = cache.allocate(Text("another".into()))?;
    /// assert_eq!(another.page_id, page.page_id);
    /// assert_eq!(cache.free(page.page_id, page.version)?, Cas::Gone { fragment: () });
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`DiskFull`](crate::Error::DiskFull), [`ReservedPageId`](crate::Error::ReservedPageId), or what
    /// stopped writing. Nothing was logged then.
    pub fn free(&self, page_id: PageId, version: Version) -> Result<Cas<()>> {
        let inner = &*self.inner;
        inner.admit(page_id, Privilege::Free)?;
        let outcome = inner.free(page_id, version);
        inner.after_write();
        outcome
    }
}

impl<F: Fragment> Inner<F> {
    fn free(&self, page_id: PageId, version: Version) -> Result<Cas<()>> {
        let guard = epoch::pin();
        let head = match self.at_version(page_id, version, &guard) {
            Ok(head) => head,
            Err(stale) => return Ok(stale.with(())),
        };
        let (next, birth) = (Version(version.0 + 1), head.birth());
        let base = PreparedBase::freed(next, birth);
        let kind = RecordKind::Free { page_id, version: next, age: next.0 - birth.0 };
        let claim = self.core.reserve(HeadId::FRESH, Privilege::Free, &kind, Payload::NONE)?;
        match base.publish(&Entry::Occupied(head), claim.place(), claim.length()) {
            Ok(chain) => {
                let (lsn, killer) = (claim.lsn(), Killer { end: claim.end() });
                self.count(Counter::Free, claim.length(), 0);
                claim.complete();
                if let Some(chain) = chain {
                    self.bury(chain, killer);
                }
                self.free_list.push(page_id);
                Ok(Cas::Done { version: next, lsn })
            }
            Err(_) => {
                drop(claim);
                Ok(self.lost_to(page_id, version, &guard).with(()))
            }
        }
    }
}
