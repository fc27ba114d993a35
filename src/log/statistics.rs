//! What a bare log does and holds.

use super::bare::Log;
use crate::ids::Lsn;
use crate::stats::figures;

figures! {
    /// Figures of a bare log. Counters count since it was opened; gauges are of the moment, each read on its
    /// own. What only a page cache does is not counted: its counters stay at 0.
    ///
    /// ```
    #[doc = include_str!("../docs/bare_log.txt")]
    /// # fn main() -> pagelog::Result<()> {
    /// # let log = open()?;
    /// let lsn = log.append(b"entry")?;
    /// assert!(log.stats().stable_lsn <= lsn);
    /// log.flush()?;
    /// let stats = log.stats();
    /// assert!(stats.stable_lsn > lsn);
    /// assert!(stats.to_openmetrics().contains("pagelog_syncs_total 1\n"));
    /// # log.close()
    /// # }
    /// ```
    pub struct LogStats {
        /// Bytes of write buffers.
        buffer_bytes: u64;
        /// The size of the log file in bytes.
        log_file_bytes: u64;
        /// Segments that the log file has room for.
        segments: u32;
        /// Segments that can be used at once.
        free_segments: u32;
        /// The oldest LSN that the log still reaches back to.
        first_lsn: Lsn;
        /// Where the log ends.
        tail_lsn: Lsn;
        /// Up to where the log is stable.
        stable_lsn: Lsn;
    }
}

impl Log {
    /// Figures of this log. Cheap, but not free: some are summed up, which takes some microseconds.
    ///
    /// ```
    #[doc = include_str!("../docs/bare_log.txt")]
    /// # let log = open()?;
    /// log.append(b"entry")?;
    /// let stats = log.stats();
    /// assert!(stats.stable_lsn < stats.tail_lsn, "not all is stable");
    /// log.flush()?;
    /// assert_eq!(log.stats().latencies.syncs.count(), 1);
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    #[must_use]
    pub fn stats(&self) -> LogStats {
        let core = self.core();
        let supply = core.supply().figures();
        LogStats {
            counts: core.counters().read(),
            latencies: core.counters().latencies(),
            buffer_bytes: core.buffer_memory(),
            log_file_bytes: supply.file_length(core.geometry()),
            segments: supply.slots,
            free_segments: supply.free,
            first_lsn: self.first_lsn(),
            tail_lsn: core.tail(),
            stable_lsn: self.stable_lsn(),
        }
    }
}
