//! The buffers of a ring, by number.

use std::ptr;

use super::words::INDEX_BITS;
use crate::log::buffer::Buffer;
use crate::log::buffer_state::BufferState;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicPtr, Ordering};

/// How many buffers a ring can grow to, in blocks. A buffer has at least 512 bytes, usually 256 KiB.
const BLOCKS: usize = if cfg!(loom) { 2 } else { 512 };
const BLOCK: usize = if cfg!(loom) { 2 } else { 64 };
const _: () = assert!(BLOCKS * BLOCK < 1 << INDEX_BITS);

/// All buffers of a ring, by number. Grows, never shrinks, so a reference stays good (invariant F).
#[derive(Debug)]
pub(super) struct Registry {
    blocks: Box<[AtomicPtr<Block>]>,
    count: Mutex<u32>,
}

type Block = [AtomicPtr<Buffer>; BLOCK];

impl Registry {
    pub(super) fn new() -> Self {
        let blocks = (0..BLOCKS).map(|_| AtomicPtr::new(ptr::null_mut())).collect();
        Self { blocks, count: Mutex::new(0) }
    }

    #[inline]
    pub(super) fn get(&self, index: u32) -> Option<&Buffer> {
        let block = self.blocks.get(index as usize / BLOCK)?.load(Ordering::Acquire);
        // SAFETY: a block pointer is null or came from Box::into_raw in `allocate`, and is freed only with
        // the registry.
        let block = unsafe { block.as_ref() }?;
        let buffer = block.get(index as usize % BLOCK)?.load(Ordering::Acquire);
        // SAFETY: as above, for the buffer.
        unsafe { buffer.as_ref() }
    }

    /// One more buffer. `None` when all numbers are taken.
    pub(super) fn allocate(&self, state: BufferState) -> Option<u32> {
        let mut count = self.count.lock();
        let index = *count as usize;
        let entry = self.blocks.get(index / BLOCK)?;
        let mut block = entry.load(Ordering::Acquire);
        if block.is_null() {
            block = Box::into_raw(Box::new(std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut()))));
            entry.store(block, Ordering::Release);
        }
        let buffer = Box::into_raw(Box::new(Buffer::new(state)));
        // SAFETY: not null, allocated here or by an earlier call, alive as long as the registry.
        let block = unsafe { &*block };
        block.get(index % BLOCK)?.store(buffer, Ordering::Release);
        *count += 1;
        u32::try_from(index).ok()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        for entry in &self.blocks {
            let block = entry.load(Ordering::Acquire);
            if block.is_null() {
                continue;
            }
            // SAFETY: from Box::into_raw; `&mut self` says that nobody holds a reference.
            let block = unsafe { Box::from_raw(block) };
            for buffer in block.iter() {
                let buffer = buffer.load(Ordering::Acquire);
                if !buffer.is_null() {
                    // SAFETY: as for the block.
                    drop(unsafe { Box::from_raw(buffer) });
                }
            }
        }
    }
}
