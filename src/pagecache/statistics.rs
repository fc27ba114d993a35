//! What an instance does and holds.

use super::shared::{Inner, PageCache};
use crate::ids::{HeadId, Lsn};
use crate::pages::Fragment;
use crate::stats::{Latencies, figures};
use crate::sync::atomic::Ordering;

figures! {
    /// Figures of an instance. Counters count since it was opened; gauges are of the moment, each read on its
    /// own.
    ///
    /// [`metrics`](Self::metrics) lists them all, and [`to_openmetrics`](Self::to_openmetrics) is for
    /// monitoring systems:
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # fn main() -> pagelog::Result<()> {
    /// # let cache = open()?;
    /// cache.allocate(Text("a page".into()))?;
    /// cache.flush()?;
    /// let stats = cache.stats();
    /// assert_eq!((stats.counts.allocations, stats.page_ids), (1, 1));
    /// assert_eq!(stats.latencies.syncs.count(), stats.counts.syncs);
    /// assert!(stats.to_openmetrics().contains("pagelog_allocations_total 1\n"));
    /// # cache.close()
    /// # }
    /// ```
    pub struct Stats {
        /// The memory budget in bytes.
        cache_capacity: u64, and "_bytes";
        /// Bytes of page contents in memory.
        resident_bytes: u64;
        /// Bytes of the nodes of pages that were used since the store was opened, and of their links, with or
        /// without contents.
        node_bytes: u64;
        /// Bytes of memory that is given up and waits for readers.
        dead_bytes: u64;
        /// Bytes of write buffers.
        buffer_bytes: u64;
        /// Page ids that were ever handed out.
        page_ids: u64;
        /// Page ids that wait to be used again.
        free_page_ids: u64;
        /// Bytes of live records in the log, as far as it was written.
        live_bytes: u64;
        /// Values that are in files of their own.
        large_values: u64;
        /// Bytes of the files of large values.
        large_value_bytes: u64;
        /// Files of superseded values, which are removed when that is stable and readers have moved on.
        dead_large_values: u64;
        /// Bytes of the files of superseded values.
        dead_large_value_bytes: u64;
        /// The size of the log file in bytes.
        log_file_bytes: u64;
        /// Segments that the log file has room for.
        segments: u32;
        /// Segments that can be used at once.
        free_segments: u32;
        /// Segments that will be free after a flush, or when readers have moved on.
        emptied_segments: u32;
        /// Where users' log ends.
        tail_lsn: Lsn;
        /// Up to where users' log is stable.
        stable_lsn: Lsn;
    }
}

impl Stats {
    /// Bytes of the log file and of the files of large values.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # let cache = open()?;
    /// // Too long for a segment: it goes to a file of its own.
    /// cache.allocate(Text("x".repeat(1 << 20)))?;
    /// let stats = cache.stats();
    /// assert_eq!(stats.large_values, 1);
    /// assert_eq!(stats.size_on_disk(), stats.log_file_bytes + stats.large_value_bytes);
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    #[must_use]
    pub fn size_on_disk(&self) -> u64 {
        self.log_file_bytes + self.large_value_bytes + self.dead_large_value_bytes
    }

    /// Bytes of these files for each live byte in them; 1.0 for a store without live bytes.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    #[doc = include_str!("../docs/mostly_dead.txt")]
    /// # let cache = mostly_dead()?;
    /// // Every fourth of 400 pages is left.
    /// let stats = cache.stats();
    /// assert!(stats.live_bytes > 100_000 && stats.size_on_disk() > 400_000);
    /// assert!(stats.space_amplification() > 3.0);
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    #[must_use]
    pub fn space_amplification(&self) -> f64 {
        let live = self.live_bytes + self.large_value_bytes;
        if live == 0 { 1.0 } else { self.size_on_disk() as f64 / live as f64 }
    }

    /// Bytes written to the log, and to the files of large values, for each byte of payload that was handed
    /// in; 0.0 if there was none.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # let cache = open()?;
    /// assert_eq!(cache.stats().write_amplification(), 0.0);
    /// cache.allocate(Text("x".repeat(1000)))?;
    /// cache.flush()?;
    /// // A record has a header, and a segment, too.
    /// let written = cache.stats().write_amplification();
    /// assert!(1.0 < written && written < 1.5);
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    #[must_use]
    pub fn write_amplification(&self) -> f64 {
        match self.counts.payload_bytes {
            0 => 0.0,
            payload => {
                let written = self.counts.written_bytes + self.counts.large_value_written_bytes;
                written as f64 / payload as f64
            }
        }
    }
}

impl<F: Fragment> PageCache<F> {
    /// Figures of this instance. Cheap, but not free: some figures are summed up, which takes some
    /// microseconds.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # let cache = open()?;
    /// let page = cache.allocate(Text("a page".into()))?;
    /// assert!(cache.stats().stable_lsn < cache.stats().tail_lsn, "not all is stable");
    /// cache.flush()?;
    /// let stats = cache.stats();
    /// assert_eq!((stats.counts.allocations, stats.counts.syncs), (1, 1));
    /// assert!(stats.stable_lsn > page.lsn);
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats { latencies: self.inner.core.counters().latencies(), ..self.inner.figures() }
    }

    /// Bytes of the log file, and of the files of large values, for each live byte in them.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    #[doc = include_str!("../docs/mostly_dead.txt")]
    /// # let cache = mostly_dead()?;
    /// use std::ops::ControlFlow;
    ///
    /// // Every fourth of 400 pages is left.
    /// if cache.space_amplification() > 3.0 {
    ///     cache.compact(|_| ControlFlow::Continue(()))?;
    /// }
    /// assert!(cache.space_amplification() < 2.0);
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    #[must_use]
    pub fn space_amplification(&self) -> f64 {
        self.inner.figures().space_amplification()
    }

    /// The size of the log file and of the files of large values, in bytes.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # let cache = open()?;
    /// // Too long for a segment: it goes to a file of its own.
    /// cache.allocate(Text("x".repeat(1 << 20)))?;
    /// assert!(cache.size_on_disk() > 1 << 20);
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    #[must_use]
    pub fn size_on_disk(&self) -> u64 {
        self.inner.figures().size_on_disk()
    }

    /// Whether the store existed before it was opened.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # let storage = Arc::new(MemoryStorage::new());
    /// let cache: PageCache<Text> = Config::with_storage(storage.clone()).open()?;
    /// assert!(!cache.was_recovered());
    /// cache.close()?;
    /// let cache: PageCache<Text> = Config::with_storage(storage).open()?;
    /// assert!(cache.was_recovered());
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    #[must_use]
    pub fn was_recovered(&self) -> bool {
        self.inner.was_recovered
    }
}

impl<F: Fragment> Inner<F> {
    /// All but the latencies.
    fn figures(&self) -> Stats {
        let (core, budget) = (&self.core, &self.budget);
        let figures = core.supply().figures();
        let (dead, nodes) = (budget.dead_exactly(), budget.nodes_exactly());
        let large = core.large().figures();
        Stats {
            counts: core.counters().read(),
            latencies: Latencies::default(),
            cache_capacity: budget.capacity(),
            resident_bytes: budget.used_exactly().saturating_sub(dead + nodes),
            node_bytes: nodes,
            dead_bytes: dead,
            buffer_bytes: core.buffer_memory(),
            page_ids: self.next_page_id.load(Ordering::Relaxed).saturating_sub(1),
            free_page_ids: self.free_list.len(),
            live_bytes: core.accountant().live_bytes(),
            large_values: large.live,
            large_value_bytes: large.live_bytes,
            dead_large_values: large.dead,
            dead_large_value_bytes: large.dead_bytes,
            log_file_bytes: figures.file_length(core.geometry()),
            segments: figures.slots,
            free_segments: figures.free,
            emptied_segments: figures.emptied,
            tail_lsn: core.tail(),
            stable_lsn: core.durability().stable(HeadId::FRESH),
        }
    }
}
