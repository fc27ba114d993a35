//! A page that is in memory in parts: links on top of a merged page, or of a base.
//!
//! A read of a page that was linked to makes no list of what it has found. It notes how many links there are
//! and what they lie on, and walks down the chain again when somebody wants to see them.
//!
//! # Invariants
//!
//! - **(A)** The first walk has seen each fragment, under the guard. So they stay until the guard is dropped,
//!   also when they are evicted meanwhile (`node`, D), and the second walk need not ask whether they are
//!   there.
//! - **(B)** It takes the same way: what a node says of the next older one never changes (`node`, B).

use std::fmt;
use std::iter::once;
use std::marker::PhantomData;

use crate::pages::chain::merge;
use crate::pages::content::Content;
use crate::pages::fragment::Fragment;
use crate::pages::node::{Chunk, Slot, Target};
use crate::pages::node_ref::NodeRef;

/// What a page is made of, all of it in memory.
pub(crate) struct Parts<'g, F: Fragment> {
    links: Links<'g, F>,
    /// What lies below the links: a page in one piece, and its heap bytes.
    oldest: &'g F,
    heap: u64,
}

impl<F: Fragment> Clone for Parts<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: Fragment> Copy for Parts<'_, F> {}

impl<'g, F: Fragment> Parts<'g, F> {
    /// Those of the page as of a node that is or was a head; `None` if not all of it is in memory.
    pub(super) fn of(newest: NodeRef<'g, F>) -> Option<Self> {
        let (mut node, mut count) = (newest, 0);
        loop {
            if let Some((oldest, heap)) = node.merged_content() {
                let links = Links { next: newest.target(), left: count, guarded: PhantomData };
                return Some(Self { links, oldest, heap });
            }
            node.fragment()?;
            count += 1;
            node = node.older()?;
        }
    }

    /// A page in one piece.
    #[inline]
    pub(super) fn whole(page: &'g F, newest: Target<F>) -> Self {
        Self { links: Links { next: newest, left: 0, guarded: PhantomData }, oldest: page, heap: 0 }
    }

    /// All of them, newest first.
    #[inline]
    pub(crate) fn iter(self) -> Iter<'g, F> {
        Iter { links: self.links, oldest: Some(self.oldest) }
    }

    /// The page in one piece.
    pub(crate) fn merge(self) -> Content<F> {
        merge(self.links.chain(once((self.oldest, self.heap))).collect())
    }
}

/// The links of a page, newest first, each with its heap bytes.
struct Links<'g, F> {
    /// The next that is to come, if any is left.
    next: Target<F>,
    left: u32,
    guarded: PhantomData<&'g F>,
}

impl<F> Clone for Links<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F> Copy for Links<'_, F> {}

impl<'g, F: 'g> Iterator for Links<'g, F> {
    type Item = (&'g F, u64);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let Target::Slot(chunk, index) = self.next else { return None };
        // SAFETY: reached under the guard, as (A) says, so alive and its fragment readable for 'g.
        let (slot, fragment) = unsafe {
            let slot = Chunk::slot(chunk, index);
            (slot.as_ref(), Slot::fragment_seen(slot))
        };
        if self.left > 0 {
            // SAFETY: as above.
            self.next = unsafe { self.next.older() }?;
        }
        Some((fragment, slot.charged.into()))
    }
}

/// The parts of a page, newest first.
pub(crate) struct Iter<'g, F> {
    links: Links<'g, F>,
    oldest: Option<&'g F>,
}

impl<'g, F: 'g> Iterator for Iter<'g, F> {
    type Item = &'g F;

    #[inline]
    fn next(&mut self) -> Option<&'g F> {
        match self.links.next() {
            Some((fragment, _)) => Some(fragment),
            None => self.oldest.take(),
        }
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.links.left as usize + usize::from(self.oldest.is_some());
        (left, Some(left))
    }

    #[inline]
    fn count(self) -> usize {
        self.len()
    }

    /// The oldest, without a look at the others.
    #[inline]
    fn last(self) -> Option<&'g F> {
        self.oldest
    }
}

impl<'g, F: 'g> ExactSizeIterator for Iter<'g, F> {}

impl<F> fmt::Debug for Iter<'_, F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Iter").field("left", &self.len()).finish_non_exhaustive()
    }
}
