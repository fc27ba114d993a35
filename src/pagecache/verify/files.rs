//! The manifest, the snapshot, and the compression dictionaries.

use std::io;

use super::run::Verification;
use crate::error::{Corruption, Error, Result};
use crate::format::{
    LONGEST_DICTIONARY_FILE, RangePages, decode_dictionary, dictionary_number, snapshot_name,
};
use crate::pages::Fragment;
use crate::recovery::{read_blocks, read_index, snapshot_serials};
use crate::storage::Access;

/// How often the newest snapshot is looked for, if it vanishes because there is a newer one.
const TRIES: u32 = 100;

impl<F: Fragment> Verification<'_, F> {
    pub(super) fn check_manifest(&mut self) -> Result<()> {
        let (bytes, faults) = self.inner.core.manifest().check()?;
        self.report.bytes_read += bytes;
        faults.into_iter().for_each(|fault| self.fault(fault));
        Ok(())
    }

    /// Checks the compression dictionaries, if there are any.
    pub(super) fn check_dictionaries(&mut self) -> Result<()> {
        let storage = self.inner.core.storage();
        let names = storage.list().map_err(|error| Error::io("list", storage.describe(""), error))?;
        for name in names {
            let Some(number) = dictionary_number(&name) else { continue };
            let path = storage.describe(&name);
            let failed = |error| Error::io("read", &path, error);
            let file = storage.open(&name, Access::Read).map_err(failed)?;
            let length = usize::try_from(file.len().map_err(failed)?).ok();
            let Some(length) = length.filter(|length| *length <= LONGEST_DICTIONARY_FILE) else {
                self.fault(Corruption::new(&path, "the file is too long for a dictionary"));
                continue;
            };
            let mut bytes = vec![0; length];
            file.read_at(&mut bytes, 0).map_err(failed)?;
            self.report.bytes_read += length as u64;
            if let Err(fault) = decode_dictionary(&bytes, &path, self.inner.core.store_id(), number) {
                self.fault(fault);
            }
        }
        Ok(())
    }

    /// Checks the newest snapshot, if there is one, with all blocks that it names in older files.
    pub(super) fn check_snapshot(&mut self) -> Result<()> {
        for _ in 0..TRIES {
            let Some(serial) = self.newest_snapshot()? else { break };
            match self.check_snapshot_of(serial) {
                // A newer one has taken its place meanwhile, and files that it does not need are gone; unless they just are missing.
                Err(Error::Io { source, .. })
                    if source.kind() == io::ErrorKind::NotFound
                        && self.newest_snapshot()? != Some(serial) => {}
                Err(Error::Io { source, path, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    self.fault(Corruption::new(path, "the newest snapshot names a file that is missing"));
                    break;
                }
                checked => return checked,
            }
        }
        Ok(())
    }

    fn newest_snapshot(&self) -> Result<Option<u64>> {
        Ok(snapshot_serials(self.inner.core.storage().as_ref())?.first().copied())
    }

    fn check_snapshot_of(&mut self, serial: u64) -> Result<()> {
        let (inner, mut faults) = (self.inner, Vec::new());
        let (storage, store_id) = (inner.core.storage().as_ref(), inner.core.store_id());
        let index = match read_index(storage, store_id, serial) {
            Ok(index) => index,
            Err(Error::Corruption(fault)) => {
                self.report.has_snapshot = true;
                self.fault(*fault);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let read = read_blocks(storage, store_id, &index.files.directory, |place, pages| {
            let all_possible = |pages: &[u8]| RangePages::new(place.range, pages).all(|page| page.is_ok());
            match pages {
                Ok(pages) if all_possible(pages) => {}
                Ok(_) => {
                    let path = storage.describe(&snapshot_name(place.serial));
                    faults.push(
                        Corruption::new(path, "a range holds a page that can't be").at_offset(place.offset),
                    );
                }
                Err(fault) => faults.push(fault),
            }
            Ok(())
        })?;
        self.report.has_snapshot = true;
        self.report.bytes_read += read;
        faults.into_iter().for_each(|fault| self.fault(fault));
        Ok(())
    }
}
