//! Memory of nodes and contents that were freed, kept for the next ones.
//!
//! A page that was replaced frees its chunks, its base and its contents, and what comes next takes some of
//! the same few sizes. So each thread keeps what it frees, up to [`KEPT`] bytes, and takes from there first,
//! without a lock. The last block freed is the first taken, while its lines are still in the nearest caches.
//! What a thread does not have comes from [`slabs`](super::slabs), some blocks at a time.
//!
//! - **(A)** A block is with its user *or* in one thread's stock. It is put there by whoever owns it, and
//!   nobody else comes to it.
//! - **(B)** A stock holds blocks of one layout and purpose per shelf, so what is taken is what was asked
//!   for.
//! - **(C)** A stock is bounded in bytes, and given back when its thread ends. It is no part of the cache's
//!   budget: a constant for each thread that writes or reclaims. Only a block that can't be given back just
//!   now is kept beyond the bound.
//!
//! Recycled memory hides a use after its end from those who look for that. With `--cfg sanitized`, and in the
//! interpreter that checks our pointers, nothing is kept.

use std::alloc::Layout;
use std::cell::RefCell;
use std::ptr::NonNull;

use crate::pages::slabs::{self, Purpose};
use crate::sync::thread_local;

/// How many bytes a thread keeps.
const KEPT: usize = if cfg!(any(miri, loom, sanitized)) { 0 } else { 512 << 10 };
/// Pages of one type need six: chunks of three sizes, bases of two, and what is merged of links.
const SHELVES: usize = 7;
/// How many bytes a thread takes at once that has no block of a size.
const TAKEN: usize = if KEPT > 0 { 4 << 10 } else { 0 };

/// A block that is not in use: its first bytes name the one that was put there before it. So to keep a block
/// takes no memory.
struct Unused {
    below: Option<NonNull<Self>>,
}

/// Blocks of one layout and purpose, the last one on top.
#[derive(Clone, Copy)]
struct Shelf {
    layout: Layout,
    purpose: Purpose,
    top: Option<NonNull<Unused>>,
}

impl Shelf {
    fn is_for(&self, layout: Layout, purpose: Purpose) -> bool {
        self.layout == layout && self.purpose == purpose
    }
}

/// What a thread keeps.
struct Stock {
    shelves: [Shelf; SHELVES],
    bytes: usize,
}

impl Stock {
    const fn new() -> Self {
        // No block has this layout, so the shelf is anybody's.
        let anybodys = Shelf { layout: Layout::new::<()>(), purpose: Purpose::Nodes, top: None };
        Self { shelves: [anybodys; SHELVES], bytes: 0 }
    }

    fn take(&mut self, layout: Layout, purpose: Purpose) -> Option<NonNull<u8>> {
        let shelf = self.shelves.iter_mut().find(|shelf| shelf.is_for(layout, purpose))?;
        let block = shelf.top?;
        // SAFETY: a block on a shelf is ours (A), and begins with what `put` wrote.
        shelf.top = unsafe { block.as_ref().below };
        self.bytes -= layout.size();
        Some(block.cast())
    }

    fn has_room(&self, layout: Layout) -> bool {
        self.bytes + layout.size() <= KEPT
    }

    /// Keeps a block. False if it can't; then it is still the caller's.
    ///
    /// # Safety
    /// The block has that layout and purpose, and the caller owns it.
    unsafe fn put(&mut self, block: NonNull<u8>, layout: Layout, purpose: Purpose) -> bool {
        if layout.size() < size_of::<Unused>() || layout.align() < align_of::<Unused>() {
            return false;
        }
        let own = self.shelves.iter().position(|shelf| shelf.is_for(layout, purpose));
        let own = own.or_else(|| self.shelves.iter().position(|shelf| shelf.layout.size() == 0));
        let Some(shelf) = own.and_then(|own| self.shelves.get_mut(own)) else { return false };
        (shelf.layout, shelf.purpose) = (layout, purpose);
        let block = block.cast::<Unused>();
        // SAFETY: the caller's block, which is large enough and aligned.
        unsafe { block.write(Unused { below: shelf.top }) };
        shelf.top = Some(block);
        self.bytes += layout.size();
        true
    }
}

impl Drop for Stock {
    fn drop(&mut self) {
        for Shelf { layout, purpose, .. } in self.shelves {
            while let Some(block) = self.take(layout, purpose) {
                // SAFETY: it came from `slabs::allocate` with the same (B), and only this stock had it (A).
                unsafe { slabs::free(block, layout, purpose) };
            }
        }
    }
}

thread_local! {
    static STOCK: RefCell<Stock> = const { RefCell::new(Stock::new()) };
}

/// Takes memory of a layout that has a size.
pub(super) fn allocate(layout: Layout, purpose: Purpose) -> NonNull<u8> {
    debug_assert!(layout.size() > 0);
    let take = |stock: &RefCell<Stock>| {
        let mut stock = stock.borrow_mut();
        stock.take(layout, purpose).unwrap_or_else(|| {
            slabs::allocate(layout, purpose, (TAKEN / layout.size()).saturating_sub(1), |block| {
                // SAFETY: a block of that layout that nobody else has.
                stock.has_room(layout) && unsafe { stock.put(block, layout, purpose) }
            })
        })
    };
    // A thread that is ending has no stock any more.
    STOCK.try_with(take).unwrap_or_else(|_| slabs::allocate(layout, purpose, 0, |_| false))
}

/// Gives memory back.
///
/// # Safety
/// It came from [`allocate`] with the same layout and purpose, and nobody uses it any more.
pub(super) unsafe fn free(block: NonNull<u8>, layout: Layout, purpose: Purpose) {
    // SAFETY: by the contract. `put` and `try_free` leave the block to us if they return false.
    let give = |stock: &RefCell<Stock>| unsafe {
        let mut stock = stock.borrow_mut();
        (stock.has_room(layout) && stock.put(block, layout, purpose))
            || slabs::try_free(block, layout, purpose)
            || stock.put(block, layout, purpose)
    };
    let is_given = STOCK.try_with(give).unwrap_or(false);
    if !is_given {
        // SAFETY: by the contract.
        unsafe { slabs::free(block, layout, purpose) };
    }
}

#[cfg(test)]
#[cfg(not(any(loom, miri, sanitized)))]
mod tests {
    use std::alloc::Layout;
    use std::ptr::NonNull;

    use super::{KEPT, SHELVES, STOCK, TAKEN};
    use crate::pages::slabs::Purpose;

    fn allocate(layout: Layout) -> NonNull<u8> {
        super::allocate(layout, Purpose::Nodes)
    }

    /// # Safety
    /// As for [`super::free`].
    unsafe fn free(block: NonNull<u8>, layout: Layout) {
        // SAFETY: by the contract.
        unsafe { super::free(block, layout, Purpose::Nodes) };
    }

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 16).expect("a layout")
    }

    fn in_stock() -> (usize, usize) {
        STOCK.with(|stock| {
            let stock = stock.borrow();
            let count = |shelf: &super::Shelf| {
                // SAFETY: blocks on a shelf are unused, and this thread's.
                std::iter::successors(shelf.top, |block| unsafe { block.as_ref().below }).count()
            };
            (stock.bytes, stock.shelves.iter().map(count).sum())
        })
    }

    #[test]
    fn the_last_block_freed_is_the_first_taken() {
        let [first, second] = [0; 2].map(|_| allocate(layout(TAKEN)));
        // SAFETY: both from above.
        unsafe {
            free(first, layout(TAKEN));
            free(second, layout(TAKEN));
        }
        assert_eq!(in_stock(), (2 * TAKEN, 2));
        assert_eq!([0; 3].map(|_| allocate(layout(TAKEN)))[..2], [second, first]);
        assert_eq!(in_stock(), (0, 0));
    }

    #[test]
    fn another_layout_is_never_handed_out() {
        let small = allocate(layout(TAKEN));
        // SAFETY: from above.
        unsafe { free(small, layout(TAKEN)) };
        let aligned = Layout::from_size_align(TAKEN, 64).expect("a layout");
        assert_ne!(allocate(aligned), small);
        assert_ne!(super::allocate(layout(TAKEN), Purpose::Contents), small);
        assert_eq!(in_stock(), (TAKEN, 1));
        assert_ne!(allocate(layout(TAKEN / 2)), small);
        assert_eq!(in_stock(), (TAKEN + TAKEN / 2, 2), "one for the one asked for, and one to spare");
    }

    #[test]
    fn a_stock_is_bounded_in_bytes_and_in_layouts() {
        let blocks: Vec<_> = (0..KEPT / TAKEN + 10).map(|_| allocate(layout(TAKEN))).collect();
        // SAFETY: from above.
        blocks.into_iter().for_each(|block| unsafe { free(block, layout(TAKEN)) });
        // Tests beside this one are in the arenas now and then; what can't be given back to them stays until
        // the next try.
        let is_bounded = (0..1_000_000).any(|_| {
            let there = in_stock().0;
            if there > KEPT {
                // SAFETY: its own.
                unsafe { free(allocate(layout(TAKEN)), layout(TAKEN)) };
            }
            there == KEPT
        });
        assert!(is_bounded, "{} instead of {KEPT}", in_stock().0);
        (0..KEPT / TAKEN).for_each(|_| _ = allocate(layout(TAKEN)));
        // Sizes of which none comes with another.
        for size in (1..=SHELVES + 3).map(|size| TAKEN - size * 32) {
            // SAFETY: its own.
            unsafe { free(allocate(layout(size)), layout(size)) };
        }
        assert_eq!(in_stock().1, SHELVES - 1, "and one shelf for what was there before");
    }

    #[test]
    fn a_thread_that_has_none_takes_some() {
        let first = allocate(layout(1024));
        assert_eq!(in_stock(), (TAKEN - 1024, TAKEN / 1024 - 1));
        let others: Vec<_> = (1..TAKEN / 1024).map(|_| allocate(layout(1024))).collect();
        assert_eq!(in_stock(), (0, 0));
        // SAFETY: from above.
        others.into_iter().chain([first]).for_each(|block| unsafe { free(block, layout(1024)) });
        assert_eq!(in_stock(), (TAKEN, TAKEN / 1024));
    }
}
