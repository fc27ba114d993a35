//! Page id → head of the page's chain: two levels of 2¹⁶ entries, filled in as ids are used, never shrunk.
//!
//! - **(A)** A leaf is installed once, by a compare-exchange from null, and lives as long as the table. So a
//!   reference to a leaf lives as long as a reference to the table.
//! - **(B)** Everything that is handed out about a page carries the lifetime `'g` of both the table and a
//!   guard. So no chain is freed while somebody looks at it (see `node`, A), and when the table is dropped
//!   nobody looks at any.
//! - **(C)** Beside the heads lie the bits of the pages that *may* have contents in memory, and the
//!   announcements of those that have come in (`arrivals`). Whoever puts contents in comes here, by
//!   [`Site::mark_resident`], and the evictor takes the announcements from here.
//! - **(D)** A small store is closed and looked through in a time that goes by what it holds, not by what the
//!   table has room for: leaves are counted, and ranges flagged, *before* a leaf is installed or a word of
//!   the range is stored. So whoever knows of a leaf or a word, by acquiring it or by having the table alone,
//!   finds it below the count, or behind the flag.

use std::fmt;
use std::marker::PhantomData;
use std::ptr;
use std::sync::Arc;

use crossbeam_utils::CachePadded;

use crate::failpoints::failpoint;
use crate::ids::{PageId, RangeId};
use crate::pages::arrivals::{Arrivals, STRIDE, Stride, StrideName};
use crate::pages::budget::{Account, Budget};
use crate::pages::chain::{Head, Seen};
use crate::pages::changes::ChangeMark;
use crate::pages::fragment::Fragment;
use crate::pages::node::{Name, Node, Word};
use crate::pages::node_ref::NodeRef;
use crate::pages::packed::{Homes, PackedHome, Unpacker, drop_packed};
use crate::pages::prefetch::prefetch;
use crate::pages::retire::free_chain;
use crate::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use crate::sync::epoch::Guard;

/// The orderings that the models in `src/models` put to the test by weakening them, one at a time.
mod order {
    use crate::sync::atomic::Ordering;

    /// A new head: a release, which publishes the node, in the total order that (B) of `arrivals` needs.
    pub(super) const PUBLISH: Ordering =
        if cfg!(weakened = "publish_order") { Ordering::Relaxed } else { Ordering::SeqCst };
}

/// Bits of a page id that choose inside one level. The model checker gets a table of 16 pages, and the
/// interpreter that checks our pointers, which is slow, one of 2¹⁶.
const LEVEL_BITS: u32 = if cfg!(loom) {
    2
} else if cfg!(miri) {
    8
} else {
    16
};
const ENTRIES: usize = 1 << LEVEL_BITS;
const _: () = assert!(ENTRIES.is_multiple_of(STRIDE));
/// How many ranges a leaf has.
const RANGES: usize = ENTRIES / RangeId::PAGES as usize;
const _: () = assert!(ENTRIES.is_multiple_of(RangeId::PAGES as usize));

/// The heads of pages with consecutive ids.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Leaf {
    words: [AtomicPtr<Node>; ENTRIES],
    strides: [Stride; ENTRIES / STRIDE],
    packed: [PackedHome; RANGES],
    marks: [ChangeMark; RANGES],
    /// Whether a word of the range may have been stored (D).
    used: [AtomicBool; RANGES],
}

#[derive(Debug)]
struct Root([AtomicPtr<Leaf>; ENTRIES]);

#[cfg(not(loom))]
impl Leaf {
    fn new() -> Box<Self> {
        // SAFETY: arrays of atomic numbers, pointers and booleans (false).
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
        let packed = std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut()));
        let marks = std::array::from_fn(|_| ChangeMark::new());
        let used = std::array::from_fn(|_| AtomicBool::new(false));
        Box::new(Self { words, strides: std::array::from_fn(|_| Stride::new()), packed, marks, used })
    }
}

#[cfg(loom)]
impl Root {
    fn new() -> Box<Self> {
        Box::new(Self(std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut()))))
    }
}

impl Leaf {
    fn stride(&self, page_id: PageId) -> &Stride {
        &self.strides[slot_of(page_id) / STRIDE]
    }

    #[inline]
    pub(super) fn word(&self, slot: usize) -> &AtomicPtr<Node> {
        &self.words[slot]
    }

    #[inline]
    pub(super) fn packed(&self, range: RangeId) -> &PackedHome {
        &self.packed[range.0 as usize % RANGES]
    }

    #[inline]
    pub(super) fn mark(&self, range: RangeId) -> &ChangeMark {
        &self.marks[range.0 as usize % RANGES]
    }

    /// To be called before a word of the range is stored for the first time (D).
    pub(super) fn use_range(&self, range: RangeId) {
        let used = &self.used[range.0 as usize % RANGES];
        if !used.load(Ordering::Relaxed) {
            used.store(true, Ordering::Relaxed);
        }
    }
}

/// All pages of an instance.
#[derive(Debug)]
pub(crate) struct PageTable<F: Fragment> {
    root: Box<Root>,
    /// All leaves have a lower index (D).
    leaves: AtomicUsize,
    arrivals: CachePadded<Arrivals>,
    pub(super) budget: Arc<Budget>,
    pub(super) unpacker: Unpacker,
    pages: PhantomData<F>,
}

impl<F: Fragment> PageTable<F> {
    /// An empty table, whose pages are on that budget. Ranges that are restored have their records in the
    /// segments that `homes` knows.
    pub(crate) fn new(budget: Arc<Budget>, homes: Option<Homes>) -> Self {
        let arrivals = CachePadded::new(Arrivals::new());
        let (leaves, unpacker) = (AtomicUsize::new(0), Unpacker::new(homes));
        Self { root: Root::new(), leaves, arrivals, budget, unpacker, pages: PhantomData }
    }

    /// The newest node of a page; `None` if the id was never used (or can't be). A freed page has a head,
    /// too.
    #[inline]
    pub(crate) fn head<'g>(&'g self, page_id: PageId, guard: &'g Guard) -> Option<Head<'g, F>> {
        Some(self.look_up(page_id, guard)?.head(self, guard))
    }

    /// As [`head`](Self::head), for those who keep what they find.
    #[inline]
    pub(crate) fn look_up<'g>(&'g self, page_id: PageId, guard: &'g Guard) -> Option<Seen<'g, F>> {
        let site = Site { table: self, leaf: self.leaf(page_id)?, page_id, guard };
        let name = site.name().or_else(|| site.unpacked_name())?;
        Some(Seen::new(site.leaf, page_id, name))
    }

    /// Asks for the memory where a page's head stands.
    #[inline]
    pub(crate) fn prefetch(&self, page_id: PageId) {
        if let Some(leaf) = self.leaf(page_id) {
            prefetch(&raw const leaf.words[slot_of(page_id)]);
        }
    }

    /// Where a page is or can be, making room if need be; `None` if the id is above [`PageId::LIMIT`].
    pub(crate) fn entry<'g>(&'g self, page_id: PageId, guard: &'g Guard) -> Option<Entry<'g, F>> {
        let site = Site { table: self, leaf: self.leaf_or_new(page_id)?, page_id, guard };
        if let Some(head) = site.head().or_else(|| site.unpacked_name().map(|name| site.head_of(name))) {
            return Some(Entry::Occupied(head));
        }
        site.leaf.use_range(site.range());
        Some(Entry::Vacant(site))
    }

    /// Whether so many pages have come in that they should be taken over, though there may be no need to
    /// evict.
    #[inline]
    pub(crate) fn has_many_arrivals(&self) -> bool {
        self.arrivals.are_many()
    }

    /// Takes over the pages that have come in, roughly in the order in which they came. For the evictor.
    pub(super) fn take_arrivals(&self, mut each: impl FnMut(PageId)) {
        let stride = |name: StrideName| Some(self.leaf(name.first())?.stride(name.first()));
        // The stack has the newest on top. It is turned round where it lies.
        let (mut rest, mut oldest) = (self.arrivals.take(), None);
        while let Some((name, at)) = rest.and_then(|name| Some((name, stride(name)?))) {
            rest = at.next();
            at.set_next(oldest);
            oldest = Some(name);
        }
        while let Some((name, at)) = oldest.and_then(|name| Some((name, stride(name)?))) {
            let (pages, next) = at.take(name);
            pages.for_each(&mut each);
            oldest = next;
        }
    }

    /// Lets the evictor look at a page that it has taken out of its queue, and drop what it can. If `look`
    /// says that something stays, and nobody has announced the page meanwhile, the answer is true: the page
    /// is to be in a queue.
    pub(super) fn look_at<'g>(
        &'g self,
        page_id: PageId,
        guard: &'g Guard,
        look: impl FnOnce(Head<'g, F>) -> bool,
    ) -> bool {
        let Some(leaf) = self.leaf(page_id) else { return false };
        let (site, stride) = (Site { table: self, leaf, page_id, guard }, leaf.stride(page_id));
        if cfg!(weakened = "cleared_after_the_look") {
            let stays = site.head().is_some_and(look);
            stride.clear_resident(page_id);
            return stays && stride.set_resident(page_id);
        }
        stride.clear_resident(page_id);
        site.head().is_some_and(look) && stride.set_resident(page_id)
    }

    #[inline]
    pub(super) fn leaf(&self, page_id: PageId) -> Option<&Leaf> {
        let index = usize::try_from(page_id.0 >> LEVEL_BITS).ok()?;
        let leaf = self.root.0.get(index)?.load(Ordering::Acquire);
        // SAFETY: null or a leaf that lives as long as the table (A).
        unsafe { leaf.as_ref() }
    }

    pub(super) fn leaf_or_new(&self, page_id: PageId) -> Option<&Leaf> {
        match self.leaf(page_id) {
            Some(leaf) => Some(leaf),
            None => self.grow(page_id),
        }
    }

    /// The marks of all ranges.
    pub(super) fn marks(&self) -> impl Iterator<Item = (RangeId, &ChangeMark)> {
        let homes = self.root.0.iter().take(self.leaves.load(Ordering::Acquire));
        let leaves = (0u32..).zip(homes).filter_map(|(index, home)| {
            // SAFETY: null or a leaf that lives as long as the table (A).
            Some((index, unsafe { home.load(Ordering::Acquire).as_ref() }?))
        });
        leaves.flat_map(|(index, leaf)| {
            // Ids have 32 bits, so ranges have fewer.
            (index * RANGES as u32..).map(RangeId).zip(&leaf.marks)
        })
    }

    #[cold]
    fn grow(&self, page_id: PageId) -> Option<&Leaf> {
        let index = usize::try_from(page_id.0 >> LEVEL_BITS).ok()?;
        let home = self.root.0.get(index)?;
        let fresh = Box::into_raw(Leaf::new());
        self.leaves.fetch_max(index + 1, Ordering::AcqRel);
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

/// Where the word of a page is in its leaf.
pub(super) fn slot_of(page_id: PageId) -> usize {
    // Masked, so it fits.
    page_id.0 as usize & (ENTRIES - 1)
}

impl<F: Fragment> Drop for PageTable<F> {
    fn drop(&mut self) {
        for home in self.root.0.iter().take(self.leaves.load(Ordering::Relaxed)) {
            let leaf = home.load(Ordering::Relaxed);
            if leaf.is_null() {
                continue;
            }
            // SAFETY: a leaf came from a box, and nobody else has the table any more (B).
            let leaf = unsafe { Box::from_raw(leaf) };
            let ranges = leaf.packed.iter().zip(&leaf.used);
            for ((packed, used), words) in ranges.zip(leaf.words.chunks(RangeId::PAGES as usize)) {
                let packed = packed.load(Ordering::Relaxed);
                if packed.is_null() {
                    if !used.load(Ordering::Relaxed) {
                        continue;
                    }
                    // SAFETY: nobody looks at the chains (B).
                    words.iter().for_each(|word| unsafe { self.free_page(word) });
                } else {
                    // SAFETY: null or its box, and nobody looks at it (B). The words are null (`packed`, A).
                    unsafe { drop_packed(packed) };
                }
            }
        }
    }
}

impl<F: Fragment> PageTable<F> {
    /// # Safety
    /// Nobody looks at the word's chain, now or later.
    unsafe fn free_page(&self, word: &AtomicPtr<Node>) {
        let word = word.load(Ordering::Relaxed);
        // Most of a leaf was never used, and a short-lived store should not take long to drop.
        if !word.is_null() {
            // SAFETY: the chain is reachable from this word only; by the contract nobody looks at it.
            let freed = unsafe { free_chain(Word::<F>::from_raw(word)) };
            let account = self.budget.account();
            account.unlink(freed.weight);
            account.discharge(freed.bytes());
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
    #[inline]
    pub(super) fn new(table: &'g PageTable<F>, leaf: &'g Leaf, page_id: PageId, guard: &'g Guard) -> Self {
        Self { table, leaf, page_id, guard }
    }

    #[inline]
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
        self.leaf.word(slot_of(self.page_id))
    }

    fn range(self) -> RangeId {
        RangeId::of(self.page_id)
    }

    #[inline]
    fn name(self) -> Option<Name<F>> {
        self.word().name()
    }

    /// As [`name`](Self::name), when the word was null: the page may be packed.
    #[cold]
    fn unpacked_name(self) -> Option<Name<F>> {
        self.table.unpack(self.leaf, self.range());
        if cfg!(weakened = "no_second_look") {
            return None;
        }
        self.name()
    }

    #[inline]
    pub(super) fn head(self) -> Option<Head<'g, F>> {
        self.name().map(|name| self.head_of(name))
    }

    /// The name was read here, under the site's guard.
    fn head_of(self, name: Name<F>) -> Head<'g, F> {
        Head::new(NodeRef::new(self, name.target()))
    }

    /// Publishes a new head over the one that was seen, if it still is the head. The only place where a
    /// page's version changes.
    pub(super) fn exchange(self, seen: Word<F>, new: Word<F>) -> bool {
        if cfg!(weakened = "mark_before_publishing") {
            self.leaf.mark(self.range()).set();
            return self
                .home()
                .compare_exchange(seen.raw(), new.raw(), order::PUBLISH, Ordering::Relaxed)
                .is_ok();
        }
        let exchanged =
            self.home().compare_exchange(seen.raw(), new.raw(), order::PUBLISH, Ordering::Relaxed).is_ok();
        if exchanged {
            self.leaf.mark(self.range()).set();
            failpoint!("page::published");
        }
        exchanged
    }

    /// What stands in the page's place now.
    #[inline]
    pub(super) fn word(self) -> Word<F> {
        Word::from_raw(self.home().load(Ordering::Acquire))
    }

    /// Puts a copy of a base in its place. What a snapshot says of the page stays true.
    pub(super) fn exchange_copy(self, seen: Word<F>, copy: Word<F>) -> bool {
        self.home().compare_exchange(seen.raw(), copy.raw(), order::PUBLISH, Ordering::Relaxed).is_ok()
    }

    /// Notes for the next snapshot that a record of the page was moved.
    pub(super) fn mark_moved(self) {
        self.leaf.mark(self.range()).set_after_fence();
    }

    /// Makes sure that the evictor knows the page. To be called after contents were put in.
    pub(super) fn mark_resident(self) {
        self.leaf.stride(self.page_id).announce_resident(self.page_id, &self.table.arrivals);
    }

    /// Hands over what this thread has deferred, so that it is freed as soon as readers allow.
    pub(super) fn hand_over(self, when: bool) {
        if when {
            self.guard.flush();
        }
    }
}
