//! Is there a store in this directory, is there nothing, or is there something else? Decided before a byte is
//! changed.

use std::io;

use crate::error::{Error, Result};
use crate::format::{
    ENTRY_LENGTH, ReadManifest, StoreKind, may_be_manifest, read_first_entry, read_manifest,
};
use crate::log::{LOG_FILE, MANIFEST_FILE, MANIFEST_TEMPORARY};
use crate::storage::{Access, Storage};

/// The name of the lock file.
pub(crate) const LOCK_FILE: &str = "LOCK";

/// In a directory without a manifest: a backup into it is under way, or was interrupted.
pub(crate) const UNFINISHED_FILE: &str = "UNFINISHED-BACKUP";

/// What a directory holds.
#[derive(Debug)]
pub(crate) enum Found {
    /// Nothing, or what is left of a creation that did not finish.
    Nothing,
    /// A store.
    Store(Box<ReadManifest>),
}

/// What a creation that did not finish may have left of a file that it was writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leftovers {
    /// Sectors as they were written, or not.
    Sectors,
    /// Anything, on a disk that damages whole blocks.
    Anything,
}

/// Looks without changing anything, and reads the manifest.
pub(crate) fn identify(storage: &dyn Storage, leftovers: Leftovers) -> Result<Found> {
    if !is_store(storage, leftovers)? {
        return Ok(Found::Nothing);
    }
    let bytes = read_file(storage, MANIFEST_FILE)?;
    let path = storage.describe(MANIFEST_FILE);
    let manifest = read_manifest(&bytes).map_err(|fault| fault.into_error(&path))?;
    Ok(Found::Store(Box::new(manifest)))
}

/// Whether there is a store, as far as the first entry of its manifest tells, or nothing. Something else is
/// an error.
pub(crate) fn is_store(storage: &dyn Storage, leftovers: Leftovers) -> Result<bool> {
    let names = storage.list().map_err(|error| Error::io("list", storage.describe(""), error))?;
    if names.iter().any(|name| name == MANIFEST_FILE) {
        let bytes = read_beginning(storage, MANIFEST_FILE, ENTRY_LENGTH)?;
        let path = storage.describe(MANIFEST_FILE);
        read_first_entry(&bytes).map_err(|fault| fault.into_error(&path))?;
        return Ok(true);
    }
    if names.iter().any(|name| name == UNFINISHED_FILE) {
        return Err(unfinished(storage));
    }
    for name in names {
        let expected = match name.as_str() {
            // Nothing is ever written to the first; the second is created before the manifest, and empty
            // until there is one.
            LOCK_FILE | LOG_FILE => is_empty(storage, &name)?,
            MANIFEST_TEMPORARY if leftovers == Leftovers::Anything => true,
            MANIFEST_TEMPORARY => may_be_manifest(&read_file(storage, MANIFEST_TEMPORARY)?),
            _ => false,
        };
        if !expected {
            let reason = format!("there is no {MANIFEST_FILE}, but there is {name:?}");
            return Err(Error::NotAStore { path: storage.describe(""), reason });
        }
    }
    Ok(false)
}

/// What is said of a directory in which a backup was interrupted.
pub(super) fn unfinished(storage: &dyn Storage) -> Error {
    Error::NotAStore { path: storage.describe(""), reason: "a backup into it was not finished".into() }
}

/// Fails unless the store was created as what it is opened as.
pub(crate) fn check_kind(storage: &dyn Storage, found: StoreKind, wanted: StoreKind) -> Result<()> {
    let reason = match (found, wanted) {
        (StoreKind::Log, StoreKind::PageCache) => "it holds a bare log, which Log::open opens",
        (StoreKind::PageCache, StoreKind::Log) => "it holds pages, which Config::open opens",
        _ => return Ok(()),
    };
    Err(Error::NotAStore { path: storage.describe(""), reason: reason.into() })
}

/// Whether a file has no bytes.
pub(crate) fn is_empty(storage: &dyn Storage, name: &str) -> Result<bool> {
    let failed = |error: io::Error| Error::io("read", storage.describe(name), error);
    storage.open(name, Access::Read).map_err(failed)?.is_empty().map_err(failed)
}

/// The whole of a small file.
pub(crate) fn read_file(storage: &dyn Storage, name: &str) -> Result<Vec<u8>> {
    read_beginning(storage, name, usize::MAX)
}

/// A small file, or so many bytes of it.
fn read_beginning(storage: &dyn Storage, name: &str, most: usize) -> Result<Vec<u8>> {
    let failed = |error: io::Error| Error::io("read", storage.describe(name), error);
    let file = storage.open(name, Access::Read).map_err(failed)?;
    let length = file.len().map_err(failed)?;
    let length = usize::try_from(length).map_err(|_| failed(io::ErrorKind::FileTooLarge.into()))?;
    let mut bytes = vec![0; length.min(most)];
    file.read_at(&mut bytes, 0).map_err(failed)?;
    Ok(bytes)
}
