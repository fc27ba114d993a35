//! What a check is told, and what it tells.

use std::time::Duration;

use crate::error::Corruption;

/// How to check a store: see [`PageCache::verify_with`](crate::PageCache::verify_with).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifyOptions {
    pub(super) decode: bool,
}

impl VerifyOptions {
    /// Every checksum, and the page table against the log. No user code runs.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether to decode the payload of each live record with the fragments' codec, too. Default false.
    #[must_use]
    pub fn decode(mut self, on: bool) -> Self {
        self.decode = on;
        self
    }
}

/// What a check of a store has found.
///
/// While others write, each segment is looked at at a moment of its own, so the counts are not those of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Segments of the log that were read.
    pub segments: u32,
    /// Records that match their checksums. The one that ends a segment is checked and not counted.
    pub records: u64,
    /// Those of them that the page table needs.
    pub live_records: u64,
    /// Those that it does not: superseded or cancelled ones, and the log's own (marks, batch boundaries).
    pub dead_records: u64,
    /// Bytes of live records.
    pub live_bytes: u64,
    /// Bytes that were read, of all files.
    pub bytes_read: u64,
    /// Segments whose account of live bytes was compared with the page table. Segments that are being filled are left out, and
    /// those that others change all the time.
    pub accounts_checked: u32,
    /// Large values that live records point to.
    pub large_values: u64,
    /// Bytes of their files.
    pub large_value_bytes: u64,
    /// Files of large values that no record needs. They do no harm; the next opening removes them.
    pub orphaned_files: u64,
    /// Whether there is a snapshot; then it was checked.
    pub has_snapshot: bool,
    /// How long it took.
    pub duration: Duration,
    /// All damage that was found, each with its place: at most 65 536 of them.
    pub faults: Vec<Corruption>,
    /// Damage that was found beyond that.
    pub more_faults: u64,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty() && self.more_faults == 0
    }
}
