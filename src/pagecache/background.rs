//! A thread of the store's own that does the housekeeping, so that writers need not: see
//! [`Config::background`](crate::Config::background).
//!
//! Writers still say when something is due, and the thread does the same steps in the same way as they would.
//! So there is one kind of housekeeping, and with the thread off a run is as deterministic as its callers.
//!
//! - **(A)** *The debt is bounded.* Writers that are quicker than the thread lend a hand with what is due, if
//!   nobody is at it; far ahead of it they wait for whoever is. So because of the thread the file grows by
//!   what is written in so many steps at most.
//! - **(B)** *The thread keeps nobody's store open.* It shares the instance, while handles share an
//!   [`Owner`]; the last of those stops the thread and waits for its end before the store is closed. So
//!   closing is over when `close` or the last drop returns.
//! - **(C)** *A store at rest writes nothing.* The thread sleeps until a writer wakes it, and looks at no
//!   clock.

use std::sync::Arc;

use super::shared::Inner;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::log::{Committer, Due};
use crate::pages::Fragment;
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Condvar, Mutex};

/// How many steps are due when writers lend a hand (A).
const HELP: u32 = 8;
/// How many steps are due when writers wait for their turn (A).
const WAIT: u32 = 16;

/// What is due and not done.
#[derive(Debug)]
pub(super) struct Backlog {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug)]
struct State {
    steps: u32,
    /// How many of them are for segments that were begun.
    segments: u32,
    stop: bool,
}

impl State {
    fn add(&mut self, due: Due) {
        self.steps = self.steps.saturating_add(1);
        self.segments = self.segments.saturating_add(u32::from(due == Due::Segment));
    }
}

/// What a writer has to do about the housekeeping that it came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    Nothing,
    /// A step, if nobody else is at it.
    Step,
    /// A step, when whoever is at it has done.
    StepInTurn,
}

impl Backlog {
    fn new() -> Self {
        Self { state: Mutex::new(State { steps: 0, segments: 0, stop: false }), wake: Condvar::new() }
    }

    /// Notes that a step is due. What the caller is to do itself is no longer in the backlog.
    pub(super) fn add(&self, due: Due) -> Share {
        let mut state = self.state.lock();
        if state.steps >= HELP {
            // One more for one less.
            return if state.steps >= WAIT { Share::StepInTurn } else { Share::Step };
        }
        state.add(due);
        drop(state);
        self.wake.notify_all();
        Share::Nothing
    }

    /// Notes what a writer found nobody's time for.
    pub(super) fn add_undone(&self, due: Due) {
        self.state.lock().add(due);
    }

    /// Waits for something to do. `None` if there will be no more.
    fn next(&self) -> Option<Due> {
        let mut state = self.state.lock();
        loop {
            if state.stop {
                return None;
            }
            if state.steps > 0 {
                state.steps -= 1;
                if state.segments == 0 {
                    return Some(Due::Step);
                }
                state.segments -= 1;
                return Some(Due::Segment);
            }
            state = self.wake.wait(state);
        }
    }

    fn stop(&self) {
        self.state.lock().stop = true;
        self.wake.notify_all();
    }
}

/// What the handles of an instance share: with the last of them it ends.
pub(crate) struct Owner<F: Fragment> {
    pub(super) inner: Arc<Inner<F>>,
    worker: Mutex<Option<JoinHandle<()>>>,
    committer: Committer,
}

impl<F: Fragment> Owner<F> {
    /// Starts the threads, if there are to be any.
    pub(super) fn new(inner: Arc<Inner<F>>, config: &Config) -> Result<Self> {
        let committer = Committer::start(&inner.core, config.flush_interval)?;
        let owner = Self { inner, worker: Mutex::new(None), committer };
        if owner.inner.backlog.is_some() {
            // If there is no thread to be had, the owner is dropped, and the instance closed.
            *owner.worker.lock() = Some(start(&owner.inner)?);
        }
        Ok(owner)
    }

    /// Ends the threads, and closes the instance.
    pub(super) fn close(&self) -> Result<()> {
        if let Some(backlog) = &self.inner.backlog {
            backlog.stop();
        }
        let worker = self.worker.lock().take();
        // A user's value that is dropped by the thread may own a handle, the last one even. The thread can't
        // wait for itself, and will find that it is to stop.
        if let Some(worker) = worker.filter(|worker| worker.thread().id() != thread::current().id()) {
            // It has no result, and a panic in it was reported.
            let _ = worker.join();
        }
        let closed = self.inner.close();
        self.committer.join();
        closed
    }
}

impl<F: Fragment> Drop for Owner<F> {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            ::log::error!("closing {}: {error}", self.inner.core.log_path());
        }
    }
}

/// A backlog, if there is to be a thread.
pub(super) fn backlog(wanted: bool) -> Option<Backlog> {
    wanted.then(Backlog::new)
}

fn start<F: Fragment>(inner: &Arc<Inner<F>>) -> Result<JoinHandle<()>> {
    let inner = Arc::clone(inner);
    let path = inner.core.log_path();
    let work = move || {
        while let Some(due) = inner.backlog.as_ref().and_then(Backlog::next) {
            inner.housekeeping(due);
        }
    };
    thread::Builder::new()
        .name("pagelog".into())
        .spawn(work)
        .map_err(|error| Error::io("start a thread for", path, error))
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use super::{Backlog, HELP, Share, WAIT};
    use crate::log::Due;

    #[test]
    fn writers_help_when_the_thread_is_behind_and_wait_when_it_is_far_behind() {
        let backlog = Backlog::new();
        for _ in 0..HELP {
            assert_eq!(backlog.add(Due::Step), Share::Nothing);
        }
        for _ in HELP..WAIT {
            assert_eq!(backlog.add(Due::Step), Share::Step);
            // Somebody else was at it.
            backlog.add_undone(Due::Step);
        }
        assert_eq!(backlog.add(Due::Step), Share::StepInTurn);
        // What a writer does itself is not left to the thread.
        (0..WAIT).for_each(|_| assert_eq!(backlog.next(), Some(Due::Step)));
        assert_eq!(backlog.add(Due::Segment), Share::Nothing);
        assert_eq!(backlog.next(), Some(Due::Segment));
        backlog.stop();
        assert_eq!(backlog.next(), None);
    }
}
