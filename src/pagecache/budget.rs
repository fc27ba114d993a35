//! Keeping to the memory budget.
//!
//! What counts: contents of pages, dead memory that waits for readers, and write buffers. Every verb that can make the sum
//! grow ends here. Over the budget it drops contents, those not read lately first. What is not yet in the file can't be dropped;
//! then what can be written is written, without a sync, and the hand goes round once more.
//!
//! Dead memory is freed when readers have moved on. A thread that holds no guard helps that along, and gives way to readers
//! for a few moments, so that writers can't outrun the collector; nobody waits for it.

use super::shared::Inner;
use crate::error::Result;
use crate::ids::PageId;
use crate::pages::Fragment;
use crate::pages::eviction::Swept;
use crate::stats::Counter;
use crate::sync::atomic::Ordering;
use crate::sync::epoch;

/// The share of the budget that may be dead before writers help to free it.
const DEAD_SHARE: u64 = 16;
/// How often a writer gives way to readers.
const YIELDS: u32 = 16;

impl<F: Fragment> Inner<F> {
    /// All bytes that the budget covers.
    #[inline]
    pub(super) fn memory(&self) -> u64 {
        self.budget.used() + self.core.buffer_memory()
    }

    #[inline]
    pub(super) fn keep_budget(&self) {
        if self.memory() > self.budget.capacity() {
            self.shrink();
        }
    }

    #[cold]
    fn shrink(&self) {
        for _ in 0..2 {
            let alive = self.memory().saturating_sub(self.budget.dead());
            let wanted = alive.saturating_sub(self.budget.capacity());
            if wanted == 0 {
                break;
            }
            let swept = self.sweep(wanted);
            let stuck = swept.bytes < wanted && swept.unwritten > 0;
            if !stuck || self.write_for_room().is_err() {
                break;
            }
        }
        self.hurry_the_dead();
        if self.memory() > self.budget.capacity() {
            self.core.counters().one(Counter::OverBudget);
        }
    }

    fn sweep(&self, wanted: u64) -> Swept {
        let guard = epoch::pin();
        let end = PageId(self.next_page_id.load(Ordering::Relaxed));
        let is_written = |place, length| self.core.is_written(place, length);
        let swept = self.hand.sweep(&self.table, end, wanted, &guard, is_written);
        self.core.counters().add(Counter::Eviction, swept.pages);
        swept
    }

    /// Writes what keeps contents from being dropped.
    fn write_for_room(&self) -> Result<()> {
        self.core.gate().admit_flush()?;
        self.core.write_out()
    }

    fn hurry_the_dead(&self) {
        let limit = self.budget.capacity() / DEAD_SHARE;
        if self.budget.dead() <= limit {
            return;
        }
        if epoch::is_pinned() {
            // A reader that pages in. Under its guard the epoch can move by one step and no further; its next guard lets it
            // move on. Without this step readers would leave it to one pin in 128.
            epoch::pin().flush();
            return;
        }
        for _ in 0..YIELDS {
            epoch::pin().flush();
            if self.budget.dead() <= limit {
                return;
            }
            std::thread::yield_now();
        }
    }
}
