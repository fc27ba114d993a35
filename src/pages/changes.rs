//! Which ranges of the table have changed since the last snapshot: one mark for each.
//!
//! A snapshot writes down only ranges that are marked. It must not miss a change that replay would not bring
//! back. So:
//!
//! - **(A) Marked after publishing, before completing.** Whoever changes a page publishes the change in the
//!   table, *then* marks the range, and *then* completes the reservation of its record. Whoever moves a
//!   record exchanges its cell, then marks, and then lets go of the collector's turn.
//! - **(B) Begin first.** A snapshot first determines its begin: all reservations below it are completed and
//!   no relocation is under way. *Then* it takes the marks away, *then* it walks the ranges that were marked.
//!
//! So take the record of a change. If it lies below the begin, its range was marked before the marks were
//! taken: it is in this snapshot. If it lies at or above the begin, and its mark was taken, then it had been
//! published before, and the walk sees it. If it was marked later, the mark is there for the next snapshot,
//! and until then replay from this one's begin covers it.
//!
//! - **(C) One of the two sees the other.** A mark that is there is not set again, for that would be a write
//!   to a shared cache line with each change. So a writer may find a mark that is just being taken, and leave
//!   it at that. Then the walk must see the change. The writer publishes, then loads the mark; the snapshot
//!   takes the mark, then loads the page. All four are sequentially consistent, or have a fence between, so
//!   not both loads can miss.
//! - **(D) Given back.** A snapshot that comes to nothing marks its ranges again.

use crate::ids::RangeId;
use crate::pages::fragment::Fragment;
use crate::pages::table::PageTable;
use crate::sync::atomic::{AtomicU8, Ordering, fence};

/// The mark of one range.
#[derive(Debug)]
#[repr(transparent)]
pub(super) struct ChangeMark(AtomicU8);

impl ChangeMark {
    #[cfg(loom)]
    pub(super) fn new() -> Self {
        Self(AtomicU8::new(0))
    }

    /// To be called after a page of the range was changed by a sequentially consistent exchange (A, C).
    #[inline]
    pub(super) fn set(&self) {
        // The model checker takes sequentially consistent accesses for weaker ones; there, a fence stands
        // between.
        #[cfg(all(loom, not(weakened = "mark_fence")))]
        fence(Ordering::SeqCst);
        if self.0.load(Ordering::SeqCst) == 0 {
            self.0.store(1, Ordering::Release);
        }
    }

    /// As [`set`](Self::set), after a change by a weaker exchange.
    pub(super) fn set_after_fence(&self) {
        fence(Ordering::SeqCst);
        self.set();
    }

    /// Takes the mark away. Whether there was one is the answer.
    fn take(&self) -> bool {
        self.0.load(Ordering::Relaxed) != 0 && self.0.swap(0, Ordering::SeqCst) != 0
    }
}

impl<F: Fragment> PageTable<F> {
    /// The beginning of a snapshot: settles what its begin is, and then takes the marks (B). Returns the
    /// ranges that were marked, by rising numbers.
    pub(crate) fn take_changes<T, E>(
        &self,
        settle: impl FnOnce() -> Result<T, E>,
    ) -> Result<(T, Vec<RangeId>), E> {
        if cfg!(weakened = "marks_taken_before_begin") {
            let changed = self.take_marks();
            return Ok((settle()?, changed));
        }
        let begin = settle()?;
        Ok((begin, self.take_marks()))
    }

    fn take_marks(&self) -> Vec<RangeId> {
        let marked = self.marks().filter_map(|(range, mark)| mark.take().then_some(range)).collect();
        // (C), for the walk.
        fence(Ordering::SeqCst);
        marked
    }

    /// Marks a range: it changed while nobody else had the table, or a snapshot that has its changes came to
    /// nothing (D).
    pub(crate) fn mark_changed(&self, range: RangeId) {
        if let Some(leaf) = self.leaf(range.first()) {
            leaf.mark(range).set_after_fence();
        }
    }
}
