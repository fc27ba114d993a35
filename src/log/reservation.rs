//! A user's reservation in a bare log.

use std::cell::RefCell;
use std::marker::PhantomData;

use super::claim::Claim;
use super::core::LogCore;
use crate::error::{Error, Result};
use crate::ids::Lsn;
use crate::location::Location;
use crate::sync::thread_local;

thread_local! {
    /// The reservations that this thread holds: which log, and where they begin. A thread that is being torn
    /// down may have lost its list; what it does then is not on any.
    static HELD: RefCell<Vec<(usize, Lsn)>> = const { RefCell::new(Vec::new()) };
}

fn identity(core: &LogCore) -> usize {
    std::ptr::from_ref(core).addr()
}

/// Fails if this thread holds a reservation, whatever its place in the log: what the caller is about to do
/// waits for reservations, and might wait for its own.
///
/// Also for one that lies behind what the caller wants. It may be in the same write buffer, which can't be
/// written without it; and the leader or the writer that the caller would have to wait for may itself be
/// waiting for it.
pub(crate) fn refuse_holder(core: &LogCore) -> Result<()> {
    let identity = identity(core);
    let oldest = HELD
        .try_with(|held| held.borrow().iter().filter(|(log, _)| *log == identity).map(|(_, lsn)| *lsn).min());
    oldest.ok().flatten().map_or(Ok(()), |lsn| Err(Error::ReservationOpen { lsn }))
}

/// A place in the log that is filled but not yet part of it.
///
/// Its LSN and location are known already. [`complete`](Self::complete) makes it part of the log;
/// [`abort`](Self::abort), or dropping it, withdraws it: no reader will see it. The log's order is the order
/// of reservation, whatever the order of completion. A thread may hold any number of reservations, but cannot
/// make anything stable meanwhile, and nobody can make stable what lies behind one before it is finished.
///
/// ```
#[doc = include_str!("../docs/bare_log.txt")]
/// # fn main() -> pagelog::Result<()> {
/// # let log = open()?;
/// let (kept, withdrawn) = (log.reserve(b"kept")?, log.reserve(b"withdrawn")?);
/// assert!(kept.lsn() < withdrawn.lsn());
/// let (location, gone) = (kept.location(), withdrawn.location());
/// withdrawn.abort();
/// let lsn = kept.complete();
/// assert_eq!(lsn, location.lsn());
/// log.make_stable(lsn)?;
/// assert_eq!(log.read(location)?.as_deref(), Some(&b"kept"[..]));
/// assert_eq!(log.read(gone)?, None);
/// # log.close()
/// # }
/// ```
#[must_use = "dropping a reservation aborts it"]
#[derive(Debug)]
pub struct Reservation<'a> {
    claim: Option<Claim<'a>>,
    core: &'a LogCore,
    location: Location,
    /// The list of held reservations belongs to the thread.
    not_send: PhantomData<*const ()>,
}

impl<'a> Reservation<'a> {
    pub(crate) fn new(core: &'a LogCore, claim: Claim<'a>) -> Self {
        let location = Location { slot: claim.place().slot, lsn: claim.lsn(), length: claim.length() };
        let _ = HELD.try_with(|held| held.borrow_mut().push((identity(core), location.lsn)));
        Self { claim: Some(claim), core, location, not_send: PhantomData }
    }

    /// The entry's log sequence number.
    #[must_use]
    pub const fn lsn(&self) -> Lsn {
        self.location.lsn
    }

    /// Where the entry will be read.
    #[must_use]
    pub const fn location(&self) -> Location {
        self.location
    }

    /// Makes the entry part of the log. It is durable once [`stable_lsn`](crate::Log::stable_lsn) is above
    /// its LSN.
    ///
    /// ```
    #[doc = include_str!("../docs/bare_log.txt")]
    /// # let log = open()?;
    /// let (first, second) = (log.reserve(b"first")?, log.reserve(b"second")?);
    /// let second = second.complete();
    /// // Nothing comes before what is not there yet.
    /// assert_eq!(log.iter_from(log.first_lsn())?.count(), 0);
    /// assert!(first.complete() < second);
    /// assert_eq!(log.iter_from(log.first_lsn())?.count(), 2);
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    pub fn complete(mut self) -> Lsn {
        if let Some(claim) = self.claim.take() {
            self.core.batches().note_write();
            claim.complete();
        }
        self.location.lsn
    }

    /// Withdraws the entry.
    ///
    /// ```
    #[doc = include_str!("../docs/bare_log.txt")]
    /// # let log = open()?;
    /// log.reserve(b"withdrawn")?.abort();
    /// assert_eq!(log.iter_from(log.first_lsn())?.count(), 0);
    /// // It does not stand in anybody's way.
    /// let lsn = log.append(b"entry")?;
    /// log.make_stable(lsn)?;
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    pub fn abort(self) {}
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        drop(self.claim.take());
        let mine = (identity(self.core), self.location.lsn);
        let _ = HELD.try_with(|held| {
            let mut held = held.borrow_mut();
            if let Some(at) = held.iter().rposition(|entry| *entry == mine) {
                held.swap_remove(at);
            }
        });
    }
}
