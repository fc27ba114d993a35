//! Who syncs, and who waits: one leader, one sync for all.
//!
//! Whoever needs a higher stable LSN and finds nobody leading leads: it writes what is sealed, syncs once, and moves the
//! stable LSNs. Who comes meanwhile waits and finds its LSN covered, or leads the next round, for all who came in between. No
//! timer delays a commit: a sync begins as soon as the device is free. A thread that commits alone passes one
//! uncontended lock and nothing else.
//!
//! Leadership is given back by a destructor, so a leader that fails or panics cannot keep the others waiting.

use crate::ids::{HeadId, HeadLsns, Lsn};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex};

/// The stable LSNs, and the place of the leader.
#[derive(Debug)]
pub(crate) struct Durability {
    stable: [AtomicU64; HeadId::COUNT],
    leading: Mutex<bool>,
    changed: Condvar,
}

/// The right to sync. Dropping it lets the next one lead.
#[derive(Debug)]
pub(crate) struct Leader<'a>(&'a Durability);

impl Durability {
    pub(crate) fn new(stable: &HeadLsns) -> Self {
        let cell = |head: usize| AtomicU64::new(stable.get(head).map_or(0, |lsn| lsn.0));
        Self { stable: std::array::from_fn(cell), leading: Mutex::new(false), changed: Condvar::new() }
    }

    /// Everything of that head below this LSN survives a power cut.
    #[inline]
    pub(crate) fn stable(&self, head: HeadId) -> Lsn {
        self.stable.get(head.index()).map_or(Lsn(0), |cell| Lsn(cell.load(Ordering::Acquire)))
    }

    /// The stable LSN of every head.
    pub(crate) fn all_stable(&self) -> HeadLsns {
        let mut lsns = HeadLsns::default();
        for (lsn, cell) in lsns.iter_mut().zip(&self.stable) {
            *lsn = Lsn(cell.load(Ordering::Acquire));
        }
        lsns
    }

    /// The stable LSNs of all heads at one moment: no record below one of them says of another head that it was stable further.
    pub(crate) fn stable_together(&self) -> HeadLsns {
        loop {
            let (before, after) = (self.all_stable(), self.all_stable());
            if before == after {
                return before;
            }
        }
    }

    /// Becomes the leader, or waits for the present one to finish and returns `None`: look at the stable LSN again.
    pub(crate) fn lead(&self) -> Option<Leader<'_>> {
        let mut leading = self.leading.lock();
        if *leading {
            drop(self.changed.wait(leading));
            return None;
        }
        *leading = true;
        Some(Leader(self))
    }

    /// Becomes the leader if there is none; waits for nobody.
    pub(crate) fn try_lead(&self) -> Option<Leader<'_>> {
        let mut leading = self.leading.lock();
        (!std::mem::replace(&mut *leading, true)).then(|| Leader(self))
    }

    /// Lets all waiters look again, after writing has stopped.
    pub(crate) fn wake(&self) {
        drop(self.leading.lock());
        self.changed.notify_all();
    }
}

impl Leader<'_> {
    /// Moves the stable LSNs. They only rise.
    pub(crate) fn advance(&self, head: HeadId, stable: Lsn) {
        if let Some(cell) = self.0.stable.get(head.index()) {
            cell.fetch_max(stable.0, Ordering::AcqRel);
        }
    }
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        *self.0.leading.lock() = false;
        self.0.changed.notify_all();
    }
}
