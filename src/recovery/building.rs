//! A directory in which a store is built that is to be there as a whole or not at all: see `storage/staged`.

use std::sync::Arc;

use super::backup::{Place, failed, note_unfinished, sync_directory};
use super::identify::{LOCK_FILE, UNFINISHED_FILE};
use crate::error::Result;
use crate::log::MANIFEST_FILE;
use crate::storage::{Staged, Storage};

/// The manifest's name until the store is complete.
const STAGED_MANIFEST: &str = "MANIFEST.unfinished";

/// A place that was empty and is taken. What is built there is no store before [`finish`](Self::finish).
pub(crate) struct Building {
    storage: Arc<dyn Storage>,
    place: Place,
}

impl Building {
    /// Takes the place.
    ///
    /// # Errors
    /// `BackupTarget` if there is anything in it, `Locked`, `Io`.
    pub(crate) fn begin(storage: &Arc<dyn Storage>) -> Result<Self> {
        let place = Place::take(storage.as_ref())?;
        let building = Self { storage: Arc::clone(storage), place };
        match note_unfinished(storage.as_ref()) {
            Ok(()) => Ok(building),
            Err(error) => {
                building.clear();
                Err(error)
            }
        }
    }

    /// Where to build. It has the lock already.
    pub(crate) fn storage(&self) -> Arc<dyn Storage> {
        Arc::new(Staged::new(Arc::clone(&self.storage), MANIFEST_FILE, STAGED_MANIFEST, UNFINISHED_FILE))
    }

    /// Makes a store of what was built, which is durable but for its manifest's name.
    pub(crate) fn finish(&self) -> Result<()> {
        let storage = self.storage.as_ref();
        let renamed = storage.rename(STAGED_MANIFEST, MANIFEST_FILE);
        renamed.map_err(|error| failed(storage, "rename", MANIFEST_FILE, error))?;
        sync_directory(storage)?;
        storage.remove(UNFINISHED_FILE).map_err(|error| failed(storage, "remove", UNFINISHED_FILE, error))?;
        sync_directory(storage)
    }

    /// Removes what was built, as far as that goes: the manifest first, the note last. And the directory, if
    /// it was made for this.
    pub(crate) fn clear(self) {
        let storage = self.storage.as_ref();
        let found = storage.list().unwrap_or_default();
        let rest = |name: &&String| ![LOCK_FILE, UNFINISHED_FILE, MANIFEST_FILE].contains(&name.as_str());
        let rest: Vec<&str> = found.iter().filter(rest).map(String::as_str).collect();
        for names in [&[MANIFEST_FILE][..], &rest, &[UNFINISHED_FILE]] {
            for name in names.iter().filter(|name| found.iter().any(|found| found == **name)) {
                if let Err(error) = storage.remove(name) {
                    return ::log::warn!("{} stays behind: {error}", storage.describe(name));
                }
            }
            if let Err(error) = storage.sync_directory() {
                return ::log::warn!("{} is not empty again: {error}", storage.describe(""));
            }
        }
        self.place.give_back(storage);
    }
}
