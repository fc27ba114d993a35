//! Reading a page: from its head along the chain of its nodes.
//!
//! Everything here borrows for `'g`, the lifetime of a guard that was pinned before the head was loaded; so whatever was
//! reachable then stays alive (see `node`, A and D), also while others replace, evict or free the page. A reader thus
//! sees one version of the page for as long as it likes.
//!
//! A page is *merged* at a node if the node has the contents of the whole page up to its version: a base's own content, or
//! one that was merged from a link and what lies below. A read takes the newest of these and what was linked since.

use std::fmt;
use std::ptr;

use crate::ids::{PageId, Version};
use crate::location::Place;
use crate::pages::budget::Weight;
use crate::pages::bulk::Bulk;
use crate::pages::cell::LocationCell;
use crate::pages::fragment::Fragment;
use crate::pages::node::{Base, BaseKind, Chunk, Content, Slot, Target, Word};
use crate::pages::queues::MOST_TOUCHES;
use crate::pages::table::Site;
use crate::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

/// One node of a page's chain, seen under a guard.
pub(crate) struct NodeRef<'g, F: Fragment> {
    site: Site<'g, F>,
    target: Target<F>,
}

impl<F> Clone for Target<F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F> Copy for Target<F> {}

impl<F: Fragment> Clone for NodeRef<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F: Fragment> Copy for NodeRef<'_, F> {}

impl<F: Fragment> fmt::Debug for NodeRef<'_, F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (page_id, version) = (self.site.page_id(), self.version());
        write!(formatter, "NodeRef(page {page_id}, version {version})")
    }
}

impl<'g, F: Fragment> NodeRef<'g, F> {
    /// A node that was reached from its table word, or from a node that was, under the site's guard.
    #[inline]
    pub(super) fn new(site: Site<'g, F>, target: Target<F>) -> Self {
        Self { site, target }
    }

    pub(super) fn site(self) -> Site<'g, F> {
        self.site
    }

    pub(super) fn target(self) -> Target<F> {
        self.target
    }

    pub(crate) fn page_id(self) -> PageId {
        self.site.page_id()
    }

    /// Asks for the node's memory.
    #[inline]
    pub(crate) fn prefetch(self) {
        self.target.prefetch();
    }

    pub(super) fn word(self) -> Word<F> {
        match self.target {
            Target::Base(base) => Word::of_base(base),
            Target::Slot(chunk, index) => Word::of_slot(chunk, index),
        }
    }

    /// The page's base.
    #[inline]
    pub(super) fn base(self) -> &'g Base<F> {
        // SAFETY: reached under the site's guard, so alive for 'g, and frozen (node, A and B).
        unsafe {
            match self.target {
                Target::Base(base) => base.as_ref(),
                Target::Slot(chunk, _) => chunk.as_ref().base.as_ref(),
            }
        }
    }

    /// The slot and its chunk's header, unless the node is a base.
    #[inline]
    pub(super) fn slot(self) -> Option<(&'g Chunk<F>, &'g Slot<F>)> {
        match self.target {
            Target::Base(_) => None,
            Target::Slot(chunk, index) => {
                // SAFETY: as in `base`; a slot that can be reached was written before it was published.
                Some(unsafe { (chunk.as_ref(), Chunk::slot(chunk, index).as_ref()) })
            }
        }
    }

    /// The page's version after this node's record.
    #[inline]
    pub(crate) fn version(self) -> Version {
        match self.slot() {
            None => Version(self.base().version),
            Some((chunk, slot)) => Version(chunk.base_version + u64::from(slot.depth)),
        }
    }

    /// The version at which the page was allocated.
    #[inline]
    pub(crate) fn birth(self) -> Version {
        Version(self.slot().map_or_else(|| self.base().birth, |(chunk, _)| chunk.birth))
    }

    /// How many links lie at and below this node.
    #[inline]
    pub(crate) fn depth(self) -> u32 {
        self.slot().map_or(0, |(_, slot)| slot.depth)
    }

    /// The lengths of the records of all links at and below this node, with their files, up to `u32::MAX`.
    #[inline]
    pub(crate) fn chain_bytes(self) -> u32 {
        self.slot().map_or(0, |(_, slot)| slot.chain_bytes)
    }

    /// The length of this node's record.
    pub(crate) fn length(self) -> u32 {
        self.slot().map_or_else(|| self.base().length, |(_, slot)| slot.length)
    }

    /// How much of the node's record is in a file of its own.
    #[inline]
    pub(crate) fn bulk(self) -> Bulk {
        self.slot().map_or_else(|| self.base().bulk, |(_, slot)| slot.bulk)
    }

    /// Whether this is a base, and of which kind.
    pub(crate) fn base_kind(self) -> Option<BaseKind> {
        match self.target {
            Target::Base(_) => Some(self.base().kind),
            Target::Slot(..) => None,
        }
    }

    fn cell(self) -> &'g LocationCell {
        self.slot().map_or_else(|| &self.base().cell, |(_, slot)| &slot.cell)
    }

    /// Where this node's record lies now; `None` if it is dead by now.
    pub(crate) fn place(self) -> Option<Place> {
        self.cell().load()
    }

    /// Tells the node that its record was copied. If it returns true, the record no longer lives at `from`, and the caller
    /// subtracts it there; if not, the copy is void.
    #[must_use]
    pub(crate) fn relocate(self, from: Place, to: Place) -> bool {
        let moved = self.cell().relocate(from, to);
        if moved {
            self.site.mark_moved();
        }
        moved
    }

    /// See [`LocationCell::kill`].
    #[must_use]
    pub(super) fn kill(self) -> Option<Place> {
        self.cell().kill()
    }

    /// What this node's own record holds, if it is in memory.
    pub(crate) fn fragment(self) -> Option<&'g F> {
        match self.target {
            Target::Base(_) => self.merged(),
            // SAFETY: reached under a guard that lasts for 'g, and published, so written.
            Target::Slot(chunk, index) => unsafe { Slot::fragment(Chunk::slot(chunk, index)) },
        }
    }

    /// The page as of this node, if it is in memory in one piece.
    #[inline]
    pub(crate) fn merged(self) -> Option<&'g F> {
        self.merged_content().map(|content| &content.value)
    }

    #[inline]
    fn merged_content(self) -> Option<&'g Content<F>> {
        let content = self.content().load(Ordering::Acquire);
        // SAFETY: null or a box that is dropped by a deferral only (node, F), which waits for the site's guard.
        unsafe { content.as_ref() }
    }

    /// What this node gives to a read of the page, and whether older nodes are needed besides.
    fn part(self) -> (Part<'g, F>, bool) {
        if let Some(content) = self.merged_content() {
            return (Part::Resident { fragment: &content.value, heap: content.heap() }, false);
        }
        let own = self.slot().and_then(|(_, slot)| Some((self.fragment()?, slot.charged)));
        let part = own.map_or(Part::Missing(self), |(fragment, charged)| Part::Resident {
            fragment,
            heap: charged.into(),
        });
        (part, true)
    }

    /// Where the merged page hangs.
    #[inline]
    pub(super) fn content(self) -> &'g AtomicPtr<Content<F>> {
        self.slot().map_or_else(|| &self.base().content, |(_, slot)| &slot.merged)
    }

    fn touched(self) -> &'g AtomicU8 {
        self.slot().map_or_else(|| &self.base().touched, |(_, slot)| &slot.touched)
    }

    /// Notes that the page is in use. Writes nothing if that was noted often enough, so hits of a hot page share its
    /// memory without writing to it.
    #[inline]
    pub(crate) fn touch(self) {
        let touches = self.touches();
        if touches < MOST_TOUCHES {
            self.set_touches(touches + 1);
        }
    }

    /// How often the page was in use since this was last set, up to [`MOST_TOUCHES`]. Touches of the same moment may count as one.
    #[inline]
    pub(super) fn touches(self) -> u8 {
        self.touched().load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn set_touches(self, touches: u8) {
        self.touched().store(touches, Ordering::Relaxed);
    }

    /// Puts the page as of this node in memory: a base's content as it was read from its record, or a page merged from
    /// this node and all below. If another thread was quicker, this content is dropped and the other's is returned.
    pub(crate) fn install(self, content: Content<F>) -> &'g F {
        let weight = Weight::of_contents(content.weight);
        let fresh = Box::into_raw(Box::new(content));
        // Charged first, so that a quick eviction does not discharge more than there was.
        self.site.account().charge(weight);
        let home = self.content();
        match home.compare_exchange(ptr::null_mut(), fresh, Ordering::SeqCst, Ordering::Acquire) {
            Ok(_) => {
                self.site.mark_resident();
                self.drop_superseded();
                // SAFETY: an eviction may have taken it out by now, but a deferral waits for the site's guard.
                unsafe { &(*fresh).value }
            }
            Err(other) => {
                self.site.account().refund(weight);
                // SAFETY: ours, never published. The other is as in `merged`.
                unsafe {
                    drop(Box::from_raw(fresh));
                    &(*other).value
                }
            }
        }
    }

    /// Drops the newest merged page below a link: with a newer one above, nobody needs it. At most one is there, but for
    /// races, since each installation drops the one before.
    fn drop_superseded(self) {
        let superseded = Nodes { next: self.older() }
            .take_while(|node| matches!(node.target, Target::Slot(..)))
            .find(|node| !node.content().load(Ordering::Relaxed).is_null());
        if let Some(node) = superseded {
            node.drop_content();
        }
    }

    /// The next older node.
    #[inline]
    pub(crate) fn older(self) -> Option<Self> {
        let Target::Slot(chunk, index) = self.target else { return None };
        let (header, slot) = self.slot()?;
        let target = match index {
            0 => header.older.target()?,
            _ => Target::Slot(chunk, slot.next.into()),
        };
        Some(Self { site: self.site, target })
    }
}

/// The newest node of a page, seen under a guard: the page at one version.
#[derive(Debug)]
pub(crate) struct Head<'g, F: Fragment>(NodeRef<'g, F>);

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
        self.0.site.page_id()
    }

    /// Asks for the memory of the newest node, for those who go on with another page first.
    #[inline]
    pub(crate) fn prefetch(self) {
        self.0.prefetch();
    }

    /// Asks for the memory that [`base_version`](Self::base_version) looks at.
    #[inline]
    pub(crate) fn prefetch_foot(self) {
        self.0.target.prefetch_on_the_way();
    }

    /// The version of the page's base: what is older is dead.
    #[inline]
    pub(crate) fn base_version(self) -> Version {
        Version(self.0.slot().map_or_else(|| self.0.base().version, |(chunk, _)| chunk.base_version))
    }

    /// Asks for the memory that a link will write. All that a link touches then is on its way at once.
    #[inline]
    pub(crate) fn prefetch_link(self) {
        self.0.target.prefetch_above();
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

    /// The merged page, if it is at hand: the quick path of a read.
    #[inline]
    pub(crate) fn hit(self) -> Option<&'g F> {
        let content = self.0.merged();
        if content.is_some() {
            self.0.touch();
        }
        content
    }

    /// What the page weighs for the evictor: the bytes of its records, whether or not they are in memory now. So a page keeps its
    /// weight when it is read back, and nothing but the newest node has to be looked at.
    pub(super) fn weight(self) -> u32 {
        let records = self.base_bytes().saturating_add(self.chain_bytes());
        records.saturating_add(u32::try_from(size_of::<F>()).unwrap_or(u32::MAX))
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

    /// Begins to look for the node whose record made that version. `None` if it is older than the page's base.
    pub(crate) fn seek(self, version: Version) -> Option<Seek<'g, F>> {
        let sought = version.0.checked_sub(self.base_version().0)?;
        Some(Seek { node: self.0, depth: self.depth(), sought: u32::try_from(sought).ok()? })
    }

    /// What a read of the page is made of.
    pub(crate) fn read(self) -> ChainRead<'g, F> {
        let mut parts = Vec::with_capacity(self.depth().min(64) as usize + 1);
        for node in self.nodes() {
            let (part, goes_on) = node.part();
            parts.push(part);
            if !goes_on {
                break;
            }
        }
        ChainRead { parts }
    }
}

/// A search for a node, chunk by chunk. Each step looks at one chunk and asks for the memory of the next, so who has many
/// searches does best to take a step of each in turn.
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
        let Target::Slot(chunk, index) = self.node.target else { return Sought::Absent };
        // SAFETY: reached under the site's guard, so alive, and its header frozen (node, A and B).
        let header = unsafe { chunk.as_ref() };
        let Some(above) = self.sought.checked_sub(header.first_depth) else {
            let Some(older) = header.older.target() else { return Sought::Absent };
            self.node = NodeRef::new(self.node.site, older);
            self.depth = header.first_depth.saturating_sub(1);
            if self.depth == self.sought {
                older.prefetch();
            } else {
                older.prefetch_on_the_way();
            }
            return Sought::Further;
        };
        let node = if (self.depth - header.first_depth) as usize == index {
            // Each step down the chain takes one off the depth and at least one off the index. Both differ by the same from
            // slot 0's, so no slot between was wasted, and all of them are in the chain.
            Some(NodeRef::new(self.node.site, Target::Slot(chunk, above as usize)))
        } else {
            Nodes { next: Some(self.node) }.find(|node| node.depth() <= self.sought)
        };
        node.map_or(Sought::Absent, |node| {
            node.prefetch();
            Sought::Found(node)
        })
    }
}

/// The nodes of a chain, newest to oldest.
#[derive(Debug)]
pub(crate) struct Nodes<'g, F: Fragment> {
    next: Option<NodeRef<'g, F>>,
}

impl<'g, F: Fragment> Iterator for Nodes<'g, F> {
    type Item = NodeRef<'g, F>;

    fn next(&mut self) -> Option<Self::Item> {
        let node = self.next?;
        self.next = node.older();
        Some(node)
    }
}

/// One fragment of a read.
#[derive(Debug)]
pub(crate) enum Part<'g, F: Fragment> {
    /// In memory, with its heap bytes.
    Resident { fragment: &'g F, heap: u64 },
    /// To be read from this node's place.
    Missing(NodeRef<'g, F>),
}

/// What a read of a page needs: newest first, down to a merged page or to the base.
#[derive(Debug)]
pub(crate) struct ChainRead<'g, F: Fragment> {
    parts: Vec<Part<'g, F>>,
}

impl<'g, F: Fragment> ChainRead<'g, F> {
    /// The parts, newest first. There is at least one.
    pub(crate) fn parts(&self) -> &[Part<'g, F>] {
        &self.parts
    }

    /// The nodes whose records have to be read, newest first.
    pub(crate) fn missing(&self) -> impl Iterator<Item = NodeRef<'g, F>> {
        self.parts.iter().filter_map(|part| match part {
            Part::Missing(node) => Some(*node),
            Part::Resident { .. } => None,
        })
    }

    /// The page in one piece, with one more fragment on top if there is one. `fetched` are the contents of the
    /// [`missing`](Self::missing) nodes, in that order. `None` if their number is wrong.
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

    /// The page in one piece, if nothing of it has to be read.
    pub(crate) fn merge_resident(&self) -> Content<F> {
        let resident = self.parts.iter().filter_map(|part| match part {
            Part::Resident { fragment, heap } => Some((*fragment, *heap)),
            Part::Missing(_) => None,
        });
        merge(resident.collect())
    }
}

/// Merges fragments, newest first, each with its heap bytes: their sum is the guess of the page's.
fn merge<F: Fragment>(newest_to_oldest: Vec<(&F, u64)>) -> Content<F> {
    let heap = newest_to_oldest.iter().map(|(_, heap)| heap).sum();
    let oldest_to_newest: Vec<&F> =
        newest_to_oldest.into_iter().rev().map(|(fragment, _)| fragment).collect();
    Content::new(F::merge(&oldest_to_newest), heap)
}
