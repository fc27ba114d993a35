//! Which page's contents to drop next: a hand that goes round over all page ids (CLOCK).
//!
//! A page that was read since the hand last came by is spared once. The hand goes in strides of ids
//! that share a word of the table's bitmap, so it steps over pages that hold nothing without visiting them; and several
//! threads can move it at the same time, each taking strides of its own.
//!
//! The rest of the cache knows the policy only by [`Hand::sweep`]; another one (SIEVE, S3-FIFO) would take its place there,
//! with [`NodeRef::touch`](crate::pages::chain::NodeRef::touch) as its news of hits.

use crate::ids::PageId;
use crate::location::Place;
use crate::pages::fragment::Fragment;
use crate::pages::table::{PageTable, STRIDE};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::epoch::Guard;

/// The outcome of a sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    /// Bytes that will be freed as soon as readers allow.
    pub(crate) bytes: u64,
    /// Pages that lost contents.
    pub(crate) pages: u64,
    /// Pages that kept contents because their records are not written yet: write, then sweep again.
    pub(crate) unwritten: u64,
}

/// The hand of the clock.
#[derive(Debug)]
pub(crate) struct Hand {
    next: AtomicU64,
}

impl Hand {
    pub(crate) fn new() -> Self {
        Self { next: AtomicU64::new(0) }
    }

    /// Moves on until so many bytes were dropped, or until it went round twice (once to take away what was spared, once to
    /// evict). `end` is above all page ids in use.
    pub(crate) fn sweep<F: Fragment>(
        &self,
        table: &PageTable<F>,
        end: PageId,
        wanted: u64,
        guard: &Guard,
        is_written: impl Fn(Place, u32) -> bool,
    ) -> Swept {
        let mut swept = Swept::default();
        // At least one, so that no remainder is taken by zero.
        let strides = end.0.div_ceil(STRIDE).max(1);
        for _ in 0..2 * strides {
            if swept.bytes >= wanted {
                break;
            }
            let stride = self.next.fetch_add(1, Ordering::Relaxed) % strides;
            table.sweep(PageId(stride * STRIDE), guard, |head| {
                let newest = head.newest();
                if newest.is_touched() {
                    newest.untouch();
                    return true;
                }
                let evicted = head.evict(&is_written);
                swept.bytes += evicted.bytes;
                swept.pages += u64::from(evicted.bytes > 0);
                swept.unwritten += u64::from(evicted.some_stay);
                evicted.some_stay
            });
        }
        swept
    }
}
