//! Chains as recovery builds them: where each record lies, and no contents.

use std::ptr::NonNull;

use crate::ids::Version;
use crate::location::Place;
use crate::pages::budget::Weight;
use crate::pages::bulk::Bulk;
use crate::pages::fragment::Fragment;
use crate::pages::node::{Base, BaseKind, Chunk, Foot, MOST_SLOTS, Word};
use crate::pages::publish::{PreparedBase, absent_slot};

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
}

/// A chain that nobody else knows yet.
pub(super) struct Built<F> {
    pub(super) head: Word<F>,
    pub(super) weight: Weight,
}

/// Builds a page's chain.
pub(super) fn build<F: Fragment>(page: &RestoredPage<'_>) -> Built<F> {
    let mut base = PreparedBase::<F>::absent(page.kind, page.version, page.birth);
    base.set_record(page.place, page.length);
    base.set_bulk(page.bulk(page.version));
    let base = base.into_raw();
    let mut word = Word::of_base(base);
    let (mut depth, mut chain_bytes) = (0u32, 0u32);
    let mut weight = Weight::of_nodes(Base::<F>::SIZE);
    let mut links = page.links;
    while !links.is_empty() {
        let (now, later) = links.split_at(links.len().min(MOST_SLOTS));
        let chunk = chunk_for(now, later, (word, depth), base, page);
        // SAFETY: alive and ours.
        weight.nodes += unsafe { chunk.as_ref() }.size();
        for (index, (place, length)) in now.iter().enumerate() {
            depth = depth.saturating_add(1);
            let bulk = page.bulk(Version(page.version.0 + u64::from(depth)));
            chain_bytes = chain_bytes.saturating_add(*length).saturating_add(bulk.bytes());
            let below = index.saturating_sub(1) as u8;
            // SAFETY: the chunk is ours, with room for all of `now`, and the slot is claimed.
            unsafe {
                Chunk::slot(chunk, index).write(absent_slot(
                    *place,
                    depth,
                    *length,
                    bulk,
                    chain_bytes,
                    below,
                ));
            }
            word = Word::of_slot(chunk, index);
        }
        links = later;
    }
    Built { head: word, weight }
}

/// A chunk with as many claimed slots as there are links, and in the newest one a slot to spare for the next link.
fn chunk_for<F: Fragment>(
    now: &[(Place, u32)],
    later: &[(Place, u32)],
    (older, depth): (Word<F>, u32),
    base: NonNull<Base<F>>,
    page: &RestoredPage<'_>,
) -> NonNull<Chunk<F>> {
    let spare = usize::from(later.is_empty());
    let capacity = (now.len() + spare).min(MOST_SLOTS);
    let (version, bulk) = (page.version.0, page.bulk(page.version));
    let foot = Foot { base, version, birth: page.birth.0, length: page.length, bulk };
    let chunk = Chunk::allocate(capacity, older, depth.saturating_add(1), &foot);
    for _ in 1..now.len() {
        // SAFETY: the chunk is alive and ours.
        let claimed = unsafe { chunk.as_ref() }.claim();
        debug_assert!(claimed.is_some());
    }
    chunk
}
