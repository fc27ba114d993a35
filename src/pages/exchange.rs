//! Exchanging the base of a page for a copy of it: a full one for a slim one when the page is evicted, a slim
//! one for a full one when it is read back.
//!
//! Only a base that is the head is exchanged, and the record, the version and the birth of the copy are the
//! same. So nobody's compare-and-swap can fail of it: who finds another word of the same version publishes on
//! top of that.
//!
//! The base's cell is frozen first (`cell`, E), so that the record is not moved between the copy's place
//! being read and the copy being the head: the move would be noted in a base that nobody looks at any more,
//! and the copy would name a place that is used for something else one day. Who can't freeze it leaves it: an
//! eviction comes again, and what was read back is lent to its reader.
//!
//! # Moving a record whose cell is frozen
//! Nobody waits for whoever froze it, who may have been stopped. What a mover finds is one of these:
//!
//! - **(A)** The base still is the head. Then the mover exchanges it, for a slim one that names the new
//!   place: the record can be read back, or it would not be moved. Whoever froze the base will fail to
//!   exchange it, and what is done to its cell then does not matter.
//! - **(B)** A copy is the head. Then the record is moved there, or its cell is frozen too.
//! - **(C)** There are links on top of the base, so it will never be exchanged: a word that was left does not
//!   come back under a guard. Then the cell is moved as it is, and whoever froze it finds it changed.
//! - **(D)** The page is another version, of which the base is no part. Then the record is dead, or is about
//!   to be.
//!
//! Those who have reached the base before keep it, with its value, as long as their guards; its place stays
//! true as long too, for a segment is not used again before readers have moved on.

use std::ptr::NonNull;
use std::sync::Arc;

use crate::failpoints::failpoint;
use crate::location::Place;
use crate::pages::base::Base;
use crate::pages::content::Content;
use crate::pages::fragment::Fragment;
use crate::pages::node::{Target, Word};
use crate::pages::node_ref::NodeRef;

impl<'g, F: Fragment> NodeRef<'g, F> {
    /// Puts a full base with this content in the place of this node, which is `base`. If that can't be done
    /// now, the content comes back.
    pub(super) fn fill_base(self, base: NonNull<Base<F>>, content: Content<F>) -> Result<&'g F, Content<F>> {
        if self.site().word() != self.word() {
            return Err(content);
        }
        let copy = self.base().full_copy(content);
        // SAFETY: a full base of our own. If it is published, an eviction may take the value away, but a
        // deferral waits for the site's guard.
        let value = unsafe { Base::value_of_full(copy) };
        if self.exchange_base(base, copy) {
            self.site().mark_resident();
            return Ok(value);
        }
        // SAFETY: not published.
        Err(unsafe { Base::dismantle_full(copy) })
    }

    /// Puts a slim base in the place of this node, which is `base`. Returns how many bytes will be freed;
    /// `None` if that can't be done now.
    pub(super) fn empty_base(self, base: NonNull<Base<F>>) -> Option<u64> {
        if self.site().word() != self.word() {
            return None;
        }
        let copy = self.base().slim_copy();
        if self.exchange_base(base, copy) {
            // SAFETY: alive under the site's guard.
            return Some(unsafe { Base::weight(base) }.contents);
        }
        // SAFETY: not published.
        unsafe { Base::free(copy) };
        None
    }

    /// As [`relocate`](Self::relocate), if this is a base that was exchanged, or is about to be.
    pub(super) fn relocate_exchanged(self, from: Place, to: Place) -> bool {
        let Target::Base(mut base) = self.target() else { return false };
        loop {
            let node = Self::new(self.site(), Target::Base(base));
            if node.base().cell.relocate(from, to) {
                return true;
            }
            if !node.base().cell.is_frozen_at(from) {
                return false;
            }
            // (D)
            let now = self.site().head().filter(|head| head.base_version() == self.version());
            let Some(now) = now else { return false };
            let foot = now.foot();
            if foot != base {
                // (B)
                base = foot;
            } else if now.newest().is_link() {
                // (C)
                if node.base().cell.relocate_frozen(from, to) {
                    return true;
                }
            } else {
                // (A)
                let copy = node.base().slim_copy();
                // SAFETY: ours, and not published.
                unsafe {
                    copy.as_ref().cell.set(to);
                    if node.put_copy(base, copy) {
                        return true;
                    }
                    Base::free(copy);
                }
            }
        }
    }

    fn exchange_base(self, base: NonNull<Base<F>>, copy: NonNull<Base<F>>) -> bool {
        let cell = &self.base().cell;
        let Some(place) = cell.freeze() else { return false };
        failpoint!("page::frozen");
        // SAFETY: not published yet, and it is this base's copy.
        let is_exchanged = unsafe {
            copy.as_ref().cell.set(place);
            self.put_copy(base, copy)
        };
        if !is_exchanged {
            cell.thaw(place);
        }
        is_exchanged
    }

    /// # Safety
    /// The copy of this node, which is `base`, is the caller's alone; it knows where the record is.
    unsafe fn put_copy(self, base: NonNull<Base<F>>, copy: NonNull<Base<F>>) -> bool {
        let site = self.site();
        // SAFETY: by the contract.
        let weight = unsafe { Base::weight(copy) };
        // Charged first, so that a quick eviction does not discharge more than there was.
        site.account().charge(weight);
        if !site.exchange_copy(self.word(), Word::of_base(copy)) {
            site.account().refund(weight);
            return false;
        }
        // SAFETY: the exchange took the old base out of the table.
        unsafe { self.bury_base(base) };
        true
    }

    /// # Safety
    /// The base was taken out of the table, under the site's guard.
    unsafe fn bury_base(self, base: NonNull<Base<F>>) {
        let site = self.site();
        // SAFETY: alive under the site's guard.
        let weight = unsafe { Base::weight(base) };
        let (account, bytes) = (Arc::clone(site.account()), weight.sum());
        let full = account.bury(weight);
        // SAFETY: unlinked, once, so nobody can reach it when this runs. It borrows nothing, and what it
        // drops is `Send`.
        unsafe {
            site.guard().defer_unchecked(move || {
                account.discharge(Base::free(base));
                account.unbury(bytes);
            });
        }
        site.hand_over(full);
    }
}
