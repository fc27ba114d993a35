//! Dropping a tree. See "Dropping" in [`tree`](super) for the order, and why it is safe.

use pagelog::{Cas, RootCas};

use super::block::Link;
use super::error::{Error, Result};
use super::forest::{Forest, Tree};

impl Forest {
    /// Removes the tree of that name, and frees its pages. False if there is none. Who has a handle of it, or
    /// is at work on it, gets [`Error::Dropped`] from then on. What a crash, or an error, leaves of its pages
    /// is not found under any name; [`sweep`](Self::sweep) frees it.
    pub fn drop_tree(&self, name: &str) -> Result<bool> {
        let cache = &self.shared.cache;
        // Nobody joins nodes meanwhile: chains only get longer, to the right.
        let _structure = self.shared.structure()?;
        loop {
            let Some(tree) = self.existing_tree(name)? else { return Ok(false) };
            let root = Some(tree.root.page);
            if let RootCas::Done { .. } = cache.cas_root_in_meta(name.as_bytes(), root, None)? {
                tree.free_all()?;
                return Ok(true);
            }
        }
    }
}

impl Tree {
    /// Frees the root first, and then what was below it.
    fn free_all(&self) -> Result<()> {
        let leftmost = loop {
            let (leftmost, version) = self.leftmost()?;
            match self.shared.cache.free(self.root.page, version)? {
                Cas::Done { .. } => break leftmost,
                // Others still write, and may have made it higher.
                Cas::Changed { .. } => {}
                Cas::Gone { .. } => return Err(Error::Damaged("a root was freed before its tree".into())),
            }
        };
        leftmost.into_iter().try_for_each(|link| self.free_chain(link))
    }

    /// The first node of each level below the root, and the root's version when that was so.
    fn leftmost(&self) -> Result<(Vec<Link>, pagelog::Version)> {
        let guard = self.shared.cache.pin();
        let root = self.shared.read(&guard, self.root)?.ok_or(Error::Dropped)?;
        let (mut links, mut above, version) = (Vec::new(), root.merged(), root.version);
        while above.level() > 0 {
            let link = above.child(0);
            let seat = self.shared.read(&guard, link)?;
            above = seat.ok_or_else(|| not_there(link))?.merged();
            links.push(link);
        }
        Ok((links, version))
    }

    /// Frees a node and all to the right of it. What a writer that is still at work splits off is attached to
    /// the right of a node that is not freed yet, so it is found.
    fn free_chain(&self, mut next: Link) -> Result<()> {
        while next.exists() {
            let guard = self.shared.cache.pin();
            let seat = self.shared.read(&guard, next)?.ok_or_else(|| not_there(next))?;
            let (version, right) = (seat.version, seat.base.right());
            if self.shared.cache.free(next.page, version)?.is_done() {
                next = right;
            }
        }
        Ok(())
    }
}

fn not_there(link: Link) -> Error {
    Error::Damaged(format!("page {} is not there", link.page))
}
