//! The manifest, the snapshot, and the compression dictionaries.

use std::io;

use super::run::Verification;
use crate::error::{Corruption, Error, Result};
use crate::pages::Fragment;
use crate::recovery::{Checked, check_dictionaries, check_snapshot, snapshot_serials};

/// How often the newest snapshot is looked for, if it vanishes because there is a newer one.
const TRIES: u32 = 100;

impl<F: Fragment> Verification<'_, F> {
    pub(super) fn check_manifest(&mut self) -> Result<()> {
        let checked = self.inner.core.manifest().check()?;
        self.take(checked);
        Ok(())
    }

    /// Checks the compression dictionaries, if there are any.
    pub(super) fn check_dictionaries(&mut self) -> Result<()> {
        let core = &self.inner.core;
        let checked = check_dictionaries(core.storage().as_ref(), core.store_id())?;
        self.take(checked);
        Ok(())
    }

    fn take(&mut self, (bytes, faults): Checked) {
        self.report.bytes_read += bytes;
        faults.into_iter().for_each(|fault| self.fault(fault));
    }

    /// Checks the newest snapshot, if there is one, with all blocks that it names in older files.
    pub(super) fn check_snapshot(&mut self) -> Result<()> {
        for _ in 0..TRIES {
            let Some(serial) = self.newest_snapshot()? else { break };
            match self.check_snapshot_of(serial) {
                // A newer one has taken its place meanwhile, and files that it does not need are gone; unless
                // they just are missing.
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
        let core = &self.inner.core;
        let checked = check_snapshot(core.storage().as_ref(), core.store_id(), serial)?;
        self.report.has_snapshot = true;
        self.take(checked);
        Ok(())
    }
}
