//! Chains as recovery builds them: where each record lies, and no contents.

use crate::ids::Version;
use crate::location::Place;
use crate::pages::base::{Base, BaseKind};
use crate::pages::budget::Weight;
use crate::pages::bulk::Bulk;
use crate::pages::bundle::{Bundle, BundledLink};
use crate::pages::cell::LocationCell;
use crate::pages::fragment::Fragment;
use crate::pages::node::Word;

/// Where the records of a page lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct RestoredPage<'a> {
    pub(super) kind: BaseKind,
    /// Of the base.
    pub(super) version: Version,
    pub(super) birth: Version,
    pub(super) place: Place,
    pub(super) length: u32,
    /// Place and record length of each link, oldest first; their versions follow the base's without a gap.
    pub(super) links: &'a [(Place, u32)],
    /// The records that are in files of their own, by version. Mostly there is none.
    pub(super) bulks: &'a [(Version, Bulk)],
}

impl RestoredPage<'_> {
    fn bulk(&self, version: Version) -> Bulk {
        let found = self.bulks.iter().find(|(of, _)| *of == version);
        found.map_or(Bulk::NONE, |(_, bulk)| *bulk)
    }

    /// Of the link so many versions above the base.
    fn bulk_of_link(&self, depth: u64) -> Bulk {
        // Mostly there is none, and nothing to reckon.
        if self.bulks.is_empty() { Bulk::NONE } else { self.bulk(Version(self.version.0 + depth)) }
    }
}

/// A chain that nobody else knows yet.
pub(super) struct Built<F> {
    pub(super) head: Word<F>,
    pub(super) weight: Weight,
}

/// Builds a page's chain: a base, or a bundle if there are links.
pub(super) fn build<F: Fragment>(page: &RestoredPage<'_>) -> Built<F> {
    let mut base = Base::new(page.kind, page.version.0, page.birth.0, LocationCell::at(page.place));
    (base.length, base.bulk) = (page.length, page.bulk(page.version));
    if page.links.is_empty() {
        let weight = Weight::of_nodes(Base::<F>::SIZE);
        return Built { head: Word::of_base(Base::allocate(base)), weight };
    }
    let chain_bytes = (1..).zip(page.links).fold(0u32, |sum, (depth, (_, length))| {
        sum.saturating_add(*length).saturating_add(page.bulk_of_link(depth).bytes())
    });
    let links = page.links.iter().enumerate().rev().map(|(below, (place, length))| BundledLink {
        cell: LocationCell::at(*place),
        length: *length,
        bulk: page.bulk_of_link(below as u64 + 1),
    });
    let bundle = Bundle::allocate(base, chain_bytes, links);
    // SAFETY: alive and ours.
    let weight = Weight::of_nodes(unsafe { bundle.as_ref() }.size());
    Built { head: Word::of_bundle(bundle), weight }
}
