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
    /// Opens the log in the configured place, or creates it there. Cache options have no effect on a bare log.
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
    /// # Errors
    /// As there, and [`ReservationOpen`](crate::Error::ReservationOpen) if the calling thread holds a reservation.
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
