//! `link`: one more fragment on top of a page.

use super::large::bulk_of;
use super::outcome::Cas;
use super::shared::{Inner, PageCache, encode, with_scratch};
use crate::error::Result;
use crate::format::RecordKind;
use crate::ids::{HeadId, PageId, Version};
use crate::log::{LargeFile, Privilege};
use crate::pages::Fragment;
use crate::pages::chain::Head;
use crate::stats::Counter;
use crate::sync::epoch;

impl<F: Fragment> PageCache<F> {
    /// Puts `fragment` on top of the page, if the page still has that version. Does not read the page:
    /// neither from memory nor from disk.
    ///
    /// When a page has collected many links, or large ones
    /// ([`Config::max_chain_length`](crate::Config::max_chain_length),
    /// [`Config::max_chain_ratio`](crate::Config::max_chain_ratio)), the next one writes the whole merged
    /// page, which reads what of it is not in memory.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # let cache = open()?;
    /// use pagelog::Cas;
    ///
    /// let page = cache.allocate(Text("a".into()))?;
    /// assert!(cache.link(page.page_id, page.version, Text("b".into()))?.is_done());
    /// // That version has passed. The fragment comes back.
    /// let late = cache.link(page.page_id, page.version, Text("c".into()))?;
    /// assert!(matches!(late, Cas::Changed { fragment: Text(text), .. } if text == "c"));
    /// let guard = cache.pin();
    /// assert_eq!(guard.get(page.page_id)?.map(|page| page.merged().0.as_str()), Some("ab"));
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Encode`](crate::Error::Encode), [`ValueTooLarge`](crate::Error::ValueTooLarge),
    /// [`DiskFull`](crate::Error::DiskFull), [`ReservedPageId`](crate::Error::ReservedPageId), or what
    /// stopped writing; with a whole page to be written also what can go wrong in reading it. Nothing was
    /// logged then, and the fragment is dropped.
    pub fn link(&self, page_id: PageId, version: Version, fragment: F) -> Result<Cas<F>> {
        let inner = &*self.inner;
        inner.admit(page_id, Privilege::Ordinary)?;
        let outcome = inner.link(page_id, version, fragment);
        inner.after_write();
        outcome
    }
}

impl<F: Fragment> Inner<F> {
    fn link(&self, page_id: PageId, version: Version, fragment: F) -> Result<Cas<F>> {
        let guard = epoch::pin();
        let head = match self.at_version(page_id, version, &guard) {
            Ok(head) => head,
            Err(stale) => return Ok(stale.with(fragment)),
        };
        head.prefetch_link();
        let bounds = self.consolidation.bounds(self.budget.nodes());
        if bounds.are_reached(head) {
            return self.consolidate(page_id, head, fragment, &guard);
        }
        self.with_encoded(fragment, |fragment, length, payload| {
            let kind = RecordKind::Link { page_id, version: Version(version.0 + 1) };
            let file = self.store_outside(&kind, payload)?;
            let payload = file.as_ref().map_or(payload, LargeFile::payload);
            let mut link = head.prepare_link(fragment, length, bounds.expected(head));
            if file.is_some() {
                link.set_bulk(bulk_of(file.as_ref()));
            }
            let claim = self.core.reserve(HeadId::FRESH, Privilege::Ordinary, &kind, payload)?;
            match link.publish(claim.place(), claim.length()) {
                Ok(version) => {
                    let lsn = claim.lsn();
                    self.count(Counter::Link, claim.length(), length);
                    claim.complete();
                    if let Some(file) = file {
                        file.publish();
                    }
                    Ok(Cas::Done { version, lsn })
                }
                Err(fragment) => {
                    drop(claim);
                    Ok(self.lost_to(page_id, version, &guard).with(fragment))
                }
            }
        })
    }

    /// Writes the page with the fragment merged in.
    #[cold]
    fn consolidate(
        &self,
        page_id: PageId,
        head: Head<'_, F>,
        fragment: F,
        guard: &epoch::Guard,
    ) -> Result<Cas<F>> {
        let version = head.version();
        let Some(merged) = self.merge_chain(page_id, &head.read(), Some(&fragment))? else {
            return Ok(self.lost_to(page_id, version, guard).with(fragment));
        };
        // Users are told how much is written for what they hand in: that is the fragment, not the page.
        let handed_in = with_scratch(|bytes| encode(&fragment, bytes).map(|()| bytes.len()))?;
        let merged = merged.into_value();
        let outcome = self.put(page_id, head, merged, Counter::Consolidation, Some(handed_in))?;
        Ok(match outcome {
            Cas::Done { version, lsn } => Cas::Done { version, lsn },
            // What comes back is the merged page; the user gets the fragment.
            Cas::Changed { .. } | Cas::Gone { .. } => self.lost_to(page_id, version, guard).with(fragment),
        })
    }
}
