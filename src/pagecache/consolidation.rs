//! When a link is written as the whole merged page.
//!
//! A link is cheap to write and dear to read back: each is a record of its own somewhere in the log, and a node in memory for as
//! long as the chain lasts. A whole page is the other way round. Let a page's base record have `B` bytes, and its links' records
//! `C` bytes together when it is written anew. Then
//!
//! - for each byte of links, `1 + B / C` bytes are written (and another if links make the page larger, for what they
//!   bring is written again);
//! - a miss reads `1 + C / B` times the page.
//!
//! - **(A) Bytes are bounded by a ratio.** `C` stays below `max_chain_ratio` times `B`: links that are large compared with their page are never
//!   read for more than that, nor take more space.
//! - **(B) Links are bounded by a number, once that is cheap.** A page with [`USUAL_LENGTH`] links is written anew, but not while they are shorter
//!   than half of the base: so at most `1 + 2` bytes are written for each byte of a link's record, however large the page and
//!   however small the links are. A miss reads more than [`USUAL_LENGTH`] links only of pages that are large compared with them, and
//!   then at most one and a half times the page's bytes.
//! - **(C) At last by a number alone.** [`MOST_LINKS`] bounds what a single miss, and the nodes of a single page, can cost.
//!   Only pages of hundreds of KiB with links of a few bytes come so far.
//!
//! Users who set `max_chain_length` get that number and nothing but (A) besides.

use crate::config::Config;
use crate::pages::Fragment;
use crate::pages::chain::Head;

/// A base record counts as at least this long, so that pages that begin empty are not rewritten with each of their first
/// links. Twice as much would save a twentieth of what is written for pages of 200 bytes, and nothing once garbage collection is counted,
/// and have each miss read twice as many records.
const SMALL_BASE: u32 = 256;
/// See (B).
const USUAL_LENGTH: u32 = 128;
/// See (B): a base is this many times as long as its links when they are too few to be worth a rewrite.
const SHORT_CHAIN: u32 = 2;
/// See (C).
const MOST_LINKS: u32 = 4096;

/// The bounds of chains.
#[derive(Clone, Copy, Debug)]
pub(super) struct Consolidation {
    usual_length: u32,
    most_links: u32,
    max_ratio: f64,
}

impl Consolidation {
    pub(super) fn new(config: &Config) -> Self {
        let (usual_length, most_links) =
            config.max_chain_length.map_or((USUAL_LENGTH, MOST_LINKS), |length| (length, length));
        Self { usual_length, most_links, max_ratio: config.max_chain_ratio }
    }

    /// Whether the next link has to write the whole page.
    #[inline]
    pub(super) fn is_due<F: Fragment>(&self, head: Head<'_, F>) -> bool {
        self.is_due_at(head.depth(), head.chain_bytes(), head.base_bytes())
    }

    #[inline]
    fn is_due_at(&self, links: u32, bytes: u32, base: u32) -> bool {
        let base = base.max(SMALL_BASE);
        if links < self.usual_length {
            return f64::from(bytes) > self.max_ratio * f64::from(base);
        }
        links >= self.most_links
            || bytes.saturating_mul(SHORT_CHAIN) >= base
            || f64::from(bytes) > self.max_ratio * f64::from(base)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;

    use super::{Consolidation, MOST_LINKS, USUAL_LENGTH};
    use crate::config::Config;
    use crate::storage::MemoryStorage;

    fn config() -> Config {
        Config::with_storage(Arc::new(MemoryStorage::new()))
    }

    /// How many links of that many bytes a page collects.
    fn collected(rule: &Consolidation, base: u32, link: u32) -> u32 {
        (0..).find(|links| rule.is_due_at(*links, links * link, base)).unwrap()
    }

    #[test]
    fn writing_and_reading_stay_within_the_stated_factors() {
        let rule = Consolidation::new(&config());
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
        let rule = Consolidation::new(&config());
        let bases = [200, 1 << 10, 4 << 10, 64 << 10, 1 << 20];
        assert_eq!(bases.map(|base| collected(&rule, base, 77)), [14, 54, 128, 426, MOST_LINKS]);
    }

    #[test]
    fn a_length_that_was_set_holds_for_every_page() {
        let rule = Consolidation::new(&config().max_chain_length(10).max_chain_ratio(1000.0));
        for base in [200, 64 << 10, 1 << 20] {
            assert_eq!(collected(&rule, base, 20), 10);
        }
    }
}
