//! Walking through all of a store: is each tree what it should be, and which pages does no tree have?

use std::collections::HashSet;

use pagelog::PageId;

use super::block::{Block, Link};
use super::error::{Error, Result};
use super::find::Seat;
use super::forest::{Forest, Tree};

/// What a check has found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub trees: u64,
    pub entries: u64,
    pub leaves: u64,
    pub inner_nodes: u64,
    /// Levels of the highest tree.
    pub levels: u64,
    /// Bytes of all nodes.
    pub bytes: u64,
    /// Nodes without an entry in a parent. They cost a step, until somebody writes to them.
    pub unposted: u64,
    /// Of these, inner nodes.
    pub inner_unposted: u64,
    /// Nodes whose join was interrupted.
    pub sealed: u64,
    /// Of these, inner nodes.
    pub inner_sealed: u64,
    /// Pages that no tree has. [`Forest::sweep`] frees them.
    pub unused: u64,
    /// What should not be.
    pub faults: Vec<String>,
}

/// The walk through one tree.
struct Walk<'a> {
    tree: &'a Tree,
    used: &'a mut HashSet<PageId>,
    report: &'a mut Report,
}

type Children = Vec<(Vec<u8>, Link)>;

impl Forest {
    /// Walks through all trees and compares what is there with what should be. Reads every page. Nobody may
    /// write meanwhile.
    pub fn check(&self) -> Result<Report> {
        self.walk().map(|(report, _)| report)
    }

    /// Frees the pages that a crash, or an error, has left without a tree. Returns how many. Reads every
    /// page. Nobody may write meanwhile. Does nothing if the store is damaged.
    pub fn sweep(&self) -> Result<u64> {
        let (report, unused) = self.walk()?;
        let mut freed = 0;
        for page in unused.into_iter().filter(|_| report.faults.is_empty()) {
            if let Some(version) = self.shared.cache.version(page)? {
                freed += u64::from(self.shared.cache.free(page, version)?.is_done());
            }
        }
        Ok(freed)
    }

    fn walk(&self) -> Result<(Report, Vec<PageId>)> {
        let (mut report, mut used) = (Report::default(), HashSet::new());
        for root in self.shared.cache.meta()?.values() {
            let no_root = |_| Error::Damaged(format!("there is no root {root}"));
            let tree = self.tree_at(*root).map_err(|error| match error {
                Error::Dropped => no_root(()),
                error => error,
            })?;
            Walk { tree: &tree, used: &mut used, report: &mut report }.tree()?;
        }
        let mut unused = Vec::new();
        for page in (1..=self.stats().page_ids).map(PageId::new) {
            if self.shared.cache.version(page)?.is_some() && !used.contains(&page) {
                unused.push(page);
            }
        }
        report.unused = unused.len() as u64;
        Ok((report, unused))
    }
}

impl Walk<'_> {
    fn fault(&mut self, link: Link, what: &str) {
        self.report.faults.push(format!("page {}: {what}", link.page));
    }

    fn tree(&mut self) -> Result<()> {
        self.report.trees += 1;
        let guard = self.tree.shared.cache.pin();
        let root = self.tree.shared.read(&guard, self.tree.root)?;
        let mut level = root.map_or(0, |root| root.base.level());
        drop(guard);
        self.report.levels = self.report.levels.max(u64::from(level) + 1);
        let mut entries: Children = vec![(Vec::new(), self.tree.root)];
        loop {
            entries = self.level(level, entries)?;
            let Some(below) = level.checked_sub(1) else { return Ok(()) };
            level = below;
        }
    }

    /// Walks along the chain of a level. `expected` are the entries of the level above; returns those of this
    /// one.
    fn level(&mut self, level: u8, expected: Children) -> Result<Children> {
        let mut children = Children::new();
        let mut next = expected.first().map_or(Link::NONE, |(_, link)| *link);
        let mut low = Vec::new();
        let mut expected = expected.into_iter().peekable();
        loop {
            let guard = self.tree.shared.cache.pin();
            let Some(seat) = self.tree.shared.read(&guard, next)? else {
                self.fault(next, "is not there");
                return Ok(children);
            };
            if !self.used.insert(next.page) {
                self.fault(next, "is there twice");
                return Ok(children);
            }
            if expected.next_if(|(key, link)| *key == low && *link == next).is_none() {
                self.report.unposted += 1;
                self.report.inner_unposted += u64::from(level > 0);
            }
            self.node(&seat, level, &low, &mut children);
            let block = seat.merged();
            let Some(high) = block.high() else { break };
            low.clear();
            low.extend_from_slice(high);
            next = block.right();
        }
        if let Some((_, link)) = expected.next() {
            self.fault(link, "has an entry in a parent and is not on the chain");
        }
        Ok(children)
    }

    fn node(&mut self, seat: &Seat<'_>, level: u8, low: &[u8], children: &mut Children) {
        let (block, link) = (seat.merged(), seat.link);
        self.report.bytes += block.size() as u64;
        self.report.sealed += u64::from(block.is_sealed());
        self.report.inner_sealed += u64::from(block.is_sealed() && level > 0);
        if block.level() != level {
            self.fault(link, "is of another level");
        }
        if block.low() != low {
            self.fault(link, "does not begin where the one before it ends");
        }
        if block.high().is_some() != block.right().exists() {
            self.fault(link, "has a bound and no sibling, or the other way round");
        }
        if !is_in_order(block) {
            self.fault(link, "has keys that are out of order or out of bounds");
        }
        if level == 0 {
            self.report.leaves += 1;
            self.report.entries += block.count() as u64;
            return;
        }
        self.report.inner_nodes += 1;
        if block.count() == 0 || block.key(0) != low {
            self.fault(link, "does not cover its beginning");
        }
        children.extend((0..block.count()).map(|index| (block.key(index).to_vec(), block.child(index))));
    }
}

fn is_in_order(block: Block<'_>) -> bool {
    let mut above = Some(block.low());
    for (index, (key, _)) in block.entries().enumerate() {
        let ascends = above.is_some_and(|above| key > above || (index == 0 && key == above));
        if !ascends || block.high().is_some_and(|high| key >= high) {
            return false;
        }
        above = Some(key);
    }
    true
}
