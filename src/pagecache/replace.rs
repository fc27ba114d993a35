//! `replace`: other contents for a page.

use super::large::bulk_of;
use super::outcome::Cas;
use super::shared::{Inner, Killer, PageCache};
use crate::error::Result;
use crate::format::RecordKind;
use crate::ids::{HeadId, PageId, Version};
use crate::log::{LargeFile, Privilege};
use crate::pages::Fragment;
use crate::pages::chain::Head;
use crate::pages::content::Content;
use crate::pages::publish::{LostRace, PreparedBase};
use crate::pages::table::Entry;
use crate::stats::Counter;
use crate::sync::epoch;

impl<F: Fragment> PageCache<F> {
    /// Makes `fragment` the whole contents of the page, if the page still has that version.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # let cache = open()?;
    /// let page = cache.allocate(Text("old".into()))?;
    /// assert!(cache.replace(page.page_id, page.version, Text("new".into()))?.is_done());
    /// // Whoever builds on the old page is too late.
    /// assert!(!cache.replace(page.page_id, page.version, Text("newer".into()))?.is_done());
    /// let guard = cache.pin();
    /// assert_eq!(guard.get(page.page_id)?.map(|page| page.merged().0.as_str()), Some("new"));
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Encode`](crate::Error::Encode), [`ValueTooLarge`](crate::Error::ValueTooLarge),
    /// [`DiskFull`](crate::Error::DiskFull), [`ReservedPageId`](crate::Error::ReservedPageId), or what
    /// stopped writing. Nothing was logged then, and the fragment is dropped.
    pub fn replace(&self, page_id: PageId, version: Version, fragment: F) -> Result<Cas<F>> {
        let inner = &*self.inner;
        inner.admit(page_id, Privilege::Ordinary)?;
        let outcome = inner.replace(page_id, version, fragment);
        inner.after_write();
        outcome
    }
}

impl<F: Fragment> Inner<F> {
    fn replace(&self, page_id: PageId, version: Version, fragment: F) -> Result<Cas<F>> {
        let guard = epoch::pin();
        match self.at_version(page_id, version, &guard) {
            Ok(head) => match self.put(page_id, head, fragment, Counter::Replace, None)? {
                Cas::Changed { fragment, .. } => Ok(self.lost_to(page_id, version, &guard).with(fragment)),
                other => Ok(other),
            },
            Err(stale) => Ok(stale.with(fragment)),
        }
    }

    /// Logs the contents as the page's next version and puts them in place of the head. If the head has
    /// changed, the contents come back as [`Cas::Changed`], with the version that was asked for. `handed_in`
    /// is how many of the encoded bytes came from the user, if not all.
    pub(super) fn put(
        &self,
        page_id: PageId,
        head: Head<'_, F>,
        content: F,
        verb: Counter,
        handed_in: Option<usize>,
    ) -> Result<Cas<F>> {
        let (version, birth) = (Version(head.version().0 + 1), head.birth());
        self.with_encoded(content, |content, length, payload| {
            let kind = RecordKind::Replace { page_id, version, age: version.0 - birth.0 };
            let file = self.store_outside(&kind, payload)?;
            let payload = file.as_ref().map_or(payload, LargeFile::payload);
            let mut base = PreparedBase::page(version, birth, Content::new(content, length as u64));
            base.set_bulk(bulk_of(file.as_ref()));
            let claim = self.core.reserve(HeadId::FRESH, Privilege::Ordinary, &kind, payload)?;
            match base.publish(&Entry::Occupied(head), claim.place(), claim.length()) {
                Ok(chain) => {
                    let (lsn, killer) = (claim.lsn(), Killer { end: claim.end() });
                    self.count(verb, claim.length(), handed_in.unwrap_or(length));
                    claim.complete();
                    if let Some(file) = file {
                        file.publish();
                    }
                    if let Some(chain) = chain {
                        self.bury(chain, killer);
                    }
                    Ok(Cas::Done { version, lsn })
                }
                Err(LostRace(Some(fragment))) => {
                    drop(claim);
                    Ok(Cas::Changed { current: head.version(), fragment })
                }
                // A page's base is made with contents, so this can't be.
                Err(LostRace(None)) => Err(crate::error::Error::ReservedPageId),
            }
        })
    }
}
