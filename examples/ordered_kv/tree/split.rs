//! Splitting nodes, and posting the new ones in their parents.

use pagelog::{Allocated, Cas};

use super::block::{Entry, Link, Title, common_prefix, entry_size};
use super::error::Result;
use super::find::{Post, Seat, Target};
use super::forest::{Structure, Tree, count};
use super::node::Node;

/// What came of trying to post.
enum Posted {
    /// It is done; and if the parent itself was reached by a right link, that seems to have been forgotten.
    Done(Option<Post>),
    /// It is there, or is not to be posted.
    Needless,
    /// The parent was changed meanwhile.
    Again,
    /// The parent had to be split first.
    Split(Vec<Post>),
    /// The parent is being joined to its sibling.
    Sealed(Link, Vec<u8>),
}

impl Tree {
    /// Splits a node that is not sealed, because somebody wants to put `key` there. Returns the new nodes,
    /// none if others were quicker, and `None` if there is nothing to split.
    pub(super) fn split(&self, seat: &Seat<'_>, key: &[u8]) -> Result<Option<Vec<Post>>> {
        let block = seat.merged();
        let entries: Vec<_> = block.entries().collect();
        // What comes in ascending order leaves full nodes behind.
        let ascends = block.high().is_none() && entries.last().is_some_and(|(last, _)| key >= *last);
        let Some(cut) = cut(&entries, if ascends { 90 } else { 50 }) else { return Ok(None) };
        Ok(Some(self.divide(seat, &entries, &[cut])?.unwrap_or_default()))
    }

    /// Gives a node other entries, and what lies behind each cut to a new node. Returns the new nodes that
    /// are to be posted, or `None` if the node was changed meanwhile.
    pub(super) fn divide(
        &self,
        seat: &Seat<'_>,
        entries: &[Entry<'_>],
        cuts: &[usize],
    ) -> Result<Option<Vec<Post>>> {
        let mut allocated = Vec::new();
        let outcome = self.divide_with(seat, entries, cuts, &mut allocated);
        if !matches!(outcome, Ok(Some(_))) {
            // Nobody knows of them. If one can't be freed, the next sweep will.
            for page in allocated {
                let _ = self.shared.cache.free(page.page_id, page.version);
            }
        }
        outcome
    }

    fn divide_with(
        &self,
        seat: &Seat<'_>,
        entries: &[Entry<'_>],
        cuts: &[usize],
        allocated: &mut Vec<Allocated>,
    ) -> Result<Option<Vec<Post>>> {
        let old = seat.base.title();
        let mut allocate = |title: Title<'_>, entries: &[Entry<'_>]| -> Result<Link> {
            let serial = self.shared.cache.generate_id()?;
            let page = self.shared.cache.allocate(Node::whole(&Title { serial, ..title }, entries))?;
            allocated.push(page);
            Ok(Link { page: page.page_id, serial })
        };
        let mut left = old;
        let (mut posts, mut end) = (Vec::new(), entries.len());
        for cut in cuts.iter().rev() {
            let Some((before, piece)) = entries.get(..end).and_then(|all| all.split_at_checked(*cut)) else {
                continue;
            };
            let (Some((last, _)), Some((first, _))) = (before.last(), piece.first()) else { continue };
            let low = separator(old.level, last, first);
            let link = allocate(Title { low, ..left }, piece)?;
            posts.push(Post { level: old.level, low: low.to_vec(), link });
            (left.right, left.high, end) = (link, Some(low), *cut);
        }
        let rest = entries.get(..end).unwrap_or_default();
        let grows = seat.link == self.root && !posts.is_empty();
        let node = if grows {
            let first = allocate(left, rest)?;
            above(&old, first, &posts)
        } else {
            Node::whole(&left, rest)
        };
        if !self.shared.cache.replace(seat.page_id(), seat.version, node)?.is_done() {
            count(&self.shared.counters.lost_races);
            return Ok(None);
        }
        for _ in &posts {
            count(&self.shared.counters.splits);
            if old.level > 0 {
                count(&self.shared.counters.inner_splits);
            }
        }
        if grows {
            count(&self.shared.counters.growths);
            posts.clear();
        }
        Ok(Some(posts))
    }

    /// Posts new nodes in their parents.
    pub(super) fn post(&self, posts: Vec<Post>) -> Result<()> {
        if posts.is_empty() {
            return Ok(());
        }
        let mut structure = self.shared.structure()?;
        self.post_under(&mut structure, posts).map(drop)
    }

    /// Posts a node that seems to have been forgotten, unless somebody is at work there.
    pub(super) fn post_late(&self, post: Post) -> Result<()> {
        if let Some(mut structure) = self.shared.try_structure()? {
            for _ in 0..self.post_under(&mut structure, vec![post])? {
                count(&self.shared.counters.late_posts);
            }
        }
        Ok(())
    }

    /// Returns how many were posted.
    pub(super) fn post_under(&self, structure: &mut Structure, mut posts: Vec<Post>) -> Result<u64> {
        let mut posted = 0;
        while let Some(post) = posts.pop() {
            match self.post_once(&post)? {
                Posted::Done(forgotten) => {
                    count(&self.shared.counters.posts);
                    posted += 1;
                    posts.extend(forgotten);
                }
                Posted::Needless => {}
                Posted::Again => posts.push(post),
                Posted::Split(new) => {
                    posts.push(post.clone());
                    posts.extend(new);
                }
                Posted::Sealed(link, low) => {
                    self.finish(structure, link, &low, post.level + 1)?;
                    posts.push(post);
                }
            }
        }
        Ok(posted)
    }

    /// Under the lock on structure, so the node that is posted can't be joined meanwhile.
    fn post_once(&self, post: &Post) -> Result<Posted> {
        let guard = self.shared.cache.pin();
        let Some(found) = self.find(&guard, Target::At(&post.low), post.level + 1)? else {
            return Ok(Posted::Needless);
        };
        let parent = &found.seat;
        if parent.base.search(&post.low).is_ok() {
            return Ok(Posted::Needless);
        }
        if parent.base.is_sealed() {
            return Ok(Posted::Sealed(parent.link, parent.base.low().to_vec()));
        }
        let node = self.shared.read(&guard, post.link)?;
        if !node.is_some_and(|node| !node.base.is_sealed() && node.base.low() == post.low) {
            return Ok(Posted::Needless);
        }
        if parent.base.size() > self.shared.tuning.inner_bytes
            && let Some(new) = self.split(parent, &post.low)?
        {
            return Ok(Posted::Split(new));
        }
        let change = Node::put(&post.low, &post.link.to_bytes());
        match self.shared.cache.link(parent.page_id(), parent.version, change)? {
            Cas::Done { .. } => Ok(Posted::Done(found.by_right.then(|| Post {
                level: post.level + 1,
                low: parent.base.low().to_vec(),
                link: parent.link,
            }))),
            Cas::Changed { .. } | Cas::Gone { .. } => Ok(Posted::Again),
        }
    }
}

/// The root above the nodes that its contents have moved to.
fn above(old: &Title<'_>, first: Link, posts: &[Post]) -> Node {
    let title = Title { level: old.level.saturating_add(1), ..*old };
    let first = first.to_bytes();
    let links: Vec<_> = posts.iter().rev().map(|post| (&*post.low, post.link.to_bytes())).collect();
    let mut entries: Vec<Entry<'_>> = vec![(old.low, &first)];
    entries.extend(links.iter().map(|(low, link)| (*low, &link[..])));
    Node::whole(&title, &entries)
}

/// A bound between two keys, as short as can be. In inner nodes it is the key itself, which is the child's
/// low bound.
fn separator<'k>(level: u8, below: &[u8], key: &'k [u8]) -> &'k [u8] {
    let length = if level == 0 { common_prefix(below, key) + 1 } else { key.len() };
    key.get(..length).unwrap_or(key)
}

/// Where to cut entries in two so that the first part has about `percent` of the bytes. Neither part is
/// empty.
fn cut(entries: &[Entry<'_>], percent: usize) -> Option<usize> {
    let most = entries.len().checked_sub(1).filter(|most| *most > 0)?;
    let goal = entries.iter().map(entry_size).sum::<usize>() / 100 * percent;
    let mut sum = 0;
    let fitting = entries.iter().take_while(|entry| {
        sum += entry_size(entry);
        sum <= goal
    });
    Some(fitting.count().clamp(1, most))
}

/// Where to cut entries so that no part has more than `most` bytes, unless it is a single entry.
pub(super) fn cuts(entries: &[Entry<'_>], most: usize) -> Vec<usize> {
    let (mut cuts, mut sum) = (Vec::new(), 0);
    for (index, entry) in entries.iter().enumerate() {
        sum += entry_size(entry);
        if sum > most && index > 0 {
            cuts.push(index);
            sum = entry_size(entry);
        }
    }
    cuts
}
