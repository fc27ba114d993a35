//! The manifest, the snapshot, and the compression dictionaries.

use std::io;

use super::run::Verification;
use crate::error::{Corruption, Error, Result};
use crate::format::{
    LONGEST_DICTIONARY_FILE, SnapshotCheck, decode_dictionary, dictionary_number, snapshot_name,
    snapshot_serial,
};
use crate::pages::Fragment;
use crate::storage::{Access, StorageFile};

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

    /// Checks the newest snapshot, if there is one.
    pub(super) fn check_snapshot(&mut self) -> Result<()> {
        let storage = self.inner.core.storage();
        for _ in 0..TRIES {
            let names = storage.list().map_err(|error| Error::io("list", storage.describe(""), error))?;
            let Some(serial) = names.iter().filter_map(|name| snapshot_serial(name)).max() else { break };
            let name = snapshot_name(serial);
            let path = storage.describe(&name);
            let failed = |error| Error::io("read", &path, error);
            match storage.open(&name, Access::Read) {
                Ok(file) => {
                    self.report.has_snapshot = true;
                    if let Some((offset, reason)) = self.check_blocks(&*file, serial).map_err(failed)? {
                        self.fault(Corruption::new(&path, reason).at_offset(offset));
                    }
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(())
    }

    /// Where the first block begins that is damaged, and what is wrong: what is behind it can't be told apart.
    fn check_blocks(
        &mut self,
        file: &dyn StorageFile,
        serial: u64,
    ) -> io::Result<Option<(u64, &'static str)>> {
        let mut check = SnapshotCheck::new(self.inner.core.store_id(), serial);
        let (length, mut offset) = (file.len()?, 0);
        let mut block = Vec::new();
        while offset < length {
            let mut prefix = [0; SnapshotCheck::PREFIX];
            let rest = length - offset;
            let whole = if rest < prefix.len() as u64 {
                rest
            } else {
                file.read_at(&mut prefix, offset)?;
                // A damaged length asks for no more than there is.
                SnapshotCheck::block_length(&prefix).min(rest)
            };
            block.resize(usize::try_from(whole).map_err(|_| io::ErrorKind::FileTooLarge)?, 0);
            file.read_at(&mut block, offset)?;
            self.report.bytes_read += whole;
            if let Err(reason) = check.take_bytes(&block) {
                return Ok(Some((offset, reason)));
            }
            offset += whole;
        }
        Ok(check.finish().err().map(|reason| (offset, reason)))
    }
}
