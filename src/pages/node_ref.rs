//! One node of a chain, whatever it is made of: a base, a slot of a chunk, a link of a bundle.
//!
//! Everything here borrows for `'g`, the lifetime of a guard that was pinned before the head was loaded; so
//! whatever was reachable then stays alive (see `node`, A and D), also while others replace, evict or free
//! the page.

use std::fmt;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use crate::ids::{PageId, Version};
use crate::location::Place;
use crate::pages::base::{Base, BaseKind};
use crate::pages::budget::Weight;
use crate::pages::bulk::Bulk;
use crate::pages::bundle::{Bundle, BundledLink};
use crate::pages::cell::LocationCell;
use crate::pages::content::Content;
use crate::pages::fragment::Fragment;
use crate::pages::node::{Chunk, Slot, Target, Word};
use crate::pages::queues::MOST_TOUCHES;
use crate::pages::table::Site;
use crate::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

/// One node of a page's chain, seen under a guard.
pub(crate) struct NodeRef<'g, F: Fragment> {
    site: Site<'g, F>,
    target: Target<F>,
}

/// A block of memory with some nodes of a chain, which follow each other in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct NodeBlock {
    /// Its address, by which it is told from others. A base in a bundle has the bundle's.
    pub(super) at: usize,
    /// What it takes of memory, if this is the first of its nodes that a walk from the head comes to.
    pub(super) size: u64,
}

impl<F> Clone for Target<F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F> Copy for Target<F> {}

impl<F: Fragment> Clone for NodeRef<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: Fragment> Copy for NodeRef<'_, F> {}

impl<F: Fragment> fmt::Debug for NodeRef<'_, F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (page_id, version) = (self.site.page_id(), self.version());
        write!(formatter, "NodeRef(page {page_id}, version {version})")
    }
}

impl<'g, F: Fragment> NodeRef<'g, F> {
    /// A node that was reached from its table word, or from a node that was, under the site's guard.
    #[inline]
    pub(super) fn new(site: Site<'g, F>, target: Target<F>) -> Self {
        Self { site, target }
    }

    #[inline]
    pub(super) fn site(self) -> Site<'g, F> {
        self.site
    }

    #[inline]
    pub(super) fn target(self) -> Target<F> {
        self.target
    }

    pub(crate) fn page_id(self) -> PageId {
        self.site.page_id()
    }

    /// Asks for the node's memory.
    #[inline]
    pub(crate) fn prefetch(self) {
        self.target.prefetch();
    }

    /// Of a node that is or was a head.
    pub(super) fn word(self) -> Word<F> {
        match self.target {
            Target::Base(base) => Word::of_base(base),
            Target::Slot(chunk, index) => Word::of_slot(chunk, index),
            Target::Bundled(bundle, index) => {
                debug_assert_eq!(index, 0, "only the newest was");
                Word::of_bundle(bundle)
            }
        }
    }

    /// The page's base.
    #[inline]
    pub(super) fn base(self) -> &'g Base<F> {
        // SAFETY: reached under the site's guard, so alive for 'g, and frozen (node, A and B).
        unsafe {
            match self.target {
                Target::Base(base) => base.as_ref(),
                Target::Slot(chunk, _) => chunk.as_ref().base.as_ref(),
                Target::Bundled(bundle, _) => Bundle::base_of(bundle).as_ref(),
            }
        }
    }

    /// The slot and its chunk's header, if the node is one.
    #[inline]
    pub(super) fn slot(self) -> Option<(&'g Chunk<F>, &'g Slot<F>)> {
        match self.target {
            Target::Base(_) | Target::Bundled(..) => None,
            Target::Slot(chunk, index) => {
                // SAFETY: as in `base`; a slot that can be reached was written before it was published.
                Some(unsafe { (chunk.as_ref(), Chunk::slot(chunk, index).as_ref()) })
            }
        }
    }

    /// The link and its bundle, if the node is one.
    #[inline]
    fn bundled(self) -> Option<(&'g Bundle<F>, &'g BundledLink)> {
        match self.target {
            Target::Base(_) | Target::Slot(..) => None,
            // SAFETY: as in `slot`.
            Target::Bundled(bundle, index) => Some(unsafe { (bundle.as_ref(), Bundle::link(bundle, index)) }),
        }
    }

    /// The block of memory that the node lies in.
    pub(super) fn block(self) -> NodeBlock {
        // SAFETY: as in `base`.
        let (at, size) = unsafe {
            match self.target {
                Target::Base(base) => (base.addr(), Base::<F>::SIZE),
                Target::Slot(chunk, _) => (chunk.addr(), chunk.as_ref().size()),
                Target::Bundled(bundle, _) => (bundle.addr(), bundle.as_ref().size()),
            }
        };
        NodeBlock { at: at.get(), size }
    }

    /// Whether a link made this node.
    pub(super) fn is_link(self) -> bool {
        !matches!(self.target, Target::Base(_))
    }

    /// The page's version after this node's record.
    #[inline]
    pub(crate) fn version(self) -> Version {
        match self.slot() {
            None => Version(self.base().version + u64::from(self.depth())),
            Some((chunk, slot)) => {
                Version(chunk.base_version + u64::from(chunk.first_depth + slot.steps.rise()))
            }
        }
    }

    /// The version at which the page was allocated.
    #[inline]
    pub(crate) fn birth(self) -> Version {
        Version(self.slot().map_or_else(|| self.base().birth, |(chunk, _)| chunk.birth))
    }

    /// How many links lie at and below this node.
    #[inline]
    pub(crate) fn depth(self) -> u32 {
        match (self.target, self.slot()) {
            (Target::Slot(..), Some((chunk, slot))) => chunk.first_depth + slot.steps.rise(),
            // SAFETY: as in `base`.
            (Target::Bundled(bundle, index), _) => unsafe { bundle.as_ref() }.depth(index),
            _ => 0,
        }
    }

    /// The lengths of the records of all links at and below this node, with their files, up to `u32::MAX`. Of
    /// nodes that are or were heads.
    #[inline]
    pub(crate) fn chain_bytes(self) -> u32 {
        match (self.slot(), self.bundled()) {
            (Some((_, slot)), _) => slot.chain_bytes,
            (_, Some((bundle, _))) => bundle.chain_bytes,
            _ => 0,
        }
    }

    /// The length of this node's record.
    pub(crate) fn length(self) -> u32 {
        match (self.slot(), self.bundled()) {
            (Some((_, slot)), _) => slot.length,
            (_, Some((_, link))) => link.length,
            _ => self.base().length,
        }
    }

    /// How much of the node's record is in a file of its own.
    #[inline]
    pub(crate) fn bulk(self) -> Bulk {
        match (self.slot(), self.bundled()) {
            (Some((_, slot)), _) => slot.bulk,
            (_, Some((_, link))) => link.bulk,
            _ => self.base().bulk,
        }
    }

    /// Whether this is a base, and of which kind.
    pub(crate) fn base_kind(self) -> Option<BaseKind> {
        (!self.is_link()).then(|| self.base().kind)
    }

    fn cell(self) -> &'g LocationCell {
        match (self.slot(), self.bundled()) {
            (Some((_, slot)), _) => &slot.cell,
            (_, Some((_, link))) => &link.cell,
            _ => &self.base().cell,
        }
    }

    /// Where this node's record lies now; `None` if it is dead by now.
    pub(crate) fn place(self) -> Option<Place> {
        self.cell().load()
    }

    /// Tells the node that its record was copied. If it returns true, the record no longer lives at `from`,
    /// and the caller subtracts it there; if not, the copy is void.
    #[must_use]
    pub(crate) fn relocate(self, from: Place, to: Place) -> bool {
        let moved = self.cell().relocate(from, to) || self.relocate_exchanged(from, to);
        if moved {
            self.site.mark_moved();
        }
        moved
    }

    /// See [`LocationCell::kill`].
    #[must_use]
    pub(super) fn kill(self) -> Option<Place> {
        self.cell().kill()
    }

    /// What this node's own record holds, if it is in memory.
    pub(crate) fn fragment(self) -> Option<&'g F> {
        match self.target {
            Target::Base(_) => self.merged(),
            // SAFETY: reached under a guard that lasts for 'g, and published, so written.
            Target::Slot(chunk, index) => unsafe { Slot::fragment(Chunk::slot(chunk, index)) },
            Target::Bundled(..) => None,
        }
    }

    /// The page as of this node, if it is in memory in one piece.
    #[inline]
    pub(crate) fn merged(self) -> Option<&'g F> {
        // SAFETY: reached under the site's guard, which lasts for 'g.
        unsafe { self.target.merged() }
    }

    /// The same, with its heap bytes.
    pub(super) fn merged_content(self) -> Option<(&'g F, u64)> {
        let value = self.merged()?;
        let heap = match (self.target, self.merged_home()) {
            // SAFETY: a base that has a value is a full one, and alive (`base`).
            (Target::Base(base), _) => unsafe { Base::heap(base) },
            (_, Some(home)) => {
                // SAFETY: null, or a content that is dropped by a deferral only (node, F), which waits for
                // the site's guard.
                unsafe { home.load(Ordering::Acquire).as_ref() }?.heap()
            }
            _ => return None,
        };
        Some((value, heap))
    }

    /// Where the merged page hangs, of a link that can have one.
    #[inline]
    pub(super) fn merged_home(self) -> Option<&'g AtomicPtr<Content<F>>> {
        // SAFETY: as in `base`.
        unsafe { self.target.home() }
    }

    #[inline]
    fn touched(self) -> &'g AtomicU8 {
        // SAFETY: as in `base`.
        unsafe { self.target.touched() }
    }

    /// Notes that the page is in use.
    #[inline]
    pub(crate) fn touch(self) {
        note_use(self.touched());
    }

    /// How often the page was in use since this was last set, up to [`MOST_TOUCHES`]. Touches of the same
    /// moment may count as one.
    #[inline]
    pub(super) fn touches(self) -> u8 {
        self.touched().load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn set_touches(self, touches: u8) {
        self.touched().store(touches, Ordering::Relaxed);
    }

    /// Puts the page as of this node, which is or was a head, in memory: a base's content as it was read from
    /// its record, or a page merged from this node and all below. If another thread was quicker, this content
    /// is dropped and the other's is returned.
    pub(crate) fn install(self, content: Content<F>) -> &'g F {
        match (self.target, self.merged_home()) {
            (Target::Base(base), _) => self.refill(base, content),
            (_, Some(home)) => self.hang(home, content),
            // Not the newest of its bundle, so it never was a head.
            (_, None) => self.lend(content),
        }
    }

    /// Puts the content of a base in memory.
    fn refill(self, base: NonNull<Base<F>>, content: Content<F>) -> &'g F {
        self.fill_base(base, content).unwrap_or_else(|content| {
            // Another thread is at it, or was quicker, or the page has changed.
            let now = self.site.head().filter(|head| head.version() == self.version());
            now.and_then(|head| head.newest().merged()).unwrap_or_else(|| self.lend(content))
        })
    }

    /// Keeps a content as long as the site's guard, for which it could not be put anywhere.
    fn lend(self, content: Content<F>) -> &'g F {
        let (site, bytes) = (self.site, content.weight);
        let weight = Weight::of_contents(bytes);
        let fresh = content.into_raw();
        let account = Arc::clone(site.account());
        account.charge(weight);
        let full = account.bury(weight);
        // SAFETY: nobody else has it; the deferral waits for the site's guard, which lasts for 'g. It owns
        // all that it uses.
        unsafe {
            site.guard().defer_unchecked(move || {
                drop(Content::from_raw(fresh));
                account.discharge(bytes);
                account.unbury(bytes);
            });
            site.hand_over(full);
            &(*fresh).value
        }
    }

    /// Hangs a merged page at a link.
    fn hang(self, home: &'g AtomicPtr<Content<F>>, content: Content<F>) -> &'g F {
        let weight = Weight::of_contents(content.weight);
        let fresh = content.into_raw();
        // Charged first, so that a quick eviction does not discharge more than there was.
        self.site.account().charge(weight);
        match home.compare_exchange(ptr::null_mut(), fresh, Ordering::SeqCst, Ordering::Acquire) {
            Ok(_) => {
                self.site.mark_resident();
                self.drop_superseded();
                // SAFETY: an eviction may have taken it out by now, but a deferral waits for the site's
                // guard.
                unsafe { &(*fresh).value }
            }
            Err(other) => {
                self.site.account().refund(weight);
                // SAFETY: ours, never published. The other is as in `merged`.
                unsafe {
                    drop(Content::from_raw(fresh));
                    &(*other).value
                }
            }
        }
    }

    /// Drops the newest merged page below a link: with a newer one above, nobody needs it. At most one is
    /// there, but for races, since each installation drops the one before.
    fn drop_superseded(self) {
        let superseded = Nodes { next: self.older() }
            .take_while(|node| node.is_link())
            .map_while(|node| Some((node, node.merged_home()?)))
            .find(|(_, content)| !content.load(Ordering::Relaxed).is_null());
        if let Some((node, _)) = superseded {
            node.drop_merged();
        }
    }

    /// The next older node.
    #[inline]
    pub(crate) fn older(self) -> Option<Self> {
        // SAFETY: as in `base`.
        let target = unsafe { self.target.older() }?;
        Some(Self { site: self.site, target })
    }
}

/// Counts one use more. Writes nothing if that was noted often enough, so hits of a hot page share its memory
/// without writing to it.
#[inline]
pub(super) fn note_use(touched: &AtomicU8) {
    let touches = touched.load(Ordering::Relaxed);
    if touches < MOST_TOUCHES {
        touched.store(touches + 1, Ordering::Relaxed);
    }
}

/// The nodes of a chain, newest to oldest.
#[derive(Debug)]
pub(crate) struct Nodes<'g, F: Fragment> {
    /// The next that is to come.
    pub(super) next: Option<NodeRef<'g, F>>,
}

impl<'g, F: Fragment> Iterator for Nodes<'g, F> {
    type Item = NodeRef<'g, F>;

    fn next(&mut self) -> Option<Self::Item> {
        let node = self.next?;
        self.next = node.older();
        Some(node)
    }
}
