//! Whose contents to drop next, and dropping them.
//!
//! The policy is in `queues`. It is told of pages that came in by announcements (`arrivals`), and of hits by
//! a few bits in each page's newest node ([`NodeRef::touch`](crate::pages::node_ref::NodeRef::touch)); so
//! neither readers nor writers come here.
//!
//! - **(A)** Who evicts holds the queues' mutex, and no other path takes it. Others that find it taken go on
//!   with what they were doing, at once or after a bounded time, as they choose. So a thread that is stopped
//!   while it evicts stops nobody; and a user's `drop`, which may run under the mutex (for the collector runs
//!   wherever memory is handed to it), can't deadlock.
//! - **(B)** A page with contents is in a queue, or announced, or being announced (`arrivals`, B). The
//!   evictor takes a page out of its queue, and then either puts it into one again without having touched its
//!   bit, or clears the bit, looks at it, drops what it can, and puts it into a queue again exactly if
//!   something stays *and* nobody else has announced it since.
//! - **(C)** Pages leave the queues when their turn comes, not before. One that was freed, or whose contents
//!   went by another way, is found empty then and forgotten. So the queues hold at most as many entries as
//!   there are bits set. A page that takes the id of a freed one over while that is in a queue takes its turn
//!   over too.
//! - **(D)** A page that keeps contents because their records are not written goes to the end of its queue
//!   and is found again after the others of that queue.

use std::time::Duration;

use crate::location::Place;
use crate::pages::chain::Head;
use crate::pages::fragment::Fragment;
use crate::pages::queues::{Queues, Turn};
use crate::pages::table::PageTable;
use crate::sync::Mutex;
use crate::sync::epoch::{self, Guard};

/// The outcome of a sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    /// Bytes that will be freed as soon as readers allow.
    pub(crate) bytes: u64,
    /// Pages that lost contents.
    pub(crate) pages: u64,
    /// Times that a page kept contents because their records are not written yet: write, then sweep again.
    pub(crate) unwritten: u64,
}

/// How much of a sweep is wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Want {
    /// So many bytes, if they can be had.
    pub(crate) bytes: u64,
    /// Whether to have them from pages that should stay, rather than to come back short because those that
    /// should go are not written yet.
    pub(crate) insist: bool,
    /// So long another thread that is at it may be waited for.
    pub(crate) patience: Duration,
}

/// Who drops contents.
#[derive(Debug)]
pub(crate) struct Evictor {
    queues: Mutex<Queues>,
}

impl Evictor {
    /// For a cache that holds so many bytes.
    pub(crate) fn new(capacity: u64) -> Self {
        Self { queues: Mutex::new(Queues::new(capacity)) }
    }

    /// Drops contents until so many bytes were dropped, or until there is nothing left that can be. `None` if
    /// another thread is at it for longer than was to be waited.
    pub(crate) fn sweep<F: Fragment>(
        &self,
        table: &PageTable<F>,
        want: Want,
        is_written: impl Fn(Place, u32) -> bool,
    ) -> Option<Swept> {
        let mut queues = self.queues.try_lock().or_else(|| self.queues.try_lock_for(want.patience))?;
        // Not before: who waits should not keep memory from being freed.
        let guard = epoch::pin();
        take_over(table, &guard, &mut queues);
        let (mut swept, mut patience) = (Swept::default(), queues.patience());
        while swept.bytes < want.bytes {
            let Some(turn) = queues.next(&mut patience, want.insist) else { break };
            take_turn(table, turn, &guard, &is_written, &mut queues, &mut swept);
        }
        Some(swept)
    }

    /// Takes over the pages that have come in, unless another thread is at it.
    pub(crate) fn take_arrivals<F: Fragment>(&self, table: &PageTable<F>) {
        if let Some(mut queues) = self.queues.try_lock() {
            take_over(table, &epoch::pin(), &mut queues);
        }
    }

    /// Keeps others from evicting, as a thread does that is stopped while it evicts.
    #[cfg(test)]
    pub(crate) fn stop(&self) -> impl Drop + '_ {
        self.queues.lock()
    }

    /// How many pages are in the queues.
    #[cfg(test)]
    pub(crate) fn queued(&self) -> usize {
        self.queues.lock().len()
    }
}

fn take_over<F: Fragment>(table: &PageTable<F>, guard: &Guard, queues: &mut Queues) {
    table.take_arrivals(|page_id| {
        queues.arrive(page_id, table.head(page_id, guard).map_or(0, Head::weight));
    });
}

fn take_turn<F: Fragment>(
    table: &PageTable<F>,
    turn: Turn,
    guard: &Guard,
    is_written: impl Fn(Place, u32) -> bool,
    queues: &mut Queues,
    swept: &mut Swept,
) {
    let Some(head) = table.head(turn.page_id, guard) else { return };
    let newest = head.newest();
    if let Some(left) = turn.spares(newest.touches()) {
        newest.set_touches(left);
        queues.spare(turn, head.weight());
        return;
    }
    let (mut bytes, mut weight) = (0, 0);
    let stays = table.look_at(turn.page_id, guard, |head| {
        let evicted = head.evict(&is_written);
        head.newest().set_touches(0);
        (bytes, weight) = (evicted.bytes, head.weight());
        swept.unwritten += u64::from(evicted.some_stay);
        evicted.some_stay
    });
    swept.bytes += bytes;
    swept.pages += u64::from(bytes > 0);
    if stays {
        queues.put_back(turn, weight);
    } else if bytes > 0 {
        queues.evicted(turn);
    }
}
