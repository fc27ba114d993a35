//! The thread that syncs for commits, and now and then for nobody: see
//! [`Config::flush_every`](crate::Config::flush_every).
//!
//! - **(A) It waits for no batch.** If a commit's bound lies in an open batch, what lies before the batch is
//!   synced at once, and the rest when the batch ends. So a commit whose bound is lower never waits for a
//!   batch on behalf of one whose bound is higher.
//! - **(B) The regular sync waits for nobody.** At its time it writes what can be written without waiting for
//!   a writer. Only for a commit does the thread wait for the reservations before it, as any thread that
//!   flushes would.
//! - **(C) It ends with the instance**, which stops the log and wakes it, and then waits for its end; or when
//!   writing has stopped.
//! - **(D) A failure that is not final is not retried at once**: the next try is at the time of the next
//!   regular sync.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::LogCore;
use super::durability::Wish;
use crate::error::{Error, Result};
use crate::ids::{HeadId, Lsn};
use crate::sync::Mutex;
use crate::sync::thread::{self, JoinHandle};

/// The thread, to be waited for after the log has been stopped.
#[derive(Debug)]
pub(crate) struct Committer(Mutex<Option<JoinHandle<()>>>);

impl Committer {
    /// Starts the thread, if there is to be one.
    pub(crate) fn start(core: &Arc<LogCore>, interval: Option<Duration>) -> Result<Self> {
        let Some(interval) = interval.filter(|_| !core.gate().is_read_only()) else {
            return Ok(Self(Mutex::new(None)));
        };
        // Before it runs: a commit that is made from now on asks for it.
        core.durability().set_committer(true);
        let its_core = Arc::clone(core);
        let work = move || its_core.commit_for_others(interval);
        let thread = thread::Builder::new().name("pagelog-commit".into()).spawn(work);
        let thread = thread.map_err(|error| Error::io("start a thread for", core.log_path(), error))?;
        Ok(Self(Mutex::new(Some(thread))))
    }

    /// Waits for its end, after the log has been stopped.
    pub(crate) fn join(&self) {
        let thread = self.0.lock().take();
        // A waker that it calls may drop the last handle of the store.
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != thread::current().id()) {
            // It has no result, and a panic in it was reported.
            let _ = thread.join();
        }
    }
}

/// Lets commits help themselves when the thread has gone, however it went.
struct Farewell<'a>(&'a LogCore);

impl Drop for Farewell<'_> {
    fn drop(&mut self) {
        self.0.durability().set_committer(false);
    }
}

impl LogCore {
    fn commit_for_others(&self, interval: Duration) {
        let _farewell = Farewell(self);
        let reachable = |bound| self.batches().reachable(bound);
        let is_over = || self.gate().check_poison().is_err();
        let nowhere = |_| Lsn(0);
        let (mut failed, mut next_tick) = (false, Instant::now() + interval);
        loop {
            let patience = next_tick.saturating_duration_since(Instant::now());
            let wish = if failed {
                self.durability().next_wish(patience, nowhere, is_over)
            } else {
                self.durability().next_wish(patience, reachable, is_over)
            };
            let done = match wish {
                Wish::End => return,
                Wish::Reach(bound) => self.sync_below(bound),
                Wish::Tick => {
                    next_tick = Instant::now() + interval;
                    self.sync_what_is_new()
                }
            };
            failed = done.is_err();
            if let Err(error) = done {
                ::log::warn!("syncing {}: {error}", self.log_path());
            }
        }
    }

    /// One round, which reaches `bound`, or the begin of the batch that is in the way (A).
    fn sync_below(&self, bound: Lsn) -> Result<()> {
        loop {
            self.gate().check_poison()?;
            let reachable = self.batches().reachable(bound);
            if self.durability().stable(HeadId::FRESH) >= reachable {
                return Ok(());
            }
            if let Some(leader) = self.durability().lead() {
                return self.flush_round(&leader, reachable);
            }
        }
    }

    /// What can be written without waiting for a writer (B), if anything is not stable.
    fn sync_what_is_new(&self) -> Result<()> {
        while self.durability().stable(HeadId::FRESH) < self.tail() {
            self.gate().check_poison()?;
            if let Some(leader) = self.durability().lead() {
                self.write_out()?;
                return self.sync_written(&leader);
            }
        }
        Ok(())
    }
}
