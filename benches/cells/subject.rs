//! pagelog as the cells use it, and the raw loop.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use pagelog::{Cas, Codec, CodecError, Config, Fragment, PageCache, PageId};

use crate::plain::Plain;
use crate::{Engine, FRAGMENT};

/// A page of bytes, or 64 bytes to append to one.
pub enum Bytes {
    Page(Vec<u8>),
    Piece([u8; FRAGMENT]),
}

impl Bytes {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Page(bytes) => bytes,
            Self::Piece(bytes) => bytes,
        }
    }
}

pub struct Raw;

impl Codec<Bytes> for Raw {
    fn encode(fragment: &Bytes, into: &mut Vec<u8>) -> Result<(), CodecError> {
        into.extend_from_slice(fragment.as_slice());
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Bytes, CodecError> {
        Ok(Bytes::Page(bytes.to_vec()))
    }
}

impl Fragment for Bytes {
    type Codec = Raw;

    fn merge(oldest_to_newest: &[&Self]) -> Self {
        let mut page = Vec::with_capacity(oldest_to_newest.iter().map(|bytes| bytes.as_slice().len()).sum());
        oldest_to_newest.iter().for_each(|bytes| page.extend_from_slice(bytes.as_slice()));
        Self::Page(page)
    }

    fn heap_size(&self) -> Option<usize> {
        match self {
            Self::Page(bytes) => Some(bytes.capacity()),
            Self::Piece(_) => Some(0),
        }
    }
}

/// A store with its pages.
pub struct Subject {
    cache: PageCache<Bytes>,
    pages: Vec<PageId>,
}

impl Subject {
    /// A new store on files, with pages of 1 KiB, durable.
    pub fn create(directory: &Path, pages: usize) -> Self {
        Self::with_duties(directory, pages, crate::setting("GC", true), crate::setting("SNAPSHOTS", true))
    }

    /// One that neither collects garbage nor takes snapshots, to tell what that costs the others.
    pub fn create_idle(directory: &Path, pages: usize) -> Self {
        Self::with_duties(directory, pages, false, false)
    }

    fn with_duties(directory: &Path, pages: usize, collects: bool, snapshots: bool) -> Self {
        let config = Config::new(directory)
            .cache_capacity(4 << 30)
            .background(crate::setting("BACKGROUND", false))
            .garbage_collection(collects)
            .snapshots(snapshots)
            .space_target(crate::setting("SPACE_TARGET", 1.25))
            .max_chain_ratio(crate::setting("CHAIN_RATIO", 4.0));
        let cache: PageCache<Bytes> = config.open().expect("a new store");
        let allocate =
            |page: usize| cache.allocate(Bytes::Page(vec![page as u8; crate::BASE])).expect("a page").page_id;
        let pages = (0..pages).map(allocate).collect();
        cache.flush().expect("a flush");
        Self { cache, pages }
    }

    /// Prints what was going on beside the measured work.
    pub fn report(&self) {
        let stats = self.cache.stats();
        println!(
            "pagelog: {} consolidations, {} bytes relocated, {} syncs, {} snapshots, {} evictions, space {:.2}",
            stats.counts.consolidations,
            stats.counts.relocated_bytes,
            stats.counts.syncs,
            stats.counts.snapshots,
            stats.counts.evictions,
            stats.space_amplification()
        );
    }

    fn write(&self, page: usize, mut fragment: Bytes, whole: bool) -> pagelog::Lsn {
        let page_id = self.pages[page];
        let mut version = self.cache.version(page_id).expect("a version").expect("a page");
        loop {
            let outcome = match whole {
                true => self.cache.replace(page_id, version, fragment),
                false => self.cache.link(page_id, version, fragment),
            };
            match outcome.expect("a write") {
                Cas::Done { lsn, .. } => return lsn,
                Cas::Changed { current, fragment: back } => (version, fragment) = (current, back),
                Cas::Gone { .. } => unreachable!("nobody frees pages"),
            }
        }
    }
}

impl Engine for Subject {
    fn link(&self, page: usize, fragment: [u8; FRAGMENT]) {
        self.write(page, Bytes::Piece(fragment), false);
    }

    fn replace(&self, page: usize, content: Vec<u8>) {
        self.write(page, Bytes::Page(content), true);
    }

    fn get(&self, page: usize) -> u8 {
        let guard = self.cache.pin();
        let found = guard.get(self.pages[page]).expect("a read").expect("a page");
        found.merged().as_slice()[17]
    }

    fn commit(&self, page: usize, fragment: [u8; FRAGMENT]) {
        let lsn = self.write(page, Bytes::Piece(fragment), false);
        self.cache.make_stable(lsn).expect("a commit");
    }
}

impl Engine for Plain {
    fn link(&self, page: usize, fragment: [u8; FRAGMENT]) {
        Plain::link(self, page, &fragment).expect("a link");
    }

    fn replace(&self, page: usize, content: Vec<u8>) {
        Plain::replace(self, page, &content).expect("a replacement");
    }

    fn get(&self, page: usize) -> u8 {
        Plain::get(self, page, |bytes| bytes[17])
    }

    fn commit(&self, page: usize, fragment: [u8; FRAGMENT]) {
        Plain::link(self, page, &fragment).expect("a link");
        Plain::commit(self).expect("a commit");
    }
}

/// What the device can do: a write of 4 KiB over blocks that were written before, and a sync.
pub struct RawLoop {
    file: File,
    step: AtomicU64,
}

impl RawLoop {
    const BLOCKS: u64 = 1024;

    pub fn create(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
        file.write_all_at(&vec![1; 4096 * Self::BLOCKS as usize], 0)?;
        file.sync_all()?;
        Ok(Self { file, step: AtomicU64::new(0) })
    }

    pub fn step(&self) {
        let block = self.step.fetch_add(1, Ordering::Relaxed) % Self::BLOCKS;
        self.file.write_all_at(&[block as u8; 4096], block * 4096).expect("a write");
        self.file.sync_data().expect("a sync");
    }
}
