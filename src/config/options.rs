//! The setters of [`Config`]: one for each option.

use std::time::Duration;

use super::{Config, VictimPolicy};

impl Config {
    /// The budget in bytes for page contents, the nodes of pages, dead memory that waits for readers, and
    /// write buffers. Default 64 MiB.
    ///
    /// Over the budget, contents are dropped that were not read again and again lately. Nodes can't be: 32
    /// bytes for each page that was used since the store was opened, and for each link to it since it was
    /// last written as a whole some 40 bytes and the size of a fragment. When they take more than a quarter
    /// of the budget, links write whole pages sooner; so a capacity of at least 600 bytes for each page that
    /// is linked to saves writing. See the [architecture](crate::docs::architecture), which also says what is
    /// not on the budget, and [`Stats::node_bytes`](crate::Stats::node_bytes).
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    #[doc = include_str!("../docs/rewritten_pages.txt")]
    /// # fn main() -> pagelog::Result<()> {
    /// let cache: PageCache<Text> = small_segments().cache_capacity(64 << 10).open()?;
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

    /// The segment size in bytes, 512 to 64 Mi. Fixed when the store is created: a store that exists keeps
    /// its own, and opening it with another one is an error. Default: the store's own, 1 MiB for a new one.
    ///
    /// A record must fit in a segment; a value that does not goes to a file of its own, see
    /// [`inline_limit`](Self::inline_limit).
    ///
    /// ```
    #[doc = include_str!("../docs/bare_log.txt")]
    /// # fn main() -> pagelog::Result<()> {
    /// # let config = config();
    /// let log = Log::open(config.clone().segment_size(4096))?;
    /// let too_long = log.append(&[0; 5000]);
    /// assert!(matches!(too_long, Err(Error::ValueTooLarge { .. })));
    /// log.close()?;
    /// // It was fixed when the store was created.
    /// let other = Log::open(config.segment_size(8192));
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
    #[doc = include_str!("../docs/bare_log.txt")]
    /// # fn main() -> pagelog::Result<()> {
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
    #[doc = include_str!("../docs/bare_log.txt")]
    /// # fn main() -> pagelog::Result<()> {
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

    /// How large the log file may be, as a multiple of the live bytes in it, before garbage collection works
    /// on making segments free: 1.05 to 100. Default 1.25. On top come a segment for each write head, of
    /// which there are at most four, and one or two; and in stores of fewer than 110 segments what is kept in
    /// stock, five at most. A file that is larger, after a burst or because much was deleted, is made shorter
    /// by those who write. They wait for whoever is at it, and for a sync, some twenty milliseconds at most,
    /// rather than make it longer.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    #[doc = include_str!("../docs/rewritten_pages.txt")]
    /// # fn main() -> pagelog::Result<()> {
    /// let tight: PageCache<Text> = small_segments().space_target(1.25).open()?;
    /// write_most_twice(&tight)?;
    /// let loose: PageCache<Text> = small_segments().space_target(3.0).open()?;
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

    /// Whether the store has a thread of its own for what has to be done now and then: garbage collection,
    /// snapshots, claiming segments, making the file longer or shorter, and the syncs that this takes.
    /// Writers then do not pay for that as they go, unless they are quicker than the thread for long; with
    /// fewer writers than processors they are quicker, and are held up less. Without, nothing happens but
    /// what callers do, so runs can be repeated exactly. Only for page caches. Default false.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    #[doc = include_str!("../docs/rewritten_pages.txt")]
    /// # fn main() -> pagelog::Result<()> {
    /// let cache: PageCache<Text> = small_segments().background(true).open()?;
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

    /// Gives the store a thread of its own that syncs: what is new, at this interval, 1 ms to 1 day; and at
    /// once for each [`Commit`](crate::Commit) that waits, so that polling one never does I/O. Also for bare
    /// logs. Default: none, and nothing is synced but by the calls that say so, and by housekeeping.
    ///
    /// What is done, and not in a batch or behind a reservation that is still open, is stable after an
    /// interval and the time of a sync, or two if one was just going on. An interval in which nothing was
    /// written costs no sync.
    ///
    /// ```
    #[doc = include_str!("../docs/bare_log.txt")]
    /// # use std::thread;
    /// # use std::time::{Duration, Instant};
    /// # fn main() -> pagelog::Result<()> {
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
    #[doc = include_str!("../docs/text_pages.txt")]
    #[doc = include_str!("../docs/rewritten_pages.txt")]
    /// # fn main() -> pagelog::Result<()> {
    /// let cache: PageCache<Text> = small_segments().garbage_collection(false).open()?;
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
    #[doc = include_str!("../docs/text_pages.txt")]
    #[doc = include_str!("../docs/rewritten_pages.txt")]
    /// # use pagelog::VictimPolicy;
    /// # fn main() -> pagelog::Result<()> {
    /// let moved = |policy| -> pagelog::Result<u64> {
    ///     let cache: PageCache<Text> = small_segments().victim_policy(policy).open()?;
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

    /// How many kinds of records garbage collection keeps apart as it moves them, by how soon they may be
    /// expected to be superseded: 1 to 3. What lives long then stays in segments of its own and is seldom
    /// moved again. Each takes a segment that is partly filled. Default: 3 in a store of at least 64
    /// segments, 1 in a smaller one. On a full disk it is always 1, and in a store that was created before
    /// this could be chosen.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    #[doc = include_str!("../docs/rewritten_pages.txt")]
    /// # fn main() -> pagelog::Result<()> {
    /// let moved = |heads| -> pagelog::Result<u64> {
    ///     let cache: PageCache<Text> = small_segments().relocation_heads(heads).open()?;
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

    /// Whether to write snapshots, on closing and every [`snapshot_interval`](Self::snapshot_interval) bytes.
    /// They only make opening faster. Default true.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
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

    /// How many bytes of log may come between two snapshots, at least 4096. Default 128 MiB. Snapshots that
    /// are large themselves come less often.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    #[doc = include_str!("../docs/rewritten_pages.txt")]
    /// # fn main() -> pagelog::Result<()> {
    /// let snapshots = |config: Config| -> pagelog::Result<u64> {
    ///     let cache: PageCache<Text> = config.open()?;
    ///     write_most_twice(&cache)?;
    ///     Ok(cache.stats().counts.snapshots)
    /// };
    /// assert!(snapshots(small_segments().snapshot_interval(4096))? > 0);
    /// assert_eq!(snapshots(small_segments())?, 0);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn snapshot_interval(mut self, bytes: u64) -> Self {
        self.snapshot_interval = bytes;
        self
    }

    /// How many links a page may collect before the next one is written as the whole merged page, 1 to
    /// 10 000.
    ///
    /// By default that depends on the page: 128, or more, up to 4096, for as long as they are shorter
    /// together than half of the page's last whole record. So what is written for small links to a large page
    /// stays within three times the links' own records. A lower number makes misses cheaper, and takes less
    /// memory (some 40 bytes a link, and the size of a fragment); what it costs,
    /// `cargo bench --bench appends` shows. Whatever is set, pages collect fewer links while nodes take more
    /// than a quarter of [`cache_capacity`](Self::cache_capacity), but not less than four for that.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
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

    /// How many bytes of links a page may collect, as a multiple of its base record, before the next link is
    /// written as the whole merged page: 0.1 to 1000. Default 4.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
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

    /// Compresses the payloads of pages and links by zstd, at a level from -7 (fastest) to 22: each record by
    /// itself, and only if that saves an eighth of it. Default: not at all. Records that exist stay as they
    /// are, and can be read at any setting. Short payloads gain most with a dictionary,
    /// [`train_dictionary`](crate::PageCache::train_dictionary).
    ///
    /// Each thread that compresses keeps buffers of some hundred KiB, which are not on the cache's budget.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # fn main() -> pagelog::Result<()> {
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

    /// How many bytes a payload, compressed if that is on, can have and still be put in the log, at least 32.
    /// What is longer goes to a file of its own, and so does what does not fit in a segment, whatever the
    /// limit. Default: a quarter of a segment, but at least 16 KiB.
    ///
    /// A large value costs a file, and a sync of it and of the directory *before* the verb returns; on the
    /// other hand it is written once, and garbage collection never moves it. Values that are stored already
    /// stay where they are.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # fn main() -> pagelog::Result<()> {
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

    /// The longest encoded fragment that is taken, in bytes: 1 to 1 GiB, which is the default. A longer one
    /// is [`ValueTooLarge`](crate::Error::ValueTooLarge). The merged page that a link causes to be written
    /// counts as one. Values that are stored already can be read at any setting.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # use pagelog::Error;
    /// # fn main() -> pagelog::Result<()> {
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

    /// The disk may damage a whole block of so many bytes when the power fails while any part of it is being
    /// written, also what was durable in it: a power of two from 512 to 64 Ki, of which the segment size is a
    /// multiple; 4096 for most disks that do. Default 0: what is not being written stays as it is.
    ///
    /// With it no flush touches a block that an earlier one has written: each ends with a block, which is
    /// filled up, and a claim of segments writes the manifest anew. Small commits take more space, see the
    /// [tuning guide](crate::docs::tuning). It is a promise about what is written from now on: a store can be
    /// opened with and without.
    ///
    /// ```
    #[doc = include_str!("../docs/bare_log.txt")]
    /// # fn main() -> pagelog::Result<()> {
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
    #[doc = include_str!("../docs/bare_log.txt")]
    /// # fn main() -> pagelog::Result<()> {
    /// # let config = config();
    /// # let log = Log::open(config.clone())?;
    /// # log.append(b"entry")?;
    /// # log.close()?;
    /// let log = Log::open(config.read_only(true))?;
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
}
