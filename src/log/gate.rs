//! Whether writes are admitted: one word that every write looks at first.
//!
//! Poison is final: the first failure that may have lost data is kept, and all later ones are ignored. The
//! *reserve* flag comes and goes: while the last free segments are kept for those who make space, ordinary
//! writes are refused.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU32, Ordering};

/// An earlier failure may have lost data.
const POISONED: u32 = 1;
/// `close` was called. What it still has to write, it may.
const CLOSED: u32 = 2;
/// The store was opened read-only.
const READ_ONLY: u32 = 4;
/// Only the last free segments are left.
const RESERVE: u32 = 8;
/// `close` has written what it had to.
const STOPPED: u32 = 16;

/// Who asks to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Privilege {
    /// A user's write that makes the store larger.
    Ordinary,
    /// The end of a page: it may use the reserve but for the last segment, without which what was freed could
    /// not be reclaimed.
    Free,
    /// A copy that makes space by moving records out of a segment: it may use the whole reserve, and leaves
    /// it to others as long as segments that it has emptied are waiting to be free.
    Relocation,
    /// The end of what was begun: it may use the whole reserve.
    Reserve,
}

/// The gate.
#[derive(Debug)]
pub(crate) struct Gate {
    flags: AtomicU32,
    cause: Mutex<Option<Arc<Error>>>,
    log_file: String,
}

impl Gate {
    pub(crate) fn new(read_only: bool, log_file: String) -> Self {
        let flags = AtomicU32::new(if read_only { READ_ONLY } else { 0 });
        Self { flags, cause: Mutex::new(None), log_file }
    }

    /// Whether a write may begin.
    #[inline]
    pub(crate) fn admit(&self, privilege: Privilege) -> Result<()> {
        let flags = self.flags.load(Ordering::Acquire);
        if flags == 0 || (flags == RESERVE && privilege != Privilege::Ordinary) {
            return Ok(());
        }
        Err(self.refusal(flags))
    }

    /// Whether what was begun can still be finished and made durable.
    #[inline]
    pub(crate) fn admit_flush(&self) -> Result<()> {
        let flags = self.flags.load(Ordering::Acquire) & !RESERVE;
        if flags == 0 { Ok(()) } else { Err(self.refusal(flags)) }
    }

    /// Fails if the instance is poisoned or stopped. The only check for what `close` itself writes, which
    /// comes after it has shut the gate to everybody else.
    #[inline]
    pub(crate) fn check_poison(&self) -> Result<()> {
        let flags = self.flags.load(Ordering::Acquire) & (POISONED | STOPPED);
        if flags == 0 { Ok(()) } else { Err(self.refusal(flags)) }
    }

    /// Fails if writing was stopped by a failure, also when the instance was closed since.
    pub(crate) fn tell_failure(&self) -> Result<()> {
        if self.flags.load(Ordering::Acquire) & POISONED == 0 { Ok(()) } else { Err(self.refusal(POISONED)) }
    }

    /// Nothing may be written any more, by anyone.
    pub(crate) fn stop(&self) {
        self.flags.fetch_or(STOPPED, Ordering::AcqRel);
    }

    /// Whether reads may go on: everywhere but on a closed instance.
    #[inline]
    pub(crate) fn admit_read(&self) -> Result<()> {
        if self.flags.load(Ordering::Acquire) & CLOSED == 0 { Ok(()) } else { Err(Error::Closed) }
    }

    #[cold]
    fn refusal(&self, flags: u32) -> Error {
        if flags & (CLOSED | STOPPED) != 0 {
            Error::Closed
        } else if flags & POISONED != 0 {
            let cause = self.cause.lock().clone();
            Error::Poisoned { cause: cause.unwrap_or_else(|| Arc::new(Error::Closed)) }
        } else if flags & READ_ONLY != 0 {
            Error::ReadOnly
        } else {
            Error::DiskFull { path: self.log_file.clone() }
        }
    }

    /// Stops all writing for good. Returns the error that callers get. The log's `poison` also wakes all
    /// waiters.
    pub(crate) fn poison(&self, error: Error) -> Error {
        if cfg!(weakened = "flag_before_cause") {
            self.flags.fetch_or(POISONED, Ordering::Release);
        }
        let cause = Arc::clone(self.cause.lock().get_or_insert_with(|| {
            ::log::error!("writing stops: {error}");
            Arc::new(error)
        }));
        self.flags.fetch_or(POISONED, Ordering::Release);
        Error::Poisoned { cause }
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.flags.load(Ordering::Acquire) & READ_ONLY != 0
    }

    /// Marks the instance closed. False if it was closed already.
    pub(crate) fn close(&self) -> bool {
        self.flags.fetch_or(CLOSED, Ordering::AcqRel) & CLOSED == 0
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.flags.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Refuses ordinary writes, or admits them again.
    pub(crate) fn keep_reserve(&self, on: bool) {
        if on {
            self.flags.fetch_or(RESERVE, Ordering::AcqRel);
        } else if self.flags.load(Ordering::Relaxed) & RESERVE != 0 {
            self.flags.fetch_and(!RESERVE, Ordering::AcqRel);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Gate, Privilege};
    use crate::error::Error;

    #[test]
    fn the_first_failure_is_the_one_that_everybody_hears_of() {
        let gate = Gate::new(false, "log".into());
        assert!(gate.admit(Privilege::Ordinary).is_ok());
        gate.poison(Error::BatchOpen);
        gate.poison(Error::ReadOnly);
        match gate.admit(Privilege::Reserve) {
            Err(Error::Poisoned { cause }) => assert!(matches!(*cause, Error::BatchOpen)),
            other => panic!("{other:?}"),
        }
        assert!(gate.admit_read().is_ok());
    }

    #[test]
    fn the_reserve_is_for_those_who_make_space() {
        let gate = Gate::new(false, "log".into());
        gate.keep_reserve(true);
        assert!(matches!(gate.admit(Privilege::Ordinary), Err(Error::DiskFull { .. })));
        assert!(gate.admit(Privilege::Reserve).is_ok());
        assert!(gate.admit_flush().is_ok());
        gate.keep_reserve(false);
        assert!(gate.admit(Privilege::Ordinary).is_ok());
    }
}
