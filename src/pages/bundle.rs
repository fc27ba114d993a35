//! A page with links as recovery found it: one block, without room for contents.
//!
//! Most pages of a large store are not in memory, and what stays of each is what its nodes take. A link that
//! was made here keeps the slot in which its fragment was (`node`), as long as its page is what it is.
//! Recovery brings no fragments, so it makes no slots: a bundle has the page's base, and of each link what a
//! slot can't do without: 16 bytes instead of 32 and the size of a fragment.
//!
//! ```text
//!  table word ──► ┌─ Bundle ────────────────────────────────────────────────────────────────────────────┐
//!                 │ base │ the page as of the newest link │ newest link: place, length │ .. │ oldest link │
//!                 └──────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! - **(A) The newest link is the way in.** Only it was ever a head, or is below one. So it alone is named by
//!   words, and it alone has a home for a merged page.
//! - **(B) The base comes first.** A pointer to a bundle is one to its base, which chunks above may have, and
//!   which is a node like any other but is freed with the bundle. It is no head as long as the bundle is
//!   reachable, and holds no content of its own.
//! - **(C) It is frozen** (`node`, B) but for the cells, the merged page and the base's `touched`, which
//!   serves the newest link. It has no fragments that an eviction could hold on to, so it needs no count of
//!   references.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::{self, NonNull};

use crate::pages::base::Base;
use crate::pages::bulk::Bulk;
use crate::pages::cell::LocationCell;
use crate::pages::content::{Content, layout};
use crate::pages::slabs::general_footprint;
use crate::sync::atomic::AtomicPtr;

/// The beginning of the block. The links follow, the newest first.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Bundle<F> {
    pub(super) base: Base<F>,
    /// The page as of the newest link.
    pub(super) merged: AtomicPtr<Content<F>>,
    /// The lengths of all links' records, with their files. Stops at the top instead of wrapping.
    pub(super) chain_bytes: u32,
    count: u32,
}

/// A link whose fragment was never in memory.
#[derive(Debug)]
#[repr(C)]
pub(super) struct BundledLink {
    pub(super) cell: LocationCell,
    pub(super) length: u32,
    pub(super) bulk: Bulk,
}

#[cfg(all(not(loom), target_pointer_width = "64"))]
const _: () = {
    assert!(size_of::<Bundle<[u64; 3]>>() == 48);
    assert!(size_of::<BundledLink>() == 16);
};

impl<F> Bundle<F> {
    /// Where the links begin.
    const LINKS: usize = size_of::<Self>().next_multiple_of(align_of::<BundledLink>());

    const fn layout(count: usize) -> Layout {
        let align = if align_of::<BundledLink>() > align_of::<Self>() {
            align_of::<BundledLink>()
        } else {
            align_of::<Self>()
        };
        layout(Self::LINKS + count * size_of::<BundledLink>(), align)
    }

    /// Takes memory for a page that nobody else knows yet. The links come newest first.
    pub(super) fn allocate(
        base: Base<F>,
        chain_bytes: u32,
        links: impl ExactSizeIterator<Item = BundledLink>,
    ) -> NonNull<Self> {
        // Not from a thread's stock: there are as many sizes as there are lengths of chains.
        let layout = Self::layout(links.len());
        // SAFETY: the size is not zero.
        let memory = unsafe { alloc(layout) };
        let this = NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout)).cast::<Self>();
        // A chain has fewer links than the log has bytes, and its depth has 32 bits everywhere.
        let count = links.len() as u32;
        let header = Self { base, merged: AtomicPtr::new(ptr::null_mut()), chain_bytes, count };
        // SAFETY: fresh memory with room for the header and, behind it, for `count` links, of which there are
        // not more.
        unsafe {
            this.write(header);
            for (index, link) in links.take(count as usize).enumerate() {
                this.byte_add(Self::LINKS).cast::<BundledLink>().add(index).write(link);
            }
        }
        this
    }

    /// What the block takes of memory.
    pub(super) fn size(&self) -> u64 {
        general_footprint(Self::layout(self.count as usize))
    }

    /// How many links lie at and below one.
    #[inline]
    pub(super) fn depth(&self, index: u32) -> u32 {
        self.count - index
    }

    /// The page's base (B).
    #[inline]
    pub(super) fn base_of(this: NonNull<Self>) -> NonNull<Base<F>> {
        this.cast()
    }

    /// A link.
    ///
    /// # Safety
    /// The bundle is alive for `'g`, the pointer covers it all, and `index` is below the number of its links.
    #[inline]
    pub(super) unsafe fn link<'g>(this: NonNull<Self>, index: u32) -> &'g BundledLink {
        // SAFETY: by the contract; all links were written before the bundle was published.
        unsafe { this.byte_add(Self::LINKS).cast::<BundledLink>().add(index as usize).as_ref() }
    }

    /// Frees the block, base and all. Contents are another's business.
    ///
    /// # Safety
    /// The bundle came from [`allocate`](Self::allocate), and nobody can reach it any more.
    pub(super) unsafe fn free(this: NonNull<Self>) {
        // SAFETY: by the contract; the types have nothing to drop.
        unsafe {
            let layout = Self::layout(this.as_ref().count as usize);
            dealloc(this.as_ptr().cast(), layout);
        }
    }
}
