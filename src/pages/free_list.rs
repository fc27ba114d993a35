//! Ids of freed pages, to be used again, the lowest first: a bitmap with summaries, without locks.
//!
//! A bit in level 0 stands for an id, a bit in a level above for a word below that is not zero. A block has
//! three levels over 2¹⁸ ids and is made when the first of its ids is freed; two more levels lie over the
//! blocks. Pushing sets a bit and goes up while a word was zero before; popping goes down along lowest bits,
//! takes one, and goes up while a word became zero.
//!
//! - **(A)** An id belongs to whoever cleared its bit in level 0, by an atomic and that found it set. So it
//!   is handed out once for each time that it was pushed.
//! - **(B)** No id is lost: when all calls have returned, every non-zero word has its bit in the level above.
//!   For the last change of that bit can't have been a clearing one: who clears it looks at the word
//!   *afterwards*, and sets it again if the word is not zero; if the word became non-zero only after that
//!   look, then by somebody who found it zero, and who therefore sets the bit, later. (All of this is
//!   sequentially consistent.)
//! - **(C)** While calls are under way, a bit above may be set over a zero word (a search turns back and
//!   clears it) or clear over a non-zero one (a search may miss an id; it is found next time). So "lowest
//!   first" and "none" are exact only when nobody else is at work.

use std::ptr;

use crate::ids::PageId;
use crate::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

/// Bits of an id that choose a bit in a word. The model checker gets words of two bits, and four blocks.
const WORD_BITS: u32 = if cfg!(loom) { 1 } else { 6 };
const WORD: usize = 1 << WORD_BITS;
const BLOCK_BITS: u32 = 3 * WORD_BITS;
/// Blocks for all ids below [`PageId::LIMIT`].
const BLOCKS: usize = if cfg!(loom) { 4 } else { (PageId::LIMIT >> BLOCK_BITS) as usize };

/// 2¹⁸ ids.
#[derive(Debug)]
struct Block {
    ids: [AtomicU64; WORD * WORD],
    words: [AtomicU64; WORD],
    groups: AtomicU64,
}

/// What lies over the blocks.
#[derive(Debug)]
struct Top {
    blocks: [AtomicPtr<Block>; BLOCKS],
    summary: [AtomicU64; BLOCKS / WORD],
    summary_of_summary: [AtomicU64; BLOCKS / WORD / WORD],
}

#[cfg(not(loom))]
impl Block {
    fn new() -> Box<Self> {
        // SAFETY: arrays of atomic integers.
        unsafe { crate::pages::zeroed::zeroed() }
    }
}

#[cfg(not(loom))]
impl Top {
    fn new() -> Box<Self> {
        // SAFETY: arrays of atomic integers and pointers.
        unsafe { crate::pages::zeroed::zeroed() }
    }
}

#[cfg(loom)]
impl Block {
    fn new() -> Box<Self> {
        let (ids, words) = (std::array::from_fn(|_| zero()), std::array::from_fn(|_| zero()));
        Box::new(Self { ids, words, groups: zero() })
    }
}

#[cfg(loom)]
impl Top {
    fn new() -> Box<Self> {
        let blocks = std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut()));
        let summary = std::array::from_fn(|_| zero());
        Box::new(Self { blocks, summary, summary_of_summary: std::array::from_fn(|_| zero()) })
    }
}

#[cfg(loom)]
fn zero() -> AtomicU64 {
    AtomicU64::new(0)
}

/// The ids that wait to be used again.
#[derive(Debug)]
pub(crate) struct FreeList {
    top: Box<Top>,
    length: AtomicU64,
    /// All blocks have a lower index. Raised before a block is installed.
    blocks: AtomicUsize,
}

/// Sets a bit and says whether the word was zero before.
fn set(word: &AtomicU64, bit: usize) -> bool {
    word.fetch_or(1 << bit, Ordering::SeqCst) == 0
}

/// Clears a bit: whether it was set, and whether the word is zero now.
fn clear(word: &AtomicU64, bit: usize) -> (bool, bool) {
    let before = word.fetch_and(!(1 << bit), Ordering::SeqCst);
    (before & (1 << bit) != 0, before & !(1 << bit) == 0)
}

fn lowest(word: &AtomicU64) -> Option<usize> {
    let bits = word.load(Ordering::SeqCst);
    (bits != 0).then(|| bits.trailing_zeros() as usize)
}

impl FreeList {
    pub(crate) fn new() -> Self {
        Self { top: Top::new(), length: AtomicU64::new(0), blocks: AtomicUsize::new(0) }
    }

    /// How many ids there are.
    pub(crate) fn len(&self) -> u64 {
        self.length.load(Ordering::Relaxed)
    }

    /// Adds an id that is not in the list.
    pub(crate) fn push(&self, page_id: PageId) {
        debug_assert!(page_id.0 < PageId::LIMIT);
        let id = page_id.0 as usize;
        let index = id >> BLOCK_BITS;
        let Some(block) = self.block_or_new(index) else { return };
        // Counted before it can be popped, so that the length never goes below zero.
        self.length.fetch_add(1, Ordering::Relaxed);
        let (word, bit) = ((id >> WORD_BITS) % (WORD * WORD), id % WORD);
        if set(&block.ids[word], bit) {
            self.raise_word(index, block, word);
        }
    }

    /// Takes the lowest id.
    pub(crate) fn pop(&self) -> Option<PageId> {
        loop {
            let index = self.lowest_block()?;
            let block = self.block(index)?;
            if let Some(id) = self.pop_from(index, block) {
                self.length.fetch_sub(1, Ordering::Relaxed);
                return Some(PageId(((index << BLOCK_BITS) | id) as u64));
            }
        }
    }

    /// Goes down in a block. `None` if the way ended at a word that was zero, whose bits above are then
    /// cleared (C).
    fn pop_from(&self, index: usize, block: &Block) -> Option<usize> {
        let Some(group) = lowest(&block.groups) else {
            self.lower_block(index, block);
            return None;
        };
        let Some(in_group) = lowest(&block.words[group]) else {
            self.lower_group(index, block, group);
            return None;
        };
        let word = group * WORD + in_group;
        let Some(bit) = lowest(&block.ids[word]) else {
            self.lower_word(index, block, word);
            return None;
        };
        let (taken, empty) = clear(&block.ids[word], bit);
        if empty {
            self.lower_word(index, block, word);
        }
        taken.then_some(word * WORD + bit)
    }

    fn lowest_block(&self) -> Option<usize> {
        loop {
            let top = self.top.summary_of_summary.iter().enumerate();
            let (index, bit) = top.filter_map(|(index, word)| Some((index, lowest(word)?))).next()?;
            let summary = index * WORD + bit;
            match lowest(&self.top.summary[summary]) {
                Some(bit) => return Some(summary * WORD + bit),
                None => self.lower_summary(summary),
            }
        }
    }

    // Going up. `raise` follows a word that was zero and is not any more; `lower` one that may have become
    // zero (B).

    fn raise_word(&self, index: usize, block: &Block, word: usize) {
        if set(&block.words[word / WORD], word % WORD) {
            self.raise_group(index, block, word / WORD);
        }
    }

    fn raise_group(&self, index: usize, block: &Block, group: usize) {
        if set(&block.groups, group) {
            self.raise_block(index);
        }
    }

    fn raise_block(&self, index: usize) {
        if set(&self.top.summary[index / WORD], index % WORD) {
            self.raise_summary(index / WORD);
        }
    }

    fn raise_summary(&self, summary: usize) {
        set(&self.top.summary_of_summary[summary / WORD], summary % WORD);
    }

    fn lower_word(&self, index: usize, block: &Block, word: usize) {
        let (_, empty) = clear(&block.words[word / WORD], word % WORD);
        if empty {
            self.lower_group(index, block, word / WORD);
        }
        if !cfg!(weakened = "free_list_no_second_look") && block.ids[word].load(Ordering::SeqCst) != 0 {
            self.raise_word(index, block, word);
        }
    }

    fn lower_group(&self, index: usize, block: &Block, group: usize) {
        let (_, empty) = clear(&block.groups, group);
        if empty {
            self.lower_block(index, block);
        }
        if block.words[group].load(Ordering::SeqCst) != 0 {
            self.raise_group(index, block, group);
        }
    }

    fn lower_block(&self, index: usize, block: &Block) {
        let (_, empty) = clear(&self.top.summary[index / WORD], index % WORD);
        if empty {
            self.lower_summary(index / WORD);
        }
        if block.groups.load(Ordering::SeqCst) != 0 {
            self.raise_block(index);
        }
    }

    fn lower_summary(&self, summary: usize) {
        clear(&self.top.summary_of_summary[summary / WORD], summary % WORD);
        if self.top.summary[summary].load(Ordering::SeqCst) != 0 {
            self.raise_summary(summary);
        }
    }

    fn block(&self, index: usize) -> Option<&Block> {
        // SAFETY: null or a block that lives as long as the list.
        unsafe { self.top.blocks.get(index)?.load(Ordering::Acquire).as_ref() }
    }

    fn block_or_new(&self, index: usize) -> Option<&Block> {
        if let Some(block) = self.block(index) {
            return Some(block);
        }
        let fresh = Box::into_raw(Block::new());
        let home = self.top.blocks.get(index)?;
        self.blocks.fetch_max(index + 1, Ordering::Relaxed);
        if home.compare_exchange(ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            // SAFETY: ours, and never published.
            drop(unsafe { Box::from_raw(fresh) });
        }
        self.block(index)
    }
}

impl Drop for FreeList {
    fn drop(&mut self) {
        for home in self.top.blocks.iter().take(self.blocks.load(Ordering::Relaxed)) {
            let block = home.load(Ordering::Relaxed);
            if !block.is_null() {
                // SAFETY: a block came from a box, and the list is ours alone.
                drop(unsafe { Box::from_raw(block) });
            }
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use std::collections::BTreeSet;

    use super::FreeList;
    use crate::ids::PageId;

    #[test]
    fn the_lowest_id_comes_first_over_all_levels() {
        let list = FreeList::new();
        let ids = [0, 1, 63, 64, 4095, 4096, 262_143, 262_144, 1 << 24, (1 << 30) + 5, PageId::LIMIT - 1];
        ids.iter().rev().for_each(|id| list.push(PageId(*id)));
        assert_eq!(list.len(), ids.len() as u64);
        let popped: Vec<u64> = std::iter::from_fn(|| list.pop()).map(|id| id.0).collect();
        assert_eq!(popped, ids);
        assert_eq!((list.pop(), list.len()), (None, 0));
    }

    #[test]
    fn an_id_can_come_and_go_again_and_again() {
        let list = FreeList::new();
        for _ in 0..3 {
            list.push(PageId(70_000));
            list.push(PageId(3));
            assert_eq!(list.pop(), Some(PageId(3)));
            assert_eq!(list.pop(), Some(PageId(70_000)));
            assert_eq!(list.pop(), None);
        }
    }

    #[test]
    fn no_id_is_lost_or_handed_out_twice_when_threads_race() {
        const IDS: u64 = if cfg!(miri) { 40 } else { 300 };
        const ROUNDS: usize = if cfg!(miri) { 20 } else { 20_000 };
        let list = FreeList::new();
        // Few and far apart, so that words become zero all the time.
        (0..IDS).for_each(|id| list.push(PageId(id * 1500)));
        let held: Vec<Vec<PageId>> = std::thread::scope(|scope| {
            let work = |_| {
                scope.spawn(|| {
                    let mut held = Vec::new();
                    for round in 0..ROUNDS {
                        match round % 3 {
                            0 | 1 => held.extend(list.pop()),
                            _ => held.drain(..held.len() / 2).for_each(|id| list.push(id)),
                        }
                    }
                    held
                })
            };
            let threads: Vec<_> = (0..4).map(work).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let mut all: Vec<PageId> = held.into_iter().flatten().collect();
        all.extend(std::iter::from_fn(|| list.pop()));
        assert_eq!(all.len() as u64, IDS);
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len() as u64, IDS);
        assert_eq!(list.len(), 0);
    }
}
