//! Joining small nodes to their left siblings, and lower trees. All under the lock on structure; see (E) in
//! [`tree`](super) for the order, and why it is safe.

use super::block::{Block, Entry, HEADER, Link, Title};
use super::error::{Error, Result};
use super::find::{Post, Seat, Target};
use super::forest::{Structure, Tree, count};
use super::node::Node;

/// What finishing has found to do next.
pub(super) enum Step {
    Done,
    Again,
    /// This one first.
    Sealed(Link, Vec<u8>),
}

/// Two neighbours below one parent.
#[derive(Debug)]
pub(super) enum Pair {
    /// One of them, or the parent, is sealed, just now or before: the join of that node, of that low bound
    /// and level, is to be finished.
    Sealed(Link, Vec<u8>, u8),
    /// The right one has no entry in the parent.
    Unposted(Post),
    /// They are not to be joined, or there are no two.
    Apart,
}

impl Tree {
    /// Looks whether the leaf of a key, and then what is above it, can be joined to a sibling. Leaves it if
    /// somebody is at work on structure: there will be another occasion.
    pub(super) fn shrink(&self, key: &[u8]) -> Result<()> {
        let Some(mut structure) = self.shared.try_structure()? else { return Ok(()) };
        loop {
            let (mut level, mut has_company) = (0, false);
            while self.is_small(key, level)? {
                has_company |= self.join(&mut structure, key, level)? && level > 0;
                level += 1;
            }
            // What was alone below its parent has a sibling now that the parent was joined.
            if !has_company {
                break;
            }
        }
        while self.collapse(&mut structure)? {}
        Ok(())
    }

    fn is_small(&self, key: &[u8], level: u8) -> Result<bool> {
        let guard = self.shared.cache.pin();
        let Some(found) = self.find(&guard, Target::At(key), level)? else { return Ok(false) };
        let block = found.seat.merged();
        Ok(block.count() < 2 || block.size() < self.shared.tuning.few_bytes(level))
    }

    /// Joins the node of that level that covers a key to its left sibling, or its right sibling to it, if
    /// they have the same parent. What a crash has interrupted there comes first. Whether it did something.
    fn join(&self, structure: &mut Structure, key: &[u8], level: u8) -> Result<bool> {
        for right_one in [0, 1] {
            match self.seal_for_join(key, level, right_one)? {
                Pair::Sealed(link, low, level) => {
                    self.finish(structure, link, &low, level)?;
                    return Ok(true);
                }
                Pair::Unposted(post) => {
                    let posted = self.post_under(structure, vec![post])?;
                    (0..posted).for_each(|_| count(&self.shared.counters.late_posts));
                    if posted > 0 {
                        return Ok(true);
                    }
                }
                Pair::Apart => {}
            }
        }
        Ok(false)
    }

    /// Seals the right one of two nodes that can be joined: the node that covers a key, or the one that many
    /// to the right of it.
    pub(super) fn seal_for_join(&self, key: &[u8], level: u8, further: usize) -> Result<Pair> {
        let guard = self.shared.cache.pin();
        let Some(parent) = self.find(&guard, Target::At(key), level + 1)? else { return Ok(Pair::Apart) };
        let (above, parent) = (parent.seat.link, parent.seat.merged());
        if parent.is_sealed() {
            return Ok(Pair::Sealed(above, parent.low().to_vec(), level + 1));
        }
        let index = Target::At(key).index_in(parent).unwrap_or(0) + further;
        if index == 0 || index > parent.count() {
            return Ok(Pair::Apart);
        }
        let Some(left) = self.shared.read(&guard, parent.child(index - 1))? else { return Ok(Pair::Apart) };
        if left.base.is_sealed() {
            return Ok(Pair::Sealed(left.link, left.base.low().to_vec(), level));
        }
        let right = self.shared.read(&guard, left.base.right())?;
        let Some(right) = right.filter(|_| left.base.high() != parent.high()) else {
            return Ok(Pair::Apart);
        };
        let (link, low) = (right.link, right.base.low().to_vec());
        if right.base.is_sealed() {
            return Ok(Pair::Sealed(link, low, level));
        }
        if index == parent.count() || parent.child(index) != link {
            return Ok(Pair::Unposted(Post { level, low, link }));
        }
        let together = (left.merged().size() + right.merged().size()).saturating_sub(HEADER);
        let fits = together <= self.shared.tuning.most_joined(level);
        let is_sealed = fits && self.shared.cache.link(link.page, right.version, Node::seal())?.is_done();
        Ok(if is_sealed { Pair::Sealed(link, low, level) } else { Pair::Apart })
    }

    /// Finishes what was begun with a sealed node, perhaps before the store was opened.
    pub(super) fn finish_sealed(&self, link: Link, low: &[u8], level: u8) -> Result<()> {
        let mut structure = self.shared.structure()?;
        if self.finish(&mut structure, link, low, level)? {
            count(&self.shared.counters.late_joins);
        }
        Ok(())
    }

    /// Takes a sealed node off the chain, or unseals it. Whether there was something to do.
    pub(super) fn finish(
        &self,
        structure: &mut Structure,
        link: Link,
        low: &[u8],
        level: u8,
    ) -> Result<bool> {
        let mut stack = vec![(link, low.to_vec(), level)];
        let mut worked = false;
        while let Some((link, low, level)) = stack.last() {
            match self.finish_once(structure, *link, low, *level)? {
                Step::Done => drop(stack.pop()),
                Step::Again => worked = true,
                Step::Sealed(link, low) => {
                    // A parent of the node, or its left neighbour.
                    let above = u8::from(self.level_of(link)?.is_some_and(|above| above > *level));
                    let level = *level + above;
                    stack.push((link, low, level));
                }
            }
            self.shared.free_pending(structure)?;
        }
        Ok(worked)
    }

    fn level_of(&self, link: Link) -> Result<Option<u8>> {
        let guard = self.shared.cache.pin();
        Ok(self.shared.read(&guard, link)?.map(|seat| seat.base.level()))
    }

    pub(super) fn finish_once(
        &self,
        structure: &mut Structure,
        link: Link,
        low: &[u8],
        level: u8,
    ) -> Result<Step> {
        let guard = self.shared.cache.pin();
        let Some(node) = self.shared.read(&guard, link)? else { return Ok(Step::Done) };
        if !node.base.is_sealed() {
            return Ok(Step::Done);
        }
        let Some(parent) = self.find(&guard, Target::At(low), level + 1)? else {
            return Err(Error::Damaged(format!("page {} is sealed and has no parent", link.page)));
        };
        let parent = parent.seat;
        if parent.base.is_sealed() {
            return Ok(Step::Sealed(parent.link, parent.base.low().to_vec()));
        }
        match parent.base.search(low) {
            // The parent needs it: nobody else covers where the parent begins.
            Ok(0) => self.unseal(&node).map(|()| Step::Again),
            Ok(index) if parent.base.child(index) == link => {
                let _ = self.shared.cache.link(parent.page_id(), parent.version, Node::delete(low))?;
                Ok(Step::Again)
            }
            Err(index) if index > 0 => self.absorb(structure, &node, parent.base.child(index - 1)),
            _ => Err(Error::Damaged(format!("page {} has an entry that leads elsewhere", link.page))),
        }
    }

    fn unseal(&self, node: &Seat<'_>) -> Result<()> {
        let entries: Vec<_> = node.base.entries().collect();
        let open = Node::whole(&Title { sealed: false, ..node.base.title() }, &entries);
        if self.shared.cache.replace(node.page_id(), node.version, open)?.is_done() {
            count(&self.shared.counters.unsealed);
        }
        Ok(())
    }

    /// Moves the contents of a sealed node that has no entry in a parent to its left neighbour, which lies to
    /// the right of `from`. That takes it off the chain.
    fn absorb(&self, structure: &mut Structure, node: &Seat<'_>, from: Link) -> Result<Step> {
        let guard = self.shared.cache.pin();
        let mut next = from;
        let left = loop {
            let Some(seat) = self.shared.read(&guard, next)? else { return Ok(Step::Again) };
            next = seat.base.right();
            if next == node.link {
                break seat;
            }
            if !next.exists() {
                return Err(Error::Damaged(format!("page {} is sealed and on no chain", node.page_id())));
            }
        };
        if left.base.is_sealed() {
            return Ok(Step::Sealed(left.link, left.base.low().to_vec()));
        }
        let (block, title) = (left.merged(), node.base.title());
        let entries: Vec<Entry<'_>> = block.entries().chain(node.base.entries()).collect();
        let union = Node::whole(&Title { right: title.right, high: title.high, ..block.title() }, &entries);
        if self.shared.cache.replace(left.page_id(), left.version, union)?.is_done() {
            structure.to_free.push((node.page_id(), node.version));
            count(&self.shared.counters.joins);
            if title.level > 0 {
                count(&self.shared.counters.inner_joins);
            }
        }
        Ok(Step::Again)
    }

    /// If the root has a single child, the root takes over its contents. Whether it did.
    fn collapse(&self, structure: &mut Structure) -> Result<bool> {
        let guard = self.shared.cache.pin();
        let Some(root) = self.shared.read(&guard, self.root)? else { return Ok(false) };
        if root.base.level() == 0 || root.base.count() != 1 {
            return Ok(false);
        }
        let Some(child) = self.shared.read(&guard, root.base.child(0))? else { return Ok(false) };
        if child.base.is_sealed() {
            self.unseal(&child)?;
            return Ok(false);
        }
        if child.base.right().exists() {
            return Ok(false);
        }
        if !self.shared.cache.link(child.page_id(), child.version, Node::seal())?.is_done() {
            return Ok(false);
        }
        let Some(child) = self.shared.read(&guard, child.link)? else { return Ok(false) };
        let lowered = lowered(&root, child.base);
        if !self.shared.cache.replace(root.page_id(), root.version, lowered)?.is_done() {
            self.unseal(&child)?;
            return Ok(false);
        }
        count(&self.shared.counters.collapses);
        structure.to_free.push((child.page_id(), child.version));
        self.shared.free_pending(structure)?;
        Ok(true)
    }
}

/// The root with the contents of its only child.
fn lowered(root: &Seat<'_>, child: Block<'_>) -> Node {
    let entries: Vec<_> = child.entries().collect();
    Node::whole(&Title { level: child.level(), ..root.base.title() }, &entries)
}
