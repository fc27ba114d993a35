//! Freeing a chain that was replaced: one deferral for all of it.
//!
//! The walk that frees runs when no guard is left that could have reached the chain (`node`, A). Evictions
//! that were under way when the chain was unlinked held such guards, so by then all their exchanges are done;
//! only their own deferred drops may still be outstanding, and those hold references to their chunks (`node`,
//! E). So the walk finds a chain that nobody changes any more, and takes what is still there.
//!
//! The closure has three words, which the collector stores without an allocation.

use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::location::Place;
use crate::pages::base::{Base, PRESENT};
use crate::pages::budget::Weight;
use crate::pages::bundle::Bundle;
use crate::pages::chain::Head;
use crate::pages::content::Content;
use crate::pages::fragment::Fragment;
use crate::pages::node::{Chunk, Slot, Target, Word};
use crate::pages::node_ref::NodeRef;
use crate::sync::atomic::Ordering;

/// A chain that was taken out of the table. Its records are to be declared dead and its memory to be freed,
/// both by [`retire`](Self::retire). If it is merely dropped, the memory is freed, but the live bytes of its
/// segments stay too high.
#[must_use = "its records are still counted as live"]
pub(crate) struct RetiredChain<'g, F: Fragment> {
    head: Head<'g, F>,
}

impl<F: Fragment> fmt::Debug for RetiredChain<'_, F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RetiredChain({:?})", self.head.newest())
    }
}

impl<'g, F: Fragment> RetiredChain<'g, F> {
    /// # Safety
    /// The caller took this head out of the table, under the guard that it came with.
    pub(super) unsafe fn new(head: Head<'g, F>) -> Self {
        Self { head }
    }

    /// Declares every record of the chain dead, and calls `killed` with each, where it was and its length,
    /// to be subtracted there. Then leaves the memory to be freed.
    pub(crate) fn retire(self, mut killed: impl FnMut(NodeRef<'g, F>, Place, u32)) {
        for node in self.head.nodes() {
            if let Some(place) = node.kill() {
                killed(node, place, node.length());
            }
        }
        // Dropping frees.
    }

    fn defer(&self) {
        let newest = self.head.newest();
        let (word, site) = (newest.word(), newest.site());
        let weight = weigh(self.head);
        let (account, buried) = (Arc::clone(site.account()), weight.sum());
        let full = account.bury(weight);
        // SAFETY: the chain was unlinked, once, before; so when this runs, nobody can reach it (module
        // essay). It borrows nothing, and what it drops is `Send`.
        unsafe {
            site.guard().defer_unchecked(move || {
                account.discharge(free_chain::<F>(word).bytes());
                account.unbury(buried);
            });
        }
        site.hand_over(full);
    }
}

impl<F: Fragment> Drop for RetiredChain<'_, F> {
    fn drop(&mut self) {
        self.defer();
    }
}

/// What was freed of a chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Freed {
    /// What the chain weighed.
    pub(super) weight: Weight,
    /// Of that, chunks and bases that wait for an eviction to drop what is its own in them (`node`, E and H).
    /// It discharges them.
    held: u64,
}

impl Freed {
    /// The bytes that were given back.
    pub(super) fn bytes(self) -> u64 {
        self.weight.sum() - self.held
    }
}

/// What a chain weighs now, without looking at its contents: an estimate where those are not in slots.
fn weigh<F: Fragment>(head: Head<'_, F>) -> Weight {
    let mut weight = Weight::default();
    let mut last = None;
    for node in head.nodes() {
        if node.merged_home().is_some_and(|content| !content.load(Ordering::Relaxed).is_null()) {
            weight.contents += u64::from(head.base_bytes()) + u64::from(node.chain_bytes());
        }
        if let Target::Base(base) = node.target() {
            // SAFETY: reached under the site's guard.
            weight.contents += unsafe { Base::weight(base) }.contents;
        }
        if let Some((_, slot)) = node.slot()
            && slot.state.load(Ordering::Relaxed) == PRESENT
        {
            weight.contents += u64::from(slot.charged);
        }
        let block = node.block();
        if last != Some(block.at) {
            weight.nodes += block.size;
            last = Some(block.at);
        }
    }
    weight
}

/// Frees a chain with all that is in it.
///
/// # Safety
/// Nobody can reach the chain, now or later, except for deferred drops of evicted fragments.
pub(super) unsafe fn free_chain<F: Fragment>(head: Word<F>) -> Freed {
    let mut freed = Freed::default();
    let weight = &mut freed.weight;
    let mut word = head;
    // SAFETY: the chain is ours. A chunk is released after the last use of it, which is when the next older
    // node lies in another one; the base comes last.
    unsafe {
        while let Some(target) = word.target() {
            word = match target {
                Target::Base(base) => {
                    let own = Base::weight(base);
                    *weight += own;
                    // What is not given back now weighs what it did.
                    freed.held += own.sum() - Base::free(base);
                    return freed;
                }
                Target::Bundled(bundle, _) => {
                    let header = bundle.as_ref();
                    weight.contents += free_content(header.merged.load(Ordering::Acquire));
                    weight.nodes += header.size();
                    Bundle::free(bundle);
                    return freed;
                }
                Target::Slot(chunk, index) => {
                    let slot = Chunk::slot(chunk, index);
                    weight.contents += free_slot(slot);
                    if index > 0 {
                        Word::of_slot(chunk, slot.as_ref().steps.next())
                    } else {
                        let (older, size) = (chunk.as_ref().older, chunk.as_ref().size());
                        weight.nodes += size;
                        freed.held += size - Chunk::release(chunk);
                        older
                    }
                }
            };
        }
    }
    freed
}

/// Drops what a slot holds.
///
/// # Safety
/// As for [`free_chain`].
unsafe fn free_slot<F: Fragment>(slot: NonNull<Slot<F>>) -> u64 {
    // SAFETY: the chain is ours, its slots are initialised; a fragment that is present was not evicted (node,
    // D).
    unsafe {
        let this = slot.as_ref();
        let mut bytes = free_content(this.merged.load(Ordering::Acquire));
        if this.state.load(Ordering::Acquire) == PRESENT {
            bytes += u64::from(this.charged);
            Slot::drop_fragment(slot);
        }
        bytes
    }
}

/// Drops a content, and returns what it was charged with.
///
/// # Safety
/// As for [`free_chain`]; the content is null or the node's own.
unsafe fn free_content<F: Fragment>(content: *mut Content<F>) -> u64 {
    // SAFETY: by the contract.
    unsafe { Content::from_raw(content) }.map_or(0, |content| content.weight)
}
