//! pagelog as the cells use it, and the raw loop.

#![allow(dead_code, reason = "each bench uses a part of it")]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use pagelog::{Cas, Codec, CodecError, Config, Fragment, PageCache, PageId};

use crate::engine::{BASE, Engine, FRAGMENT};
use crate::plain::Plain;

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
    pub cache: PageCache<Bytes>,
    pages: Vec<PageId>,
}

impl Subject {
    /// A new store with pages of 1 KiB.
    pub fn create(config: Config, pages: usize) -> Self {
        let mut subject = Self::open(config, 0);
        subject.fill(pages, BASE);
        subject.cache.flush().expect("a flush");
        subject
    }

    /// A store that has so many pages. Their ids were handed out in order.
    pub fn open(config: Config, pages: usize) -> Self {
        let cache = config.open().expect("it opens");
        Self { cache, pages: (1..=pages as u64).map(PageId::new).collect() }
    }

    /// Adds pages.
    pub fn fill(&mut self, pages: usize, length: usize) {
        for page in self.pages.len()..self.pages.len() + pages {
            let allocated = self.cache.allocate(Bytes::Page(vec![page as u8; length])).expect("a page");
            self.pages.push(allocated.page_id);
        }
    }

    /// Frees a page.
    pub fn free(&self, page: usize) {
        let version = self.cache.version(self.pages[page]).expect("a version").expect("a page");
        assert!(self.cache.free(self.pages[page], version).expect("a write").is_done());
    }

    /// What was going on beside the measured work.
    pub fn report(&self) -> String {
        let stats = self.cache.stats();
        format!(
            "{} consolidations, {} bytes relocated, {} syncs, {} snapshots, {} evictions, space {:.2}",
            stats.counts.consolidations,
            stats.counts.relocated_bytes,
            stats.counts.syncs,
            stats.counts.snapshots,
            stats.counts.evictions,
            stats.space_amplification()
        )
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

    fn chain(&self, page: usize, fragment: [u8; FRAGMENT], links: usize) {
        let page_id = self.pages[page];
        let mut version = self.cache.version(page_id).expect("a version").expect("a page");
        let mut left = links;
        while left > 0 {
            match self.cache.link(page_id, version, Bytes::Piece(fragment)).expect("a write") {
                Cas::Done { version: new, .. } => (version, left) = (new, left - 1),
                Cas::Changed { current, .. } => version = current,
                Cas::Gone { .. } => unreachable!("nobody frees pages"),
            }
        }
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

    fn whole(&self, page: usize) -> Vec<u8> {
        let guard = self.cache.pin();
        let found = guard.get(self.pages[page]).expect("a read").expect("a page");
        found.merged().as_slice().to_vec()
    }

    fn flush(&self) {
        self.cache.flush().expect("a flush");
    }
}

impl Engine for Plain {
    fn link(&self, page: usize, fragment: [u8; FRAGMENT]) {
        Plain::link(self, page, &fragment).expect("a link");
    }

    fn chain(&self, page: usize, fragment: [u8; FRAGMENT], links: usize) {
        (0..links).for_each(|_| Engine::link(self, page, fragment));
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

    fn whole(&self, page: usize) -> Vec<u8> {
        Plain::get(self, page, <[u8]>::to_vec)
    }

    fn flush(&self) {
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
