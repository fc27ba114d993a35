//! A key-value map on pages, for one machine. It knows nothing of Raft: this is the engine that was there
//! before.
//!
//! ```text
//!  root "map" ─► directory ─► bucket 0   bucket 1  …  bucket 63     keys by their hash; a change is a link
//!                        ├──► tag                                   a few bytes of whoever uses the map
//!                        └──► blob                                  many bytes of whoever uses the map
//! ```
//!
//! What makes it fit for replication is one thing: a [`Transaction`] changes any number of keys *and the tag*
//! in one batch, so they survive a crash together or not at all. Who puts a position into the tag knows after
//! a crash exactly which changes the map holds.
//!
//! A transaction is not durable when it ends, only atomic, and in order: of those not yet flushed, a crash
//! leaves the first N.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pagelog::{Bincode, Config, Fragment, PageCache, PageId, RootCas};
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Result};

const ROOT: &[u8] = b"map";
const BUCKETS: usize = 64;

/// The contents of a page, or a change to a bucket.
#[derive(Debug, Serialize, Deserialize)]
enum Node {
    Directory { buckets: Vec<PageNumber>, tag: PageNumber, blob: PageNumber },
    Bucket(BTreeMap<String, String>),
    Put(String, String),
    Delete(String),
    Bytes(Vec<u8>),
}

type PageNumber = u64;

impl Fragment for Node {
    type Codec = Bincode;

    fn merge(oldest_to_newest: &[&Self]) -> Self {
        let mut bucket = BTreeMap::new();
        for node in oldest_to_newest {
            match node {
                Self::Bucket(entries) => bucket.clone_from(entries),
                Self::Put(key, value) => drop(bucket.insert(key.clone(), value.clone())),
                Self::Delete(key) => drop(bucket.remove(key)),
                // These are only ever replaced.
                Self::Directory { .. } | Self::Bytes(_) => {}
            }
        }
        Self::Bucket(bucket)
    }
}

/// A key-value map in a store of its own.
#[derive(Debug)]
pub struct Map {
    cache: PageCache<Node>,
    buckets: Vec<PageId>,
    tag: PageId,
    blob: PageId,
    writer: Mutex<()>,
}

impl Map {
    /// Opens the map in the configured place, or makes an empty one there.
    ///
    /// # Errors
    /// What opening a store can meet with, and [`Failure::Damaged`] if it is not a map.
    pub fn open(config: Config) -> Result<Self> {
        let cache: PageCache<Node> = config.open()?;
        let (buckets, tag, blob) = match cache.meta_pid_for_name(ROOT)? {
            Some(directory) => read_directory(&cache, directory)?,
            None => create(&cache)?,
        };
        Ok(Self { cache, buckets, tag, blob, writer: Mutex::new(()) })
    }

    /// The key's value. Waits for nobody; of a transaction that is under way it may see some changes.
    ///
    /// # Errors
    /// What reading can meet with.
    pub fn get(&self, key: &str) -> Result<Option<String>> {
        let guard = self.cache.pin();
        let page = guard.get(self.bucket_of(key))?.ok_or_else(|| missing("bucket"))?;
        match page.merged() {
            Node::Bucket(entries) => Ok(entries.get(key).cloned()),
            _ => Err(missing("bucket")),
        }
    }

    /// All that is in it, and the tag that belongs to that.
    ///
    /// # Errors
    /// What reading can meet with.
    pub fn contents(&self) -> Result<(BTreeMap<String, String>, Vec<u8>)> {
        let _no_writer = self.lock();
        let mut all = BTreeMap::new();
        for bucket in &self.buckets {
            let guard = self.cache.pin();
            let page = guard.get(*bucket)?.ok_or_else(|| missing("bucket"))?;
            let Node::Bucket(entries) = page.merged() else { return Err(missing("bucket")) };
            all.extend(entries.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
        Ok((all, self.bytes(self.tag)?))
    }

    /// What the last transaction that set the tag set it to; empty at first.
    ///
    /// # Errors
    /// What reading can meet with.
    pub fn tag(&self) -> Result<Vec<u8>> {
        self.bytes(self.tag)
    }

    /// What the last transaction that set the blob set it to; empty at first.
    ///
    /// # Errors
    /// What reading can meet with.
    pub fn blob(&self) -> Result<Vec<u8>> {
        self.bytes(self.blob)
    }

    /// Changes the map. All that `change` does survives a crash, or nothing of it. One transaction at a time.
    ///
    /// # Errors
    /// What `change` returns, or what stopped writing. An error after the first change is final: memory is
    /// ahead of what a crash would leave, so nothing more can be written until the map is opened again.
    pub fn transaction<T>(&self, change: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        let _one_at_a_time = self.lock();
        let batch = self.cache.pin_log()?;
        let outcome = change(&Transaction { map: self })?;
        batch.seal_batch()?;
        Ok(outcome)
    }

    /// Returns when all transactions that have ended survive a power cut.
    ///
    /// # Errors
    /// What syncing can meet with; final.
    pub fn flush(&self) -> Result<()> {
        Ok(self.cache.flush()?)
    }

    /// A number that this store never returned before.
    ///
    /// # Errors
    /// What writing can meet with.
    pub fn unique_number(&self) -> Result<u64> {
        Ok(self.cache.generate_id()?)
    }

    /// Flushes, and closes the store.
    ///
    /// # Errors
    /// What the flush met with.
    pub fn close(self) -> Result<()> {
        Ok(self.cache.close()?)
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bucket_of(&self, key: &str) -> PageId {
        // FNV-1a; it decides what lies where on disk, so it must stay what it is.
        let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        self.buckets[hash as usize % self.buckets.len()]
    }

    fn bytes(&self, page_id: PageId) -> Result<Vec<u8>> {
        let guard = self.cache.pin();
        let page = guard.get(page_id)?.ok_or_else(|| missing("page of bytes"))?;
        match page.merged() {
            Node::Bytes(bytes) => Ok(bytes.clone()),
            _ => Err(missing("page of bytes")),
        }
    }
}

/// What a transaction can do. It sees its own changes.
#[derive(Debug)]
pub struct Transaction<'m> {
    map: &'m Map,
}

impl Transaction<'_> {
    /// The key's value.
    ///
    /// # Errors
    /// What reading can meet with.
    pub fn get(&self, key: &str) -> Result<Option<String>> {
        self.map.get(key)
    }

    /// Gives a key a value.
    ///
    /// # Errors
    /// What stopped writing.
    pub fn put(&self, key: &str, value: String) -> Result<()> {
        self.link(self.map.bucket_of(key), Node::Put(key.into(), value))
    }

    /// Takes a key away.
    ///
    /// # Errors
    /// What stopped writing.
    pub fn delete(&self, key: &str) -> Result<()> {
        self.link(self.map.bucket_of(key), Node::Delete(key.into()))
    }

    /// Makes `contents` all that the map holds.
    ///
    /// # Errors
    /// What stopped writing.
    pub fn replace_all(&self, contents: BTreeMap<String, String>) -> Result<()> {
        let mut parts: BTreeMap<PageId, BTreeMap<String, String>> =
            self.map.buckets.iter().map(|bucket| (*bucket, BTreeMap::new())).collect();
        for (key, value) in contents {
            parts.entry(self.map.bucket_of(&key)).or_default().insert(key, value);
        }
        parts.into_iter().try_for_each(|(bucket, entries)| self.replace(bucket, Node::Bucket(entries)))
    }

    /// Sets the tag.
    ///
    /// # Errors
    /// What stopped writing.
    pub fn set_tag(&self, bytes: Vec<u8>) -> Result<()> {
        self.replace(self.map.tag, Node::Bytes(bytes))
    }

    /// Sets the blob, which may be large.
    ///
    /// # Errors
    /// What stopped writing.
    pub fn set_blob(&self, bytes: Vec<u8>) -> Result<()> {
        self.replace(self.map.blob, Node::Bytes(bytes))
    }

    fn link(&self, page_id: PageId, change: Node) -> Result<()> {
        let version = self.version(page_id)?;
        let outcome = self.map.cache.link(page_id, version, change)?;
        if outcome.is_done() { Ok(()) } else { Err(raced()) }
    }

    fn replace(&self, page_id: PageId, contents: Node) -> Result<()> {
        let version = self.version(page_id)?;
        let outcome = self.map.cache.replace(page_id, version, contents)?;
        if outcome.is_done() { Ok(()) } else { Err(raced()) }
    }

    fn version(&self, page_id: PageId) -> Result<pagelog::Version> {
        self.map.cache.version(page_id)?.ok_or_else(|| missing("page"))
    }
}

type Pages = (Vec<PageId>, PageId, PageId);

/// All pages and the name that leads to them: in one batch, so a crash leaves a whole map or none.
fn create(cache: &PageCache<Node>) -> Result<Pages> {
    let batch = cache.pin_log()?;
    let buckets: Vec<PageId> = (0..BUCKETS)
        .map(|_| Ok(cache.allocate(Node::Bucket(BTreeMap::new()))?.page_id))
        .collect::<Result<_>>()?;
    let tag = cache.allocate(Node::Bytes(Vec::new()))?.page_id;
    let blob = cache.allocate(Node::Bytes(Vec::new()))?.page_id;
    let numbers = buckets.iter().map(|bucket| bucket.get()).collect();
    let directory = cache.allocate(Node::Directory { buckets: numbers, tag: tag.get(), blob: blob.get() })?;
    match cache.cas_root_in_meta(ROOT, None, Some(directory.page_id))? {
        RootCas::Done { .. } => {}
        _ => return Err(raced()),
    }
    let end = batch.seal_batch()?;
    cache.make_stable(end)?;
    Ok((buckets, tag, blob))
}

fn read_directory(cache: &PageCache<Node>, directory: PageId) -> Result<Pages> {
    let guard = cache.pin();
    let page = guard.get(directory)?.ok_or_else(|| missing("directory"))?;
    match page.merged() {
        Node::Directory { buckets, tag, blob } if !buckets.is_empty() => Ok((
            buckets.iter().map(|number| PageId::new(*number)).collect(),
            PageId::new(*tag),
            PageId::new(*blob),
        )),
        _ => Err(missing("directory")),
    }
}

fn missing(what: &str) -> Failure {
    Failure::Damaged(format!("the map has no {what} where one should be"))
}

fn raced() -> Failure {
    Failure::Damaged("somebody else writes to the map's pages".into())
}
