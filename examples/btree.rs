//! A small B-tree on pagelog: all the code of the guide, `src/docs/guide.md`, which explains it piece by
//! piece.
//!
//! `cargo run --release --example btree`
//!
//! Several threads put words into it, each is looked up again, every third one is deleted, and the store is
//! closed, opened, and compared with a plain map. `examples/ordered_kv` is what it looks like grown up.

use std::collections::BTreeMap;
use std::ops::Bound::{Included, Unbounded};
use std::time::Instant;

use pagelog::{Bincode, Cas, Config, Fragment, Guard, Page, PageCache, PageId, Result, RootCas};
use serde::{Deserialize, Serialize};

type Key = Vec<u8>;
type Value = Vec<u8>;

/// A page with more entries than this is split.
const FULL: usize = 64;

/// What is in a page.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Block {
    /// 0 is a leaf.
    level: u32,
    /// The keys from this one on are in that page, to the right. `None` in the last page of each level.
    high: Option<(Key, u64)>,
    /// In a leaf.
    values: BTreeMap<Key, Value>,
    /// In a page above the leaves: from each key on, the keys are in or below that page.
    children: BTreeMap<Key, u64>,
}

/// A fragment: a whole page, or a change to one.
#[derive(Debug, Serialize, Deserialize)]
enum Node {
    Whole(Block),
    Put(Key, Value),
    Delete(Key),
    /// There is one more page below.
    Child(Key, u64),
    /// What is from this key on has moved to that page, to the right.
    Split(Key, u64),
}

impl Fragment for Node {
    type Codec = Bincode;

    fn merge(oldest_to_newest: &[&Self]) -> Self {
        let mut block = Block::default();
        for node in oldest_to_newest {
            match node {
                Self::Whole(whole) => block.clone_from(whole),
                Self::Put(key, value) => drop(block.values.insert(key.clone(), value.clone())),
                Self::Delete(key) => drop(block.values.remove(key)),
                Self::Child(key, page_id) => drop(block.children.insert(key.clone(), *page_id)),
                Self::Split(key, page_id) => drop(block.split_off(key, *page_id)),
            }
        }
        Self::Whole(block)
    }
}

/// The whole page. Each is allocated as one, and `merge` makes one.
fn block<'g>(page: &Page<'g, Node>) -> &'g Block {
    match page.merged() {
        Node::Whole(block) => block,
        change => unreachable!("{change:?} is no page"),
    }
}

/// Where a key is, as seen from one page.
enum Step {
    Here,
    Right(PageId),
    Down(PageId),
}

impl Block {
    fn step(&self, key: &[u8], level: u32) -> Step {
        match &self.high {
            Some((high, right)) if key >= high.as_slice() => return Step::Right(PageId::new(*right)),
            _ if self.level == level => return Step::Here,
            _ => {}
        }
        let below = self.children.range::<[u8], _>((Unbounded, Included(key))).next_back();
        below.map_or(Step::Here, |(_, child)| Step::Down(PageId::new(*child)))
    }

    fn is_full(&self) -> bool {
        self.values.len() + self.children.len() > FULL
    }

    /// The key in the middle.
    fn middle(&self) -> Option<&Key> {
        let count = self.values.len() + self.children.len();
        self.values.keys().chain(self.children.keys()).nth(count / 2)
    }

    /// Takes out what is from a key on, as the contents of the page to the right.
    fn split_off(&mut self, key: &Key, right: u64) -> Self {
        let high = self.high.replace((key.clone(), right));
        let (values, children) = (self.values.split_off(key), self.children.split_off(key));
        Self { level: self.level, high, values, children }
    }
}

/// A tree in a store. Cheap to clone, to be used by any number of threads.
#[derive(Clone)]
struct Tree {
    cache: PageCache<Node>,
    root: PageId,
}

impl Tree {
    /// The tree of that name, made if there is none.
    fn open(cache: &PageCache<Node>, name: &[u8]) -> Result<Self> {
        loop {
            if let Some(root) = cache.meta_pid_for_name(name)? {
                return Ok(Self { cache: cache.clone(), root });
            }
            let batch = cache.pin_log()?;
            let root = cache.allocate(Node::Whole(Block::default()))?;
            if let RootCas::Changed { .. } = cache.cas_root_in_meta(name, None, Some(root.page_id))? {
                // Another thread has just made it. Nobody knows this page.
                assert!(cache.free(root.page_id, root.version)?.is_done());
            }
            batch.seal_batch()?;
        }
    }

    /// The page of a level in which the key is, or would be.
    fn find<'g>(&self, guard: &'g Guard<'_, Node>, key: &[u8], level: u32) -> Result<Page<'g, Node>> {
        let mut page_id = self.root;
        loop {
            let Some(page) = guard.get(page_id)? else { unreachable!("no page of the tree is ever freed") };
            page_id = match block(&page).step(key, level) {
                Step::Here => return Ok(page),
                Step::Right(next) | Step::Down(next) => next,
            };
        }
    }

    fn get(&self, key: &[u8]) -> Result<Option<Value>> {
        let guard = self.cache.pin();
        let leaf = self.find(&guard, key, 0)?;
        Ok(block(&leaf).values.get(key).cloned())
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.change(key, 0, Node::Put(key.to_vec(), value.to_vec()))
    }

    fn delete(&self, key: &[u8]) -> Result<()> {
        self.change(key, 0, Node::Delete(key.to_vec()))
    }

    /// Links a change to the page of a level where its key belongs, and splits the page if it is full.
    fn change(&self, key: &[u8], level: u32, mut change: Node) -> Result<()> {
        loop {
            let (page_id, version, is_full) = {
                let guard = self.cache.pin();
                let page = self.find(&guard, key, level)?;
                (page.page_id(), page.version(), block(&page).is_full())
            };
            if is_full {
                self.split(page_id)?;
                continue;
            }
            change = match self.cache.link(page_id, version, change)? {
                Cas::Done { .. } => return Ok(()),
                // The page has changed: perhaps the key's place is in another one now.
                Cas::Changed { fragment, .. } | Cas::Gone { fragment } => fragment,
            };
        }
    }

    /// Splits a page, if it is still full, so that a crash leaves all of it or nothing.
    fn split(&self, page_id: PageId) -> Result<()> {
        let batch = self.cache.pin_log()?;
        let parent_entry = if page_id == self.root { self.split_root()? } else { self.split_page(page_id)? };
        if let Some((level, key, right)) = parent_entry {
            self.add_child(level + 1, &key, right)?;
        }
        batch.seal_batch()?;
        Ok(())
    }

    /// Moves the upper half of a page to a new one, to the right. Returns what its parent has to know.
    fn split_page(&self, page_id: PageId) -> Result<Option<(u32, Key, u64)>> {
        let (version, mut left) = self.copy_of(page_id)?;
        let Some(key) = left.middle().filter(|_| left.is_full()).cloned() else { return Ok(None) };
        let level = left.level;
        let right = self.cache.allocate(Node::Whole(left.split_off(&key, 0)))?;
        let number = right.page_id.get();
        if self.cache.link(page_id, version, Node::Split(key.clone(), number))?.is_done() {
            return Ok(Some((level, key, number)));
        }
        // Somebody was quicker to change it. A batch takes nothing back by itself.
        assert!(self.cache.free(right.page_id, right.version)?.is_done());
        Ok(None)
    }

    /// Moves both halves of the root to new pages. It keeps its id, and is one level higher.
    fn split_root(&self) -> Result<Option<(u32, Key, u64)>> {
        let (version, mut left) = self.copy_of(self.root)?;
        let Some(key) = left.middle().filter(|_| left.is_full()).cloned() else { return Ok(None) };
        let level = left.level;
        let right = self.cache.allocate(Node::Whole(left.split_off(&key, 0)))?;
        left.high = Some((key.clone(), right.page_id.get()));
        let left = self.cache.allocate(Node::Whole(left))?;
        let children = BTreeMap::from([(Vec::new(), left.page_id.get()), (key, right.page_id.get())]);
        let root = Block { level: level + 1, children, ..Block::default() };
        if !self.cache.replace(self.root, version, Node::Whole(root))?.is_done() {
            assert!(self.cache.free(left.page_id, left.version)?.is_done());
            assert!(self.cache.free(right.page_id, right.version)?.is_done());
        }
        Ok(None)
    }

    /// Tells the parent of a page that was split. It may be overfull for a while: the next change to it
    /// splits it.
    fn add_child(&self, level: u32, key: &[u8], child: u64) -> Result<()> {
        let mut change = Node::Child(key.to_vec(), child);
        loop {
            let (page_id, version) = {
                let guard = self.cache.pin();
                let parent = self.find(&guard, key, level)?;
                (parent.page_id(), parent.version())
            };
            change = match self.cache.link(page_id, version, change)? {
                Cas::Done { .. } => break,
                Cas::Changed { fragment, .. } | Cas::Gone { fragment } => fragment,
            };
        }
        Ok(())
    }

    fn copy_of(&self, page_id: PageId) -> Result<(pagelog::Version, Block)> {
        let guard = self.cache.pin();
        let Some(page) = guard.get(page_id)? else { unreachable!("no page of the tree is ever freed") };
        Ok((page.version(), block(&page).clone()))
    }

    /// Visits all entries from a key on, in order, until `visit` returns false.
    fn scan(&self, from: &[u8], mut visit: impl FnMut(&[u8], &[u8]) -> bool) -> Result<()> {
        let mut next = Some(from.to_vec());
        while let Some(from) = next {
            // A guard for each leaf: what is held for long can't be given back.
            let guard = self.cache.pin();
            let leaf = block(&self.find(&guard, &from, 0)?);
            for (key, value) in leaf.values.range(from..) {
                if !visit(key, value) {
                    return Ok(());
                }
            }
            next = leaf.high.as_ref().map(|(high, _)| high.clone());
        }
        Ok(())
    }
}

/// Keys in no particular order, each once.
fn key(number: u32) -> Key {
    format!("{:08x}", number.wrapping_mul(0x9E37_79B1)).into_bytes()
}

fn main() -> Result<()> {
    const KEYS: u32 = 20_000;
    const THREADS: u32 = 4;
    let directory = std::env::temp_dir().join(format!("pagelog-btree-{}", std::process::id()));
    let config = || Config::new(&directory).cache_capacity(8 << 20);
    let cache: PageCache<Node> = config().open()?;
    let tree = Tree::open(&cache, b"words")?;
    let start = Instant::now();
    let put_some = |worker: u32| {
        (worker..KEYS).step_by(THREADS as usize).try_for_each(|n| tree.put(&key(n), &n.to_le_bytes()))
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS).map(|worker| scope.spawn(move || put_some(worker))).collect();
        workers.into_iter().try_for_each(|worker| match worker.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })?;
    println!("{KEYS} keys by {THREADS} threads in {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
    for n in 0..KEYS {
        assert_eq!(tree.get(&key(n))?, Some(n.to_le_bytes().to_vec()));
    }
    (0..KEYS).step_by(3).try_for_each(|n| tree.delete(&key(n)))?;
    cache.close()?;

    let cache: PageCache<Node> = config().temporary(true).open()?;
    let tree = Tree::open(&cache, b"words")?;
    let kept = (0..KEYS).filter(|n| n % 3 != 0);
    let mut expected: BTreeMap<Key, Value> = kept.map(|n| (key(n), n.to_le_bytes().to_vec())).collect();
    let levels = tree.copy_of(tree.root)?.1.level + 1;
    println!("opened again: {} keys on {levels} levels", expected.len());
    tree.scan(b"", |key, value| {
        assert_eq!(expected.pop_first(), Some((key.to_vec(), value.to_vec())));
        true
    })?;
    assert!(expected.is_empty(), "a scan finds all");
    println!("a scan finds each of them, in order");
    cache.close()
}
