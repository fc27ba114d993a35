//! Large values: in files of their own, named by their records.
//!
//! A value above the limit goes to a file; the record in the log carries a pointer: number, length and
//! checksum. Garbage collection moves the record, byte for byte, and leaves the file where it is.
//!
//! # Invariants
//!
//! - **(A) The file is first.** It is written and synced, and the directory too, before its record is
//!   reserved. So a record that recovery finds, stable or not, has its file; if there is none, it was lost
//!   later, and that is damage.
//! - **(B) One number, one file.** Numbers come from the store's generator of ids, whose bound is durable
//!   before one is handed out. So a name never means two values, over all crashes.
//! - **(C) One file, one record.** A file is named after the page and version of its record. No two
//!   *published* records share these. Until it is published the file belongs to a [`LargeFile`], whose drop
//!   removes it: then the record was never reserved, or was aborted, and an aborted record is never
//!   recovered.
//! - **(D) Killed once, removed once.** A node says if its record has a file (`pages/bulk`). Whoever gets the
//!   place out of such a node's cell calls [`LargeValues::kill`], once. The key is page and version, not the
//!   place: moving a record changes neither, so relocation needs to know nothing of files, and no move can be
//!   missed. The publisher registers the file *after* the node is visible, so the killer can come first. It
//!   then leaves a note, and the publisher, who always comes, finds it. (To register before would not do: two
//!   writers that race for one version have one key, and the loser is to take back its own.)
//! - **(E) Removed late.** A file whose record was killed is needed until the killing record is stable, for a
//!   power cut can take the killer back; *then* until every thread has moved on that was pinned when that was
//!   seen: a reader looks up the place, reads the record, then opens the file, all under one guard. The same
//!   rule by which slots become free, see `supply`. `stable` is never inside a batch, so a file that a batch
//!   has killed stays until the batch is whole.
//! - **(F) Held.** Who reads files without a guard, to check or to copy them, *holds* them: nothing is
//!   removed meanwhile. What was on its way to be removed when the hold began was killed by what was stable
//!   then, so a copy as of that moment does not need it.
//! - **(G) Removals are not synced.** One that a power cut takes back leaves an orphan, and the next opening
//!   sweeps it.

mod registry;

use std::io;
use std::sync::Arc;

use self::registry::Registry;
use super::core::LogCore;
use super::supply::defer_flag;
use crate::error::{Corruption, Error, Result};
use crate::format::{
    LARGE_HEADER, LargeName, LargePointer, Payload, RecordSeed, StoreId, encode_large_header,
    large_header_fault, value_check,
};
use crate::ids::{HeadId, Lsn, PageId, Version};
use crate::stats::{Counter, Counters, Timed};
use crate::storage::{Access, Storage, StorageFile, is_full};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, epoch};

/// So many bytes of a file are read at a time where the whole is not needed.
const CHUNK: usize = 1 << 20;

/// A file that an opening found to be needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OwnedFile {
    pub(crate) name: LargeName,
    /// Of the whole file.
    pub(crate) bytes: u64,
}

/// Figures of large values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LargeFigures {
    /// Values that are there, and the bytes of their files.
    pub(crate) live: u64,
    pub(crate) live_bytes: u64,
    /// Files that wait to be removed.
    pub(crate) dead: u64,
    pub(crate) dead_bytes: u64,
}

/// The large values of a store.
#[derive(Debug)]
pub(crate) struct LargeValues {
    storage: Arc<dyn Storage>,
    store_id: StoreId,
    seed: RecordSeed,
    registry: Mutex<Registry>,
    counters: Arc<Counters>,
    /// How many files wait to be removed: what a verb looks at.
    waiting: AtomicU64,
    /// So much waits that a sync is worth it.
    pressed: AtomicBool,
    /// The stable LSN at the last look.
    looked_at: AtomicU64,
    /// Files were removed, and the directory was not synced since.
    unsettled: AtomicBool,
}

/// A file whose record is not in force yet. Dropping it removes the file (C).
#[must_use = "dropping it removes the file"]
#[derive(Debug)]
pub(crate) struct LargeFile<'a> {
    large: &'a LargeValues,
    name: LargeName,
    bytes: u64,
    compressed: bool,
    pointer: [u8; crate::format::POINTER_LENGTH],
}

impl LargeValues {
    pub(crate) fn new(
        storage: Arc<dyn Storage>,
        store_id: StoreId,
        owned: Vec<OwnedFile>,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            storage,
            store_id,
            seed: RecordSeed::new(store_id),
            registry: Mutex::new(Registry::new(owned)),
            counters,
            waiting: AtomicU64::new(0),
            pressed: AtomicBool::new(false),
            looked_at: AtomicU64::new(0),
            unsettled: AtomicBool::new(false),
        }
    }

    /// Writes a file, durable with its name when this returns (A). The number is new (B).
    ///
    /// # Errors
    /// `DiskFull`, `Io`. Nothing is left of the file then, and nothing else was touched.
    pub(crate) fn write(&self, name: LargeName, value: Payload<'_>) -> Result<LargeFile<'_>> {
        let _timed = self.counters.time(Timed::LargeValueWrite);
        let pointer = LargePointer::new(self.seed, name.number, value.bytes);
        let (bytes, compressed) = (pointer.file_length(), value.compressed);
        self.registry.lock().begin(name, bytes);
        // From here on whatever goes wrong removes the file.
        let file = LargeFile { large: self, name, bytes, compressed, pointer: pointer.encode() };
        let header = encode_large_header(self.store_id, &name, &pointer, compressed);
        self.write_file(&name.file(), &header, value.bytes)?;
        self.counters.one(Counter::LargeValue);
        self.counters.add(Counter::LargeValueBytes, bytes);
        Ok(file)
    }

    fn write_file(&self, name: &str, header: &[u8], value: &[u8]) -> Result<()> {
        let failed = |operation, error: io::Error| {
            let path = self.storage.describe(name);
            if is_full(&error) { Error::DiskFull { path } } else { Error::io(operation, path, error) }
        };
        let file = self.storage.create(name).map_err(|error| failed("create", error))?;
        file.write_at(header, 0).map_err(|error| failed("write", error))?;
        file.write_at(value, header.len() as u64).map_err(|error| failed("write", error))?;
        file.sync().map_err(|error| failed("sync", error))?;
        drop(file);
        self.storage.sync_directory().map_err(|error| failed("sync the directory of", error))
    }

    /// Reads and checks the value that a record of that page and version points to. Under the guard under
    /// which the record was read, or a hold.
    ///
    /// # Errors
    /// `Corruption` that names the file if it is missing or damaged; `Io`.
    pub(crate) fn read(&self, name: LargeName, pointer: &LargePointer, compressed: bool) -> Result<Vec<u8>> {
        let file = self.open(&name, pointer, compressed)?;
        // The file is as long as that.
        let mut value = vec![0; pointer.length as usize];
        self.read_part(&*file, &name, &mut value, 0)?;
        if value_check(self.seed, name.number, &value) != pointer.check {
            return Err(self.damage(&name, "a large value does not match its checksum"));
        }
        Ok(value)
    }

    /// As [`read`](Self::read), without keeping the value: `take` gets all bytes of the file, one piece after
    /// the other.
    pub(crate) fn scan(
        &self,
        name: LargeName,
        pointer: &LargePointer,
        compressed: bool,
        mut take: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let file = self.open(&name, pointer, compressed)?;
        take(&encode_large_header(self.store_id, &name, pointer, compressed))?;
        let (mut piece, mut offset) = (vec![0; CHUNK.min(pointer.length as usize)], 0);
        let mut check = value_check(self.seed, name.number, &[]);
        while offset < u64::from(pointer.length) {
            let rest = (u64::from(pointer.length) - offset).min(CHUNK as u64);
            piece.truncate(rest as usize);
            self.read_part(&*file, &name, &mut piece, offset)?;
            check = crate::format::checksum(check, &piece);
            take(&piece)?;
            offset += rest;
        }
        if check == pointer.check {
            Ok(())
        } else {
            Err(self.damage(&name, "a large value does not match its checksum"))
        }
    }

    /// Opens a file whose length and header are as they must be. So a damaged length asks for no memory.
    fn open(
        &self,
        name: &LargeName,
        pointer: &LargePointer,
        compressed: bool,
    ) -> Result<Arc<dyn StorageFile>> {
        let path = || self.storage.describe(&name.file());
        let failed = |error| Error::io("read", path(), error);
        let file = match self.storage.open(&name.file(), Access::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(self.damage(name, "the file of a large value is missing"));
            }
            other => other.map_err(failed)?,
        };
        if file.len().map_err(failed)? != pointer.file_length() {
            return Err(
                self.damage(name, "the file of a large value has another length than its record says")
            );
        }
        let mut header = [0; LARGE_HEADER];
        file.read_at(&mut header, 0).map_err(failed)?;
        let expected = encode_large_header(self.store_id, name, pointer, compressed);
        match large_header_fault(&header, &expected) {
            Some(fault) => Err(self.damage(name, fault)),
            None => Ok(file),
        }
    }

    fn read_part(
        &self,
        file: &dyn StorageFile,
        name: &LargeName,
        into: &mut [u8],
        offset: u64,
    ) -> Result<()> {
        let read = file.read_at(into, offset + LARGE_HEADER as u64);
        read.map_err(|error| Error::io("read", self.storage.describe(&name.file()), error))
    }

    fn damage(&self, name: &LargeName, reason: &str) -> Error {
        Corruption::new(self.storage.describe(&name.file()), reason).of_page(name.page_id).into()
    }

    /// Declares the file of a record dead that a record of the fresh head, which ends at `killer`, has
    /// superseded (D).
    pub(crate) fn kill(&self, page_id: PageId, version: Version, killer: Lsn) {
        let mut registry = self.registry.lock();
        registry.kill(page_id, version, killer);
        self.note(&registry);
    }

    /// The length of the file of that record, if it has one.
    pub(crate) fn bytes_of(&self, page_id: PageId, version: Version) -> Option<u64> {
        self.registry.lock().bytes_of(page_id, version)
    }

    pub(crate) fn figures(&self) -> LargeFigures {
        self.registry.lock().figures()
    }

    fn note(&self, registry: &Registry) {
        let (waiting, pressed) = (registry.waiting(), registry.presses());
        self.waiting.store(waiting, Ordering::Relaxed);
        self.pressed.store(pressed, Ordering::Relaxed);
    }

    /// Whether a look would find something to remove.
    #[inline]
    pub(crate) fn is_due(&self, core: &LogCore) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
            && (self.pressed.load(Ordering::Relaxed)
                || self.looked_at.load(Ordering::Relaxed) != core.durability().stable(HeadId::FRESH).0)
    }

    /// Whether so much waits for a sync that one is worth it.
    pub(crate) fn is_pressed(&self) -> bool {
        self.pressed.load(Ordering::Relaxed)
    }

    /// Removes the files that nobody needs any more (E). Never fails: what can't be removed now is tried
    /// again, and at last by the next opening.
    pub(crate) fn reap(&self, core: &LogCore) {
        if self.waiting.load(Ordering::Relaxed) == 0 || core.gate().check_poison().is_err() {
            return;
        }
        let some_wait = {
            // Pinned before the lock is taken, for pinning can move the epoch too; dropped after it.
            let guard = epoch::pin();
            let mut registry = self.registry.lock();
            let stable = core.durability().stable(HeadId::FRESH);
            self.looked_at.store(stable.0, Ordering::Relaxed);
            registry.quarantine(stable, || defer_flag(&guard));
            registry.has_quarantine()
        };
        if some_wait {
            // As in `supply`: not under the lock, for this runs deferred drops of users' fragments.
            epoch::advance();
        }
        self.registry.lock().take_ripe();
        self.remove_ready();
    }

    fn remove_ready(&self) {
        loop {
            let mut registry = self.registry.lock();
            self.note(&registry);
            let Some((name, bytes)) = registry.next_to_remove() else { return };
            drop(registry);
            let removed = self.storage.remove(&name.file());
            let mut registry = self.registry.lock();
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    ::log::warn!("{} stays for now: {error}", self.storage.describe(&name.file()));
                    registry.put_back(name, bytes);
                    self.note(&registry);
                    return;
                }
                _ => registry.removed(name.number),
            }
            self.unsettled.store(true, Ordering::Relaxed);
            drop(registry);
            self.counters.one(Counter::LargeValueRemoved);
            self.counters.add(Counter::LargeValueRemovedBytes, bytes);
        }
    }

    /// Makes removals durable. Only for a disk that is full: until then some file systems keep the space.
    pub(crate) fn settle(&self) {
        if self.unsettled.swap(false, Ordering::Relaxed)
            && let Err(error) = self.storage.sync_directory()
        {
            // Nothing relies on it.
            ::log::debug!("removals in {} may come undone: {error}", self.storage.describe(""));
        }
    }

    /// Keeps all files from being removed (F).
    pub(crate) fn hold(&self) -> LargeHold<'_> {
        self.registry.lock().hold();
        LargeHold(self)
    }

    /// All files that are there or are being written, by their numbers, but those that are on their way to be
    /// removed.
    pub(crate) fn files(&self) -> Vec<OwnedFile> {
        self.registry.lock().files()
    }

    /// Files of this kind that no record needs and nobody is about to remove: an opening has failed to remove
    /// them, or somebody has put them there.
    pub(crate) fn orphans(&self) -> Result<Vec<LargeName>> {
        // A file can vanish between the listing and the look. So whatever is suspicious has to be there once
        // more.
        let suspects = self.unknown()?;
        if suspects.is_empty() {
            return Ok(suspects);
        }
        let again = self.unknown()?;
        Ok(suspects.into_iter().filter(|name| again.contains(name)).collect())
    }

    fn unknown(&self) -> Result<Vec<LargeName>> {
        let names = self.storage.list();
        let names = names.map_err(|error| Error::io("list", self.storage.describe(""), error))?;
        let registry = self.registry.lock();
        let parsed = names.iter().filter_map(|name| LargeName::parse(name));
        Ok(parsed.filter(|name| !registry.knows(name.number)).collect())
    }
}

impl LargeFile<'_> {
    /// What the record carries.
    pub(crate) fn payload(&self) -> Payload<'_> {
        Payload { bytes: &self.pointer, compressed: self.compressed, outside: true }
    }

    /// The length of the file.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The record is in force: from now on the file is the page's (D).
    pub(crate) fn publish(self) {
        let mut registry = self.large.registry.lock();
        registry.publish(self.name);
        self.large.note(&registry);
        drop(registry);
        std::mem::forget(self);
    }
}

impl Drop for LargeFile<'_> {
    fn drop(&mut self) {
        self.large.registry.lock().discard(self.name.number);
        self.large.remove_ready();
    }
}

/// Files are not removed as long as this lives.
#[derive(Debug)]
pub(crate) struct LargeHold<'a>(&'a LargeValues);

impl Drop for LargeHold<'_> {
    fn drop(&mut self) {
        self.0.registry.lock().let_go();
        self.0.remove_ready();
    }
}
