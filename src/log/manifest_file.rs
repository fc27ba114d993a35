//! The manifest as a file: entries appended one at a time, each synced before anything relies on it.
//!
//! An append is one write (both copies of the entry) and one sync, under a lock, so at most one entry is ever un-synced. It goes
//! to room that was made, and synced, with the file, so that the sync concerns these bytes alone: if the file grew, the
//! file system would commit its journal, and with it wait for whatever else was just written to the log. When the room is used up, it is written anew beside the old one and renamed over it; the directory
//! is synced before the next append, for an append to a file whose rename is undone by a power cut would be lost.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::{ENTRY_LENGTH, ManifestEntry, ManifestState, encode_entry};
use crate::storage::{Storage, StorageFile};
use crate::sync::Mutex;

/// The manifest's name.
pub(crate) const MANIFEST_FILE: &str = "MANIFEST";
/// Where it is written anew, before it is renamed.
pub(crate) const MANIFEST_TEMPORARY: &str = "MANIFEST.new";

/// How many entries a new file has room for beside its picture: for some megabytes of log between two rewrites, and few where
/// segments are small, so that a small store stays small.
fn room_for(state: &ManifestState, entries: u64) -> u64 {
    4 * entries + u64::from(state.segment_size >> 13).clamp(8, 128)
}

#[derive(Debug)]
struct Open {
    state: ManifestState,
    /// `None` if the store is read-only.
    file: Option<Arc<dyn StorageFile>>,
    entries: u64,
    /// How many entries the file has room for.
    room: u64,
}

/// The manifest of an open store.
#[derive(Debug)]
pub(crate) struct ManifestFile {
    storage: Arc<dyn Storage>,
    open: Mutex<Open>,
}

impl ManifestFile {
    /// Writes a manifest that says `state`, puts it in force, and keeps it open for appending.
    pub(crate) fn write(storage: Arc<dyn Storage>, state: ManifestState) -> Result<Self> {
        let open = put_in_force(storage.as_ref(), state)?;
        Ok(Self { storage, open: Mutex::new(open) })
    }

    /// A manifest that is only known, for a read-only store.
    pub(crate) fn read_only(storage: Arc<dyn Storage>, state: ManifestState) -> Self {
        Self { storage, open: Mutex::new(Open { state, file: None, entries: 0, room: 0 }) }
    }

    /// Appends an entry and syncs it. After an error nothing may be appended any more: the caller poisons the instance.
    pub(crate) fn append(&self, entry: &ManifestEntry) -> Result<()> {
        let mut open = self.open.lock();
        let Some(file) = open.file.clone() else { return Err(Error::ReadOnly) };
        let applied = open.state.apply(entry);
        applied.map_err(|reason| Error::InvalidConfig {
            option: "manifest",
            reason: format!("an entry {reason}"),
        })?;
        let offset = open.entries * ENTRY_LENGTH as u64;
        let path = || self.storage.describe(MANIFEST_FILE);
        let bytes = encode_entry(open.entries, open.state.store_id, entry);
        file.write_at(&bytes, offset).map_err(|error| Error::io("write", path(), error))?;
        file.sync().map_err(|error| Error::io("sync", path(), error))?;
        open.entries += 1;
        if open.entries >= open.room {
            *open = put_in_force(self.storage.as_ref(), open.state.clone())?;
        }
        Ok(())
    }
}

/// Writes the state under a temporary name and renames it into place. In force when this returns.
fn put_in_force(storage: &dyn Storage, state: ManifestState) -> Result<Open> {
    let failed = |operation, name: &str, error| Error::io(operation, storage.describe(name), error);
    let temporary = MANIFEST_TEMPORARY;
    let file = storage.create(temporary).map_err(|error| failed("create", temporary, error))?;
    let mut bytes = state.to_bytes();
    let entries = (bytes.len() / ENTRY_LENGTH) as u64;
    let room = room_for(&state, entries);
    bytes.resize((room * ENTRY_LENGTH as u64) as usize, 0);
    file.write_at(&bytes, 0).map_err(|error| failed("write", temporary, error))?;
    file.sync().map_err(|error| failed("sync", temporary, error))?;
    storage.rename(temporary, MANIFEST_FILE).map_err(|error| failed("rename", temporary, error))?;
    storage.sync_directory().map_err(|error| failed("sync the directory of", MANIFEST_FILE, error))?;
    Ok(Open { state, file: Some(file), entries, room })
}
