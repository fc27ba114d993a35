//! Opening a bare log, and copying one.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::backup::{BackupReport, back_up};
use super::open::recover;
use crate::config::Config;
use crate::error::Result;
use crate::format::StoreKind;
use crate::log::{Committer, Log};
use crate::progress::Progress;
use crate::storage::Storage;

impl Log {
    /// Opens the log in the configured place, or creates it there. Cache options have no effect on a bare
    /// log.
    ///
    /// ```
    #[doc = include_str!("../docs/bare_log.txt")]
    /// # let storage = Arc::new(MemoryStorage::new());
    /// let log = Log::open(Config::with_storage(storage.clone()))?;
    /// let lsn = log.append(b"entry")?;
    /// // One at a time.
    /// assert!(matches!(Log::open(Config::with_storage(storage.clone())), Err(Error::Locked { .. })));
    /// log.close()?;
    /// let log = Log::open(Config::with_storage(storage))?;
    /// assert_eq!(log.iter_from(lsn)?.count(), 1);
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::Error::InvalidConfig), [`Locked`](crate::Error::Locked),
    /// [`NotAStore`](crate::Error::NotAStore), [`UnsupportedFormat`](crate::Error::UnsupportedFormat),
    /// [`Corruption`](crate::Error::Corruption), [`Io`](crate::Error::Io).
    pub fn open(config: Config) -> Result<Self> {
        Self::open_with_progress(config, |_| ControlFlow::Continue(()))
    }

    /// As [`open`](Self::open), and tells how far it is: see
    /// [`Config::open_with_progress`](Config::open_with_progress).
    ///
    /// ```
    #[doc = include_str!("../docs/bare_log.txt")]
    /// # let config = config();
    /// # let log = Log::open(config.clone())?;
    /// # log.append(b"entry")?;
    /// # log.close()?;
    /// use std::ops::ControlFlow;
    ///
    /// let opened = Log::open_with_progress(config.clone(), |_| ControlFlow::Break(()));
    /// assert!(matches!(opened, Err(Error::Cancelled)));
    /// let mut parts = Vec::new();
    /// let log = Log::open_with_progress(config, |progress| {
    ///     parts.push(progress.fraction());
    ///     ControlFlow::Continue(())
    /// })?;
    /// assert!(parts.is_sorted() && parts.last() == Some(&1.0));
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// As there.
    pub fn open_with_progress(
        config: Config,
        mut progress: impl FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Self> {
        // There is no housekeeping, so nothing is left to a thread.
        let config = config.of_an_instance().background(false);
        let opened = recover(&config, StoreKind::Log, &mut progress)?;
        let committer = Committer::start(&opened.core, config.flush_interval)?;
        let (first, was_recovered) = (opened.first_lsn, opened.was_recovered);
        Ok(Self::assemble(opened.core, committer, first, was_recovered, opened.lock, config.temporary))
    }

    /// Copies the log, while it is in use, into a storage that is empty: see
    /// [`PageCache::backup_to_storage`](crate::PageCache::backup_to_storage). Entries keep their LSNs; their
    /// [locations](crate::Location) in the copy are others.
    ///
    /// ```
    #[doc = include_str!("../docs/bare_log.txt")]
    /// # let log = open()?;
    /// use std::ops::ControlFlow;
    ///
    /// let lsn = log.append(b"entry")?;
    /// let target = Arc::new(MemoryStorage::new());
    /// log.backup_to_storage(target.clone(), |_| ControlFlow::Continue(()))?;
    /// let copy = Log::open(Config::with_storage(target))?;
    /// let entries = copy.iter_from(copy.first_lsn())?.collect::<pagelog::Result<Vec<_>>>()?;
    /// assert_eq!((entries[0].lsn, &entries[0].payload[..]), (lsn, &b"entry"[..]));
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// As there, and [`ReservationOpen`](crate::Error::ReservationOpen) if the calling thread holds a
    /// reservation.
    // By value, so that any back-end becomes a trait object by itself.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a reference to an Arc is not made into one of a trait object"
    )]
    pub fn backup_to_storage(
        &self,
        target: Arc<dyn Storage>,
        mut progress: impl FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<BackupReport> {
        back_up(self.core_without_reservation()?, &target, &mut progress)
    }
}
