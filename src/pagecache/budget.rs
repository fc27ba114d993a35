//! Keeping to the memory budget.
//!
//! What counts: contents of pages, their nodes, dead memory that waits for readers, and write buffers. Every
//! verb that can make the sum grow ends here. Over the budget it drops contents, as the evictor's policy
//! chooses them. What is not yet in the file can't be dropped; then what can be written is written, without a
//! sync, and the evictor is asked once more.
//!
//! Nodes stay for as long as their pages are what they are. When they take much of the budget, contents make
//! room for them, but only down to a floor: one part in [`FLOOR_SHARE`] is theirs whatever nodes take. With
//! less, each read would evict what the one before it brought in, for a budget that could not be kept all the
//! same. At the floor nothing is evicted on account of nodes, so nobody looks for pages in vain; what the sum
//! then exceeds the budget by is counted. Links see to it that there are fewer nodes (`consolidation`), which
//! is what keeps the sum within the budget unless there are more pages than there is room for.
//!
//! One thread evicts at a time, and only what is too much at that moment. Another that comes meanwhile goes
//! on; but if the budget is exceeded by more than a little, it gives the first a moment, and then evicts for
//! itself. The moment is bounded. So a thread that is stopped while it evicts slows the others down, which
//! then exceed the budget; it does not stop them.
//!
//! Dead memory is freed when readers have moved on. A thread that holds no guard helps that along, and gives
//! way to readers for a few moments, so that writers can't outrun the collector. A reader that pages in holds
//! a guard, and can't do that at once; it does before its next guard, so that readers can't outrun the
//! collector either. Readers that find all in memory owe nothing.
//!
//! A writer gives way with each write, also where that was in vain before: on a busy machine readers that
//! wait for a processor under their guards are what keeps memory from being freed. Writers that gave way less
//! often, only when an eighth more was dead, once had 25 times the budget waiting to be freed (the short soak
//! beside builds). And where other processes want the processors too, to give way lets these go on, and not
//! the reader: then writers had ten times the budget waiting (the long soak at a load of ten). So when half
//! of the budget is dead all the same, each write *waits* for readers to move on, by sleeping, up to
//! [`PATIENCE`]. A reader that stays, or was stopped, slows writers down to that pace, at which memory grows
//! by what they write in it; it does not stop them.

use std::time::Duration;

use super::shared::Inner;
use crate::error::Result;
use crate::pages::Fragment;
use crate::pages::eviction::{Swept, Want};
use crate::stats::Counter;
use crate::sync::{epoch, thread};

/// The share of the budget that may be dead before writers help to free it.
const DEAD_SHARE: u64 = 16;
/// The share of the budget by which it may be exceeded before a thread gives another that evicts a moment.
const EXCESS_SHARE: u64 = 32;
/// That moment: longer than most evictions, shorter than most reads from a disk that is busy.
const MOMENT: Duration = Duration::from_millis(1);
/// The share of the budget that contents have whatever nodes take.
const FLOOR_SHARE: u64 = 16;
/// How often a writer gives way to readers.
const YIELDS: u32 = 16;
/// The share of the budget that may be dead before writers wait for readers,
const MUCH_SHARE: u64 = 2;
/// but not less than this: waiting would save too little.
const MUCH: u64 = 1 << 20;
/// How long they wait with each write: some turns of a reader that has to share its processor with others.
const PATIENCE: Duration = Duration::from_millis(2);

impl<F: Fragment> Inner<F> {
    /// Helps to free dead memory if this thread owes that: it has paged in while much was dead.
    pub(super) fn give_owed_help(&self) {
        if !epoch::is_due() {
            return;
        }
        let dead = self.budget.dead();
        if !epoch::is_pinned() {
            self.help_free_the_dead();
        }
        let left = self.budget.dead();
        // If it did not help, somebody holds a guard for long, and the thread does not try again before it
        // pages in.
        let goes_on = left < dead && left > self.budget.capacity() / DEAD_SHARE;
        epoch::set_due(goes_on);
    }

    /// All bytes that the budget covers.
    #[inline]
    pub(super) fn memory(&self) -> u64 {
        self.budget.used() + self.core.buffer_memory()
    }

    /// The bytes of contents that are to be evicted: what is over the budget with nodes, but on their account
    /// not below the floor of contents; and in any case what would be over it without nodes.
    fn excess(&self) -> u64 {
        let (budget, capacity) = (&self.budget, self.budget.capacity());
        let nodes = budget.nodes();
        let contents = budget.used().saturating_sub(budget.dead() + nodes);
        let without_nodes = (contents + self.core.buffer_memory()).saturating_sub(capacity);
        let with_nodes = (contents + self.core.buffer_memory() + nodes).saturating_sub(capacity);
        with_nodes.min(contents.saturating_sub(capacity / FLOOR_SHARE)).max(without_nodes)
    }

    #[inline]
    pub(super) fn keep_budget(&self) {
        if self.memory() > self.budget.capacity() {
            self.come_down();
        }
        if self.table.has_many_arrivals() {
            self.evictor.take_arrivals(&self.table);
        }
    }

    #[cold]
    fn come_down(&self) {
        self.evict_excess();
        self.help_free_the_dead();
        if self.memory() > self.budget.capacity() {
            self.core.counters().one(Counter::OverBudget);
        }
    }

    /// Evicts what is over the budget, as far as that can be done now.
    fn evict_excess(&self) {
        for insist in [false, true] {
            let bytes = self.excess();
            if bytes == 0 {
                return;
            }
            let little = bytes <= self.budget.capacity() / EXCESS_SHARE;
            let patience = if little { Duration::ZERO } else { MOMENT };
            let Some(swept) = self.sweep(Want { bytes, insist, patience }) else { return };
            let stuck = swept.bytes < bytes && swept.unwritten > 0;
            if !stuck {
                return;
            }
            // What stops writing is told to the next who writes; here there are other pages to choose from.
            let _ = self.write_for_room();
        }
    }

    fn sweep(&self, want: Want) -> Option<Swept> {
        let is_written = |place, length| self.core.is_written(place, length);
        let swept = self.evictor.sweep(&self.table, want, is_written)?;
        self.core.counters().add(Counter::Eviction, swept.pages);
        Some(swept)
    }

    /// Writes what keeps contents from being dropped.
    fn write_for_room(&self) -> Result<()> {
        self.core.gate().admit_flush()?;
        self.core.write_out()
    }

    /// Helps to free dead memory, if there is much; under a guard only by a step.
    fn help_free_the_dead(&self) {
        let limit = self.budget.capacity() / DEAD_SHARE;
        if self.budget.dead() <= limit {
            return;
        }
        if epoch::is_pinned() {
            // A reader that pages in. Under its guard the epoch can move by one step and no further; the rest
            // is for the moment before its next guard.
            epoch::pin().flush();
            epoch::set_due(true);
            return;
        }
        for _ in 0..YIELDS {
            epoch::pin().flush();
            if self.budget.dead() <= limit {
                return;
            }
            thread::yield_now();
        }
        if self.budget.dead() > (self.budget.capacity() / MUCH_SHARE).max(MUCH) {
            // Whether they have moved on or not, there is a write to be done.
            let _ = epoch::outlasted(PATIENCE);
        }
    }
}
