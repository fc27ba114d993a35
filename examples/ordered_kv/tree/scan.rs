//! Going through a range of keys, upwards or downwards.
//!
//! Each step visits one leaf. Upwards the next one is to the right of it; downwards it is the one that covers
//! what lies just below the leaf's low bound.

use std::collections::VecDeque;
use std::ops::{Bound, ControlFlow, RangeBounds};

use super::block::{Block, Entry, Link};
use super::error::Result;
use super::find::Target;
use super::forest::Tree;
use super::write::no_leaf;

/// Which way to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Up,
    Down,
}

/// A range of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// The first key that is in it.
    from: Vec<u8>,
    /// The first key above it.
    to: Option<Vec<u8>>,
}

impl Range {
    /// All keys.
    pub fn all() -> Self {
        Self::default()
    }

    /// The keys within bounds.
    pub fn new<'k>(bounds: impl RangeBounds<&'k [u8]>) -> Self {
        let next = |key: &[u8]| [key, &[0]].concat();
        let from = match bounds.start_bound() {
            Bound::Unbounded => Vec::new(),
            Bound::Included(key) => key.to_vec(),
            Bound::Excluded(key) => next(key),
        };
        let to = match bounds.end_bound() {
            Bound::Unbounded => None,
            Bound::Included(key) => Some(next(key)),
            Bound::Excluded(key) => Some(key.to_vec()),
        };
        Self { from, to }
    }

    /// The keys that begin so.
    pub fn prefix(prefix: &[u8]) -> Self {
        let mut above = prefix.to_vec();
        while let Some(last) = above.pop() {
            if last < u8::MAX {
                above.push(last + 1);
                return Self { from: prefix.to_vec(), to: Some(above) };
            }
        }
        Self { from: prefix.to_vec(), to: None }
    }

    /// What is in both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let to = match (self.to, other.to) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Self { from: self.from.max(other.from), to }
    }

    fn is_empty(&self) -> bool {
        self.to.as_ref().is_some_and(|to| *to <= self.from)
    }
}

/// What is left of a range.
struct Cursor {
    left: Range,
    direction: Direction,
    /// The leaf that comes next, as it was said when the last one was read.
    next: Link,
    done: bool,
}

impl Cursor {
    fn new(range: Range, direction: Direction) -> Self {
        Self { done: range.is_empty(), left: range, direction, next: Link::NONE }
    }

    /// Visits the entries of one leaf.
    fn step(
        &mut self,
        tree: &Tree,
        visit: &mut impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        match self.direction {
            Direction::Up => self.step_up(tree, visit),
            Direction::Down => self.step_down(tree, visit),
        }
    }

    fn step_up(
        &mut self,
        tree: &Tree,
        visit: &mut impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        let guard = tree.shared.cache.pin();
        let mut near = None;
        if self.next.exists() {
            // A sealed one may be out of date: the link was read some time ago.
            near = tree.shared.read(&guard, self.next)?;
            near = near.filter(|seat| !seat.base.is_sealed() && seat.base.low() == self.left.from);
        }
        let seat = match near {
            Some(seat) => seat,
            None => tree.find(&guard, Target::At(&self.left.from), 0)?.ok_or_else(no_leaf)?.seat,
        };
        let leaf = seat.merged();
        if visit_all(self.entries_of(leaf), visit).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        match leaf.high() {
            Some(high) => {
                self.left.from.clear();
                self.left.from.extend_from_slice(high);
                self.next = leaf.right();
                self.done = self.left.is_empty();
            }
            None => self.done = true,
        }
        Ok(ControlFlow::Continue(()))
    }

    fn step_down(
        &mut self,
        tree: &Tree,
        visit: &mut impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        let guard = tree.shared.cache.pin();
        let target = Target::Before(self.left.to.as_deref());
        let leaf = tree.find(&guard, target, 0)?.ok_or_else(no_leaf)?.seat.merged();
        if visit_all(self.entries_of(leaf).rev(), visit).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        self.left.to = Some(leaf.low().to_vec());
        self.done = self.left.is_empty();
        Ok(ControlFlow::Continue(()))
    }

    /// Which entries of a leaf are in the range.
    fn entries_of<'a>(&self, leaf: Block<'a>) -> impl DoubleEndedIterator<Item = Entry<'a>> + use<'a> {
        let end = self.left.to.as_ref().map_or(leaf.count(), |to| position(leaf, to));
        leaf.entries_in(position(leaf, &self.left.from)..end)
    }
}

fn visit_all<'a>(
    mut entries: impl Iterator<Item = Entry<'a>>,
    visit: &mut impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
) -> ControlFlow<()> {
    entries.try_for_each(|(key, value)| visit(key, value))
}

/// Where the first entry at or above a key is.
fn position(leaf: Block<'_>, key: &[u8]) -> usize {
    leaf.search(key).unwrap_or_else(|above| above)
}

/// The entries of a range, one after the other. Holds nothing in the store between two of them.
pub struct Scan {
    tree: Tree,
    cursor: Cursor,
    leaf: VecDeque<(Vec<u8>, Vec<u8>)>,
}

impl Iterator for Scan {
    type Item = Result<(Vec<u8>, Vec<u8>)>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.leaf.is_empty() && !self.cursor.done {
            let leaf = &mut self.leaf;
            let step = self.cursor.step(&self.tree, &mut |key, value| {
                leaf.push_back((key.to_vec(), value.to_vec()));
                ControlFlow::Continue(())
            });
            if let Err(error) = step {
                self.cursor.done = true;
                self.leaf.clear();
                return Some(Err(error));
            }
        }
        self.leaf.pop_front().map(Ok)
    }
}

impl Tree {
    /// The entries of a range, copied out a leaf at a time.
    pub fn scan(&self, range: Range, direction: Direction) -> Scan {
        Scan { tree: self.clone(), cursor: Cursor::new(range, direction), leaf: VecDeque::new() }
    }

    /// Lends the entries of a range, until there are no more or `visit` has seen enough. What is lent stays
    /// in memory for as long, so `visit` should be quick.
    pub fn visit(
        &self,
        range: Range,
        direction: Direction,
        mut visit: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<()> {
        let mut cursor = Cursor::new(range, direction);
        while !cursor.done {
            if cursor.step(self, &mut visit)?.is_break() {
                break;
            }
        }
        Ok(())
    }
}
