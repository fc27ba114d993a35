//! The options of a store: their defaults and their ranges. [`options`] sets them.

mod options;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::format::LARGEST_VALUE;
use crate::geometry::Geometry;
use crate::storage::{FileStorage, FinalSync, Storage, with_failpoints};

/// How to open a store: a directory and some options, all with defaults.
///
/// ```
/// use pagelog::{Config, Log};
///
/// # fn main() -> pagelog::Result<()> {
/// # let directory = tempfile::tempdir().unwrap();
/// let log = Log::open(Config::new(directory.path()).segment_size(64 << 10))?;
/// log.close()
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) cache_capacity: u64,
    pub(crate) segment_size: Option<u32>,
    pub(crate) io_buffer_size: u32,
    pub(crate) io_buffers: u32,
    pub(crate) space_target: f64,
    pub(crate) garbage_collection: bool,
    pub(crate) victim_policy: VictimPolicy,
    /// `None` depends on the size of the store.
    pub(crate) relocation_heads: Option<u8>,
    pub(crate) snapshots: bool,
    pub(crate) snapshot_interval: u64,
    /// `None` depends on the page.
    pub(crate) max_chain_length: Option<u32>,
    pub(crate) max_chain_ratio: f64,
    pub(crate) background: bool,
    pub(crate) flush_interval: Option<Duration>,
    pub(crate) inline_limit: Option<u32>,
    pub(crate) max_value_size: u64,
    pub(crate) read_only: bool,
    pub(crate) temporary: bool,
    /// The level; `None` is off.
    pub(crate) compression: Option<i32>,
    pub(crate) torn_block_size: u32,
}

/// How garbage collection chooses the segments that it cleans: see [`Config::victim_policy`]. This decides
/// how many bytes are moved for each byte that is written, and nothing else; a store can be opened with one
/// and then with another.
///
/// ```
/// use std::sync::Arc;
/// use pagelog::{Config, Log, MemoryStorage, VictimPolicy};
///
/// # fn main() -> pagelog::Result<()> {
/// let config = Config::with_storage(Arc::new(MemoryStorage::new()));
/// let log = Log::open(config.victim_policy(VictimPolicy::Greedy))?;
/// assert_eq!(VictimPolicy::default(), VictimPolicy::MinimumDecliningCost);
/// # log.close()
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum VictimPolicy {
    /// The segment with the fewest live bytes. The best choice if all pages are written equally often.
    Greedy,
    /// Weighs what there is to gain with the age of a segment: old ones are cleaned while they are fuller
    /// than young ones. From Rosenblum and Ousterhout, "The Design and Implementation of a Log-Structured
    /// File System" (1992).
    CostBenefit,
    /// The segment that waiting would make cheaper least, by how fast its bytes have died so far. Moves
    /// fewest bytes if some pages are written more often than others, and hardly more than `Greedy` if not.
    /// From Lomet and Luo, "Efficiently Reclaiming Space in a Log Structured Store" (ICDE 2021).
    #[default]
    MinimumDecliningCost,
}

/// Bytes of a segment unless [`Config::segment_size`] says otherwise.
pub(crate) const DEFAULT_SEGMENT_SIZE: u32 = 1 << 20;

impl Config {
    /// A store in the directory `path`, which is created on opening if need be.
    ///
    /// ```
    /// # use pagelog::{Config, Log};
    /// # fn main() -> pagelog::Result<()> {
    /// # let temporary = tempfile::tempdir().unwrap();
    /// # let path = temporary.path().join("data");
    /// let log = Log::open(Config::new(&path))?;
    /// log.append(b"entry")?;
    /// log.close()?;
    /// assert!(path.join("log").exists());
    /// assert!(Log::open(Config::new(&path))?.was_recovered());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::with_storage(Arc::new(FileStorage::new(path)))
    }

    /// A store on another back-end than files, for instance [`MemoryStorage`](crate::MemoryStorage).
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use pagelog::{Config, Log, MemoryStorage};
    /// # fn main() -> pagelog::Result<()> {
    /// let storage = Arc::new(MemoryStorage::new());
    /// let log = Log::open(Config::with_storage(storage.clone()))?;
    /// log.append(b"entry")?;
    /// log.close()?;
    /// // All of it is in the storage, and found there again.
    /// let log = Log::open(Config::with_storage(storage))?;
    /// assert_eq!(log.iter_from(log.first_lsn())?.count(), 1);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_storage(storage: Arc<dyn Storage>) -> Self {
        Self {
            storage,
            cache_capacity: 64 << 20,
            segment_size: None,
            io_buffer_size: 256 << 10,
            io_buffers: 4,
            space_target: 1.25,
            garbage_collection: true,
            victim_policy: VictimPolicy::default(),
            relocation_heads: None,
            snapshots: true,
            snapshot_interval: 128 << 20,
            max_chain_length: None,
            max_chain_ratio: 4.0,
            background: false,
            flush_interval: None,
            inline_limit: None,
            max_value_size: LARGEST_VALUE as u64,
            read_only: false,
            temporary: false,
            compression: None,
            torn_block_size: 0,
        }
    }

    /// The configuration of an instance that is about to be opened: what it remembers of its storage is its
    /// own.
    pub(crate) fn of_an_instance(mut self) -> Self {
        self.storage = Arc::new(FinalSync::new(with_failpoints(self.storage)));
        self
    }

    /// Checks every option against its range.
    pub(crate) fn validate(&self) -> Result<()> {
        let segment = self.segment_size.unwrap_or(DEFAULT_SEGMENT_SIZE);
        let segments = Geometry::MIN_SEGMENT_SIZE..=Geometry::MAX_SEGMENT_SIZE;
        require("segment_size", segments.contains(&segment), "must be 512 to 67108864 bytes")?;
        require("io_buffer_size", self.io_buffer_size >= 512, "must be at least 512 bytes")?;
        require("io_buffers", (2..=1024).contains(&self.io_buffers), "must be 2 to 1024")?;
        require("space_target", (1.05..=100.0).contains(&self.space_target), "must be 1.05 to 100")?;
        let heads = self.relocation_heads.unwrap_or(1);
        require("relocation_heads", (1..=3).contains(&heads), "must be 1 to 3")?;
        require("snapshot_interval", self.snapshot_interval >= 4096, "must be at least 4096 bytes")?;
        let intervals = Duration::from_millis(1)..=Duration::from_secs(24 * 60 * 60);
        let interval = self.flush_interval.unwrap_or(*intervals.start());
        require("flush_every", intervals.contains(&interval), "must be 1 ms to 1 day")?;
        let length = self.max_chain_length.unwrap_or(1);
        require("max_chain_length", (1..=10_000).contains(&length), "must be 1 to 10000")?;
        require("max_chain_ratio", (0.1..=1000.0).contains(&self.max_chain_ratio), "must be 0.1 to 1000")?;
        require(
            "inline_limit",
            self.inline_limit.is_none_or(|limit| limit >= 32),
            "must be at least 32 bytes",
        )?;
        let values = 1..=LARGEST_VALUE as u64;
        require("max_value_size", values.contains(&self.max_value_size), "must be 1 to 1073741824 bytes")?;
        let level = self.compression.unwrap_or(0);
        require("compression", (-7..=22).contains(&level), "must be a level from -7 to 22")?;
        let blocks = self.torn_block_size;
        let sizes = blocks == 0 || (blocks.is_power_of_two() && (512..=64 << 10).contains(&blocks));
        require("torn_block_size", sizes, "must be 0 or a power of two from 512 to 65536 bytes")?;
        require(
            "torn_block_size",
            blocks == 0 || segment.is_multiple_of(blocks),
            "must divide the segment size",
        )?;
        require("temporary", !(self.temporary && self.read_only), "can't be combined with read_only")
    }
}

fn require(option: &'static str, holds: bool, reason: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::InvalidConfig { option, reason: reason.into() }) }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::Config;
    use crate::error::Error;
    use crate::storage::MemoryStorage;

    #[test]
    fn every_option_out_of_range_is_named() {
        let config = || Config::with_storage(Arc::new(MemoryStorage::new()));
        let wrong = [
            (config().segment_size(511), "segment_size"),
            (config().segment_size((1 << 26) + 1), "segment_size"),
            (config().io_buffer_size(511), "io_buffer_size"),
            (config().io_buffers(1), "io_buffers"),
            (config().space_target(1.0), "space_target"),
            (config().space_target(f64::NAN), "space_target"),
            (config().relocation_heads(0), "relocation_heads"),
            (config().relocation_heads(4), "relocation_heads"),
            (config().snapshot_interval(0), "snapshot_interval"),
            (config().flush_every(Duration::ZERO), "flush_every"),
            (config().flush_every(Duration::MAX), "flush_every"),
            (config().max_chain_length(0), "max_chain_length"),
            (config().max_chain_ratio(0.0), "max_chain_ratio"),
            (config().inline_limit(31), "inline_limit"),
            (config().max_value_size(0), "max_value_size"),
            (config().max_value_size((1 << 30) + 1), "max_value_size"),
            (config().torn_block_size(256), "torn_block_size"),
            (config().torn_block_size(3 * 512), "torn_block_size"),
            (config().segment_size(6 << 10).torn_block_size(4096), "torn_block_size"),
            (config().temporary(true).read_only(true), "temporary"),
        ];
        for (config, expected) in wrong {
            match config.validate() {
                Err(Error::InvalidConfig { option, .. }) => assert_eq!(option, expected),
                other => panic!("{expected}: {other:?}"),
            }
        }
        assert!(config().validate().is_ok());
    }
}
