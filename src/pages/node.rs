//! The nodes of a page in memory: how they lie, who owns them, and who may touch what.
//!
//! The speed of `link` is decided here. One allocation per linked fragment would cost a malloc, and later a
//! free of cold memory by another thread; so fragments are written *in place* into chunks of up to 3, 7 or 14
//! slots. A page is
//!
//! ```text
//!  table word ──► slot 2 of ┌─ Chunk ───────────────┐ older   ┌─ Chunk ─────────┐ older   ┌─ Base ─────────┐
//!   pointer | tag           │ slot 0  slot 1  slot 2 ├───────►│ slot 0 .. slot 2 ├───────►│ version, place │
//!                           └───────────────────────┘         └─────────────────┘         │ value: F       │
//!                                                                                         └────────────────┘
//! ```
//!
//! A base is *full*, with the page's contents behind it in the same memory, or *slim*, without. So to read a
//! page that is one record takes one look at memory after the table's word, and what has been evicted takes
//! no more than it must.
//!
//! A [`Word`] names a node: a 16-aligned pointer whose low 4 bits are 0 for a [`Base`], `index + 1` for a
//! slot of a [`Chunk`], and 15 for the newest link of a [`Bundle`], which is what recovery makes of a page
//! with links. It stays a pointer all the way (never an integer), so that its provenance covers the whole
//! allocation.
//!
//! # Invariants
//!
//! - **(A) Reachable means alive.** A node that was reachable from its table word while a guard was held is
//!   not freed before that guard is dropped. Nodes are freed by epoch deferrals only, queued after the chain
//!   they belong to was unlinked by a compare-exchange of the table word; or at once if they never were
//!   published, or by the exclusive owner of the table.
//! - **(B) Published means frozen.** `version`, `birth`, `length`, `bulk`, `steps`, `chain_bytes`, `older` …
//!   are written before the compare-exchange that publishes the node (a release) and never again. What
//!   changes later is atomic: the location cell, the content pointers, `state`, `touched`, and the chunk's
//!   two counters. Which is full and which is slim never changes either: a base that is the head is
//!   *exchanged* for its copy of the other kind when the page is evicted or read back. While that is done its
//!   cell is frozen (`cell`, E). So a head's word says which version it is, but a version may have one word
//!   after the other; who publishes on top of a base looks again if the word is another one.
//! - **(C) A slot has one claimer.** A slot's index comes from `used`, which hands out each index to one
//!   thread at a time. Until the slot is published, its memory is that thread's alone; nobody forms a
//!   reference to it. A claimer that loses takes its fragment out again and may give the index back, if it is
//!   still the last one; a published slot is never given back. So a table word never means two different
//!   states while a guard is held, and there is no ABA.
//! - **(D) A fragment in a slot is dropped once.** `state` goes from `PRESENT` to `DROPPED` once, by a
//!   compare-exchange; whoever did it drops the fragment in place by a deferral (a reader that saw `PRESENT`
//!   holds a guard from before). The deferral that frees the whole chain drops what is still `PRESENT`.
//! - **(E) A chunk is freed by whoever brings its `references` to zero.** The chain holds one; every eviction
//!   that deferred drops in the chunk holds one, because two deferrals of one epoch run in no order. Who
//!   frees it also takes it off the budget.
//! - **(F) A content pointer owns its content.** Null → content by compare-exchange; content → null by a
//!   swap, after which the swapper alone owns it and drops it by a deferral. It says what it was charged to
//!   the budget, so that the same is taken off.
//! - **(G) A merged content is never the only copy.** It was made from what lies at and below its node, and
//!   each of those is still present or has a written record. So merged contents may be dropped at any time,
//!   while a node's *own* content (a slot's fragment, a base's content) may be dropped only once its record
//!   can be read back.
//! - **(H) The value of a base below links is dropped where it is.** Nothing exchanges it there. `state` goes
//!   from `PRESENT` to `DROPPED`, by a compare-exchange, and a deferral drops it, as (D); then the memory
//!   behind the base is left unused. That deferral and the one that frees the chain run in no order: the one
//!   that comes last, as a swap of `state` tells it, frees the base.

use std::alloc::Layout;
use std::marker::PhantomData;
use std::mem::{MaybeUninit, offset_of};
use std::ptr::{self, NonNull};

use crate::pages::base::{Base, Foot, PRESENT};
use crate::pages::bulk::Bulk;
use crate::pages::bundle::Bundle;
use crate::pages::cell::LocationCell;
use crate::pages::content::{ALIGN, Content, layout};
use crate::pages::prefetch::prefetch;
use crate::pages::slabs::{self, Purpose};
use crate::pages::spare;
use crate::sync::SharedCell;
use crate::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, Ordering};

/// What a table word points at, with its type and tag erased. Never read or written as such.
#[derive(Debug)]
#[repr(C, align(16))]
pub(crate) struct Node {
    _opaque: [u8; 0],
}

/// The low bits of a word that tell nodes apart.
const TAG: usize = ALIGN - 1;
/// The most slots that a chunk can have: tags 1 to 14.
pub(super) const MOST_SLOTS: usize = TAG - 1;
/// The tag of a bundle.
const BUNDLE: usize = TAG;

/// Names one node of a page of `F`, or none.
#[derive(Debug)]
pub(super) struct Word<F>(*mut Node, PhantomData<*mut F>);

impl<F> Clone for Word<F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F> Copy for Word<F> {}

impl<F> PartialEq for Word<F> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

/// What a [`Word`] names. The pointers cover their whole allocation.
pub(super) enum Target<F> {
    Base(NonNull<Base<F>>),
    Slot(NonNull<Chunk<F>>, u8),
    /// A link, counted from the newest.
    Bundled(NonNull<Bundle<F>>, u32),
}

impl<F> Word<F> {
    pub(super) const NULL: Self = Self(ptr::null_mut(), PhantomData);

    pub(super) fn of_base(base: NonNull<Base<F>>) -> Self {
        Self(base.as_ptr().cast(), PhantomData)
    }

    pub(super) fn of_slot(chunk: NonNull<Chunk<F>>, index: u8) -> Self {
        debug_assert!(usize::from(index) < MOST_SLOTS);
        let tag = usize::from(index) + 1;
        Self(chunk.as_ptr().cast::<Node>().map_addr(|address| address | tag), PhantomData)
    }

    /// Names the newest link of a bundle.
    pub(super) fn of_bundle(bundle: NonNull<Bundle<F>>) -> Self {
        Self(bundle.as_ptr().cast::<Node>().map_addr(|address| address | BUNDLE), PhantomData)
    }

    /// A word as it was stored by [`raw`](Self::raw), in a table of pages of the same type.
    #[inline]
    pub(super) fn from_raw(raw: *mut Node) -> Self {
        Self(raw, PhantomData)
    }

    #[inline]
    pub(super) fn raw(self) -> *mut Node {
        self.0
    }

    /// What it names, undeciphered.
    #[inline]
    pub(super) fn name(self) -> Option<Name<F>> {
        NonNull::new(self.0).map(|name| Name(name, PhantomData))
    }

    #[inline]
    pub(super) fn target(self) -> Option<Target<F>> {
        self.name().map(Name::target)
    }
}

/// A [`Word`] that names a node.
#[derive(Debug)]
pub(super) struct Name<F>(NonNull<Node>, PhantomData<*mut F>);

impl<F> Clone for Name<F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F> Copy for Name<F> {}

impl<F> Name<F> {
    /// The base, if it names one.
    #[inline]
    pub(super) fn base(self) -> Option<NonNull<Base<F>>> {
        (self.0.addr().get() & TAG == 0).then_some(self.0.cast())
    }

    #[inline]
    pub(super) fn target(self) -> Target<F> {
        let tag = self.0.addr().get() & TAG;
        // SAFETY: a word that is not null is the address of a block with a tag added, and no block lies at
        // null.
        let block = unsafe { NonNull::new_unchecked(self.0.as_ptr().map_addr(|address| address & !TAG)) };
        match tag {
            0 => Target::Base(block.cast()),
            BUNDLE => Target::Bundled(block.cast(), 0),
            // A tag has four bits.
            _ => Target::Slot(block.cast(), tag as u8 - 1),
        }
    }
}

impl<F> Target<F> {
    /// How often the page was in use, as a node says that is or was a head. Of a bundle's newest link, the
    /// base says it (bundle, C).
    ///
    /// # Safety
    /// The node is alive for `'g`.
    #[inline]
    pub(super) unsafe fn touched<'g>(self) -> &'g AtomicU8
    where
        F: 'g,
    {
        // SAFETY: by the contract; a slot that can be reached was written before it was published.
        unsafe {
            match self {
                Self::Base(base) => &base.as_ref().touched,
                Self::Slot(chunk, index) => &Chunk::slot(chunk, index).as_ref().touched,
                Self::Bundled(bundle, _) => &Bundle::base_of(bundle).as_ref().touched,
            }
        }
    }

    /// Where the merged page hangs, of a link that is or was a head (bundle, A).
    ///
    /// # Safety
    /// The node is alive for `'g`.
    #[inline]
    pub(super) unsafe fn home<'g>(self) -> Option<&'g AtomicPtr<Content<F>>>
    where
        F: 'g,
    {
        // SAFETY: as in `touched`.
        unsafe {
            match self {
                Self::Base(_) | Self::Bundled(_, 1..) => None,
                Self::Slot(chunk, index) => Some(&Chunk::slot(chunk, index).as_ref().merged),
                Self::Bundled(bundle, 0) => Some(&bundle.as_ref().merged),
            }
        }
    }

    /// The page as of this node, if it is in memory in one piece.
    ///
    /// # Safety
    /// The node was reached under a guard that lasts for `'g`.
    #[inline]
    pub(super) unsafe fn merged<'g>(self) -> Option<&'g F> {
        // SAFETY: the guard keeps the node alive. A content, or a base's value, is dropped by a deferral only
        // (F, H), which waits for it too.
        unsafe {
            match self {
                Self::Base(base) => Base::value(base),
                link => link.home()?.load(Ordering::Acquire).as_ref().map(|content| &content.value),
            }
        }
    }

    /// The next older node.
    ///
    /// # Safety
    /// The node was reached under a guard that is still held.
    #[inline]
    pub(super) unsafe fn older(self) -> Option<Self> {
        // SAFETY: by the contract alive, and frozen (A, B); a slot that can be reached was written before it
        // was published.
        unsafe {
            match self {
                Self::Base(_) => None,
                Self::Slot(chunk, 0) => chunk.as_ref().older.target(),
                Self::Slot(chunk, index) => {
                    Some(Self::Slot(chunk, Chunk::slot(chunk, index).as_ref().steps.next()))
                }
                Self::Bundled(bundle, index) if bundle.as_ref().depth(index) == 1 => {
                    Some(Self::Base(Bundle::base_of(bundle)))
                }
                Self::Bundled(bundle, index) => Some(Self::Bundled(bundle, index + 1)),
            }
        }
    }

    /// Asks for what a look at the node will touch.
    #[inline]
    pub(super) fn prefetch(self) {
        match self {
            Self::Base(base) => prefetch(base.as_ptr()),
            Self::Slot(chunk, index) => {
                prefetch(chunk.as_ptr());
                prefetch(Chunk::slot_address(chunk, index).cast::<SlotHeader>());
            }
            Self::Bundled(bundle, _) => prefetch(bundle.as_ptr()),
        }
    }

    /// Asks for what a search on its way to older nodes will touch.
    #[inline]
    pub(super) fn prefetch_on_the_way(self) {
        match self {
            Self::Base(base) => prefetch(base.as_ptr()),
            Self::Slot(chunk, _) => prefetch(chunk.as_ptr()),
            Self::Bundled(bundle, _) => prefetch(bundle.as_ptr()),
        }
    }

    /// Asks for the memory that a link on top of the node will write.
    #[inline]
    pub(super) fn prefetch_above(self) {
        if let Self::Slot(chunk, index) = self {
            // Behind the last slot there is something else, and then this is for nothing.
            prefetch(Chunk::slot_address(chunk, index + 1));
        }
    }
}

/// A linked fragment, in place.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Slot<F> {
    pub(super) merged: AtomicPtr<Content<F>>,
    pub(super) cell: LocationCell,
    /// Of the record.
    pub(super) length: u32,
    /// The lengths of this and all older links' records, with their files. Stops at the top instead of
    /// wrapping.
    pub(super) chain_bytes: u32,
    /// The fragment's heap bytes, on the budget while it is present.
    pub(super) charged: u32,
    pub(super) state: AtomicU8,
    pub(super) touched: AtomicU8,
    pub(super) steps: Steps,
    pub(super) bulk: Bulk,
    pub(super) fragment: SharedCell<MaybeUninit<F>>,
}

/// As much of a slot as lies before its fragment.
#[repr(C)]
struct SlotHeader([u64; 4]);

/// Where a slot stands in its chunk's part of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Steps(u8);

const _: () = assert!(MOST_SLOTS <= 1 << 4);

impl Steps {
    /// Of slot 0, whose next older node is the chunk's `older`.
    pub(super) const FIRST: Self = Self(0);

    /// Of the slot above one with these, which has that index.
    pub(super) fn above(self, index: u8) -> Self {
        // A slot rises at most as far as its index, and both are below MOST_SLOTS.
        Self((self.rise() as u8 + 1) << 4 | index)
    }

    /// How many of the chunk's slots lie below in the chain. Slots that were wasted lie in no chain.
    #[inline]
    pub(super) fn rise(self) -> u32 {
        u32::from(self.0 >> 4)
    }

    /// The slot of the next older node, for all but slot 0.
    #[inline]
    pub(super) fn next(self) -> u8 {
        self.0 & 0xF
    }
}

/// Some slots and what they share.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Chunk<F> {
    /// The head when this chunk was made: the node below slot 0.
    pub(super) older: Word<F>,
    pub(super) base: NonNull<Base<F>>,
    pub(super) base_version: u64,
    pub(super) birth: u64,
    /// The depth of slot 0: how many versions above the base. With it a search passes a chunk by without a
    /// look at its slots, which are on other lines.
    pub(super) first_depth: u32,
    references: AtomicU32,
    used: AtomicU32,
    /// The length of the base's record. A link asks for it, and must not have to look at the base, which is
    /// cold.
    pub(super) base_length: u32,
    pub(super) base_bulk: Bulk,
    capacity: u8,
}

#[cfg(all(not(loom), target_pointer_width = "64"))]
const _: () = {
    assert!(size_of::<Chunk<[u64; 3]>>() == 56);
    assert!(size_of::<Slot<[u64; 3]>>() == 56);
    assert!(offset_of!(Slot<[u64; 3]>, fragment) == size_of::<SlotHeader>());
};

impl<F> Chunk<F> {
    /// Where the slots begin.
    const SLOTS: usize = size_of::<Self>().next_multiple_of(align_of::<Slot<F>>());

    const fn layout(capacity: usize) -> Layout {
        let align = if align_of::<Slot<F>>() > align_of::<Self>() {
            align_of::<Slot<F>>()
        } else {
            align_of::<Self>()
        };
        layout(Self::SLOTS + capacity * size_of::<Slot<F>>(), align)
    }

    /// What a chunk takes of memory.
    pub(super) fn size(&self) -> u64 {
        slabs::footprint(Self::layout(self.capacity.into()))
    }

    /// How many slots the next chunk of a page gets: few at first, since most pages are small.
    pub(super) fn next_capacity(below: Option<&Self>) -> usize {
        match below.map(|chunk| chunk.capacity) {
            None => 3,
            Some(..7) => 7,
            Some(_) => MOST_SLOTS,
        }
    }

    /// Puts a chunk that nobody else knows yet on top of another base of the same version.
    ///
    /// # Safety
    /// The chunk is the caller's alone, and was made on top of a base.
    pub(super) unsafe fn put_on(this: NonNull<Self>, base: NonNull<Base<F>>) {
        // SAFETY: plain writes to memory that is the caller's alone.
        unsafe {
            (*this.as_ptr()).older = Word::of_base(base);
            (*this.as_ptr()).base = base;
        }
    }

    /// Takes memory for a chunk that nobody else knows yet, with slot 0 claimed, which will have that depth.
    /// The chain will hold the reference.
    pub(super) fn allocate(
        capacity: usize,
        older: Word<F>,
        first_depth: u32,
        foot: &Foot<F>,
    ) -> NonNull<Self> {
        debug_assert!((1..=MOST_SLOTS).contains(&capacity));
        let memory = spare::allocate(Self::layout(capacity), Purpose::Nodes).cast::<Self>();
        let (references, used) = (AtomicU32::new(1), AtomicU32::new(1));
        // At most MOST_SLOTS, so it fits.
        let capacity = capacity as u8;
        let Foot { base, version: base_version, birth, length: base_length, bulk: base_bulk } = *foot;
        let header = Self {
            older,
            base,
            base_version,
            birth,
            first_depth,
            references,
            used,
            base_length,
            base_bulk,
            capacity,
        };
        // SAFETY: fresh memory; the header is its beginning. The slots stay uninitialised until they are
        // claimed.
        unsafe { memory.write(header) };
        memory
    }

    /// What the next chunk of the page has to repeat.
    pub(super) fn foot(&self) -> Foot<F> {
        Foot {
            base: self.base,
            version: self.base_version,
            birth: self.birth,
            length: self.base_length,
            bulk: self.base_bulk,
        }
    }

    /// Claims the next slot (C). An acquire, so that a claimer comes after one that gave the same slot back.
    pub(super) fn claim(&self) -> Option<u8> {
        let capacity = u32::from(self.capacity);
        if self.used.load(Ordering::Relaxed) >= capacity {
            return None;
        }
        let index = self.used.fetch_add(1, Ordering::Acquire);
        // A chunk has at most MOST_SLOTS.
        (index < capacity).then_some(index as u8)
    }

    /// Gives back a claimed slot that was not published and that holds no fragment, if no later one was
    /// claimed.
    pub(super) fn unclaim(&self, index: u8) {
        let (claimed, free) = (u32::from(index) + 1, u32::from(index));
        // If it fails, the slot is wasted, and freed with the chunk.
        let _ = self.used.compare_exchange(claimed, free, Ordering::Release, Ordering::Relaxed);
    }

    /// The place of a slot. Uninitialised memory unless the slot was claimed and written.
    ///
    /// # Safety
    /// The chunk is alive, the pointer covers it all, and `index` is below its capacity.
    #[inline]
    pub(super) unsafe fn slot(this: NonNull<Self>, index: u8) -> NonNull<Slot<F>> {
        // SAFETY: by the contract, this stays inside the allocation.
        unsafe { this.byte_add(Self::SLOTS).cast::<Slot<F>>().add(index.into()) }
    }

    /// Where a slot is or would be: to be asked for only, not to be looked at.
    #[inline]
    fn slot_address(this: NonNull<Self>, index: u8) -> *const Slot<F> {
        this.as_ptr().wrapping_byte_add(Self::SLOTS).cast::<Slot<F>>().wrapping_add(index.into())
    }

    /// Takes a reference (E).
    pub(super) fn retain(&self) {
        // The caller reached the chunk under a guard, so the chain's own reference is still held.
        self.references.fetch_add(1, Ordering::Relaxed);
    }

    /// Gives up a reference, and the memory with the last one (E). Returns what was freed. Fragments are
    /// another's business.
    ///
    /// # Safety
    /// The caller owns a reference, and uses the chunk no more.
    pub(super) unsafe fn release(this: NonNull<Self>) -> u64 {
        // SAFETY: the reference keeps the chunk alive until here. Release, and acquire by the last one, order
        // all that was done in the chunk before its end.
        let (before, capacity) = unsafe {
            let header = this.as_ref();
            (header.references.fetch_sub(1, Ordering::AcqRel), header.capacity)
        };
        if before > 1 {
            return 0;
        }
        let layout = Self::layout(capacity.into());
        // SAFETY: that was the last reference; allocated with the same layout.
        unsafe { spare::free(this.cast(), layout, Purpose::Nodes) };
        slabs::footprint(layout)
    }
}

impl<F> Slot<F> {
    /// The fragment, if it is present.
    ///
    /// # Safety
    /// The caller holds a guard from before it reached the slot, for as long as it uses the result.
    #[inline]
    pub(super) unsafe fn fragment<'g>(this: NonNull<Self>) -> Option<&'g F> {
        // SAFETY: a reachable slot is alive (A) and its state atomic. If the fragment is present, it is only
        // dropped by a deferral that waits for the caller's guard (D).
        unsafe {
            if this.as_ref().state.load(Ordering::Acquire) != PRESENT {
                return None;
            }
            Some(Self::fragment_seen(this))
        }
    }

    /// The fragment, which was present.
    ///
    /// # Safety
    /// The caller holds a guard from before it reached the slot, for as long as it uses the result, and has
    /// seen under it that the fragment was present.
    #[inline]
    pub(super) unsafe fn fragment_seen<'g>(this: NonNull<Self>) -> &'g F {
        // SAFETY: as in `fragment`; the caller is the reader that saw it.
        unsafe { (*this.as_ptr()).fragment.with(|fragment| &*fragment.cast::<F>()) }
    }

    /// Takes the fragment out of the slot, by value.
    ///
    /// # Safety
    /// The fragment is there, and the caller is the only one who will ever touch it again.
    pub(super) unsafe fn take_fragment(this: NonNull<Self>) -> F {
        // SAFETY: by the contract.
        unsafe { (*this.as_ptr()).fragment.with_mut(|fragment| fragment.cast::<F>().read()) }
    }

    /// Drops the fragment where it is.
    ///
    /// # Safety
    /// As for [`take_fragment`](Self::take_fragment).
    pub(super) unsafe fn drop_fragment(this: NonNull<Self>) {
        // SAFETY: by the contract.
        unsafe { (*this.as_ptr()).fragment.with_mut(|fragment| ptr::drop_in_place(fragment.cast::<F>())) };
    }

    /// Says that so much of the record of a slot that is not published yet is in a file of its own.
    ///
    /// # Safety
    /// As for [`set_record`](Self::set_record).
    pub(super) unsafe fn set_bulk(this: NonNull<Self>, bulk: Bulk) {
        // SAFETY: a plain write to memory that is the caller's alone.
        unsafe { this.byte_add(offset_of!(Self, bulk)).cast::<Bulk>().write(bulk) };
    }

    /// Completes a slot that is not published yet.
    ///
    /// # Safety
    /// The slot was claimed and written by the caller, and not published (C).
    pub(super) unsafe fn set_record(this: NonNull<Self>, length: u32, chain_bytes: u32) {
        // SAFETY: plain writes to memory that is the caller's alone.
        unsafe {
            this.byte_add(offset_of!(Self, length)).cast::<u32>().write(length);
            this.byte_add(offset_of!(Self, chain_bytes)).cast::<u32>().write(chain_bytes);
        }
    }
}
