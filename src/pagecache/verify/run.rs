//! The steps of a check, in order.
//!
//! # What is certain while others write
//!
//! Damage is reported only when it is certain.
//!
//! - **(A)** *Records* are read up to where the log was written when their segment's turn came. The segment
//!   is held meanwhile, not pinned: its bytes can't change, and readers and writers are not delayed.
//! - **(B)** *A live record* is one whose node says that it lies here. Nodes are looked at under short pins,
//!   and what a node points at stays what it is under the pin. So if it is not the record of that page and
//!   version, it is damage.
//! - **(C)** *All nodes* have their records if each segment's live records, as they were found, are those
//!   that the table has there. For both sides a number, a length and a sum of hashes is kept for each
//!   segment, not the records. Where the two sides differ, since others have written or since something is
//!   wrong, each node's record is read on its own (B).
//! - **(D)** *Accounts* are compared for segments that are full. Their live bytes only fall, after the record
//!   has left the page table. So if the account was the same before and after the table was walked, and the
//!   sum of the nodes is higher, it is wrong. If the sum is lower, somebody may be on the way from the table
//!   to the account; but under a pin, or in a turn of garbage collection. So when all pins from then are
//!   over, and nothing was moved, and the account still is the same, it is wrong.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Instant;

use super::report::{VerifyOptions, VerifyReport};
use crate::error::{Corruption, Error, Result};
use crate::ids::{PageId, SegmentId, SlotId, Version};
use crate::pagecache::shared::{Inner, PageCache};
use crate::pages::Fragment;
use crate::progress::{Progress, Reporter, Tell};
use crate::sync::atomic::Ordering;

/// Faults beyond so many are only counted.
const MOST_FAULTS: usize = 1 << 16;
/// What a page counts for in the progress, in bytes.
const BYTES_PER_PAGE: u64 = 16;

impl<F: Fragment> PageCache<F> {
    /// Checks the whole store: as [`verify_with`](Self::verify_with), without options and without telling how
    /// far it is.
    ///
    /// ```
    #[doc = include_str!("../../docs/text_pages.txt")]
    /// # let cache = open()?;
    /// cache.allocate(Text("hello".into()))?;
    /// cache.flush()?;
    /// let report = cache.verify()?;
    /// for fault in &report.faults {
    ///     eprintln!("{fault}");
    /// }
    /// assert!(report.is_sound());
    /// assert_eq!(report.live_records, 1);
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`verify_with`](Self::verify_with).
    pub fn verify(&self) -> Result<VerifyReport> {
        self.verify_with(VerifyOptions::new(), |_| ControlFlow::Continue(()))
    }

    /// Checks the whole store while it is in use, and reports all damage, not only the first.
    ///
    /// Reads the manifest, the snapshot, and all of the log that is written: every header against its claim,
    /// every record against its checksum. Then it compares the page table with the log: each live record must
    /// be of the page and version, and of the length, that the table says; and each full segment's account of
    /// live bytes must be their sum.
    ///
    /// Of each large value that a live record points to, the file is read and checked, too.
    ///
    /// Changes nothing, and works on read-only and poisoned instances too. It needs memory for a segment, and
    /// a few words for each; others go on as if it were not there, but a segment is not used again while it
    /// is being read, nor the file of a large value removed before all are. What is written after its
    /// segment's turn is checked only in part. What is not written yet is not checked.
    ///
    /// `progress` is told how far the check is after each segment; `Break` ends it. With
    /// [`decode`](VerifyOptions::decode) the codec runs, without a lock or guard held.
    ///
    /// ```
    #[doc = include_str!("../../docs/text_pages.txt")]
    /// # let cache = open()?;
    /// use std::ops::ControlFlow;
    /// use pagelog::{Error, VerifyOptions};
    ///
    /// cache.allocate(Text("a page".into()))?;
    /// cache.flush()?;
    /// let report = cache.verify_with(VerifyOptions::new().decode(true), |_| ControlFlow::Continue(()))?;
    /// assert!(report.is_sound() && report.live_records == 1);
    /// let stopped = cache.verify_with(VerifyOptions::new(), |_| ControlFlow::Break(()));
    /// assert!(matches!(stopped, Err(Error::Cancelled)));
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Closed`](Error::Closed); [`Io`](Error::Io) if something can't be read;
    /// [`Cancelled`](Error::Cancelled). Damage is not an error.
    pub fn verify_with(
        &self,
        options: VerifyOptions,
        mut progress: impl FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<VerifyReport> {
        let inner = &*self.inner;
        inner.core.gate().admit_read()?;
        let began = Instant::now();
        let mut verification = Verification::new(inner, options, &mut progress);
        verification.run()?;
        Ok(VerifyReport { duration: began.elapsed(), ..verification.report })
    }
}

/// Some live records of a segment, in a form that can be compared (C).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) records: u64,
    pub(super) bytes: u64,
    sum: u64,
}

impl Tally {
    pub(super) fn add(&mut self, page_id: PageId, version: Version, offset: u32, length: u32) {
        // The finalizer of SplitMix64; any mixing will do.
        let mut hash = page_id.0.rotate_left(32) ^ version.0.rotate_left(11) ^ u64::from(offset);
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        self.records += 1;
        self.bytes += u64::from(length);
        self.sum = self.sum.wrapping_add(hash ^ (hash >> 31));
    }
}

/// What was found of a segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scanned {
    pub(super) segment: SegmentId,
    pub(super) live: Tally,
    pub(super) damaged: bool,
}

/// A check that is under way.
pub(super) struct Verification<'a, F: Fragment> {
    pub(super) inner: &'a Inner<F>,
    pub(super) options: VerifyOptions,
    pub(super) report: VerifyReport,
    pub(super) scanned: BTreeMap<SlotId, Scanned>,
    /// The segment that is being read.
    pub(super) bytes: Vec<u8>,
    /// The faults at places of the log file.
    places: BTreeMap<u64, usize>,
    reporter: Reporter<'a>,
}

impl<'a, F: Fragment> Verification<'a, F> {
    fn new(inner: &'a Inner<F>, options: VerifyOptions, tell: Tell<'a>) -> Self {
        Self {
            inner,
            options,
            report: VerifyReport::default(),
            scanned: BTreeMap::new(),
            bytes: Vec::new(),
            places: BTreeMap::new(),
            reporter: Reporter::new(tell),
        }
    }

    fn run(&mut self) -> Result<()> {
        let segments: Vec<_> = self.inner.core.segments_in_use().collect();
        let pages = self.inner.next_page_id.load(Ordering::Acquire) * BYTES_PER_PAGE;
        let bytes: u64 = segments.iter().map(|segment| u64::from(segment.length)).sum();
        self.reporter.begin(bytes + pages)?;
        // What live records point to stays until they have been looked at.
        let hold = self.inner.core.large().hold();
        self.check_manifest()?;
        self.check_snapshot()?;
        self.check_dictionaries()?;
        for segment in segments {
            self.check_segment(segment)?;
            self.reporter.advance(segment.length.into())?;
        }
        drop(hold);
        self.report.orphaned_files = self.inner.core.large().orphans()?.len() as u64;
        self.check_table()?;
        self.reporter.advance(pages)
    }

    /// Notes damage. If there is a fault at that place of the log already, it gets to know its page.
    pub(super) fn fault(&mut self, fault: Corruption) {
        if fault.file == self.inner.core.log_path()
            && let Some(offset) = fault.offset
        {
            if let Some(known) = self.places.get(&offset).and_then(|index| self.report.faults.get_mut(*index))
            {
                known.page_id = known.page_id.or(fault.page_id);
                return;
            }
            self.places.insert(offset, self.report.faults.len());
        }
        if self.report.faults.len() < MOST_FAULTS {
            self.report.faults.push(fault);
        } else {
            self.report.more_faults += 1;
        }
    }

    /// Notes an error that means damage; any other is the answer.
    pub(super) fn damage(&mut self, error: Error) -> Result<()> {
        match error {
            Error::Corruption(corruption) => self.fault(*corruption),
            error => return Err(error),
        }
        Ok(())
    }
}
