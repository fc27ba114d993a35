//! The survey of the log, and all other files.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::inspection::Inspection;
use super::pages::Spot;
use super::survey::Survey;
use crate::error::{Corruption, Error, Result};
use crate::format::{
    LargeName, LargePointer, Record, RecordKind, StoreId, damaged_copies, read_manifest, record,
};
use crate::log::{LargeValues, MANIFEST_FILE};
use crate::progress::Progress;
use crate::recovery::{check_dictionaries, check_snapshot, read_file, snapshot_serials};
use crate::stats::Counters;

/// What a check of the files of a store has found.
///
/// ```
#[doc = include_str!("../docs/text_pages.txt")]
#[doc = include_str!("../docs/closed_store.txt")]
/// # fn main() -> pagelog::Result<()> {
/// let inspection = Inspection::open(closed_store()?, InspectOptions::new())?;
/// let report = inspection.check(|_| ControlFlow::Continue(()))?;
/// assert!(report.faults.is_empty() && report.has_snapshot);
/// assert_eq!(report.survey.large_values, 1);
/// assert!(report.large_value_bytes > 2000 && report.bytes_read > report.large_value_bytes);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CheckReport {
    /// What is in the log. Its faults are also among those of this report.
    pub survey: Survey,
    /// All damage, of all files.
    pub faults: Vec<Corruption>,
    /// Bytes of the files of large values that live records point to, as far as they are sound.
    pub large_value_bytes: u64,
    /// Bytes that were read, of all files.
    pub bytes_read: u64,
    /// Whether there is a snapshot; then it was checked.
    pub has_snapshot: bool,
}

impl Inspection {
    /// Checks all files without opening the store. For a store that opens,
    /// [`PageCache::verify`](crate::PageCache::verify) finds more: it compares what is in memory after
    /// opening with the files.
    ///
    /// `progress` is told how far the reading of the log is; `Break` ends it.
    ///
    /// ```
    #[doc = include_str!("../docs/text_pages.txt")]
    #[doc = include_str!("../docs/closed_store.txt")]
    /// # use pagelog::inspect::FileKind;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let storage = closed_store()?;
    /// let inspection = Inspection::open(storage.clone(), InspectOptions::new())?;
    /// assert!(inspection.check(|_| ControlFlow::Continue(()))?.faults.is_empty());
    /// for file in inspection.files().iter().filter(|file| file.kind == FileKind::LargeValue) {
    ///     storage.open(&file.name, Access::Write)?.write_at(b"?", 1000)?;
    /// }
    /// let report = inspection.check(|_| ControlFlow::Continue(()))?;
    /// assert!(report.faults[0].file.contains("blob-"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Cancelled`](Error::Cancelled). Damage is no error.
    pub fn check(&self, progress: impl FnMut(Progress) -> ControlFlow<()>) -> Result<CheckReport> {
        let mut report = CheckReport::default();
        self.check_manifest(&mut report);
        report.survey = self.survey(progress)?;
        report.bytes_read += report.survey.bytes_read;
        report.faults.extend(report.survey.faults.iter().cloned());
        if let Some(store_id) = self.store_id {
            self.check_large_values(store_id, &mut report);
            let checked = check_dictionaries(self.storage.as_ref(), store_id);
            take(&mut report, checked);
            self.check_snapshot(store_id, &mut report);
        }
        Ok(report)
    }

    fn check_manifest(&self, report: &mut CheckReport) {
        if let Some(fault) = &self.info.manifest_fault {
            report.faults.push(fault_of(fault.clone()));
            return;
        }
        // Written all the time.
        if self.info.in_use {
            return;
        }
        let Ok(bytes) = read_file(self.storage.as_ref(), MANIFEST_FILE) else { return };
        report.bytes_read += bytes.len() as u64;
        let (Ok(read), Some(store_id)) = (read_manifest(&bytes), self.store_id) else { return };
        // What was torn by a crash is no damage: nobody was told of it.
        let settled = read.entries.saturating_sub(1).max(1);
        for offset in damaged_copies(&bytes, store_id, settled) {
            let reason = "one of two copies of an entry does not match its checksum";
            let path = self.storage.describe(MANIFEST_FILE);
            report.faults.push(Corruption::new(path, reason).at_offset(offset));
        }
    }

    fn check_snapshot(&self, store_id: StoreId, report: &mut CheckReport) {
        let storage = self.storage.as_ref();
        match snapshot_serials(storage).map(|serials| serials.first().copied()) {
            Ok(None) => {}
            Ok(Some(serial)) => {
                report.has_snapshot = true;
                take(report, check_snapshot(storage, store_id, serial));
            }
            Err(error) => report.faults.push(fault_of(error)),
        }
    }

    fn check_large_values(&self, store_id: StoreId, report: &mut CheckReport) {
        let storage = Arc::clone(&self.storage);
        let large = LargeValues::new(storage, store_id, Vec::new(), Arc::new(Counters::new()));
        for spot in report.survey.outside.clone() {
            match self.check_large_value(&large, spot) {
                Ok(bytes) => report.large_value_bytes += bytes,
                Err(error) => report.faults.push(fault_of(error)),
            }
        }
        report.bytes_read += report.large_value_bytes;
    }

    fn check_large_value(&self, large: &LargeValues, spot: Spot) -> Result<u64> {
        let (segment, offset) = (self.geometry.segment(spot.lsn), self.geometry.offset(spot.lsn));
        let fault = |reason: &str| Corruption::new(&self.log_path, reason).at_lsn(spot.lsn);
        let slot = self.claims.iter().find(|(_, claim)| claim.segment == segment).map(|(slot, _)| *slot);
        let (Some(slot), Some(file)) = (slot, &self.log) else {
            return Err(fault("the record is gone").into());
        };
        // A record is shorter than a segment.
        let mut bytes = vec![0; spot.length as usize];
        let read = file.read_at(&mut bytes, self.geometry.file_offset(slot, offset));
        read.map_err(|error| Error::io("read", &self.log_path, error))?;
        let Ok(Record { kind, payload, .. }) = record::decode(&bytes, self.seed().at(segment, offset)) else {
            return Err(fault("the record does not match its checksum").into());
        };
        let (RecordKind::Replace { page_id, version, .. } | RecordKind::Link { page_id, version }) = kind
        else {
            return Ok(0);
        };
        let Some(pointer) = LargePointer::decode(payload.bytes) else {
            return Err(fault("the record points to no file").of_page(page_id).into());
        };
        let name = LargeName { number: pointer.number, page_id, version };
        large.scan(name, &pointer, payload.compressed, |_| Ok(()))?;
        Ok(pointer.file_length())
    }
}

fn take(report: &mut CheckReport, checked: Result<(u64, Vec<Corruption>)>) {
    match checked {
        Ok((bytes, faults)) => {
            report.bytes_read += bytes;
            report.faults.extend(faults);
        }
        Err(error) => report.faults.push(fault_of(error)),
    }
}

/// An error, in the form of damage: for a check whatever can't be read is damaged.
fn fault_of(error: Error) -> Corruption {
    match error {
        Error::Corruption(fault) => *fault,
        Error::NotAStore { path, reason } => Corruption::new(path, reason),
        Error::Io { path, source, .. } => Corruption::new(path, format!("it can't be read: {source}")),
        error => Corruption::new("", error.to_string()),
    }
}
