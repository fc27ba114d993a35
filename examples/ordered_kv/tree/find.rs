//! From the root to a node. See the invariants in [`tree`](super).

use pagelog::{Guard, Page, PageId, Version};

use super::block::{Block, Link};
use super::error::{Error, Result};
use super::forest::{Shared, Tree, count};
use super::node::Node;

/// Being overtaken so often in a row is taken for damage: links that lead nowhere.
const MOST_RESTARTS: u32 = 10_000;
/// From then on a thread lets others go first.
const PATIENCE: u32 = 4;

/// What is looked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target<'k> {
    /// The node that covers a key.
    At(&'k [u8]),
    /// The node that covers what lies just below a key, or the last one.
    Before(Option<&'k [u8]>),
}

impl Target<'_> {
    /// Whether it lies to the right of a node with that high bound.
    #[inline]
    fn is_beyond(self, high: Option<&[u8]>) -> bool {
        let Some(high) = high else { return false };
        match self {
            Self::At(key) => key >= high,
            Self::Before(None) => true,
            Self::Before(Some(bound)) => bound > high,
        }
    }

    /// Which entry of an inner node leads to it.
    #[inline]
    pub(super) fn index_in(self, block: Block<'_>) -> Option<usize> {
        match self {
            Self::At(key) => block.search(key).map_or_else(|above| above.checked_sub(1), Some),
            Self::Before(Some(bound)) => block.search(bound).unwrap_or_else(|above| above).checked_sub(1),
            Self::Before(None) => block.count().checked_sub(1),
        }
    }
}

/// A node as it was at one version.
#[derive(Debug)]
pub(super) struct Seat<'g> {
    pub link: Link,
    pub version: Version,
    /// The node without its newest changes.
    pub base: Block<'g>,
    /// How many these are.
    pub unmerged: usize,
    page: Page<'g, Node>,
}

impl<'g> Seat<'g> {
    /// The value of a key that the leaf covers.
    #[inline]
    pub fn value(&self, key: &[u8]) -> Option<&'g [u8]> {
        if self.unmerged > 0 {
            let mut newest_first = self.page.fragments().take(self.unmerged);
            if let Some(change) = newest_first.find(|change| change.changed_key() == key) {
                return change.changed_value();
            }
        }
        self.base.get(key)
    }

    /// The node with all changes.
    pub fn merged(&self) -> Block<'g> {
        if self.unmerged == 0 { self.base } else { self.page.merged().block() }
    }

    pub fn page_id(&self) -> PageId {
        self.link.page
    }
}

/// A node that has no entry in a parent.
#[derive(Clone, Debug)]
pub(super) struct Post {
    pub level: u8,
    pub low: Vec<u8>,
    pub link: Link,
}

/// What a descent has found.
#[derive(Debug)]
pub(super) struct Found<'g> {
    pub seat: Seat<'g>,
    /// It was reached by this right link, so it has perhaps no entry in its parent.
    pub by_right: bool,
}

impl Shared {
    /// The node that a link leads to, or `None` if it is not there any more. Inner nodes are merged, and
    /// leaves with many changes.
    #[inline]
    pub(super) fn read<'g>(&self, guard: &'g Guard<'_, Node>, link: Link) -> Result<Option<Seat<'g>>> {
        let Some(page) = guard.get(link.page)? else { return Ok(None) };
        let (base, unmerged) = self.base_of(&page);
        #[cfg(test)]
        super::tests::hesitate();
        if base.serial() != link.serial {
            return Ok(None);
        }
        Ok(Some(Seat { link, version: page.version(), base, unmerged, page }))
    }

    #[inline]
    fn base_of<'g>(&self, page: &Page<'g, Node>) -> (Block<'g>, usize) {
        let mut newest_first = page.fragments();
        if let Some(first) = newest_first.next() {
            if first.is_whole() {
                return (first.block(), 0);
            }
            let unmerged = newest_first.len();
            let oldest = newest_first.last().unwrap_or(first);
            let is_leaf = oldest.is_whole() && oldest.block().level() == 0;
            if is_leaf && unmerged <= self.tuning.unmerged && !first.is_seal() {
                return (oldest.block(), unmerged);
            }
        }
        (page.merged().block(), 0)
    }
}

impl Tree {
    /// The node of that level that the target is in. `None` if the tree is not that high.
    #[inline]
    pub(super) fn find<'g>(
        &self,
        guard: &'g Guard<'_, Node>,
        target: Target<'_>,
        level: u8,
    ) -> Result<Option<Found<'g>>> {
        for restarts in 0..MOST_RESTARTS {
            let root = self.shared.read(guard, self.root)?;
            let root = root.ok_or(Error::Dropped)?;
            if root.base.level() < level {
                return Ok(None);
            }
            if let Some(found) = self.descend(guard, root, target, level)? {
                return Ok(Some(found));
            }
            count(&self.shared.counters.restarts);
            if restarts >= PATIENCE {
                std::thread::yield_now();
            }
        }
        Err(Error::Damaged(format!("links lead nowhere on the way to {target:?}")))
    }

    /// `None` if others have changed the structure meanwhile.
    #[inline]
    pub(super) fn descend<'g>(
        &self,
        guard: &'g Guard<'_, Node>,
        mut seat: Seat<'g>,
        target: Target<'_>,
        level: u8,
    ) -> Result<Option<Found<'g>>> {
        loop {
            let mut by_right = false;
            while target.is_beyond(seat.base.high()) {
                let Some(right) = self.shared.read(guard, seat.base.right())? else { return Ok(None) };
                (seat, by_right) = (right, true);
            }
            if seat.base.level() == level {
                return Ok(Some(Found { seat, by_right }));
            }
            let Some(index) = target.index_in(seat.base) else { return Ok(None) };
            let Some(child) = self.shared.read(guard, seat.base.child(index))? else { return Ok(None) };
            if child.base.is_sealed() && self.shared.cache.version(seat.page_id())? != Some(seat.version) {
                return Ok(None);
            }
            seat = child;
        }
    }
}
