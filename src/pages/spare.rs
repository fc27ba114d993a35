//! Memory of chunks that were freed, kept for the next ones.
//!
//! A page that was replaced frees its chunks, and its next links take some of the same few sizes. The general allocator sorts blocks
//! of more than a kilobyte into lists and joins neighbours, all in memory that nobody has looked at for long: that costs more than
//! the rest of a link. So each thread keeps what it frees, up to [`KEPT`] bytes, and takes from there first. The last block
//! freed is the first taken, while its lines are still in the nearest caches.
//!
//! - **(A)** A block is with its user *or* in one thread's stock. It is put there by whoever owns it, and nobody else comes to it.
//! - **(B)** A stock holds blocks of one layout per shelf, so what is taken has the layout that was asked for.
//! - **(C)** A stock is bounded in bytes, and given back when its thread ends. It is no part of the cache's budget: a
//!   constant for each thread that writes or reclaims.
//!
//! Recycled memory hides a use after its end from those who look for that. With `--cfg sanitized`, and in the interpreter
//! that checks our pointers, nothing is kept.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::RefCell;
use std::ptr::NonNull;

/// How many bytes a thread keeps.
const KEPT: usize = if cfg!(any(miri, loom, sanitized)) { 0 } else { 512 << 10 };
/// As many as there are sizes of chunks that grow along a page, so that two types of pages have room.
const SHELVES: usize = 6;

/// A block that is not in use: its first bytes name the one that was put there before it. So to keep a block takes no memory.
struct Unused {
    below: Option<NonNull<Self>>,
}

/// Blocks of one layout, the last one on top.
#[derive(Clone, Copy)]
struct Shelf {
    layout: Layout,
    top: Option<NonNull<Unused>>,
}

/// What a thread keeps.
struct Stock {
    shelves: [Shelf; SHELVES],
    bytes: usize,
}

impl Stock {
    const fn new() -> Self {
        // No block has this layout, so the shelf is anybody's.
        let anybodys = Shelf { layout: Layout::new::<()>(), top: None };
        Self { shelves: [anybodys; SHELVES], bytes: 0 }
    }

    fn take(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        let shelf = self.shelves.iter_mut().find(|shelf| shelf.layout == layout)?;
        let block = shelf.top?;
        // SAFETY: a block on a shelf is ours (A), and begins with what `put` wrote.
        shelf.top = unsafe { block.as_ref().below };
        self.bytes -= layout.size();
        Some(block.cast())
    }

    /// Keeps a block. False if there is no room; then it is still the caller's.
    ///
    /// # Safety
    /// The block has that layout, and the caller owns it.
    unsafe fn put(&mut self, block: NonNull<u8>, layout: Layout) -> bool {
        let fits = layout.size() >= size_of::<Unused>() && layout.align() >= align_of::<Unused>();
        if !fits || self.bytes + layout.size() > KEPT {
            return false;
        }
        let own = self.shelves.iter().position(|shelf| shelf.layout == layout);
        let own = own.or_else(|| self.shelves.iter().position(|shelf| shelf.layout.size() == 0));
        let Some(shelf) = own.and_then(|own| self.shelves.get_mut(own)) else { return false };
        shelf.layout = layout;
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
        for layout in self.shelves.map(|shelf| shelf.layout) {
            while let Some(block) = self.take(layout) {
                // SAFETY: it came from `allocate` with this layout (B), and only this stock had it (A).
                unsafe { dealloc(block.as_ptr(), layout) };
            }
        }
    }
}

thread_local! {
    static STOCK: RefCell<Stock> = const { RefCell::new(Stock::new()) };
}

/// Takes memory of a layout that has a size.
pub(super) fn allocate(layout: Layout) -> NonNull<u8> {
    debug_assert!(layout.size() > 0);
    // A thread that is ending has no stock any more.
    let kept = STOCK.try_with(|stock| stock.borrow_mut().take(layout)).ok().flatten();
    kept.unwrap_or_else(|| {
        // SAFETY: the size is not zero.
        let memory = unsafe { alloc(layout) };
        NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout))
    })
}

/// Gives memory back.
///
/// # Safety
/// It came from [`allocate`] with the same layout, and nobody uses it any more.
pub(super) unsafe fn free(block: NonNull<u8>, layout: Layout) {
    // SAFETY: by the contract.
    let keep = |stock: &RefCell<Stock>| unsafe { stock.borrow_mut().put(block, layout) };
    let is_kept = STOCK.try_with(keep).unwrap_or(false);
    if !is_kept {
        // SAFETY: by the contract.
        unsafe { dealloc(block.as_ptr(), layout) };
    }
}

#[cfg(test)]
#[cfg(not(any(loom, miri, sanitized)))]
mod tests {
    use std::alloc::Layout;

    use super::{KEPT, SHELVES, STOCK, allocate, free};

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
        let [first, second] = [0; 2].map(|_| allocate(layout(1024)));
        // SAFETY: both from above.
        unsafe {
            free(first, layout(1024));
            free(second, layout(1024));
        }
        assert_eq!(in_stock(), (2048, 2));
        assert_eq!([0; 3].map(|_| allocate(layout(1024)))[..2], [second, first]);
        assert_eq!(in_stock(), (0, 0));
    }

    #[test]
    fn another_layout_is_never_handed_out() {
        let small = allocate(layout(1024));
        // SAFETY: from above.
        unsafe { free(small, layout(1024)) };
        let aligned = Layout::from_size_align(1024, 64).expect("a layout");
        assert_ne!(allocate(layout(2048)), small);
        assert_ne!(allocate(aligned), small);
        assert_eq!(in_stock(), (1024, 1));
    }

    #[test]
    fn a_stock_is_bounded_in_bytes_and_in_layouts() {
        let blocks: Vec<_> = (0..KEPT / 1024 + 10).map(|_| allocate(layout(1024))).collect();
        // SAFETY: from above.
        blocks.into_iter().for_each(|block| unsafe { free(block, layout(1024)) });
        assert_eq!(in_stock().0, KEPT);
        (0..KEPT / 1024).for_each(|_| _ = allocate(layout(1024)));
        for size in (1..=SHELVES + 3).map(|size| size * 32) {
            // SAFETY: its own.
            unsafe { free(allocate(layout(size)), layout(size)) };
        }
        assert_eq!(in_stock().1, SHELVES - 1, "and one shelf for what was there before");
    }
}
