//! Ids of pages that were evicted lately without having been in use: who returns soon, was evicted too soon.
//!
//! A first-in-first-out queue of which only one question is asked, whether a page is in it. So it is a table:
//! sets of a cache line each, chosen by a hash of the id, whose entries say *when* they came. An entry older
//! than the limit counts for nothing and is overwritten; nobody has to take it away. A set that is full loses
//! its oldest entry a little early.
//!
//! Times are counted in entries, and wrap after 2³²; a page that returns just then is taken for one that
//! returns soon, which is a wrong guess and nothing worse.

use crate::ids::PageId;

const WAYS: usize = 8;
/// A table is doubled before more than this many entries of a set are alive on average.
const FULL: usize = 6;

#[derive(Clone, Copy, Debug)]
struct Ghost {
    /// 0 for none: the page of the roots is never evicted.
    page: u32,
    since: u32,
}

const NONE: Ghost = Ghost { page: 0, since: 0 };

#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Set([Ghost; WAYS]);

const _: () = assert!(size_of::<Set>() == 64);

#[derive(Debug)]
pub(super) struct Ghosts {
    /// A power of two.
    sets: Vec<Set>,
    now: u32,
    limit: u32,
    most_sets: usize,
}

impl Ghosts {
    /// Of so many bytes, if need be.
    pub(super) fn new(most_bytes: u64) -> Self {
        let most = usize::try_from(most_bytes).unwrap_or(usize::MAX) / size_of::<Set>();
        // The largest power of two that fits, but at least one.
        let most_sets = (most / 2 + 1).next_power_of_two();
        Self { sets: vec![Set([NONE; WAYS])], now: 0, limit: 0, most_sets }
    }

    /// Has the queue hold so many entries, as far as memory allows.
    pub(super) fn set_limit(&mut self, entries: usize) {
        while entries > self.sets.len() * FULL && self.sets.len() < self.most_sets {
            self.double();
        }
        self.limit = u32::try_from(entries.min(self.sets.len() * FULL)).unwrap_or(u32::MAX);
    }

    /// Adds a page that is not in the queue.
    pub(super) fn add(&mut self, page_id: PageId) {
        self.now = self.now.wrapping_add(1);
        // Ids are below 2³², so it fits.
        self.put(Ghost { page: page_id.0 as u32, since: self.now });
    }

    /// Takes a page out. Whether it was in.
    pub(super) fn take(&mut self, page_id: PageId) -> bool {
        let (now, limit, page) = (self.now, self.limit, page_id.0 as u32);
        let set = self.set_of(page);
        let Some(found) = set.0.iter_mut().find(|ghost| ghost.page == page) else { return false };
        let age = now.wrapping_sub(found.since);
        *found = NONE;
        page != 0 && age < limit
    }

    fn put(&mut self, ghost: Ghost) {
        let now = self.now;
        let age = |ghost: &Ghost| if ghost.page == 0 { u32::MAX } else { now.wrapping_sub(ghost.since) };
        if let Some(oldest) = self.set_of(ghost.page).0.iter_mut().max_by_key(|ghost| age(ghost)) {
            *oldest = ghost;
        }
    }

    fn set_of(&mut self, page: u32) -> &mut Set {
        // The upper bits of the product depend on all bits of the id.
        let hash = u64::from(page).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let index = hash as usize & (self.sets.len() - 1);
        &mut self.sets[index]
    }

    #[cold]
    fn double(&mut self) {
        let twice = vec![Set([NONE; WAYS]); 2 * self.sets.len()];
        let old = std::mem::replace(&mut self.sets, twice);
        let alive = old.iter().flat_map(|set| set.0).filter(|ghost| ghost.page != 0);
        alive.for_each(|ghost| self.put(ghost));
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::{Ghosts, Set};
    use crate::ids::PageId;

    fn with(limit: usize, pages: std::ops::Range<u64>) -> Ghosts {
        let mut ghosts = Ghosts::new(1 << 20);
        ghosts.set_limit(limit);
        pages.for_each(|page| ghosts.add(PageId(page)));
        ghosts
    }

    #[test]
    fn the_youngest_are_known_and_the_others_forgotten() {
        let mut ghosts = with(1000, 1..100_000);
        let known = |ghosts: &mut Ghosts, pages: std::ops::Range<u64>| {
            pages.filter(|page| ghosts.take(PageId(*page))).count()
        };
        assert_eq!(known(&mut ghosts, 1..99_000), 0);
        // Full sets forget some early.
        assert!(known(&mut ghosts, 99_000..100_000) > 850);
        assert_eq!(known(&mut ghosts, 1..100_000), 0);
    }

    #[test]
    fn a_page_is_taken_once() {
        let mut ghosts = with(10, 1..6);
        assert!(ghosts.take(PageId(3)));
        assert!(!ghosts.take(PageId(3)));
        assert!(!ghosts.take(PageId(0)) && !ghosts.take(PageId(6)));
        ghosts.add(PageId(3));
        assert!(ghosts.take(PageId(3)) && ghosts.take(PageId(5)));
    }

    #[test]
    fn nothing_is_lost_when_the_table_grows() {
        let mut ghosts = with(6, 1..5);
        ghosts.set_limit(10_000);
        assert!((1..5).all(|page| ghosts.take(PageId(page))));
    }

    #[test]
    fn memory_is_bounded_whatever_the_limit() {
        let mut ghosts = Ghosts::new(10_000);
        ghosts.set_limit(1 << 30);
        assert_eq!(ghosts.sets.len(), 128);
        (1..100_000).for_each(|page| ghosts.add(PageId(page)));
        let known = (1..100_000).filter(|page| ghosts.take(PageId(*page))).count();
        assert!((600..=768).contains(&known), "{known}");
        assert_eq!(Ghosts::new(0).most_sets, 1);
        assert_eq!(Ghosts::new(size_of::<Set>() as u64).most_sets, 1);
        assert_eq!(Ghosts::new(2 * size_of::<Set>() as u64).most_sets, 2);
    }
}
