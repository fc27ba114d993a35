//! Who syncs, and who waits: one leader, one sync for all.
//!
//! Whoever needs a higher stable LSN and finds nobody leading leads: it writes what is sealed, syncs once,
//! and moves the stable LSNs. Whoever comes meanwhile waits and finds its LSN covered, or leads the next
//! round, for all who came in between. No timer delays a commit: a sync begins as soon as the device is free.
//! A thread that commits alone passes one uncontended lock and nothing else.
//!
//! Leadership is given back by a destructor, so a leader that fails or panics cannot keep the others waiting.
//!
//! # Those who do not wait
//!
//! A [`Commit`](super::commit::Commit) is polled. It leaves a waker instead of blocking, under the lock under
//! which leadership is given back:
//!
//! - **(A) No wake-up is lost.** A leader moves the stable LSNs, *then* takes the lock, gives leadership back
//!   and takes the wakers. Whoever leaves a waker takes the lock, *then* looks whether there still is
//!   something to wait for. So either it sees what the leader has done, or its waker is there when the leader
//!   takes them. The same holds for poison, for the end of the instance and for the end of a batch: each is
//!   noted first, and then passes the lock.
//! - **(B) Somebody goes on.** Where a thread syncs for commits (`committer`), only those are woken that are
//!   done. Where there is none, all are woken after each round: those that are not done find nobody leading,
//!   and one of them leads.
//!
//! Wakers are called without the lock.

use std::collections::BTreeMap;
use std::task::Waker;
use std::time::Duration;

use crate::ids::{HeadId, HeadLsns, Lsn};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex};

/// The stable LSNs, and the place of the leader.
#[derive(Debug)]
pub(crate) struct Durability {
    stable: [AtomicU64; HeadId::COUNT],
    state: Mutex<State>,
    changed: Condvar,
    /// Something is wanted of the thread that syncs for commits.
    asked: Condvar,
}

#[derive(Debug, Default)]
struct State {
    leading: bool,
    /// Whom to wake, by ticket, and up to where they wait.
    waiting: BTreeMap<u64, (Lsn, Waker)>,
    tickets: u64,
    /// A thread syncs for those who wait.
    has_committer: bool,
    /// Up to where it is to sync.
    wanted: Lsn,
}

impl State {
    /// Whom to wake now.
    fn take_woken(&mut self, stable: Lsn) -> BTreeMap<u64, (Lsn, Waker)> {
        if !self.has_committer || self.waiting.is_empty() {
            return std::mem::take(&mut self.waiting);
        }
        let (done, waiting) =
            std::mem::take(&mut self.waiting).into_iter().partition(|(_, (bound, _))| *bound <= stable);
        self.waiting = waiting;
        done
    }
}

fn wake(woken: BTreeMap<u64, (Lsn, Waker)>) {
    woken.into_values().for_each(|(_, waker)| waker.wake());
}

/// What the thread that syncs for commits is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// To sync up to there.
    Reach(Lsn),
    /// Its time has come.
    Tick,
    /// Nothing any more.
    End,
}

/// The right to sync. Dropping it lets the next one lead.
#[derive(Debug)]
pub(crate) struct Leader<'a>(&'a Durability);

impl Durability {
    pub(crate) fn new(stable: &HeadLsns) -> Self {
        Self {
            stable: stable.map(|lsn| AtomicU64::new(lsn.0)),
            state: Mutex::new(State::default()),
            changed: Condvar::new(),
            asked: Condvar::new(),
        }
    }

    /// Everything of that head below this LSN survives a power cut.
    #[inline]
    pub(crate) fn stable(&self, head: HeadId) -> Lsn {
        self.stable.get(head.index()).map_or(Lsn(0), |cell| Lsn(cell.load(Ordering::Acquire)))
    }

    /// The stable LSN of every head.
    pub(crate) fn all_stable(&self) -> HeadLsns {
        self.stable.each_ref().map(|cell| Lsn(cell.load(Ordering::Acquire)))
    }

    /// The stable LSNs of all heads at one moment: no record below one of them says of another head that it
    /// was stable further.
    pub(crate) fn stable_together(&self) -> HeadLsns {
        loop {
            let (before, after) = (self.all_stable(), self.all_stable());
            if before == after {
                return before;
            }
        }
    }

    /// Becomes the leader, or waits for the present one to finish and returns `None`: look at the stable LSN
    /// again.
    pub(crate) fn lead(&self) -> Option<Leader<'_>> {
        let mut state = self.state.lock();
        if state.leading {
            drop(self.changed.wait(state));
            return None;
        }
        state.leading = true;
        Some(Leader(self))
    }

    /// Waits until more than `seen` of the fresh head is stable, until `is_over`, or for so long at most.
    pub(crate) fn wait_beyond(&self, seen: Lsn, mut patience: Duration, is_over: impl Fn() -> bool) {
        let mut state = self.state.lock();
        while self.stable(HeadId::FRESH) <= seen && !is_over() && !patience.is_zero() {
            (state, patience) = self.changed.wait_for(state, patience);
        }
    }

    /// Becomes the leader if there is none; waits for nobody.
    pub(crate) fn try_lead(&self) -> Option<Leader<'_>> {
        self.lead_within(Duration::ZERO)
    }

    /// Becomes the leader as soon as there is no other one, unless that takes longer than `patience`.
    pub(crate) fn lead_within(&self, mut patience: Duration) -> Option<Leader<'_>> {
        let mut state = self.state.lock();
        while state.leading && !patience.is_zero() {
            (state, patience) = self.changed.wait_for(state, patience);
        }
        (!std::mem::replace(&mut state.leading, true)).then(|| Leader(self))
    }

    /// Lets all waiters look again, after writing has stopped.
    pub(crate) fn wake(&self) {
        let woken = if cfg!(weakened = "wake_past_the_lock") {
            BTreeMap::new()
        } else {
            std::mem::take(&mut self.state.lock().waiting)
        };
        self.changed.notify_all();
        self.asked.notify_all();
        wake(woken);
    }

    /// Lets those look again who wait for the end of a batch.
    pub(crate) fn batch_ended(&self) {
        let mut state = self.state.lock();
        let woken = state.take_woken(Lsn(0));
        drop(state);
        self.asked.notify_all();
        wake(woken);
    }

    /// Leaves a waker, if `is_blocked` says that there is something to wait for; it is told whether somebody
    /// leads, or syncs for those who wait. False if not: look again. The ticket is the commit's, so that
    /// polling often does not leave many wakers.
    pub(crate) fn leave_waker(
        &self,
        ticket: &mut Option<u64>,
        bound: Lsn,
        waker: &Waker,
        is_blocked: impl Fn(bool) -> bool,
    ) -> bool {
        let looked_first =
            cfg!(weakened = "commit_looks_first").then(|| is_blocked(self.state.lock().leading));
        let mut state = self.state.lock();
        if !looked_first.unwrap_or_else(|| is_blocked(state.leading)) {
            return false;
        }
        let ticket = *ticket.get_or_insert_with(|| {
            state.tickets += 1;
            state.tickets
        });
        // Dropped without the lock, as it is the user's.
        let old = state.waiting.insert(ticket, (bound, waker.clone()));
        drop(state);
        drop(old);
        true
    }

    /// Takes a waker back.
    pub(crate) fn forget_waker(&self, ticket: u64) {
        let waker = self.state.lock().waiting.remove(&ticket);
        drop(waker);
    }

    /// Says whether a thread syncs for those who wait.
    pub(crate) fn set_committer(&self, there_is_one: bool) {
        let mut state = self.state.lock();
        state.has_committer = there_is_one;
        // If it has gone, the others have to help themselves.
        let woken = state.take_woken(Lsn(0));
        drop(state);
        wake(woken);
    }

    pub(crate) fn has_committer(&self) -> bool {
        self.state.lock().has_committer
    }

    /// Asks the thread that syncs for commits, if there is one, to sync up to there.
    pub(crate) fn ask(&self, bound: Lsn) {
        let mut state = self.state.lock();
        if state.has_committer && bound > state.wanted {
            state.wanted = bound;
            drop(state);
            self.asked.notify_all();
        }
    }

    /// Waits for something to do, for the thread that syncs for commits, until it is time to tick.
    /// `reachable` says how far one gets on the way to what is wanted, and `is_over` when nothing is wanted
    /// any more.
    pub(crate) fn next_wish(
        &self,
        mut patience: Duration,
        reachable: impl Fn(Lsn) -> Lsn,
        is_over: impl Fn() -> bool,
    ) -> Wish {
        let mut state = self.state.lock();
        loop {
            if is_over() {
                return Wish::End;
            }
            let stable = self.stable(HeadId::FRESH);
            if state.wanted > stable && reachable(state.wanted) > stable {
                return Wish::Reach(state.wanted);
            }
            if patience.is_zero() {
                return Wish::Tick;
            }
            (state, patience) = self.asked.wait_for(state, patience);
        }
    }
}

impl Leader<'_> {
    /// Moves the stable LSNs. They only rise.
    pub(crate) fn advance(&self, head: HeadId, stable: Lsn) {
        // Looked at first: a head that nothing was written to stays in the caches of those who look at it.
        if let Some(cell) =
            self.0.stable.get(head.index()).filter(|cell| cell.load(Ordering::Relaxed) < stable.0)
        {
            cell.fetch_max(stable.0, Ordering::AcqRel);
        }
    }
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.leading = false;
        let woken = state.take_woken(self.0.stable(HeadId::FRESH));
        drop(state);
        self.0.changed.notify_all();
        wake(woken);
    }
}
