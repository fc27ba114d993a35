//! A commit: the wish that something be stable, and what is left to its owner of seeing to that.
//!
//! Who syncs for a commit that nobody waits for in a thread of its own? There are no hidden threads, so:
//!
//! * With [`Config::flush_every`](crate::Config::flush_every) a thread of the store's own does, from the
//!   moment when the commit is made. Polling it only looks.
//! * Without, whoever polls does, as a leader that syncs for all, if nobody leads; if somebody does, it
//!   leaves its waker and will be polled again after that round. So a commit that is polled cannot hang for
//!   want of somebody who syncs; the price is that its poll may take as long as a sync.
//!
//! In both cases a poll never waits for a batch of another thread: its waker is called when that ends. Its
//! own batch, or reservation, is refused, as `flush` does, for it might wait for itself.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::core::LogCore;
use super::reservation::refuse_holder;
use crate::error::Result;
use crate::ids::{HeadId, Lsn};

/// What was done up to some LSN, on its way to being stable: to be waited for, looked at, or awaited as a
/// future.
///
/// Made by [`PageCache::flush_later`](crate::PageCache::flush_later) and its likes. It needs no particular
/// runtime, and owns what it needs: it can be sent elsewhere, and outlive the handle. When the store is
/// closed, which makes everything stable, it is done too. Dropping it takes nothing back: it is a wish, not a
/// change.
///
/// **Who syncs?** With [`Config::flush_every`](crate::Config::flush_every) the store's own thread, at once,
/// and no poll ever does I/O. Without, whoever polls syncs, for all who wait; so a poll can take as long as a
/// sync, and waits for reservations of other threads. [`is_stable`](Self::is_stable) only looks, in both
/// cases.
///
/// Its waker is called by whichever thread makes the LSN stable, or fails to, which may be in the midst of a
/// write; like any waker, it should schedule and nothing else.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use pagelog::{Config, Log, MemoryStorage};
///
/// async fn store(log: &Log, entry: &[u8]) -> pagelog::Result<()> {
///     let lsn = log.append(entry)?;
///     log.make_stable_later(lsn)?.await
/// }
///
/// # fn main() -> pagelog::Result<()> {
/// let config = Config::with_storage(Arc::new(MemoryStorage::new())).flush_every(Duration::from_millis(50));
/// let log = Log::open(config)?;
/// // Or without any async code: go on, and wait where it matters.
/// log.append(b"first")?;
/// let commit = log.flush_later()?;
/// log.append(b"second")?;
/// commit.wait()?;
/// assert!(commit.is_stable()?);
/// # Ok(())
/// # }
/// ```
#[must_use = "without `flush_every` nothing is made stable before it is waited for or polled"]
pub struct Commit {
    core: Arc<LogCore>,
    /// All below is to be stable.
    bound: Lsn,
    /// Under which it has left a waker.
    ticket: Option<u64>,
}

impl Commit {
    pub(crate) fn new(core: &Arc<LogCore>, bound: Lsn) -> Self {
        let commit = Self { core: Arc::clone(core), bound, ticket: None };
        if !commit.is_done() {
            core.durability().ask(bound);
        }
        commit
    }

    fn is_done(&self) -> bool {
        self.core.durability().stable(HeadId::FRESH) >= self.bound
    }

    /// It is done when the stable LSN has got as far as that.
    ///
    /// ```
    #[doc = include_str!("../docs/bare_log.txt")]
    /// # let log = open()?;
    /// let lsn = log.append(b"entry")?;
    /// let commit = log.make_stable_later(lsn)?;
    /// assert!(lsn < commit.bound());
    /// commit.wait()?;
    /// assert!(log.stable_lsn() >= commit.bound());
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    #[must_use]
    pub const fn bound(&self) -> Lsn {
        self.bound
    }

    /// Whether it is done. Waits for nothing, and does nothing about it.
    ///
    /// ```
    #[doc = include_str!("../docs/bare_log.txt")]
    /// # let log = open()?;
    /// log.append(b"entry")?;
    /// let commit = log.flush_later()?;
    /// assert!(!commit.is_stable()?);
    /// // It is all the same who does it.
    /// log.flush()?;
    /// assert!(commit.is_stable()?);
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// What keeps it from ever being done: [`Poisoned`](crate::Error::Poisoned),
    /// [`Closed`](crate::Error::Closed).
    pub fn is_stable(&self) -> Result<bool> {
        if self.is_done() {
            return Ok(true);
        }
        let admitted = self.core.gate().check_poison();
        // It may have been done just before the store was closed.
        if self.is_done() { Ok(true) } else { admitted.map(|()| false) }
    }

    /// Returns when it is done. As [`make_stable`](crate::PageCache::make_stable): threads that wait at the
    /// same time share one sync.
    ///
    /// ```
    #[doc = include_str!("../docs/bare_log.txt")]
    /// # let log = open()?;
    /// let (first, second) = (log.append(b"first")?, log.append(b"second")?);
    /// let (earlier, later) = (log.make_stable_later(first)?, log.make_stable_later(second)?);
    /// later.wait()?;
    /// // That one is done, too.
    /// earlier.wait()?;
    /// assert_eq!(log.counts().syncs, 1);
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`BatchOpen`](crate::Error::BatchOpen) or [`ReservationOpen`](crate::Error::ReservationOpen) if the
    /// calling thread has one open, and might wait for itself; [`Poisoned`](crate::Error::Poisoned), also by
    /// the sync that this caused; [`Closed`](crate::Error::Closed).
    pub fn wait(&self) -> Result<()> {
        if !self.is_stable()? {
            refuse_holder(&self.core)?;
            self.core.make_stable_below(self.bound)?;
        }
        Ok(())
    }

    /// Does what there is to do without waiting for others, and leaves the waker if that is not all.
    fn advance(&mut self, waker: &Waker) -> Poll<Result<()>> {
        let (core, bound) = (Arc::clone(&self.core), self.bound);
        let (durability, batches) = (core.durability(), core.batches());
        while !self.is_stable()? {
            refuse_holder(&core)?;
            if let Some(covered) = batches.try_cover(bound)?
                && !durability.has_committer()
                && let Some(leader) = durability.try_lead()
            {
                if !self.is_done() {
                    core.flush_round(&leader, covered)?;
                }
                continue;
            }
            let is_blocked = |somebody_is_at_it: bool| {
                (somebody_is_at_it || matches!(batches.try_cover(bound), Ok(None)))
                    && durability.stable(HeadId::FRESH) < bound
                    && core.gate().check_poison().is_ok()
            };
            if durability.leave_waker(&mut self.ticket, bound, waker, is_blocked) {
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Future for Commit {
    type Output = Result<()>;

    /// See [`Commit`]. After `Ready` it can be polled again, and says the same.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.get_mut().advance(context.waker())
    }
}

impl Drop for Commit {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.core.durability().forget_waker(ticket);
        }
    }
}

impl fmt::Debug for Commit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Commit").field("bound", &self.bound).field("done", &self.is_done()).finish()
    }
}
