//! Dropping contents from memory, while others read, link to, replace or free the page.
//!
//! Nodes stay, but for a base that is all there is of its page: that is exchanged for a slim one
//! (`exchange`). No version changes, so an eviction can't fail anybody's compare-and-swap. What may go, and
//! when, is (G) of `node`: merged pages always, a node's own content only if its record can be read back. A
//! reader that took references before keeps them; one that comes later finds nothing and reads the record.
//!
//! The place that was found written may be left at once by a relocation; so whoever asks for a record at a
//! place must also find it there while it is still in a write buffer.

use std::ptr::{self, NonNull};
use std::sync::Arc;

use crate::failpoints::failpoint;
use crate::location::Place;
use crate::pages::base::{Base, BaseKind, DROPPED, PRESENT};
use crate::pages::budget::Weight;
use crate::pages::chain::Head;
use crate::pages::content::Content;
use crate::pages::fragment::Fragment;
use crate::pages::node::{Chunk, MOST_SLOTS, Slot, Target};
use crate::pages::node_ref::NodeRef;
use crate::pages::table::Site;
use crate::sync::atomic::Ordering;

/// After so many nodes in a row that have no contents, it is taken for granted that older ones have none.
const SHED_BEFORE: u32 = 16;

/// The outcome of an eviction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Evicted {
    /// Bytes that will be freed as soon as readers allow.
    pub(crate) bytes: u64,
    /// Whether contents stay, because their records are not written yet.
    pub(crate) some_stay: bool,
}

impl<'g, F: Fragment> Head<'g, F> {
    /// Drops all contents of the page, but those whose records are not written yet.
    pub(crate) fn evict(self, is_written: impl Fn(Place, u32) -> bool) -> Evicted {
        let mut eviction = Eviction::new(self);
        for node in self.nodes() {
            eviction.drop_merged(node);
            eviction.drop_own(node, &is_written);
        }
        eviction.finish()
    }

    /// Drops what lies at and below the newest merged page, but for that page itself: nobody needs it to read
    /// the page. Does not go further when so many nodes in a row had nothing left that those below were shed
    /// before, or are for the evictor; so what it takes does not grow with the chain.
    pub(crate) fn shed(self, is_written: impl Fn(Place, u32) -> bool) -> Evicted {
        let mut eviction = Eviction::new(self);
        let mut nodes = self.nodes().skip_while(|node| node.merged().is_none());
        if let Some(newest_merged) = nodes.next()
            && newest_merged.is_link()
        {
            eviction.drop_own(newest_merged, &is_written);
            let mut bare = 0;
            for node in nodes.take_while(|node| node.is_link()) {
                let had_merged = eviction.drop_merged(node);
                let had_own = eviction.drop_own(node, &is_written);
                bare = if had_merged || had_own { 0 } else { bare + 1 };
                if bare == SHED_BEFORE {
                    break;
                }
            }
            // It is the largest of all, and may not have been written then.
            eviction.drop_own(self.base_node(), &is_written);
        }
        eviction.finish()
    }
}

impl<F: Fragment> NodeRef<'_, F> {
    /// Takes the merged page of a link away and returns its weight.
    pub(super) fn drop_merged(self) -> u64 {
        // Most nodes of a chain have none, and a swap would take their memory from those who read it.
        let home = self.merged_home().filter(|home| !home.load(Ordering::Relaxed).is_null());
        let content = home.map(|home| home.swap(ptr::null_mut(), Ordering::AcqRel));
        let Some(content) = content.filter(|content| !content.is_null()) else { return 0 };
        let site = self.site();
        // SAFETY: the swap made the content ours (node, F); readers may still look.
        let bytes = unsafe { (*content).weight };
        let account = Arc::clone(site.account());
        let full = account.bury(Weight::of_contents(bytes));
        // SAFETY: no reader comes to it after the swap, and those who have it hold guards. It owns all that
        // it uses.
        unsafe {
            site.guard().defer_unchecked(move || {
                drop(Content::from_raw(content));
                account.discharge(bytes);
                account.unbury(bytes);
            });
        }
        site.hand_over(full);
        bytes
    }
}

/// An eviction under way. Fragments that lie in one chunk are dropped by one deferral.
struct Eviction<'g, F: Fragment> {
    site: Site<'g, F>,
    /// Whether the page is one record.
    is_head: bool,
    outcome: Evicted,
    /// The chunk that is worked on, the slots whose fragments are ours, and their bytes.
    batch: Option<(NonNull<Chunk<F>>, Slots, u64)>,
}

/// A set of slots of a chunk.
#[derive(Clone, Copy)]
struct Slots(u16);

const _: () = assert!(MOST_SLOTS < u16::BITS as usize);

impl Slots {
    fn iter(self) -> impl Iterator<Item = u8> {
        (0..MOST_SLOTS as u8).filter(move |index| self.0 & (1 << index) != 0)
    }
}

impl<'g, F: Fragment> Eviction<'g, F> {
    fn new(head: Head<'g, F>) -> Self {
        let (newest, outcome) = (head.newest(), Evicted::default());
        Self { site: newest.site(), is_head: !newest.is_link(), outcome, batch: None }
    }

    /// Whether there was something to drop.
    fn drop_merged(&mut self, node: NodeRef<'g, F>) -> bool {
        let bytes = node.drop_merged();
        self.outcome.bytes += bytes;
        bytes > 0
    }

    /// Drops what only the node and its record hold, if the record can be read back. Whether there was
    /// something to drop, or still is.
    fn drop_own(&mut self, node: NodeRef<'g, F>, is_written: &impl Fn(Place, u32) -> bool) -> bool {
        if node.fragment().is_none() {
            return false;
        }
        // A dead record means that the page was replaced; what is left of it is freed as a whole.
        if !node.place().is_some_and(|place| is_written(place, node.length())) {
            self.outcome.some_stay = true;
            return true;
        }
        match (node.target(), node.slot()) {
            (Target::Base(base), _) => self.drop_base(node, base),
            (Target::Slot(chunk, index), Some((_, slot))) => {
                let exchanged = slot
                    .state
                    .compare_exchange(PRESENT, DROPPED, Ordering::AcqRel, Ordering::Relaxed)
                    .is_ok();
                if exchanged {
                    self.add(chunk, index, slot.charged.into());
                }
            }
            _ => {}
        }
        true
    }

    /// Drops a base's value: with the base, in exchange for a slim one, if it is the head; else where it is.
    fn drop_base(&mut self, node: NodeRef<'g, F>, base: NonNull<Base<F>>) {
        debug_assert_ne!(node.base_kind(), Some(BaseKind::Freed));
        if self.is_head {
            match node.empty_base(base) {
                Some(bytes) => self.outcome.bytes += bytes,
                None => self.outcome.some_stay = true,
            }
            return;
        }
        if !node.base().begin_drop() {
            return;
        }
        // SAFETY: a value was there, so it is a full base; alive under the site's guard.
        let bytes = unsafe { Base::heap(base) };
        self.outcome.bytes += bytes;
        let account = Arc::clone(self.site.account());
        let full = account.bury(Weight::of_contents(bytes));
        // SAFETY: the value is ours to drop (node, H); readers that saw it hold guards. The base stays until
        // this has run.
        unsafe {
            self.site.guard().defer_unchecked(move || {
                let bytes = Base::heap(base);
                account.discharge(bytes + Base::drop_value(base));
                account.unbury(bytes);
            });
        }
        self.site.hand_over(full);
    }

    fn add(&mut self, chunk: NonNull<Chunk<F>>, index: u8, bytes: u64) {
        self.outcome.bytes += bytes;
        match &mut self.batch {
            Some((current, slots, sum)) if *current == chunk => {
                slots.0 |= 1 << index;
                *sum += bytes;
            }
            _ => {
                self.defer_batch();
                self.batch = Some((chunk, Slots(1 << index), bytes));
            }
        }
    }

    fn defer_batch(&mut self) {
        let Some((chunk, slots, bytes)) = self.batch.take() else { return };
        // SAFETY: reached under the site's guard.
        unsafe { chunk.as_ref() }.retain();
        let account = Arc::clone(self.site.account());
        let full = account.bury(Weight::of_contents(bytes));
        // SAFETY: the exchanges of `state` made these fragments ours to drop (node, D); readers that saw them
        // present hold guards. The reference keeps the chunk alive (node, E). The closure adds the bytes up
        // again instead of capturing them: with three words the collector stores it without an allocation.
        unsafe {
            self.site.guard().defer_unchecked(move || {
                let mut bytes = 0;
                for slot in slots.iter().map(|index| Chunk::slot(chunk, index)) {
                    bytes += u64::from(slot.as_ref().charged);
                    Slot::drop_fragment(slot);
                }
                let chunk_bytes = Chunk::release(chunk);
                account.discharge(bytes + chunk_bytes);
                account.unbury(bytes);
            });
        }
        self.site.hand_over(full);
    }

    fn finish(mut self) -> Evicted {
        self.defer_batch();
        if self.outcome.bytes > 0 {
            failpoint!("page::evicted");
        }
        self.outcome
    }
}
