//! How far a long piece of work has come.

use std::fmt;
use std::ops::ControlFlow;

use crate::error::{Error, Result};

/// How far a long piece of work has come: what its callback is told. In bytes, if nothing else is said there.
///
/// The first report has `done` at 0 and the last one has it at `total`. What is written meanwhile by others
/// is not in `total`.
///
/// ```
/// use std::ops::ControlFlow;
/// use std::sync::Arc;
/// use pagelog::{Config, Error, Log, MemoryStorage, Progress};
///
/// # fn main() -> pagelog::Result<()> {
/// # let config = Config::with_storage(Arc::new(MemoryStorage::new()));
/// let tell = |progress: Progress| {
///     println!("{:.0} %", 100.0 * progress.fraction());
///     ControlFlow::Continue(())
/// };
/// let log = Log::open_with_progress(config, tell)?;
/// # let target = Arc::new(MemoryStorage::new());
/// // Asked to stop, it stops.
/// let copied = log.backup_to_storage(target, |_| ControlFlow::Break(()));
/// assert!(matches!(copied, Err(Error::Cancelled)));
/// # log.close()
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// How much of it is done.
    pub done: u64,
    /// How much there was to do when the work began.
    pub total: u64,
}

impl Progress {
    /// The part that is done, 0.0 to 1.0.
    ///
    /// ```
    /// let mut progress = pagelog::Progress::default();
    /// assert_eq!(progress.fraction(), 1.0, "there is nothing to do");
    /// (progress.done, progress.total) = (50, 200);
    /// assert_eq!(progress.fraction(), 0.25);
    /// ```
    #[must_use]
    pub fn fraction(&self) -> f64 {
        if self.total == 0 { 1.0 } else { self.done as f64 / self.total as f64 }
    }
}

/// The user's callback.
pub(crate) type Tell<'a> = &'a mut dyn FnMut(Progress) -> ControlFlow<()>;

/// Tells somebody how far it is, and hears whether it is to go on.
pub(crate) struct Reporter<'a> {
    tell: Tell<'a>,
    progress: Progress,
}

impl<'a> Reporter<'a> {
    pub(crate) fn new(tell: Tell<'a>) -> Self {
        Self { tell, progress: Progress::default() }
    }

    /// Begins, or begins anew, with so much to do.
    ///
    /// # Errors
    /// Here and below, `Cancelled`.
    pub(crate) fn begin(&mut self, total: u64) -> Result<()> {
        self.reach(0, total)
    }

    pub(crate) fn advance(&mut self, more: u64) -> Result<()> {
        self.reach((self.progress.done + more).min(self.progress.total), self.progress.total)
    }

    /// Says that so much is done, if that is more than before.
    pub(crate) fn advance_to(&mut self, done: u64) -> Result<()> {
        self.advance(done.saturating_sub(self.progress.done))
    }

    pub(crate) fn finish(&mut self) -> Result<()> {
        if self.progress.done < self.progress.total { self.advance(self.progress.total) } else { Ok(()) }
    }

    fn reach(&mut self, done: u64, total: u64) -> Result<()> {
        self.progress = Progress { done, total };
        match (self.tell)(self.progress) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::Cancelled),
        }
    }
}

impl fmt::Debug for Reporter<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.progress.fmt(formatter)
    }
}
