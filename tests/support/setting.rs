//! The options of a store in a test.

use std::sync::Arc;

use pagelog::sim::SimStorage;
use pagelog::{Config, PageCache, Storage};

use super::Bytes;
use super::random::Random;

/// The options of a store with everything small, so that what is rare elsewhere happens all the time.
#[derive(Clone, Debug)]
pub struct Setting {
    pub segment_size: u32,
    pub cache_capacity: u64,
    pub space_target: f64,
    pub collects: bool,
    pub snapshots: bool,
    pub chain: u32,
    /// Only in a build that can.
    pub compression: Option<i32>,
    pub inline_limit: Option<u32>,
}

impl Setting {
    pub fn random(random: &mut Random) -> Self {
        let setting = Self::without_large_values(random);
        // Large values are rare in other stores, and half of all here.
        let inline_limit = match (setting.chain, setting.snapshots) {
            (2, _) => Some(100),
            (5, true) => Some(32),
            _ => None,
        };
        Self { inline_limit, ..setting }
    }

    fn without_large_values(random: &mut Random) -> Self {
        Self {
            segment_size: random.pick(&[512, 700, 1000, 1024, 2048]),
            // With room for nodes chains get long; else they are written anew soon.
            cache_capacity: random.pick(&[256, 256, 4096, 1 << 20]),
            space_target: random.pick(&[1.05, 1.5, 3.0]),
            collects: !random.one_in(6),
            snapshots: !random.one_in(5),
            chain: random.pick(&[2, 5, 128]),
            compression: if cfg!(feature = "compression") { random.pick(&[None, Some(1)]) } else { None },
            inline_limit: None,
        }
    }

    /// The size of the blocks that the disk damages as a whole, and that the store keeps apart; 0 if it does
    /// not. One store in twenty.
    pub fn torn_block(&self) -> u32 {
        match (self.segment_size, self.cache_capacity) {
            // A flush can take a block, so a segment has to have some for a reserve of segments to be worth
            // anything.
            (2048 | 4096, 4096) => 512,
            _ => 0,
        }
    }

    /// Into how many heads collection sorts.
    fn relocation_heads(&self) -> u8 {
        match self.segment_size {
            512 | 1000 => 3,
            700 => 2,
            _ => 1,
        }
    }

    /// A disk as bad as this store can do with.
    pub fn disk(&self, seed: u64) -> SimStorage {
        let disk = SimStorage::new(seed);
        disk.set_torn_block(Some(self.torn_block().into()));
        disk
    }

    pub fn open(&self, disk: &SimStorage) -> pagelog::Result<PageCache<Bytes>> {
        self.open_on(Arc::new(disk.clone()))
    }

    pub fn open_on(&self, storage: Arc<dyn Storage>) -> pagelog::Result<PageCache<Bytes>> {
        self.config(storage).open()
    }

    pub fn config(&self, storage: Arc<dyn Storage>) -> Config {
        let config = Config::with_storage(storage);
        #[cfg(feature = "compression")]
        let config = match self.compression {
            Some(level) => config.compression(level),
            None => config,
        };
        let config = match self.inline_limit {
            Some(limit) => config.inline_limit(limit),
            None => config,
        };
        config
            .segment_size(self.segment_size)
            .torn_block_size(self.torn_block())
            .io_buffer_size(512)
            .io_buffers(2)
            .cache_capacity(self.cache_capacity)
            .space_target(self.space_target)
            .garbage_collection(self.collects)
            .snapshots(self.snapshots)
            .snapshot_interval(4096)
            .max_chain_length(self.chain)
            .relocation_heads(self.relocation_heads())
    }

    /// The longest page that surely fits in a segment.
    pub fn longest_page(&self) -> usize {
        self.segment_size as usize - 200
    }
}
