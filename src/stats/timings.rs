//! How long what is slow took.
//!
//! Timed is what crosses over to the disk or waits, never a link or a read that finds its page in memory:
//! those take about as long as two looks at a clock. A [`Stopwatch`] records when it is dropped, so what
//! fails, or panics, is timed too.

use std::time::Duration;

use super::histogram::{Histogram, Recorder};
use super::metric::{Metric, MetricValue, metric_name};
use crate::sync::Moment;

macro_rules! latencies {
    ($($(#[doc = $help:literal])+ $variant:ident => $field:ident, $metric:ident, $shards:literal;)*) => {
        /// What is timed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Timed { $(#[doc = stringify!($field)] $variant,)* }

        const TIMED: usize = [$(Timed::$variant),*].len();

        /// How long things took since the instance was opened, those that failed included. What an operation
        /// in memory takes is not measured: a clock would cost as much.
        ///
        /// ```
        #[doc = include_str!("../docs/bare_log.txt")]
        /// # fn main() -> pagelog::Result<()> {
        /// # let log = open()?;
        /// let before = log.stats().latencies;
        /// log.append(b"entry")?;
        /// log.flush()?;
        /// let between = log.stats().latencies.since(&before);
        /// assert_eq!(between.commit_waits.count(), 1);
        /// # log.close()
        /// # }
        /// ```
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Latencies { $($(#[doc = $help])+ pub $field: Histogram,)* }

        impl Latencies {
            /// Adds those of another instance.
            ///
            /// ```
            #[doc = include_str!("../docs/bare_log.txt")]
            /// # use pagelog::Latencies;
            /// # fn main() -> pagelog::Result<()> {
            /// # let (orders, events) = (open()?, open()?);
            /// let mut all = Latencies::default();
            /// for log in [&orders, &events] {
            ///     log.append(b"entry")?;
            ///     log.flush()?;
            ///     all.merge(&log.stats().latencies);
            /// }
            /// assert_eq!((all.writes.count(), all.syncs.count()), (2, 2));
            /// # Ok(())
            /// # }
            /// ```
            pub fn merge(&mut self, other: &Self) {
                $(self.$field.merge(&other.$field);)*
            }

            /// What was recorded since `earlier`, which are those of the same instance: see
            /// [`Histogram::since`].
            ///
            /// ```
            #[doc = include_str!("../docs/bare_log.txt")]
            /// # fn main() -> pagelog::Result<()> {
            /// # let log = open()?;
            /// log.append(b"before")?;
            /// log.flush()?;
            /// let before = log.stats().latencies;
            /// log.append(b"after")?;
            /// log.flush()?;
            /// let since = log.stats().latencies.since(&before);
            /// assert_eq!((since.writes.count(), since.syncs.count()), (1, 1));
            /// # Ok(())
            /// # }
            /// ```
            #[must_use]
            pub fn since(&self, earlier: &Self) -> Self {
                Self { $($field: self.$field.since(&earlier.$field),)* }
            }

            /// Each as a metric, in seconds.
            pub(crate) fn metrics(&self) -> Vec<Metric<'_>> {
                vec![$(Metric::new(
                    metric_name!($metric, "_duration_seconds"),
                    concat!($($help),+).trim_ascii(),
                    MetricValue::Histogram(&self.$field),
                )),*]
            }
        }

        impl Timings {
            pub(super) fn new() -> Self {
                Self { recorders: [$(Recorder::new($shards)),*] }
            }

            pub(super) fn read(&self) -> Latencies {
                let [$($field),*] = &self.recorders;
                Latencies { $($field: $field.read(),)* }
            }
        }
    };
}

latencies! {
    /// How long writes to the log file took.
    Write => writes, write, 1;
    /// How long syncs of the log file took.
    Sync => syncs, sync, 1;
    /// How long calls waited for something to be stable that was not yet; what is polled or awaited is not in
    /// it.
    CommitWait => commit_waits, commit_wait, 1;
    /// How long appending threads waited for a buffer, or wrote full ones to get one.
    BufferWait => buffer_waits, buffer_wait, 1;
    /// How long it took to read, check and decode records of a page that were not in memory, for a read or to
    /// write the page as a whole.
    PageRead => page_reads, page_read, 4;
    /// How long it took to write a value to a file of its own, with the syncs.
    LargeValueWrite => large_value_writes, large_value_write, 1;
    /// How long it took to write a claim of segments, or another entry of the manifest, with the sync.
    ManifestWrite => manifest_writes, manifest_write, 1;
    /// How long garbage collection took for a stretch of a segment, which is what it does in one piece.
    CleaningStretch => cleaning_stretches, cleaning_stretch, 1;
    /// How long steps of the housekeeping took: garbage collection, snapshots and the rest, done by a writer
    /// in passing or by the store's own thread.
    Housekeeping => housekeeping_steps, housekeeping_step, 1;
    /// How long snapshots that were published took from their begin on; one that writers take in passing is
    /// spread over many steps.
    Snapshot => snapshots, snapshot, 1;
}

/// The durations of one instance.
#[derive(Debug)]
pub(super) struct Timings {
    recorders: [Recorder; TIMED],
}

impl Timings {
    pub(super) fn record(&self, timed: Timed, duration: Duration) {
        if let Some(recorder) = self.recorders.get(timed as usize) {
            recorder.record(duration);
        }
    }
}

/// Records how long it lived.
#[must_use = "it records when it is dropped"]
#[derive(Debug)]
pub(crate) struct Stopwatch<'a> {
    timings: &'a Timings,
    timed: Timed,
    began: Moment,
}

impl<'a> Stopwatch<'a> {
    pub(super) fn start(timings: &'a Timings, timed: Timed) -> Self {
        Self { timings, timed, began: Moment::now() }
    }
}

impl Drop for Stopwatch<'_> {
    fn drop(&mut self) {
        self.timings.record(self.timed, self.began.elapsed());
    }
}
