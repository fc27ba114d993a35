//! The options of a store, their ranges and their defaults.

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

/// How garbage collection chooses the segments that it cleans: see [`Config::victim_policy`]. This decides how many bytes are moved for
/// each byte that is written, and nothing else; a store can be opened with one and then with another.
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
    /// Weighs what there is to gain with the age of a segment: old ones are cleaned while they are fuller than young ones. From
    /// Rosenblum and Ousterhout, "The Design and Implementation of a Log-Structured File System" (1992).
    CostBenefit,
    /// The segment that waiting would make cheaper least, by how fast its bytes have died so far. Moves fewest
    /// bytes if some pages are written more often than others, and hardly more than `Greedy` if not. From Lomet and Luo,
    /// "Efficiently Reclaiming Space in a Log Structured Store" (ICDE 2021).
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

    /// The budget in bytes for page contents, the nodes of pages, dead memory that waits for readers, and write buffers. Default
    /// 64 MiB.
    ///
    /// Over the budget, contents are dropped that were not read again and again lately. Nodes can't be: 32 bytes for each page
    /// that was used since the store was opened, and for each link to it since it was last written as a whole some 40 bytes and the size of a fragment.
    /// When they take more than a quarter of the budget, links write whole pages sooner; so a capacity of at least 600 bytes for
    /// each page that is linked to saves writing. See the [architecture](crate::docs::architecture), which also says what is
    /// not on the budget, and [`Stats::node_bytes`](crate::Stats::node_bytes).
    ///
    /// ```
    #[doc = include_str!("docs/text_pages.txt")]
    #[doc = include_str!("docs/rewritten_pages.txt")]
    /// # fn main() -> pagelog::Result<()> {
    /// let cache: PageCache<Text> = config().cache_capacity(64 << 10).open()?;
    /// for _ in 0..500 {
    ///     cache.allocate(Text("x".repeat(1000)))?;
    /// }
    /// // Half a megabyte: what is over the budget was dropped from memory, and is read back when it is asked for.
    /// let stats = cache.stats();
    /// assert!(stats.counts.evictions > 300 && stats.resident_bytes < 64 << 10);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn cache_capacity(mut self, bytes: u64) -> Self {
        self.cache_capacity = bytes;
        self
    }

    /// The segment size in bytes, 512 to 64 Mi. Fixed when the store is created: a store that exists keeps its own,
    /// and opening it with another one is an error. Default: the store's own, 1 MiB for a new one.
    ///
    /// A record must fit in a segment; a value that does not goes to a file of its own, see
    /// [`inline_limit`](Self::inline_limit).
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use pagelog::{Config, Error, Log, MemoryStorage};
    /// # fn main() -> pagelog::Result<()> {
    /// # let storage = Arc::new(MemoryStorage::new());
    /// # let config = || Config::with_storage(storage.clone());
    /// let log = Log::open(config().segment_size(4096))?;
    /// let too_long = log.append(&[0; 5000]);
    /// assert!(matches!(too_long, Err(Error::ValueTooLarge { .. })));
    /// log.close()?;
    /// // It was fixed when the store was created.
    /// let other = Log::open(config().segment_size(8192));
    /// assert!(matches!(other, Err(Error::InvalidConfig { option: "segment_size", .. })));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn segment_size(mut self, bytes: u32) -> Self {
        self.segment_size = Some(bytes);
        self
    }

    /// The size in bytes of one write buffer, at least 512; at most a segment of it is used. Default 256 KiB.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use pagelog::{Config, Log, MemoryStorage};
    /// # fn main() -> pagelog::Result<()> {
    /// # let config = || Config::with_storage(Arc::new(MemoryStorage::new()));
    /// let writes = |bytes| -> pagelog::Result<u64> {
    ///     let log = Log::open(config().io_buffer_size(bytes))?;
    ///     for _ in 0..1000 {
    ///         log.append(&[1; 100])?;
    ///     }
    ///     Ok(log.counts().writes)
    /// };
    /// assert!(writes(1024)? > 10 * writes(32 << 10)?);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn io_buffer_size(mut self, bytes: u32) -> Self {
        self.io_buffer_size = bytes;
        self
    }

    /// How many write buffers may be filled and not yet written before a writer has to write one, 2 to 1024.
    /// Default 4. Open reservations can push the number above this.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use pagelog::{Config, Log, MemoryStorage};
    /// # fn main() -> pagelog::Result<()> {
    /// # let config = || Config::with_storage(Arc::new(MemoryStorage::new()));
    /// let writes = |count| -> pagelog::Result<u64> {
    ///     let log = Log::open(config().io_buffer_size(1024).io_buffers(count))?;
    ///     for _ in 0..100 {
    ///         log.append(&[1; 200])?;
    ///     }
    ///     Ok(log.counts().writes)
    /// };
    /// // They fill some 25 buffers. With so many there is none to be waited for.
    /// assert_eq!(writes(64)?, 0);
    /// assert!(writes(2)? > 18);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn io_buffers(mut self, count: u32) -> Self {
        self.io_buffers = count;
        self
    }

    /// How large the log file may be, as a multiple of the live bytes in it, before garbage collection works on
    /// making segments free: 1.05 to 100. Default 1.25. On top come a segment for each write head, of which there are at most four, and one or two;
    /// and in stores of fewer than 110 segments what is kept in stock, five at most. A file that is larger, after a burst or because much was deleted,
    /// is made shorter by those who write. They wait for whoever is at it, and for a sync, some twenty milliseconds at most, rather than make it longer.
    ///
    /// ```
    #[doc = include_str!("docs/text_pages.txt")]
    #[doc = include_str!("docs/rewritten_pages.txt")]
    /// # fn main() -> pagelog::Result<()> {
    /// let tight: PageCache<Text> = config().space_target(1.25).open()?;
    /// write_most_twice(&tight)?;
    /// let loose: PageCache<Text> = config().space_target(3.0).open()?;
    /// write_most_twice(&loose)?;
    /// // Space is paid for by moving what is live.
    /// assert!(tight.space_amplification() < loose.space_amplification());
    /// assert!(tight.stats().counts.relocated_bytes > loose.stats().counts.relocated_bytes);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn space_target(mut self, ratio: f64) -> Self {
        self.space_target = ratio;
        self
    }

    /// Whether the store has a thread of its own for what has to be done now and then: garbage collection, snapshots, claiming segments,
    /// making the file longer or shorter, and the syncs that this takes. Writers then do not pay for that as they go, unless they are quicker than the thread for long; with fewer
    /// writers than processors they are quicker, and are held up less. Without, nothing happens but what callers do, so runs
    /// can be repeated exactly. Only for page caches. Default false.
    ///
    /// ```
    #[doc = include_str!("docs/text_pages.txt")]
    #[doc = include_str!("docs/rewritten_pages.txt")]
    /// # fn main() -> pagelog::Result<()> {
    /// let cache: PageCache<Text> = config().background(true).open()?;
    /// write_most_twice(&cache)?;
    /// // Closing waits for the end of the thread. It has cleaned segments meanwhile.
    /// cache.close()?;
    /// assert!(cache.stats().counts.relocated_records > 0);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn background(mut self, on: bool) -> Self {
        self.background = on;
        self
    }

    /// Gives the store a thread of its own that syncs: what is new, at this interval, 1 ms to 1 day; and at once for each
    /// [`Commit`](crate::Commit) that waits, so that polling one never does I/O. Also for bare logs. Default: none, and nothing is synced
    /// but by the calls that say so, and by housekeeping.
    ///
    /// What is done, and not in a batch or behind a reservation that is still open, is stable after an interval and the time of a
    /// sync, or two if one was just going on. An interval in which nothing was written costs no sync.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use std::thread;
    /// # use std::time::{Duration, Instant};
    /// # use pagelog::{Config, Log, MemoryStorage};
    /// # fn main() -> pagelog::Result<()> {
    /// # let config = || Config::with_storage(Arc::new(MemoryStorage::new()));
    /// let log = Log::open(config().flush_every(Duration::from_millis(1)))?;
    /// let lsn = log.append(b"entry")?;
    /// // It becomes stable, and nobody has asked for that.
    /// let began = Instant::now();
    /// while log.stable_lsn() <= lsn {
    ///     assert!(began.elapsed() < Duration::from_secs(20));
    ///     thread::sleep(Duration::from_millis(1));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn flush_every(mut self, interval: Duration) -> Self {
        self.flush_interval = Some(interval);
        self
    }

    /// Whether garbage collection goes on while pages are written. If not, call
    /// [`attempt_gc`](crate::PageCache::attempt_gc). Default true.
    ///
    /// ```
    #[doc = include_str!("docs/text_pages.txt")]
    #[doc = include_str!("docs/rewritten_pages.txt")]
    /// # fn main() -> pagelog::Result<()> {
    /// let cache: PageCache<Text> = config().garbage_collection(false).open()?;
    /// write_most_twice(&cache)?;
    /// cache.flush()?;
    /// let before = cache.stats();
    /// assert_eq!(before.counts.victims, 0);
    /// while cache.attempt_gc()? {
    ///     cache.flush()?;
    /// }
    /// assert!(cache.size_on_disk() < before.size_on_disk());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn garbage_collection(mut self, on: bool) -> Self {
        self.garbage_collection = on;
        self
    }

    /// How garbage collection chooses the segments that it cleans.
    /// Default [`MinimumDecliningCost`](VictimPolicy::MinimumDecliningCost).
    ///
    /// ```
    #[doc = include_str!("docs/text_pages.txt")]
    #[doc = include_str!("docs/rewritten_pages.txt")]
    /// # use pagelog::VictimPolicy;
    /// # fn main() -> pagelog::Result<()> {
    /// let moved = |policy| -> pagelog::Result<u64> {
    ///     let cache: PageCache<Text> = config().victim_policy(policy).open()?;
    ///     write_a_few_pages_often(&cache)?;
    ///     Ok(cache.stats().counts.relocated_bytes)
    /// };
    /// assert!(moved(VictimPolicy::MinimumDecliningCost)? < moved(VictimPolicy::Greedy)?);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn victim_policy(mut self, policy: VictimPolicy) -> Self {
        self.victim_policy = policy;
        self
    }

    /// How many kinds of records garbage collection keeps apart as it moves them, by how soon they may be expected to be superseded: 1 to 3. What
    /// lives long then stays in segments of its own and is seldom moved again. Each takes a segment that is partly filled. Default: 3 in a store of at least 64 segments, 1 in a smaller one. On a full disk it is always 1, and in a store that
    /// was created before this could be chosen.
    ///
    /// ```
    #[doc = include_str!("docs/text_pages.txt")]
    #[doc = include_str!("docs/rewritten_pages.txt")]
    /// # fn main() -> pagelog::Result<()> {
    /// let moved = |heads| -> pagelog::Result<u64> {
    ///     let cache: PageCache<Text> = config().relocation_heads(heads).open()?;
    ///     write_a_few_pages_often(&cache)?;
    ///     Ok(cache.stats().counts.relocated_bytes)
    /// };
    /// // Pages that are written often are kept apart from those that are not.
    /// assert!(moved(3)? < moved(1)?);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn relocation_heads(mut self, heads: u8) -> Self {
        self.relocation_heads = Some(heads);
        self
    }

    /// Whether to write snapshots, on closing and every [`snapshot_interval`](Self::snapshot_interval) bytes. They
    /// only make opening faster. Default true.
    ///
    /// ```
    #[doc = include_str!("docs/text_pages.txt")]
    /// # use pagelog::Storage;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// for on in [true, false] {
    ///     let storage = Arc::new(MemoryStorage::new());
    ///     let cache: PageCache<Text> = Config::with_storage(storage.clone()).snapshots(on).open()?;
    ///     cache.allocate(Text("a page".into()))?;
    ///     cache.close()?;
    ///     let is_there = storage.list()?.iter().any(|name| name.starts_with("snapshot-"));
    ///     assert_eq!(is_there, on);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn snapshots(mut self, on: bool) -> Self {
        self.snapshots = on;
        self
    }

    /// How many bytes of log may come between two snapshots, at least 4096. Default 128 MiB. Snapshots that are large
    /// themselves come less often.
    ///
    /// ```
    #[doc = include_str!("docs/text_pages.txt")]
    #[doc = include_str!("docs/rewritten_pages.txt")]
    /// # fn main() -> pagelog::Result<()> {
    /// let snapshots = |config: Config| -> pagelog::Result<u64> {
    ///     let cache: PageCache<Text> = config.open()?;
    ///     write_most_twice(&cache)?;
    ///     Ok(cache.stats().counts.snapshots)
    /// };
    /// assert!(snapshots(config().snapshot_interval(4096))? > 0);
    /// assert_eq!(snapshots(config())?, 0);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn snapshot_interval(mut self, bytes: u64) -> Self {
        self.snapshot_interval = bytes;
        self
    }

    /// How many links a page may collect before the next one is written as the whole merged page, 1 to 10 000.
    ///
    /// By default that depends on the page: 128, or more, up to 4096, for as long as they are shorter together than half of
    /// the page's last whole record. So what is written for small links to a large page stays within three times the links'
    /// own records. A lower number makes misses cheaper, and takes less memory (some 40 bytes a link, and the size of a
    /// fragment); what it costs, `cargo bench --bench appends` shows. Whatever is set, pages collect fewer links while nodes
    /// take more than a quarter of [`cache_capacity`](Self::cache_capacity), but not less than four for that.
    ///
    /// ```
    #[doc = include_str!("docs/text_pages.txt")]
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let config = || Config::with_storage(Arc::new(MemoryStorage::new()));
    /// let cache: PageCache<Text> = config().max_chain_length(4).open()?;
    /// let page = cache.allocate(Text("x".repeat(1000)))?;
    /// let mut version = page.version;
    /// for _ in 0..10 {
    ///     let linked = cache.link(page.page_id, version, Text("y".into()))?;
    ///     version = linked.done().ok_or("somebody was quicker")?;
    /// }
    /// let counts = cache.stats().counts;
    /// assert_eq!((counts.links, counts.consolidations), (8, 2));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn max_chain_length(mut self, links: u32) -> Self {
        self.max_chain_length = Some(links);
        self
    }

    /// How many bytes of links a page may collect, as a multiple of its base record, before the next link is written
    /// as the whole merged page: 0.1 to 1000. Default 4.
    ///
    /// ```
    #[doc = include_str!("docs/text_pages.txt")]
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let config = || Config::with_storage(Arc::new(MemoryStorage::new()));
    /// let cache: PageCache<Text> = config().max_chain_ratio(0.5).open()?;
    /// let page = cache.allocate(Text("x".repeat(1000)))?;
    /// let mut version = page.version;
    /// for _ in 0..10 {
    ///     let linked = cache.link(page.page_id, version, Text("y".repeat(100)))?;
    ///     version = linked.done().ok_or("somebody was quicker")?;
    /// }
    /// // Links of some 500 bytes in all, and then the whole page.
    /// assert!(cache.stats().counts.consolidations > 0);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn max_chain_ratio(mut self, ratio: f64) -> Self {
        self.max_chain_ratio = ratio;
        self
    }

    /// Compresses the payloads of pages and links by zstd, at a level from -7 (fastest) to 22: each record by itself, and only
    /// if that saves an eighth of it. Default: not at all. Records that exist stay as they are, and can be read at any
    /// setting. Short payloads gain most with a dictionary,
    /// [`train_dictionary`](crate::PageCache::train_dictionary).
    ///
    /// Each thread that compresses keeps buffers of some hundred KiB, which are not on the cache's budget.
    ///
    /// ```
    #[doc = include_str!("docs/text_pages.txt")]
    /// # fn main() -> pagelog::Result<()> {
    /// # let config = || Config::with_storage(Arc::new(MemoryStorage::new()));
    /// let cache: PageCache<Text> = config().compression(3).open()?;
    /// cache.allocate(Text("always the same ".repeat(500)))?;
    /// let counts = cache.stats().counts;
    /// assert_eq!(counts.payloads_compressed, 1);
    /// assert!(counts.compression_saved_bytes > 7000);
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "compression")]
    #[must_use]
    pub fn compression(mut self, level: i32) -> Self {
        self.compression = Some(level);
        self
    }

    /// How many bytes a payload, compressed if that is on, can have and still be put in the log, at least 32. What is longer goes to
    /// a file of its own, and so does what does not fit in a segment, whatever the limit. Default: a quarter of a segment, but at
    /// least 16 KiB.
    ///
    /// A large value costs a file, and a sync of it and of the directory *before* the verb returns; on the other hand it is written
    /// once, and garbage collection never moves it. Values that are stored already stay where they are.
    ///
    /// ```
    #[doc = include_str!("docs/text_pages.txt")]
    /// # fn main() -> pagelog::Result<()> {
    /// # let config = || Config::with_storage(Arc::new(MemoryStorage::new()));
    /// let cache: PageCache<Text> = config().inline_limit(100).open()?;
    /// cache.allocate(Text("x".repeat(100)))?;
    /// assert_eq!(cache.stats().large_values, 0);
    /// cache.allocate(Text("x".repeat(101)))?;
    /// assert_eq!(cache.stats().large_values, 1);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn inline_limit(mut self, bytes: u32) -> Self {
        self.inline_limit = Some(bytes);
        self
    }

    /// The longest encoded fragment that is taken, in bytes: 1 to 1 GiB, which is the default. A longer one is
    /// [`ValueTooLarge`](Error::ValueTooLarge). The merged page that a link causes to be written counts as one. Values that are
    /// stored already can be read at any setting.
    ///
    /// ```
    #[doc = include_str!("docs/text_pages.txt")]
    /// # use pagelog::Error;
    /// # fn main() -> pagelog::Result<()> {
    /// # let config = || Config::with_storage(Arc::new(MemoryStorage::new()));
    /// let cache: PageCache<Text> = config().max_value_size(500).open()?;
    /// cache.allocate(Text("x".repeat(500)))?;
    /// let refused = cache.allocate(Text("x".repeat(501)));
    /// assert!(matches!(refused, Err(Error::ValueTooLarge { length: 501, maximum: 500 })));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn max_value_size(mut self, bytes: u64) -> Self {
        self.max_value_size = bytes;
        self
    }

    /// The disk may damage a whole block of so many bytes when the power fails while any part of it is being written, also what was durable in
    /// it: a power of two from 512 to 64 Ki, of which the segment size is a multiple; 4096 for most disks that do. Default 0: what is not being
    /// written stays as it is.
    ///
    /// With it no flush touches a block that an earlier one has written: each ends with a block, which is filled up, and a claim of segments
    /// writes the manifest anew. Small commits take more space, see the [tuning guide](crate::docs::tuning). It is a promise about
    /// what is written from now on: a store can be opened with and without.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use pagelog::{Config, Log, MemoryStorage};
    /// # fn main() -> pagelog::Result<()> {
    /// # let config = || Config::with_storage(Arc::new(MemoryStorage::new()));
    /// let log = Log::open(config().torn_block_size(4096))?;
    /// let first = log.append(b"first")?;
    /// log.flush()?;
    /// // What comes next is in a block of its own, so writing it can't damage what is stable.
    /// let second = log.append(b"second")?;
    /// assert!(first.get() / 4096 < second.get() / 4096);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn torn_block_size(mut self, bytes: u32) -> Self {
        self.torn_block_size = bytes;
        self
    }

    /// Opens without writing a byte. Default false.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use pagelog::{Config, Error, Log, MemoryStorage};
    /// # fn main() -> pagelog::Result<()> {
    /// # let storage = Arc::new(MemoryStorage::new());
    /// # let config = || Config::with_storage(storage.clone());
    /// # let log = Log::open(config())?;
    /// # log.append(b"entry")?;
    /// # log.close()?;
    /// let log = Log::open(config().read_only(true))?;
    /// assert_eq!(log.iter_from(log.first_lsn())?.count(), 1);
    /// assert!(matches!(log.append(b"another"), Err(Error::ReadOnly)));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn read_only(mut self, on: bool) -> Self {
        self.read_only = on;
        self
    }

    /// Removes the directory when the store is dropped. Default false.
    ///
    /// ```
    /// # use pagelog::{Config, Log};
    /// # fn main() -> pagelog::Result<()> {
    /// # let place = tempfile::tempdir().unwrap();
    /// # let path = place.path().join("temporary");
    /// let log = Log::open(Config::new(&path).temporary(true))?;
    /// log.append(b"entry")?;
    /// assert!(path.exists());
    /// drop(log);
    /// assert!(!path.exists());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn temporary(mut self, on: bool) -> Self {
        self.temporary = on;
        self
    }

    /// The configuration of an instance that is about to be opened: what it remembers of its storage is its own.
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
