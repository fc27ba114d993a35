//! The oldest node of a chain: full, with the page's contents behind it in the same memory, or slim, without.
//!
//! What holds of it, and who may touch what, is said in `node`.

use std::alloc::Layout;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};

use crate::pages::budget::Weight;
use crate::pages::bulk::Bulk;
use crate::pages::cell::LocationCell;
use crate::pages::content::{Content, layout};
use crate::pages::fragment::Fragment;
use crate::pages::slabs::{self, Purpose};
use crate::pages::spare;
use crate::sync::SharedCell;
use crate::sync::atomic::{AtomicU8, Ordering};

/// What a base says about its page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum BaseKind {
    /// The page exists, and this is (or was) its whole contents.
    Page,
    /// The page was freed. The node keeps the version going until the id is used again.
    Freed,
}

/// `Slot::state`, `Base::state`: the fragment, or the value, is there.
pub(super) const PRESENT: u8 = 1;
/// `Slot::state`, `Base::state`: it was evicted.
pub(super) const DROPPED: u8 = 2;

/// The oldest node of a chain: a record that needs none below it.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Base<F> {
    pub(super) version: u64,
    pub(super) cell: LocationCell,
    pub(super) birth: u64,
    pub(super) length: u32,
    pub(super) kind: BaseKind,
    pub(super) touched: AtomicU8,
    pub(super) bulk: Bulk,
    state: AtomicU8,
    value: PhantomData<F>,
}

/// A base with the contents of its page.
#[repr(C)]
struct FullBase<F> {
    base: Base<F>,
    /// The value's heap bytes, on the budget while it is there.
    heap: u64,
    value: SharedCell<MaybeUninit<F>>,
}

/// `Base::state`: a slim base.
const SLIM: u8 = 0;
/// `Base::state`: of a full base whose value has been dropped (H); `DROPPED` as long as that is still to
/// come.
const HOLLOW: u8 = 3;
/// `Base::state`: of a full base that is to be freed by whoever drops its value.
const ORPHANED: u8 = 4;

/// What a chunk repeats of its page's base.
pub(super) struct Foot<F> {
    pub(super) base: NonNull<Base<F>>,
    pub(super) version: u64,
    pub(super) birth: u64,
    pub(super) length: u32,
    pub(super) bulk: Bulk,
}

#[cfg(all(not(loom), target_pointer_width = "64"))]
const _: () = {
    assert!(size_of::<Base<[u64; 3]>>() == 32);
    assert!(size_of::<FullBase<[u64; 3]>>() == 64);
};

impl<F> Base<F> {
    const LAYOUT: Layout = layout(size_of::<Self>(), align_of::<Self>());
    const FULL_LAYOUT: Layout = layout(size_of::<FullBase<F>>(), align_of::<FullBase<F>>());
    /// What a slim one takes of memory.
    pub(super) const SIZE: u64 = slabs::footprint(Self::LAYOUT);
    /// What a full one takes beside that.
    pub(super) const ROOM: u64 = slabs::footprint(Self::FULL_LAYOUT) - Self::SIZE;

    /// A slim one.
    pub(super) fn new(kind: BaseKind, version: u64, birth: u64, cell: LocationCell) -> Self {
        let (touched, state) = (AtomicU8::new(0), AtomicU8::new(SLIM));
        Self { version, cell, birth, length: 0, kind, touched, bulk: Bulk::NONE, state, value: PhantomData }
    }

    /// What it says of its page, but where the record is.
    fn copy(&self) -> Self {
        let (touched, state) = (AtomicU8::new(self.touched.load(Ordering::Relaxed)), AtomicU8::new(SLIM));
        let Self { version, birth, length, kind, bulk, .. } = *self;
        let (cell, value) = (LocationCell::unset(), PhantomData);
        Self { version, cell, birth, length, kind, touched, bulk, state, value }
    }

    /// A copy without contents; it is to be told where the record is.
    pub(super) fn slim_copy(&self) -> NonNull<Self> {
        Self::allocate(self.copy())
    }

    /// The same, with contents.
    pub(super) fn full_copy(&self, content: Content<F>) -> NonNull<Self>
    where
        F: Fragment,
    {
        Self::allocate_full(self.copy(), content)
    }

    /// Takes memory for a base that nobody else knows yet.
    pub(super) fn allocate(base: Self) -> NonNull<Self> {
        let memory = spare::allocate(Self::LAYOUT, Purpose::Nodes).cast::<Self>();
        // SAFETY: fresh memory of at least this size and alignment.
        unsafe { memory.write(base) };
        memory
    }

    /// The same, with the page's contents.
    pub(super) fn allocate_full(mut base: Self, content: Content<F>) -> NonNull<Self>
    where
        F: Fragment,
    {
        base.state = AtomicU8::new(PRESENT);
        let heap = content.heap();
        let full = FullBase { base, heap, value: SharedCell::new(MaybeUninit::new(content.into_value())) };
        let memory = spare::allocate(Self::FULL_LAYOUT, Purpose::Contents).cast::<FullBase<F>>();
        // SAFETY: fresh memory of at least this size and alignment.
        unsafe { memory.write(full) };
        memory.cast()
    }

    /// What a chunk repeats of the base, which lies there.
    pub(super) fn foot(&self, at: NonNull<Self>) -> Foot<F> {
        let Self { version, birth, length, bulk, .. } = *self;
        Foot { base: at, version, birth, length, bulk }
    }

    /// Whether it has its value.
    #[inline]
    pub(super) fn is_present(&self) -> bool {
        self.state.load(Ordering::Acquire) == PRESENT
    }

    /// The value, if it is there.
    ///
    /// # Safety
    /// The caller holds a guard from before it reached the base, for as long as it uses the result.
    #[inline]
    pub(super) unsafe fn value<'g>(this: NonNull<Self>) -> Option<&'g F> {
        // SAFETY: a reachable base is alive (A). If its value is present it is a full one, and dropped by a
        // deferral only (H), which waits for the caller's guard.
        unsafe {
            if !this.as_ref().is_present() {
                return None;
            }
            Some(Self::value_of_full(this))
        }
    }

    /// The value of a base that has one.
    ///
    /// # Safety
    /// It is a full base; the value was there, to be seen by the caller, under a guard that lasts for `'g`.
    #[inline]
    pub(super) unsafe fn value_of_full<'g>(this: NonNull<Self>) -> &'g F {
        // SAFETY: by the contract.
        unsafe { (*this.cast::<FullBase<F>>().as_ptr()).value.with(|value| &*value.cast::<F>()) }
    }

    /// What the base weighs, as far as its value is not dropped. Nobody else changes it, or an estimate will
    /// do.
    ///
    /// # Safety
    /// It is alive.
    pub(super) unsafe fn weight(this: NonNull<Self>) -> Weight {
        // SAFETY: by the contract; one that is not slim is a full one.
        let contents = unsafe {
            match this.as_ref().state.load(Ordering::Relaxed) {
                SLIM => 0,
                PRESENT => Self::ROOM + Self::heap(this),
                _ => Self::ROOM,
            }
        };
        Weight { contents, nodes: Self::SIZE }
    }

    /// The heap bytes of the value.
    ///
    /// # Safety
    /// It is a full base, and alive.
    pub(super) unsafe fn heap(this: NonNull<Self>) -> u64 {
        // SAFETY: by the contract.
        unsafe { (*this.cast::<FullBase<F>>().as_ptr()).heap }
    }

    /// Takes away the value (H). If the answer is true, it is the caller's to drop, by
    /// [`drop_value`](Self::drop_value) in a deferral.
    pub(super) fn begin_drop(&self) -> bool {
        self.state.compare_exchange(PRESENT, DROPPED, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Drops the value, and frees the base if its chain has been freed (H). Returns what that gave back
    /// beside the value.
    ///
    /// # Safety
    /// The caller's [`begin_drop`](Self::begin_drop) took the value, and no reader is left that may look at
    /// it.
    pub(super) unsafe fn drop_value(this: NonNull<Self>) -> u64 {
        // SAFETY: by the contract. The memory is there until both this and the freeing of the chain have
        // swapped the state.
        unsafe {
            Self::drop_in_place(this);
            if this.as_ref().state.swap(HOLLOW, Ordering::AcqRel) != ORPHANED {
                return 0;
            }
            Self::free_memory(this, true);
        }
        Self::SIZE + Self::ROOM
    }

    /// Frees the base with its value, unless that is about to be dropped: then who drops it does that.
    /// Returns the bytes that were given back.
    ///
    /// # Safety
    /// The base came from [`allocate`](Self::allocate) or one of its sisters, and nobody can reach it any
    /// more, but for a drop of its value.
    pub(super) unsafe fn free(this: NonNull<Self>) -> u64 {
        // SAFETY: by the contract; see `drop_value`.
        unsafe {
            let bytes = Self::weight(this).sum();
            let state = this.as_ref().state.swap(ORPHANED, Ordering::AcqRel);
            if state == DROPPED {
                return 0;
            }
            if state == PRESENT {
                Self::drop_in_place(this);
            }
            Self::free_memory(this, state != SLIM);
            bytes
        }
    }

    /// Frees a full base that was never published, and returns what was in it.
    ///
    /// # Safety
    /// It is the caller's alone, and not used again.
    pub(super) unsafe fn dismantle_full(this: NonNull<Self>) -> Content<F>
    where
        F: Fragment,
    {
        // SAFETY: by the contract; the value is taken out before the memory is freed.
        unsafe {
            let full = this.cast::<FullBase<F>>().as_ptr();
            let value = (*full).value.with_mut(|value| value.cast::<F>().read());
            let content = Content::with_heap(value, (*full).heap);
            Self::free_memory(this, true);
            content
        }
    }

    /// # Safety
    /// It is a full base, its value is there, and nobody will look at it again.
    unsafe fn drop_in_place(this: NonNull<Self>) {
        // SAFETY: by the contract.
        unsafe {
            (*this.cast::<FullBase<F>>().as_ptr())
                .value
                .with_mut(|value| ptr::drop_in_place(value.cast::<F>()));
        }
    }

    /// # Safety
    /// Nobody uses the memory any more, nor what was in it.
    unsafe fn free_memory(this: NonNull<Self>, is_full: bool) {
        // SAFETY: by the contract, and it was allocated so.
        unsafe {
            if is_full {
                spare::free(this.cast(), Self::FULL_LAYOUT, Purpose::Contents);
            } else {
                spare::free(this.cast(), Self::LAYOUT, Purpose::Nodes);
            }
        }
    }
}
