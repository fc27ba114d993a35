//! Which pages have contents in memory, and the news of those that have come in.
//!
//! The evictor keeps queues of page ids under a mutex, which whoever puts contents in must neither wait for
//! nor take. So that thread only *announces* the page, and the evictor, when it is at work, takes over all
//! announcements at once.
//!
//! Pages with consecutive ids share a [`Stride`]: a word of bits for pages that may have contents, a word for
//! those that were announced, and a link that makes the stride an element of a stack. Nothing is allocated.
//!
//! - **(A) A resident bit has one owner.** Who sets a page's bit announces the page; who finds it set does
//!   nothing more. Only the evictor clears it, and only of a page that it has taken out of its queues. So a
//!   page is announced *or* in one queue, once.
//! - **(B) No contents stay behind unseen.** Who puts contents in (sequentially consistent) then looks at the
//!   bit, and sets it if it is clear. The evictor clears the bit, *then* looks at the page, and sets the bit
//!   again if something stays. Of the two at least one sees the other. So a page with contents has its bit
//!   set, and with (A) it is in a queue, was announced, or is being announced by a thread that is between the
//!   two steps.
//! - **(C) A stride is on the stack once.** Who makes its announcements non-zero pushes it. The evictor takes
//!   the whole stack, reads a stride's link, and only then takes its announcements; so nobody pushes a stride
//!   whose link is still needed. That the top is the same stride again says nothing to a pusher but what it
//!   needs to know, so there is no ABA.
//! - **(D) Nobody waits.** Pushing is lock-free and taking is one swap. A thread that is stopped between
//!   announcing and pushing hides the announcements of one stride until it goes on; the evictor then finds
//!   other pages.

use crate::ids::PageId;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// What the models in `src/models` put to the test by weakening it, one at a time.
mod order {
    use crate::sync::atomic::Ordering;

    /// Of two steps (C).
    pub(super) const LINK_READ_LATE: bool = cfg!(weakened = "link_read_late");
    /// A stride is on the stack: a release, which publishes its link.
    pub(super) const PUSH: Ordering =
        if cfg!(weakened = "push_order") { Ordering::Relaxed } else { Ordering::Release };
}

/// How many pages share a stride: as many as a leaf of the page table has, when the model checker shrinks
/// that.
pub(super) const STRIDE: usize = if cfg!(loom) { 4 } else { 64 };
/// With so many strides on the stack, they should be taken over though there is no need to evict: so that the
/// first eviction of a large cache does not have to take over everything that has come in since it was
/// opened.
const MANY: u32 = if cfg!(loom) { u32::MAX } else { 16 };

/// Names a stride; one more than its number, so that zero is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StrideName(u32);

impl StrideName {
    pub(super) fn of(page_id: PageId) -> Self {
        // Ids are below 2³², so it fits.
        Self((page_id.0 / STRIDE as u64) as u32 + 1)
    }

    /// The first page of the stride.
    pub(super) fn first(self) -> PageId {
        PageId(u64::from(self.0 - 1) * STRIDE as u64)
    }

    fn named(word: u32) -> Option<Self> {
        (word != 0).then_some(Self(word))
    }

    fn word(this: Option<Self>) -> u32 {
        this.map_or(0, |name| name.0)
    }
}

/// The top of the stack, and how many strides are on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Top {
    stride: Option<StrideName>,
    height: u32,
}

impl Top {
    fn pack(self) -> u64 {
        u64::from(self.height) << 32 | u64::from(StrideName::word(self.stride))
    }

    fn unpack(word: u64) -> Self {
        // Halves of the word, so they fit.
        Self { stride: StrideName::named(word as u32), height: (word >> 32) as u32 }
    }
}

/// The stack of strides with announcements.
#[derive(Debug)]
pub(super) struct Arrivals(AtomicU64);

impl Arrivals {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Whether it is time to take them over.
    #[inline]
    pub(super) fn are_many(&self) -> bool {
        Top::unpack(self.0.load(Ordering::Relaxed)).height >= MANY
    }

    /// Takes the whole stack. The newest comes first; [`Stride::next`] names the one before it.
    pub(super) fn take(&self) -> Option<StrideName> {
        if self.0.load(Ordering::Relaxed) == 0 {
            return None;
        }
        // Acquires the links, which were written before their strides were pushed.
        Top::unpack(self.0.swap(0, Ordering::Acquire)).stride
    }

    fn push(&self, name: StrideName, link: &AtomicU32) {
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            let top = Top::unpack(seen);
            link.store(StrideName::word(top.stride), Ordering::Relaxed);
            let new = Top { stride: Some(name), height: top.height.saturating_add(1) };
            match self.0.compare_exchange_weak(seen, new.pack(), order::PUSH, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
    }
}

/// What is known about the contents of [`STRIDE`] pages. All zeros at first.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Stride {
    resident: AtomicU64,
    announced: AtomicU64,
    next: AtomicU32,
}

impl Stride {
    #[cfg(loom)]
    pub(super) fn new() -> Self {
        Self { resident: AtomicU64::new(0), announced: AtomicU64::new(0), next: AtomicU32::new(0) }
    }

    fn bit(page_id: PageId) -> u64 {
        1 << (page_id.0 % STRIDE as u64)
    }

    /// To be called after contents were put in (B).
    pub(super) fn announce_resident(&self, page_id: PageId, arrivals: &Arrivals) {
        if self.set_resident(page_id) {
            // Acquires what the evictor did when it last took the announcements (C), and releases to it the
            // page.
            if self.announced.fetch_or(Self::bit(page_id), Ordering::AcqRel) == 0 {
                arrivals.push(StrideName::of(page_id), &self.next);
            }
        }
    }

    /// Sets a page's bit. True if it was clear: then the caller has to see to it that the page is announced,
    /// or in a queue (A).
    pub(super) fn set_resident(&self, page_id: PageId) -> bool {
        let bit = Self::bit(page_id);
        // Most bits are set, and a load does not take the line from others.
        self.resident.load(Ordering::SeqCst) & bit == 0
            && self.resident.fetch_or(bit, Ordering::SeqCst) & bit == 0
    }

    /// Clears the bit of a page that was taken out of its queue. What is looked at after that, counts (B).
    pub(super) fn clear_resident(&self, page_id: PageId) {
        self.resident.fetch_and(!Self::bit(page_id), Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// The next older stride of a stack that was taken. Only for who took it.
    pub(super) fn next(&self) -> Option<StrideName> {
        StrideName::named(self.next.load(Ordering::Relaxed))
    }

    /// Has another follow in a stack that was taken.
    pub(super) fn set_next(&self, next: Option<StrideName>) {
        self.next.store(StrideName::word(next), Ordering::Relaxed);
    }

    /// Takes the announcements, and says which stride is the next (C). From here on the stride can be pushed
    /// again.
    pub(super) fn take(&self, name: StrideName) -> (impl Iterator<Item = PageId>, Option<StrideName>) {
        let early = self.next();
        let mut bits = self.announced.swap(0, Ordering::AcqRel);
        let next = if order::LINK_READ_LATE { self.next() } else { early };
        let pages = std::iter::from_fn(move || {
            let bit = (bits != 0).then(|| bits.trailing_zeros())?;
            bits &= bits - 1;
            Some(PageId(name.first().0 + u64::from(bit)))
        });
        (pages, next)
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::{Arrivals, STRIDE, StrideName, Top};
    use crate::ids::PageId;

    #[test]
    fn the_top_goes_into_a_word_and_comes_back() {
        for (stride, height) in [(0, 0), (1, 1), (7, u32::MAX), (u32::MAX, 5)] {
            let top = Top { stride: StrideName::named(stride), height };
            assert_eq!(Top::unpack(top.pack()), top);
        }
        assert_eq!(Top { stride: None, height: 0 }.pack(), 0);
        assert_eq!(Arrivals::new().take(), None);
    }

    #[test]
    fn the_name_of_a_stride_says_where_it_begins() {
        for id in [0, 1, 63, 64, 1 << 20, PageId::LIMIT - 1] {
            let first = StrideName::of(PageId(id)).first();
            assert_eq!(first.0, id - id % STRIDE as u64);
        }
    }
}
