//! What can be told of a store before anything of it is believed: from the manifest, or from the segments if
//! that can't be read.

use super::headers::LogBytes;
use super::identify::read_file;
use crate::error::{Error, Result};
use crate::format::{ManifestState, StoreId, StoreKind, read_first_entry, read_manifest};
use crate::log::MANIFEST_FILE;
use crate::storage::Storage;

/// What manifest and log say of a store.
pub(crate) struct Facts {
    pub(crate) manifest: Option<ManifestState>,
    /// Why the manifest can't be read.
    pub(crate) fault: Option<Error>,
    pub(crate) store_id: Option<StoreId>,
    #[cfg_attr(not(feature = "cli"), expect(dead_code, reason = "the inspector shows it"))]
    pub(crate) format_version: Option<u32>,
    pub(crate) kind: Option<StoreKind>,
    pub(crate) segment_size: Option<u32>,
}

/// Reads the manifest, and as much of it as can be read if not all can.
///
/// # Errors
/// `UnsupportedFormat`, `Io`, or why the manifest can't be read if there is not a segment either.
pub(crate) fn facts(storage: &dyn Storage, has_manifest: bool, log: Option<&LogBytes<'_>>) -> Result<Facts> {
    let path = storage.describe(MANIFEST_FILE);
    let bytes = if has_manifest { read_file(storage, MANIFEST_FILE)? } else { Vec::new() };
    let first = read_first_entry(&bytes).ok();
    let format_version = first.map(|first| first.format_version);
    let kind = first.map(|first| first.kind);
    let fault = match read_manifest(&bytes) {
        Ok(read) => {
            let (store_id, segment_size) = (Some(read.state.store_id), Some(read.state.segment_size));
            let manifest = Some(read.state);
            return Ok(Facts { manifest, fault: None, store_id, format_version, kind, segment_size });
        }
        Err(fault) => fault.into_error(&path),
    };
    let guess = log.map(LogBytes::guess).transpose()?.flatten();
    let fault = match fault {
        Error::UnsupportedFormat { .. } => return Err(fault),
        _ if !has_manifest => {
            Error::NotAStore { path: storage.describe(""), reason: format!("there is no {MANIFEST_FILE}") }
        }
        fault => fault,
    };
    let store_id = first.map(|first| first.store_id).or(guess.map(|(store_id, _)| store_id));
    if store_id.is_none() {
        return Err(fault);
    }
    let segment_size = first.map(|first| first.segment_size).or(guess.and_then(|(_, size)| size));
    Ok(Facts { manifest: None, fault: Some(fault), store_id, format_version, kind, segment_size })
}
