//! Hot backup: a copy of a running store that opens as a store.
//!
//! ```text
//!  empty? ─► lock ─► note that it is unfinished ─► log: stable segments, sync ─► large values, dictionaries, sync
//!                                                                                                          │
//!                                              note away ◄─ manifest (temp, sync, rename, sync) ◄──────────┘
//! ```
//!
//! - **(A) All that was done before the call is in it**, since it begins with a sync; but not a batch that is
//!   open. What others log meanwhile is in it or not, as a prefix: the log is cut at a moment's stable LSN
//!   (see `log/copy`), which is never in a batch.
//! - **(B) It is no store until it is complete.** The manifest comes last, when the log and its name are
//!   durable. Until then a file says that the backup is unfinished, which is durable before there is anything
//!   else. It is removed last; one that is left beside a manifest means nothing, and the next opening removes
//!   it.
//! - **(C) The store below is not harmed.** It is only read. Its segments and files are held until they are
//!   copied, so it may grow. Large values are copied as they are: damage in one of them does not spread to
//!   others, and stays detectable.
//!
//! # Identity
//!
//! The copy keeps the store's id. Checksums of records begin from it, so another id would mean to compute
//! them all anew, and a record that rots on the way would get a valid one. The id says which files belong
//! together, and the files of the copy do: they are in a directory of their own. It is not meant to tell
//! stores from one another, and nothing uses it for that. What follows is for the user to know: original and
//! copy go different ways from the cut on, with the same LSNs and generated ids for different things, so
//! files of the one are not to be put among those of the other.
//!
//! The copy has no snapshot, so its first opening reads the whole log.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::identify::{LOCK_FILE, UNFINISHED_FILE, is_empty, read_file};
use crate::error::{Error, Result};
use crate::format::{Claim, LargeName, dictionary_number};
use crate::ids::{HeadId, Lsn, SlotId};
use crate::log::{Adding, LOG_FILE, LogCore, MANIFEST_FILE, MANIFEST_TEMPORARY, ManifestFile, StableLog};
use crate::progress::{Reporter, Tell};
use crate::storage::{Access, Storage, StorageLock, is_full, with_backup_failpoints};

/// What a backup has copied.
///
/// ```
#[doc = include_str!("../docs/text_pages.txt")]
/// # let cache = open()?;
/// use std::ops::ControlFlow;
///
/// let page = cache.allocate(Text("a page".into()))?;
/// let report = cache.backup_to_storage(Arc::new(MemoryStorage::new()), |_| ControlFlow::Continue(()))?;
/// // All that was done before is in it.
/// assert!(page.lsn < report.stable_lsn);
/// assert!(report.segments == 1 && report.records > 0);
/// println!("{} bytes in {:?}", report.bytes, report.duration);
/// # Ok::<(), pagelog::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackupReport {
    /// The copy has all changes at LSNs below this one, and no others.
    pub stable_lsn: Lsn,
    /// Segments that were copied.
    pub segments: u32,
    /// Records in them.
    pub records: u64,
    /// Bytes of the copy's log, its large values, and its compression dictionaries.
    pub bytes: u64,
    /// How long it took.
    pub duration: Duration,
}

/// So many bytes of a file are copied at a time.
const PIECE: u64 = 1 << 20;

/// Copies what is stable now, and what can be made stable without waiting for a batch.
pub(crate) fn back_up(core: &LogCore, target: &Arc<dyn Storage>, tell: Tell<'_>) -> Result<BackupReport> {
    let began = Instant::now();
    core.gate().admit_read()?;
    let target = &with_backup_failpoints(Arc::clone(target));
    let place = Place::take(target.as_ref())?;
    let copied = copy(core, target, tell);
    if copied.is_err() && clear(target.as_ref()) {
        place.give_back(target.as_ref());
    }
    Ok(BackupReport { duration: began.elapsed(), ..copied? })
}

fn copy(core: &LogCore, target: &Arc<dyn Storage>, tell: Tell<'_>) -> Result<BackupReport> {
    let storage = target.as_ref();
    note_unfinished(storage)?;
    // What a store that writes no more has called stable is stable.
    if !core.gate().is_read_only() && core.gate().check_poison().is_ok() {
        core.sync_now()?;
    }
    // Before the cut: what was on its way to be removed by then is not needed as of it.
    let files = core.large().hold();
    let mut log = StableLog::hold(core);
    // Read behind the cut: its bounds are above all that lies below.
    let mut state = core.manifest().state();
    let mut reporter = Reporter::new(tell);
    let large: u64 = core.large().files().iter().map(|file| file.bytes).sum();
    reporter.begin(log.segments.iter().map(|segment| u64::from(segment.length)).sum::<u64>() + large)?;
    let (mut report, claims) = copy_log(core, &mut log, storage, &mut reporter)?;
    report.stable_lsn = log.cut.get(HeadId::FRESH.index()).copied().unwrap_or_default();
    (state.claims, state.stable) = (claims, log.cut);
    drop(log);
    report.bytes += copy_large_values(core, storage, &mut reporter)?;
    drop(files);
    report.bytes += copy_dictionaries(core.storage().as_ref(), storage)?;
    drop(ManifestFile::write(Arc::clone(target), state, Adding::InPlace).map_err(or_full)?);
    storage.remove(UNFINISHED_FILE).map_err(|error| failed(storage, "remove", UNFINISHED_FILE, error))?;
    sync_directory(storage)?;
    Ok(report)
}

/// The log file, durable with its name when this returns.
fn copy_log(
    core: &LogCore,
    log: &mut StableLog<'_>,
    target: &dyn Storage,
    reporter: &mut Reporter<'_>,
) -> Result<(BackupReport, BTreeMap<SlotId, Claim>)> {
    let file = target.create(LOG_FILE).map_err(|error| failed(target, "create", LOG_FILE, error))?;
    let (mut report, mut claims, mut bytes) = (BackupReport::default(), BTreeMap::new(), Vec::new());
    for (slot, segment) in (0..).map(SlotId).zip(log.segments.clone()) {
        let copied = log.copy(segment, slot, &mut bytes)?;
        let offset = core.geometry().file_offset(slot, 0);
        file.write_at(&bytes, offset).map_err(|error| failed(target, "write", LOG_FILE, error))?;
        claims.insert(slot, copied.claim);
        report.segments += 1;
        report.records += copied.records;
        report.bytes += bytes.len() as u64;
        reporter.advance(segment.length.into())?;
    }
    file.sync().map_err(|error| failed(target, "sync", LOG_FILE, error))?;
    sync_directory(target)?;
    Ok((report, claims))
}

/// The files of large values, durable when this returns. They are held, so all that are needed as of the cut
/// are there; those that are not, for instance since they were written later, are orphans in the copy, and
/// its first opening removes them. Returns how many bytes it was.
fn copy_large_values(core: &LogCore, target: &dyn Storage, reporter: &mut Reporter<'_>) -> Result<u64> {
    let source = core.storage().as_ref();
    let mut copied = 0;
    for file in core.large().files() {
        let name = file.name.file();
        let Some(length) = copy_file(source, target, &name)? else { continue };
        copied += length;
        reporter.advance(length)?;
    }
    reporter.finish()?;
    if copied > 0 {
        sync_directory(target)?;
    }
    Ok(copied)
}

/// Copies a file as it is, in pieces, and syncs it. `None` if there is none.
fn copy_file(source: &dyn Storage, target: &dyn Storage, name: &str) -> Result<Option<u64>> {
    let from = match source.open(name, Access::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|error| failed(source, "read", name, error))?,
    };
    let length = from.len().map_err(|error| failed(source, "read", name, error))?;
    let to = target.create(name).map_err(|error| failed(target, "create", name, error))?;
    let (mut offset, mut piece) = (0, vec![0; length.min(PIECE) as usize]);
    while offset < length {
        piece.truncate((length - offset).min(PIECE) as usize);
        from.read_at(&mut piece, offset).map_err(|error| failed(source, "read", name, error))?;
        to.write_at(&piece, offset).map_err(|error| failed(target, "write", name, error))?;
        offset += piece.len() as u64;
    }
    to.sync().map_err(|error| failed(target, "sync", name, error))?;
    Ok(Some(length))
}

/// What compressed records refer to, as it is, and durable when this returns. A dictionary that a copied
/// record needs was there before the record. Returns how many bytes it was.
fn copy_dictionaries(source: &dyn Storage, target: &dyn Storage) -> Result<u64> {
    let mut copied = 0;
    let names = source.list().map_err(|error| failed(source, "list", "", error))?;
    for name in names.iter().filter(|name| dictionary_number(name).is_some()) {
        let bytes = read_file(source, name)?;
        let file = target.create(name).map_err(|error| failed(target, "create", name, error))?;
        file.write_at(&bytes, 0).map_err(|error| failed(target, "write", name, error))?;
        file.sync().map_err(|error| failed(target, "sync", name, error))?;
        copied += bytes.len() as u64;
    }
    if copied > 0 {
        sync_directory(target)?;
    }
    Ok(copied)
}

/// A directory that is empty, and that nobody else is at.
pub(super) struct Place {
    lock: Box<dyn StorageLock>,
    /// The lock file was there before.
    had_lock: bool,
}

impl Place {
    /// Makes the directory if there is none.
    ///
    /// # Errors
    /// `BackupTarget` if there is anything in it, `Locked`, `Io`.
    pub(super) fn take(target: &dyn Storage) -> Result<Self> {
        let had_lock = refuse_unless_empty(target)?;
        let made = target.create_directory().map_err(|error| failed(target, "create", "", error));
        let lock = made.and_then(|()| lock(target)).inspect_err(|_| remove_new_directory(target))?;
        // Looked at again: until the lock was taken somebody else may have written.
        refuse_unless_empty(target)?;
        Ok(Self { lock, had_lock })
    }

    /// Removes the lock file and the directories that were not there before. Whatever else was written has to
    /// be gone.
    pub(super) fn give_back(self, target: &dyn Storage) {
        if !self.had_lock
            && let Err(error) = target.remove(LOCK_FILE)
        {
            ::log::warn!("{} stays: {error}", target.describe(LOCK_FILE));
        }
        drop(self.lock);
        remove_new_directory(target);
    }
}

fn lock(target: &dyn Storage) -> Result<Box<dyn StorageLock>> {
    let lock = target.lock(LOCK_FILE, Access::Write);
    let lock = lock.map_err(|error| failed(target, "lock", LOCK_FILE, error))?;
    lock.ok_or_else(|| Error::Locked { path: target.describe("") })
}

fn remove_new_directory(target: &dyn Storage) {
    if let Err(error) = target.remove_new_directory() {
        ::log::warn!("{} stays: {error}", target.describe(""));
    }
}

/// Returns whether there is a lock file, which is all that there may be.
fn refuse_unless_empty(target: &dyn Storage) -> Result<bool> {
    let names = target.list().map_err(|error| failed(target, "list", "", error))?;
    for name in &names {
        if name != LOCK_FILE || !is_empty(target, name)? {
            let reason = format!("it is not empty: there is {name:?}");
            return Err(Error::BackupTarget { path: target.describe(""), reason });
        }
    }
    Ok(!names.is_empty())
}

/// Says, durably, that what is about to come is no store yet (B).
pub(super) fn note_unfinished(target: &dyn Storage) -> Result<()> {
    let created = target.create(UNFINISHED_FILE).and_then(|file| file.sync());
    created.map_err(|error| failed(target, "create", UNFINISHED_FILE, error))?;
    sync_directory(target)
}

/// Removes what a backup that failed has written, the note last (B). Returns whether that went well.
fn clear(target: &dyn Storage) -> bool {
    let found = target.list().unwrap_or_default();
    let is_ours = |name: &&str| dictionary_number(name).is_some() || LargeName::parse(name).is_some();
    let others = found.iter().map(String::as_str).filter(is_ours);
    let content: Vec<&str> = others.chain([LOG_FILE]).collect();
    let steps: [&[&str]; 3] = [&[MANIFEST_FILE, MANIFEST_TEMPORARY], &content, &[UNFINISHED_FILE]];
    for names in steps {
        for name in names {
            match target.remove(name) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    ::log::warn!("a part of a backup stays in {}: {error}", target.describe(name));
                    return false;
                }
                _ => {}
            }
        }
        if let Err(error) = target.sync_directory() {
            ::log::warn!("a part of a backup stays in {}: {error}", target.describe(""));
            return false;
        }
    }
    true
}

pub(super) fn sync_directory(target: &dyn Storage) -> Result<()> {
    target.sync_directory().map_err(|error| failed(target, "sync the directory of", "", error))
}

pub(super) fn failed(target: &dyn Storage, operation: &'static str, name: &str, error: io::Error) -> Error {
    or_full(Error::io(operation, target.describe(name), error))
}

fn or_full(error: Error) -> Error {
    match error {
        Error::Io { source, path, .. } if is_full(&source) => Error::DiskFull { path },
        error => error,
    }
}
