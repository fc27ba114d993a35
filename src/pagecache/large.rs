//! Large values, as the verbs see them: what is logged of one, and how it is read back. The files and their
//! rules are in `log/large`.
//!
//! A value is compressed first, if that is wanted and pays, and then compared with the limit.
//!
//! The file is written under the writer's guard. That keeps memory of all stores from being given back for as
//! long as a write and two syncs take; to let go of the guard in between would mean to look everything up
//! again, in every verb.

use super::shared::Inner;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::format::record;
use crate::format::{LARGEST_VALUE, LargeName, LargePointer, Payload, RecordKind};
use crate::ids::{PageId, Version};
use crate::log::{LargeFile, LogCore};
use crate::pages::Fragment;
use crate::pages::bulk::Bulk;

/// A default limit below this would not pay: a file takes a block or two, a name, and two syncs.
const LEAST_DEFAULT: usize = 16 << 10;

/// Which values go to files of their own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LargeLimits {
    /// Longer payloads go to files.
    inline: usize,
    /// The longest value that is taken.
    pub(super) most: usize,
}

impl LargeLimits {
    pub(super) fn new(config: &Config, core: &LogCore) -> Self {
        let quarter = core.geometry().segment_size() as usize / 4;
        let inline = config.inline_limit.map_or(quarter.max(LEAST_DEFAULT), |limit| limit as usize);
        Self { inline, most: config.max_value_size.min(LARGEST_VALUE as u64) as usize }
    }
}

/// The page and the version that a record with a value is of.
fn owner(kind: &RecordKind) -> Option<(PageId, Version)> {
    match *kind {
        RecordKind::Replace { page_id, version, .. } | RecordKind::Link { page_id, version } => {
            Some((page_id, version))
        }
        _ => None,
    }
}

/// How much of a record is in that file.
pub(super) fn bulk_of(file: Option<&LargeFile<'_>>) -> Bulk {
    file.map_or(Bulk::NONE, |file| Bulk::of(file.bytes()))
}

impl<F: Fragment> Inner<F> {
    /// Writes a payload to a file of its own, if it is too long to be logged. Then the record carries the
    /// file's payload, and the file is to be published after the record.
    ///
    /// # Errors
    /// What can go wrong in writing the file. Nothing is left of it then.
    #[inline]
    pub(super) fn store_outside(
        &self,
        kind: &RecordKind,
        payload: Payload<'_>,
    ) -> Result<Option<LargeFile<'_>>> {
        let length = payload.bytes.len();
        let fits =
            length <= self.large.inline && record::encoded_length(kind, length) <= self.core.max_record();
        if fits { Ok(None) } else { self.write_outside(kind, payload) }
    }

    #[cold]
    fn write_outside(&self, kind: &RecordKind, payload: Payload<'_>) -> Result<Option<LargeFile<'_>>> {
        let Some((page_id, version)) = owner(kind) else { return Ok(None) };
        self.core.gate().check_poison()?;
        let write = || {
            let number = self.ids.generate(&self.core)?;
            self.core.large().write(LargeName { number, page_id, version }, payload)
        };
        match write() {
            Err(Error::DiskFull { .. }) => {
                // Perhaps what was superseded takes the space.
                self.core.sync_in_passing()?;
                self.core.large().reap(&self.core);
                self.core.large().settle();
                write().map(Some)
            }
            other => other.map(Some),
        }
    }

    /// Reads the value that a record points to. Under the guard under which the record was read.
    pub(super) fn read_outside(
        &self,
        page_id: PageId,
        version: Version,
        payload: Payload<'_>,
    ) -> Result<Vec<u8>, ReadFault> {
        let pointer = LargePointer::decode(payload.bytes).ok_or(ReadFault::NoPointer)?;
        let name = LargeName { number: pointer.number, page_id, version };
        self.core.large().read(name, &pointer, payload.compressed).map_err(ReadFault::Error)
    }

    /// Checks the value of a live record: its file, and if `decode` says so its contents. While files are
    /// held.
    pub(super) fn check_outside(
        &self,
        page_id: PageId,
        version: Version,
        payload: Payload<'_>,
        decode: bool,
    ) -> Result<u64, CheckFault> {
        let pointer = LargePointer::decode(payload.bytes);
        let pointer = pointer.ok_or_else(|| CheckFault::Record("the record points to no file".into()))?;
        let name = LargeName { number: pointer.number, page_id, version };
        let large = self.core.large();
        if decode {
            let value = large.read(name, &pointer, payload.compressed).map_err(CheckFault::Error)?;
            let payload = Payload { bytes: &value, outside: false, ..payload };
            self.cannot_decode(payload).map_or(Ok(()), |reason| Err(CheckFault::Record(reason)))?;
        } else {
            large.scan(name, &pointer, payload.compressed, |_| Ok(())).map_err(CheckFault::Error)?;
        }
        Ok(pointer.file_length())
    }

    /// Removes files that nobody needs any more, as far as that is known without a sync; or with one, if they
    /// are many.
    #[cold]
    pub(super) fn reap_in_passing(&self) {
        let large = self.core.large();
        // What an open batch has superseded does not become stable by a sync.
        if large.is_pressed()
            && !self.core.batches().is_open()
            && let Err(error) = self.core.sync_in_passing()
        {
            return ::log::warn!("large values of {} stay for now: {error}", self.core.log_path());
        }
        large.reap(&self.core);
    }
}

/// What is wrong with a value that lies outside, or why it can't be said.
pub(super) enum CheckFault {
    /// The record, or what it holds.
    Record(String),
    Error(Error),
}

/// Why a value that lies outside can't be read.
pub(super) enum ReadFault {
    /// What the record carries is no pointer.
    NoPointer,
    Error(Error),
}
