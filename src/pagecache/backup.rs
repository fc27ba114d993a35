//! `backup_to`: a copy of a running store. How, and what is promised, is in `recovery/backup`.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::shared::PageCache;
use crate::error::{Error, Result};
use crate::pages::Fragment;
use crate::progress::Progress;
use crate::recovery::{BackupReport, back_up};
use crate::storage::{FileStorage, Storage};

impl<F: Fragment> PageCache<F> {
    /// Copies the store, while it is in use, into a directory that is empty or not there yet. The copy opens
    /// as a store.
    ///
    /// It holds exactly the changes at LSNs below [`BackupReport::stable_lsn`]: all that was done before the
    /// call, and of what is done during it a prefix. A [batch](crate::Batch) is in it as a whole or not at
    /// all; one that is open is not waited for, and is not in it. The copy is durable when this returns. If
    /// it is interrupted, what is there is no store, and opening it says so.
    ///
    /// Others go on meanwhile. Segments are not used again before they are copied, so the log file may grow
    /// by what is written during the backup; that space is used again afterwards. The records are checked on
    /// the way; large values are copied as they are, and [`verify`](Self::verify) checks them in the copy.
    /// Needs memory for a segment.
    ///
    /// The copy and the original must not be mixed: both go on with the same LSNs and
    /// [generated ids](Self::generate_id).
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # let place = tempfile::tempdir().unwrap();
    /// let cache: PageCache<Text> = Config::new(place.path().join("data")).open()?;
    /// let page = cache.allocate(Text("hello".into()))?;
    /// let report = cache.backup_to(place.path().join("monday"))?;
    /// assert!(page.lsn < report.stable_lsn);
    ///
    /// let copy: PageCache<Text> = Config::new(place.path().join("monday")).open()?;
    /// assert_eq!(copy.pin().get(page.page_id)?.map(|page| page.merged().0.as_str()), Some("hello"));
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`backup_to_storage`](Self::backup_to_storage). [`BackupTarget`](Error::BackupTarget) also if the
    /// directory lies inside the store's own.
    pub fn backup_to(&self, directory: impl Into<PathBuf>) -> Result<BackupReport> {
        let directory = directory.into();
        refuse_inside(&self.inner.core.storage().describe(""), &directory)?;
        self.backup_to_storage(Arc::new(FileStorage::new(directory)), |_| ControlFlow::Continue(()))
    }

    /// As [`backup_to`](Self::backup_to), on any back-end. `progress` is told how far the copy is after each
    /// segment and each large value; `Break` ends it.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    /// # let cache = open()?;
    /// use std::ops::ControlFlow;
    ///
    /// let page = cache.allocate(Text("a page".into()))?;
    /// let target = Arc::new(MemoryStorage::new());
    /// cache.backup_to_storage(target.clone(), |progress| {
    ///     println!("{} of {} bytes", progress.done, progress.total);
    ///     ControlFlow::Continue(())
    /// })?;
    /// let copy: PageCache<Text> = Config::with_storage(target).open()?;
    /// assert_eq!(copy.version(page.page_id)?, Some(page.version));
    /// # Ok::<(), pagelog::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`BackupTarget`](Error::BackupTarget) if there is anything in the target, [`Locked`](Error::Locked) if
    /// somebody is at it; [`DiskFull`](Error::DiskFull) if it is full; [`Io`](Error::Io);
    /// [`Corruption`](Error::Corruption) if a record of the store is damaged;
    /// [`Cancelled`](Error::Cancelled); [`Closed`](Error::Closed). What was written is removed then, as far
    /// as that goes, and so are directories that were made for it; one that was there before stays, as empty
    /// as it was. Except for a failed sync of its own log, the store is not harmed by any of these, and goes
    /// on.
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
        back_up(&self.inner.core, &target, &mut progress)
    }
}

/// Refuses a directory in the store's own. A store that is not in a directory has no inside.
fn refuse_inside(store: &str, directory: &Path) -> Result<()> {
    let Ok(store) = Path::new(store).canonicalize() else { return Ok(()) };
    let failed = |error: io::Error| Error::io("look at", directory.display().to_string(), error);
    let absolute = std::path::absolute(directory).map_err(failed)?;
    // What is there of it; the rest can't lead out again.
    let there = absolute.ancestors().find_map(|path| path.canonicalize().ok());
    if there.is_some_and(|there| there.starts_with(&store)) {
        let reason = "it lies in the directory of the store itself".into();
        return Err(Error::BackupTarget { path: directory.display().to_string(), reason });
    }
    Ok(())
}
