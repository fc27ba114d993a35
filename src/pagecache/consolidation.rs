//! When a link is written as the whole merged page.
//!
//! A link is cheap to write and dear to read back: each is a record of its own somewhere in the log, and a
//! node in memory for as long as the chain lasts. A whole page is the other way round. Let a page's base
//! record have `B` bytes, and its links' records `C` bytes together when it is written anew. Then
//!
//! - for each byte of links, `1 + B / C` bytes are written (and another if links make the page larger, for
//!   what they bring is written again);
//! - a miss reads `1 + C / B` times the page.
//!
//! - **(A) Bytes are bounded by a ratio.** `C` stays below `max_chain_ratio` times `B`: links that are large
//!   compared with their page are never read for more than that, nor take more space.
//! - **(B) Links are bounded by a number, once that is cheap.** A page with [`USUAL_LENGTH`] links is written
//!   anew, but not while they are shorter than half of the base: so at most `1 + 2` bytes are written for
//!   each byte of a link's record, however large the page and however small the links are. A miss reads more
//!   than [`USUAL_LENGTH`] links only of pages that are large compared with them, and then at most one and a
//!   half times the page's bytes.
//! - **(C) At last by a number alone.** [`MOST_LINKS`] bounds what a single miss, and the nodes of a single
//!   page, can cost. Only pages of hundreds of KiB with links of a few bytes come so far.
//!
//! Users who set `max_chain_length` get that number in place of those of (B) and (C), as long as there is
//! room for it.
//!
//! # When nodes take much of the memory budget
//!
//! Contents can be evicted, nodes can't: a link keeps its node until its page is written anew. So what the
//! rules above leave in memory grows with the number of pages, whatever the budget is: a million pages of 1
//! KiB have some 2 GB of nodes when (A) allows them 54 links of 77 bytes, which they reach in turn. Let `s`
//! be the share of the budget that nodes take.
//!
//! - **(D) Pressure shortens chains.** Let `x` go from 0 where `s` is [`EASE`] to 1 where it is [`STRESS`].
//!   The number of (B) becomes `128 · (4 / 128)^x`, and the "half" of (B) becomes `1/2 · (1/4)^x`: both fall
//!   by the same factor for each step of `x`, with no jump anywhere, and end at [`FEWEST_LINKS`] and at an
//!   eighth. (A) and (C) hold besides.
//! - **(E) Writing stays bounded.** By the eighth, at most `1 + 8` bytes are written for each byte of a
//!   link's record at the worst, also for large pages with small links. For pages of 1 KiB with links of 77
//!   bytes it is the number that counts: `1 + 1100 / (4 · 77)`, that is 4.6 bytes; without pressure it is
//!   1.3.
//! - **(F) Room is made for the links that are expected.** Chunks get no more slots than the number of (D)
//!   leaves to the page. With four links these are 3 slots and 1 slot, 368 bytes for fragments of 24 bytes,
//!   and not 3 and 7.
//!
//! More nodes make shorter chains and shorter chains make fewer nodes, so `s` comes to rest where the chains
//! that pages begin are as long as those that they end. A page that is linked to again and again takes a base
//! (32 bytes) and what it has of chunks, at the shortest 218 bytes on average. So a budget of 500 bytes for
//! each such page keeps `s` at or below [`STRESS`], and one of 250 bytes still has room for them. With less
//! there are more pages than the budget can describe: then contents are left their floor (`budget`), and
//! memory grows with the number of pages.
//!
//! A page that nobody links to any more keeps its chain. While there was pressure, that is a short one;
//! chains that grew before are not written anew by the evictor, which would be a logical change that no user
//! has asked for: it would move versions, fail compare-and-swaps, and write when somebody reads.

use crate::config::Config;
use crate::pages::Fragment;
use crate::pages::chain::Head;

/// A base record counts as at least this long, so that pages that begin empty are not rewritten with each of
/// their first links. Twice as much would save a twentieth of what is written for pages of 200 bytes, and
/// nothing once garbage collection is counted, and have each miss read twice as many records.
const SMALL_BASE: u32 = 256;
/// See (B).
const USUAL_LENGTH: u32 = 128;
/// See (B): a base is this many times as long as its links when they are too few to be worth a rewrite.
const SHORT_CHAIN: f64 = 2.0;
/// See (C).
const MOST_LINKS: u32 = 4096;
/// See (D): the share of the budget that nodes may take before chains get shorter.
const EASE: f64 = 0.25;
/// See (D): the share of the budget at which chains are shortest.
const STRESS: f64 = 0.5;
/// See (D): with fewer links than this, pages are written anew for the ratio of (A) only.
const FEWEST_LINKS: u32 = 4;
/// See (D): what [`SHORT_CHAIN`] becomes.
const SHORT_CHAIN_UNDER_STRESS: f64 = 8.0;

/// The rules above, as this store's options set them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Consolidation {
    usual_length: u32,
    most_links: u32,
    max_ratio: f64,
    capacity: f64,
    /// [`EASE`] in bytes.
    ease: u64,
}

/// What bounds a chain while nodes take what they take now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    length: u32,
    short_chain: f64,
    most_links: u32,
    max_ratio: f64,
}

impl Consolidation {
    pub(super) fn new(config: &Config) -> Self {
        let (usual_length, most_links) =
            config.max_chain_length.map_or((USUAL_LENGTH, MOST_LINKS), |length| (length, length));
        let capacity = config.cache_capacity as f64;
        let ease = (capacity * EASE) as u64;
        Self { usual_length, most_links, max_ratio: config.max_chain_ratio, capacity, ease }
    }

    /// What holds while nodes take so many bytes.
    #[inline]
    pub(super) fn bounds(&self, nodes: u64) -> Bounds {
        let Self { usual_length, most_links, max_ratio, .. } = *self;
        let (length, short_chain) =
            if nodes <= self.ease { (usual_length, SHORT_CHAIN) } else { self.under_pressure(nodes) };
        Bounds { length, short_chain, most_links, max_ratio }
    }

    /// See (D).
    #[cold]
    fn under_pressure(&self, nodes: u64) -> (u32, f64) {
        let share = nodes as f64 / self.capacity.max(1.0);
        let pressure = ((share - EASE) / (STRESS - EASE)).clamp(0.0, 1.0);
        let usual = f64::from(self.usual_length);
        let shortest = usual.min(f64::from(FEWEST_LINKS));
        // Between the two numbers, so it fits.
        let length = (usual * (shortest / usual).powf(pressure)).round() as u32;
        (length, SHORT_CHAIN * (SHORT_CHAIN_UNDER_STRESS / SHORT_CHAIN).powf(pressure))
    }
}

impl Bounds {
    /// Whether the next link has to write the whole page.
    #[inline]
    pub(super) fn are_reached<F: Fragment>(&self, head: Head<'_, F>) -> bool {
        self.are_reached_at(head.depth(), head.chain_bytes(), head.base_bytes())
    }

    #[inline]
    fn are_reached_at(&self, links: u32, bytes: u32, base: u32) -> bool {
        let (bytes, base) = (f64::from(bytes), f64::from(base.max(SMALL_BASE)));
        if bytes > self.max_ratio * base {
            return true;
        }
        links >= self.length && (links >= self.most_links || bytes * self.short_chain >= base)
    }

    /// How many links the page will get before it is written anew, as far as that can be told: see (F).
    #[inline]
    pub(super) fn expected<F: Fragment>(&self, head: Head<'_, F>) -> u32 {
        // At the number, it is the page's size that counts.
        self.length.checked_sub(head.depth()).filter(|left| *left > 0).unwrap_or(u32::MAX)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;

    use super::{Bounds, Consolidation, FEWEST_LINKS, MOST_LINKS, USUAL_LENGTH};
    use crate::config::Config;
    use crate::storage::MemoryStorage;

    const CAPACITY: u64 = 1 << 20;

    fn config() -> Config {
        Config::with_storage(Arc::new(MemoryStorage::new())).cache_capacity(CAPACITY)
    }

    /// The bounds while nodes take so many hundredths of the budget.
    fn with_nodes(rule: &Consolidation, share: u64) -> Bounds {
        rule.bounds(CAPACITY * share / 100)
    }

    /// How many links of that many bytes a page collects.
    fn collected(bounds: &Bounds, base: u32, link: u32) -> u32 {
        (0..).find(|links| bounds.are_reached_at(*links, links * link, base)).unwrap()
    }

    #[test]
    fn writing_and_reading_stay_within_the_stated_factors() {
        let rule = with_nodes(&Consolidation::new(&config()), 25);
        for base in [30, 200, 1 << 10, 4 << 10, 64 << 10, 1 << 20] {
            for link in [18, 30, 77, 269, 4000] {
                let links = collected(&rule, base, link);
                let (chain, base) = (f64::from(links * link), f64::from(base.max(256)));
                let what = format!("{links} links of {link} bytes on {base}");
                assert!(links <= MOST_LINKS, "{what}");
                assert!(chain <= 4.0 * base + f64::from(link), "{what}");
                assert!(1.0 + base / chain <= 3.0 || links == MOST_LINKS, "{what}");
                assert!(links <= USUAL_LENGTH || chain <= 0.5 * base + f64::from(link), "{what}");
            }
        }
    }

    #[test]
    fn a_large_page_collects_more_small_links_than_a_small_page() {
        let rule = with_nodes(&Consolidation::new(&config()), 0);
        let bases = [200, 1 << 10, 4 << 10, 64 << 10, 1 << 20];
        assert_eq!(bases.map(|base| collected(&rule, base, 77)), [14, 54, 128, 426, MOST_LINKS]);
    }

    #[test]
    fn a_length_that_was_set_holds_for_every_page() {
        let rule = Consolidation::new(&config().max_chain_length(10).max_chain_ratio(1000.0));
        for base in [200, 64 << 10, 1 << 20] {
            assert_eq!(collected(&with_nodes(&rule, 25), base, 20), 10);
        }
        assert_eq!(collected(&with_nodes(&rule, 90), 200, 20), FEWEST_LINKS);
        let short = Consolidation::new(&config().max_chain_length(2));
        assert_eq!(collected(&with_nodes(&short, 90), 200, 20), 2);
    }

    #[test]
    fn nodes_that_press_shorten_chains_step_by_step_and_only_so_far() {
        let rule = Consolidation::new(&config());
        for base in [30, 200, 1 << 10, 4 << 10, 64 << 10, 1 << 20] {
            for link in [18, 30, 77, 269, 4000] {
                let mut before = collected(&with_nodes(&rule, 25), base, link);
                for share in 26..120 {
                    let links = collected(&with_nodes(&rule, share), base, link);
                    let what = format!("{links} links of {link} bytes on {base}, nodes take {share} %");
                    assert!(links <= before, "{what}, before {before}");
                    // A hundredth of the budget is a 25th of the way: 13 % of the number and 6 % of the
                    // bytes, and rounding.
                    assert!(f64::from(before) <= 1.15 * f64::from(links) + 1.0, "{what}, before {before}");
                    before = links;
                }
                let (chain, base) = (f64::from(before * link), f64::from(base.max(256)));
                assert!(before >= FEWEST_LINKS || chain > 4.0 * base, "{before} of {link} on {base}");
                assert!(before <= FEWEST_LINKS || chain <= base / 8.0 + f64::from(link), "{before}");
                assert!(1.0 + base / chain <= 9.0 || before == MOST_LINKS, "{before} of {link} on {base}");
            }
        }
        assert_eq!(
            [25, 30, 35, 40, 45, 50, 70].map(|share| with_nodes(&rule, share).length),
            [128, 64, 32, 16, 8, 4, 4]
        );
    }

    #[test]
    fn a_budget_of_nothing_is_under_stress_and_nothing_worse() {
        let rule = Consolidation::new(&config().cache_capacity(0));
        assert_eq!([0, 1, u64::MAX].map(|nodes| rule.bounds(nodes).length), [128, 4, 4]);
    }
}
