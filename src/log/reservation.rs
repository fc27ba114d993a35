//! A user's reservation in a bare log.

use std::cell::RefCell;
use std::marker::PhantomData;

use super::claim::Claim;
use super::core::LogCore;
use crate::error::{Error, Result};
use crate::ids::Lsn;
use crate::location::Location;

thread_local! {
    static HELD: RefCell<Vec<Held>> = const { RefCell::new(Vec::new()) };
}

/// A reservation that this thread holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    /// Which log it is in.
    log: usize,
    lsn: Lsn,
    /// Where its write buffer begins: nothing from here on is written before it is finished.
    buffer: Lsn,
}

fn identity(core: &LogCore) -> usize {
    std::ptr::from_ref(core).addr()
}

/// Fails if this thread holds a reservation that keeps something below `bound` from being written: waiting for it would be
/// waiting for oneself.
pub(crate) fn refuse_own_below(core: &LogCore, bound: Lsn) -> Result<()> {
    let log = identity(core);
    let oldest = HELD
        .with_borrow(|held| held.iter().filter(|held| held.log == log).min_by_key(|held| held.lsn).copied());
    match oldest {
        Some(held) if held.buffer < bound => Err(Error::ReservationOpen { lsn: held.lsn }),
        _ => Ok(()),
    }
}

/// A place in the log that is filled but not yet part of it.
///
/// Its LSN and location are known already. [`complete`](Self::complete) makes it part of the log;
/// [`abort`](Self::abort), or dropping it, withdraws it: no reader will see it. The log's order is the order of reservation,
/// whatever the order of completion. A thread may hold any number of reservations, but cannot make stable what lies
/// behind one of its own, nor what shares a write buffer with it; and nobody else can before it is finished.
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
        let held = Held { log: identity(core), lsn: location.lsn, buffer: claim.buffer_begin() };
        HELD.with_borrow_mut(|all| all.push(held));
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

    /// Makes the entry part of the log. It is durable once [`stable_lsn`](crate::Log::stable_lsn) is above its LSN.
    pub fn complete(mut self) -> Lsn {
        if let Some(claim) = self.claim.take() {
            self.core.batches().note_write();
            claim.complete();
        }
        self.location.lsn
    }

    /// Withdraws the entry.
    pub fn abort(self) {}
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        drop(self.claim.take());
        let (log, lsn) = (identity(self.core), self.location.lsn);
        HELD.with_borrow_mut(|held| {
            if let Some(at) = held.iter().rposition(|held| held.log == log && held.lsn == lsn) {
                held.swap_remove(at);
            }
        });
    }
}
