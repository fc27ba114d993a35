//! Reading a page: from its head along the chain of its nodes.
//!
//! A page is *merged* at a node if the node has the contents of the whole page up to its version: a base's
//! own content, or one that was merged from a link and what lies below. A read takes the newest of these and
//! what was linked since.
//!
//! A reader sees one version of the page for as long as it likes: all that is here borrows from its guard
//! (`node_ref`).

use std::ptr::NonNull;

use crate::ids::{PageId, Version};
use crate::pages::base::{Base, BaseKind};
#[cfg(test)]
use crate::pages::budget::Weight;
use crate::pages::bundle::Bundle;
use crate::pages::content::Content;
use crate::pages::fragment::Fragment;
use crate::pages::node::{Name, Target};
use crate::pages::node_ref::{NodeRef, Nodes, note_use};
use crate::pages::parts::Parts;
use crate::pages::table::{Leaf, PageTable, Site};
use crate::sync::epoch::Guard;

/// The newest node of a page, seen under a guard: the page at one version.
#[derive(Debug)]
pub(crate) struct Head<'g, F: Fragment>(NodeRef<'g, F>);

/// What makes a [`Head`], in half the words: for pages, which are handed to users by value.
pub(crate) struct Seen<'g, F: Fragment> {
    leaf: &'g Leaf,
    page_id: PageId,
    name: Name<F>,
}

impl<F: Fragment> Clone for Seen<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: Fragment> Copy for Seen<'_, F> {}

impl<'g, F: Fragment> Seen<'g, F> {
    /// What stood in the page's place, read under a guard that lasts for `'g`.
    #[inline]
    pub(super) fn new(leaf: &'g Leaf, page_id: PageId, name: Name<F>) -> Self {
        Self { leaf, page_id, name }
    }

    /// A page that is in memory in one piece, as [`hit`](Self::hit) found it.
    #[inline]
    pub(crate) fn whole(self, page: &'g F) -> Parts<'g, F> {
        Parts::whole(page, self.name.target())
    }

    /// The merged page, if it is at hand: the quick path of a read.
    #[inline]
    pub(crate) fn hit(self) -> Option<&'g F> {
        // SAFETY: seen under a guard that lasts for 'g.
        unsafe {
            match self.name.base() {
                // Most pages that are read are one record, and each instruction of a hit is one more that the
                // processor has to keep while it waits for memory.
                Some(base) => hit(Target::Base(base)),
                None => hit(self.name.target()),
            }
        }
    }

    /// The head, given the table and the guard that it was seen with.
    #[inline]
    pub(crate) fn head(self, table: &'g PageTable<F>, guard: &'g Guard) -> Head<'g, F> {
        Head(NodeRef::new(Site::new(table, self.leaf, self.page_id, guard), self.name.target()))
    }
}

/// The merged page, if it is at hand; then it is noted that the page is in use.
///
/// # Safety
/// The node is or was a head, and was reached under a guard that lasts for `'g`.
#[inline]
unsafe fn hit<'g, F: Fragment>(target: Target<F>) -> Option<&'g F> {
    // SAFETY: by the contract.
    let (page, touched) = unsafe { (target.merged()?, target.touched()) };
    note_use(touched);
    Some(page)
}

impl<F: Fragment> Clone for Head<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: Fragment> Copy for Head<'_, F> {}

impl<'g, F: Fragment> Head<'g, F> {
    #[inline]
    pub(super) fn new(newest: NodeRef<'g, F>) -> Self {
        Self(newest)
    }

    #[inline]
    pub(crate) fn newest(self) -> NodeRef<'g, F> {
        self.0
    }

    pub(crate) fn page_id(self) -> PageId {
        self.0.page_id()
    }

    /// Asks for the memory of the newest node, for those who go on with another page first.
    #[inline]
    pub(crate) fn prefetch(self) {
        self.0.prefetch();
    }

    /// Asks for the memory that [`base_version`](Self::base_version) looks at.
    #[inline]
    pub(crate) fn prefetch_foot(self) {
        self.0.target().prefetch_on_the_way();
    }

    /// The version of the page's base: what is older is dead.
    #[inline]
    pub(crate) fn base_version(self) -> Version {
        Version(self.0.slot().map_or_else(|| self.0.base().version, |(chunk, _)| chunk.base_version))
    }

    /// The page's base.
    pub(super) fn foot(self) -> NonNull<Base<F>> {
        match self.0.target() {
            Target::Base(base) => base,
            // SAFETY: reached under the site's guard, so alive, and frozen (node, A and B).
            Target::Slot(chunk, _) => unsafe { chunk.as_ref() }.base,
            Target::Bundled(bundle, _) => Bundle::base_of(bundle),
        }
    }

    /// The same, as a node.
    pub(super) fn base_node(self) -> NodeRef<'g, F> {
        NodeRef::new(self.0.site(), Target::Base(self.foot()))
    }

    /// Asks for the memory that a link will write. All that a link touches then is on its way at once.
    #[inline]
    pub(crate) fn prefetch_link(self) {
        self.0.target().prefetch_above();
    }

    #[inline]
    pub(crate) fn version(self) -> Version {
        self.0.version()
    }

    #[inline]
    pub(crate) fn birth(self) -> Version {
        self.0.birth()
    }

    /// Whether the page was freed. Nothing can be linked to a freed page, so then the head is a base.
    #[inline]
    pub(crate) fn is_freed(self) -> bool {
        self.0.base_kind() == Some(BaseKind::Freed)
    }

    #[inline]
    pub(crate) fn depth(self) -> u32 {
        self.0.depth()
    }

    #[inline]
    pub(crate) fn chain_bytes(self) -> u32 {
        self.0.chain_bytes()
    }

    /// The length of the base's record.
    pub(crate) fn base_length(self) -> u32 {
        self.0.slot().map_or_else(|| self.0.base().length, |(chunk, _)| chunk.base_length)
    }

    /// About how many bytes the base is in all, with its file, up to `u32::MAX`.
    #[inline]
    pub(crate) fn base_bytes(self) -> u32 {
        let bulk = self.0.slot().map_or_else(|| self.0.base().bulk, |(chunk, _)| chunk.base_bulk);
        self.base_length().saturating_add(bulk.bytes())
    }

    /// As [`Seen::hit`], for tests.
    #[cfg(test)]
    pub(crate) fn hit(self) -> Option<&'g F> {
        // SAFETY: seen under the site's guard, which lasts for 'g.
        unsafe { hit(self.0.target()) }
    }

    /// What the page weighs for the evictor: the bytes of its records, whether or not they are in memory now.
    /// So a page keeps its weight when it is read back, and nothing but the newest node has to be looked at.
    pub(super) fn weight(self) -> u32 {
        let records = self.base_bytes().saturating_add(self.chain_bytes());
        records.saturating_add(u32::try_from(size_of::<F>()).unwrap_or(u32::MAX))
    }

    /// All bytes of the page that are on the budget, counted one by one.
    #[cfg(test)]
    pub(crate) fn recount(self) -> Weight {
        let (mut weight, mut blocks) = (Weight::default(), std::collections::BTreeSet::new());
        for node in self.nodes() {
            let present = node.slot().filter(|_| node.fragment().is_some());
            weight.contents += present.map_or(0, |(_, slot)| slot.charged.into());
            weight.contents += match node.target() {
                // SAFETY: reached under the site's guard.
                Target::Base(base) => unsafe { Base::weight(base) }.contents,
                _ => node.merged_content().map_or(0, |(_, heap)| Content::<F>::SIZE + heap),
            };
            let block = node.block();
            weight.nodes += if blocks.insert(block.at) { block.size } else { 0 };
        }
        weight
    }

    /// The page's head now, if it is another base of the same version: a copy of this one (`exchange`).
    pub(super) fn exchanged(self) -> Option<Self> {
        let now = self.0.site().head()?;
        let are_bases = matches!((self.0.target(), now.0.target()), (Target::Base(_), Target::Base(_)));
        (are_bases && now.version() == self.version() && now.0.word() != self.0.word()).then_some(now)
    }

    /// All nodes, newest to oldest.
    pub(crate) fn nodes(self) -> Nodes<'g, F> {
        Nodes { next: Some(self.0) }
    }

    /// The node whose record made that version.
    #[cfg(test)]
    pub(crate) fn node(self, version: Version) -> Option<NodeRef<'g, F>> {
        let mut seek = self.seek(version)?;
        loop {
            match seek.step() {
                Sought::Further => {}
                Sought::Found(node) => return Some(node),
                Sought::Absent => return None,
            }
        }
    }

    /// Begins to look for the node whose record made that version. `None` if it is older than the page's
    /// base.
    pub(crate) fn seek(self, version: Version) -> Option<Seek<'g, F>> {
        let sought = version.0.checked_sub(self.base_version().0)?;
        Some(Seek { node: self.0, depth: self.depth(), sought: u32::try_from(sought).ok()? })
    }

    /// What the page is made of, if all of it is in memory.
    pub(crate) fn parts(self) -> Option<Parts<'g, F>> {
        Parts::of(self.0)
    }

    /// What the page is made of, in memory or still to be read from the disk.
    pub(crate) fn read(self) -> ChainRead<'g, F> {
        let mut parts = Vec::with_capacity(self.depth().min(64) as usize + 1);
        for node in self.nodes() {
            let (part, goes_on) = part(node);
            parts.push(part);
            if !goes_on {
                break;
            }
        }
        ChainRead { parts }
    }
}

/// A search for a node, chunk by chunk. Each step looks at one chunk and asks for the memory of the next, so
/// who has many searches does best to take a step of each in turn.
#[derive(Debug)]
pub(crate) struct Seek<'g, F: Fragment> {
    /// At or above what is sought,
    node: NodeRef<'g, F>,
    /// and how many links lie at and below it. That is known before the node is looked at.
    depth: u32,
    /// How many links lie at and below what is sought.
    sought: u32,
}

/// How a search stands.
pub(crate) enum Sought<'g, F: Fragment> {
    Found(NodeRef<'g, F>),
    /// There is no such node: the version is newer than the head, or was never linked.
    Absent,
    /// It is in an older chunk, or is the base.
    Further,
}

impl<'g, F: Fragment> Seek<'g, F> {
    #[inline]
    pub(crate) fn step(&mut self) -> Sought<'g, F> {
        if self.depth <= self.sought {
            return if self.depth == self.sought { Sought::Found(self.node) } else { Sought::Absent };
        }
        let Target::Slot(chunk, index) = self.node.target() else { return self.step_in_bundle() };
        // SAFETY: reached under the site's guard, so alive, and its header frozen (node, A and B).
        let header = unsafe { chunk.as_ref() };
        let Some(above) = self.sought.checked_sub(header.first_depth) else {
            let Some(older) = header.older.target() else { return Sought::Absent };
            self.node = NodeRef::new(self.node.site(), older);
            self.depth = header.first_depth.saturating_sub(1);
            if self.depth == self.sought {
                older.prefetch();
            } else {
                older.prefetch_on_the_way();
            }
            return Sought::Further;
        };
        let node = if self.depth - header.first_depth == index.into() {
            // Each step down the chain takes one off the depth and at least one off the index. Both differ by
            // the same from slot 0's, so no slot between was wasted, and all of them are in the chain. So
            // this is below the index.
            Some(NodeRef::new(self.node.site(), Target::Slot(chunk, above as u8)))
        } else {
            Nodes { next: Some(self.node) }.find(|node| node.depth() <= self.sought)
        };
        node.map_or(Sought::Absent, |node| {
            node.prefetch();
            Sought::Found(node)
        })
    }

    /// The last step: a bundle has all that is older.
    fn step_in_bundle(&self) -> Sought<'g, F> {
        let Target::Bundled(bundle, _) = self.node.target() else { return Sought::Absent };
        let target = match self.sought {
            0 => Target::Base(Bundle::base_of(bundle)),
            // Below the depth of a link of the bundle, which is at most their number.
            sought => Target::Bundled(bundle, self.node.depth() - sought),
        };
        Sought::Found(NodeRef::new(self.node.site(), target))
    }
}

/// One fragment of a read.
#[derive(Debug)]
enum Part<'g, F: Fragment> {
    /// In memory, with its heap bytes.
    Resident { fragment: &'g F, heap: u64 },
    /// To be read from this node's place.
    Missing(NodeRef<'g, F>),
}

/// What a node gives to a read of the page, and whether older nodes are needed besides.
fn part<F: Fragment>(node: NodeRef<'_, F>) -> (Part<'_, F>, bool) {
    if let Some((fragment, heap)) = node.merged_content() {
        return (Part::Resident { fragment, heap }, false);
    }
    let own = node.slot().and_then(|(_, slot)| Some((node.fragment()?, slot.charged)));
    let part = own
        .map_or(Part::Missing(node), |(fragment, charged)| Part::Resident { fragment, heap: charged.into() });
    (part, true)
}

/// What a read of a page needs: newest first, down to a merged page or to the base.
#[derive(Debug)]
pub(crate) struct ChainRead<'g, F: Fragment> {
    parts: Vec<Part<'g, F>>,
}

impl<'g, F: Fragment> ChainRead<'g, F> {
    /// The nodes whose records have to be read, newest first.
    pub(crate) fn missing(&self) -> impl Iterator<Item = NodeRef<'g, F>> {
        self.parts.iter().filter_map(|part| match part {
            Part::Missing(node) => Some(*node),
            Part::Resident { .. } => None,
        })
    }

    /// The page in one piece, with one more fragment on top if there is one. `fetched` are the contents of
    /// the [`missing`](Self::missing) nodes, in that order. `None` if their number is wrong.
    pub(crate) fn merge(&self, mut fetched: Vec<Content<F>>, on_top: Option<&F>) -> Option<Content<F>> {
        if fetched.len() != self.missing().count() {
            return None;
        }
        if let ([Part::Missing(_)], 1, None) = (self.parts.as_slice(), fetched.len(), on_top) {
            return fetched.pop();
        }
        let mut supply = fetched.iter();
        let newest_to_oldest = self.parts.iter().map(|part| match part {
            Part::Resident { fragment, heap } => Some((*fragment, *heap)),
            Part::Missing(_) => supply.next().map(|content| (&content.value, content.heap())),
        });
        let on_top = on_top.map(|fragment| Some((fragment, 0)));
        on_top.into_iter().chain(newest_to_oldest).collect::<Option<Vec<_>>>().map(merge)
    }
}

/// Merges fragments, newest first, each with its heap bytes: their sum is the guess of the page's.
pub(super) fn merge<F: Fragment>(newest_to_oldest: Vec<(&F, u64)>) -> Content<F> {
    let heap = newest_to_oldest.iter().map(|(_, heap)| heap).sum();
    let oldest_to_newest: Vec<&F> =
        newest_to_oldest.into_iter().rev().map(|(fragment, _)| fragment).collect();
    Content::new(F::merge(&oldest_to_newest), heap)
}
