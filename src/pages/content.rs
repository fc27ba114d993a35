//! Contents of pages on their way, and those that hang at links.

use std::alloc::Layout;
use std::ptr::NonNull;

use crate::pages::fragment::{Fragment, heap_bytes};
use crate::pages::slabs::{self, Purpose};
use crate::pages::spare;

/// Every block of a node or a content is aligned to this, so that the words that name nodes have bits to
/// spare.
pub(super) const ALIGN: usize = 16;

pub(super) const fn layout(size: usize, align: usize) -> Layout {
    match Layout::from_size_align(size, if align > ALIGN { align } else { ALIGN }) {
        Ok(layout) => layout,
        // The sizes are sums of sizes of types and far from overflowing, and alignments are those of types.
        Err(_) => panic!("no such layout"),
    }
}

/// A page in one piece, or a fragment on its way to become one, with what it weighs on the budget.
#[derive(Debug)]
pub(crate) struct Content<F> {
    pub(super) value: F,
    pub(super) weight: u64,
}

impl<F: Fragment> Content<F> {
    const LAYOUT: Layout = layout(size_of::<Self>(), align_of::<Self>());
    /// What one takes of memory, without what its value owns.
    pub(super) const SIZE: u64 = slabs::footprint(Self::LAYOUT);

    /// `encoded` is the length of the encoded form: the best guess of the heap bytes of a type that does not
    /// tell.
    pub(crate) fn new(value: F, encoded: u64) -> Self {
        let weight = Self::SIZE + heap_bytes(&value, encoded);
        Self { value, weight }
    }

    /// Of a value that lay in a base, which knew its heap bytes.
    pub(super) fn with_heap(value: F, heap: u64) -> Self {
        Self { value, weight: Self::SIZE + heap }
    }

    /// The value, which then weighs nothing.
    pub(crate) fn into_value(self) -> F {
        self.value
    }

    /// The heap bytes.
    pub(super) fn heap(&self) -> u64 {
        self.weight.saturating_sub(Self::SIZE)
    }

    /// Puts it where contents lie. The pointer owns it.
    pub(super) fn into_raw(self) -> *mut Self {
        let memory = spare::allocate(Self::LAYOUT, Purpose::Contents).cast::<Self>();
        // SAFETY: fresh memory of this size and alignment.
        unsafe { memory.write(self) };
        memory.as_ptr()
    }

    /// Takes it back, unless the pointer is null.
    ///
    /// # Safety
    /// The pointer is from [`into_raw`](Self::into_raw), and nobody uses it any more.
    pub(super) unsafe fn from_raw(this: *mut Self) -> Option<Self> {
        let memory = NonNull::new(this)?;
        // SAFETY: by the contract it is whole and ours; once it was read, its memory holds nothing.
        unsafe {
            let content = memory.read();
            spare::free(memory.cast(), Self::LAYOUT, Purpose::Contents);
            Some(content)
        }
    }
}
