//! The policy of eviction, S3-FIFO (Yang, Zhang, Qiu, Yue, Rashmi: *FIFO queues are all you need for cache
//! eviction*, SOSP 2023), for pages of different sizes.
//!
//! ```text
//!                    in use again and again                      not in use: evicted
//!                  ┌───────────────────────────────┐           ┌──────────────────────►
//!  comes in  ┌─────┴───────────────┐   ┌───────────▼───────────┴─┐
//! ──────────►│ small: 10 % of the  │   │ main                    │◄───┐ in use: once more
//!            │ bytes               │   └───────▲───────────┬─────┘    │
//!            └─────┬───────────────┘           │           └──────────┘
//!                  │ else: evicted             │ returns soon
//!                  └──────────────────►  ghosts: ids only
//! ```
//!
//! Most pages that come in are not in use again before they go. They pass through a small queue and leave the
//! main one alone: that is why a scan does no harm. What was evicted from the small queue and returns while
//! it is remembered goes to the main queue at once: that is how a page gets in whose uses are too far apart
//! for the small queue.
//!
//! *Why not SIEVE*, which is simpler still, one queue and one hand, and as good where popularity does not
//! change? It learns that a page is worth keeping only from a second use while the page is in the cache. When
//! other pages become hot, the cache is full of those that were, and the hand spares each of them once more
//! while the new ones come and go; many are gone before their second use, again and again. Here the ghosts
//! remember them. (In `benches/cache` SIEVE is up to 0.8 points ahead in caches for a hundredth of the pages,
//! no different in larger ones, and up to 1.4 points behind after a shift.) *Why not LRU?* A hit would have
//! to move the page in a list that all threads share; and one scan would empty the cache.
//!
//! # What differs from the paper
//!
//! - Queues are measured in bytes, not in pages. The small queue has its share of what *is* in the cache; so
//!   write buffers and other memory that the budget covers need not be known here.
//! - A page is weighed when it comes in and each time it is looked at, to a sixteenth. In between, links may
//!   have made it heavier.
//! - There are as many ghosts as the main queue has pages when the shares are kept, and a bounded part of the
//!   capacity.
//! - What can't be evicted, because it is not in the file yet, goes to the end of its queue.
//!
//! This is plain data; `eviction` ties it to pages. All operations take constant time, but for growing.

use std::collections::VecDeque;

use crate::ids::PageId;
use crate::pages::ghosts::Ghosts;

/// As often as this a page's use is noted, and no further (see
/// [`touch`](crate::pages::node_ref::NodeRef::touch)). Measured with `benches/cache`: one bit instead of two
/// costs half a point to a point of the hit ratio; three bits would give a fifth of a point where popularity
/// does not change, for twice as many writes to a hot page.
pub(super) const MOST_TOUCHES: u8 = 3;
/// So often a page must have been in use in the small queue, beside the use that brought it in, to go on to
/// the main one.
const WORTH_KEEPING: u8 = 2;
/// The share of the bytes that the small queue has: one part in so many.
const SMALL_SHARE: u64 = 10;
/// The share of the cache's capacity that ghosts may take, beside it: one part in so many.
const GHOST_SHARE: u64 = 32;

/// A queue with room for so many entries is left as it is, however short it becomes.
const FEW: usize = 64;

/// One of the queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rank {
    Small,
    Main,
}

/// A page whose turn it is, taken out of its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) page_id: PageId,
    rank: Rank,
}

impl Turn {
    /// What is left of a page's touches if it is spared for them; `None` if it is to be evicted.
    pub(super) fn spares(self, touches: u8) -> Option<u8> {
        match self.rank {
            // Main starts to count anew.
            Rank::Small => (touches >= WORTH_KEEPING).then_some(0),
            Rank::Main => touches.checked_sub(1),
        }
    }
}

/// A page in a queue. There is one for each page in memory, so each byte of it counts.
#[derive(Clone, Copy, Debug)]
struct Entry {
    page: [u8; 4],
    weight: Rounded,
}

const _: () = assert!(size_of::<Entry>() == 5 && PageId::LIMIT <= 1 << 32);

/// A weight, to the nearest of 8 steps from each power of two to the next: right to a sixteenth.
#[derive(Clone, Copy, Debug)]
struct Rounded(u8);

impl Rounded {
    const STEPS: u32 = 8;

    fn new(weight: u32) -> Self {
        let shift = |weight: u32| weight.checked_ilog2().unwrap_or(0).saturating_sub(Self::STEPS.ilog2());
        let weight = weight.saturating_add((1 << shift(weight)) / 2);
        let shift = shift(weight);
        // At most 28 steps of 8, and a number below 16.
        Self((Self::STEPS * shift + (weight >> shift)) as u8)
    }

    fn get(self) -> u64 {
        let shift = (u32::from(self.0) / Self::STEPS).saturating_sub(1);
        u64::from(u32::from(self.0) - Self::STEPS * shift) << shift
    }
}

#[derive(Debug, Default)]
struct Queue {
    entries: VecDeque<Entry>,
    weight: u64,
}

impl Queue {
    fn push(&mut self, page_id: PageId, weight: u32) {
        let weight = Rounded::new(weight);
        // By the assertion above, it fits.
        self.entries.push_back(Entry { page: (page_id.0 as u32).to_ne_bytes(), weight });
        self.weight += weight.get();
    }

    fn pop(&mut self) -> Option<PageId> {
        let entry = self.entries.pop_front()?;
        self.weight -= entry.weight.get();
        // Memory that a crowd of small pages needed is not kept for ever.
        let room = self.entries.capacity();
        if room > FEW && self.entries.len() < room / 4 {
            self.entries.shrink_to(room / 2);
        }
        Some(PageId(u32::from_ne_bytes(entry.page).into()))
    }
}

/// How often pages may still be looked at in one sweep, so that each comes to an end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    small: usize,
    main: usize,
}

/// The queues of all pages that have contents in memory.
#[derive(Debug)]
pub(super) struct Queues {
    small: Queue,
    main: Queue,
    ghosts: Ghosts,
}

impl Queues {
    /// Of a cache that holds so many bytes.
    pub(super) fn new(capacity: u64) -> Self {
        Self { small: Queue::default(), main: Queue::default(), ghosts: Ghosts::new(capacity / GHOST_SHARE) }
    }

    /// How many pages there are.
    pub(super) fn len(&self) -> usize {
        self.small.entries.len() + self.main.entries.len()
    }

    /// A page has come in.
    pub(super) fn arrive(&mut self, page_id: PageId, weight: u32) {
        if self.ghosts.take(page_id) {
            self.main.push(page_id, weight);
        } else {
            self.small.push(page_id, weight);
        }
    }

    /// Enough for every page to lose all its touches and to be evicted.
    pub(super) fn patience(&self) -> Patience {
        let laps = usize::from(MOST_TOUCHES) + 1;
        Patience { small: self.small.entries.len(), main: laps * self.len() }
    }

    /// The page whose turn it is: of the small queue if that has more than its share, else of the main queue.
    /// `None` if there is none, or no patience left. With `insist`, the other queue has to help out; else the
    /// small queue is not spared at the expense of the main one because its pages are not in the file yet.
    pub(super) fn next(&mut self, patience: &mut Patience, insist: bool) -> Option<Turn> {
        let small_is_due = self.small.weight * SMALL_SHARE > self.small.weight + self.main.weight;
        let wanted = if small_is_due || self.main.entries.is_empty() { Rank::Small } else { Rank::Main };
        let other = if wanted == Rank::Small { Rank::Main } else { Rank::Small };
        let from = |this: &mut Self, patience: &mut Patience, rank| {
            let (queue, left) = match rank {
                Rank::Small => (&mut this.small, &mut patience.small),
                Rank::Main => (&mut this.main, &mut patience.main),
            };
            *left = left.checked_sub(1)?;
            Some(Turn { page_id: queue.pop()?, rank })
        };
        from(self, patience, wanted).or_else(|| insist.then(|| from(self, patience, other))?)
    }

    /// The page is spared.
    pub(super) fn spare(&mut self, turn: Turn, weight: u32) {
        self.main.push(turn.page_id, weight);
    }

    /// Something of the page could not be evicted.
    pub(super) fn put_back(&mut self, turn: Turn, weight: u32) {
        match turn.rank {
            Rank::Small => self.small.push(turn.page_id, weight),
            Rank::Main => self.main.push(turn.page_id, weight),
        }
    }

    /// The page was evicted.
    pub(super) fn evicted(&mut self, turn: Turn) {
        if turn.rank == Rank::Small {
            let pages = self.len();
            self.ghosts.set_limit(pages - pages / SMALL_SHARE as usize);
            self.ghosts.add(turn.page_id);
        }
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use std::collections::BTreeMap;

    use super::{Queues, Rank, Rounded, Turn};
    use crate::ids::PageId;
    use crate::pages::queues::MOST_TOUCHES;

    /// A cache of pages that are nothing but a weight.
    struct Toy {
        queues: Queues,
        capacity: u64,
        used: u64,
        touches: BTreeMap<PageId, (u8, u32)>,
    }

    impl Toy {
        fn new(capacity: u64) -> Self {
            Self { queues: Queues::new(capacity), capacity, used: 0, touches: BTreeMap::new() }
        }

        /// Whether the page was there.
        fn read(&mut self, page: u64, weight: u32) -> bool {
            if let Some((touches, _)) = self.touches.get_mut(&PageId(page)) {
                *touches = (*touches + 1).min(MOST_TOUCHES);
                return true;
            }
            self.touches.insert(PageId(page), (0, weight));
            self.queues.arrive(PageId(page), weight);
            self.used += u64::from(weight);
            let mut patience = self.queues.patience();
            while self.used > self.capacity {
                let turn = self.queues.next(&mut patience, false).expect("there is something to evict");
                self.take(turn);
            }
            false
        }

        fn take(&mut self, turn: Turn) {
            let (touches, weight) = self.touches[&turn.page_id];
            if let Some(left) = turn.spares(touches) {
                self.touches.insert(turn.page_id, (left, weight));
                self.queues.spare(turn, weight);
            } else {
                self.touches.remove(&turn.page_id);
                self.used -= u64::from(weight);
                self.queues.evicted(turn);
            }
        }

        fn hits(&mut self, pages: std::ops::Range<u64>, weight: u32) -> usize {
            pages.filter(|page| self.read(*page, weight)).count()
        }
    }

    #[test]
    fn weights_are_right_to_a_sixteenth_and_keep_their_order() {
        let rounded = |weight| Rounded::new(weight).get();
        assert!((0..16).all(|weight| rounded(weight) == weight.into()));
        let powers =
            (4..32).flat_map(|power| (0..100).map(move |part| (1_u64 << power) + ((part << power) / 100)));
        let (mut last, mut steps) = (0, 0);
        for weight in powers.chain([u32::MAX.into()]) {
            let now = rounded(u32::try_from(weight).unwrap());
            assert!(now >= last && now.abs_diff(weight) * 16 <= weight, "{weight} is {now} after {last}");
            steps += u32::from(now > last);
            last = now;
        }
        assert_eq!(steps, 28 * Rounded::STEPS);
    }

    #[test]
    fn a_scan_passes_through_the_small_queue_and_leaves_what_is_in_use() {
        let mut toy = Toy::new(100_000);
        for _ in 0..3 {
            toy.hits(1..81, 1000);
        }
        assert_eq!(toy.hits(1000..5000, 1000), 0);
        assert_eq!(toy.hits(1..81, 1000), 80);
        let small = toy.queues.small.weight;
        assert!((5000..=21_000).contains(&small), "{small}");
    }

    #[test]
    fn a_page_that_returns_while_it_is_remembered_goes_to_main() {
        let mut toy = Toy::new(100_000);
        toy.hits(1..201, 1000);
        assert_eq!(toy.hits(50..60, 1000), 0);
        assert_eq!(toy.hits(1000..2000, 1000), 0);
        assert_eq!(toy.hits(50..60, 1000), 10);
        assert_eq!(toy.hits(150..160, 1000), 0);
    }

    #[test]
    fn a_heavy_page_takes_the_place_of_what_came_with_it_and_of_nothing_in_use() {
        let mut toy = Toy::new(100_000);
        for _ in 0..3 {
            toy.hits(1..601, 100);
        }
        for page in 1000..1100 {
            assert!(!toy.read(page, 40_000));
            assert!(toy.used <= 100_000);
        }
        assert_eq!(toy.hits(1..601, 100), 600);
        // Heavier than all the cache: it goes at once, and takes nothing along.
        assert!(!toy.read(2000, 1_000_000) && !toy.read(2000, 1_000_000));
        assert_eq!(toy.hits(1..601, 100), 600);
    }

    #[test]
    fn queues_are_as_long_as_there_are_pages_and_give_memory_back() {
        let mut toy = Toy::new(1_000_000);
        toy.hits(1..200_000, 10);
        let entries = |toy: &Toy| toy.queues.small.entries.len() + toy.queues.main.entries.len();
        assert_eq!(entries(&toy), 100_000);
        toy.hits(200_000..200_300, 10_000);
        assert!(entries(&toy) <= 100, "{}", entries(&toy));
        let capacity = toy.queues.small.entries.capacity() + toy.queues.main.entries.capacity();
        assert!(capacity < 500, "room for {capacity}");
    }

    #[test]
    fn what_is_not_written_stays_in_its_queue_and_main_helps_out_only_if_it_must() {
        let mut queues = Queues::new(1000);
        let turn = |page, rank| Turn { page_id: PageId(page), rank };
        (1..4).for_each(|page| queues.arrive(PageId(page), 10));
        (4..7).for_each(|page| queues.spare(turn(page, Rank::Small), 10));
        for insist in [false, true] {
            let mut patience = queues.patience();
            for page in 1..4 {
                assert_eq!(queues.next(&mut patience, insist), Some(turn(page, Rank::Small)));
                queues.put_back(turn(page, Rank::Small), 10);
            }
            let next = queues.next(&mut patience, insist);
            assert_eq!(next, insist.then(|| turn(4, Rank::Main)));
        }
    }

    #[test]
    fn the_search_ends_though_every_page_is_touched_again_and_again() {
        let mut queues = Queues::new(1000);
        (1..11).for_each(|page| queues.arrive(PageId(page), 10));
        let (mut patience, mut looks) = (queues.patience(), 0);
        while let Some(turn) = queues.next(&mut patience, true) {
            assert!(turn.spares(MOST_TOUCHES).is_some());
            queues.spare(turn, 10);
            looks += 1;
        }
        assert_eq!(looks, 10 + 10 * (usize::from(MOST_TOUCHES) + 1));
    }
}
