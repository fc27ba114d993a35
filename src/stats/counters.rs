//! Counters of one instance, spread over cache lines so that counting costs no contention.

use std::time::Duration;

use crossbeam_utils::CachePadded;

use super::metric::{Metric, MetricValue, metric_name};
use super::thread_number::ThreadNumber;
use super::timings::{Latencies, Stopwatch, Timed, Timings};
use crate::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[doc = $help:literal])+ $variant:ident => $field:ident,)*) => {
        /// What is counted.
        #[derive(Clone, Copy, Debug)]
        pub(crate) enum Counter { $($variant,)* }

        const COUNTERS: usize = [$(Counter::$variant),*].len();

        /// What an instance did since it was opened.
        ///
        /// ```
        #[doc = include_str!("../docs/bare_log.txt")]
        /// # fn main() -> pagelog::Result<()> {
        /// # let log = open()?;
        /// log.append(b"first")?;
        /// log.append(b"second")?;
        /// log.flush()?;
        /// let counts = log.stats().counts;
        /// assert_eq!((counts.payload_bytes, counts.syncs), (5 + 6, 1));
        /// // Each entry has a header, and so has the segment.
        /// assert!(counts.written_bytes > counts.fresh_bytes && counts.fresh_bytes > counts.payload_bytes);
        /// # Ok(())
        /// # }
        /// ```
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Counts { $($(#[doc = $help])+ pub $field: u64,)* }

        impl Counts {
            /// Each as a metric.
            pub(crate) fn metrics<'a>(&self) -> Vec<Metric<'a>> {
                vec![$(Metric::new(
                    metric_name!($field),
                    concat!($($help),+).trim_ascii(),
                    MetricValue::Counter(self.$field),
                )),*]
            }
        }

        impl Counters {
            /// The sums over all threads. Not one moment's: each counter is read on its own.
            pub(crate) fn read(&self) -> Counts {
                Counts { $($field: self.sum(Counter::$variant),)* }
            }
        }
    };
}

counters! {
    /// Reads that found the page in memory.
    Hit => hits,
    /// Reads that had to read records from the log.
    Miss => misses,
    /// Records read for misses and consolidations.
    RecordRead => records_read,
    /// Reads of the log file for misses and consolidations: records of one page that lie close together are
    /// read with one.
    Read => reads,
    /// Bytes that reads for misses and consolidations read, with what lies between the records.
    ReadBytes => read_bytes,
    /// Pages whose contents were dropped from memory.
    Eviction => evictions,
    /// Pages allocated.
    Allocate => allocations,
    /// Links done, consolidations not counted.
    Link => links,
    /// Replacements done.
    Replace => replacements,
    /// Pages freed.
    Free => frees,
    /// Compare-and-swaps that lost.
    LostRace => lost_races,
    /// Links that were written as the whole merged page.
    Consolidation => consolidations,
    /// Bytes of records that users' calls logged, headers included; a consolidation counts with the whole
    /// page.
    FreshBytes => fresh_bytes,
    /// Bytes of payload that users' calls handed in, as encoded; a consolidation counts with the fragment
    /// alone.
    PayloadBytes => payload_bytes,
    /// Payloads that were compressed.
    Compressed => payloads_compressed,
    /// Bytes by which compression made payloads shorter.
    CompressionSaved => compression_saved_bytes,
    /// Bytes written to the log file as records, marks and headers. The zeros that new segments are filled
    /// with once, the manifest and snapshots are not in it.
    WrittenBytes => written_bytes,
    /// Writes to the log file.
    Write => writes,
    /// Syncs of the log file.
    Sync => syncs,
    /// Times that an appending thread had to wait for a buffer.
    BackPressure => back_pressure_waits,
    /// Values written to files of their own, also those whose writer lost its race.
    LargeValue => large_values_written,
    /// Bytes of the files that values were written to.
    LargeValueBytes => large_value_written_bytes,
    /// Files of values that were removed.
    LargeValueRemoved => large_values_removed,
    /// Bytes of the files of values that were removed.
    LargeValueRemovedBytes => large_value_removed_bytes,
    /// Records moved by garbage collection.
    RelocatedRecord => relocated_records,
    /// Bytes of records moved by garbage collection.
    RelocatedBytes => relocated_bytes,
    /// Records moved by garbage collection that had been moved before.
    MovedAgain => records_moved_again,
    /// Records that were copied to be moved, and were superseded before the copy could take their place.
    LostRelocation => lost_relocations,
    /// Segments that garbage collection worked through.
    Victim => victims,
    /// Segments claimed in a slot that held one before, or that was free when the store was opened.
    SegmentReused => segments_reused,
    /// Segments opened.
    SegmentOpened => segments_opened,
    /// Times that the log file was made shorter.
    Shrink => shrinks,
    /// Snapshots published.
    Snapshot => snapshots,
    /// Batches sealed.
    Batch => batches,
    /// Times that the memory budget could not be kept, for instance because a guard held on.
    OverBudget => over_budget,
}

/// The counters of one [`ThreadNumber`].
#[derive(Debug)]
struct Cells([AtomicU64; COUNTERS]);

/// The counters of one instance, and its timings.
#[derive(Debug)]
pub(crate) struct Counters {
    shards: [CachePadded<Cells>; ThreadNumber::COUNT],
    timings: Timings,
}

impl Counters {
    pub(crate) fn new() -> Self {
        let cells = || CachePadded::new(Cells(std::array::from_fn(|_| AtomicU64::new(0))));
        Self { shards: std::array::from_fn(|_| cells()), timings: Timings::new() }
    }

    #[inline]
    pub(crate) fn add(&self, counter: Counter, amount: u64) {
        let number = ThreadNumber::owned();
        let cell = number.and_then(|number| self.cell(number, counter));
        match (number, cell) {
            (Some(number), Some(cell)) => number.add(cell, amount),
            _ => self.add_slowly(counter, amount),
        }
    }

    /// For the first count of a thread, and for threads that share their cells.
    #[cold]
    fn add_slowly(&self, counter: Counter, amount: u64) {
        let number = ThreadNumber::of_this();
        if let Some(cell) = self.cell(number, counter) {
            number.add(cell, amount);
        }
    }

    #[inline]
    fn cell(&self, number: ThreadNumber, counter: Counter) -> Option<&AtomicU64> {
        self.shards.get(number.index())?.0.get(counter as usize)
    }

    #[inline]
    pub(crate) fn one(&self, counter: Counter) {
        self.add(counter, 1);
    }

    /// Times what is done until the stopwatch is dropped.
    pub(crate) fn time(&self, timed: Timed) -> Stopwatch<'_> {
        Stopwatch::start(&self.timings, timed)
    }

    /// Does something, and times it.
    pub(crate) fn timed<R>(&self, timed: Timed, work: impl FnOnce() -> R) -> R {
        let _timed = self.time(timed);
        work()
    }

    /// Notes how long something took that one stopwatch can't accompany.
    pub(crate) fn took(&self, timed: Timed, duration: Duration) {
        self.timings.record(timed, duration);
    }

    /// How long what was timed took. For users only: nothing here may depend on it.
    pub(crate) fn latencies(&self) -> Latencies {
        self.timings.read()
    }

    fn sum(&self, counter: Counter) -> u64 {
        let cells = self.shards.iter().filter_map(|cells| cells.0.get(counter as usize));
        cells.map(|cell| cell.load(Ordering::Relaxed)).sum()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Counter, Counters};

    #[test]
    fn counts_of_many_threads_add_up() {
        let counters = Counters::new();
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| (0..100).for_each(|_| counters.one(Counter::Hit)));
            }
        });
        counters.add(Counter::WrittenBytes, 7);
        assert_eq!(counters.read().hits, 2000);
        assert_eq!(counters.read().written_bytes, 7);
    }
}
