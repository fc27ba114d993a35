//! A store with named trees in it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pagelog::{Cas, Config, PageCache, PageId, RootCas, Version};

use super::block::{Link, Title};
use super::error::{Error, Result};
use super::node::Node;

/// What can be tuned. A store can be opened with one tuning and then with another.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// A leaf of more bytes is split. Small leaves cost less when they are merged or read from the disk,
    /// large ones make a flatter tree with fewer pages.
    pub leaf_bytes: usize,
    /// The same for inner nodes.
    pub inner_bytes: usize,
    /// How many unmerged changes to a leaf a reader looks through before it merges them. More make writes
    /// cheaper and reads dearer.
    pub unmerged: usize,
}

/// Measured with the program's `bench`, a million records, one and two threads: leaves of 2 and 4 KiB are
/// slower, above all in scans (E: 133 and 212 against 334 thousand a second), as each scan visits more of
/// them; 16 KiB, and 2, 4 or 32 unmerged changes, are within the noise of 8 KiB and 8.
impl Default for Tuning {
    fn default() -> Self {
        Self { leaf_bytes: 8 << 10, inner_bytes: 16 << 10, unmerged: 8 }
    }
}

impl Tuning {
    pub(super) fn most_bytes(&self, level: u8) -> usize {
        if level == 0 { self.leaf_bytes } else { self.inner_bytes }
    }

    /// A node of fewer bytes is joined to its sibling,
    pub(super) fn few_bytes(&self, level: u8) -> usize {
        self.most_bytes(level) / 4
    }

    /// if both together do not have more than this.
    pub(super) fn most_joined(&self, level: u8) -> usize {
        self.most_bytes(level) / 4 * 3
    }
}

macro_rules! figures {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What happened to the structure of the trees since the store was opened.
        #[derive(Clone, Copy, Debug, Default)]
        pub struct Figures { $($(#[$doc])* pub $name: u64,)* }

        impl std::ops::AddAssign for Figures {
            fn add_assign(&mut self, more: Self) {
                $(self.$name += more.$name;)*
            }
        }

        #[derive(Debug, Default)]
        pub(super) struct Counters { $(pub(super) $name: AtomicU64,)* }

        impl Counters {
            fn read(&self) -> Figures {
                Figures { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

figures! {
    /// Nodes made by splitting others.
    splits,
    /// Of these, inner nodes.
    inner_splits,
    /// Times that a root got a level more.
    growths,
    /// Leaves that were loaded as a whole.
    loads,
    /// Entries posted in parents.
    posts,
    /// Of these, such that another than the splitter found missing.
    late_posts,
    /// Nodes joined to their left sibling.
    joins,
    /// Of these, inner nodes.
    inner_joins,
    /// Of these, such that were found half-done.
    late_joins,
    /// Sealed nodes that were unsealed.
    unsealed,
    /// Times that a root got a level less.
    collapses,
    /// Descents that were overtaken and began again.
    restarts,
    /// Changes that lost a race and were tried again.
    lost_races,
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// What holds the lock on structure.
#[derive(Debug, Default)]
pub struct Structure {
    /// Nodes that have left the chain and could not be freed yet because of an error. Before that is done,
    /// structure does not change: a reader that comes from a sealed parent relies on it.
    pub(super) to_free: Vec<(PageId, Version)>,
}

pub(super) struct Shared {
    pub(super) cache: PageCache<Node>,
    pub(super) tuning: Tuning,
    pub(super) counters: Counters,
    structure: Mutex<Structure>,
}

/// A store with named trees. A handle: clones share the store.
#[derive(Clone)]
pub struct Forest {
    pub(super) shared: Arc<Shared>,
}

/// One tree: an ordered map from keys to values. A handle: clones share the tree.
#[derive(Clone)]
pub struct Tree {
    pub(super) shared: Arc<Shared>,
    pub(super) root: Link,
}

impl fmt::Debug for Forest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Forest").finish_non_exhaustive()
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tree").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Forest {
    pub fn open(config: Config, tuning: Tuning) -> Result<Self> {
        let cache = config.open()?;
        let (counters, structure) = (Counters::default(), Mutex::default());
        Ok(Self { shared: Arc::new(Shared { cache, tuning, counters, structure }) })
    }

    /// The tree of that name; an empty one is made if there is none.
    pub fn tree(&self, name: &str) -> Result<Tree> {
        let cache = &self.shared.cache;
        loop {
            if let Some(tree) = self.existing_tree(name)? {
                return Ok(tree);
            }
            let serial = cache.generate_id()?;
            let title = Title { level: 0, sealed: false, serial, right: Link::NONE, low: b"", high: None };
            let root = cache.allocate(Node::whole(&title, &[]))?;
            match cache.cas_root_in_meta(name.as_bytes(), None, Some(root.page_id))? {
                RootCas::Done { .. } => {
                    let root = Link { page: root.page_id, serial };
                    return Ok(Tree { shared: Arc::clone(&self.shared), root });
                }
                // Somebody else was quicker; and by now another may have dropped it.
                RootCas::Changed { .. } => drop(cache.free(root.page_id, root.version)?),
            }
        }
    }

    /// The tree of that name, if there is one.
    pub fn existing_tree(&self, name: &str) -> Result<Option<Tree>> {
        let named = || self.shared.cache.meta_pid_for_name(name.as_bytes());
        while let Some(root) = named()? {
            match self.tree_at(root) {
                Ok(tree) => return Ok(Some(tree)),
                // It is being dropped if the name is gone.
                Err(Error::Dropped) if named()? != Some(root) => {}
                Err(Error::Dropped) => return Err(Error::Damaged(format!("there is no root {root}"))),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    pub(super) fn tree_at(&self, root: PageId) -> Result<Tree> {
        let guard = self.shared.cache.pin();
        let page = guard.get(root)?.ok_or(Error::Dropped)?;
        let root = Link { page: root, serial: page.merged().block().serial() };
        Ok(Tree { shared: Arc::clone(&self.shared), root })
    }

    /// The names of all trees.
    pub fn names(&self) -> Result<Vec<String>> {
        let roots = self.shared.cache.meta()?;
        Ok(roots.keys().map(|name| String::from_utf8_lossy(name).into_owned()).collect())
    }

    /// Returns when everything that was done before survives a power cut.
    pub fn flush(&self) -> Result<()> {
        Ok(self.shared.cache.flush()?)
    }

    pub fn close(&self) -> Result<()> {
        Ok(self.shared.cache.close()?)
    }

    /// What the page cache can tell.
    pub fn stats(&self) -> pagelog::Stats {
        self.shared.cache.stats()
    }

    pub fn figures(&self) -> Figures {
        self.shared.counters.read()
    }
}

impl Shared {
    /// The lock on structure, for who must have it. A thread that panicked with it has left a tree that is
    /// correct: each step is.
    pub(super) fn structure(&self) -> Result<MutexGuard<'_, Structure>> {
        let mut structure = self.structure.lock().unwrap_or_else(PoisonError::into_inner);
        self.free_pending(&mut structure)?;
        Ok(structure)
    }

    /// The lock on structure, if nobody has it.
    pub(super) fn try_structure(&self) -> Result<Option<MutexGuard<'_, Structure>>> {
        let Ok(mut structure) = self.structure.try_lock() else { return Ok(None) };
        self.free_pending(&mut structure)?;
        Ok(Some(structure))
    }

    pub(super) fn free_pending(&self, structure: &mut Structure) -> Result<()> {
        while let Some((page, version)) = structure.to_free.last() {
            match self.cache.free(*page, *version)? {
                Cas::Done { .. } | Cas::Gone { .. } => drop(structure.to_free.pop()),
                Cas::Changed { current, .. } => {
                    return Err(Error::Damaged(format!(
                        "page {page} has changed to {current} after its end"
                    )));
                }
            }
        }
        Ok(())
    }
}
