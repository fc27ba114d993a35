//! Page id → head of the page's chain: two levels of 2¹⁶ entries, filled in as ids are used, never shrunk.
//!
//! - **(A)** A leaf is installed once, by a compare-exchange from null, and lives as long as the table. So a reference to a leaf
//!   lives as long as a reference to the table.
//! - **(B)** Everything that is handed out about a page carries the lifetime `'g` of both the table and a guard. So no chain
//!   is freed while somebody looks at it (see `node`, A), and when the table is dropped nobody looks at any.
//! - **(C)** Each leaf has a bitmap of the pages that *may* have contents in memory, so that the eviction hand does not have to
//!   visit pages without. Who puts contents in (sequentially consistent) then makes sure that the bit is set; the hand
//!   clears the bit, then looks at the page, and sets the bit again if it left something. Of the two at least one sees the
//!   other, so no contents stay behind with a clear bit.

use std::fmt;
use std::marker::PhantomData;
use std::ptr;
use std::sync::Arc;

use crate::ids::PageId;
use crate::pages::budget::{Account, Budget};
use crate::pages::chain::{Head, NodeRef};
use crate::pages::fragment::Fragment;
use crate::pages::node::{Node, Word};
use crate::pages::retire::free_chain;
use crate::sync::atomic::{AtomicPtr, AtomicU64, Ordering, fence};
use crate::sync::epoch::Guard;

/// The orderings that the models in `src/models` put to the test by weakening them, one at a time.
mod order {
    use crate::sync::atomic::Ordering;

    /// A new head: a release, which publishes the node, in the total order that (C) needs.
    pub(super) const PUBLISH: Ordering =
        if cfg!(weakened = "publish_order") { Ordering::Relaxed } else { Ordering::SeqCst };
}

/// Bits of a page id that choose inside one level. The model checker gets a table of 16 pages, and the interpreter
/// that checks our pointers, which is slow, one of 2¹⁶.
const LEVEL_BITS: u32 = if cfg!(loom) {
    2
} else if cfg!(miri) {
    8
} else {
    16
};
const ENTRIES: usize = 1 << LEVEL_BITS;
const BITS_IN_WORD: usize = if ENTRIES < 64 { ENTRIES } else { 64 };
/// How many pages share a word of the bitmap (C).
pub(super) const STRIDE: u64 = BITS_IN_WORD as u64;

/// The heads of pages with consecutive ids.
#[derive(Debug)]
#[repr(C)]
struct Leaf {
    words: [AtomicPtr<Node>; ENTRIES],
    resident: [AtomicU64; ENTRIES.div_ceil(BITS_IN_WORD)],
}

#[derive(Debug)]
struct Root([AtomicPtr<Leaf>; ENTRIES]);

#[cfg(not(loom))]
impl Leaf {
    fn new() -> Box<Self> {
        // SAFETY: arrays of atomics.
        unsafe { crate::pages::zeroed::zeroed() }
    }
}

#[cfg(not(loom))]
impl Root {
    fn new() -> Box<Self> {
        // SAFETY: an array of atomic pointers.
        unsafe { crate::pages::zeroed::zeroed() }
    }
}

#[cfg(loom)]
impl Leaf {
    fn new() -> Box<Self> {
        let words = std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut()));
        Box::new(Self { words, resident: std::array::from_fn(|_| AtomicU64::new(0)) })
    }
}

#[cfg(loom)]
impl Root {
    fn new() -> Box<Self> {
        Box::new(Self(std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut()))))
    }
}

impl Leaf {
    fn resident(&self, index: usize) -> (&AtomicU64, u64) {
        (&self.resident[index / BITS_IN_WORD], 1 << (index % BITS_IN_WORD))
    }
}

/// All pages of an instance.
#[derive(Debug)]
pub(crate) struct PageTable<F: Fragment> {
    root: Box<Root>,
    budget: Arc<Budget>,
    pages: PhantomData<F>,
}

impl<F: Fragment> PageTable<F> {
    /// An empty table, whose pages' contents are on that budget.
    pub(crate) fn new(budget: Arc<Budget>) -> Self {
        Self { root: Root::new(), budget, pages: PhantomData }
    }

    /// The newest node of a page; `None` if the id was never used (or can't be). A freed page has a head, too.
    #[inline]
    pub(crate) fn head<'g>(&'g self, page_id: PageId, guard: &'g Guard) -> Option<Head<'g, F>> {
        let site = Site { table: self, leaf: self.leaf(page_id)?, page_id, guard };
        site.head()
    }

    /// Where a page is or can be, making room if need be; `None` if the id is above [`PageId::LIMIT`].
    pub(crate) fn entry<'g>(&'g self, page_id: PageId, guard: &'g Guard) -> Option<Entry<'g, F>> {
        let leaf = match self.leaf(page_id) {
            Some(leaf) => leaf,
            None => self.grow(page_id)?,
        };
        let site = Site { table: self, leaf, page_id, guard };
        Some(site.head().map_or(Entry::Vacant(site), Entry::Occupied))
    }

    /// Calls `visit` for the pages that may have contents, of the [`STRIDE`] ids from `first` (rounded down) on. The marks of those
    /// for which it returns false are cleared. It is told to look after the mark was cleared (C).
    pub(super) fn sweep<'g>(
        &'g self,
        first: PageId,
        guard: &'g Guard,
        mut visit: impl FnMut(Head<'g, F>) -> bool,
    ) {
        let first = first.0 - first.0 % STRIDE;
        let Some(leaf) = self.leaf(PageId(first)) else { return };
        let (word, _) = leaf.resident(slot_of(first));
        let mut marks = word.load(Ordering::Relaxed);
        while marks != 0 {
            let bit = marks.trailing_zeros();
            marks &= marks - 1;
            let site = Site { table: self, leaf, page_id: PageId(first + u64::from(bit)), guard };
            word.fetch_and(!(1 << bit), Ordering::SeqCst);
            fence(Ordering::SeqCst);
            if site.head().is_some_and(&mut visit) {
                site.mark_resident();
            }
        }
    }

    #[inline]
    fn leaf(&self, page_id: PageId) -> Option<&Leaf> {
        let index = usize::try_from(page_id.0 >> LEVEL_BITS).ok()?;
        let leaf = self.root.0.get(index)?.load(Ordering::Acquire);
        // SAFETY: null or a leaf that lives as long as the table (A).
        unsafe { leaf.as_ref() }
    }

    #[cold]
    fn grow(&self, page_id: PageId) -> Option<&Leaf> {
        let index = usize::try_from(page_id.0 >> LEVEL_BITS).ok()?;
        let home = self.root.0.get(index)?;
        let fresh = Box::into_raw(Leaf::new());
        match home.compare_exchange(ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: just installed, so it lives as long as the table (A).
            Ok(_) => unsafe { fresh.as_ref() },
            Err(winner) => {
                // SAFETY: ours, and never published. The winner's is installed (A).
                unsafe {
                    drop(Box::from_raw(fresh));
                    winner.as_ref()
                }
            }
        }
    }
}

fn slot_of(page_id: u64) -> usize {
    // Masked, so it fits.
    page_id as usize & (ENTRIES - 1)
}

impl<F: Fragment> Drop for PageTable<F> {
    fn drop(&mut self) {
        for home in &self.root.0 {
            let leaf = home.load(Ordering::Relaxed);
            if leaf.is_null() {
                continue;
            }
            // SAFETY: a leaf came from a box, and nobody else has the table any more (B).
            let leaf = unsafe { Box::from_raw(leaf) };
            for word in &leaf.words {
                let word = word.load(Ordering::Relaxed);
                // Most of a leaf was never used, and a short-lived store should not take long to drop.
                if word.is_null() {
                    continue;
                }
                let word = Word::<F>::from_raw(word);
                // SAFETY: the chain is reachable from this word only, and nobody looks at it (B).
                let freed = unsafe { free_chain(word) };
                self.budget.discharge(freed.contents);
            }
        }
    }
}

/// What a table has for a page id.
#[derive(Debug)]
pub(crate) enum Entry<'g, F: Fragment> {
    /// The id was never used.
    Vacant(Site<'g, F>),
    /// There is a page, or a freed one.
    Occupied(Head<'g, F>),
}

impl<'g, F: Fragment> Entry<'g, F> {
    pub(super) fn site(&self) -> Site<'g, F> {
        match self {
            Self::Vacant(site) => *site,
            Self::Occupied(head) => head.newest().site(),
        }
    }

    pub(super) fn word(&self) -> Word<F> {
        match self {
            Self::Vacant(_) => Word::NULL,
            Self::Occupied(head) => head.newest().word(),
        }
    }
}

/// A page id's place in the table, under a guard.
pub(crate) struct Site<'g, F: Fragment> {
    table: &'g PageTable<F>,
    leaf: &'g Leaf,
    page_id: PageId,
    guard: &'g Guard,
}

impl<F: Fragment> Clone for Site<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: Fragment> Copy for Site<'_, F> {}

impl<F: Fragment> fmt::Debug for Site<'_, F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Site({})", self.page_id)
    }
}

impl<'g, F: Fragment> Site<'g, F> {
    pub(super) fn page_id(self) -> PageId {
        self.page_id
    }

    pub(super) fn guard(self) -> &'g Guard {
        self.guard
    }

    pub(super) fn account(self) -> &'g Arc<Account> {
        self.table.budget.account()
    }

    #[inline]
    fn home(self) -> &'g AtomicPtr<Node> {
        &self.leaf.words[slot_of(self.page_id.0)]
    }

    #[inline]
    pub(super) fn head(self) -> Option<Head<'g, F>> {
        let word = Word::from_raw(self.home().load(Ordering::Acquire));
        // The word was read under the site's guard.
        word.target().map(|target| Head::new(NodeRef::new(self, target)))
    }

    /// Publishes a new head over the one that was seen, if it still is the head. The only place where a head changes.
    pub(super) fn exchange(self, seen: Word<F>, new: Word<F>) -> bool {
        self.home().compare_exchange(seen.raw(), new.raw(), order::PUBLISH, Ordering::Relaxed).is_ok()
    }

    /// Makes sure that the eviction hand will come by. To be called after contents were put in.
    pub(super) fn mark_resident(self) {
        let (word, bit) = self.leaf.resident(slot_of(self.page_id.0));
        if word.load(Ordering::SeqCst) & bit == 0 {
            word.fetch_or(bit, Ordering::SeqCst);
        }
    }

    /// Hands over what this thread has deferred, so that it is freed as soon as readers allow.
    pub(super) fn hand_over(self, when: bool) {
        if when {
            self.guard.flush();
        }
    }
}
