//! The two ways of making a new head: a link on top of the old one, and a new base in place of all.
//!
//! Both are prepared first, outside of any log reservation: memory is taken and the fragment moved to where
//! it will stay. Publishing then only fills in where the record lies and exchanges the table word. A head's
//! word means one version (`node`, C), so if the exchange fails, the version has changed, and the fragment
//! goes back to the caller. Unless it was a base that was exchanged for its copy (`exchange`): then it is
//! tried again on top of that.

use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};

use crate::ids::Version;
use crate::location::Place;
use crate::pages::base::{Base, BaseKind, PRESENT};
use crate::pages::budget::Weight;
use crate::pages::bulk::Bulk;
use crate::pages::bundle::Bundle;
use crate::pages::cell::LocationCell;
use crate::pages::chain::Head;
use crate::pages::content::Content;
use crate::pages::fragment::{Fragment, heap_bytes};
use crate::pages::node::{Chunk, Slot, Steps, Target, Word};
use crate::pages::node_ref::NodeRef;
use crate::pages::retire::RetiredChain;
use crate::pages::table::Entry;
use crate::sync::SharedCell;
use crate::sync::atomic::{AtomicPtr, AtomicU8};

/// A fragment that lies in a slot above a head, not yet visible. Dropping it drops the fragment.
#[derive(Debug)]
pub(crate) struct PreparedLink<'g, F: Fragment> {
    head: Head<'g, F>,
    chunk: NonNull<Chunk<F>>,
    index: u8,
}

impl<'g, F: Fragment> Head<'g, F> {
    /// Puts a fragment in a slot above this head. `encoded` is its length in encoded form. If there is no
    /// slot left, at most as many are made as links are `expected`, this one included.
    pub(crate) fn prepare_link(self, fragment: F, encoded: usize, expected: u32) -> PreparedLink<'g, F> {
        debug_assert!(!self.is_freed());
        let (chunk, index) = claim_slot(self.newest(), expected);
        let steps = match (index, self.newest().target(), self.newest().slot()) {
            (1.., Target::Slot(_, below), Some((_, slot))) => slot.steps.above(below),
            _ => Steps::FIRST,
        };
        let charged = heap_bytes(&fragment, encoded as u64);
        let slot = Slot {
            merged: AtomicPtr::new(ptr::null_mut()),
            cell: LocationCell::unset(),
            length: 0,
            chain_bytes: 0,
            charged: u32::try_from(charged).unwrap_or(u32::MAX),
            state: AtomicU8::new(PRESENT),
            touched: AtomicU8::new(self.newest().touches()),
            steps,
            bulk: Bulk::NONE,
            fragment: SharedCell::new(std::mem::MaybeUninit::new(fragment)),
        };
        // SAFETY: the slot was claimed just now, so it is ours until it is published (node, C).
        unsafe { Chunk::slot(chunk, index).write(slot) };
        PreparedLink { head: self, chunk, index }
    }
}

/// A slot in the head's chunk, or slot 0 of a new chunk if that one is full.
fn claim_slot<F: Fragment>(head: NodeRef<'_, F>, expected: u32) -> (NonNull<Chunk<F>>, u8) {
    let header = head.slot().map(|(header, _)| header);
    if let (Target::Slot(chunk, _), Some(header)) = (head.target(), header)
        && let Some(index) = header.claim()
    {
        return (chunk, index);
    }
    let capacity = Chunk::next_capacity(header).min(expected.max(1) as usize);
    let foot = match head.target() {
        Target::Base(base) => head.base().foot(base),
        Target::Bundled(bundle, _) => head.base().foot(Bundle::base_of(bundle)),
        // SAFETY: reached under the head's guard.
        Target::Slot(chunk, _) => unsafe { chunk.as_ref() }.foot(),
    };
    (Chunk::allocate(capacity, head.word(), head.depth().saturating_add(1), &foot), 0)
}

impl<F: Fragment> PreparedLink<'_, F> {
    fn slot(&self) -> NonNull<Slot<F>> {
        // SAFETY: the chunk is the head's (alive under its guard) or our own, and the index was claimed.
        unsafe { Chunk::slot(self.chunk, self.index) }
    }

    /// Says that so much of the record is in a file of its own.
    pub(crate) fn set_bulk(&mut self, bulk: Bulk) {
        // SAFETY: the slot is ours and unpublished (node, C).
        unsafe { Slot::set_bulk(self.slot(), bulk) };
    }

    /// The fragment that is to be linked.
    #[cfg(test)]
    pub(crate) fn fragment(&self) -> &F {
        // SAFETY: initialised by `prepare_link`, and nobody else has it.
        unsafe { (*self.slot().as_ptr()).fragment.with(|fragment| &*fragment.cast::<F>()) }
    }

    /// Makes the link the page's head, with its record at `place`. If the page has changed meanwhile, the
    /// fragment comes back and nothing was changed.
    pub(crate) fn publish(self, place: Place, length: u32) -> Result<Version, F> {
        let mut this = ManuallyDrop::new(self);
        let head = this.head;
        let slot = this.slot();
        // SAFETY: the slot is ours and unpublished (node, C).
        let charged = unsafe {
            let bytes = length.saturating_add((*slot.as_ptr()).bulk.bytes());
            Slot::set_record(slot, length, head.chain_bytes().saturating_add(bytes));
            (*slot.as_ptr()).cell.set(place);
            (*slot.as_ptr()).charged
        };
        let site = head.newest().site();
        let weight = Weight { contents: charged.into(), nodes: this.fresh_bytes() };
        // Charged first, so that a quick eviction does not discharge more than there was.
        site.account().charge(weight);
        loop {
            if site.exchange(this.head.newest().word(), Word::of_slot(this.chunk, this.index)) {
                site.mark_resident();
                return Ok(Version(head.version().0 + 1));
            }
            let Some(copy) = head.exchanged() else { break };
            let Target::Base(base) = copy.newest().target() else { break };
            // SAFETY: on top of a base a chunk is begun, which is ours until it is published.
            unsafe { Chunk::put_on(this.chunk, base) };
            this.head = copy;
        }
        site.account().refund(weight);
        Err(ManuallyDrop::into_inner(this).cancel())
    }

    /// Gives up, and returns the fragment.
    pub(crate) fn cancel(self) -> F {
        let this = ManuallyDrop::new(self);
        // SAFETY: unpublished, so the fragment is there and ours alone; `this` is not used again.
        let fragment = unsafe { Slot::take_fragment(this.slot()) };
        this.give_back();
        fragment
    }

    /// Whether the slot is in the chunk that the head is in, too.
    fn is_in_heads_chunk(&self) -> bool {
        matches!(self.head.newest().target(), Target::Slot(chunk, _) if chunk == self.chunk)
    }

    /// What the chunk takes if it was begun for this link.
    fn fresh_bytes(&self) -> u64 {
        // SAFETY: a chunk of our own, which is alive.
        if self.is_in_heads_chunk() { 0 } else { unsafe { self.chunk.as_ref() }.size() }
    }

    /// Gives back the memory of a slot without a fragment.
    fn give_back(&self) {
        // SAFETY: the head's chunk is alive under its guard. A chunk of our own was never published, so the
        // reference that it was made with is ours.
        unsafe {
            if self.is_in_heads_chunk() {
                self.chunk.as_ref().unclaim(self.index);
            } else {
                let _ = Chunk::release(self.chunk);
            }
        }
    }
}

impl<F: Fragment> Drop for PreparedLink<'_, F> {
    fn drop(&mut self) {
        // SAFETY: as in `cancel`.
        unsafe { Slot::drop_fragment(self.slot()) };
        self.give_back();
    }
}

/// A base that is not visible yet. Dropping it drops its content.
#[derive(Debug)]
pub(crate) struct PreparedBase<F: Fragment>(NonNull<Base<F>>);

/// A base that found another head than expected; its content, if it had any, comes back.
#[derive(Debug)]
pub(crate) struct LostRace<F>(pub(crate) Option<F>);

impl<F: Fragment> PreparedBase<F> {
    /// The whole contents of a page: of a new one (then `birth` is `version`), or in place of what a page is.
    pub(crate) fn page(version: Version, birth: Version, content: Content<F>) -> Self {
        let base = Base::new(BaseKind::Page, version.0, birth.0, LocationCell::unset());
        Self(Base::allocate_full(base, content))
    }

    /// The end of a page.
    pub(crate) fn freed(version: Version, birth: Version) -> Self {
        Self::absent(BaseKind::Freed, version, birth)
    }

    /// The contents of a page that nobody reads through the cache.
    pub(crate) fn unread(version: Version, birth: Version) -> Self {
        Self::absent(BaseKind::Page, version, birth)
    }

    /// A base without content in memory.
    fn absent(kind: BaseKind, version: Version, birth: Version) -> Self {
        Self(Base::allocate(Base::new(kind, version.0, birth.0, LocationCell::unset())))
    }

    /// What the base weighs with its content, if there is any.
    fn weight(&self) -> Weight {
        // SAFETY: the base is ours.
        unsafe { Base::weight(self.0) }
    }

    /// Says that so much of the record is in a file of its own.
    pub(crate) fn set_bulk(&mut self, bulk: Bulk) {
        // SAFETY: the base is ours alone.
        unsafe { self.0.as_mut() }.bulk = bulk;
    }

    /// Fills in where the record lies.
    fn set_record(&mut self, place: Place, length: u32) {
        // SAFETY: the base is ours alone.
        let base = unsafe { self.0.as_mut() };
        base.cell.set(place);
        base.length = length;
    }

    /// Makes the base the page's head, with its record at `place`, if the entry still is what it was. What it
    /// takes the place of comes back, to be killed and freed.
    pub(crate) fn publish<'g>(
        mut self,
        entry: &Entry<'g, F>,
        place: Place,
        length: u32,
    ) -> Result<Option<RetiredChain<'g, F>>, LostRace<F>> {
        self.set_record(place, length);
        let (site, this) = (entry.site(), ManuallyDrop::new(self));
        let weight = this.weight();
        let mut seen = match entry {
            Entry::Vacant(_) => None,
            Entry::Occupied(head) => Some(*head),
        };
        if let (Some(head), true) = (seen, weight.contents > 0) {
            // A page that was in use still is. To write it is not to use it.
            NodeRef::new(site, Target::Base(this.0)).set_touches(head.newest().touches());
        }
        // Charged first, so that a quick eviction does not discharge more than there was.
        site.account().charge(weight);
        loop {
            let word = seen.map_or(Word::NULL, |head| head.newest().word());
            if site.exchange(word, Word::of_base(this.0)) {
                break;
            }
            seen = seen.and_then(Head::exchanged);
            if seen.is_none() {
                site.account().refund(weight);
                return Err(LostRace(ManuallyDrop::into_inner(this).cancel()));
            }
        }
        if weight.contents > 0 {
            site.mark_resident();
        }
        // SAFETY: the exchange took this head out of the table.
        Ok(seen.map(|head| unsafe { RetiredChain::new(head) }))
    }

    /// Gives up, and returns the content.
    pub(crate) fn cancel(self) -> Option<F> {
        let this = ManuallyDrop::new(self);
        // SAFETY: the base is ours, and a full one if its value is there; `this` is not used again.
        unsafe {
            if this.0.as_ref().is_present() {
                return Some(Base::dismantle_full(this.0).into_value());
            }
            Base::free(this.0);
        }
        None
    }
}

impl<F: Fragment> Drop for PreparedBase<F> {
    fn drop(&mut self) {
        // SAFETY: published bases are forgotten, so this one is not.
        unsafe { Base::free(self.0) };
    }
}
