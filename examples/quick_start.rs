//! The library in one screen: pages of a key-value map, as a B-tree's leaves would be.
//!
//! `cargo run --example quick_start`

use std::collections::BTreeMap;

use pagelog::{Bincode, Cas, Config, Fragment, PageCache};
use serde::{Deserialize, Serialize};

/// A leaf, or a change to one.
#[derive(Debug, Serialize, Deserialize)]
enum Node {
    Leaf(BTreeMap<String, String>),
    Put(String, String),
    Delete(String),
}

impl Fragment for Node {
    type Codec = Bincode;

    fn merge(oldest_to_newest: &[&Self]) -> Self {
        let mut leaf = BTreeMap::new();
        for node in oldest_to_newest {
            match node {
                Node::Leaf(entries) => leaf.clone_from(entries),
                Node::Put(key, value) => drop(leaf.insert(key.clone(), value.clone())),
                Node::Delete(key) => drop(leaf.remove(key)),
            }
        }
        Node::Leaf(leaf)
    }
}

fn main() -> pagelog::Result<()> {
    let directory = std::env::temp_dir().join(format!("pagelog-quick-start-{}", std::process::id()));
    let cache: PageCache<Node> = Config::new(&directory).cache_capacity(64 << 20).temporary(true).open()?;

    // Writing needs no guard: a version is a plain number.
    let page = cache.allocate(Node::Leaf(BTreeMap::new()))?;
    let mut version = page.version;
    for (key, value) in [("apple", "red"), ("pear", "green"), ("plum", "blue")] {
        let mut put = Node::Put(key.into(), value.into());
        // Another thread may be quicker: then the fragment comes back, to be tried on what is there now.
        version = loop {
            match cache.link(page.page_id, version, put)? {
                Cas::Done { version, .. } => break version,
                Cas::Changed { current, fragment } => (version, put) = (current, fragment),
                Cas::Gone { .. } => unreachable!("nobody frees the page"),
            }
        };
    }

    // Reading borrows from the cache for as long as the guard lives.
    {
        let guard = cache.pin();
        if let Some(found) = guard.get(page.page_id)? {
            println!("{} fragments, version {}", found.fragments().count(), found.version());
            println!("merged: {:?}", found.merged());
            println!("{} bytes of log", found.size_on_disk());
        }
    }

    // After a crash both changes are there, or neither is.
    let batch = cache.pin_log()?;
    let other = cache.allocate(Node::Leaf([("fig".into(), "brown".into())].into()))?;
    let moved = cache.link(page.page_id, version, Node::Delete("pear".into()))?;
    let lsn = batch.seal_batch()?;
    assert!(moved.is_done());

    // From here on they survive a power cut.
    cache.make_stable(lsn)?;
    println!("page {} and page {} are stable", page.page_id, other.page_id);
    cache.close()
}
