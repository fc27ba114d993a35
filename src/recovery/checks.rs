//! Checks of files that need no instance: the snapshot and the compression dictionaries.

use super::snapshot_file::{read_blocks, read_index};
use crate::error::{Corruption, Error, Result};
use crate::format::{
    LONGEST_DICTIONARY_FILE, RangePages, StoreId, decode_dictionary, dictionary_number, snapshot_name,
};
use crate::storage::{Access, Storage};

/// What a check has read, in bytes, and what is wrong there.
pub(crate) type Checked = (u64, Vec<Corruption>);

/// Checks the snapshot of that serial, with all blocks that it names in older files.
///
/// # Errors
/// `Io`, also if a file is missing.
pub(crate) fn check_snapshot(storage: &dyn Storage, store_id: StoreId, serial: u64) -> Result<Checked> {
    let index = match read_index(storage, store_id, serial) {
        Ok(index) => index,
        Err(Error::Corruption(fault)) => return Ok((0, vec![*fault])),
        Err(error) => return Err(error),
    };
    let mut faults = Vec::new();
    let read = read_blocks(storage, store_id, &index.files.directory, |place, pages| {
        let all_possible = |pages: &[u8]| RangePages::new(place.range, pages).all(|page| page.is_ok());
        match pages {
            Ok(pages) if all_possible(pages) => {}
            Ok(_) => {
                let path = storage.describe(&snapshot_name(place.serial));
                let fault = Corruption::new(path, "a range holds an impossible page");
                faults.push(fault.at_offset(place.offset));
            }
            Err(fault) => faults.push(fault),
        }
        Ok(())
    })?;
    Ok((read, faults))
}

/// Checks the compression dictionaries, if there are any.
///
/// # Errors
/// `Io`.
pub(crate) fn check_dictionaries(storage: &dyn Storage, store_id: StoreId) -> Result<Checked> {
    let (mut read, mut faults) = (0, Vec::new());
    let names = storage.list().map_err(|error| Error::io("list", storage.describe(""), error))?;
    for name in names {
        let Some(number) = dictionary_number(&name) else { continue };
        let path = storage.describe(&name);
        let failed = |error| Error::io("read", &path, error);
        let file = storage.open(&name, Access::Read).map_err(failed)?;
        let length = usize::try_from(file.len().map_err(failed)?).ok();
        let Some(length) = length.filter(|length| *length <= LONGEST_DICTIONARY_FILE) else {
            faults.push(Corruption::new(&path, "the file is too long for a dictionary"));
            continue;
        };
        let mut bytes = vec![0; length];
        file.read_at(&mut bytes, 0).map_err(failed)?;
        read += length as u64;
        faults.extend(decode_dictionary(&bytes, &path, store_id, number).err());
    }
    Ok((read, faults))
}
