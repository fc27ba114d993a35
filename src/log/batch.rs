//! Batches: stretches of the log that recovery takes as a whole or not at all.
//!
//! A batch is what lies between a begin record and the end record that names it, whoever wrote it. Until the
//! end is in the file, nothing behind the begin may be called stable, for recovery would cut the log there.
//!
//! # Invariants
//!
//! * **(A) Registered first.** The begin's LSN is registered before its reservation is released, and the
//!   end's before its own is. So nothing behind a begin can be *written* without this registry knowing the
//!   batch, nor behind an end without it knowing the end.
//! * **(B) [`stable_point`] is never inside a batch**: with (A), what it returns for a written LSN is final.
//!   Recovery's tip follows the same rule.
//! * **(C) One is open at a time**, so batches do not overlap, and the point rises with every end that is
//!   written.

use std::collections::VecDeque;
use std::sync::atomic::AtomicU64 as StdAtomicU64;

use crate::error::{Error, Result};
use crate::ids::Lsn;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Condvar, Mutex, thread_local};

/// A number for each thread, never zero.
pub(crate) fn thread_token() -> u64 {
    // A plain std atomic: the numbers only have to differ.
    static NEXT: StdAtomicU64 = StdAtomicU64::new(1);
    thread_local! {
        static TOKEN: u64 = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    // A thread that is being torn down gets a new number each time, which is nobody's.
    TOKEN.try_with(|token| *token).unwrap_or_else(|_| NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A batch in the log, from its begin record to behind its end record, if it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) begin: Lsn,
    pub(crate) end: Option<Lsn>,
}

impl Span {
    /// Whether what ends there ends within the batch.
    fn is_cut_at(&self, bound: Lsn) -> bool {
        self.begin < bound && self.end.is_none_or(|end| end > bound)
    }
}

/// How far the log is stable if everything below `written` is on disk: not into a batch whose end is not.
pub(crate) fn stable_point(written: Lsn, spans: impl IntoIterator<Item = Span>) -> Lsn {
    spans.into_iter().find(|span| span.is_cut_at(written)).map_or(written, |span| span.begin)
}

#[derive(Debug, Default)]
struct State {
    /// A batch is open, or about to be.
    taken: bool,
    /// Batches that are not stable as a whole, in the order of their begins; only the newest can lack its
    /// end.
    spans: VecDeque<Span>,
}

/// The batches of a log that are open, or closed and not yet stable.
#[derive(Debug)]
pub(crate) struct Batches {
    state: Mutex<State>,
    changed: Condvar,
    /// The token of the thread whose batch is open; zero if there is none.
    owner: AtomicU64,
    /// That thread logged something in its batch.
    dirty: AtomicBool,
}

impl Batches {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State::default()),
            changed: Condvar::new(),
            owner: AtomicU64::new(0),
            dirty: AtomicBool::new(false),
        }
    }

    /// Waits until no batch is open, then takes the place. Fails if the thread has one open itself.
    pub(crate) fn take(&self, check: impl Fn() -> Result<()>) -> Result<()> {
        if self.is_own() {
            return Err(Error::BatchOpen);
        }
        let mut state = self.state.lock();
        while state.taken {
            check()?;
            state = self.changed.wait(state);
        }
        check()?;
        state.taken = true;
        self.dirty.store(false, Ordering::Relaxed);
        self.owner.store(thread_token(), Ordering::Relaxed);
        Ok(())
    }

    /// Registers the begin, and only then has its reservation released (invariant A).
    pub(crate) fn begun(&self, begin: Lsn, release: impl FnOnce()) {
        if cfg!(weakened = "begin_released_first") {
            release();
            self.state.lock().spans.push_back(Span { begin, end: None });
            return;
        }
        self.state.lock().spans.push_back(Span { begin, end: None });
        release();
    }

    /// Registers the end, only then has its reservation released, and lets the next batch in.
    pub(crate) fn ended(&self, end: Lsn, release: impl FnOnce()) {
        let mut state = self.state.lock();
        if let Some(span) = state.spans.back_mut() {
            span.end = Some(end);
        }
        drop(state);
        release();
        self.abandoned();
    }

    /// Gives the place back without a batch.
    pub(crate) fn abandoned(&self) {
        let mut state = self.state.lock();
        self.leave(&mut state);
    }

    fn leave(&self, state: &mut State) {
        state.taken = false;
        self.owner.store(0, Ordering::Relaxed);
        self.changed.notify_all();
    }

    /// Whether a batch is open, of whichever thread.
    pub(crate) fn is_open(&self) -> bool {
        self.owner.load(Ordering::Relaxed) != 0
    }

    /// Whether the calling thread has the open batch.
    #[inline]
    pub(crate) fn is_own(&self) -> bool {
        let owner = self.owner.load(Ordering::Relaxed);
        owner != 0 && owner == thread_token()
    }

    /// The calling thread has logged something. What failed, was aborted or lost its race leaves memory as it
    /// was, so it does not count.
    #[inline]
    pub(crate) fn note_write(&self) {
        if self.owner.load(Ordering::Relaxed) != 0 && self.is_own() {
            self.dirty.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty.load(Ordering::Relaxed)
    }

    /// [`stable_point`] for the registered batches; forgets those that are stable as a whole.
    pub(crate) fn stable_point(&self, written: Lsn) -> Lsn {
        let mut state = self.state.lock();
        let point = stable_point(written, state.spans.iter().copied());
        state.spans.retain(|span| span.end.is_none_or(|end| end > point));
        point
    }

    /// The bound up to which a flush has to go so that everything below `bound` becomes stable: behind the
    /// end of the batch that `bound` lies in. Waits for that end if it is still open, and fails if it is the
    /// caller's own.
    pub(crate) fn cover(&self, bound: Lsn, check: impl Fn() -> Result<()>) -> Result<Lsn> {
        let mut state = self.state.lock();
        loop {
            if let Some(covered) = self.covered(&state, bound)? {
                return Ok(covered);
            }
            check()?;
            state = self.changed.wait(state);
        }
    }

    /// As [`cover`](Self::cover), without waiting: `None` if that would be to wait.
    pub(crate) fn try_cover(&self, bound: Lsn) -> Result<Option<Lsn>> {
        self.covered(&self.state.lock(), bound)
    }

    /// As [`cover`](Self::cover), but if that would be to wait, how far one gets without: up to the begin of
    /// the batch that is open.
    pub(crate) fn reachable(&self, bound: Lsn) -> Lsn {
        let state = self.state.lock();
        let cut = state.spans.iter().find(|span| span.is_cut_at(bound));
        cut.map_or(bound, |span| span.end.unwrap_or(span.begin))
    }

    fn covered(&self, state: &State, bound: Lsn) -> Result<Option<Lsn>> {
        match state.spans.iter().find(|span| span.is_cut_at(bound)) {
            None => Ok(Some(bound)),
            Some(Span { end: Some(end), .. }) => Ok(Some(*end)),
            Some(Span { end: None, .. }) if self.is_own() => Err(Error::BatchOpen),
            Some(Span { end: None, .. }) => Ok(None),
        }
    }

    /// Lets all waiters look again, after writing has stopped.
    pub(crate) fn wake(&self) {
        drop(self.state.lock());
        self.changed.notify_all();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Batches, Span, stable_point};
    use crate::error::Error;
    use crate::ids::Lsn;

    #[test]
    fn the_stable_point_is_never_inside_a_batch() {
        let spans = [Span { begin: Lsn(10), end: Some(Lsn(20)) }, Span { begin: Lsn(30), end: None }];
        let cases = [(5, 5), (10, 10), (11, 10), (19, 10), (20, 20), (25, 25), (30, 30), (31, 30), (99, 30)];
        for (written, expected) in cases {
            assert_eq!(stable_point(Lsn(written), spans), Lsn(expected), "written up to {written}");
        }
    }

    #[test]
    fn a_bound_inside_a_closed_batch_moves_behind_its_end() {
        let batches = Batches::new();
        batches.take(|| Ok(())).unwrap();
        batches.begun(Lsn(10), || {});
        assert!(matches!(batches.cover(Lsn(12), || Ok(())), Err(Error::BatchOpen)));
        assert!(matches!(batches.take(|| Ok(())), Err(Error::BatchOpen)));
        assert_eq!(batches.cover(Lsn(10), || Ok(())).unwrap(), Lsn(10));
        batches.ended(Lsn(20), || {});
        assert_eq!(batches.cover(Lsn(12), || Ok(())).unwrap(), Lsn(20));
        assert_eq!(batches.stable_point(Lsn(15)), Lsn(10));
        assert_eq!(batches.stable_point(Lsn(20)), Lsn(20));
        assert_eq!(batches.cover(Lsn(12), || Ok(())).unwrap(), Lsn(12));
    }
}
