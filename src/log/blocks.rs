//! Keeping what is written apart from what is durable, for disks that damage a whole block when the power
//! fails.
//!
//! Most disks leave alone what was not being written. With
//! [`Config::torn_block_size`](crate::Config::torn_block_size) the log relies on less: a block of that size
//! that is being written when the power fails may hold anything afterwards, also where it was durable before.
//! So
//!
//! - **(A)** no write to the log touches a block that an earlier one of the segment's life touched: buffers
//!   begin where blocks do. What is left of the last block of a buffer is filled with cancelled records,
//!   which say nothing and have a length like others. A reader needs to know nothing of blocks, and a store
//!   can be opened with the option and without.
//! - **(B)** the last buffer of a segment needs no filling, for the next one is in another segment; and
//!   segments are whole blocks.
//!
//! A record takes at least [`MIN_LENGTH`] bytes. If fewer are left to the block's end, another block is
//! filled; buffers keep so many bytes to themselves that there is room for that.

use crate::format::record::MIN_LENGTH;

/// The shortest record.
const LEAST: u32 = MIN_LENGTH as u32;

/// The size of the blocks that buffers are to keep apart; 0 if none are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Blocks(u32);

impl Blocks {
    pub(crate) fn new(size: u32) -> Self {
        Self(size)
    }

    /// How many bytes a block has.
    pub(crate) fn size(self) -> u32 {
        self.0
    }

    /// Where the next buffer begins behind one whose records end at `end` bytes into a segment of so many.
    pub(crate) fn next(self, end: u32, segment: u32) -> u32 {
        if self.0 == 0 || end.is_multiple_of(self.0) {
            return end;
        }
        let next = end.next_multiple_of(self.0);
        let next = if next - end < LEAST { next + self.0 } else { next };
        next.min(segment)
    }

    /// How many bytes of a buffer that begins at `start` can be handed out, so that it has room for `wanted`
    /// of them, as far as the segment has.
    pub(crate) fn capacity(self, start: u32, wanted: u32, segment: u32) -> u32 {
        let rest = segment.saturating_sub(start);
        if self.0 == 0 {
            return wanted.min(rest);
        }
        let end = start.saturating_add(wanted).saturating_add(LEAST);
        if end >= segment {
            return rest;
        }
        let end = end.next_multiple_of(self.0);
        if end >= segment { rest } else { end - LEAST - start }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Blocks, LEAST};

    const SEGMENT: u32 = 16 << 10;

    #[test]
    fn buffers_begin_with_blocks_and_have_room_for_what_fills_the_rest() {
        for size in [512, 1024, 4096] {
            let blocks = Blocks::new(size);
            for start in (0..SEGMENT).step_by(size as usize) {
                for wanted in (32..6000).step_by(7) {
                    let capacity = blocks.capacity(start, wanted, SEGMENT);
                    assert!(capacity >= wanted.min(SEGMENT - start) || start + capacity == SEGMENT);
                    for end in [1, capacity / 2, capacity - 1, capacity].map(|used| start + used) {
                        let next = blocks.next(end, SEGMENT);
                        let filled = next - end;
                        assert!(next.is_multiple_of(size) && filled < size + LEAST, "{start} {wanted} {end}");
                        assert!(filled == 0 || filled >= LEAST || next == SEGMENT);
                        let memory = start + capacity + LEAST;
                        assert!(next <= memory, "{next} behind the memory of {start} for {wanted}");
                    }
                }
            }
        }
    }

    #[test]
    fn without_blocks_a_buffer_follows_the_other() {
        let blocks = Blocks::default();
        assert_eq!((blocks.next(1001, SEGMENT), blocks.capacity(1001, 500, SEGMENT)), (1001, 500));
        assert_eq!(blocks.capacity(SEGMENT - 100, 500, SEGMENT), 100);
    }
}
